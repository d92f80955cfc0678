//! A node starts with what its store kept: parked sessions with their messages, messages on their way,
//! how far each origin was heard.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use causeway_common::{
    id::{Incarnation, NodeId, SessionId},
    link::{Envelope, Origin},
    mailbox::Mailbox,
    packet::Subscription,
    qos::QoS,
    topic::Filter,
};

use super::{
    Hub,
    moves::{ASIDE, ArrivalRow},
    record::{MessageRow, Name, RecordError, SessionRow, decode, packet_id},
    registry::{Entry as Row, Stay},
};
use crate::{
    session::{Delivery, Kept, Mail, Place, Said, Session, Stored},
    store::{Batch, Entry, Key, Position},
};

/// What was found in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Durable sessions.
    pub sessions: usize,
    /// Messages that wait in them.
    pub messages: usize,
    /// Messages on their way to other nodes.
    pub outbound: usize,
    /// Topics with a retained message.
    pub retained: usize,
    /// Records that could not be read; they stay where they are, and are not used.
    pub unreadable: usize,
    /// The last life of this node that is known.
    pub life: Incarnation,
}

/// What was found of one session.
#[derive(Default)]
struct Found {
    row: Option<SessionRow>,
    kept: Kept,
    line: BTreeMap<Place, Delivery>,
    had: BTreeMap<u64, Origin>,
}

#[derive(Default)]
struct Harvest {
    sessions: BTreeMap<SessionId, Found>,
    outbound: BTreeMap<(Incarnation, u64), (Key, MessageRow)>,
    seen: Vec<(NodeId, u16, (Incarnation, u64))>,
    retained: Vec<(String, Bytes)>,
    arrivals: Vec<((NodeId, SessionId), ArrivalRow)>,
    restored: Restored,
}

impl Hub {
    /// Takes what a store kept. To be called once, before anything else happens.
    pub fn restore(&mut self, now: Instant, entries: Vec<Entry>) -> Restored {
        let mut harvest = Harvest::default();
        for entry in entries {
            harvest.take(&entry);
        }
        let Harvest { sessions, outbound, seen, retained, arrivals, mut restored } = harvest;
        for (session, found) in sessions {
            let messages = found.line.len();
            if self.restore_session(now, session, found) {
                restored.sessions += 1;
                restored.messages += messages;
            }
        }
        for (node, shard, last) in seen {
            self.seen.remember(&node, usize::from(shard), last);
        }
        for (key, row) in outbound.into_values() {
            restored.outbound += usize::from(self.restore_message(key, row).is_some());
        }
        for (topic, value) in retained {
            let loaded = self.retained.load(self.wall_secs, &topic, &value);
            restored.unreadable += usize::from(loaded.is_err());
        }
        restored.retained = self.retained.message_count();
        self.restore_arrivals(arrivals);
        self.count_routes();
        self.note_sizes();
        restored
    }

    /// Begins a life later than all before, whatever the clock says, and notes it.
    pub fn begin_life(&mut self, last: Incarnation) {
        self.me.incarnation = self.me.incarnation.max(Incarnation(last.0 + 1));
        self.retained.begin(self.me.incarnation);
        // Other nodes know messages by the session they stood in: none is named like one of before, even if
        // nothing is left of that.
        let first = SessionId(self.me.incarnation.0 << SESSIONS_PER_LIFE_BITS);
        self.registry.last_id = self.registry.last_id.max(first);
        self.write_life();
    }

    pub(super) fn write_life(&mut self) {
        let mut batch = Batch::default();
        batch.put(Name::Life.key(), super::encode(&self.me.incarnation));
        self.store.write(batch);
    }

    fn restore_session(&mut self, now: Instant, session: SessionId, found: Found) -> bool {
        let Found { row: Some(row), mut kept, mut line, had } = found else {
            return false; // leftovers of a session that was forgotten
        };
        let aside = line.split_off(&Place(ASIDE));
        let places = || line.keys().chain(&kept.released).copied();
        let first = places().min().unwrap_or_default();
        let end = places().max().map_or(Place(0), |last| Place(last.0 + 1));
        kept.first = first;
        // To a client that was there, any of them may have been sent: answers to those before it, which made room
        // in the window, need not have come to the disk.
        kept.doubtful = row.doubtful.unwrap_or(end);
        let mailbox = Arc::new(self.new_mailbox(true));
        fill(&mailbox, line);
        let mut entry = Row::new(row.client_id, row.user, mailbox, true);
        entry.epoch = row.epoch;
        entry.next_place = end.max(row.next_place);
        entry.merge.lineage = row.lineage;
        entry.restore_had(had.into_iter().collect());
        entry.restore_aside(aside.into_values());
        let subscriptions = kept.subscriptions.clone();
        let state = Session::durable(now, Arc::clone(&self.limits.session), kept);
        let since_secs = row.parked_secs.unwrap_or(self.wall_secs);
        entry.stay = Stay::Parked { session: Box::new(state), since_secs };
        entry.filters = subscriptions.iter().map(|held| held.filter.clone()).collect();
        self.registry.insert_as(session, entry);
        for Subscription { filter, qos } in &subscriptions {
            self.subscriptions.insert(filter, session, *qos);
        }
        true
    }

