//! A client that turns round while its session is on its way: what is with either node comes in the order
//! in which it was said.

use proptest::prelude::*;

use super::{Cluster, nothing_lost_or_twice, parked};

/// Messages wait, and more are said at every step; the client goes to the second node, and turns round.
fn turned(waiting: u64, pause: usize, says: usize) -> Cluster {
    let mut cluster = parked(2, waiting);
    cluster.come(1, false);
    for work in 0..pause {
        cluster.work(work * says);
        cluster.say(work % says);
    }
    cluster.come(0, false);
    cluster
}

#[test]
fn what_was_given_stands_before_what_was_not() {
    for (waiting, pause) in [5, 300, 3000].into_iter().flat_map(|n| (0..60).map(move |p| (n, p))) {
        for says in [1, 2] {
            let mut cluster = turned(waiting, pause, says);
            cluster.settle();
            cluster.after(40);
            cluster.read();
            let device = cluster.device();
            assert!(device.is_in && device.present, "{waiting} {pause} {says}");
            nothing_lost_or_twice(&cluster);
            assert!(cluster.in_order(), "{waiting} {pause} {says}: {:?}", cluster.got);
        }
    }
}

/// It goes to two other nodes, one after the other, before it is back where its session is.
#[test]
fn what_came_live_elsewhere_stands_behind() {
    let steps = || (0..40).step_by(3);
    for (waiting, pause, then) in [5, 300]
        .into_iter()
        .flat_map(|n| steps().flat_map(move |p| steps().map(move |t| (n, p, t))))
    {
        let mut cluster = parked(3, waiting);
        for (node, works) in [(1, pause), (2, then)] {
            cluster.come(node, false);
            for work in 0..works {
                cluster.work(work * 3);
                cluster.say(work % 3);
            }
        }
        cluster.come(0, false);
        cluster.settle();
        cluster.after(40);
        cluster.read();
        nothing_lost_or_twice(&cluster);
        assert!(cluster.in_order(), "{waiting} {pause} {then}: {:?}", cluster.got);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// It knocks on a node, and on another before it has waited for long, and so on.
    #[test]
    fn however_often_it_turns_round_its_session_is_there(
        waiting in prop_oneof![Just(5_u64), Just(300)],
        ways in prop::collection::vec((0..3_usize, 0..60_usize), 2..8),
        last in 0..3_usize,
    ) {
        let mut cluster = parked(3, waiting);
        for (node, works) in &ways {
            cluster.come(*node, false);
            for work in 0..*works {
                cluster.work(work * 3);
                cluster.say(work % 3);
            }
        }
        cluster.come(last, false);
        cluster.settle();
        cluster.after(40);
        cluster.read();
        prop_assert!(cluster.device().is_in && cluster.device().present);
        prop_assert_eq!(cluster.judge(), (vec![], vec![]));
        prop_assert!(cluster.in_order(), "{:?}", cluster.got);
    }
}
