//! The client's own messages, where a link is stalled while its session moves.

use causeway_common::id::PacketId;

use super::{Cluster, nothing_lost_or_twice, parked};

const ID: PacketId = PacketId::FIRST;

/// A client has said something that has come to all nodes but the last one, and goes to the second.
fn said_and_gone(dies: bool) -> Cluster {
    let mut cluster = parked(3, 0);
    cluster.come(0, false);
    cluster.settle();
    cluster.say_retained(0); // somebody else's, before it
    cluster.publish(ID, false);
    if dies {
        cluster.crash(0);
    }
    cluster.settle_without(2);
    cluster.come(1, false);
    cluster.settle_without(2);
    cluster
}

fn repeats(cluster: &mut Cluster) {
    if cluster.device().is_in {
        cluster.publish(ID, true);
        cluster.settle_without(2);
        cluster.read();
    }
}

#[test]
fn a_repetition_is_answered_when_the_message_is_everywhere() {
    for dies in [false, true] {
        let mut cluster = said_and_gone(dies);
        repeats(&mut cluster);
        assert!(cluster.answered.is_empty(), "one node does not have it; {dies}");
        cluster.pass_messages();
        cluster.settle();
        assert!(cluster.device().is_in && cluster.device().present, "{dies}");
        repeats(&mut cluster);
        assert!(cluster.answered.contains(&ID), "{dies}");
        assert_eq!(cluster.held_by(), [1]);
    }
}

#[test]
fn what_does_not_arrive_holds_a_session_up_for_a_while() {
    let mut cluster = said_and_gone(false);
    cluster.after(9);
    assert!(!cluster.device().is_in);
    cluster.after(2);
    assert!(cluster.device().is_in && !cluster.device().present);
    assert_eq!(cluster.held_by(), [1]);
    repeats(&mut cluster);
    assert!(cluster.answered.is_empty(), "it is a new message, and waits like any");
    cluster.pass_messages();
    cluster.settle();
    cluster.read();
    assert!(cluster.answered.contains(&ID));
}

#[test]
fn a_new_life_of_the_giver_still_waits() {
    let mut cluster = said_and_gone(false);
    cluster.rejoin(0);
    cluster.settle_without(2);
    repeats(&mut cluster);
    assert!(cluster.answered.is_empty(), "one node does not have it");
}

/// The client goes on to a third node before its session has come to the second, which gives what it has: a
/// letter of either is lost, and said again when the other's comes.
#[test]
fn a_session_comes_whole_by_way_of_a_node_that_gives_already() {
    for (pause, lost) in (0..40).flat_map(|pause| (1..4).map(move |lost| (pause, lost))) {
        let mut cluster = parked(3, 0);
        cluster.come(0, false);
        cluster.settle();
        cluster.publish(ID, false);
        cluster.settle();
        cluster.go();
        (0..3).for_each(|_| _ = cluster.say(0));
        cluster.settle();
        cluster.lose = 1;
        cluster.come(1, false);
        cluster.settle();
        cluster.come(2, false);
        for work in 0..pause {
            cluster.work(work);
        }
        cluster.lose = lost;
        for _ in 0..20 {
            cluster.say(0);
            cluster.after(1);
        }
        let device = cluster.device();
        assert!(device.is_in && device.present, "{pause} {lost}");
        assert!(cluster.has_received(ID), "{pause} {lost}");
        cluster.read();
        nothing_lost_or_twice(&cluster);
        assert!(cluster.in_order(), "{pause} {lost}: {:?}", cluster.got);
    }
}
