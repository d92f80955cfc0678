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
