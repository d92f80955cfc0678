//! Clients: claim, restore, release, find, and the sweep after a node that died.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::*;

contract![
    a_claim_names_the_owner_before,
    a_late_claim_yields_to_a_login_on_another_node_since,
    epochs_grow_though_all_rows_are_lost,
    claims_made_at_once_form_one_chain,
    a_release_deletes_the_row,
    a_stale_release_changes_nothing,
    a_lost_row_is_restored_under_its_epoch,
    a_restored_row_never_replaces_a_newer_claim,
    a_user_is_found_under_every_device,
    a_device_that_changes_its_user_is_found_under_the_new_one_only,
    a_release_that_meets_a_claim_hides_nobody,
    a_sweep_waits_for_the_end_of_the_lease,
    a_sweep_deletes_the_rows_of_the_dead_and_no_others,
    sweeps_at_once_count_every_row_once,
    ten_thousand_rows_are_swept,
    any_text_can_be_a_name,
];

async fn a_claim_names_the_owner_before(ground: &Ground) {
    let directory = ground.directory();
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 9));
    assert_eq!(find(&*directory, "alice").await, None);
    let mut previous = None;
    for node in [&node_1, &node_2, &node_2, &node_1] {
        let claimed = directory.claim(&client_row("alice", "alice", node)).await.unwrap();
        assert_eq!(owner_before(&claimed), previous);
        let epoch_before = previous.map_or(Epoch(0), |owner| owner.epoch);
        assert!(claimed.epoch > epoch_before);
        previous = Some(owner(node, claimed.epoch));
        assert_eq!(find(&*directory, "alice").await, previous);
    }
}

async fn a_late_claim_yields_to_a_login_on_another_node_since(ground: &Ground) {
    let directory = ground.directory();
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 9));
    let (here, there) =
        (client_row("alice", "alice", &node_1), client_row("alice", "bob", &node_2));
    for _ in 0..2 {
        // The second time it is a claim of this node that stands there.
        let made = directory.claim_late(&here, LONG).await.unwrap();
        assert_eq!(find(&*directory, "alice").await, Some(owner(&node_1, made.epoch)));
    }
    let younger = directory.claim(&there).await.unwrap().epoch;
    let late = directory.claim_late(&here, LONG).await.unwrap_err();
    let is_overtaken = |by: &Owner| *by == owner(&node_2, younger);
    assert!(matches!(&late, DirectoryError::Overtaken(by) if is_overtaken(by)), "{late}");
    assert_eq!(find(&*directory, "alice").await, Some(owner(&node_2, younger)));
    assert_eq!(clients_of(&*directory, "bob").await, ["alice"]);
    assert!(clients_of(&*directory, "alice").await.is_empty());
    assert!(clients_on(&*directory, &node_1).await.is_empty());
    // An epoch may be a little ahead of the clock.
    eventually("a login after that claim counts", || async {
        directory.claim_late(&here, Duration::from_micros(1)).await.is_ok()
    })
    .await;
}

async fn epochs_grow_though_all_rows_are_lost(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let mut last = Epoch(0);
    for _ in 0..20 {
        let epoch = claim(&*directory, "alice", &node).await;
        assert!(epoch > last, "{epoch} after {last}");
        last = epoch;
        ground.lose_all().await;
    }
}

async fn claims_made_at_once_form_one_chain(ground: &Ground) {
    let mut claims = JoinSet::new();
    for n in 0..50 {
        let directory = ground.directory();
        let node = member(&format!("node-{n}"), 1);
        claims.spawn(async move {
            let claimed = directory.claim(&client_row("alice", "alice", &node)).await.unwrap();
            (owner(&node, claimed.epoch), owner_before(&claimed))
        });
    }
    let mut claims = claims.join_all().await;
    claims.sort_by_key(|(owner, _)| owner.epoch);
    let epochs: BTreeSet<Epoch> = claims.iter().map(|(owner, _)| owner.epoch).collect();
    assert_eq!(epochs.len(), 50);
    assert_eq!(claims[0].1, None);
    for pair in claims.windows(2) {
        assert_eq!(pair[1].1.as_ref(), Some(&pair[0].0));
    }
    let last = claims.pop().map(|(owner, _)| owner);
    assert_eq!(find(&*ground.directory(), "alice").await, last);
}