    fn restore_message(&mut self, key: Key, row: MessageRow) -> Option<()> {
        let retained = row.retained;
        let said = row.said().ok()?;
        let envelope = Envelope::new(said.origin.clone()?, &said, retained).ok()?;
        self.restore_outbound(key, envelope);
        Some(())
    }

    /// Filters of all restored sessions count as routes from the start.
    fn count_routes(&mut self) {
        let held: BTreeSet<&Filter> =
            self.registry.held_filters().map(|(filter, _)| filter).collect();
        let count = held.into_iter().filter(|filter| super::is_route(filter)).count();
        self.links.change_routes(count, 0);
    }
}

/// A life of a millisecond begins fewer sessions than this many bits can count.
const SESSIONS_PER_LIFE_BITS: u32 = 20;

impl Harvest {
    fn take(&mut self, entry: &Entry) {
        // A message for several sessions is read once, and shared.
        let mut shared: Option<(Arc<Said>, QoS, bool)> = None;
        for key in &entry.keys {
            if self.take_one(key, &entry.value, &mut shared).is_err() {
                self.restored.unreadable += 1;
            }
        }
    }

    fn take_one(
        &mut self,
        key: &Key,
        value: &Bytes,
        shared: &mut Option<(Arc<Said>, QoS, bool)>,
    ) -> Result<(), RecordError> {
        match Name::parse(key)? {
            Name::Session(session) => self.found(session).row = Some(decode(value)?),
            Name::Filter(session, filter) => {
                let bits = value.first().copied().unwrap_or(u8::MAX);
                let qos = QoS::from_bits(bits).ok_or(RecordError::Value("a QoS over 2"))?;
                self.found(session).kept.subscriptions.push(Subscription { filter, qos });
            }
            Name::Queued(session, place) => {
                let (said, qos, retain) = match shared {
                    Some((said, qos, retain)) => (Arc::clone(said), *qos, *retain),
                    None => read(value)?,
                };
                *shared = Some((Arc::clone(&said), qos, retain));
                let stored = Some(Stored { place, position: Position::default() });
                let delivery = Delivery { message: said, qos, retain, stored };
                self.found(session).line.insert(place, delivery);
            }
            Name::Released(session, place) => self.found(session).kept.released.push(place),
            Name::Received(session, id) => {
                let id = packet_id(id)?;
                self.found(session).kept.received.push(id);
            }
            Name::Outbound(incarnation, sequence) => {
                let kept = (key.clone(), decode(value)?);
                self.outbound.insert((incarnation, sequence), kept);
            }
            Name::Seen(node, piece) => self.seen.push((node, piece, decode(value)?)),
            Name::Life => self.restored.life = decode(value)?,
            Name::Retained(topic) => self.retained.push((topic, value.clone())),
            Name::Arrival(from, theirs) => {
                self.arrivals.push(((from, theirs), decode(value)?));
            }
            Name::Had(session, number) => {
                self.found(session).had.insert(number, decode(value)?);
            }
        }
        Ok(())
    }

    fn found(&mut self, session: SessionId) -> &mut Found {
        self.sessions.entry(session).or_default()
    }
}

fn read(value: &[u8]) -> Result<(Arc<Said>, QoS, bool), RecordError> {
    let row: MessageRow = decode(value)?;
    let (qos, retain) = row.delivery()?;
    Ok((Arc::new(row.said()?), qos, retain))
}

fn fill(mailbox: &Mailbox<Mail>, line: BTreeMap<Place, Delivery>) {
    for delivery in line.into_values() {
        // More than the bounds of today may have been kept under those of yesterday.
        mailbox.count(1, delivery.cost());
        mailbox.push_control(Mail::Deliver(delivery));
    }
}
