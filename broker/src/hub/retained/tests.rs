//! What is retained on one node, as tables; and several nodes that lose, mix up and repeat notes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use causeway_common::{
    id::{Incarnation, NodeId},
    message::Message,
    qos::QoS,
    topic::{Filter, Topic},
};
use proptest::prelude::*;

use crate::session::Said;

use super::{
    Change, Entry, Exchange, ExchangeLimits, NoteError, Now, Outcome, RecordError, Retained,
    RetainedLimits, Version, What, decode_value,
    digest::{Digest, Span, topic_hash},
    encode_value,
    note::{PAGE_BYTES_MAX, Place, Record, RetainedNote},
};

fn limits() -> RetainedLimits {
    RetainedLimits { messages_max: 100_000, bytes_max: 1 << 30, tombstone_secs: 1000 }
}

fn node(number: usize) -> NodeId {
    NodeId::from(format!("node-{number}"))
}

fn message(topic: &str, payload: impl Into<Bytes>) -> Message {
    let (topic, payload) = (Topic::new(topic).unwrap(), payload.into());
    Message { topic, payload, qos: QoS::AtLeastOnce, retain: true }
}

fn what(topic: &str, payload: impl Into<Bytes>) -> What {
    What::Message(Arc::new(Said { message: message(topic, payload), origin: None }))
}

fn version(counter: u64, number: usize) -> Version {
    Version { counter, node: node(number) }
}

/// Topics and payloads that a filter finds.
fn found(retained: &Retained, filter: &str) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = retained.matching(&Filter::new(filter).unwrap()).cloned().collect::<Vec<_>>();
    found.iter().map(|it| (it.topic.to_string(), text(&it.payload))).collect()
}

fn payloads(retained: &Retained) -> Vec<String> {
    found(retained, "#").into_iter().map(|(_, payload)| payload).collect()
}

/// What a store holds after it was told of changes.
fn store(kept: &mut BTreeMap<Arc<str>, Bytes>, changes: Vec<Change>) {
    for Change { topic, value } in changes {
        match value {
            Some(value) => kept.insert(topic, value),
            None => kept.remove(&topic),
        };
    }
}

fn loaded(kept: &BTreeMap<Arc<str>, Bytes>, limits: RetainedLimits) -> Retained {
    let mut retained = Retained::new(limits);
    for (topic, value) in kept {
        retained.load(u64::MAX, topic, value).unwrap();
    }
    retained
}

#[test]
fn the_last_message_of_a_topic_is_found_until_an_empty_one_deletes_it() {
    let mut retained = Retained::new(limits());
    let me = node(1);
    assert_eq!(retained.write(&me, 0, &message("a/b", "1")), Some(version(1, 1)));
    assert_eq!(retained.write(&me, 0, &message("a/b", "2")), Some(version(2, 1)));
    retained.write(&me, 0, &message("a/c", "3"));
    assert_eq!(found(&retained, "a/+"), [("a/b".into(), "2".into()), ("a/c".into(), "3".into())]);
    assert_eq!(retained.message_count(), 2);
    assert_eq!(retained.write(&me, 0, &message("a/b", "")), Some(version(4, 1)));
    assert_eq!(found(&retained, "#"), [("a/c".into(), "3".into())]);
    assert_eq!((retained.message_count(), retained.tombstone_count()), (1, 1));
}

#[test]
fn of_two_writers_the_same_wins_in_either_order() {
    for (first, second, winner) in [
        (version(1, 1), version(2, 1), "second"),
        (version(1, 1), version(1, 2), "second"),
        (version(2, 1), version(1, 2), "first"),
    ] {
        let (one, other) = (message("a", "first"), message("a", "second"));
        let mut retained = Retained::new(limits());
        let mut reversed = Retained::new(limits());
        retained.accept(0, first.clone(), &one);
        retained.accept(0, second.clone(), &other);
        reversed.accept(0, second, &other);
        reversed.accept(0, first, &one);
        assert_eq!(
            (payloads(&retained), payloads(&reversed)),
            (vec![winner.into()], vec![winner.into()])
        );
    }
}

