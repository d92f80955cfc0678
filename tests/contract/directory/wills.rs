//! Wills: each is held by one at a time, whoever finds that its connection has ended, and stays in the
//! directory until whoever held it has published and settled it.

use std::{collections::BTreeMap, time::Instant};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::*;

contract![
    a_claim_brings_the_will_of_the_row_that_it_replaces,
    a_release_brings_the_will_and_a_stale_one_does_not,
    a_will_is_void_after_a_farewell,
    a_claim_waits_until_the_will_of_an_end_is_settled,
    a_claim_waits_until_the_will_of_another_claim_is_settled,
    what_an_end_has_taken_is_there_again_if_its_node_dies,
    what_a_claim_has_taken_is_there_again_if_its_node_dies,
    wills_of_three_lives_in_one_row_are_settled_one_by_one,
    what_nobody_holds_comes_with_the_end_of_the_next_connection,
    a_will_that_was_taken_does_not_come_back,
    a_row_that_was_lost_is_restored_with_its_will,
    the_will_of_an_older_row_goes_when_a_newer_one_is_restored,
    a_sweep_leaves_wills_and_the_row_of_their_node,
    leaving_leaves_wills,
    wills_are_taken_once_the_lease_has_ended,
    wills_are_taken_of_this_life_alone,
    wills_come_out_once_though_eight_take_them,
    wills_come_out_once_though_their_clients_claim_meanwhile,
    a_life_with_wills_is_named_by_its_successor_until_they_are_settled,
    two_lives_with_wills_are_named_by_the_third,
    a_name_whose_former_lives_have_wills_is_not_forgotten,
    a_will_that_is_held_is_not_taken_again_before_its_time_has_passed,
    a_claim_waits_until_a_held_will_is_settled,
    a_claim_gets_the_will_of_a_taker_that_has_died,
    settling_after_another_has_the_row_does_nothing,
    a_will_that_is_held_twice_is_settled_by_whoever_has_published_it_first,
    what_is_held_is_neither_swept_nor_taken_with_the_end_of_its_connection,
    a_restored_row_goes_before_a_held_one_of_a_smaller_epoch_alone,
];

type Wills = Vec<(ClientId, Message)>;

async fn a_claim_brings_the_will_of_the_row_that_it_replaces(ground: &Ground) {
    let directory = ground.directory();
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 1));
    let wills = [
        Some(will("last/words", b"gone", QoS::AtMostOnce, false)),
        Some(will("a/\u{f6} {b}", b"\0\xff\r\n$-1", QoS::ExactlyOnce, true)),
        None,
        Some(will("empty", b"", QoS::AtLeastOnce, true)),
        Some(will("long", &vec![7; 65_535], QoS::AtLeastOnce, false)),
        None,
    ];
    let mut before = Wills::new();
    for (number, will) in wills.into_iter().enumerate() {
        let node = if number % 2 == 0 { &node_1 } else { &node_2 };
        let row = ClientRow { will: will.clone(), ..client_row("alice", "alice", node) };
        let claimed = directory.claim(&row).await.unwrap();
        assert_eq!(said(&claimed.wills), before);
        directory.settle_wills(node, &claimed.wills).await.unwrap();
        before = will.map(|will| (row.client_id, will)).into_iter().collect::<Wills>();
    }
}

async fn a_release_brings_the_will_and_a_stale_one_does_not(ground: &Ground) {
    let directory = ground.directory();
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 1));
    let (client_id, user) = (ClientId::from("alice"), UserName::from("alice"));
    let release = async |node: &Member, epoch| {
        directory.release(&client_id, &user, node, epoch, End::Abnormal).await.unwrap()
    };
    let first = claim_with_will(&*directory, "alice", &node_1).await;
    let claimed = directory.claim(&row_with_will("alice", &node_2)).await.unwrap();
    directory.settle_wills(&node_2, &claimed.wills).await.unwrap();
    let second = claimed.epoch;
    for (node, epoch) in [(&node_1, first), (&node_1, second), (&node_2, first)] {
        assert_eq!(release(node, epoch).await, None);
    }
    let released = release(&node_2, second).await.unwrap();
    assert_eq!(said(&released), [(client_id.clone(), will_of("alice"))]);
    assert_eq!((released[0].epoch, released[0].of), (second, second));
    assert_eq!(
        release(&node_2, second).await,
        Some(Vec::new()),
        "held, and there until it is settled"
    );
    assert_eq!(clients_on(&*directory, &node_2).await, ["alice"]);
    directory.settle_wills(&node_2, &released).await.unwrap();
    assert_eq!(release(&node_2, second).await, None);
    assert_eq!(clients_on(&*directory, &node_2).await, [""; 0]);
    assert_eq!(clients_of(&*directory, "alice").await, [""; 0]);
}

