//! The judge: what talkers were promised, what listeners had, and the difference.
//!
//! A stream is one topic, numbered from 0 by its only talker. Its topic ends with its QoS.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use causeway_common::qos::QoS;
use parking_lot::Mutex;

/// What all talkers and listeners of a run write down.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By topic: how many numbers were published, all of them acknowledged at the end.
    promised: Mutex<BTreeMap<String, u64>>,
    /// By listener and topic: every number that came, as it came.
    heard: Mutex<BTreeMap<(String, String), Vec<u64>>>,
    /// What no server may do.
    faults: Mutex<Vec<String>>,
    acked: AtomicU64,
    /// Connections that found their session.
    resumed: AtomicU64,
    /// The longest time from a connection to its CONNACK.
    slowest_login: Mutex<Duration>,
}

/// What a run comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Messages acknowledged to their talkers, once for each listener.
    pub(crate) due: u64,
    /// Of these, how many never came.
    pub(crate) missing: u64,
    /// How many came again with QoS 1, which is allowed.
    pub(crate) repeated: u64,
    /// How many came again with QoS 2.
    pub(crate) duplicated: u64,
    /// How many came for the first time behind a later one.
    pub(crate) disordered: u64,
    /// How many came that nobody published.
    pub(crate) invented: u64,
}

impl Ledger {
    /// Another PUBACK or PUBREC.
    pub(crate) fn note_acked(&self) {
        self.acked.fetch_add(1, Ordering::Relaxed);
    }

    /// How many acknowledgements there were.
    pub(crate) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// A connection that found its session, and how long its login took.
    pub(crate) fn note_resumed(&self, took: Duration) {
        self.resumed.fetch_add(1, Ordering::Relaxed);
        let mut slowest = self.slowest_login.lock();
        *slowest = slowest.max(took);
    }

    /// The longest time such a login has taken.
    pub(crate) fn slowest_login(&self) -> Duration {
        *self.slowest_login.lock()
    }

    /// How many of them there were.
    pub(crate) fn resumed(&self) -> u64 {
        self.resumed.load(Ordering::Relaxed)
    }

    /// What a talker has published, and has the acknowledgements for.
    pub(crate) fn promise(&self, topic: &str, count: u64) {
        self.promised.lock().insert(topic.to_owned(), count);
    }

    /// A message that is no repetition by its packet identifier.
    pub(crate) fn hear(&self, listener: &str, topic: &str, number: u64) {
        let key = (listener.to_owned(), topic.to_owned());
        self.heard.lock().entry(key).or_default().push(number);
    }

    /// Something that no server may do.
    pub(crate) fn fault(&self, what: String) {
        self.faults.lock().push(what);
    }

    /// Whether a listener has had a number.
    pub(crate) fn has_heard(&self, listener: &str, topic: &str, number: u64) -> bool {
        let key = (listener.to_owned(), topic.to_owned());
        self.heard.lock().get(&key).is_some_and(|numbers| numbers.contains(&number))
    }

    /// All topics that were promised.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.promised.lock().keys().cloned().collect()
    }

    /// Faults so far.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.lock().clone()
    }

    /// What it comes to for these listeners, each of which wants every topic; and a sentence for
    /// each stream that is not whole.
    pub(crate) fn judge(&self, listeners: &[String]) -> (Tally, Vec<String>) {
        let (promised, heard) = (self.promised.lock(), self.heard.lock());
        let (mut total, mut complaints) = (Tally::default(), Vec::new());
        for listener in listeners {
            for (topic, count) in &*promised {
                let key = (listener.clone(), topic.clone());
                let numbers = heard.get(&key).map_or(&[][..], Vec::as_slice);
                let (tally, first) = judge(*count, numbers, qos_of(topic));
                total.add(tally);
                if let Some(first) = first {
                    complaints.push(format!("{listener}, {topic}: {first}; {tally:?}"));
                }
            }
        }
        (total, complaints)
    }
}

impl Tally {
    /// Nothing lost, nothing of QoS 2 twice, all in order.
    pub(crate) fn is_clean(self) -> bool {
        let Self { missing, duplicated, disordered, invented, .. } = self;
        missing + duplicated + disordered + invented == 0
    }

