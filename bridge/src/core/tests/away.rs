//! Nodes that are away: what their durable sessions wait for is held.

use super::{THREE_READY, play};

/// node-3 is away; its durable sessions hold `c`, and it held `b` too.
const AWAY: &str = "
    node-3 < change 2 *c
    node-3 > ack 2
    seen node-1@1 node-2@1 node-3@1!
    node-2 > unsubscribe 3 b
    node-2 < unsuback 3
    ? hang-ups 1
    ? live 2
    ? away 1
    ? dials
    ? sweeps node-3@1
";

/// It is back as a second life, and wants the same; three copies are held for it.
const BACK: &str = "
    seen node-1@1 node-2@1 node-3@2
    ? dials node-3@2
    ? live 3
    ? away 0
    up node-3
    node-3 > unready
    node-3 < hello 2
    node-3 > subscribe 1 a b
    node-3 < suback 1 2
    node-3 > ready
    node-3 < end 1 +c *c
    node-3 > forward 2 c
    node-3 > forward 3 c
    node-3 > forward 4 c
    node-3 > ack 1
";

#[test]
fn what_durable_filters_match_waits_for_the_next_life_and_comes_in_order() {
    play(&[
        THREE_READY,
        "
        node-3 < change 2 *c
        node-3 > ack 2
        node-1 < forward 8 c
        node-3 > forward 2 c
        node-1 < forward 9 b
        node-2 > forward 3 b
        node-3 > forward 3 b
        node-2 < ack 3
        seen node-1@1 node-2@1 node-3@1!
        node-1 > ack 9
        node-2 > unsubscribe 4 b
        ? node_gone 1
        node-1 < forward 10 c
        node-2 < forward 9 c
        node-1 < forward - c
        ? not_linked 1
        wait 50
        ? held 3
        ",
        BACK,
        "
        ? resent 1
        node-3 < ack 2
        node-1 > ack 8
        node-3 < ack 4
        node-2 > ack 9
        node-3 < ack 3
        node-1 > ack 10
        ? home_gone 0
        ? owed 0
    ",
    ]);
}

#[test]
fn after_the_grace_time_what_was_held_is_dropped_and_the_node_forgotten() {
    play(&[
        THREE_READY,
        AWAY,
        "
        node-1 < forward 8 c
        seen node-1@1 node-2@1 node-3@1!20
        node-1 < pong
        node-2 < pong
        wait 39
        ? home_gone 0
        wait 1
        node-1 > ack 8
        ? home_gone 1
        ? node_gone 0
        ? away 0
        ? routes 2
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 4 c
        seen node-1@1 node-2@1 node-3@1!60
        node-1 < forward 9 c
        node-1 > ack 9
        seen node-1@1 node-2@1 node-3@2
        ? dials node-3@2
    ",
    ]);
}

#[test]
fn a_node_that_is_away_counts_for_its_durable_filters_alone() {
    play(&[
        THREE_READY,
        AWAY,
        "
        node-1 < change 5 +x
        node-2 > subscribe 4 x
        node-2 < suback 4 1
        node-1 > ack 5
        wait 20
        ? reasons
        refused node-3
        node-1 < take-over 6 node-3
        node-1 > ack 6
        node-1 < session 7 node-3
        ? unanswered 1
        node-1 < retain 8 1 nothing
        node-2 > forward 5 nothing
        node-2 < ack 5
        node-1 > ack 8
        node-1 < retain 9 0 c
        node-2 > forward 6 c
        node-2 < ack 6
        node-1 > ack 9
        ? not_linked 1
        node-1 < retain 10 1 c
        node-2 > forward 7 c
        node-2 < ack 7
        ? owed 1
        down node-1
        ? owed 0
        ? held 0
    ",
    ]);
}

#[test]
fn a_node_whose_durable_filters_are_gone_is_forgotten_at_once() {
    let durable = "
        node-3 < change 2 *c
        node-3 > ack 2
    ";
    let gone = "
        seen node-1@1 node-2@1 node-3@1!
        ? live 2
        ? away 0
    ";
    let fleeting = "
        node-3 < change 3 *unknown ~c
        node-3 > ack 3
    ";
    let removed = "
        node-3 < change 3 -c
        node-3 > ack 3
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 c
    ";
    let less = "
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
    ";
    play(&[THREE_READY, durable, fleeting, gone, less]);
    play(&[THREE_READY, durable, removed, gone, "node-2 > unsubscribe 4 b"]);
}

