//! What a bridge learns of a node's durable filters from the directory, when it was not linked to it.

use super::{THREE_READY, play};

/// node-2 has ended before the bridge came; node-1 is linked.
const LATE: &str = "
    home node-2 c d
    seen node-1@1 node-2@1!20
    ? dials node-1@1 node-2@1
    up node-1
    node-1 > unready
    node-1 < hello 1
    node-1 > subscribe 1 c d
    node-1 < end 1
    node-1 > ack 1
    ? reasons not armed: waiting for node-2
";

#[test]
fn a_bridge_that_starts_while_a_node_is_away_knows_its_home_before_it_is_armed() {
    let refused = "
        refused node-2
    ";
    let in_time = "
        wait 6
        node-1 < pong
        seen node-1@1 node-2@1!26
    ";
    let armed = "
        ? reasons
        ? away 1
        ? dials
        ? sweeps node-2@1
        node-1 < suback 1 2
        node-1 > ready
        node-1 < forward 8 c
        ? owed 1
        wait 33
        ? home_gone 0
        wait 7
        ? home_gone 1
        node-1 > ack 8
        node-1 > unsubscribe 2 c d
    ";
    play(&[LATE, refused, armed]);
    play(&[LATE, in_time, armed]);
}

#[test]
fn a_home_known_from_the_directory_is_replaced_by_what_the_node_says() {
    play(&[
        LATE,
        "
        seen node-1@1 node-2@2
        up node-2
        node-2 > unready
        node-2 < hello 2
        node-2 < end 1 +d
        node-1 > unsubscribe 2 c
        node-2 > ready
        node-1 < suback 1 2
        node-1 > ready
        node-2 > ack 1
        seen node-1@1 node-2@2!
        node-1 > unsubscribe 3 d
        ? away 0
    ",
    ]);
}

#[test]
fn the_home_of_a_node_that_dies_before_it_was_ever_linked_is_asked_for() {
    play(&["
        seen node-1@1 node-2@1
        up node-1
        node-1 > unready
        node-1 < hello 1
        node-1 < end 1
        node-1 > ack 1
        home node-2 c
        seen node-1@1 node-2@1!
        node-1 > subscribe 1 c
        ? away 1
        node-1 < suback 1 1
        node-1 > ready
    "]);
}

#[test]
fn a_cluster_whose_nodes_are_all_away_arms_no_bridge() {
    play(&["
        home node-1 c
        seen node-1@1!
        refused node-1
        ? away 1
        ? reasons not armed: no node is known
        home node-1 c
        seen node-1@1!60
        ? reasons not armed: no node is known
    "]);
}

#[test]
fn a_bridge_that_has_run_for_long_learns_of_a_node_it_never_saw_alive() {
    play(&[
        THREE_READY,
        "
        wait 10
        node-1 < pong
        node-2 < pong
        node-3 < pong
        home node-4 d
        seen node-1@1 node-2@1 node-3@1 node-4@1!
        ? away 1
        ? dials
        ? sweeps node-4@1
        node-1 > subscribe 3 d
        node-2 > subscribe 3 d
        node-3 > subscribe 2 d
        node-1 < forward 8 d
        ? owed 1
    ",
    ]);
}
