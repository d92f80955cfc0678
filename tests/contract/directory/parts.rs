//! Where parts of a durable session may be: every claim is told, whatever became of the owners before it.

use super::{
    erasures::{WAYS, Way, goes, log_in, parked, row},
    *,
};

contract![
    a_claim_is_told_of_all_owners_before_it,
    a_claim_is_told_of_the_last_one_of_another_node,
    a_node_that_has_nothing_left_is_not_named_again,
    what_is_said_of_an_older_claim_does_not_count,
    a_row_that_goes_leaves_its_owner_named_unless_the_session_has_ended,
    a_restored_row_names_who_else_may_keep_something,
    a_session_that_ends_with_its_connection_leaves_nothing,
];

fn named(claimed: &Claimed) -> Vec<&str> {
    let mut names: Vec<&str> = claimed.left_on.iter().map(NodeId::as_str).collect();
    names.sort_unstable();
    names
}

fn before(node: &Member, epoch: Epoch) -> Before {
    Before { node: node.node.clone(), epoch }
}

async fn claim(directory: &dyn Directory, node: &Member) -> Claimed {
    log_in(directory, node, true, Way::Release).await
}

async fn cleared(directory: &dyn Directory, node: &Member, epoch: Epoch) {
    directory.cleared(&ClientId::from("alice"), &node.node, epoch).await.unwrap();
}

fn three() -> [Member; 3] {
    ["node-1", "node-2", "node-3"].map(|name| member(name, 1))
}

async fn a_claim_is_told_of_all_owners_before_it(ground: &Ground) {
    let directory = ground.directory();
    let [first, second, third] = three();
    let claimed = claim(&*directory, &first).await;
    assert_eq!((claimed.before.clone(), named(&claimed)), (None, vec![]));
    let next = claim(&*directory, &second).await;
    assert_eq!(
        (next.before.clone(), named(&next)),
        (Some(before(&first, claimed.epoch)), vec!["node-1"])
    );
    assert_eq!(named(&claim(&*directory, &third).await), ["node-1", "node-2"]);
    assert_eq!(named(&claim(&*directory, &third).await), ["node-1", "node-2"]);
    assert_eq!(named(&claim(&*directory, &first).await), ["node-2", "node-3"]);
    let younger = member("node-2", 2);
    assert_eq!(named(&claim(&*directory, &younger).await), ["node-1", "node-3"]);
}

async fn a_claim_is_told_of_the_last_one_of_another_node(ground: &Ground) {
    let directory = ground.directory();
    for (way, life) in WAYS.into_iter().zip(1..) {
        let [first, second] = ["node-1", "node-2"].map(|name| member(name, life));
        assert_eq!(claim(&*directory, &first).await.before, None, "{way:?}");
        let home = claim(&*directory, &first).await;
        assert_eq!(home.before, None, "{way:?}");
        let told = Some(before(&first, home.epoch));
        assert_eq!(claim(&*directory, &second).await.before, told, "{way:?}");
        let last = log_in(&*directory, &second, true, way).await;
        assert_eq!(last.before, told, "its own does not count; {way:?}");
        // Nor if its row is gone, or was lost and written again.
        goes(&*directory, &second, last.epoch, way).await;
        let younger = claim(&*directory, &second).await;
        assert_eq!(younger.before, told, "{way:?}");
        directory.restore(&parked(&second), Epoch(younger.epoch.0 + 1)).await.unwrap();
        let last = claim(&*directory, &second).await;
        assert_eq!(last.before, told, "{way:?}");
        // What a clean login erases is told to the next one, and forgotten then.
        log_in(&*directory, &first, false, Way::Release).await;
        let clean = claim(&*directory, &second).await.before;
        assert!(clean.is_some_and(|clean| clean.node == first.node), "{way:?}");
        assert_eq!(claim(&*directory, &second).await.before, None, "{way:?}");
        ground.lose_all().await;
    }
}

