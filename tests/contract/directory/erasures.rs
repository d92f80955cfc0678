//! What clean logins have erased: told to nodes that were away, long after the clean client has gone.

use super::*;

contract![
    a_clean_login_is_remembered_whichever_way_its_row_goes,
    a_durable_session_whose_row_was_swept_can_still_be_erased,
    an_erasure_is_told_to_all_through_later_durable_logins,
    a_clean_session_that_is_connected_has_erased_what_was_before,
    a_session_that_began_after_the_erasure_is_restored,
    a_clean_login_where_no_session_can_be_is_forgotten,
    a_trace_is_found_by_nobody,
];

/// How a row goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Release,
    Leave,
    Sweep,
    TakeWills,
}

pub(super) const WAYS: [Way; 4] = [Way::Release, Way::Leave, Way::Sweep, Way::TakeWills];

/// A login of alice, at a node that lives.
pub(super) async fn log_in(
    directory: &dyn Directory,
    node: &Member,
    durable: bool,
    way: Way,
) -> Claimed {
    join(directory, node, LONG).await;
    let will = Message {
        topic: Topic::new("last/words").unwrap(),
        payload: "x".into(),
        qos: QoS::AtMostOnce,
        retain: false,
    };
    let will = matches!(way, Way::TakeWills).then_some(will);
    directory.claim(&ClientRow { durable, will, ..row(node) }).await.unwrap()
}

pub(super) async fn goes(directory: &dyn Directory, node: &Member, epoch: Epoch, way: Way) {
    match way {
        Way::Release => {
            let ClientRow { client_id, user, .. } = row(node);
            let released =
                directory.release(&client_id, &user, node, epoch, End::Abnormal).await.unwrap();
            assert!(released.is_some());
        }
        Way::Leave => directory.leave(node).await.unwrap(),
        Way::Sweep => {
            end_lease(directory, node).await;
            assert_eq!(directory.sweep(node, Duration::ZERO).await.unwrap(), 1);
        }
        Way::TakeWills => {
            end_lease(directory, node).await;
            let taken = directory.take_wills(node).await.unwrap();
            assert_eq!(taken.len(), 1);
            directory.settle_wills(node, &taken).await.unwrap();
        }
    }
    assert_eq!(find(directory, "alice").await, None);
}

pub(super) fn row(node: &Member) -> ClientRow {
    client_row("alice", "alice", node)
}

pub(super) fn parked(node: &Member) -> ClientRow {
    ClientRow { connected: false, ..row(node) }
}

fn erased_by(epoch: Epoch) -> Restored {
    Restored { holder: None, erased: Some(epoch) }
}

async fn a_clean_login_is_remembered_whichever_way_its_row_goes(ground: &Ground) {
    let directory = ground.directory();
    for (way, life) in WAYS.into_iter().zip(1..) {
        let (home, other) = (member("node-1", life), member("node-2", life));
        let first = log_in(&*directory, &home, true, Way::Release).await.epoch;
        let clean = log_in(&*directory, &other, false, way).await;
        assert_eq!(clean.previous.map(|previous| previous.owner), Some(owner(&home, first)));
        goes(&*directory, &other, clean.epoch, way).await;
        for _ in ["once", "again"] {
            let restored = directory.restore(&parked(&home), first).await.unwrap();
            assert_eq!(restored, erased_by(clean.epoch), "{way:?}");
            assert_eq!(find(&*directory, "alice").await, None, "{way:?}");
            assert!(clients_on(&*directory, &home).await.is_empty(), "{way:?}");
            assert!(clients_of(&*directory, "alice").await.is_empty(), "{way:?}");
        }
        directory.leave(&home).await.unwrap();
        directory.leave(&other).await.unwrap();
        ground.lose_all().await;
    }
}

async fn a_durable_session_whose_row_was_swept_can_still_be_erased(ground: &Ground) {
    let directory = ground.directory();
    for (way, life) in WAYS.into_iter().zip(1..) {
        let (home, other) = (member("node-1", life), member("node-2", life));
        let first = log_in(&*directory, &home, true, way).await.epoch;
        goes(&*directory, &home, first, way).await;
        let clean = log_in(&*directory, &other, false, Way::Release).await;
        assert_eq!((clean.previous, clean.erased), (None, None), "{way:?}");
        goes(&*directory, &other, clean.epoch, Way::Release).await;
        let restored = directory.restore(&parked(&home), first).await.unwrap();
        assert_eq!(restored, erased_by(clean.epoch), "{way:?}");
        // Nor does another clean login make it forgotten.
        let again = log_in(&*directory, &other, false, Way::Release).await;
        goes(&*directory, &other, again.epoch, Way::Release).await;
        let restored = directory.restore(&parked(&home), first).await.unwrap();
        assert_eq!(restored, erased_by(again.epoch), "{way:?}");
        directory.leave(&other).await.unwrap();
        ground.lose_all().await;
    }
}

