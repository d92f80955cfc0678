//! What every store must keep.

use std::time::Duration;

use super::*;

/// Runs each check on each implementation.
macro_rules! contract {
    ($($check:ident,)*) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(&crate::store::Ground::memory()).await;
            })*
        }
        mod on_disk {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(&crate::store::Ground::disk()).await;
            })*
        }
    };
}

contract! {
    positions_grow_with_each_batch,
    an_empty_batch_is_no_write,
    everything_written_becomes_durable,
    several_may_wait_and_one_may_stop_waiting,
    many_may_write_at_a_time,
    nothing_is_left_over_and_nothing_is_wrong,
}

async fn positions_grow_with_each_batch(ground: &Ground) {
    let store = ground.open();
    let positions: Vec<u64> = (0..5).map(|_| store.write(put("a", "1")).0).collect();
    assert_eq!(positions, [1, 2, 3, 4, 5]);
}

async fn an_empty_batch_is_no_write(ground: &Ground) {
    let store = ground.open();
    assert_eq!(store.write(Batch::default()), Position(0));
    let last = store.write(put("a", "1"));
    assert_eq!(store.write(Batch::default()), last);
    durable(&*store, last).await;
}

async fn everything_written_becomes_durable(ground: &Ground) {
    let store = ground.open();
    for number in 0..100 {
        let position = store.write(put(&format!("key {}", number % 7), "value"));
        if number % 10 == 0 {
            durable(&*store, position).await;
            assert!(store.durable() >= position);
        }
    }
}

async fn several_may_wait_and_one_may_stop_waiting(ground: &Ground) {
    let store = ground.open();
    let wait = || {
        let store = store.clone();
        tokio::spawn(async move { durable(&*store, Position(1)).await })
    };
    let (one, two, three) = (wait(), wait(), wait());
    two.abort();
    store.write(put("a", "1"));
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, one).await.unwrap().unwrap();
    tokio::time::timeout(limit, three).await.unwrap().unwrap();
}

async fn many_may_write_at_a_time(ground: &Ground) {
    let store = ground.open();
    let writer = |writer: u64| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut last = Position(0);
            for number in 0..50 {
                let position = store.write(put(&format!("{writer} {number}"), "value"));
                assert!(position > last, "they grow for everybody");
                durable(&*store, position).await;
                last = position;
            }
        })
    };
    let writers: Vec<_> = (0..8).map(writer).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.write(Batch::default()), Position(400));
}

async fn nothing_is_left_over_and_nothing_is_wrong(ground: &Ground) {
    let store = ground.open();
    assert_eq!(store.backlog_bytes(), 0);
    let last = store.write(put("a", &"1".repeat(1000)));
    durable(&*store, last).await;
    assert_eq!((store.backlog_bytes(), store.trouble()), (0, None));
}