async fn a_release_deletes_the_row(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let epoch = claim(&*directory, "alice", &node).await;
    let (client_id, user) = (ClientId::from("alice"), UserName::from("alice"));
    assert!(
        directory.release(&client_id, &user, &node, epoch, End::Abnormal).await.unwrap().is_some()
    );
    assert_eq!(find(&*directory, "alice").await, None);
    assert!(clients_of(&*directory, "alice").await.is_empty());
    assert!(clients_on(&*directory, &node).await.is_empty());
    assert_eq!(
        directory.release(&client_id, &user, &node, epoch, End::Abnormal).await.unwrap(),
        None
    );
}

async fn a_stale_release_changes_nothing(ground: &Ground) {
    let directory = ground.directory();
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 1));
    let (client_id, user) = (ClientId::from("alice"), UserName::from("alice"));
    let first = claim(&*directory, "alice", &node_1).await;
    let second = claim(&*directory, "alice", &node_2).await;
    let third = claim(&*directory, "alice", &node_2).await;
    for (node, epoch) in
        [(&node_1, first), (&node_2, second), (&node_1, third), (&member("node-2", 2), third)]
    {
        let released = directory.release(&client_id, &user, node, epoch, End::Abnormal).await;
        assert_eq!(released.unwrap(), None, "{node:?} {epoch}");
        assert_eq!(find(&*directory, "alice").await, Some(owner(&node_2, third)));
        assert_eq!(clients_of(&*directory, "alice").await, ["alice"]);
        assert_eq!(clients_on(&*directory, &node_2).await, ["alice"]);
    }
}

async fn a_lost_row_is_restored_under_its_epoch(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let row = client_row("phone", "alice", &node);
    let epoch = directory.claim(&row).await.unwrap().epoch;
    ground.lose_all().await;
    for _ in ["once", "again"] {
        assert_eq!(directory.restore(&row, epoch).await.unwrap(), Restored::default());
        assert_eq!(find(&*directory, "phone").await, Some(owner(&node, epoch)));
        assert_eq!(clients_of(&*directory, "alice").await, ["phone"]);
        assert_eq!(clients_on(&*directory, &node).await, ["phone"]);
    }
}

async fn a_restored_row_never_replaces_a_newer_claim(ground: &Ground) {
    let directory = ground.directory();
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 1));
    let row = client_row("phone", "alice", &node_1);
    let first = directory.claim(&row).await.unwrap().epoch;
    ground.lose_all().await;
    let newer = client_row("phone", "bob", &node_2);
    let second = directory.claim(&newer).await.unwrap().epoch;
    let theirs = Restored { holder: Some(owner(&node_2, second)), erased: None };
    assert_eq!(directory.restore(&row, first).await.unwrap(), theirs);
    assert_eq!(find(&*directory, "phone").await, Some(owner(&node_2, second)));
    assert!(clients_of(&*directory, "alice").await.is_empty());
    assert_eq!(clients_of(&*directory, "bob").await, ["phone"]);
    assert!(clients_on(&*directory, &node_1).await.is_empty());

    // An older row gives way, and an owner's own newer one is not set back.
    // The restored epoch may be ahead of the clock, where the clock was set back.
    let third = Epoch(second.0 + 3_600_000_000);
    assert_eq!(directory.restore(&row, third).await.unwrap(), Restored::default());
    assert_eq!(directory.restore(&row, first).await.unwrap(), Restored::default());
    assert_eq!(find(&*directory, "phone").await, Some(owner(&node_1, third)));
    assert_eq!(clients_of(&*directory, "alice").await, ["phone"]);
    let fourth = directory.claim(&newer).await.unwrap();
    assert!(fourth.epoch > third);
    assert_eq!(owner_before(&fourth), Some(owner(&node_1, third)));
}