#[test]
fn what_was_deleted_does_not_come_back_from_whoever_missed_it() {
    let mut retained = Retained::new(limits());
    retained.accept(0, version(5, 2), &message("a", "old"));
    let deletion = retained.write(&node(1), 0, &message("a", ""));
    assert_eq!(deletion, Some(version(6, 1)), "a deletion comes after what it deletes");
    assert_eq!(retained.accept(0, version(5, 2), &message("a", "old")), Outcome::Older);
    assert_eq!(payloads(&retained), [""; 0]);
    assert_eq!(retained.accept(0, version(7, 2), &message("a", "new")), Outcome::Newer);
    assert_eq!(payloads(&retained), ["new"]);
    assert_eq!(retained.tombstone_count(), 0);
}

#[test]
fn a_tombstone_is_forgotten_in_time_and_not_taken_back() {
    let mut retained = Retained::new(limits());
    retained.write(&node(1), 50, &message("a", ""));
    let tombstone = retained.entry("a").unwrap().clone();
    retained.take_changes();
    retained.expire(1049);
    assert_eq!((retained.tombstone_count(), retained.take_changes().len()), (1, 0));
    retained.expire(1050);
    assert_eq!(retained.tombstone_count(), 0);
    assert_eq!(retained.bytes(), 0);
    assert_eq!(retained.take_changes(), [Change { topic: Arc::from("a"), value: None }]);
    assert_eq!(retained.merge(1050, "a", &tombstone), Outcome::Older);
    retained.accept(1050, version(0, 2), &message("a", "older"));
    assert_eq!(retained.merge(1050, "a", &tombstone), Outcome::Newer);
}

#[test]
fn beyond_the_limits_no_new_topic_is_taken_and_known_ones_are_replaced() {
    let mut retained = Retained::new(RetainedLimits { messages_max: 8, ..limits() });
    let me = node(1);
    for number in 0..8 {
        assert!(retained.write(&me, 0, &message(&format!("{number}"), "x")).is_some());
    }
    assert_eq!(retained.write(&me, 0, &message("new", "x")), None);
    assert_eq!(retained.take_refused_count(), 1);
    assert_eq!(retained.take_refused_count(), 0);
    assert!(retained.write(&me, 0, &message("0", "y")).is_some());
    assert!(
        retained.write(&me, 0, &message("unknown", "")).is_some(),
        "a deletion always goes out"
    );
    assert_eq!((retained.entry("unknown"), retained.message_count()), (None, 8));
    // What another node has taken in has an eighth more.
    assert_eq!(retained.accept(0, version(90, 2), &message("9", "x")), Outcome::Newer);
    assert_eq!(retained.accept(0, version(91, 2), &message("10", "x")), Outcome::Full);
    assert_eq!(retained.take_refused_count(), 1);
    // Tombstones make room.
    retained.write(&me, 0, &message("0", ""));
    retained.write(&me, 1, &message("1", ""));
    assert!(retained.write(&me, 2, &message("new", "x")).is_some());
    assert_eq!((retained.entry("0"), retained.message_count()), (None, 8));
    assert!(retained.entry("1").is_none(), "the limit holds again");
}

#[test]
fn beyond_the_limit_in_bytes_nothing_grows() {
    let mut retained = Retained::new(RetainedLimits { bytes_max: 2000, ..limits() });
    let me = node(1);
    retained.write(&me, 0, &message("a", vec![b'x'; 500]));
    retained.write(&me, 0, &message("b", vec![b'x'; 500]));
    assert_eq!(retained.write(&me, 0, &message("a", vec![b'x'; 1500])), None);
    assert_eq!(retained.message_count(), 2);
    assert!(retained.bytes() <= 2000);
    assert!(retained.write(&me, 0, &message("b", "")).is_some());
    assert!(retained.write(&me, 0, &message("a", vec![b'x'; 1500])).is_some());
    assert!(retained.entry("b").is_none(), "its tombstone has made room");
    let none = RetainedLimits { messages_max: 0, ..limits() };
    assert_eq!(Retained::new(none).write(&me, 0, &message("a", "x")), None);
}

#[test]
fn a_new_life_counts_on_from_beyond_the_last() {
    let mut retained = Retained::new(limits());
    retained.write(&node(1), 0, &message("a", "x"));
    let mut kept = BTreeMap::new();
    store(&mut kept, retained.take_changes());
    let mut next = loaded(&kept, limits());
    next.begin(Incarnation(0));
    // A thousand writes of the last life may have reached others and not the store.
    assert!(next.write(&node(1), 0, &message("a", "y")).unwrap().counter > 1000);
    let mut empty = Retained::new(limits());
    empty.begin(Incarnation(1_700_000_000_000));
    assert!(empty.write(&node(1), 0, &message("a", "y")).unwrap().counter > 1_700_000_000_000);
}

