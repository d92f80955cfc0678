//! The sending half (MQTT 4.3): messages the client gets.
//!
//! ```text
//!   deliver ──► queue (bounded) ──► window (max_inflight) ──► the client
//!                                      │ QoS 1: PUBACK frees the slot
//!                                      └ QoS 2: PUBREC turns it into a release, PUBCOMP frees it
//! ```
//!
//! QoS 0 passes the queue by: nobody answers it, so it never waits for a window.

use std::collections::VecDeque;

use causeway_common::{delivery::Window, id::PacketId, packet::Packet, qos::QoS};

use super::{Action, Delivery, DropReason, Limits};

/// Packet identifiers here are ours; those of [`super::receiver::Receiver`] are the client's.
#[derive(Debug)]
pub(super) struct Sender {
    window: Window<InFlight>,
    queue: VecDeque<Delivery>,
    queue_bytes: usize,
    max_inflight: usize,
    queue_messages_max: usize,
    queue_bytes_max: usize,
}

#[derive(Debug)]
enum InFlight {
    /// PUBLISH was sent; PUBACK or, for QoS 2, PUBREC is to come.
    Publish(Delivery),
    /// PUBREL was sent; PUBCOMP is to come. The message itself is the client's now.
    Release,
}

impl Sender {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            window: Window::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            max_inflight: limits.max_inflight,
            queue_messages_max: limits.queue_messages_max,
            queue_bytes_max: limits.queue_bytes_max,
        }
    }

    pub(super) fn deliver(&mut self, delivery: Delivery, actions: &mut Vec<Action>) {
        if !delivery.qos.is_answered() {
            actions.push(Action::Deliver { delivery, id: None, dup: false });
            return;
        }
        if self.queue.is_empty() && self.has_room() {
            self.send(delivery, actions);
            return;
        }
        let bytes = delivery.message.cost();
        let too_large = self.queue_bytes > 0 && self.queue_bytes + bytes > self.queue_bytes_max;
        if too_large || self.queue.len() >= self.queue_messages_max {
            // The newest is dropped: what the client has been promised longest comes first.
            let reason = DropReason::QueueFull;
            actions.push(Action::Dropped { reason, qos: delivery.qos });
            return;
        }
        self.queue_bytes += bytes;
        self.queue.push_back(delivery);
    }

    pub(super) fn on_puback(&mut self, id: PacketId, actions: &mut Vec<Action>) {
        if let Some(InFlight::Publish(delivery)) = self.window.get_mut(id)
            && delivery.qos == QoS::AtLeastOnce
        {
            self.window.take(id);
            self.refill(actions);
        }
    }

    pub(super) fn on_pubrec(&mut self, id: PacketId, actions: &mut Vec<Action>) {
        if let Some(in_flight) = self.window.get_mut(id) {
            *in_flight = InFlight::Release;
        }
        // Also for an identifier we do not know: the client then forgets it [MQTT-4.3.3-1].
        actions.push(Action::Send(Packet::PubRel(id)));
    }

    pub(super) fn on_pubcomp(&mut self, id: PacketId, actions: &mut Vec<Action>) {
        if let Some(InFlight::Release) = self.window.get_mut(id) {
            self.window.take(id);
            self.refill(actions);
        }
    }

    pub(super) fn undelivered_count(&self) -> usize {
        let published = self.window.iter().filter(|(_, in_flight)| match in_flight {
            InFlight::Publish(_) => true,
            InFlight::Release => false,
        });
        published.count() + self.queue.len()
    }

    fn has_room(&self) -> bool {
        self.window.len() < self.max_inflight && self.window.has_room()
    }

    fn refill(&mut self, actions: &mut Vec<Action>) {
        while self.has_room() {
            let Some(delivery) = self.queue.pop_front() else {
                return;
            };
            self.queue_bytes -= delivery.message.cost();
            self.send(delivery, actions);
        }
    }

    fn send(&mut self, delivery: Delivery, actions: &mut Vec<Action>) {
        if let Ok(id) = self.window.push(InFlight::Publish(delivery.clone())) {
            actions.push(Action::Deliver { delivery, id: Some(id), dup: false });
        }
    }
}