async fn a_will_is_void_after_a_farewell(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let (client_id, user) = (ClientId::from("alice"), UserName::from("alice"));
    let epoch = claim_with_will(&*directory, "alice", &node).await;
    let parked = directory.park(&client_id, &node, epoch, End::Farewell).await.unwrap();
    assert_eq!(parked, Some(Vec::new()));
    let epoch = claim_with_will(&*directory, "alice", &node).await;
    let released = directory.release(&client_id, &user, &node, epoch, End::Farewell).await;
    assert_eq!(released.unwrap(), Some(Vec::new()));
    assert_eq!(find(&*directory, "alice").await, None);
}

async fn a_claim_waits_until_the_will_of_an_end_is_settled(ground: &Ground) {
    let directory = ground.directory();
    let (node, other) = (member("node-1", 1), member("node-2", 1));
    let epoch = claim_with_will(&*directory, "alice", &node).await;
    let client_id = ClientId::from("alice");
    let parked = directory.park(&client_id, &node, epoch, End::Abnormal).await.unwrap().unwrap();
    let claimed = claim_that_waits(ground, &other, async || {
        directory.settle_wills(&node, &parked).await.unwrap();
    });
    let claimed = claimed.await;
    assert_eq!(claimed.wills, []);
    assert_eq!(claimed.previous.unwrap().owner, owner(&node, epoch), "a parked session stays");
}

async fn a_claim_waits_until_the_will_of_another_claim_is_settled(ground: &Ground) {
    let directory = ground.directory();
    let (node, other) = (member("node-1", 1), member("node-2", 1));
    claim_with_will(&*directory, "alice", &node).await;
    let first = directory.claim(&client_row("alice", "alice", &other)).await.unwrap();
    assert_eq!(said(&first.wills), [(ClientId::from("alice"), will_of("alice"))]);
    let second = claim_that_waits(ground, &node, async || {
        directory.settle_wills(&other, &first.wills).await.unwrap();
    });
    assert_eq!(second.await.wills, []);
}

async fn what_an_end_has_taken_is_there_again_if_its_node_dies(ground: &Ground) {
    let directory = ground.directory();
    let (node, client_id) = (member("node-1", 1), ClientId::from("alice"));
    join(&*directory, &node, LONG).await;
    let epoch = claim_with_will(&*directory, "alice", &node).await;
    let user = UserName::from("alice");
    directory.release(&client_id, &user, &node, epoch, End::Abnormal).await.unwrap();
    end_lease(&*directory, &node).await;
    assert_eq!(directory.sweep(&node, Duration::ZERO).await.unwrap(), 0);
    assert_eq!(said(&retake(&*directory, &node).await), [(client_id, will_of("alice"))]);
}

async fn what_a_claim_has_taken_is_there_again_if_its_node_dies(ground: &Ground) {
    let directory = ground.directory();
    let (node, taker) = (member("node-1", 1), member("node-2", 1));
    join(&*directory, &taker, LONG).await;
    claim_with_will(&*directory, "alice", &node).await;
    let row = client_row("alice", "alice", &taker);
    let claimed = directory.claim(&row).await.unwrap();
    end_lease(&*directory, &taker).await;
    let again = retake(&*directory, &taker).await;
    assert_eq!(again, claimed.wills);
    directory.settle_wills(&taker, &again).await.unwrap();
    assert_eq!(find(&*directory, "alice").await, None);
}

async fn wills_of_three_lives_in_one_row_are_settled_one_by_one(ground: &Ground) {
    let directory = ground.directory();
    let nodes = [member("node-1", 1), member("node-2", 1), member("node-3", 1)];
    let mut epochs = Vec::new();
    for node in &nodes {
        epochs.push(claim_with_will(&*directory, "alice", node).await);
    }
    let dead = &nodes[2];
    end_lease(&*directory, dead).await;
    let taken = retake(&*directory, dead).await;
    assert_eq!(taken.iter().map(|held| held.of).collect::<Vec<_>>(), epochs);
    for held in &taken {
        assert_eq!(owner_of(&*directory).await, *dead);
        directory.settle_wills(dead, std::slice::from_ref(held)).await.unwrap();
    }
    assert_eq!(find(&*directory, "alice").await, None);
}

