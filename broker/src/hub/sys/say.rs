//! The hub's part in `$SYS`: it counts itself, and says what the tree makes of that to its own
//! subscribers alone.

use std::{sync::Arc, time::Instant};

use causeway_common::{id::SessionId, packet::Subscription, qos::QoS};

use super::{Memory, Snapshot};
use crate::{
    hub::{Hub, registry::Entry},
    metrics::Metrics,
    session::{Delivery, DropReason, Mail},
    store::Position,
};

impl Hub {
    /// Says what has changed about this node under `$SYS`, to clients of this node that are there and
    /// want it. `memory` is what the process takes.
    pub fn say_sys(&mut self, now: Instant, memory: Option<Memory>) {
        self.note_sizes();
        let snapshot = self.snapshot(memory);
        for said in self.sys.tick(now, &snapshot) {
            let Self { subscriptions, registry, .. } = self;
            registry.begin_match();
            subscriptions.for_each_match(said.topic.as_str(), |session, qos| {
                registry.note_match(*session, *qos);
            });
            let mut matches = registry.take_matches();
            // Whoever is away does not miss it: it will be told when it comes back and subscribes.
            matches.retain(|found| {
                let entry = registry.entries.get(&found.session);
                let may_read = |entry: &Entry| entry.may_read(said.topic.as_str());
                entry.is_some_and(|entry| !entry.is_parked() && may_read(entry))
            });
            self.hand_out(&said, &matches, Position::default());
            self.registry.end_match(matches);
        }
    }

    /// Shows new subscriptions what is said under `$SYS` now, as if it were retained
    /// [MQTT-3.3.1-6] [MQTT-3.8.4-3].
    pub(in crate::hub) fn show_sys(&self, session: SessionId, subscriptions: &[Subscription]) {
        let Some(entry) = self.registry.entries.get(&session) else {
            return;
        };
        let filters = subscriptions.iter().map(|subscription| &subscription.filter);
        let shown = filters.flat_map(|filter| self.sys.matching(filter));
        for said in shown.filter(|said| entry.may_read(said.topic.as_str())) {
            let message = Arc::clone(said);
            let delivery = Delivery { message, qos: QoS::AtMostOnce, retain: true, stored: None };
            let cost = delivery.cost();
            if entry.mailbox.push(Mail::Deliver(delivery), cost).is_err() {
                self.metrics.count_drop(DropReason::MailboxFull);
            }
        }
    }

    fn snapshot(&self, memory: Option<Memory>) -> Snapshot {
        let (queued_messages, queued_bytes) = self.registry.queued_for_parked();
        Snapshot {
            clients_connected: count(self.registry.connection_count()),
            clients_disconnected: count(self.registry.parked),
            subscriptions: count(self.subscriptions.len()),
            retained: count(self.retained.message_count()),
            stored_messages: count(self.retained.message_count() + queued_messages),
            stored_bytes: count(self.retained.bytes() + queued_bytes),
            memory,
            ..Snapshot::of(&self.metrics)
        }
    }
}

impl Snapshot {
    /// The counters; what is held now is left at 0.
    fn of(metrics: &Metrics) -> Self {
        let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
        Self {
            bytes_received: metrics.bytes_received.get(),
            bytes_sent: metrics.bytes_sent.get(),
            packets_received: metrics.packets_received.get(),
            packets_sent: metrics.packets_sent.get(),
            messages_received: all.iter().map(|qos| metrics.messages_received.at(*qos).get()).sum(),
            messages_sent: all.iter().map(|qos| metrics.messages_delivered.at(*qos).get()).sum(),
            messages_dropped: metrics.messages_dropped.iter().map(|(_, count)| count.get()).sum(),
            payload_bytes_received: metrics.payload_bytes_received.get(),
            payload_bytes_sent: metrics.payload_bytes_sent.get(),
            sockets: metrics.connections_accepted.get(),
            connects: metrics.logins.get()
                + metrics.connects_refused.iter().map(|(_, count)| count.get()).sum::<u64>(),
            clients_expired: metrics.sessions_expired.get(),
            ..Self::default()
        }
    }
}

fn count(count: usize) -> u64 {
    count as u64
}
