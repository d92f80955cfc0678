//! Messages: to whom they go, when they are answered, what is held and forgotten.

use super::{THREE_READY, play};

#[test]
fn a_message_is_answered_after_all_its_destinations_and_goes_to_no_one_else() {
    play(&[
        THREE_READY,
        "
        node-1 < forward 9 b
        node-2 > forward 3 b
        node-3 > forward 2 b
        node-3 < ack 2
        node-2 < ack 3
        node-1 > ack 9
        node-2 < forward 9 b
        node-3 > forward 3 b
        node-3 < ack 3
        node-2 > ack 9
        node-2 < forward 10 a
        node-1 > forward 3 a
        node-1 < ack 3
        node-2 > ack 10
    ",
    ]);
}

#[test]
fn a_message_that_nobody_else_wants_is_answered_at_once() {
    play(&[
        THREE_READY,
        "
        node-1 < forward 9 a
        node-1 > ack 9
        node-1 < forward 9 nothing
        node-1 > ack 9
        node-1 < forward - nothing
        ? owed 0
    ",
    ]);
}

#[test]
fn a_message_without_identifier_goes_where_it_can_and_is_counted_where_not() {
    play(&[
        THREE_READY,
        "
        node-1 < forward - b
        node-2 > forward - b
        node-3 > forward - b
        down node-3
        node-1 < forward - b
        node-2 > forward - b
        ? not_linked 1
        ? link_full 0
    ",
    ]);
}

#[test]
fn a_full_mailbox_drops_what_has_no_identifier_and_nothing_else() {
    play(&[
        THREE_READY,
        "
        node-1 << forward - c
        node-3 > forward - c
        ? link_full 1
        node-1 < forward 8 c
        node-3 > forward 2 c
        ? not_linked 0
    ",
    ]);
}

#[test]
fn copies_for_a_node_that_is_not_linked_are_held_and_sent_in_order() {
    play(&[
        THREE_READY,
        "
        node-1 < forward 8 c
        node-3 > forward 2 c
        node-1 < forward 9 c
        node-3 > forward 3 c
        down node-3
        node-1 < forward 10 c
        node-1 < forward 11 b
        node-2 > forward 3 b
        node-2 < ack 3
        up node-3
        node-3 > unready
        node-3 < hello 1
        node-3 > subscribe 1 a b
        node-1 < forward 12 c
        node-3 < suback 1 2
        node-3 > ready
        node-3 < end 1 +b +c
        node-3 > forward 2 c
        node-3 > forward 3 c
        node-3 > forward 4 c
        node-3 > forward 5 b
        node-3 > forward 6 c
        node-3 > ack 1
        ? resent 2
        node-3 < ack 6
        node-1 > ack 12
        node-3 < ack 2
        node-1 > ack 8
        ? owed 3
    ",
    ]);
}

#[test]
fn what_came_by_a_link_that_is_gone_is_forgotten() {
    play(&[
        THREE_READY,
        "
        down node-3
        node-1 < forward 8 c
        node-1 < forward 9 b
        node-2 > forward 3 b
        down node-1
        node-2 < ack 3
        ? owed 0
        ? held 0
        up node-3
        node-3 > unready
        node-3 < hello 1
        node-3 > subscribe 1 a b
        node-3 < end 1 +b +c
    ",
    ]);
}

#[test]
fn an_ended_lease_settles_what_the_node_still_owed() {
    play(&[
        THREE_READY,
        "
        node-1 < forward 8 b
        node-2 > forward 3 b
        node-3 > forward 2 b
        down node-3
        node-1 < forward 9 c
        node-2 < ack 3
        seen node-1@1 node-2@1 node-3@1!
        node-1 > ack 8
        node-1 > ack 9
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 4 b c
        ? node_gone 2
        ? sweeps node-3@1
        ? routes 2
    ",
    ]);
}

#[test]
fn a_new_life_gets_what_was_held_if_it_wants_it_still() {
    play(&[
        THREE_READY,
        "
        down node-3
        node-1 < forward 8 c
        node-1 < forward 9 b
        node-2 > forward 3 b
        node-2 < ack 3
        seen node-1@1 node-2@1 node-3@2
        ? sweeps node-3@1
        ? dials node-3@2
        up node-3
        node-3 > unready
        node-3 < hello 2
        node-3 > subscribe 1 a b
        node-3 < end 1 +b
        node-3 > forward 2 b
        node-1 > ack 8
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 4 c
        node-3 > ack 1
        node-3 < ack 2
        node-1 > ack 9
    ",
    ]);
}

#[test]
fn a_node_speaks_for_itself_and_answers_what_it_was_asked() {
    for line in [
        "node-1 <! forge 1 node-2",
        "node-1 <! ack 77",
        "node-1 <! suback 2 1",
        "node-1 <! unsuback 2",
    ] {
        play(&[THREE_READY, line]);
    }
    play(&[
        THREE_READY,
        "
        node-1 < forward 1 b
        node-2 > forward 3 b
        node-3 > forward 2 b
        node-1 <! forward 1 b
    ",
    ]);
}
