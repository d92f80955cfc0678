//! Nodes: join, renew, leave, and what becomes of a lease.

use std::time::Instant;

use super::*;

contract![
    a_node_that_joins_is_seen_by_others,
    a_renewal_prolongs_the_lease_and_tells_the_load,
    a_lease_that_nobody_renews_ends_for_good,
    a_younger_incarnation_keeps_the_name_while_its_lease_runs,
    a_younger_incarnation_that_is_dead_refuses_too,
    an_older_incarnation_is_replaced_with_all_its_rows,
    an_older_incarnation_that_is_dead_is_replaced,
    another_process_under_the_same_number_is_refused,
    the_same_life_joins_again_after_all_rows_are_lost,
    joining_again_in_the_same_life_keeps_the_rows,
    joining_again_after_the_lease_has_ended_keeps_the_rows,
    a_node_that_leaves_ends_its_lease_and_takes_its_clients_and_no_others,
    leaving_late_does_not_touch_the_next_incarnation,
    lost_rows_show_as_another_directory_epoch,
    an_ended_lease_shows_the_same_directory_epoch,
    a_lease_tells_for_how_long_it_has_been_over,
    the_row_of_a_home_is_kept_for_as_long_as_it_is_told,
    the_row_of_a_node_without_a_home_is_not_kept,
    a_home_noted_and_removed_again_is_none,
];

async fn a_node_that_joins_is_seen_by_others(ground: &Ground) {
    let (here, there) = (ground.directory(), ground.directory());
    assert!(there.nodes().await.unwrap().is_empty());
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 2));
    let epoch = join(&*here, &node_1, LONG).await;
    assert_eq!(join(&*there, &node_2, LONG).await, epoch);
    let expected = NodeStatus {
        row: node_row(&node_1),
        live: true,
        connections: 0,
        ended_for: Duration::ZERO,
        former: Vec::new(),
    };
    assert_eq!(status(&*there, &node_1).await, Some(expected));
    assert!(is_live(&*here, &node_2).await);
    assert_eq!(here.nodes().await.unwrap().len(), 2);
}

async fn a_renewal_prolongs_the_lease_and_tells_the_load(ground: &Ground) {
    let directory = ground.directory();
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 1));
    let lease = Duration::from_secs(2);
    let directory_epoch = join(&*directory, &node_1, lease).await;
    let renewal = directory.renew(&node_1, LONG, 499).await.unwrap();
    assert_eq!(renewal, Renewal::Renewed { directory_epoch });
    // A lease as long as the first one, and begun later, ends after it would have.
    join(&*directory, &node_2, lease).await;
    eventually("the lease ends", || async { !is_live(&*directory, &node_2).await }).await;
    let status = status(&*directory, &node_1).await.unwrap();
    assert!(status.live);
    assert_eq!(status.connections, 499);
}

async fn a_lease_that_nobody_renews_ends_for_good(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    join(&*directory, &node, SHORT).await;
    eventually("the lease ends", || async { !is_live(&*directory, &node).await }).await;
    assert!(is_lost(&*directory, &node).await);
    let status = status(&*directory, &node).await;
    assert!(!status.unwrap().live, "the row stays for whoever sweeps, and stays dead");
}

async fn a_younger_incarnation_keeps_the_name_while_its_lease_runs(ground: &Ground) {
    let directory = ground.directory();
    let (older, younger) = (member("node-1", 1), member("node-1", 2));
    join(&*directory, &younger, LONG).await;
    let holder = Incarnation(2);
    let answer = directory.join(&node_row(&older), LONG).await.unwrap();
    assert_eq!(answer, Joined::Refused { holder, live: true });
    assert!(is_live(&*directory, &younger).await);
    assert!(is_lost(&*directory, &older).await);
}

async fn a_younger_incarnation_that_is_dead_refuses_too(ground: &Ground) {
    let directory = ground.directory();
    let (older, younger) = (member("node-1", 1), member("node-1", 2));
    join(&*directory, &younger, LONG).await;
    claim(&*directory, "alice", &younger).await;
    end_lease(&*directory, &younger).await;
    let holder = Incarnation(2);
    let answer = directory.join(&node_row(&older), LONG).await.unwrap();
    assert_eq!(answer, Joined::Refused { holder, live: false });
    assert!(is_lost(&*directory, &older).await);
    assert!(find(&*directory, "alice").await.is_some(), "a refusal sweeps nothing");
    let above = member("node-1", 3);
    join(&*directory, &above, LONG).await;
    assert!(is_live(&*directory, &above).await);
    assert_eq!(find(&*directory, "alice").await, None);
}

