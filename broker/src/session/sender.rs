//! The sending half (MQTT 4.3): messages the client gets.
//!
//! ```text
//!   deliver ──► slots:  40       41         42        43       44
//!                    Released │    –    │ Published │ Waiting │ Waiting │
//!                    PUBCOMP    answered   PUBACK or    for the window
//!                    to come               PUBREC to come
//! ```
//!
//! One line for all: what waits stands behind what is in flight, and live messages behind a backlog.
//! The place in the line gives the packet identifier, so that after a crash a message is sent again
//! under the identifier it had [MQTT-4.4.0-1], though nobody wrote down that it was sent.
//!
//! QoS 0 passes the line by: nobody answers it, so it never waits for a window.

use std::collections::VecDeque;

use causeway_common::{id::PacketId, packet::Packet, qos::QoS};

use super::{Action, Change, Delivery, DropReason, Limits, Place};

/// Packet identifiers here are ours; those of [`super::receiver::Receiver`] are the client's.
#[derive(Debug)]
pub(super) struct Sender {
    /// The place of the first slot.
    first: Place,
    slots: VecDeque<Slot>,
    /// Nothing waits for the window before this place.
    unsent: Place,
    /// What stands before this place may have been sent: here, by an earlier life of the node, or elsewhere.
    doubtful: Place,
    in_flight: usize,
    /// Bytes of the messages among them.
    in_flight_bytes: usize,
    waiting: usize,
    /// Of those that wait, all but retained messages.
    queued: usize,
    queued_bytes: usize,
    max_inflight: usize,
    queue_messages_max: usize,
    queue_bytes_max: usize,
    /// Whether memory is short: nothing more waits that is not written down.
    is_short: bool,
}

#[derive(Debug)]
pub(super) enum Slot {
    /// Answered, or never used, and in front of it something is not.
    Done,
    /// In line for the window.
    Waiting(Delivery),
    /// PUBLISH was sent; PUBACK or, for QoS 2, PUBREC is to come.
    Published(Delivery),
    /// PUBREL was sent; PUBCOMP is to come. The message itself is the client's now.
    Released {
        /// Whether it is written down.
        stored: bool,
    },
}