#[test]
fn no_other_node_can_use_up_the_counters() {
    let mut retained = Retained::new(limits());
    let outcome = retained.accept(0, version(u64::MAX, 2), &message("a", "x"));
    assert_eq!(outcome, Outcome::Older);
    assert_eq!(retained.write(&node(1), 0, &message("a", "y")), Some(version(1, 1)));
}

#[test]
fn a_small_payload_does_not_keep_the_buffer_it_came_in() {
    for (bytes, is_shared) in [(10, false), (100_000, true)] {
        let message = message("a", vec![b'x'; bytes]);
        let mut retained = Retained::new(limits());
        retained.write(&node(1), 0, &message);
        let kept = retained.matching(&Filter::new("a").unwrap()).next().unwrap().clone();
        assert_eq!(kept.payload.as_ptr() == message.payload.as_ptr(), is_shared);
        assert_eq!(kept.message, message);
    }
}

#[test]
fn a_value_reads_as_it_was_written() {
    let entries = [
        what("a/b", "payload"),
        What::Tombstone { deleted_at_secs: 77 },
        what("a/b", vec![0; 100_000]),
    ];
    for what in entries {
        let entry = Entry { version: version(9, 2), what };
        assert_eq!(decode_value("a/b", &encode_value(&entry), 100), Ok(entry));
    }
    let later = Entry { version: version(9, 2), what: What::Tombstone { deleted_at_secs: 77 } };
    let read = decode_value("a", &encode_value(&later), 50).unwrap();
    assert_eq!(read.what, What::Tombstone { deleted_at_secs: 50 }, "the clock was set back");
}

#[test]
fn a_damaged_value_is_refused() {
    let entry = Entry { version: version(9, 2), what: what("a", "x") };
    let value = encode_value(&entry);
    assert!(matches!(decode_value("a", &value[1..], 0), Err(RecordError::Malformed(_))));
    assert!(matches!(decode_value("a", b"", 0), Err(RecordError::Malformed(_))));
    assert!(matches!(decode_value("a/#", &value, 0), Err(RecordError::Topic(_))));
    let longer = [&value[..], b"!"].concat();
    assert_eq!(decode_value("a", &longer, 0), Err(RecordError::TooLong(1)));
}

/// Several nodes, and the notes between them.
struct World {
    now: Now,
    nodes: Vec<(Retained, Exchange)>,
    notes: VecDeque<(usize, usize, Bytes)>,
    /// The largest body that has been on its way.
    bytes_max: usize,
    note_count: usize,
}

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(5);

impl World {
    fn new(count: usize) -> Self {
        let limits = ExchangeLimits { interval: INTERVAL, answer_timeout: TIMEOUT };
        // No tombstone of a test that compares nodes runs out.
        let retained = RetainedLimits { tombstone_secs: 100_000, ..self::limits() };
        let node = |_| (Retained::new(retained.clone()), Exchange::new(limits.clone()));
        Self {
            now: Now { at: Instant::now(), secs: 1_000_000 },
            nodes: (0..count).map(node).collect(),
            notes: VecDeque::new(),
            bytes_max: 0,
            note_count: 0,
        }
    }

    /// All know each other.
    fn meet(&mut self) {
        for at in 0..self.nodes.len() {
            let peers: Vec<_> = (0..self.nodes.len()).filter(|it| *it != at).map(node).collect();
            self.nodes[at].1.set_peers(&peers);
        }
    }

    /// Clocks differ by hours.
    fn now_of(&self, at: usize) -> Now {
        Now { at: self.now.at, secs: self.now.secs + 10_000 * at as u64 }
    }

    fn pass(&mut self, secs: u64) {
        self.now.at += Duration::from_secs(secs);
        self.now.secs += secs;
    }

    fn post(&mut self, from: usize, out: Vec<(NodeId, Bytes)>) {
        for (to, body) in out {
            self.bytes_max = self.bytes_max.max(body.len());
            self.note_count += 1;
            let to = (0..self.nodes.len()).find(|it| node(*it) == to).unwrap();
            self.notes.push_back((from, to, body));
        }
    }

    fn tick(&mut self) {
        for at in 0..self.nodes.len() {
            let (now, mut out) = (self.now_of(at), Vec::new());
            let (retained, exchange) = &mut self.nodes[at];
            exchange.tick(now, retained, &mut out);
            self.post(at, out);
        }
    }