    fn add(&mut self, other: Self) {
        self.due += other.due;
        self.missing += other.missing;
        self.repeated += other.repeated;
        self.duplicated += other.duplicated;
        self.disordered += other.disordered;
        self.invented += other.invented;
    }
}

/// The QoS at the end of a topic.
pub(crate) fn qos_of(topic: &str) -> QoS {
    match topic.rsplit('/').next() {
        Some("1") => QoS::AtLeastOnce,
        Some("2") => QoS::ExactlyOnce,
        _ => panic!("{topic} ends with no QoS of a stream"),
    }
}

/// Judges one stream; the sentence tells the first thing that is wrong. [`LAST`] counts as none.
fn judge(count: u64, numbers: &[u64], qos: QoS) -> (Tally, Option<String>) {
    let mut tally = Tally { due: count, ..Tally::default() };
    let mut times = vec![0_u64; usize::try_from(count).expect("few")];
    let (mut wrong, mut highest) = (None, None);
    for (at, number) in numbers.iter().copied().enumerate().filter(|(_, number)| *number != LAST) {
        let Some(times) = usize::try_from(number).ok().and_then(|number| times.get_mut(number))
        else {
            tally.invented += 1;
            continue;
        };
        *times += 1;
        let (is_first, is_late) = (*times == 1, highest.is_some_and(|highest| number < highest));
        tally.disordered += u64::from(is_first && is_late);
        tally.repeated += u64::from(!is_first && qos == QoS::AtLeastOnce);
        tally.duplicated += u64::from(!is_first && qos == QoS::ExactlyOnce);
        if is_late && (is_first || qos == QoS::ExactlyOnce) && wrong.is_none() {
            let around = &numbers[at.saturating_sub(6)..numbers.len().min(at + 6)];
            wrong = Some(format!("{number} comes late in {around:?}"));
        }
        highest = highest.max(Some(number));
    }
    let missing: Vec<usize> =
        times.iter().enumerate().filter(|(_, times)| **times == 0).map(|(at, _)| at).collect();
    tally.missing = missing.len() as u64;
    if !missing.is_empty() {
        let few = &missing[..missing.len().min(12)];
        wrong = Some(format!("{few:?} and so on are missing"));
    }
    let wrong = wrong.or_else(|| (!tally.is_clean()).then(|| "not as published".to_owned()));
    (tally, wrong)
}

/// The number of a last message, sent when all is quiet: whatever is still repeated comes before.
pub(crate) const LAST: u64 = u64::MAX;

#[test]
fn the_judge_sees_what_is_missing_twice_late_and_invented() {
    let of = |numbers: &[u64], qos| judge(4, numbers, qos).0;
    let clean = Tally { due: 4, ..Tally::default() };
    let (one, two) = (QoS::AtLeastOnce, QoS::ExactlyOnce);
    assert_eq!(of(&[0, 1, 2, 3, LAST], two), clean);
    assert_eq!(of(&[0, 1, 2, 1, 2, 3], one), Tally { repeated: 2, ..clean });
    assert_eq!(of(&[0, 1, 2, 1, 2, 3], two), Tally { duplicated: 2, ..clean });
    assert_eq!(of(&[0, 1, 1, 2, 3], two), Tally { duplicated: 1, ..clean });
    assert_eq!(of(&[0, 2, 3], two), Tally { missing: 1, ..clean });
    assert_eq!(of(&[0, 2, 1, 3], one), Tally { disordered: 1, ..clean });
    assert_eq!(of(&[0, 1, 2, 3, 4], one), Tally { invented: 1, ..clean });
    for (numbers, qos) in [(&[0, 1, 2][..], one), (&[0, 1, 1, 2, 3], two), (&[1, 0, 2, 3], one)] {
        assert!(judge(4, numbers, qos).1.is_some(), "{numbers:?}");
    }
    assert_eq!(judge(4, &[0, 1, 0, 1, 2, 3], one).1, None);
}