async fn a_user_is_found_under_every_device(ground: &Ground) {
    let directory = ground.directory();
    let (node_1, node_2) = (member("node-1", 1), member("node-2", 1));
    for (client_id, node) in [("phone", &node_1), ("tablet", &node_2), ("watch", &node_2)] {
        directory.claim(&client_row(client_id, "alice", node)).await.unwrap();
    }
    claim(&*directory, "bob", &node_1).await;
    assert_eq!(clients_of(&*directory, "alice").await, ["phone", "tablet", "watch"]);
    assert_eq!(clients_of(&*directory, "bob").await, ["bob"]);
    assert!(clients_of(&*directory, "carol").await.is_empty());
    assert_eq!(clients_on(&*directory, &node_1).await, ["bob", "phone"]);
    assert_eq!(clients_on(&*directory, &node_2).await, ["tablet", "watch"]);
}

async fn a_device_that_changes_its_user_is_found_under_the_new_one_only(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    directory.claim(&client_row("phone", "alice", &node)).await.unwrap();
    directory.claim(&client_row("phone", "bob", &node)).await.unwrap();
    assert!(clients_of(&*directory, "alice").await.is_empty());
    assert_eq!(clients_of(&*directory, "bob").await, ["phone"]);
}

async fn a_release_that_meets_a_claim_hides_nobody(ground: &Ground) {
    let (here, there) = (ground.directory(), ground.directory());
    let nodes = [member("node-1", 1), member("node-2", 1)];
    // What is sent for a long name reaches a server in pieces, so that others come in between.
    let names = ["phone".to_owned(), "x".repeat(20_000)];
    for round in 0..300 {
        let (node, name) = (&nodes[round % 2], &names[round / 2 % 2]);
        let (client_id, user) = (ClientId::from(name.as_str()), UserName::from("alice"));
        let epoch = here.claim(&client_row(name, "alice", &nodes[0])).await.unwrap().epoch;
        let release = here.release(&client_id, &user, &nodes[0], epoch, End::Abnormal);
        let row = client_row(name, "alice", node);
        let (released, claimed) = tokio::join!(release, there.claim(&row));
        let claimed = claimed.unwrap();
        assert_eq!(released.unwrap().is_some(), claimed.previous.is_none());
        assert!(clients_of(&*here, "alice").await.contains(name), "round {round}");
        assert!(clients_on(&*here, node).await.contains(name), "round {round}");
        here.release(&client_id, &user, node, claimed.epoch, End::Abnormal).await.unwrap();
    }
}