#[test]
fn a_snapshot_names_what_is_durable_anew() {
    play(&[
        THREE_READY,
        "
        node-3 < change 2 *c
        node-3 > ack 2
        down node-3
        up node-3
        node-3 > unready
        node-3 < hello 1
        node-3 > subscribe 1 a b
        node-3 < suback 1 2
        node-3 > ready
        node-3 < snapshot 1 +b *b
        node-3 > ack 1
        node-3 < end 2 +c
        node-3 > ack 2
        seen node-1@1 node-2@1 node-3@1!
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 c
        ? away 1
        node-1 < forward 8 b
        node-2 > forward 4 b
        node-2 < ack 4
        ? owed 1
        node-1 < forward 9 c
        node-1 > ack 9
    ",
    ]);
}

#[test]
fn a_node_that_leaves_the_directory_is_away_too() {
    play(&[
        THREE_READY,
        "
        node-3 < change 2 *c
        node-3 > ack 2
        down node-3
        seen node-1@1 node-2@1
        node-2 > unsubscribe 3 b
        ? away 1
        node-1 < forward 8 c
        seen node-1@1 node-2@1
        wait 59
        node-1 < pong
        node-2 < pong
        ? away 1
        wait 1
        node-1 > ack 8
        ? home_gone 1
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 4 c
    ",
    ]);
}

#[test]
fn the_same_life_may_come_back() {
    play(&[
        THREE_READY,
        AWAY,
        "
        node-1 < forward 8 c
        seen node-1@1 node-2@1 node-3@1
        ? dials node-3@1
        up node-3
        node-3 > unready
        node-3 < hello 1
        node-3 > subscribe 1 a b
        node-3 < suback 1 2
        node-3 > ready
        node-3 < end 1 +c *c
        node-3 > forward 2 c
        node-3 > ack 1
        node-3 < ack 2
        node-1 > ack 8
    ",
    ]);
}

#[test]
fn each_time_a_node_is_away_it_has_the_whole_grace_time() {
    play(&[
        THREE_READY,
        AWAY,
        "
        seen node-1@1 node-2@1 node-3@2
        up node-3
        node-3 > unready
        node-3 < hello 2
        node-3 > subscribe 1 a b
        node-3 < suback 1 2
        node-3 > ready
        node-3 < end 1 +c *c
        node-3 > ack 1
        wait 70
        down node-3
        seen node-1@1 node-2@1
        ? away 1
        wait 59
        ? away 1
        wait 1
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 4 c
    ",
    ]);
}

#[test]
fn what_was_held_for_a_live_node_and_no_durable_session_waits_for_is_settled() {
    play(&[
        THREE_READY,
        "
        node-3 < change 2 *c
        node-3 > ack 2
        down node-3
        node-1 < retain 8 0 c
        node-2 > forward 3 c
        node-2 < ack 3
        node-1 < forward 9 c
        node-1 < take-over 10 node-3
        node-1 < session 11 node-3
        seen node-1@1 node-2@1 node-3@1!
        node-1 > ack 8
        node-1 > ack 10
        node-2 > unsubscribe 4 b
        ? node_gone 1
        ? unanswered 1
        ? owed 1
    ",
    ]);
}

#[test]
fn a_node_that_is_back_counts_as_live_at_once() {
    play(&[
        THREE_READY,
        AWAY,
        "
        seen node-1@1 node-2@1 node-3@2
        node-1 < change 5 +x
        node-2 > subscribe 4 x
        node-2 < suback 4 1
        wait 5
        ? reasons
        wait 1
        node-1 > unready
        node-2 > unready
        ? reasons cut off from node-3
        up node-3
        node-3 > unready
        node-3 < hello 2
        node-3 > subscribe 1 a b x
        node-3 < suback 1 3
        node-1 > ack 5
        node-3 < end 1
        node-3 > ack 1
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 5 c
        node-1 > ready
        node-2 > ready
        node-3 > ready
    ",
    ]);
}

#[test]
fn a_life_that_came_and_went_unseen_begins_the_grace_time_anew_with_its_own_home() {
    play(&[
        THREE_READY,
        AWAY,
        "
        node-1 < forward 8 c
        wait 50
        home node-3 d
        seen node-1@1 node-2@1 node-3@2!
        node-1 > subscribe 3 d
        node-2 > subscribe 4 d
        ? sweeps node-3@1 node-3@2
        wait 50
        ? home_gone 0
        node-1 < forward 9 d
        wait 10
        ? home_gone 2
        node-1 > ack 8
        node-1 > ack 9
        node-1 > unsubscribe 4 c d
        node-2 > unsubscribe 5 c d
    ",
    ]);
}

#[test]
fn nobody_is_forgotten_while_the_directory_is_gone_and_a_lease_after() {
    play(&[
        THREE_READY,
        AWAY,
        "
        node-1 < forward 8 c
        lost
        node-1 > ready blind
        node-2 > ready blind
        wait 100
        ? away 1
        seen node-1@1 node-2@1 node-3@1!100
        node-1 > ready
        node-2 > ready
        wait 5
        ? home_gone 0
        wait 1
        ? home_gone 1
        node-1 > ack 8
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 4 c
    ",
    ]);
}
