//! The thread around the log, on a disk in memory.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use prometheus::Registry;
use tokio::sync::watch;

use super::{
    super::{
        DiskStore, SEGMENT_BYTES,
        writer::{Queue, Shared, Writer},
    },
    disk::{Disk, Fault},
    *,
};
use crate::{
    metrics::Metrics,
    store::{Position, Store, disk::DiskMetrics},
};

struct Ground {
    disk: Disk,
    store: DiskStore,
    metrics: DiskMetrics,
}

fn start(limits: Limits) -> Ground {
    let disk = Disk::default();
    let metrics = Metrics::new(&Registry::new()).unwrap().store();
    let shared = Arc::new(Shared {
        queue: Mutex::new(Queue::default()),
        changed: Condvar::new(),
        durable: watch::Sender::new(0),
        trouble: Mutex::new(None),
    });
    let writer = Writer {
        shared: shared.clone(),
        log: open_limited(&disk, limits).log,
        metrics: metrics.clone(),
        lock: tempfile::tempfile().unwrap(),
        taken: std::collections::VecDeque::new(),
        troubled: false,
    };
    let thread = Mutex::new(Some(thread::spawn(|| writer.run())));
    Ground { disk, store: DiskStore { shared, thread }, metrics }
}

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        thread::yield_now();
    }
}

#[tokio::test]
async fn what_comes_while_a_group_is_written_is_one_group() {
    let Ground { store, metrics, .. } = start(Limits { segment_bytes: SEGMENT_BYTES, ..LIMITS });
    let mut last = Position(0);
    for number in 0..5000 {
        last = store.write(put(number % 9, "text", 100));
    }
    let mut known = Position(0);
    while known < last {
        known = store.wait(known).await;
    }
    assert_eq!((known, store.durable(), store.backlog_bytes()), (last, last, 0));
    assert_eq!(metrics.batches.get(), 5000);
    assert!(metrics.commits.get() < 2500, "{} commits", metrics.commits.get());
}

#[test]
fn a_full_disk_is_said_and_heals_by_itself() {
    let Ground { disk, store, metrics } = start(LIMITS);
    let first = store.write(put(1, "fits", 10));
    eventually("it is durable", || store.durable() == first);
    disk.set(Fault::Full(disk.bytes()));
    let waits = store.write(put(2, "waits", 6000));
    eventually("it is said", || store.trouble().is_some() && metrics.trouble.get() == 1);
    assert_eq!(store.durable(), first);
    let also = store.write(put(3, "waits too", 10));
    assert!(store.backlog_bytes() > 6000);
    disk.set(Fault::None);
    eventually("all is durable", || store.durable() == also);
    assert!(also > waits);
    eventually("it is over", || store.trouble().is_none() && metrics.trouble.get() == 0);
    assert_eq!(store.backlog_bytes(), 0);
    store.close();
    assert_eq!(content(&open(&disk).entries).len(), 3);
}

#[test]
fn a_store_at_its_limit_goes_on_when_something_is_deleted() {
    let Ground { store, .. } = start(Limits { bytes_max: Some(16 * 4096), ..LIMITS });
    let mut number = 0;
    while store.trouble().is_none() {
        let position = store.write(put(number, "fills", 300));
        eventually("an answer", || store.durable() == position || store.trouble().is_some());
        number += 1;
    }
    let durable = store.durable();
    assert_eq!(durable, Position(number - 1), "the last one waits");
    for drained in 0..number / 2 {
        store.write(delete(drained));
    }
    eventually("all is durable", || store.durable().0 == number + number / 2);
    eventually("it is over", || store.trouble().is_none());
}

#[test]
fn a_store_whose_disk_is_full_can_be_closed() {
    let Ground { disk, store, .. } = start(LIMITS);
    disk.set(Fault::Full(0));
    store.write(put(1, "waits", 10));
    eventually("it is said", || store.trouble().is_some());
    assert_eq!(store.close(), Position(0));
}

#[test]
fn after_a_failed_sync_nothing_becomes_durable_any_more() {
    let Ground { disk, store, metrics } = start(LIMITS);
    let first = store.write(put(1, "safe", 10));
    eventually("it is durable", || store.durable() == first);
    disk.set(Fault::Sync(0));
    store.write(put(2, "lost", 10));
    eventually("it is said", || store.trouble().is_some());
    let operations = disk.operations();
    let last = store.write(put(3, "too late", 10));
    store.close();
    assert_eq!((store.durable(), last), (first, Position(3)));
    assert_eq!(disk.operations(), operations, "nothing was tried again");
    assert!(store.trouble().is_some() && store.backlog_bytes() > 0);
    assert_eq!(metrics.trouble.get(), 1);
}

#[test]
fn closing_writes_what_waits_and_leaves_a_mark_after_it() {
    let Ground { disk, store, .. } = start(LIMITS);
    let last = (0..100).map(|number| store.write(put(number, "text", 50))).last().unwrap();
    assert_eq!(store.close(), last);
    assert_eq!(store.write(put(1, "late", 1)).0, last.0 + 1, "it has a position and is not kept");
    let Recovered { entries, report, .. } = open(&disk);
    assert_eq!((content(&entries).len(), report.batches), (100, 101));
}
