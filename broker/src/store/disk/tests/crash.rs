//! Crashes between any two operations, with any part of what was not synced gone.
//!
//! The model is the list of all batches: after a crash the store must hold what some beginning of
//! the list left, no shorter than what had been said to be durable.

use proptest::prelude::*;

use super::{
    super::log::LogError,
    disk::{Disk, Fault},
    *,
};

/// One act on a log.
#[derive(Clone, Debug)]
enum Act {
    /// Batches in one group.
    Write(Vec<Batch>),
    /// Idle time.
    Rest,
    /// Closed without a crash and opened again.
    Reopen,
    /// After so many operations the machine stops.
    Crash(usize),
}

fn batch() -> impl Strategy<Value = Batch> {
    let deletes = prop::collection::vec((0_u64..24).prop_map(key), 0..6);
    let entry =
        (prop::collection::vec((0_u64..24).prop_map(key), 1..4), 0_usize..700, "[a-z]{1,8}");
    let entry = entry.prop_map(|(keys, length, text)| Entry {
        keys: keys.into_iter().collect(),
        value: value(&text, length),
    });
    (deletes, prop::collection::vec(entry, 0..4))
        .prop_map(|(deletes, puts)| Batch { deletes, puts })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => prop::collection::vec(batch(), 1..5).prop_map(Act::Write),
        1 => Just(Act::Rest),
        1 => Just(Act::Reopen),
        2 => (0_usize..12).prop_map(Act::Crash),
    ]
}

/// Bits that repeat: what survives a crash. Their share is part of the case.
struct Chance {
    state: u64,
    share: u64,
}

impl Chance {
    fn next(&mut self) -> bool {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.state >> 33) % 8 < self.share
    }
}

/// A log, and everything that was ever written to it.
struct Trial {
    disk: Disk,
    log: Log,
    history: Vec<Batch>,
    durable: usize,
    /// What was there after each of the last batches.
    model: Model,
    chance: Chance,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let disk = Disk::default();
        let log = open(&disk).log;
        let chance = Chance { state: seed, share: seed % 9 };
        Self { disk, log, history: Vec::new(), durable: 0, model: Model::new(), chance }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Write(batches) => self.write(batches),
            Act::Rest => {
                while self.log.has_idle_work() && !self.disk.has_crashed() {
                    let group = self.log.group(Vec::new());
                    let _ = self.log.write(&group);
                }
                self.restart_if_crashed();
            }
            Act::Reopen => self.reopen(self.disk.clone()),
            Act::Crash(operations) => self.disk.set(Fault::Crash(operations)),
        }
    }

    fn write(&mut self, batches: Vec<Batch>) {
        self.history.extend(batches.iter().cloned());
        let group = self.log.group(batches);
        if self.log.write(&group).is_ok() {
            let news = self.history.split_off(self.durable);
            for batch in &news {
                apply(&mut self.model, batch);
            }
            self.history.extend(news);
            self.durable = self.history.len();
        }
        self.restart_if_crashed();
    }

    /// The machine stops and starts, and may stop again while the log is opened.
    fn restart_if_crashed(&mut self) {
        if !self.disk.has_crashed() {
            return;
        }
        for operations in 0..3 {
            self.disk = self.disk.restart(&mut || self.chance.next());
            self.disk.set(Fault::Crash(operations));
            let opened = recover(Box::new(self.disk.clone()), LIMITS, SALT);
            if opened.is_ok() && !self.disk.has_crashed() {
                break;
            }
        }
        let disk = self.disk.restart(&mut || self.chance.next());
        self.reopen(disk);
    }

    fn reopen(&mut self, disk: Disk) {
        disk.set(Fault::None);
        let Recovered { log, entries, report } = open(&disk);
        assert_eq!(report.damages, [], "a crash is no damage");
        let found = content(&entries);
        let (durable, pending) = self.history.split_at(self.durable);
        let mut kept = durable.len();
        let mut model = self.model.clone();
        for batch in pending {
            if model == found {
                break;
            }
            apply(&mut model, batch);
            kept += 1;
        }
        assert_eq!(model, found, "durable: {}, of {}", self.durable, self.history.len());
        // What is seen once stays.
        self.history.truncate(kept);
        self.durable = kept;
        self.model = model;
        self.disk = disk;
        self.log = log;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_durable_is_lost_and_no_batch_is_halved_by_a_crash(
        acts in prop::collection::vec(act(), 1..80),
        seed: u64,
    ) {
        let mut trial = Trial::new(seed);
        for act in acts {
            trial.act(act);
        }
        trial.act(Act::Reopen);
    }

    #[test]
    fn every_operation_may_be_the_last(
        groups in prop::collection::vec(prop::collection::vec(batch(), 1..4), 1..25),
        seed: u64,
    ) {
        let mut whole = Trial::new(seed);
        for group in &groups {
            whole.act(Act::Write(group.clone()));
        }
        let operations = whole.disk.operations();
        for last in 0..operations {
            let mut trial = Trial::new(seed.wrapping_add(last as u64));
            trial.disk.set(Fault::Crash(last));
            for group in &groups {
                trial.act(Act::Write(group.clone()));
            }
            trial.act(Act::Reopen);
        }
    }
}

#[test]
fn a_group_whose_sync_failed_is_the_last() {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    write(&mut log, [put(1, "safe", 10)]);
    disk.set(Fault::Sync(0));
    let failed = write_group(&mut log, vec![put(2, "lost", 10)]);
    assert!(matches!(failed, Err(LogError::Failed(_))), "{failed:?}");
    let left = disk.restart(&mut || false);
    assert_eq!(content(&open(&left).entries), Model::from([(key(1), value("safe", 10))]));
}

/// The writes of a group reach the disk in any order: a hole in it is no damage.
#[test]
fn the_end_of_an_unsynced_group_without_its_beginning_is_cut_off() {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    write(&mut log, [put(1, "safe", 10)]);
    let safe = disk.read("000000000001.segment");
    write_group(&mut log, (2..6).map(|number| put(number, "torn", 100)).collect()).unwrap();
    let mut torn = disk.read("000000000001.segment");
    let start = safe.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    torn[start..start + 100].fill(0);
    let copy = Disk::default();
    copy.put("000000000001.segment", torn);
    let Recovered { entries, report, mut log } = open(&copy);
    assert_eq!(content(&entries), Model::from([(key(1), value("safe", 10))]));
    assert_eq!(report.damages, []);
    assert!(report.cut.is_some());
    // As long as the first that was cut: the others would follow it.
    write(&mut log, [put(7, "next", 100)]);
    assert_eq!(content(&open(&copy).entries).len(), 2, "what was cut does not come back");
}
