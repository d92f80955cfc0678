//! When a bridge is armed, and for whom it is ready.

use super::{THREE_READY, play};

#[test]
fn a_bridge_is_armed_by_the_last_snapshot_and_ready_where_its_interest_is_in_force() {
    play(&[THREE_READY, "? reasons", "? owed 0", "? routes 4"]);
}

#[test]
fn a_bridge_says_whom_it_waits_for_and_answers_no_change_before() {
    play(&["
        ? reasons directory is gone; not armed: no node is known
        seen
        ? reasons not armed: no node is known
        seen node-1@1 node-2@1
        ? dials node-1@1 node-2@1
        up node-1
        node-1 > unready
        node-1 < hello 1
        node-1 < snapshot 1 +a
        node-1 < end 2 +b
        ? reasons not armed: waiting for node-2
        ? dials node-2@1
        up node-2
        node-2 > unready
        node-2 < hello 1
        node-2 > subscribe 1 a b
        node-2 < suback 1 2
        node-1 > ack 1
        node-1 > ack 2
        node-1 <! forward 1 b
    "]);
}

#[test]
fn a_bridge_is_not_armed_by_what_it_knew_before_the_directory_was_lost() {
    play(&["
        seen node-1@1 node-2@1
        up node-1
        node-1 > unready
        node-1 < hello 1
        node-1 < end 1
        node-1 > ack 1
        lost
        node-1 > unready blind
        up node-2
        node-2 > unready blind
        node-2 < hello 1
        node-2 < end 1
        node-2 > ack 1
        seen node-1@1 node-2@1 node-3@1
        node-1 > unready
        node-2 > unready
        seen node-1@1 node-2@1 node-3@1!
        ? reasons not armed: waiting for node-3
        wait 6
        node-1 < pong
        node-2 < pong
        seen node-1@1 node-2@1 node-3@1!
        node-1 > ready
        node-2 > ready
    "]);
}

#[test]
fn a_node_whose_lease_ends_is_waited_for_no_longer() {
    play(&["
        seen node-1@1 node-2@1
        up node-1
        node-1 > unready
        node-1 < hello 1
        node-1 < end 1
        node-1 > ack 1
        seen node-1@1 node-2@1!
        node-1 > ready
        ? sweeps node-2@1
        ? dials
        seen node-1@1 node-2@1!
        ? dials
        swept node-2@1
        ? sweeps
        seen node-1@1 node-2@1!
        ? sweeps node-2@1
        ? dials
        ? live 1
    "]);
}

#[test]
fn a_lease_that_was_never_seen_running_counts_as_ended_after_a_lease_or_a_refusal() {
    let linked = "
        seen node-1@1 node-2@1!
        ? dials node-1@1 node-2@1
        ? sweeps
        up node-1
        node-1 > unready
        node-1 < hello 1
        node-1 < end 1
        node-1 > ack 1
        seen node-1@1 node-2@1!
    ";
    let in_time = "
        wait 6
        seen node-1@1 node-2@1!
        node-1 > ready
        ? sweeps node-2@1
    ";
    let refused = "
        refused node-2
        node-1 > ready
        ? sweeps node-2@1
    ";
    let away_at_first = "
        seen
        wait 7
        lost
    ";
    play(&[linked, in_time]);
    play(&[linked, refused]);
    play(&[away_at_first, linked, in_time]);
}

#[test]
fn a_bridge_cut_off_from_a_live_node_for_a_lease_is_ready_for_nobody() {
    play(&[
        THREE_READY,
        "
        down node-3
        wait 5
        ? reasons
        wait 1
        node-1 > unready
        node-2 > unready
        ? reasons cut off from node-3
        up node-3
        node-3 > unready
        node-3 < hello 1
        node-3 > subscribe 1 a b
        node-3 < end 1 +b +c
        node-1 > ready
        node-2 > ready
        node-3 > ack 1
        node-3 < suback 1 2
        node-3 > ready
    ",
    ]);
}

#[test]
fn a_new_life_has_a_lease_of_its_own_to_be_linked_in() {
    play(&[
        THREE_READY,
        "
        down node-3
        wait 5
        seen node-1@1 node-2@1 node-3@2
        wait 5
        ? reasons
        wait 1
        node-1 > unready
        node-2 > unready
    ",
    ]);
}

#[test]
fn a_cut_off_node_that_is_gone_is_no_reason_any_more() {
    play(&[
        THREE_READY,
        "
        down node-3
        wait 6
        node-1 > unready
        node-2 > unready
        seen node-1@1 node-2@1 node-3@1!
        node-1 > unsubscribe 3 c
        node-2 > unsubscribe 3 b c
        node-1 > ready
        node-2 > ready
    ",
    ]);
}

#[test]
fn a_bridge_that_ends_says_that_it_is_not_ready() {
    play(&[
        THREE_READY,
        "
        close
        node-1 > unready
        node-2 > unready
        node-3 > unready
        ? reasons shutting down
    ",
    ]);
}
