//! What the hub does with what is retained: writes it down, gives it to new subscriptions, carries
//! the notes by which nodes find what they miss.
//!
//! ```text
//!   PUBLISH with RETAIN ──► here, in the store, and to every node: then its answer is due
//!   SUBSCRIBE ───────────► what matches, with RETAIN set, before anything that comes later
//! ```
//!
//! Who has the last word on a topic, and what nodes say to each other, is decided in `retained/`.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Instant};

use causeway_common::{
    id::{NodeId, PacketId, SessionId},
    link::{Envelope, Frame, Note},
    message::Message,
    packet::Subscription,
    qos::QoS,
};

use super::{
    Hub, LinkId,
    record::{MessageRow, Name, encode},
    retained::{Notes, Now, Version},
};
use crate::{
    session::{Delivery, DropReason, Mail, Place, Said, Stored},
    store::{Batch, Position},
};

/// A retained message on its way to a new subscription.
#[derive(Debug)]
pub(super) struct Found {
    said: Arc<Said>,
    qos: QoS,
    /// Where it is to be written down, if the session is durable and the QoS is not 0.
    place: Option<Place>,
}

impl Hub {
    /// Retains a message of a local client that asked for it. Returns the counter that goes to other
    /// nodes with it, and what must be written down. Where there is no room the message goes on
    /// as one that nobody asked to retain.
    pub(super) fn retain(&mut self, message: &mut Message) -> (Option<u64>, Batch) {
        if !message.retain {
            return (None, Batch::default());
        }
        let version = self.retained.write(&self.me.node, self.wall_secs, message);
        message.retain = version.is_some();
        (version.map(|version| version.counter), self.retained_changes())
    }

    /// Retains what another node's client asked for. Returns what must be written down; nothing if
    /// a later word is known.
    pub(super) fn retain_from(&mut self, envelope: &Envelope) -> Batch {
        if let Some(counter) = envelope.retained
            && let Ok(message) = envelope.to_message()
        {
            let version = Version { counter, node: envelope.origin.node.clone() };
            self.retained.accept(self.wall_secs, version, &message);
        }
        self.retained_changes()
    }

    /// What is retained under new subscriptions, also where the same filters were held before
    /// [MQTT-3.3.1-6] [MQTT-3.8.4-3]. Finds room for each in the session's mailbox, and adds to
    /// `batch` what must be written down first.
    pub(super) fn find_retained(
        &mut self,
        session: SessionId,
        subscriptions: &[Subscription],
        batch: &mut Batch,
    ) -> Vec<Found> {
        let mut found = Vec::new();
        let Some(entry) = self.registry.current_mut(session) else {
            return found;
        };
        for Subscription { filter, qos: granted } in subscriptions {
            for said in self.retained.matching(filter) {
                if !entry.may_read(said.topic.as_str()) {
                    self.metrics.deliveries_denied.inc();
                    continue;
                }
                let qos = said.qos.min(*granted); // [MQTT-3.8.4-6]
                let is_kept = entry.durable && qos.is_answered();
                // Its body is shared with what is retained: ten thousand of them take little room.
                let cost = delivery(said, qos, None).cost();
                if !entry.mailbox.has_room(cost) {
                    let full =
                        if is_kept { DropReason::QueueFull } else { DropReason::MailboxFull };
                    self.metrics.count_drop(full);
                    continue;
                }
                entry.mailbox.count(1, cost);
                let place = is_kept.then(|| entry.take_place());
                if let Some(place) = place {
                    let row = encode(&MessageRow::new(said, qos, true));
                    batch.put(Name::Queued(session, place).key(), row);
                }
                found.push(Found { said: Arc::clone(said), qos, place });
            }
        }
        found
    }

    /// Puts into a session's mailbox what was found for it, once it is being written down.
    pub(super) fn give_retained(
        &mut self,
        session: SessionId,
        found: Vec<Found>,
        position: Position,
    ) {
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return;
        };
        for Found { said, qos, place } in found {
            let stored = place.map(|place| Stored { place, position });
            let delivery = delivery(&said, qos, stored);
            let cost = delivery.cost();
            match entry.put_aside(delivery) {
                Some(delivery) => entry.mailbox.push_control(Mail::Deliver(delivery)),
                None => entry.mailbox.release(1, cost), // counted twice
            }
        }
    }

    /// Takes a note of another node on what is retained.
    pub(super) fn on_retained_note(
        &mut self,
        now: Instant,
        (link, id): (LinkId, Option<PacketId>),
        from: &NodeId,
        body: &[u8],
    ) {
        let mut notes = Notes::new();
        let now = self.now(now);
        let taken = self.exchange.on_note(now, from, body, &mut self.retained, &mut notes);
        if let Err(error) = taken {
            self.metrics.retained_notes_refused.inc();
            tracing::warn!(%from, %error, "note refused");
        }
        let changes = self.retained_changes();
        self.store.write(changes);
        if let Some(id) = id {
            self.links.acknowledge(link, id);
        }
        self.send_retained_notes(notes);
    }

    /// The node has joined, and may have missed what was said until every bridge knew it: it has joined
    /// again when everybody has answered once more.
    pub fn ask_again_for_retained(&mut self) {
        self.exchange.rejoin();
    }

    /// Asks other nodes for what this one may have missed, and forgets old tombstones.
    pub(super) fn tick_retained(&mut self, now: Instant) {
        self.retained.expire(self.wall_secs);
        let changes = self.retained_changes();
        self.store.write(changes);
        if self.links.ready_count() > 0 {
            let mut notes = Notes::new();
            let now = self.now(now);
            self.exchange.tick(now, &self.retained, &mut notes);
            self.send_retained_notes(notes);
        }
    }

    /// A note that finds no room, or gets lost with a bridge, is made again in time.
    fn send_retained_notes(&self, notes: Notes) {
        let Some(link) = self.links.ready().next() else {
            return;
        };
        for (to, body) in notes {
            let (from, note) = (self.me.node.clone(), Note::Retained(body));
            self.links.post_if_room(link, Frame::Direct { id: None, to, from, note });
        }
    }

    /// What has changed and must be written down.
    fn retained_changes(&mut self) -> Batch {
        for _ in 0..self.retained.take_refused_count() {
            self.metrics.count_drop(DropReason::RetainedFull);
        }
        let mut batch = Batch::default();
        for change in self.retained.take_changes() {
            let key = Name::Retained(String::from(&*change.topic)).key();
            match change.value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        batch
    }

    fn now(&self, at: Instant) -> Now {
        Now { at, secs: self.wall_secs }
    }
}

/// A delivery with RETAIN set: it answers a subscription [MQTT-3.3.1-8].
fn delivery(said: &Arc<Said>, qos: QoS, stored: Option<Stored>) -> Delivery {
    Delivery { message: Arc::clone(said), qos, retain: true, stored }
}
