//! What is retained goes to every node.

use super::{THREE_READY, play};

#[test]
fn a_retained_message_goes_to_every_node_and_is_answered_when_all_have_it() {
    for qos in ["0", "1"] {
        let retained = format!("node-1 < retain 9 {qos} nothing");
        play(&[
            THREE_READY,
            &retained,
            "
            node-2 > forward 3 nothing
            node-3 > forward 2 nothing
            node-3 < ack 2
            ? owed 1
            node-2 < ack 3
            node-1 > ack 9
        ",
        ]);
    }
}

#[test]
fn a_retained_message_without_identifier_goes_where_it_is_wanted() {
    play(&[
        THREE_READY,
        "
        node-1 < retain - 0 nothing
        node-1 < retain - 0 c
        node-3 > forward - c
        ? owed 0
    ",
    ]);
}

#[test]
fn a_retained_message_waits_for_a_live_node_whatever_that_wants() {
    play(&[
        THREE_READY,
        "
        down node-3
        node-1 < retain 9 0 nothing
        node-2 > forward 3 nothing
        node-2 < ack 3
        node-1 < forward 10 c
        up node-3
        node-3 > unready
        node-3 < hello 1
        node-3 > subscribe 1 a b
        node-3 < suback 1 2
        node-3 > ready
        node-3 < end 1
        node-3 > ack 1
        node-3 > forward 2 nothing
        node-1 > ack 10
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 4 b c
        node-3 < ack 2
        node-1 > ack 9
    ",
    ]);
}

#[test]
fn a_retained_message_waits_no_longer_for_a_node_that_is_gone_and_is_lost_only_if_wanted() {
    play(&[
        THREE_READY,
        "
        down node-3
        node-1 < retain 9 1 nothing
        node-2 > forward 3 nothing
        node-2 < ack 3
        node-1 < retain 10 1 c
        node-2 > forward 4 c
        node-2 < ack 4
        seen node-1@1 node-2@1 node-3@1!
        node-1 > ack 9
        node-1 > ack 10
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 5 b c
        ? node_gone 1
    ",
    ]);
}

#[test]
fn a_retained_message_of_the_only_node_is_answered_at_once() {
    play(&["
        seen node-1@1
        up node-1
        node-1 > unready
        node-1 < hello 1
        node-1 < end 1
        node-1 > ack 1
        node-1 > ready
        node-1 < retain 9 1 a
        node-1 > ack 9
    "]);
}
