//! Nodes come, are replaced by a younger life, and go.

use super::{THREE_READY, play};

#[test]
fn the_link_of_a_node_whose_lease_has_ended_is_given_up() {
    play(&[
        THREE_READY,
        "
        seen node-1@1 node-2@1 node-3@1!
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        ? hang-ups 1
        node-3 <! pong
    ",
    ]);
}

#[test]
fn a_younger_row_replaces_the_link_to_the_older_life() {
    play(&[
        THREE_READY,
        "
        seen node-1@1 node-2@1 node-3@2
        ? hang-ups 1
        ? dials node-3@2
        node-3 <! pong
        up node-3
        node-3 > unready
        node-3 <! hello 1
    ",
    ]);
}

#[test]
fn a_hello_younger_than_the_row_is_trusted_and_the_old_row_speaks_no_more() {
    play(&["
        seen node-1@5
        up node-1
        node-1 > unready
        node-1 < hello 6
        node-1 < end 1
        node-1 > ack 1
        node-1 > ready
        seen node-1@5!
        ? sweeps node-1@5
        seen node-1@6
        ? sweeps node-1@5
        ? dials
    "]);
}

#[test]
fn a_hello_of_another_node_or_protocol_closes_the_link() {
    play(&["
        seen node-1@5
        up node-1
        node-1 > unready
        node-1 <! hello node-2 5
        up node-1
        node-1 > unready
        node-1 <! end 1
        up node-1
        node-1 > unready
        node-1 <! ping
        up node-1
        node-1 > unready
        node-1 < hello 5
        node-1 <! hello 5
        up node-1
        node-1 > unready
        node-1 < hello 5
        node-1 <! change 1 +a
    "]);
}

#[test]
fn leases_that_end_while_the_directory_is_away_end_nothing() {
    play(&[
        THREE_READY,
        "
        down node-3
        node-1 < forward 8 c
        lost
        node-1 > ready blind
        node-2 > ready blind
        ? reasons directory is gone
        wait 5
        seen node-1@1! node-2@1! node-3@1!
        node-1 > ready
        node-2 > ready
        ? sweeps
        wait 1
        node-1 > unready
        node-2 > unready
        seen node-1@1 node-2@1 node-3@1!
        wait 5
        seen node-1@1 node-2@1 node-3@1!
        node-1 > ack 8
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        node-1 > ready
        node-2 > ready
        ? sweeps node-3@1
    ",
    ]);
}

#[test]
fn a_lease_that_was_judged_ended_stays_so_over_the_loss_of_the_directory() {
    play(&[
        THREE_READY,
        "
        seen node-1@1 node-2@1 node-3@1!
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        lost
        node-1 > ready blind
        node-2 > ready blind
        seen node-1@1 node-2@1 node-3@1!
        node-1 > ready
        node-2 > ready
        ? dials
        ? live 2
    ",
    ]);
}

#[test]
fn rows_that_the_directory_has_lost_end_nothing_until_the_node_is_silent_for_a_lease() {
    play(&[
        THREE_READY,
        "
        seen
        ? sweeps
        wait 3
        node-1 < pong
        node-2 < pong
        node-3 < pong
        down node-3
        node-1 < forward 8 c
        wait 2
        seen node-1@1 node-2@1
        ? sweeps
        wait 4
        node-1 > unready
        node-2 > unready
        seen node-1@1 node-2@1
        node-1 > ack 8
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        node-1 > ready
        node-2 > ready
        ? sweeps node-3@1
    ",
    ]);
}

#[test]
fn a_linked_node_without_a_row_is_gone_once_it_is_silent_for_a_lease() {
    play(&[
        THREE_READY,
        "
        wait 5
        node-1 < pong
        node-2 < pong
        seen node-1@1 node-2@1
        ? sweeps
        wait 1
        seen node-1@1 node-2@1
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        ? hang-ups 1
    ",
    ]);
}

#[test]
fn a_node_that_has_left_the_directory_is_waited_for_no_longer() {
    play(&[
        THREE_READY,
        "
        node-1 < forward 8 c
        node-3 > forward 2 c
        down node-3
        seen node-1@1 node-2@1
        node-1 > ack 8
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        ? node_gone 1
    ",
    ]);
}