async fn an_older_incarnation_is_replaced_with_all_its_rows(ground: &Ground) {
    let directory = ground.directory();
    let (older, younger) = (member("node-1", 1), member("node-1", 2));
    let other = member("node-2", 1);
    join(&*directory, &older, LONG).await;
    claim(&*directory, "alice", &older).await;
    let bob = claim(&*directory, "bob", &other).await;
    join(&*directory, &younger, LONG).await;
    assert!(is_live(&*directory, &younger).await);
    assert!(is_lost(&*directory, &older).await);
    assert_eq!(find(&*directory, "alice").await, None);
    assert_eq!(find(&*directory, "bob").await, Some(owner(&other, bob)));
    assert_eq!(directory.nodes().await.unwrap().len(), 1);
}

async fn joining_again_in_the_same_life_keeps_the_rows(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let epoch = join(&*directory, &node, LONG).await;
    let alice = claim(&*directory, "alice", &node).await;
    assert_eq!(join(&*directory, &node, LONG).await, epoch);
    assert_eq!(find(&*directory, "alice").await, Some(owner(&node, alice)));
}

async fn joining_again_after_the_lease_has_ended_keeps_the_rows(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    join(&*directory, &node, LONG).await;
    let alice = claim(&*directory, "alice", &node).await;
    end_lease(&*directory, &node).await;
    join(&*directory, &node, LONG).await;
    assert!(is_live(&*directory, &node).await);
    assert_eq!(find(&*directory, "alice").await, Some(owner(&node, alice)));
}

async fn a_node_that_leaves_ends_its_lease_and_takes_its_clients_and_no_others(ground: &Ground) {
    let directory = ground.directory();
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 1));
    join(&*directory, &node_1, LONG).await;
    join(&*directory, &node_2, LONG).await;
    claim(&*directory, "alice", &node_1).await;
    let bob = claim(&*directory, "bob", &node_2).await;
    for _ in ["once", "again"] {
        directory.leave(&node_1).await.unwrap();
        assert!(!status(&*directory, &node_1).await.unwrap().live);
        assert_eq!(find(&*directory, "alice").await, None);
        assert!(clients_on(&*directory, &node_1).await.is_empty());
    }
    assert!(is_live(&*directory, &node_2).await);
    assert_eq!(find(&*directory, "bob").await, Some(owner(&node_2, bob)));
}

async fn leaving_late_does_not_touch_the_next_incarnation(ground: &Ground) {
    let directory = ground.directory();
    let (older, younger) = (member("node-1", 1), member("node-1", 2));
    join(&*directory, &older, LONG).await;
    join(&*directory, &younger, LONG).await;
    let alice = claim(&*directory, "alice", &younger).await;
    directory.leave(&older).await.unwrap();
    assert!(is_live(&*directory, &younger).await);
    assert_eq!(find(&*directory, "alice").await, Some(owner(&younger, alice)));
}

async fn lost_rows_show_as_another_directory_epoch(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let before = join(&*directory, &node, LONG).await;
    ground.lose_all().await;
    let lost = directory.renew(&node, LONG, 0).await.unwrap();
    let Renewal::Lost { directory_epoch } = lost else {
        panic!("{lost:?}");
    };
    assert_ne!(directory_epoch, before);
    assert_eq!(join(&*directory, &node, LONG).await, directory_epoch);
    let renewal = directory.renew(&node, LONG, 0).await.unwrap();
    assert_eq!(renewal, Renewal::Renewed { directory_epoch });
}

async fn an_ended_lease_shows_the_same_directory_epoch(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let directory_epoch = join(&*directory, &node, LONG).await;
    end_lease(&*directory, &node).await;
    let renewal = directory.renew(&node, LONG, 0).await.unwrap();
    assert_eq!(renewal, Renewal::Lost { directory_epoch });
}

