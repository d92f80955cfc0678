//! The log on a disk in memory, at every place where it may be interrupted; and the thread around it.

mod crash;
mod damage;
mod disk;
mod space;
mod writer;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use self::disk::Disk;
use super::{
    log::{Limits, Log, LogError},
    recover::{Recovered, recover},
};
use crate::store::{Batch, Entry, Key};

const LIMITS: Limits = Limits { segment_bytes: 4096, bytes_max: None };
const SALT: u32 = 0x1234_5678;

/// What must be kept: each key with its value.
type Model = BTreeMap<Key, Bytes>;

fn key(number: u64) -> Key {
    Key(format!("key-{number:03}").into_bytes().into())
}

fn value(text: &str, length: usize) -> Bytes {
    text.bytes().cycle().take(length).collect()
}

fn put(number: u64, text: &str, length: usize) -> Batch {
    let mut batch = Batch::default();
    batch.put(key(number), value(text, length));
    batch
}

fn delete(number: u64) -> Batch {
    Batch { deletes: vec![key(number)], puts: Vec::new() }
}

fn apply(model: &mut Model, batch: &Batch) {
    for key in &batch.deletes {
        model.remove(key);
    }
    for entry in &batch.puts {
        for key in &entry.keys {
            model.insert(key.clone(), entry.value.clone());
        }
    }
}

/// The keys of entries with their values; each key stands once.
#[track_caller]
fn content(entries: &[Entry]) -> Model {
    let mut model = Model::new();
    for entry in entries {
        assert!(!entry.keys.is_empty());
        for key in &entry.keys {
            assert_eq!(model.insert(key.clone(), entry.value.clone()), None, "{key:?} twice");
        }
    }
    model
}

fn open_limited(disk: &Disk, limits: Limits) -> Recovered {
    recover(Box::new(disk.clone()), limits, SALT).unwrap()
}

fn open(disk: &Disk) -> Recovered {
    open_limited(disk, LIMITS)
}

/// Writes each batch as a group of its own.
fn write(log: &mut Log, batches: impl IntoIterator<Item = Batch>) {
    for batch in batches {
        write_group(log, vec![batch]).unwrap();
    }
}

fn write_group(log: &mut Log, batches: Vec<Batch>) -> Result<(), LogError> {
    let group = log.group(batches);
    log.write(&group)
}

fn rest(log: &mut Log) {
    while log.has_idle_work() {
        write_group(log, Vec::new()).unwrap();
    }
}

#[test]
fn what_is_written_is_there_after_reopening() {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    let mut both = put(3, "shared", 300);
    both.puts[0].keys.push(key(4));
    write(&mut log, [put(1, "one", 100), put(2, "two", 0), both, put(1, "new", 50)]);
    write(&mut log, [delete(2), delete(99), delete(3)]);
    let Recovered { entries, report, .. } = open(&disk);
    let expected = Model::from([(key(1), value("new", 50)), (key(4), value("shared", 300))]);
    assert_eq!(content(&entries), expected);
    assert_eq!((report.batches, report.cut, report.damages), (7, None, vec![]));
}

#[test]
fn within_a_batch_deletions_come_first() {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    let mut batch = put(1, "kept", 10);
    batch.delete(key(1));
    write(&mut log, [put(1, "old", 10), batch]);
    assert_eq!(content(&open(&disk).entries), Model::from([(key(1), value("kept", 10))]));
}

#[test]
fn an_entry_with_several_keys_comes_back_as_one() {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    let keys = [key(3), key(1), key(2), key(1)].into_iter().collect();
    let entry = Entry { keys, value: value("shared", 20) };
    write(&mut log, [Batch { deletes: Vec::new(), puts: vec![entry.clone()] }]);
    write(&mut log, [put(3, "own", 20)]);
    let mut entries = open(&disk).entries;
    entries.sort_by(|a, b| a.keys.cmp(&b.keys));
    let left = [key(1), key(2)].into_iter().collect();
    assert_eq!(entries[0], Entry { keys: left, ..entry });
    assert_eq!(entries.len(), 2);
}

#[test]
fn segments_go_once_nothing_in_them_lives_and_their_deletions_with_them() {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    write(&mut log, [put(1, "stays in the oldest", 10)]);
    write(&mut log, (2..40).map(|number| put(number, "short", 500)));
    assert!(log.index.segments() > 4);
    write(&mut log, (2..40).map(delete));
    write(&mut log, [delete(1)]);
    rest(&mut log);
    assert_eq!((log.index.segments(), log.index.live_bytes()), (1, 0));
    assert_eq!(content(&open(&disk).entries), Model::new());
}

#[test]
fn a_deletion_is_not_forgotten_while_an_older_segment_holds_what_it_deleted() {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    write(&mut log, [put(1, "goes", 10), put(2, "stays", 10)]);
    write(&mut log, (10..20).map(|number| put(number, "fills", 1000)));
    write(&mut log, [delete(1)]);
    // All that lives in the segments between goes, that of the deletion too.
    write(&mut log, (10..20).map(delete));
    write(&mut log, (10..20).map(|number| put(number, "fills", 1000)));
    write(&mut log, (10..20).map(delete));
    rest(&mut log);
    assert_eq!(content(&open(&disk).entries), Model::from([(key(2), value("stays", 10))]));
}

#[test]
fn a_long_value_has_a_segment_of_its_own() {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    let batches = [put(1, "short", 10), put(2, "long", 20_000), put(3, "short", 10)];
    let mut model = Model::new();
    for batch in &batches {
        apply(&mut model, batch);
    }
    write(&mut log, batches);
    assert_eq!(log.index.segments(), 3);
    assert_eq!(content(&open(&disk).entries), model);
}

#[test]
fn keys_and_values_of_every_length_come_back() {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    let lengths = [0, 1, 2, 23, 24, 25, 127, 128, 129, 16_383, 16_384, 66_000];
    let entry = |length| Entry {
        keys: [Key(vec![7; length].into())].into_iter().collect(),
        value: value("v", length * 3),
    };
    let puts: Vec<Entry> = lengths.into_iter().map(entry).collect();
    write(&mut log, [Batch { deletes: Vec::new(), puts: puts.clone() }]);
    let key_of = |entry: &Entry| entry.keys[0].clone();
    let found: BTreeSet<Key> = open(&disk).entries.iter().map(key_of).collect();
    assert_eq!(found, puts.iter().map(key_of).collect());
    assert_eq!(content(&open(&disk).entries), content(&puts));
}
