//! From a message to the mailboxes of its subscribers, by way of the store where a durable session is
//! among them.
//!
//! Written down first, handed out then: a client must not be sent a QoS 2 message under a packet
//! identifier that a crash could give to another.

use std::sync::Arc;

use causeway_common::qos::QoS;
use smallvec::SmallVec;

use super::{
    Hub,
    record::{MessageRow, Name, encode},
    registry::Match,
};
use crate::{
    session::{Delivery, DropReason, Mail, Said, Stored},
    store::{Batch, Entry, Key, Position},
};

impl Hub {
    /// Gives a message to every local session that wants it; once, with the greatest QoS of its
    /// matching subscriptions [MQTT-3.3.5-1]. `also` is what must be written down with it, if
    /// anything is; `always` says that it must be in any case. Returns when all of it is safe.
    pub(super) fn deliver(&mut self, said: &Arc<Said>, also: Batch, always: bool) -> Position {
        let Self { subscriptions, registry, .. } = self;
        registry.begin_match();
        subscriptions.for_each_match(said.topic.as_str(), |session, qos| {
            registry.note_match(*session, *qos);
        });
        let mut matches = self.registry.take_matches();
        let mut batch = self.admit(said, &mut matches);
        let mut position = Position::default();
        if always || !batch.is_empty() {
            batch.deletes.extend(also.deletes);
            batch.puts.extend(also.puts);
            position = self.store.write(batch);
        }
        self.hand_out(said, &matches, position);
        self.registry.end_match(matches);
        position
    }

    /// Finds a place for the message in the line of each durable session, and says what is to be
    /// written down. Sessions without room drop out of the matches.
    fn admit(&mut self, said: &Said, matches: &mut Vec<Match>) -> Batch {
        let mut by_qos: [SmallVec<[Key; 1]>; 3] = Default::default();
        let mut batch = Batch::default();
        let Self { registry, metrics, .. } = self;
        matches.retain_mut(|found| {
            if found.is_open {
                return true;
            }
            let qos = said.qos.min(found.granted); // [MQTT-3.8.4-6]
            let Some(entry) = registry.entries.get_mut(&found.session) else {
                return false;
            };
            if !entry.may_read(said.topic.as_str()) {
                metrics.deliveries_denied.inc();
                return false;
            }
            if !entry.durable {
                return true;
            }
            if !qos.is_answered() {
                let here = !entry.is_parked();
                if !here {
                    metrics.count_drop(DropReason::Offline);
                }
                return here;
            }
            if !entry.mailbox.has_room(said.cost()) {
                metrics.count_drop(DropReason::QueueFull);
                return false;
            }
            if entry.has_had(said.origin.as_ref()) {
                metrics.duplicates_dropped.inc();
                return false;
            }
            entry.write_had(found.session, (said.origin.as_ref(), qos), &mut batch);
            let place = entry.take_place();
            found.place = Some(place);
            if let Some(keys) = by_qos.get_mut(usize::from(qos.bits())) {
                keys.push(Name::Queued(found.session, place).key());
            }
            true
        });
        for (qos, keys) in
            [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().zip(by_qos)
        {
            if !keys.is_empty() {
                // Once for all sessions that get it with the same QoS.
                let value = encode(&MessageRow::new(said, qos, false));
                batch.puts.push(Entry { keys, value });
            }
        }
        batch
    }

    pub(super) fn hand_out(&mut self, said: &Arc<Said>, matches: &[Match], position: Position) {
        for found in matches {
            let qos = said.qos.min(found.granted);
            if self.drops(found.session, qos, found.place.is_some()) {
                self.metrics.count_drop(DropReason::Memory);
                continue;
            }
            let Some(entry) = self.registry.entries.get_mut(&found.session) else {
                continue;
            };
            let stored = found.place.map(|place| Stored { place, position });
            let delivery = Delivery { message: Arc::clone(said), qos, retain: false, stored };
            let Some(delivery) = entry.put_aside(delivery) else {
                continue;
            };
            if entry.mailbox.push(Mail::Deliver(delivery), said.cost()).is_err() {
                self.metrics.count_drop(DropReason::MailboxFull);
            }
        }
    }
}
