//! A clean login elsewhere that a node hears of later, from the directory alone.

use super::{cluster::Cluster, parked};

fn nothing_is_left(cluster: &Cluster, at: usize) {
    let node = &cluster.nodes[at];
    assert!(node.hub.owned().is_empty());
    assert_eq!(node.store.len(), 0, "nothing is written down");
}

#[test]
fn a_parked_session_is_forgotten_when_its_row_is_written_again() {
    let mut cluster = parked(2, 5);
    cluster.restore(0);
    assert_eq!(cluster.held_by(), [0], "nobody has erased it");
    cluster.erase_elsewhere();
    cluster.restore(0);
    cluster.settle();
    nothing_is_left(&cluster, 0);
}

#[test]
fn a_session_that_began_after_the_erasure_stays() {
    let mut cluster = Cluster::new(2);
    cluster.erase_elsewhere();
    cluster.come(0, false);
    cluster.subscribe("t/#", 2);
    cluster.settle();
    cluster.restore(0);
    cluster.go();
    cluster.restore(0);
    cluster.say(1);
    cluster.settle();
    cluster.come(0, false);
    assert!(cluster.device().present);
    cluster.read();
    assert_eq!((cluster.got.len(), cluster.held_by()), (1, vec![0]));
}

#[test]
fn a_session_in_use_goes_with_its_connection() {
    let mut cluster = parked(2, 5);
    cluster.come(0, false);
    assert!(cluster.device().present);
    // The directory was gone when the client came: its claim is not known.
    cluster.epoch += 1;
    cluster.erase_elsewhere();
    cluster.restore(0);
    cluster.settle();
    assert!(cluster.devices.is_empty(), "its connection is closed");
    nothing_is_left(&cluster, 0);
    cluster.come(0, false);
    cluster.settle();
    assert!(!cluster.device().present);
}

#[test]
fn a_client_that_comes_before_its_node_has_heard_of_the_erasure_begins_anew() {
    let mut cluster = parked(2, 5);
    cluster.erase_elsewhere();
    cluster.come(0, false);
    assert!(cluster.device().is_in && !cluster.device().present);
    cluster.say(1);
    cluster.settle();
    cluster.read();
    assert!(cluster.got.is_empty(), "neither messages nor filters are left");
    cluster.subscribe("t/#", 2);
    cluster.settle();
    cluster.say(1);
    cluster.settle();
    cluster.read();
    assert_eq!(cluster.got, [7]);
    cluster.restore(0);
    assert_eq!(cluster.held_by(), [0]);
}

#[test]
fn what_was_erased_is_not_taken_in_by_a_younger_session() {
    for pause in [0, 3, 1000] {
        let mut cluster = parked(2, 5);
        cluster.erase_elsewhere();
        cluster.come(1, false);
        cluster.settle();
        cluster.subscribe("other", 2);
        cluster.settle();
        // The old home hears of the owner alone, and gives what it has.
        cluster.audit();
        for work in 0..pause {
            cluster.work(work);
        }
        cluster.say(0);
        cluster.after(10);
        cluster.read();
        assert!(cluster.got.is_empty(), "{pause}");
        nothing_is_left(&cluster, 0);
        assert_eq!(cluster.held_by(), [1]);
    }
}

#[test]
fn a_departure_of_what_was_erased_ends() {
    for pause in 0..40 {
        let mut cluster = parked(2, 300);
        cluster.come(1, false);
        for work in 0..pause {
            cluster.work(work * 3);
        }
        cluster.go();
        cluster.got.clear();
        cluster.erase_elsewhere();
        cluster.restore(0);
        cluster.restore(1);
        cluster.after(40);
        cluster.restore(1);
        assert!(cluster.held_by().is_empty(), "{pause}: {:?}", cluster.held_by());
        cluster.come(1, false);
        cluster.settle();
        assert!(!cluster.device().present, "{pause}");
        cluster.read();
        assert!(cluster.got.is_empty(), "{pause}");
    }
}