async fn a_node_that_has_nothing_left_is_not_named_again(ground: &Ground) {
    let directory = ground.directory();
    let [first, second, third] = three();
    claim(&*directory, &first).await;
    claim(&*directory, &second).await;
    let epoch = claim(&*directory, &third).await.epoch;
    cleared(&*directory, &first, epoch).await;
    cleared(&*directory, &first, epoch).await;
    let again = claim(&*directory, &third).await;
    assert_eq!(named(&again), ["node-2"]);
    cleared(&*directory, &second, again.epoch).await;
    assert_eq!(named(&claim(&*directory, &third).await), [""; 0]);
    assert_eq!(named(&claim(&*directory, &first).await), ["node-3"], "it had the session since");
    directory.leave(&first).await.unwrap();
    assert_eq!(find(&*directory, "alice").await, None);
}

async fn what_is_said_of_an_older_claim_does_not_count(ground: &Ground) {
    let directory = ground.directory();
    let [first, second, third] = three();
    claim(&*directory, &first).await;
    let older = claim(&*directory, &second).await.epoch;
    claim(&*directory, &first).await;
    claim(&*directory, &third).await;
    cleared(&*directory, &first, older).await;
    assert_eq!(named(&claim(&*directory, &third).await), ["node-1", "node-2"]);
    cleared(&*directory, &member("node-9", 1), older).await;
    directory.cleared(&ClientId::from("nobody"), &first.node, older).await.unwrap();
    assert_eq!(find(&*directory, "nobody").await, None);
}

async fn a_row_that_goes_leaves_its_owner_named_unless_the_session_has_ended(ground: &Ground) {
    let directory = ground.directory();
    for (way, life) in WAYS.into_iter().zip(1..) {
        let [home, second, third] = ["node-1", "node-2", "node-3"].map(|name| member(name, life));
        claim(&*directory, &home).await;
        let epoch = log_in(&*directory, &second, true, way).await.epoch;
        goes(&*directory, &second, epoch, way).await;
        let next = claim(&*directory, &third).await;
        let expected: &[&str] = match way {
            Way::Release => &["node-1"],
            Way::Leave | Way::Sweep | Way::TakeWills => &["node-1", "node-2"],
        };
        assert_eq!(
            (next.previous.clone(), next.before.clone()),
            (None, Some(before(&second, epoch))),
            "{way:?}"
        );
        assert_eq!(named(&next), expected, "{way:?}");
        // A trace is told of nodes with nothing left too.
        directory.leave(&third).await.unwrap();
        cleared(&*directory, &home, next.epoch).await;
        let last = claim(&*directory, &second).await;
        assert_eq!(named(&last), ["node-3"], "{way:?}");
        ground.lose_all().await;
    }
}

async fn a_restored_row_names_who_else_may_keep_something(ground: &Ground) {
    let directory = ground.directory();
    let [first, second, third] = three();
    let older = claim(&*directory, &first).await.epoch;
    let younger = claim(&*directory, &second).await.epoch;
    ground.lose_all().await;
    directory.restore(&parked(&first), older).await.unwrap();
    directory.restore(&parked(&second), younger).await.unwrap();
    assert_eq!(named(&claim(&*directory, &third).await), ["node-1", "node-2"]);
    directory.leave(&third).await.unwrap();
    let third = member("node-3", 2);
    join(&*directory, &third, LONG).await;
    let latest = directory.claim(&row(&third)).await.unwrap().epoch;
    directory.leave(&third).await.unwrap();
    directory.restore(&parked(&third), latest).await.unwrap();
    assert_eq!(named(&claim(&*directory, &first).await), ["node-2", "node-3"]);
}

async fn a_session_that_ends_with_its_connection_leaves_nothing(ground: &Ground) {
    let directory = ground.directory();
    let [first, second, third] = three();
    claim(&*directory, &first).await;
    let clean = log_in(&*directory, &second, false, Way::Release).await;
    assert_eq!(named(&clean), ["node-1"], "it is to be erased there");
    let next = log_in(&*directory, &third, false, Way::Release).await;
    assert_eq!(named(&next), ["node-1"]);
    cleared(&*directory, &first, next.epoch).await;
    goes(&*directory, &third, next.epoch, Way::Release).await;
    assert_eq!(named(&claim(&*directory, &first).await), [""; 0]);
}