    fn deliver(&mut self, (from, to, body): (usize, usize, Bytes)) -> Result<(), NoteError> {
        let (now, mut out) = (self.now_of(to), Vec::new());
        let (retained, exchange) = &mut self.nodes[to];
        let taken = exchange.on_note(now, &node(from), &body, retained, &mut out);
        self.post(to, out);
        taken
    }

    /// Ticks, and delivers all notes in order.
    fn settle(&mut self) {
        self.tick();
        while let Some(note) = self.notes.pop_front() {
            self.deliver(note).unwrap();
        }
    }

    fn write(&mut self, at: usize, topic: &str, payload: &str) -> Option<Version> {
        let secs = self.now_of(at).secs;
        self.nodes[at].0.write(&node(at), secs, &message(topic, payload.to_owned()))
    }

    fn is_synced(&self, at: usize) -> bool {
        self.nodes[at].1.is_synced()
    }

    /// Versions by topic: what must be the same everywhere.
    fn state(&self, at: usize) -> BTreeMap<String, Entry> {
        let entries = self.nodes[at].0.entries.iter();
        let ageless = |entry: &Entry| match &entry.what {
            What::Message(_) => entry.clone(),
            What::Tombstone { .. } => {
                let what = What::Tombstone { deleted_at_secs: 0 };
                Entry { version: entry.version.clone(), what }
            }
        };
        entries.map(|(topic, entry)| (topic.to_string(), ageless(entry))).collect()
    }

    fn assert_equal(&self) {
        for at in 1..self.nodes.len() {
            assert_eq!(self.state(0), self.state(at), "node-0 and node-{at}");
        }
    }
}

#[test]
fn a_node_that_joins_gets_everything_in_bounded_pieces_one_at_a_time() {
    let mut world = World::new(2);
    for number in 0..3000 {
        world.write(0, &format!("room/{number}"), &"x".repeat(1024));
    }
    world.write(0, "deleted", "");
    world.meet();
    world.tick();
    while let Some(note) = world.notes.pop_front() {
        assert!(world.notes.len() <= 4, "{} notes at once", world.notes.len());
        world.deliver(note).unwrap();
    }
    world.assert_equal();
    assert_eq!(world.nodes[1].0.message_count(), 3000);
    assert!(world.is_synced(0) && world.is_synced(1));
    assert!(world.bytes_max <= 256 * 1024, "{} bytes", world.bytes_max);
    assert!(world.bytes_max > PAGE_BYTES_MAX / 2, "pieces are filled");
    let age = |at: usize| match world.nodes[at].0.entry("deleted").unwrap().what {
        What::Tombstone { deleted_at_secs } => world.now_of(at).secs - deleted_at_secs,
        What::Message(_) => unreachable!("it was deleted"),
    };
    assert_eq!(age(0), age(1), "a tombstone's age does not depend on clocks");
}

#[test]
fn a_message_larger_than_a_piece_travels_alone() {
    let mut world = World::new(2);
    for (topic, bytes) in [("a", 10), ("b", 1_000_000), ("c", 10), ("d", 500_000)] {
        world.write(0, topic, &"x".repeat(bytes));
    }
    world.meet();
    world.settle();
    world.assert_equal();
    assert!(world.bytes_max < 1_000_200);
}

#[test]
fn a_node_that_comes_back_gives_what_only_it_has() {
    let mut world = World::new(3);
    world.write(0, "only/here", "a");
    world.write(1, "all", "1");
    world.write(2, "all", "2");
    world.write(2, "all", "3");
    world.meet();
    world.settle();
    world.assert_equal();
    assert_eq!(payloads(&world.nodes[1].0), ["3", "a"]);
}

#[test]
fn equal_nodes_exchange_two_notes() {
    let mut world = World::new(2);
    world.meet();
    world.settle();
    assert_eq!(world.note_count, 4, "each asks once, and each is told that nothing differs");
    world.settle();
    assert_eq!(world.note_count, 4);
    world.pass(30);
    world.settle();
    assert_eq!(world.note_count, 8, "in time they ask again");
}

