//! Notes from one node to another.

use super::{THREE_READY, play};

#[test]
fn a_note_goes_to_one_node_and_its_answer_back() {
    play(&[
        THREE_READY,
        "
        node-1 < take-over 5 node-2
        node-2 > direct 3 node-2 node-1
        node-2 < ack 3
        node-1 > ack 5
        node-1 < take-over 6 node-9
        node-1 > ack 6
        node-1 < probe node-1
        node-1 > direct - node-1 node-1
        node-1 < probe node-2
        node-2 > direct - node-2 node-1
        down node-2
        node-1 < probe node-2
        node-1 < take-over 7 node-2
        seen node-1@1 node-2@1! node-3@1
        node-1 > ack 7
        node-3 > unsubscribe 2 b
        ? node_gone 0
    ",
    ]);
}

#[test]
fn a_piece_of_a_session_is_answered_by_nobody_but_its_receiver() {
    play(&[
        THREE_READY,
        "
        node-1 < session 5 node-2
        node-2 > direct 3 node-2 node-1
        node-2 < ack 3
        node-1 > ack 5
        node-1 < session 6 node-9
        ? unanswered 1
        node-1 < session 7 node-2
        node-2 > direct 4 node-2 node-1
        down node-2
        node-1 < session 8 node-2
        ? owed 2
        seen node-1@1 node-2@1! node-3@1
        node-3 > unsubscribe 2 b
        ? owed 0
        ? unanswered 3
        ? node_gone 0
    ",
    ]);
}
