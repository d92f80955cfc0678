//! Bridges: who is there, for as long as its lease runs.

use super::*;

contract![
    a_bridge_is_listed_from_its_first_word_to_its_last,
    a_bridge_that_says_nothing_is_forgotten_when_its_lease_has_ended,
    a_lease_that_is_prolonged_runs_on,
    an_older_life_neither_shortens_nor_ends_the_lease_of_a_younger_one,
    an_older_life_has_the_name_when_the_younger_one_is_dead,
    bridges_are_lost_with_the_directory_and_written_again,
];

async fn a_bridge_is_listed_from_its_first_word_to_its_last(ground: &Ground) {
    let (here, there) = (ground.directory(), ground.directory());
    assert!(bridges(&*here).await.is_empty());
    note(&*here, "bridge-2", 1, LONG).await;
    note(&*here, "bridge-1", 5, LONG).await;
    assert_eq!(bridges(&*there).await, ["bridge-1", "bridge-2"]);
    leave(&*here, "bridge-1", 5).await;
    assert_eq!(bridges(&*there).await, ["bridge-2"]);
    leave(&*here, "bridge-1", 5).await;
    leave(&*here, "bridge-3", 1).await;
    assert_eq!(bridges(&*there).await, ["bridge-2"]);
}

async fn a_bridge_that_says_nothing_is_forgotten_when_its_lease_has_ended(ground: &Ground) {
    let directory = ground.directory();
    note(&*directory, "bridge-1", 1, SHORT).await;
    note(&*directory, "bridge-2", 1, LONG).await;
    eventually("the lease ends", || async { bridges(&*directory).await == ["bridge-2"] }).await;
    note(&*directory, "bridge-1", 1, LONG).await;
    assert_eq!(bridges(&*directory).await, ["bridge-1", "bridge-2"]);
}

async fn a_lease_that_is_prolonged_runs_on(ground: &Ground) {
    let directory = ground.directory();
    note(&*directory, "bridge-1", 1, SHORT).await;
    note(&*directory, "bridge-1", 1, LONG).await;
    note(&*directory, "bridge-2", 1, SHORT).await; // ends later than the first lease would have
    eventually("a lease ends", || async { bridges(&*directory).await == ["bridge-1"] }).await;
}

async fn an_older_life_neither_shortens_nor_ends_the_lease_of_a_younger_one(ground: &Ground) {
    let directory = ground.directory();
    note(&*directory, "bridge-1", 1_732_000_000_000, LONG).await;
    note(&*directory, "bridge-1", 1_732_000_000_001, LONG).await;
    note(&*directory, "bridge-1", 1_732_000_000_000, SHORT).await;
    note(&*directory, "bridge-2", 1, SHORT).await;
    leave(&*directory, "bridge-1", 1_732_000_000_000).await;
    eventually("a lease ends", || async { bridges(&*directory).await == ["bridge-1"] }).await;
    leave(&*directory, "bridge-1", 1_732_000_000_001).await;
    assert!(bridges(&*directory).await.is_empty());
}

/// As when the clock of its machine was set back.
async fn an_older_life_has_the_name_when_the_younger_one_is_dead(ground: &Ground) {
    let directory = ground.directory();
    note(&*directory, "bridge-1", 2, SHORT).await;
    let later = member("node-1", 1);
    join(&*directory, &later, SHORT).await;
    eventually("a later lease ends", || async { !is_live(&*directory, &later).await }).await;
    note(&*directory, "bridge-1", 1, LONG).await;
    assert_eq!(bridges(&*directory).await, ["bridge-1"]);
}

async fn bridges_are_lost_with_the_directory_and_written_again(ground: &Ground) {
    let directory = ground.directory();
    note(&*directory, "bridge-1", 1, LONG).await;
    ground.lose_all().await;
    assert!(bridges(&*directory).await.is_empty());
    note(&*directory, "bridge-1", 1, LONG).await;
    assert_eq!(bridges(&*directory).await, ["bridge-1"]);
}

async fn note(directory: &dyn Directory, bridge: &str, life: u64, lease: Duration) {
    directory.note_bridge(&BridgeId::from(bridge), Incarnation(life), lease).await.unwrap();
}

async fn leave(directory: &dyn Directory, bridge: &str, life: u64) {
    directory.leave_bridge(&BridgeId::from(bridge), Incarnation(life)).await.unwrap();
}

async fn bridges(directory: &dyn Directory) -> Vec<String> {
    let found = directory.bridges().await.unwrap();
    found.iter().map(ToString::to_string).collect()
}