async fn an_erasure_is_told_to_all_through_later_durable_logins(ground: &Ground) {
    let directory = ground.directory();
    let nodes = [member("node-1", 1), member("node-2", 1), member("node-3", 1)];
    let [home, other, third] = &nodes;
    let first = log_in(&*directory, home, true, Way::Release).await;
    assert_eq!(first.erased, None);
    let clean = log_in(&*directory, other, false, Way::Release).await;
    assert_eq!(clean.erased, None);
    goes(&*directory, other, clean.epoch, Way::Release).await;
    let mut last = clean.epoch;
    for node in [third, other, third] {
        let durable = log_in(&*directory, node, true, Way::Release).await;
        assert_eq!(durable.erased, Some(clean.epoch));
        last = durable.epoch;
        let restored = directory.restore(&parked(home), first.epoch).await.unwrap();
        let holder = Some(owner(node, last));
        assert_eq!(restored, Restored { holder, erased: Some(clean.epoch) });
    }
    // Also when the younger session is parked, and gone.
    directory.park(&row(third).client_id, third, last, End::Abnormal).await.unwrap();
    goes(&*directory, third, last, Way::Release).await;
    let restored = directory.restore(&parked(home), first.epoch).await.unwrap();
    assert_eq!(restored, erased_by(clean.epoch));
    let durable = log_in(&*directory, home, true, Way::Release).await;
    assert_eq!((durable.previous, durable.erased), (None, Some(clean.epoch)));
}

async fn a_clean_session_that_is_connected_has_erased_what_was_before(ground: &Ground) {
    let directory = ground.directory();
    let (home, other) = (member("node-1", 1), member("node-2", 1));
    let first = log_in(&*directory, &home, true, Way::Release).await.epoch;
    let clean = log_in(&*directory, &other, false, Way::Release).await.epoch;
    let expected = Restored { holder: Some(owner(&other, clean)), erased: Some(clean) };
    assert_eq!(directory.restore(&parked(&home), first).await.unwrap(), expected);
    // All rows are lost, and the clean one alone is written again.
    ground.lose_all().await;
    let clean_row = ClientRow { durable: false, ..row(&other) };
    assert_eq!(directory.restore(&clean_row, clean).await.unwrap().holder, None);
    assert_eq!(directory.restore(&parked(&home), first).await.unwrap(), expected);
    let durable = log_in(&*directory, &home, true, Way::Release).await;
    assert_eq!(durable.erased, Some(clean));
    assert_eq!(directory.claim(&row(&other)).await.unwrap().erased, Some(clean));
}

async fn a_session_that_began_after_the_erasure_is_restored(ground: &Ground) {
    let directory = ground.directory();
    let (home, other) = (member("node-1", 1), member("node-2", 1));
    let first = log_in(&*directory, &home, true, Way::Release).await.epoch;
    let clean = log_in(&*directory, &other, false, Way::Release).await.epoch;
    goes(&*directory, &other, clean, Way::Release).await;
    let second = log_in(&*directory, &other, true, Way::Release).await.epoch;
    goes(&*directory, &other, second, Way::Leave).await;
    // It knows of the erasure still, though it has just come back.
    for _ in ["once", "again"] {
        let restored = directory.restore(&parked(&other), second).await.unwrap();
        assert_eq!(restored, erased_by(clean));
        assert_eq!(find(&*directory, "alice").await, Some(owner(&other, second)));
    }
    let restored = directory.restore(&parked(&home), first).await.unwrap();
    let holder = Some(owner(&other, second));
    assert_eq!(restored, Restored { holder, erased: Some(clean) });
}

async fn a_clean_login_where_no_session_can_be_is_forgotten(ground: &Ground) {
    let directory = ground.directory();
    let (node, other) = (member("node-1", 1), member("node-2", 1));
    let earlier = claim(&*directory, "alice", &node).await;
    ground.lose_all().await;
    for _ in ["once", "again"] {
        let clean = log_in(&*directory, &other, false, Way::Release).await;
        assert_eq!(clean.erased, None);
        goes(&*directory, &other, clean.epoch, Way::Release).await;
    }
    let restored = directory.restore(&parked(&node), earlier).await.unwrap();
    assert_eq!(restored, Restored::default());
    assert_eq!(find(&*directory, "alice").await, Some(owner(&node, earlier)));
}

async fn a_trace_is_found_by_nobody(ground: &Ground) {
    let directory = ground.directory();
    let (home, other) = (member("node-1", 1), member("node-2", 1));
    log_in(&*directory, &home, true, Way::Release).await;
    let clean = log_in(&*directory, &other, false, Way::Release).await;
    assert_eq!(clean.contests, 1);
    goes(&*directory, &other, clean.epoch, Way::Release).await;
    let (client_id, user) = (ClientId::from("alice"), UserName::from("alice"));
    assert_eq!(directory.park(&client_id, &other, clean.epoch, End::Abnormal).await.unwrap(), None);
    let again =
        directory.release(&client_id, &user, &other, clean.epoch, End::Abnormal).await.unwrap();
    assert_eq!(again, None);
    assert!(clients_of(&*directory, "alice").await.is_empty());
    for node in [&home, &other] {
        end_lease(&*directory, node).await;
        assert_eq!(directory.sweep(node, Duration::ZERO).await.unwrap(), 0);
        assert!(directory.take_wills(node).await.unwrap().is_empty());
        assert_eq!(status(&*directory, node).await, None, "its row is not held up");
    }
    let next = log_in(&*directory, &home, true, Way::Release).await;
    assert!(next.epoch > clean.epoch);
    assert_eq!((next.previous, next.contests, next.erased), (None, 0, Some(clean.epoch)));
}
