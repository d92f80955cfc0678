//! The directory in memory: its clock can be moved.

use super::*;

#[tokio::test]
async fn a_lease_ends_when_the_clock_is_moved_past_it() {
    let directory = MemoryDirectory::new();
    let node = member("node-1", 1);
    join(&directory, &node, LONG).await;
    directory.advance(LONG / 2);
    assert!(is_live(&directory, &node).await);
    directory.advance(LONG / 2);
    assert!(!is_live(&directory, &node).await);
    assert!(is_lost(&directory, &node).await);
}

#[tokio::test]
async fn the_trace_of_a_durable_session_ends_after_its_time() {
    let directory = MemoryDirectory::new();
    let node = member("node-1", 1);
    let row = client_row("alice", "alice", &node);
    let clean = ClientRow { durable: false, ..row.clone() };
    for (age, is_known) in [(TRACE_KEPT / 2, true), (TRACE_KEPT, false)] {
        directory.claim(&row).await.unwrap();
        let erased = directory.claim(&clean).await.unwrap().epoch;
        directory.release(&row.client_id, &row.user, &node, erased, End::Abnormal).await.unwrap();
        directory.advance(age);
        let claimed = directory.claim(&row).await.unwrap();
        assert_eq!(claimed.erased, is_known.then_some(erased));
    }
}