#[test]
fn little_travels_where_little_differs() {
    let mut world = World::new(2);
    for number in 0..5000 {
        world.write(0, &format!("room/{number}"), &"x".repeat(1000));
    }
    world.meet();
    world.settle();
    world.write(0, "room/7", "changed");
    world.pass(30);
    world.bytes_max = 0;
    world.tick();
    let mut bytes = 0;
    while let Some(note) = world.notes.pop_front() {
        bytes += note.2.len();
        world.deliver(note).unwrap();
    }
    world.assert_equal();
    assert!(bytes < 100_000, "{bytes} bytes for one message of {}", 5000);
}

#[test]
fn a_node_is_synced_when_each_that_lives_has_answered_and_stays_so() {
    let mut world = World::new(3);
    assert!(!world.is_synced(0), "it has heard of nobody yet");
    world.nodes[0].1.set_peers(&[node(1), node(2)]);
    world.settle();
    assert!(world.is_synced(0), "those that have not joined themselves answer too");
    // Two are asked, one of them does not answer and is gone then.
    let mut world = World::new(3);
    world.nodes[0].1.set_peers(&[node(1), node(2)]);
    world.tick();
    while let Some(note) = world.notes.pop_front() {
        if note.1 != 2 {
            world.deliver(note).unwrap();
        }
    }
    assert!(!world.is_synced(0));
    world.nodes[0].1.set_peers(&[node(1)]);
    assert!(world.is_synced(0));
    world.nodes[0].1.set_peers(&[node(1), node(2)]);
    assert!(world.is_synced(0), "who comes later is asked in turn");
    world.nodes[0].1.rejoin();
    assert!(!world.is_synced(0));
    world.settle();
    assert!(world.is_synced(0));
    // Alone.
    let mut world = World::new(1);
    world.meet();
    assert!(world.is_synced(0));
}

#[test]
fn what_is_not_answered_is_asked_again_after_the_others() {
    let mut world = World::new(3);
    world.nodes[0].1.set_peers(&[node(1), node(2)]);
    let mut asked = Vec::new();
    for _ in 0..6 {
        world.tick();
        asked.extend(world.notes.drain(..).map(|(_, to, _)| to));
        world.pass(TIMEOUT.as_secs());
    }
    assert_eq!(asked, [1, 2, 1, 2], "the second time they get twice as long");
}

#[test]
fn a_late_or_repeated_answer_is_no_answer_to_what_is_asked_now() {
    let mut world = World::new(3);
    for number in 0..600 {
        world.write(1, &format!("room/{number}"), &"x".repeat(1024));
    }
    world.nodes[0].1.set_peers(&[node(1)]);
    world.tick();
    while let Some(note) = world.notes.pop_front() {
        for _ in 0..3 {
            world.deliver(note.clone()).unwrap();
        }
        let for_others: Vec<_> = world.notes.drain(..).collect();
        let is_want =
            |body: &[u8]| matches!(RetainedNote::read(body), Ok(RetainedNote::Want { .. }));
        let wants = for_others.iter().filter(|(_, _, body)| is_want(body)).count();
        assert!(wants <= 1, "an answer that comes thrice asks for the next piece once");
        world.notes.extend(for_others.into_iter().take(1));
    }
    assert_eq!(world.state(0), world.state(1));
}

#[test]
fn a_node_without_room_asks_rarely() {
    let mut world = World::new(2);
    world.nodes[0].0 = Retained::new(RetainedLimits { messages_max: 8, ..limits() });
    for number in 0..20 {
        world.write(1, &format!("{number}"), "x");
    }
    world.nodes[0].1.set_peers(&[node(1)]);
    world.settle();
    assert!(world.is_synced(0));
    assert_eq!(world.nodes[0].0.message_count(), 9);
    assert_eq!(world.nodes[0].0.take_refused_count(), 11);
    let before = world.note_count;
    world.pass(19 * INTERVAL.as_secs());
    world.settle();
    assert_eq!(world.note_count, before);
    world.pass(INTERVAL.as_secs());
    world.settle();
    assert!(world.note_count > before);
}