async fn a_sweep_waits_for_the_end_of_the_lease(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    join(&*directory, &node, LONG).await;
    let epoch = claim(&*directory, "alice", &node).await;
    assert_eq!(directory.sweep(&node, Duration::ZERO).await.unwrap(), 0);
    assert!(is_live(&*directory, &node).await);
    assert_eq!(find(&*directory, "alice").await, Some(owner(&node, epoch)));
    end_lease(&*directory, &node).await;
    assert_eq!(directory.sweep(&node, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(find(&*directory, "alice").await, None);
}

async fn a_sweep_deletes_the_rows_of_the_dead_and_no_others(ground: &Ground) {
    let directory = ground.directory();
    let (dead, other) = (member("node-1", 1), member("node-2", 1));
    join(&*directory, &dead, LONG).await;
    join(&*directory, &other, LONG).await;
    for client_id in ["alice", "bob", "moved"] {
        claim(&*directory, client_id, &dead).await;
    }
    let moved = claim(&*directory, "moved", &other).await;
    let carol = claim(&*directory, "carol", &other).await;
    end_lease(&*directory, &dead).await;

    assert_eq!(directory.sweep(&dead, Duration::ZERO).await.unwrap(), 2);
    for gone in ["alice", "bob"] {
        assert_eq!(find(&*directory, gone).await, None);
        assert!(clients_of(&*directory, gone).await.is_empty());
    }
    assert_eq!(find(&*directory, "moved").await, Some(owner(&other, moved)));
    assert_eq!(find(&*directory, "carol").await, Some(owner(&other, carol)));
    assert_eq!(clients_of(&*directory, "moved").await, ["moved"]);
    assert!(clients_on(&*directory, &dead).await.is_empty());
    assert_eq!(status(&*directory, &dead).await, None);
    assert!(is_live(&*directory, &other).await);
    assert_eq!(directory.sweep(&dead, Duration::ZERO).await.unwrap(), 0);
}

async fn sweeps_at_once_count_every_row_once(ground: &Ground) {
    let directory = ground.directory();
    let dead = member("node-1", 1);
    join(&*directory, &dead, LONG).await;
    claim_many(ground, &dead, 1_000).await;
    end_lease(&*directory, &dead).await;
    let mut sweeps = JoinSet::new();
    for _ in 0..4 {
        let (directory, dead) = (ground.directory(), dead.clone());
        sweeps.spawn(async move { directory.sweep(&dead, Duration::ZERO).await.unwrap() });
    }
    let deleted: u64 = sweeps.join_all().await.iter().sum();
    assert_eq!(deleted, 1_000);
    assert_eq!(status(&*directory, &dead).await, None);
    assert!(clients_on(&*directory, &dead).await.is_empty());
}

async fn ten_thousand_rows_are_swept(ground: &Ground) {
    let directory = ground.directory();
    let dead = member("node-1", 1);
    join(&*directory, &dead, LONG).await;
    claim_many(ground, &dead, 10_000).await;
    assert_eq!(clients_on(&*directory, &dead).await.len(), 10_000);
    end_lease(&*directory, &dead).await;
    assert_eq!(directory.sweep(&dead, Duration::ZERO).await.unwrap(), 10_000);
    assert_eq!(find(&*directory, "client-9999").await, None);
    assert!(clients_of(&*directory, "client-9999").await.is_empty());
    assert!(clients_on(&*directory, &dead).await.is_empty());
}

async fn any_text_can_be_a_name(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    let long = "x".repeat(65_535);
    let names = [
        "{a}",
        "}{",
        "{}",
        "a b",
        "a\nb\r\n",
        "\0",
        "\u{1f980} \u{f6}",
        "a:b",
        "*",
        "'\"\\",
        &long,
    ];
    join(&*directory, &node, LONG).await;
    for name in names {
        let epoch = claim(&*directory, name, &node).await;
        assert_eq!(find(&*directory, name).await, Some(owner(&node, epoch)), "{name:?}");
        assert_eq!(clients_of(&*directory, name).await, [name]);
        assert_eq!(clients_on(&*directory, &node).await, [name]);
        let (client_id, user) = (ClientId::from(name), UserName::from(name));
        assert!(
            directory
                .release(&client_id, &user, &node, epoch, End::Abnormal)
                .await
                .unwrap()
                .is_some()
        );
        assert!(clients_on(&*directory, &node).await.is_empty());
    }
    for name in names {
        claim(&*directory, name, &node).await;
    }
    end_lease(&*directory, &node).await;
    assert_eq!(directory.sweep(&node, Duration::ZERO).await.unwrap(), names.len() as u64);
}

/// Claims `client-0` and so on for a node.
async fn claim_many(ground: &Ground, node: &Member, count: usize) {
    let mut tasks = JoinSet::new();
    let directory = ground.directory();
    for first in 0..100 {
        let (directory, node) = (directory.clone(), node.clone());
        tasks.spawn(async move {
            for n in (first..count).step_by(100) {
                claim(&*directory, &format!("client-{n}"), &node).await;
            }
        });
    }
    tasks.join_all().await;
}
