//! Changes of routes, and the interest they cause.

use super::{THREE_READY, play};

#[test]
fn a_change_of_routes_is_answered_when_every_other_node_has_the_interest() {
    play(&[
        THREE_READY,
        "
        node-1 < change 2 +x
        node-2 > subscribe 3 x
        node-3 > subscribe 2 x
        node-3 < suback 2 1
        node-2 < suback 3 1
        node-1 > ack 2
        node-2 < change 3 +x
        node-1 > subscribe 3 x
        node-1 < suback 3 1
        node-2 > ack 3
        node-3 < change 4 +x
        node-3 > ack 4
    ",
    ]);
}

#[test]
fn a_change_waits_for_the_same_filter_that_another_node_has_just_asked_for() {
    play(&[
        THREE_READY,
        "
        node-1 < change 2 +x
        node-2 > subscribe 3 x
        node-3 > subscribe 2 x
        node-3 < suback 2 1
        node-3 < change 2 +x
        node-1 > subscribe 3 x
        node-1 < suback 3 1
        node-2 < suback 3 1
        node-1 > ack 2
        node-3 > ack 2
    ",
    ]);
}

#[test]
fn a_node_whose_link_breaks_is_waited_for_until_it_has_the_interest_by_another() {
    play(&[
        THREE_READY,
        "
        node-1 < change 2 +x
        node-2 > subscribe 3 x
        node-3 > subscribe 2 x
        node-2 < suback 3 1
        down node-3
        node-1 < change 3 +y
        node-2 > subscribe 4 y
        node-2 < suback 4 1
        up node-3
        node-3 > unready
        node-3 < hello 1
        node-3 > subscribe 1 a b x y
        node-3 < suback 1 4
        node-3 > ready
        node-1 > ack 2
        node-1 > ack 3
    ",
    ]);
}

#[test]
fn a_node_that_is_gone_or_refuses_connections_is_waited_for_no_longer() {
    let waiting = "
        down node-3
        node-1 < change 2 +x
        node-2 > subscribe 3 x
        node-2 < suback 3 1
    ";
    let refused = "
        refused node-3
        node-1 > ack 2
        node-1 < change 3 +y
        node-2 > subscribe 4 y
        node-2 < suback 4 1
        node-1 > ack 3
    ";
    let gone = "
        seen node-1@1 node-2@1 node-3@1!
        node-1 > ack 2
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 4 b c
    ";
    play(&[THREE_READY, waiting, refused]);
    play(&[THREE_READY, waiting, gone]);
}

#[test]
fn a_filter_that_becomes_durable_is_answered_like_one_that_is_new() {
    play(&[
        THREE_READY,
        "
        node-1 < change 2 *a
        node-1 > ack 2
        node-1 < change 3 +x
        node-2 > subscribe 3 x
        node-3 > subscribe 2 x
        node-1 < change 4 *x
        node-1 < change 5 ~a
        node-1 > ack 5
        node-2 < suback 3 1
        node-3 < suback 2 1
        node-1 > ack 3
        node-1 > ack 4
    ",
    ]);
}

#[test]
fn less_interest_waits_for_nobody() {
    play(&[
        THREE_READY,
        "
        node-1 < change 2 -a
        node-1 > ack 2
        node-2 > unsubscribe 3 a
        node-3 > unsubscribe 2 a
        node-2 < unsuback 3
        node-3 < unsuback 2
        node-2 < forward 9 a
        node-2 > ack 9
    ",
    ]);
}

#[test]
fn a_burst_of_changes_shares_a_few_subscribes() {
    let burst = "
        node-1 < change 2 +x0
        node-2 > subscribe 2 x0
        node-1 < change 3 +x1
        node-2 > subscribe 3 x1
        node-1 < change 4 +x2
        node-2 > subscribe 4 x2
        node-1 < change 5 +x3
        node-2 > subscribe 5 x3
        node-1 < change 6 +x4
        node-1 < change 7 +x5
        node-1 < change 8 -x5
        node-1 > ack 8
        node-2 < suback 2 1
        node-1 > ack 2
        node-2 > subscribe 6 x4
        node-2 < suback 3 1
        node-1 > ack 3
        node-2 <! suback 5 1
        refused node-2
        node-1 > ack 4
        node-1 > ack 5
        node-1 > ack 6
        node-1 > ack 7
    ";
    let two = "
        seen node-1@1 node-2@1
        up node-1
        node-1 > unready
        node-1 < hello 1
        node-1 < end 1 +a
        up node-2
        node-2 > unready
        node-2 < hello 1
        node-2 > subscribe 1 a
        node-2 < suback 1 1
        node-1 > ack 1
        node-2 < end 1
        node-1 > ready
        node-2 > ack 1
        node-2 > ready
    ";
    play(&[two, burst]);
}

#[test]
fn a_change_waits_for_the_next_life_of_a_node_that_refused_to_be_dialled() {
    play(&[
        THREE_READY,
        "
        down node-3
        refused node-3
        seen node-1@1 node-2@1 node-3@2
        node-1 < change 2 +x
        node-2 > subscribe 3 x
        node-2 < suback 3 1
        ? owed 1
        refused node-3
        node-1 > ack 2
    ",
    ]);
}