#[test]
fn what_no_node_says_is_an_error_and_changes_nothing() {
    let place = Place { hash: 1, topic: Arc::from("a") };
    let entry = Entry { version: version(1, 1), what: what("a", "x") };
    let record = |topic: &str| Record::of(&Arc::from(topic), &entry, 0);
    let span = |first, last| Span { first, last };
    let wrong = [
        RetainedNote::Ask { number: 1, summary: vec![1; 300] },
        RetainedNote::Want { number: 1, spans: vec![span(2, 1)], after: None },
        RetainedNote::Want { number: 1, spans: vec![span(1, 3), span(2, 4)], after: None },
        RetainedNote::Want {
            number: 1,
            spans: (0..257).map(|n| span(n, n)).collect(),
            after: None,
        },
        RetainedNote::Have { number: 1, records: vec![record("a/#")], until: None },
        RetainedNote::Have { number: 1, records: vec![], until: Some(place) },
        RetainedNote::Differ { number: 1, spans: vec![span(5, 6), span(1, 2)] },
    ];
    for note in wrong {
        let mut world = World::new(2);
        world.nodes[0].1.set_peers(&[node(1)]);
        world.tick();
        world.notes.clear();
        assert!(world.deliver((1, 0, note.to_bytes())).is_err(), "{note:?}");
        assert_eq!(world.nodes[0].0.message_count(), 0);
        world.pass(TIMEOUT.as_secs());
        world.settle();
        assert!(world.is_synced(0), "it goes on");
    }
    let longer = [&RetainedNote::Done.to_bytes()[..], b"!"].concat();
    assert_eq!(RetainedNote::read(&longer), Err(NoteError::TooLong(1)));
}

/// What happens to nodes in a test of convergence.
#[derive(Clone, Debug)]
enum Event {
    /// A client publishes; which other nodes hear of it at once.
    Write {
        at: usize,
        topic: usize,
        payload: u8,
        heard_by: [bool; 3],
    },
    Pass(u64),
    /// Notes at some places of the queue are lost (0), delivered and kept for again (1), delivered.
    Carry(Vec<(prop::sample::Index, u8)>),
    Rejoin(usize),
    Restart(usize),
}

fn any_event() -> impl Strategy<Value = Event> {
    let fate = (any::<prop::sample::Index>(), 0..4_u8);
    prop_oneof![
        8 => (0..3_usize, 0..12_usize, 0..3_u8, any::<[bool; 3]>()).prop_map(
            |(at, topic, payload, heard_by)| Event::Write { at, topic, payload, heard_by }
        ),
        2 => (0..40_u64).prop_map(Event::Pass),
        6 => prop::collection::vec(fate, 0..12).prop_map(Event::Carry),
        1 => (0..3_usize).prop_map(Event::Rejoin),
        1 => (0..3_usize).prop_map(Event::Restart),
    ]
}

struct Trial {
    world: World,
    stores: Vec<BTreeMap<Arc<str>, Bytes>>,
    /// The last word on each topic.
    last: BTreeMap<String, (Version, Message)>,
}

impl Trial {
    fn new() -> Self {
        let mut world = World::new(3);
        world.meet();
        Self { world, stores: vec![BTreeMap::new(); 3], last: BTreeMap::new() }
    }

    fn keep(&mut self) {
        for at in 0..3 {
            store(&mut self.stores[at], self.world.nodes[at].0.take_changes());
        }
    }

    fn write(&mut self, at: usize, topic: usize, payload: u8, heard_by: [bool; 3]) {
        let topic = format!("t/{topic}");
        let payload = if payload == 0 { String::new() } else { payload.to_string() };
        let Some(version) = self.world.write(at, &topic, &payload) else {
            return;
        };
        let message = message(&topic, payload);
        for (other, heard) in heard_by.into_iter().enumerate() {
            if heard && other != at {
                let secs = self.world.now_of(other).secs;
                self.world.nodes[other].0.accept(secs, version.clone(), &message);
            }
        }
        let last = self.last.entry(topic).or_insert_with(|| (version.clone(), message.clone()));
        if version > last.0 {
            *last = (version, message);
        }
    }

    fn carry(&mut self, fates: &[(prop::sample::Index, u8)]) {
        self.world.tick();
        for (index, fate) in fates {
            let count = self.world.notes.len();
            if count == 0 {
                return;
            }
            let note = self.world.notes.remove(index.index(count)).unwrap();
            if *fate == 1 {
                self.world.notes.push_back(note.clone());
            }
            if *fate > 0 {
                self.world.deliver(note).unwrap();
            }
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Write { at, topic, payload, heard_by } => {
                self.write(*at, *topic, *payload, *heard_by);
            }
            Event::Pass(secs) => self.world.pass(*secs),
            Event::Carry(fates) => self.carry(fates),
            Event::Rejoin(at) => self.world.nodes[*at].1.rejoin(),
            Event::Restart(at) => {
                self.keep();
                let limits = self.world.nodes[*at].0.limits.clone();
                let mut retained = loaded(&self.stores[*at], limits);
                retained.begin(Incarnation(0));
                self.world.nodes[*at] = (retained, World::new(1).nodes.remove(0).1);
                self.world.meet();
            }
        }
        self.keep();
    }