async fn an_older_incarnation_that_is_dead_is_replaced(ground: &Ground) {
    let directory = ground.directory();
    let (older, younger) = (member("node-1", 1), member("node-1", 2));
    join(&*directory, &older, LONG).await;
    claim(&*directory, "alice", &older).await;
    end_lease(&*directory, &older).await;
    join(&*directory, &younger, LONG).await;
    assert!(is_live(&*directory, &younger).await);
    assert_eq!(find(&*directory, "alice").await, None);
    assert_eq!(directory.nodes().await.unwrap().len(), 1);
}

async fn another_process_under_the_same_number_is_refused(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 7);
    join(&*directory, &node, LONG).await;
    let alice = claim(&*directory, "alice", &node).await;
    let foreign = NodeRow { link_address: "10.0.0.9:2883".to_owned(), ..node_row(&node) };
    let holder = Incarnation(7);
    let answer = directory.join(&foreign, LONG).await.unwrap();
    assert_eq!(answer, Joined::Refused { holder, live: true });
    end_lease(&*directory, &node).await;
    let answer = directory.join(&foreign, LONG).await.unwrap();
    assert_eq!(answer, Joined::Refused { holder, live: false });
    assert_eq!(find(&*directory, "alice").await, Some(owner(&node, alice)));
    join(&*directory, &node, LONG).await;
    assert!(is_live(&*directory, &node).await);
}

async fn the_same_life_joins_again_after_all_rows_are_lost(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 7);
    join(&*directory, &node, LONG).await;
    ground.lose_all().await;
    assert!(is_lost(&*directory, &node).await);
    join(&*directory, &node, LONG).await;
    assert!(is_live(&*directory, &node).await);
}

async fn a_lease_tells_for_how_long_it_has_been_over(ground: &Ground) {
    let directory = ground.directory();
    let (node, live) = (member("node-1", 1), member("node-2", 1));
    join(&*directory, &live, LONG).await;
    join(&*directory, &node, LONG).await;
    directory.leave(&node).await.unwrap();
    let left = directory.nodes().await.unwrap().len();
    assert_eq!(left, 2, "the row is kept");
    let ended_for = async || status(&*directory, &node).await.unwrap().ended_for;
    eventually("the lease has been over for a while", async || ended_for().await >= SHORT).await;
    assert!(ended_for().await < LONG, "counted from the end of the lease");
    assert_eq!(status(&*directory, &live).await.unwrap().ended_for, Duration::ZERO);
}

async fn the_row_of_a_node_without_a_home_is_not_kept(ground: &Ground) {
    let directory = ground.directory();
    let (node, other) = (member("node-1", 1), member("node-2", 1));
    join(&*directory, &node, LONG).await;
    claim(&*directory, "alice", &node).await;
    note_home(&*directory, &other).await;
    // What is no longer held is no home.
    note_home(&*directory, &node).await;
    directory.replace_home(&node.node, &[]).await.unwrap();
    end_lease(&*directory, &node).await;
    assert_eq!(directory.sweep(&node, LONG).await.unwrap(), 1);
    assert!(directory.nodes().await.unwrap().is_empty());
}

async fn a_home_noted_and_removed_again_is_none(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    join(&*directory, &node, LONG).await;
    note_home(&*directory, &node).await;
    directory.note_home(&node.node, &[], &[Filter::new("a/#").unwrap()]).await.unwrap();
    end_lease(&*directory, &node).await;
    directory.sweep(&node, LONG).await.unwrap();
    assert!(directory.nodes().await.unwrap().is_empty());
}

async fn note_home(directory: &dyn Directory, node: &Member) {
    directory.note_home(&node.node, &[Filter::new("a/#").unwrap()], &[]).await.unwrap();
}

async fn the_row_of_a_home_is_kept_for_as_long_as_it_is_told(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    join(&*directory, &node, LONG).await;
    note_home(&*directory, &node).await;
    claim(&*directory, "alice", &node).await;
    let lived = Instant::now();
    end_lease(&*directory, &node).await;
    assert_eq!(directory.sweep(&node, LONG).await.unwrap(), 1);
    assert!(!status(&*directory, &node).await.unwrap().live);
    eventually("the row has been kept long enough", async || {
        assert_eq!(directory.sweep(&node, SHORT * 4).await.unwrap(), 0);
        status(&*directory, &node).await.is_none()
    })
    .await;
    assert!(lived.elapsed() >= SHORT * 4);
    assert!(directory.nodes().await.unwrap().is_empty());
}