impl Sender {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            first: Place(0),
            slots: VecDeque::new(),
            unsent: Place(0),
            doubtful: Place(0),
            in_flight: 0,
            in_flight_bytes: 0,
            waiting: 0,
            queued: 0,
            queued_bytes: 0,
            max_inflight: limits.max_inflight,
            queue_messages_max: limits.queue_messages_max,
            queue_bytes_max: limits.queue_bytes_max,
            is_short: false,
        }
    }

    pub(super) fn set_short(&mut self, is_short: bool) {
        self.is_short = is_short;
    }

    /// What a store kept: from which place on the line begins, and where only PUBCOMP is to come.
    /// The messages themselves come as deliveries.
    pub(super) fn restore(&mut self, first: Place, released: &[Place], doubtful: Place) {
        (self.first, self.unsent, self.doubtful) = (first, first, doubtful);
        for place in released {
            self.put(*place, Slot::Released { stored: true });
            self.in_flight += 1;
        }
    }

    /// What another node kept: where only PUBCOMP is to come, and what may have been sent from there.
    pub(super) fn inherit(&mut self, released: &[Place], doubtful: Place) {
        self.doubtful = self.doubtful.max(doubtful);
        for place in released {
            self.reach(*place);
            let is_free = matches!(self.slot_mut(*place), None | Some(Slot::Done));
            if is_free && *place >= self.first {
                self.put(*place, Slot::Released { stored: true });
                self.in_flight += 1;
            }
        }
    }

    /// The client knows nothing of what it was sent: all waits to be sent for the first time. Returns
    /// where PUBCOMP was to come.
    pub(super) fn start_over(&mut self) -> Vec<Place> {
        let released = self.released().collect();
        for slot in &mut self.slots {
            *slot = match std::mem::replace(slot, Slot::Done) {
                Slot::Published(delivery) => {
                    self.waiting += 1;
                    if !delivery.retain {
                        self.queued += 1;
                        self.queued_bytes += delivery.cost();
                    }
                    Slot::Waiting(delivery)
                }
                slot @ Slot::Waiting(_) => slot,
                Slot::Done | Slot::Released { .. } => Slot::Done,
            };
        }
        (self.in_flight, self.in_flight_bytes) = (0, 0);
        (self.doubtful, self.unsent) = (Place(0), self.first);
        self.trim();
        released
    }

    /// Takes a message out that is another node's now. Returns what it counted for.
    pub(super) fn give_away(&mut self, place: Place) -> Option<usize> {
        let slot = self.slot_mut(place)?;
        let cost = match slot {
            Slot::Done | Slot::Released { .. } => return None,
            Slot::Waiting(delivery) => {
                let (cost, retain) = (delivery.cost(), delivery.retain);
                *slot = Slot::Done;
                self.waiting -= 1;
                if !retain {
                    self.queued -= 1;
                    self.queued_bytes -= cost;
                }
                cost
            }
            Slot::Published(delivery) => {
                let cost = delivery.cost();
                *slot = Slot::Done;
                self.in_flight -= 1;
                self.in_flight_bytes -= cost;
                cost
            }
        };
        self.trim();
        Some(cost)
    }

    /// Messages in places before this one may have been sent.
    pub(super) fn doubtful(&self) -> Place {
        self.doubtful
    }

    pub(super) fn deliver(&mut self, delivery: Delivery, actions: &mut Vec<Action>) {
        if !delivery.qos.is_answered() {
            actions.push(Action::Deliver { delivery, id: None, dup: false });
            return;
        }
        if let Some(stored) = &delivery.stored {
            // Its place is written down; whether there is room was the hub's question.
            self.wait_at(stored.place, delivery);
        } else if self.is_full_for(&delivery) {
            // The newest is dropped: what the client has been promised longest comes first.
            let reason = if self.is_short { DropReason::Memory } else { DropReason::QueueFull };
            actions.push(Action::Dropped { reason, qos: delivery.qos });
        } else {
            self.wait_at(Place(self.first.0 + self.slots.len() as u64), delivery);
        }
        self.refill(actions);
    }

    /// A message for a client that is not there.
    pub(super) fn keep(&mut self, delivery: Delivery) {
        if let Some(stored) = &delivery.stored {
            self.wait_at(stored.place, delivery);
        }
    }

    pub(super) fn on_puback(&mut self, id: PacketId, actions: &mut Vec<Action>) {
        let place = self.place_of(id);
        if let Some(Slot::Published(delivery)) = self.slot_mut(place)
            && delivery.qos == QoS::AtLeastOnce
        {
            let cost = delivery.cost();
            let stored = delivery.stored.is_some();
            self.in_flight_bytes -= cost;
            self.finish(place);
            if stored {
                actions.push(Action::Persist(Change::Taken { place, cost }));
            }
            self.refill(actions);
        }
    }

    pub(super) fn on_pubrec(&mut self, id: PacketId, actions: &mut Vec<Action>) {
        let place = self.place_of(id);
        if let Some(slot) = self.slot_mut(place)
            && let Slot::Published(delivery) = slot
            && delivery.qos == QoS::ExactlyOnce
        {
            let (cost, stored) = (delivery.cost(), delivery.stored.is_some());
            *slot = Slot::Released { stored };
            self.in_flight_bytes -= cost;
            if stored {
                actions.push(Action::Persist(Change::Released { place, cost }));
            }
        }
        // Also for an identifier we do not know: the client then forgets it [MQTT-4.3.3-1].
        actions.push(Action::Send(Packet::PubRel(id)));
    }

    pub(super) fn on_pubcomp(&mut self, id: PacketId, actions: &mut Vec<Action>) {
        let place = self.place_of(id);
        if let Some(Slot::Released { stored }) = self.slot_mut(place) {
            let stored = *stored;
            self.finish(place);
            if stored {
                actions.push(Action::Persist(Change::Completed { place }));
            }
            self.refill(actions);
        }
    }

    /// The client is back: everything unanswered is sent again, in the order it was first sent
    /// [MQTT-4.4.0-1] [MQTT-4.6.0-1], then what waited. What waits among that has been elsewhere meanwhile.
    pub(super) fn resume(&mut self, actions: &mut Vec<Action>) {
        let was_sent = |slot: &Slot| matches!(slot, Slot::Published(_) | Slot::Released { .. });
        let count = self.slots.iter().rposition(was_sent).map_or(0, |last| last as u64 + 1);
        for place in (self.first.0..self.first.0 + count).map(Place) {
            match self.slot_mut(place) {
                None | Some(Slot::Done) => {}
                Some(Slot::Waiting(_)) => self.send(place, actions),
                Some(Slot::Published(delivery)) => {
                    let (delivery, id) = (delivery.clone(), Some(place.id()));
                    actions.push(Action::Deliver { delivery, id, dup: true }); // [MQTT-3.3.1-1]
                }
                Some(Slot::Released { .. }) => {
                    actions.push(Action::Send(Packet::PubRel(place.id())));
                }
            }
        }
        self.refill(actions);
    }

    /// Bytes of all that is not answered.
    pub(super) fn held_bytes(&self) -> usize {
        self.queued_bytes + self.in_flight_bytes
    }

    /// Everything not answered, in order, with whether it may have been sent.
    pub(super) fn deliveries(&self) -> impl Iterator<Item = (&Delivery, bool)> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Done | Slot::Released { .. } => None,
            Slot::Waiting(delivery) => Some((delivery, false)),
            Slot::Published(delivery) => Some((delivery, true)),
        })
    }

    /// Where only PUBCOMP is to come.
    pub(super) fn released(&self) -> impl Iterator<Item = Place> {
        (self.first.0..).zip(&self.slots).filter_map(|(place, slot)| match slot {
            Slot::Released { .. } => Some(Place(place)),
            Slot::Done | Slot::Waiting(_) | Slot::Published(_) => None,
        })
    }

    /// The place behind the last one.
    fn end(&self) -> Place {
        Place(self.first.0 + self.slots.len() as u64)
    }

    fn is_full_for(&self, delivery: &Delivery) -> bool {
        // What is retained is shared with all who get it, and comes in any number at a SUBSCRIBE.
        if delivery.retain || self.has_room() && self.waiting == 0 {
            return false;
        }
        let bytes = delivery.cost();
        let too_large = self.queued_bytes > 0 && self.queued_bytes + bytes > self.queue_bytes_max;
        self.is_short || too_large || self.queued >= self.queue_messages_max
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.max_inflight && self.unsent.0 - self.first.0 < Place::IDS
    }

    fn refill(&mut self, actions: &mut Vec<Action>) {
        while self.waiting > 0 && self.unsent < self.end() && self.has_room() {
            let place = self.unsent;
            self.unsent = Place(place.0 + 1);
            self.send(place, actions);
        }
    }

    /// Sends what waits in a place, if anything does.
    fn send(&mut self, place: Place, actions: &mut Vec<Action>) {
        let Some(slot) = self.slot_mut(place) else {
            return;
        };
        let delivery = match std::mem::replace(slot, Slot::Done) {
            Slot::Waiting(delivery) => delivery,
            other @ (Slot::Done | Slot::Published(_) | Slot::Released { .. }) => {
                *slot = other;
                return;
            }
        };
        *slot = Slot::Published(delivery.clone());
        self.in_flight += 1;
        self.in_flight_bytes += delivery.cost();
        self.waiting -= 1;
        if !delivery.retain {
            self.queued -= 1;
            self.queued_bytes -= delivery.cost();
        }
        let dup = place < self.doubtful;
        self.doubtful = self.doubtful.max(Place(place.0 + 1));
        actions.push(Action::Deliver { delivery, id: Some(place.id()), dup });
    }

    fn wait_at(&mut self, place: Place, delivery: Delivery) {
        self.reach(place);
        self.unsent = self.unsent.min(place);
        self.waiting += 1;
        if !delivery.retain {
            self.queued += 1;
            self.queued_bytes += delivery.cost();
        }
        self.put(place, Slot::Waiting(delivery));
    }

    /// Lets the line begin at a place before its first one: what another node had comes there.
    fn reach(&mut self, place: Place) {
        if self.slots.is_empty() {
            (self.first, self.unsent) = (place, place);
        }
        if self.first.0 > place.0 + Place::IDS {
            return; // no identifier could tell them apart
        }
        while place < self.first {
            self.slots.push_front(Slot::Done);
            self.first = Place(self.first.0 - 1);
            self.unsent = self.first;
        }
    }

    fn put(&mut self, place: Place, slot: Slot) {
        let Some(index) = self.index_of(place) else {
            return;
        };
        while self.slots.len() <= index {
            self.slots.push_back(Slot::Done);
        }
        if let Some(free) = self.slots.get_mut(index) {
            *free = slot;
        }
    }

    /// A place is answered: it makes room.
    fn finish(&mut self, place: Place) {
        if let Some(slot) = self.slot_mut(place) {
            *slot = Slot::Done;
            self.in_flight -= 1;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while let Some(Slot::Done) = self.slots.front() {
            self.slots.pop_front();
            self.first = Place(self.first.0 + 1);
        }
        self.unsent = self.unsent.max(self.first);
    }

    fn slot_mut(&mut self, place: Place) -> Option<&mut Slot> {
        let index = self.index_of(place)?;
        self.slots.get_mut(index)
    }

    fn index_of(&self, place: Place) -> Option<usize> {
        usize::try_from(place.0.checked_sub(self.first.0)?).ok()
    }

    /// The place in the line that an identifier stands for now.
    fn place_of(&self, id: PacketId) -> Place {
        let position = u64::from(id.get() - 1);
        let ahead = (position + Place::IDS - self.first.0 % Place::IDS) % Place::IDS;
        Place(self.first.0 + ahead)
    }
}