    /// Nothing is lost any more, and nobody writes.
    fn quiet(&mut self) {
        for _ in 0..20 {
            self.world.pass(30);
            self.world.settle();
        }
        self.keep();
    }
}

/// What all indexes of a map must agree on.
fn assert_sound(retained: &Retained) {
    let mut digest = Digest::default();
    let mut bytes = 0;
    let mut tombstones = 0;
    for (topic, entry) in &retained.entries {
        digest.toggle(topic_hash(topic), &entry.version);
        assert!(retained.by_hash.contains(&(topic_hash(topic), Arc::clone(topic))));
        let cost = super::cost(topic, &entry.what);
        bytes += cost;
        if let What::Tombstone { deleted_at_secs } = entry.what {
            assert!(retained.tombstones.contains(&(deleted_at_secs, Arc::clone(topic))));
            tombstones += cost;
        }
    }
    assert_eq!(retained.by_hash.len(), retained.entries.len());
    assert_eq!((retained.bytes, retained.tombstone_bytes), (bytes, tombstones));
    assert_eq!(retained.differing(&digest.summary(1 << 30)), Ok(vec![]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nodes_end_with_the_last_word_on_every_topic(
        events in prop::collection::vec(any_event(), 0..60),
    ) {
        let mut trial = Trial::new();
        for event in &events {
            trial.happen(event);
        }
        trial.quiet();
        trial.world.assert_equal();
        for at in 0..3 {
            prop_assert!(trial.world.is_synced(at));
            let retained = &trial.world.nodes[at].0;
            assert_sound(retained);
            let stored = loaded(&trial.stores[at], limits());
            prop_assert_eq!(&stored.entries, &retained.entries);
            for (topic, (version, message)) in &trial.last {
                match retained.entry(topic) {
                    Some(entry) => {
                        prop_assert_eq!(&entry.version, version);
                        if let What::Message(kept) = &entry.what {
                            prop_assert_eq!(&kept.payload, &message.payload);
                        }
                    }
                    None => prop_assert!(false, "{} is forgotten", topic),
                }
            }
        }
    }

    #[test]
    fn a_map_stays_sound_at_its_limits(
        events in prop::collection::vec((0..12_usize, 0..400_usize, 0..3_usize, 0..4_u64), 0..80),
    ) {
        let limits = RetainedLimits { messages_max: 6, bytes_max: 3000, tombstone_secs: 10 };
        let mut retained = Retained::new(limits.clone());
        let mut kept = BTreeMap::new();
        let mut now_secs = 0;
        for (topic, bytes, kind, secs) in events {
            now_secs += secs;
            let message = message(&format!("{topic}"), vec![b'x'; bytes]);
            let deletion = self::message(&format!("{topic}"), "");
            match kind {
                0 => drop(retained.write(&node(1), now_secs, &message)),
                1 => drop(retained.write(&node(1), now_secs, &deletion)),
                _ => drop(retained.accept(now_secs, version(bytes as u64, 2), &message)),
            }
            retained.expire(now_secs);
            prop_assert!(retained.entries.len() <= 6 && retained.bytes() <= 3375);
            assert_sound(&retained);
            store(&mut kept, retained.take_changes());
        }
        prop_assert_eq!(&loaded(&kept, limits).entries.len(), &retained.entries.len());
    }

    #[test]
    fn no_note_kills(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut world = World::new(2);
        world.meet();
        world.tick();
        let _ = world.deliver((1, 0, Bytes::from(body)));
    }

    #[test]
    fn no_damaged_note_kills(at in any::<prop::sample::Index>(), byte in any::<u8>(), nth in 0..5_usize) {
        let mut world = World::new(2);
        world.write(0, "a", "1");
        world.write(1, "b", "2");
        world.meet();
        world.tick();
        for number in 0..20 {
            let Some((from, to, body)) = world.notes.pop_front() else { break };
            let mut body = body.to_vec();
            if number == nth {
                let at = at.index(body.len());
                body[at] = byte;
            }
            let _ = world.deliver((from, to, Bytes::from(body)));
        }
    }
}
