//! Parked sessions, and devices that fight for one client id.

use super::*;

contract![
    a_parked_session_keeps_its_row,
    a_stale_parking_changes_nothing,
    a_row_can_be_claimed_and_restored_parked,
    a_claim_says_whether_the_session_before_was_durable,
    claims_of_a_connected_client_soon_after_one_another_are_contests,
    a_claim_of_a_parked_client_is_no_contest,
    a_claim_long_after_the_one_before_is_no_contest,
];

async fn a_parked_session_keeps_its_row(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let epoch = directory.claim(&client_row("phone", "alice", &node)).await.unwrap().epoch;
    for _ in ["once", "again"] {
        let parked =
            directory.park(&ClientId::from("phone"), &node, epoch, End::Abnormal).await.unwrap();
        assert_eq!(parked, Some(Vec::new()));
        assert_eq!(find(&*directory, "phone").await, Some(owner(&node, epoch)));
        assert_eq!(clients_of(&*directory, "alice").await, ["phone"]);
        assert_eq!(clients_on(&*directory, &node).await, ["phone"]);
    }
    let other = member("node-2", 1);
    let claimed = directory.claim(&client_row("phone", "alice", &other)).await.unwrap();
    let previous = claimed.previous.unwrap();
    assert_eq!((previous.owner, previous.connected), (owner(&node, epoch), false));
    assert_eq!(previous.address, "127.0.0.1:5555");
}

async fn a_stale_parking_changes_nothing(ground: &Ground) {
    let directory = ground.directory();
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 1));
    let client_id = ClientId::from("alice");
    let first = claim(&*directory, "alice", &node_1).await;
    let second = claim(&*directory, "alice", &node_2).await;
    for (node, epoch) in
        [(&node_1, first), (&node_1, second), (&node_2, first), (&member("node-2", 2), second)]
    {
        assert_eq!(directory.park(&client_id, node, epoch, End::Abnormal).await.unwrap(), None);
    }
    assert_eq!(
        directory.park(&ClientId::from("bob"), &node_1, first, End::Abnormal).await.unwrap(),
        None
    );
    assert_eq!(find(&*directory, "bob").await, None);
    let row = client_row("alice", "alice", &node_1);
    assert!(directory.claim(&row).await.unwrap().previous.unwrap().connected);
}

async fn a_row_can_be_claimed_and_restored_parked(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let row = ClientRow { connected: false, ..client_row("alice", "alice", &node) };
    let epoch = directory.claim(&row).await.unwrap().epoch;
    ground.lose_all().await;
    directory.restore(&row, epoch).await.unwrap();
    assert!(!directory.claim(&row).await.unwrap().previous.unwrap().connected);
    let claimed = directory.claim(&row).await.unwrap();
    assert!(!claimed.previous.unwrap().connected);
    assert_eq!(claimed.contests, 0);
}

async fn a_claim_says_whether_the_session_before_was_durable(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let row = |durable| ClientRow { durable, ..client_row("alice", "alice", &node) };
    let mut epoch = directory.claim(&row(false)).await.unwrap().epoch;
    for (restored, next) in [(false, true), (true, true), (true, false), (false, false)] {
        ground.lose_all().await;
        directory.restore(&row(restored), epoch).await.unwrap();
        let claimed = directory.claim(&row(next)).await.unwrap();
        assert_eq!(claimed.previous.unwrap().durable, restored);
        let claimed = directory.claim(&row(next)).await.unwrap();
        assert_eq!(claimed.previous.unwrap().durable, next);
        epoch = claimed.epoch;
    }
}

async fn claims_of_a_connected_client_soon_after_one_another_are_contests(ground: &Ground) {
    let directory = ground.directory();
    let nodes = [member("node-1", 1), member("node-2", 1)];
    for round in 0..20 {
        let row = client_row("alice", "alice", &nodes[round % 2]);
        let contests = directory.claim(&row).await.unwrap().contests;
        assert_eq!(usize::try_from(contests).unwrap(), round);
    }
    let (client_id, user) = (ClientId::from("alice"), UserName::from("alice"));
    let epoch = find(&*directory, "alice").await.unwrap().epoch;
    directory.release(&client_id, &user, &nodes[1], epoch, End::Abnormal).await.unwrap();
    assert_eq!(contests(&*directory, &nodes[0]).await, 0);
    assert_eq!(contests(&*directory, &nodes[1]).await, 1);
}

async fn a_claim_of_a_parked_client_is_no_contest(ground: &Ground) {
    let directory = ground.directory();
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 1));
    for expected in 0..3 {
        assert_eq!(contests(&*directory, &node_1).await, expected);
    }
    let epoch = find(&*directory, "alice").await.unwrap().epoch;
    directory.park(&ClientId::from("alice"), &node_1, epoch, End::Abnormal).await.unwrap();
    assert_eq!(contests(&*directory, &node_2).await, 0);
    assert_eq!(contests(&*directory, &node_1).await, 1);
}

async fn a_claim_long_after_the_one_before_is_no_contest(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let row = client_row("alice", "alice", &node);
    let now = directory.claim(&row).await.unwrap().epoch;
    // An epoch is the time of its claim: one that was given earlier is an earlier claim.
    let within = u64::try_from(CONTEST_WITHIN.as_micros()).unwrap();
    for (age_us, expected) in [(within / 2, 1), (within, 0), (10 * within, 0)] {
        ground.lose_all().await;
        directory.restore(&row, Epoch(now.0 - age_us)).await.unwrap();
        assert_eq!(contests(&*directory, &node).await, expected, "after {age_us} us");
    }
}

/// Claims `alice` and returns how many contests there were.
async fn contests(directory: &dyn Directory, node: &Member) -> u32 {
    directory.claim(&client_row("alice", "alice", node)).await.unwrap().contests
}