async fn what_nobody_holds_comes_with_the_end_of_the_next_connection(ground: &Ground) {
    let directory = ground.directory();
    let (node, client_id) = (member("node-1", 1), ClientId::from("alice"));
    claim_with_will(&*directory, "alice", &node).await;
    let lost = directory.claim(&row_with_will("alice", &node)).await.unwrap();
    let park = async || {
        let parked = directory.park(&client_id, &node, lost.epoch, End::Abnormal).await.unwrap();
        said(&parked.unwrap())
    };
    let will = (client_id.clone(), will_of("alice"));
    assert_eq!(park().await, std::slice::from_ref(&will), "the other is held");
    eventually("nobody holds them any more", async || park().await == [will.clone(), will.clone()])
        .await;
}

async fn a_will_that_was_taken_does_not_come_back(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let row = row_with_will("alice", &node);
    let epoch = directory.claim(&row).await.unwrap().epoch;
    let park = async || directory.park(&row.client_id, &node, epoch, End::Abnormal).await.unwrap();
    let parked = park().await.unwrap();
    directory.settle_wills(&node, &parked).await.unwrap();
    // What the node writes again while it parks the session comes too late.
    assert_eq!(directory.restore(&row, epoch).await.unwrap(), Restored::default());
    assert_eq!(park().await, Some(Vec::new()));
    let claimed = directory.claim(&row).await.unwrap();
    assert_eq!((claimed.wills, claimed.previous.unwrap().connected), (Vec::new(), false));
}

async fn a_row_that_was_lost_is_restored_with_its_will(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let row = row_with_will("alice", &node);
    let epoch = directory.claim(&row).await.unwrap().epoch;
    ground.lose_all().await;
    assert_eq!(directory.restore(&row, epoch).await.unwrap(), Restored::default());
    let claimed = directory.claim(&row).await.unwrap();
    assert_eq!(said(&claimed.wills), [(ClientId::from("alice"), will_of("alice"))]);
}

async fn the_will_of_an_older_row_goes_when_a_newer_one_is_restored(ground: &Ground) {
    let directory = ground.directory();
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 1));
    let older = row_with_will("alice", &node_1);
    let first = directory.claim(&older).await.unwrap().epoch;
    let newer = client_row("alice", "alice", &node_2);
    let second = directory.claim(&newer).await.unwrap();
    assert_eq!(said(&second.wills), [(ClientId::from("alice"), will_of("alice"))]);
    // The will has come out above; a row that was lost and restored must not give it again.
    ground.lose_all().await;
    directory.restore(&older, first).await.unwrap();
    directory.restore(&newer, second.epoch).await.unwrap();
    let third = directory.claim(&newer).await.unwrap();
    assert_eq!(third.wills, []);
    assert_eq!(third.previous.unwrap().owner, owner(&node_2, second.epoch));
}

