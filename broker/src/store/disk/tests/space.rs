//! Disks that fill up, and how much room the log takes.

use super::{super::log::LogError, disk::Fault, *};

/// The same keys over and over, as a queue that is drained; others stay.
fn churn(log: &mut Log, model: &mut Model, rounds: u64) {
    for round in 0..rounds {
        let batch = put(round % 20, "changes", 150);
        apply(model, &batch);
        write(log, [batch]);
    }
}

#[test]
fn the_log_stays_within_three_times_what_lives_and_two_segments() {
    let disk = Disk::default();
    let limits = Limits { segment_bytes: 16 << 10, ..LIMITS };
    let mut log = open_limited(&disk, limits).log;
    let mut model = Model::new();
    for number in 100..200 {
        let batch = put(number, "stays for ever", 400);
        apply(&mut model, &batch);
        write(&mut log, [batch]);
    }
    for _ in 0..60 {
        churn(&mut log, &mut model, 200);
        let most = 3 * log.index.live_bytes() + 2 * limits.segment_bytes;
        assert!(log.index.bytes() <= most, "{} > {most}", log.index.bytes());
        assert!(disk.bytes() as u64 <= most + limits.segment_bytes);
    }
    rest(&mut log);
    let headers = (log.index.segments() * 1024) as u64;
    let most = 2 * log.index.live_bytes() + 2 * limits.segment_bytes + headers;
    assert!(log.index.bytes() <= most);
    assert_eq!(content(&open(&disk).entries), model);
}

#[test]
fn moving_keeps_what_is_deleted_meanwhile_deleted() {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    let mut model = Model::new();
    for number in 100..160 {
        write(&mut log, [put(number, "first", 300)]);
        apply(&mut model, &put(number, "first", 300));
    }
    for number in 100..160 {
        churn(&mut log, &mut model, 40);
        write(&mut log, [delete(number)]);
        apply(&mut model, &delete(number));
        assert_eq!(content(&open(&disk.copy()).entries), model);
    }
}

#[test]
fn a_group_that_did_not_fit_is_written_once_there_is_space() {
    for space in 2000..2300 {
        let disk = Disk::default();
        let mut log = open(&disk).log;
        write(&mut log, [put(1, "fits", 300)]);
        // From here on files may not grow: the zeros ahead of the end are all there is.
        let full = disk.copy();
        let mut log = open(&full).log;
        let bytes = full.bytes();
        full.set(Fault::Full(bytes + space - 2000));
        let big: Vec<Batch> = (2..9).map(|number| put(number, "waits", 900)).collect();
        let group = log.group(big);
        for _ in 0..3 {
            let refused = log.write(&group);
            assert!(matches!(refused, Err(LogError::Later(_))), "{refused:?}");
        }
        let stopped = full.restart(&mut || true);
        let there = content(&open(&stopped).entries);
        assert!(there.contains_key(&key(1)) && there.values().all(|value| value.len() >= 300));
        full.set(Fault::None);
        log.write(&group).unwrap();
        let Recovered { entries, report, .. } = open(&full);
        assert_eq!((content(&entries).len(), report.damages, report.cut), (8, vec![], None));
    }
}

#[test]
fn a_full_store_takes_what_frees_space_and_then_the_rest() {
    let disk = Disk::default();
    let limits = Limits { bytes_max: Some(16 * 4096), ..LIMITS };
    let mut log = open_limited(&disk, limits).log;
    let mut number = 0;
    while log.admits(&[put(number, "fills", 300)]) || log.has_idle_work() {
        if log.has_idle_work() {
            rest(&mut log);
        } else {
            write(&mut log, [put(number, "fills", 300)]);
            number += 1;
        }
    }
    assert!(number > 100, "{number}");
    let new = || put(number, "new", 300);
    assert!(!log.admits(&[new()]));
    assert!(log.admits(&[delete(0)]));
    assert!(log.admits(&[new(), delete(0), delete(1)]));
    assert!(log.admits(&[new(), delete(number)]), "it goes as it comes");
    assert!(!log.admits(&[delete(number), new()]));
    write(&mut log, (0..number).map(delete));
    rest(&mut log);
    assert!(log.admits(&[new()]));
    assert!(log.index.bytes() < 16 * 4096);
}

#[test]
fn a_segment_that_cannot_be_read_any_more_is_kept_until_the_next_start() {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    let mut model = Model::new();
    write(&mut log, [put(100, "in the oldest", 300), put(101, "in the oldest", 300)]);
    // The file is not written to any more.
    churn(&mut log, &mut model, 30);
    let mut bytes = disk.read("000000000001.segment");
    bytes[1024 + 100] ^= 1;
    disk.put("000000000001.segment", bytes);
    churn(&mut log, &mut model, 500);
    assert!(log.compaction.halted);
    let Recovered { entries, report, .. } = open(&disk);
    assert_eq!(report.damages.len(), 1);
    model.insert(key(101), value("in the oldest", 300));
    assert_eq!(content(&entries), model);
}