async fn a_sweep_leaves_wills_and_the_row_of_their_node(ground: &Ground) {
    let directory = ground.directory();
    let dead = member("node-1", 1);
    join(&*directory, &dead, LONG).await;
    claim(&*directory, "alice", &dead).await;
    let bob = claim_with_will(&*directory, "bob", &dead).await;
    end_lease(&*directory, &dead).await;
    assert_eq!(directory.sweep(&dead, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(directory.sweep(&dead, Duration::ZERO).await.unwrap(), 0);
    assert_eq!(find(&*directory, "alice").await, None);
    assert_eq!(find(&*directory, "bob").await, Some(owner(&dead, bob)));
    assert_eq!(clients_on(&*directory, &dead).await, ["bob"]);
    assert!(!status(&*directory, &dead).await.unwrap().live);

    let taken = directory.take_wills(&dead).await.unwrap();
    assert_eq!(said(&taken), [(ClientId::from("bob"), will_of("bob"))]);
    assert_eq!(directory.sweep(&dead, Duration::ZERO).await.unwrap(), 0);
    assert!(!status(&*directory, &dead).await.unwrap().live, "a held will keeps its node's row");
    directory.settle_wills(&dead, &taken).await.unwrap();
    assert_eq!(find(&*directory, "bob").await, None);
    assert!(clients_of(&*directory, "bob").await.is_empty());
    assert!(clients_on(&*directory, &dead).await.is_empty());
    assert_eq!(directory.sweep(&dead, Duration::ZERO).await.unwrap(), 0);
    assert_eq!(status(&*directory, &dead).await, None);
}

async fn leaving_leaves_wills(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    join(&*directory, &node, LONG).await;
    claim(&*directory, "alice", &node).await;
    claim_with_will(&*directory, "bob", &node).await;
    directory.leave(&node).await.unwrap();
    assert_eq!(clients_on(&*directory, &node).await, ["bob"]);
    assert_eq!(directory.take_wills(&node).await.unwrap().len(), 1);
}

async fn wills_are_taken_once_the_lease_has_ended(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    join(&*directory, &node, LONG).await;
    let alice = claim_with_will(&*directory, "alice", &node).await;
    assert!(directory.take_wills(&node).await.unwrap().is_empty());
    assert_eq!(find(&*directory, "alice").await, Some(owner(&node, alice)));
    end_lease(&*directory, &node).await;
    assert_eq!(directory.take_wills(&node).await.unwrap().len(), 1);
    assert!(directory.take_wills(&node).await.unwrap().is_empty());
}

async fn wills_are_taken_of_this_life_alone(ground: &Ground) {
    let directory = ground.directory();
    let (older, younger) = (member("node-1", 1), member("node-1", 2));
    claim_with_will(&*directory, "alice", &older).await;
    claim_with_will(&*directory, "moved", &older).await;
    claim_with_will(&*directory, "moved", &younger).await;
    claim_with_will(&*directory, "bob", &member("node-2", 1)).await;
    join(&*directory, &younger, LONG).await;
    let taken = directory.take_wills(&older).await.unwrap();
    assert_eq!(said(&taken), [(ClientId::from("alice"), will_of("alice"))]);
    assert!(find(&*directory, "moved").await.is_some());
    assert!(find(&*directory, "bob").await.is_some());
}

async fn wills_come_out_once_though_eight_take_them(ground: &Ground) {
    let dead = member("node-1", 1);
    join(&*ground.directory(), &dead, LONG).await;
    claim_wills(ground, &dead, 450).await;
    end_lease(&*ground.directory(), &dead).await;
    let mut takers = JoinSet::new();
    for _ in 0..8 {
        takers.spawn(take_all(ground.directory(), dead.clone()));
    }
    let taken: Wills = takers.join_all().await.into_iter().flatten().collect();
    assert_all_once(450, &taken);
    ground.directory().sweep(&dead, Duration::ZERO).await.unwrap();
    assert_eq!(status(&*ground.directory(), &dead).await, None);
}

async fn wills_come_out_once_though_their_clients_claim_meanwhile(ground: &Ground) {
    let (dead, other) = (member("node-1", 1), member("node-2", 1));
    join(&*ground.directory(), &dead, LONG).await;
    claim_wills(ground, &dead, 300).await;
    end_lease(&*ground.directory(), &dead).await;
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        tasks.spawn(take_all(ground.directory(), dead.clone()));
        let (directory, dead) = (ground.directory(), dead.clone());
        tasks.spawn(async move {
            directory.sweep(&dead, Duration::ZERO).await.unwrap();
            Vec::new()
        });
    }
    // From the other end, so that they meet the takers in the middle.
    tasks.spawn(claim_back(ground.directory(), other.clone(), (0..300).rev().collect()));
    tasks.spawn(claim_back(ground.directory(), other.clone(), (0..300).collect()));
    let taken: Wills = tasks.join_all().await.into_iter().flatten().collect();
    assert_all_once(300, &taken);
    assert_eq!(clients_on(&*ground.directory(), &other).await.len(), 300);
    // Entries of clients that moved on are left for the last sweep.
    ground.directory().sweep(&dead, Duration::ZERO).await.unwrap();
    assert!(clients_on(&*ground.directory(), &dead).await.is_empty());
}

async fn a_life_with_wills_is_named_by_its_successor_until_they_are_settled(ground: &Ground) {
    let directory = ground.directory();
    let (older, younger) = (member("node-1", 1), member("node-1", 2));
    join(&*directory, &older, LONG).await;
    claim(&*directory, "alice", &older).await;
    claim_with_will(&*directory, "bob", &older).await;
    for _ in ["once", "again"] {
        join(&*directory, &younger, LONG).await;
        assert!(is_lost(&*directory, &older).await);
        assert!(is_live(&*directory, &younger).await);
        assert_eq!(clients_on(&*directory, &older).await, ["bob"]);
        let status = status(&*directory, &younger).await.unwrap();
        assert_eq!(status.ended_lives(), std::slice::from_ref(&older));
    }
    let taken = directory.take_wills(&older).await.unwrap();
    assert_eq!(said(&taken), [(ClientId::from("bob"), will_of("bob"))]);
    directory.sweep(&older, Duration::ZERO).await.unwrap();
    assert_eq!(former(&*directory, &younger).await, [older.incarnation], "while the will is held");
    directory.settle_wills(&older, &taken).await.unwrap();
    directory.sweep(&older, Duration::ZERO).await.unwrap();
    assert!(former(&*directory, &younger).await.is_empty());
    assert!(is_live(&*directory, &younger).await);
    assert_eq!(directory.nodes().await.unwrap().len(), 1);
}

async fn two_lives_with_wills_are_named_by_the_third(ground: &Ground) {
    let directory = ground.directory();
    let [first, second, third] = [1, 2, 3].map(|life| member("node-1", life));
    for (life, client_id) in [(&first, "alice"), (&second, "bob")] {
        join(&*directory, life, LONG).await;
        claim_with_will(&*directory, client_id, life).await;
    }
    join(&*directory, &third, LONG).await;
    assert_eq!(former(&*directory, &third).await, [first.incarnation, second.incarnation]);
    assert_eq!(take_all(ground.directory(), first.clone()).await.len(), 1);
    directory.sweep(&first, Duration::ZERO).await.unwrap();
    assert_eq!(former(&*directory, &third).await, [second.incarnation]);
    // The next one finds by itself that nothing is left.
    assert_eq!(take_all(ground.directory(), second).await.len(), 1);
    let fourth = member("node-1", 4);
    join(&*directory, &fourth, LONG).await;
    assert!(former(&*directory, &fourth).await.is_empty());
}

async fn a_name_whose_former_lives_have_wills_is_not_forgotten(ground: &Ground) {
    let directory = ground.directory();
    let (older, younger) = (member("node-1", 1), member("node-1", 2));
    join(&*directory, &older, LONG).await;
    claim_with_will(&*directory, "alice", &older).await;
    join(&*directory, &younger, LONG).await;
    directory.leave(&younger).await.unwrap();
    directory.sweep(&younger, Duration::ZERO).await.unwrap();
    let left = status(&*directory, &younger).await.unwrap();
    assert_eq!(left.ended_lives(), [older.clone(), younger.clone()]);
    let refused = directory.join(&node_row(&older), LONG).await.unwrap();
    assert_eq!(refused, Joined::Refused { holder: younger.incarnation, live: false });
    assert_eq!(take_all(ground.directory(), older.clone()).await.len(), 1);
    directory.sweep(&older, Duration::ZERO).await.unwrap();
    directory.sweep(&younger, Duration::ZERO).await.unwrap();
    assert!(directory.nodes().await.unwrap().is_empty());
}

async fn a_will_that_is_held_is_not_taken_again_before_its_time_has_passed(ground: &Ground) {
    let directory = ground.directory();
    let dead = dead_with_will(&*directory).await;
    let started = Instant::now();
    let first = directory.take_wills(&dead).await.unwrap();
    assert!(ground.directory().take_wills(&dead).await.unwrap().is_empty());
    let second = retake(&*directory, &dead).await;
    assert!(started.elapsed() >= WILL_HELD, "{:?}", started.elapsed());
    assert_eq!(said(&second), said(&first));
}

async fn a_claim_waits_until_a_held_will_is_settled(ground: &Ground) {
    let directory = ground.directory();
    let (dead, other) = (dead_with_will(&*directory).await, member("node-2", 1));
    let taken = directory.take_wills(&dead).await.unwrap();
    let claimed = claim_that_waits(ground, &other, async || {
        directory.settle_wills(&dead, &taken).await.unwrap();
    });
    let claimed = claimed.await;
    assert_eq!(claimed.previous, None);
    assert!(claimed.epoch > taken[0].epoch);
    assert_eq!(clients_on(&*directory, &dead).await, [""; 0]);
}

async fn a_claim_gets_the_will_of_a_taker_that_has_died(ground: &Ground) {
    let directory = ground.directory();
    let (dead, other) = (dead_with_will(&*directory).await, member("node-2", 1));
    let started = Instant::now();
    let taken = directory.take_wills(&dead).await.unwrap();
    let claimed = directory.claim(&client_row("alice", "alice", &other)).await.unwrap();
    assert!(started.elapsed() >= WILL_HELD, "{:?}", started.elapsed());
    assert_eq!(said(&claimed.wills), said(&taken));
    assert_eq!((claimed.wills[0].of, claimed.wills[0].epoch), (taken[0].of, claimed.epoch));
    assert_eq!(claimed.previous.unwrap().owner, owner(&dead, taken[0].epoch));
}

async fn settling_after_another_has_the_row_does_nothing(ground: &Ground) {
    let directory = ground.directory();
    let (dead, other) = (dead_with_will(&*directory).await, member("node-2", 1));
    let taken = directory.take_wills(&dead).await.unwrap();
    let epoch = claim(&*directory, "alice", &other).await;
    directory.settle_wills(&dead, &taken).await.unwrap();
    assert_eq!(find(&*directory, "alice").await, Some(owner(&other, epoch)));
    assert_eq!(clients_of(&*directory, "alice").await, ["alice"]);
    assert_eq!(clients_on(&*directory, &other).await, ["alice"]);
}

async fn a_will_that_is_held_twice_is_settled_by_whoever_has_published_it_first(ground: &Ground) {
    let directory = ground.directory();
    let dead = dead_with_will(&*directory).await;
    let first = directory.take_wills(&dead).await.unwrap();
    let second = retake(&*directory, &dead).await;
    for wills in [&first, &second] {
        directory.settle_wills(&dead, wills).await.unwrap();
        assert_eq!(find(&*directory, "alice").await, None);
    }
}

async fn what_is_held_is_neither_swept_nor_taken_with_the_end_of_its_connection(ground: &Ground) {
    let directory = ground.directory();
    let dead = dead_with_will(&*directory).await;
    let (client_id, user) = (ClientId::from("alice"), UserName::from("alice"));
    let taken = directory.take_wills(&dead).await.unwrap();
    let epoch = taken[0].epoch;
    assert_eq!(directory.sweep(&dead, Duration::ZERO).await.unwrap(), 0);
    directory.leave(&dead).await.unwrap();
    let released = directory.release(&client_id, &user, &dead, epoch, End::Abnormal).await;
    assert_eq!(released.unwrap(), Some(Vec::new()));
    let parked = directory.park(&client_id, &dead, epoch, End::Abnormal).await;
    assert_eq!(parked.unwrap(), Some(Vec::new()));
    assert_eq!(find(&*directory, "alice").await, Some(owner(&dead, epoch)));
    assert_eq!(clients_of(&*directory, "alice").await, ["alice"]);
    assert_eq!(clients_on(&*directory, &dead).await, ["alice"]);
    directory.settle_wills(&dead, &taken).await.unwrap();
    assert_eq!(find(&*directory, "alice").await, None);
}

async fn a_restored_row_goes_before_a_held_one_of_a_smaller_epoch_alone(ground: &Ground) {
    let directory = ground.directory();
    let (dead, other) = (dead_with_will(&*directory).await, member("node-2", 1));
    let taken = directory.take_wills(&dead).await.unwrap();
    let epoch = taken[0].epoch;
    directory.restore(&row_with_will("alice", &dead), epoch).await.unwrap();
    assert!(directory.take_wills(&dead).await.unwrap().is_empty(), "it is held as before");
    let newer = Epoch(epoch.0 + 1);
    directory.restore(&client_row("alice", "alice", &other), newer).await.unwrap();
    directory.settle_wills(&dead, &taken).await.unwrap();
    assert_eq!(find(&*directory, "alice").await, Some(owner(&other, newer)));
    // Nobody has to wait for what was held there before.
    let claimed = directory.claim(&client_row("alice", "alice", &other)).await.unwrap();
    assert_eq!(claimed.wills, []);
}

/// What alice's claim finds, which cannot be made before something has been done.
async fn claim_that_waits(ground: &Ground, node: &Member, first: impl AsyncFnOnce()) -> Claimed {
    let (directory, there) = (ground.directory(), ground.directory());
    let before = owner_of(&*directory).await;
    let row = client_row("alice", "alice", node);
    let claim = tokio::spawn(async move { there.claim(&row).await.unwrap() });
    // It asks again and again, and nothing that it may do meanwhile is seen.
    for _ in 0..50 {
        assert_eq!(owner_of(&*directory).await, before);
        assert!(!claim.is_finished());
    }
    first().await;
    claim.await.unwrap()
}

/// A node whose lease has ended, with alice and her will.
async fn dead_with_will(directory: &dyn Directory) -> Member {
    let dead = member("node-1", 1);
    join(directory, &dead, LONG).await;
    claim_with_will(directory, "alice", &dead).await;
    end_lease(directory, &dead).await;
    dead
}

/// Takes wills that somebody holds, when they are free.
async fn retake(directory: &dyn Directory, dead: &Member) -> Vec<HeldWill> {
    let taken = Mutex::new(Vec::new());
    eventually("the will can be taken again", async || {
        let found = directory.take_wills(dead).await.unwrap();
        let is_found = !found.is_empty();
        *taken.lock() = found;
        is_found
    })
    .await;
    taken.into_inner()
}

async fn owner_of(directory: &dyn Directory) -> Member {
    find(directory, "alice").await.unwrap().member
}

async fn former(directory: &dyn Directory, node: &Member) -> Vec<Incarnation> {
    status(directory, node).await.unwrap().former
}

/// Whose wills, and which.
fn said(taken: &[HeldWill]) -> Wills {
    taken.iter().map(|held| (held.client_id.clone(), held.will.clone())).collect()
}

fn will(topic: &str, payload: &[u8], qos: QoS, retain: bool) -> Message {
    let payload = payload.to_vec().into();
    Message { topic: Topic::new(topic).unwrap(), payload, qos, retain }
}

/// A will that names its client.
fn will_of(client_id: &str) -> Message {
    will("will", client_id.as_bytes(), QoS::AtLeastOnce, false)
}

fn row_with_will(client_id: &str, node: &Member) -> ClientRow {
    ClientRow { will: Some(will_of(client_id)), ..client_row(client_id, client_id, node) }
}

async fn claim_with_will(directory: &dyn Directory, client_id: &str, node: &Member) -> Epoch {
    directory.claim(&row_with_will(client_id, node)).await.unwrap().epoch
}

/// Claims `client-0` and so on, with wills.
async fn claim_wills(ground: &Ground, node: &Member, count: usize) {
    let directory = ground.directory();
    for n in 0..count {
        claim_with_will(&*directory, &format!("client-{n}"), node).await;
    }
}

/// Takes wills until there are none.
async fn take_all(directory: Arc<dyn Directory>, dead: Member) -> Wills {
    let mut all = Vec::new();
    loop {
        let taken = directory.take_wills(&dead).await.unwrap();
        assert!(taken.len() <= WILLS_MAX);
        if taken.is_empty() {
            return all;
        }
        directory.settle_wills(&dead, &taken).await.unwrap();
        all.extend(said(&taken));
    }
}

/// Lets clients log in elsewhere without wills, and returns the wills that this brought out.
async fn claim_back(directory: Arc<dyn Directory>, node: Member, numbers: Vec<usize>) -> Wills {
    let mut taken = Vec::new();
    for n in numbers {
        let client_id = format!("client-{n}");
        let row = client_row(&client_id, &client_id, &node);
        let claimed = directory.claim(&row).await.unwrap();
        directory.settle_wills(&node, &claimed.wills).await.unwrap();
        taken.extend(said(&claimed.wills));
    }
    taken
}

#[track_caller]
fn assert_all_once(count: usize, taken: &[(ClientId, Message)]) {
    let by_client: BTreeMap<_, _> = taken.iter().cloned().collect();
    for (client_id, will) in &by_client {
        assert_eq!(*will, will_of(client_id.as_str()));
    }
    assert_eq!((by_client.len(), taken.len()), (count, count), "each once");
}
