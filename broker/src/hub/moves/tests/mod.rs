//! Sessions on the move between hubs: scripts, then any order of events.

mod bridges;
mod cluster;
mod erasure;
mod settling;
mod turning;

use cluster::Cluster;
use proptest::prelude::*;

use crate::limits::Strain;

/// A client with a durable session on the first node, and messages waiting in it.
fn parked(size: usize, messages: u64) -> Cluster {
    let mut cluster = Cluster::new(size);
    cluster.come(0, false);
    cluster.subscribe("t/#", 2);
    cluster.settle();
    cluster.go();
    for turn in 0..messages {
        cluster.say(usize::try_from(turn).unwrap() % size);
    }
    cluster.settle();
    cluster
}

/// A client that has seen five messages on the first node, has not answered, and has gone; it says nothing.
fn unanswered(size: usize) -> Cluster {
    let mut cluster = parked(size, 5);
    cluster.mute = true;
    cluster.come(0, false);
    cluster.settle();
    cluster.read();
    cluster.go();
    assert_eq!((cluster.got.len(), cluster.ids.len()), (5, 5));
    cluster
}

fn nothing_lost_or_twice(cluster: &Cluster) {
    let (lost, twice) = cluster.judge();
    assert_eq!((lost, twice), (vec![], vec![]), "lost, twice; got {}", cluster.got.len());
}

#[test]
fn a_session_moves_with_its_line_its_filters_and_its_order() {
    let mut cluster = parked(2, 50);
    cluster.come(1, false);
    cluster.settle();
    assert!(cluster.device().is_in && cluster.device().present);
    assert_eq!(cluster.held_by(), [1]);
    let node = &cluster.nodes[0];
    assert_eq!((node.metrics.sessions_moved.out.get(), node.store.len()), (1, 0));
    assert_eq!(cluster.nodes[1].metrics.sessions_moved.r#in.get(), 1);
    cluster.say(0);
    cluster.say(1);
    cluster.settle();
    cluster.read();
    nothing_lost_or_twice(&cluster);
    assert_eq!(cluster.got.len(), 52);
    assert!(cluster.in_order());
}

#[test]
fn what_is_said_while_the_session_moves_comes_once_and_in_order() {
    for pause in 0..60 {
        let mut cluster = parked(3, 10);
        cluster.come(1, false);
        for work in 0..pause {
            cluster.work(work * 7);
            cluster.say(work % 3);
        }
        cluster.settle();
        assert!(cluster.device().is_in, "{pause}");
        cluster.read();
        nothing_lost_or_twice(&cluster);
        assert!(cluster.in_order(), "{pause}: {:?}", cluster.got);
        assert_eq!(cluster.held_by(), [1]);
    }
}

#[test]
fn what_came_live_stands_where_the_line_has_it() {
    for pause in 0..60 {
        let mut cluster = parked(2, 3);
        cluster.come(1, false);
        for work in 0..pause {
            cluster.work(work * 7);
        }
        cluster.say(0);
        for work in 0..3 {
            cluster.work(work);
        }
        cluster.say(0);
        cluster.overtake(1);
        while cluster.work(0) {
            cluster.overtake(1);
        }
        assert!(cluster.device().is_in, "{pause}");
        cluster.read();
        nothing_lost_or_twice(&cluster);
        assert!(cluster.in_order(), "{pause}: {:?}", cluster.got);
    }
}

#[test]
fn what_a_client_had_before_it_went_does_not_come_again_where_it_is() {
    let mut cluster = parked(2, 0);
    cluster.come(0, false);
    cluster.settle();
    cluster.say_retained(0);
    cluster.read();
    assert_eq!(cluster.got.len(), 1, "and its copy is on its way to the other node");
    cluster.come(1, false);
    cluster.hold_messages(1);
    while cluster.work(0) {
        cluster.hold_messages(1);
    }
    assert!(cluster.device().is_in && cluster.device().present);
    cluster.pass_messages();
    cluster.settle();
    cluster.read();
    nothing_lost_or_twice(&cluster);
}

/// Its home is away when the client has a message on another node, which is killed after that.
#[test]
fn what_a_client_had_before_its_node_was_killed_does_not_come_again_from_elsewhere() {
    let mut cluster = parked(3, 0);
    cluster.list(&["bridge", "another"]); // the home gives nothing away before that one has linked
    cluster.come(1, false);
    cluster.settle();
    cluster.deadline();
    cluster.subscribe("t/#", 2);
    cluster.settle();
    cluster.say(2);
    cluster.settle_without(0);
    cluster.read();
    assert_eq!(cluster.got, [1], "and its copy is on its way to the home");
    cluster.crash(1);
    cluster.list(&["bridge"]);
    cluster.come(2, false);
    cluster.pass_messages();
    cluster.settle();
    cluster.after(20);
    assert!(cluster.device().is_in && cluster.device().present);
    cluster.read();
    nothing_lost_or_twice(&cluster);
    assert_eq!(cluster.held_by(), [2]);
}

#[test]
fn what_was_said_before_the_session_came_reaches_it_where_it_was() {
    for pause in 0..40 {
        let mut cluster = parked(2, 3);
        cluster.come(1, false);
        for work in 0..pause {
            cluster.work(work * 5);
        }
        // As if it waited for the store while all letters pass it.
        cluster.slow(true);
        cluster.say(1);
        cluster.settle();
        cluster.slow(false);
        cluster.settle();
        cluster.after(10);
        assert!(cluster.device().is_in, "{pause}");
        cluster.read();
        nothing_lost_or_twice(&cluster);
    }
}

#[test]
fn a_session_does_not_leave_before_what_was_not_taken_for_want_of_memory_has_come_again() {
    let mut cluster = parked(3, 1);
    cluster.nodes[0].hub.feel(Strain::Full);
    cluster.say(2);
    cluster.settle();
    cluster.come(1, false);
    cluster.settle();
    cluster.nodes[0].hub.feel(Strain::None);
    cluster.relink(0);
    cluster.settle();
    cluster.after(60);
    cluster.settle();
    assert_eq!(cluster.held_by(), [1]);
    cluster.read();
    nothing_lost_or_twice(&cluster);
    assert_eq!(cluster.got.len(), 2);
}

#[test]
fn letters_that_are_lost_are_written_again() {
    let mut cluster = parked(2, 10);
    cluster.lose = 3;
    cluster.come(1, false);
    cluster.settle();
    assert!(!cluster.device().is_in);
    cluster.after(10);
    assert!(cluster.device().is_in);
    cluster.read();
    nothing_lost_or_twice(&cluster);
}

#[test]
fn identifiers_go_with_the_session() {
    let mut cluster = parked(2, 5);
    cluster.mute = true;
    cluster.come(0, false);
    cluster.settle();
    cluster.read();
    assert_eq!(cluster.got.len(), 5, "seen, and not answered");
    cluster.come(1, false);
    cluster.mute = false;
    cluster.settle();
    cluster.read();
    nothing_lost_or_twice(&cluster);
    assert!(cluster.ids.is_empty(), "each was sent again under the identifier it had");
}

#[test]
fn a_client_that_wants_no_session_erases_it_everywhere() {
    let mut cluster = parked(2, 5);
    cluster.come(1, true);
    cluster.settle();
    assert!(cluster.device().is_in && !cluster.device().present);
    assert_eq!((cluster.held_by(), cluster.nodes[0].store.len()), (vec![1], 0));
    cluster.read();
    assert!(cluster.got.is_empty());
}

#[test]
fn after_the_deadline_the_client_is_in_and_what_comes_late_comes_behind() {
    let mut cluster = parked(2, 5);
    cluster.come(1, false);
    cluster.deadline();
    assert!(!cluster.device().present);
    cluster.settle();
    cluster.say(0);
    cluster.settle();
    cluster.read();
    nothing_lost_or_twice(&cluster);
    assert_eq!((cluster.got.len(), cluster.held_by()), (6, vec![1]));
}

#[test]
fn the_directory_sends_on_what_a_node_kept_that_was_away() {
    let mut cluster = parked(2, 5);
    cluster.owner = None; // as if nobody had known
    cluster.come(1, false);
    cluster.subscribe("t/#", 2);
    cluster.settle();
    cluster.say(1);
    cluster.settle();
    cluster.read();
    assert_eq!(cluster.got.len(), 1);
    cluster.audit();
    cluster.audit();
    cluster.settle();
    cluster.read();
    nothing_lost_or_twice(&cluster);
    assert_eq!(cluster.held_by(), [1]);
}

#[test]
fn a_client_that_comes_back_finds_all_of_it() {
    for pause in 0..60 {
        let mut cluster = parked(3, 300);
        cluster.come(1, false);
        for work in 0..pause {
            cluster.work(work * 5);
        }
        cluster.come(0, false);
        cluster.say(2);
        cluster.settle();
        assert!(cluster.device().is_in, "{pause}");
        cluster.say(1);
        cluster.after(40);
        cluster.read();
        nothing_lost_or_twice(&cluster);
        assert_eq!(cluster.held_by(), [0], "{pause}");
    }
}

/// A client whose home does not answer, and who has begun anew on another node: five messages wait at
/// home, five others it has seen there and not answered.
fn begun_elsewhere() -> Cluster {
    let mut cluster = parked(2, 5);
    cluster.come(1, false);
    cluster.deadline();
    cluster.subscribe("t/#", 2);
    cluster.mute = true;
    for _ in 0..5 {
        cluster.say(1);
    }
    cluster.read();
    assert_eq!((cluster.got.len(), cluster.ids.len()), (5, 5));
    cluster.go();
    cluster.mute = false;
    cluster
}

#[test]
fn a_state_is_stale_when_its_client_was_let_in_elsewhere_since() {
    let mut cluster = begun_elsewhere();
    cluster.come(0, false);
    cluster.deadline();
    assert!(!cluster.device().present, "the identifiers here mean other messages to it");
    cluster.read();
    assert_eq!(cluster.got.len(), 10, "and it takes what has waited");
    cluster.after(60);
    cluster.read();
    assert_eq!((cluster.judge().0, cluster.held_by()), (vec![], vec![0]));
}

#[test]
fn a_claim_that_its_node_never_heard_of_hides_no_other() {
    let mut cluster = begun_elsewhere();
    cluster.claim_unheard(0);
    cluster.come(0, false);
    cluster.deadline();
    assert!(!cluster.device().present, "the identifiers here mean other messages to it");
}

/// Its home falls silent at some step of the move, and the client goes on to a third node.
#[test]
fn who_goes_on_without_the_rest_of_a_session_says_so() {
    let mut torn = 0;
    for pause in 0..60 {
        let mut cluster = unanswered(3);
        cluster.come(1, false);
        (0..pause).for_each(|work| _ = cluster.work(work));
        cluster.silent = Some(0);
        cluster.come(2, false);
        cluster.after(8);
        cluster.deadline();
        cluster.mute = false;
        cluster.read();
        cluster.silent = None;
        cluster.after(20);
        cluster.audit();
        cluster.after(40);
        cluster.read();
        let (missing, twice) = cluster.judge();
        let present = cluster.device().present;
        assert!(missing.is_empty() && (twice.is_empty() || !present), "{pause}: {twice:?}");
        torn += usize::from(!present);
    }
    assert!((1..60).contains(&torn), "{torn}");
}

#[test]
fn two_states_of_one_client_are_no_session_that_it_knows() {
    let mut cluster = begun_elsewhere();
    cluster.come(0, false);
    cluster.settle();
    assert!(cluster.device().is_in && !cluster.device().present);
    cluster.read();
    assert_eq!((cluster.judge().0, cluster.held_by()), (vec![], vec![0]));
}

#[test]
fn a_client_that_turns_round_before_it_is_let_in_has_its_session_still() {
    for pause in 0..60 {
        let mut cluster = unanswered(2);
        cluster.lag = true;
        cluster.come(1, false);
        for work in 0..pause {
            cluster.work(work * 3);
        }
        cluster.come(0, false);
        (cluster.mute, cluster.lag) = (false, false);
        cluster.settle();
        cluster.after(20);
        assert!(cluster.device().is_in && cluster.device().present, "{pause}");
        cluster.read();
        nothing_lost_or_twice(&cluster);
        assert_eq!(cluster.held_by(), [0], "{pause}");
    }
}

#[test]
fn a_chain_of_nodes_loses_nothing() {
    for pause in 0..60 {
        let mut cluster = parked(3, 300);
        cluster.come(1, false);
        for work in 0..pause {
            cluster.work(work * 11);
        }
        cluster.come(2, false);
        cluster.say(0);
        cluster.settle();
        cluster.after(40);
        assert!(cluster.device().is_in, "{pause}");
        cluster.read();
        nothing_lost_or_twice(&cluster);
        assert_eq!(cluster.held_by(), [2], "{pause}");
    }
}

#[test]
fn either_node_may_die_at_any_step() {
    for (victim, pause) in (0..2).flat_map(|victim| (0..60).map(move |pause| (victim, pause))) {
        let mut cluster = parked(2, 300);
        cluster.come(1, false);
        for work in 0..pause {
            cluster.work(work * 3);
        }
        cluster.crash(victim);
        cluster.settle();
        if cluster.devices.is_empty() {
            cluster.come(1, false);
        }
        cluster.after(10);
        cluster.audit();
        cluster.say(0);
        cluster.after(40);
        cluster.deadline();
        cluster.after(1);
        cluster.read();
        let (missing, twice) = cluster.judge();
        assert_eq!((missing, twice), (vec![], vec![]), "{victim} dies at {pause}");
        assert_eq!(cluster.held_by(), [1], "{victim} dies at {pause}");
    }
}

/// Twenty are sent, and more with each answer; the disk may not have heard of the answers.
#[test]
fn all_that_waits_for_a_client_that_was_there_when_its_node_was_killed_may_have_been_sent() {
    for is_there in [false, true] {
        let mut cluster = parked(2, 60);
        cluster.mute = true;
        if is_there {
            cluster.come(0, false);
            cluster.settle();
            cluster.read();
        }
        cluster.crash(0);
        cluster.come(0, false);
        cluster.settle();
        assert_eq!(cluster.doubtful(), if is_there { 60 } else { 20 });
    }
}

/// A client has seen five messages on the first node and not answered, and goes to the second; perhaps it
/// does not wait to be let in. That node dies at some step of the move, and on the third, where the client
/// goes next, something more is said.
fn half_a_session_dies(leaves: bool, waiting: u64, pause: usize, then: usize) -> Cluster {
    let mut cluster = unanswered(3);
    (0..waiting).for_each(|_| _ = cluster.say(0));
    cluster.settle();
    cluster.come(1, false);
    if leaves {
        cluster.go();
    }
    (0..pause).for_each(|work| _ = cluster.work(work));
    cluster.crash(1);
    cluster.mute = false;
    cluster.come(2, false);
    (0..then).for_each(|work| _ = cluster.work(work));
    cluster.say(2);
    cluster.settle();
    cluster.after(10);
    cluster.audit();
    cluster.after(20);
    cluster.read();
    cluster
}

#[test]
fn a_node_that_dies_with_half_a_session_gives_no_identifier_twice() {
    for (leaves, waiting) in [(false, 0), (false, 300), (true, 0), (true, 1)] {
        for (pause, then) in (0..50).flat_map(|pause| [0, 4, 30].map(|then| (pause, then))) {
            let cluster = half_a_session_dies(leaves, waiting, pause, then);
            let at = (leaves, waiting, pause, then);
            let (missing, twice) = cluster.judge();
            assert_eq!((missing, cluster.held_by()), (vec![], vec![2]), "{at:?}");
            assert!(cluster.device().is_in, "{at:?}");
            // If it had claimed the client and nothing more, nobody knows whom it let in.
            if !cluster.early {
                assert!(cluster.device().present, "{at:?}");
                assert!(twice.is_empty(), "twice {twice:?}; {at:?}");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Say(usize),
    Come(usize),
    Go,
    Read,
    Deadline,
    Crash(usize),
    Cut(usize),
    Lose(usize),
    Lag(bool),
    Mute(bool),
    Pass,
    Audit,
    Work(usize, usize),
}

fn event() -> impl Strategy<Value = Event> {
    let node = 0..3_usize;
    prop_oneof![
        6 => node.clone().prop_map(Event::Say),
        3 => node.clone().prop_map(Event::Come),
        1 => Just(Event::Go),
        2 => Just(Event::Read),
        1 => Just(Event::Deadline),
        1 => node.clone().prop_map(Event::Crash),
        1 => node.prop_map(Event::Cut),
        1 => (1..3_usize).prop_map(Event::Lose),
        1 => any::<bool>().prop_map(Event::Lag),
        1 => any::<bool>().prop_map(Event::Mute),
        1 => Just(Event::Pass),
        1 => Just(Event::Audit),
        12 => (0..1000_usize, 1..12_usize).prop_map(|(choice, count)| Event::Work(choice, count)),
    ]
}

fn happen(cluster: &mut Cluster, event: &Event) {
    match *event {
        Event::Say(node) => _ = cluster.say(node),
        Event::Come(node) => cluster.come(node, false),
        Event::Go => cluster.go(),
        Event::Read => cluster.read(),
        Event::Deadline => cluster.deadline(),
        Event::Crash(node) => cluster.crash(node),
        Event::Cut(node) => cluster.relink(node),
        Event::Lose(count) => cluster.lose += count,
        Event::Lag(lag) => cluster.lag = lag,
        Event::Mute(mute) => cluster.mute = mute,
        Event::Pass => cluster.after(1),
        Event::Audit => cluster.audit(),
        Event::Work(choice, count) => {
            for turn in 0..count {
                cluster.work(choice + turn * 7);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_lost_and_nothing_comes_twice(
        waiting in 0..20_u64,
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut cluster = parked(3, waiting);
        for event in &events {
            happen(&mut cluster, event);
        }
        (cluster.lag, cluster.lose, cluster.mute) = (false, 0, false);
        cluster.after(20);
        cluster.audit();
        cluster.after(20);
        cluster.come(1, false);
        cluster.after(60);
        cluster.audit();
        cluster.after(60);
        cluster.deadline();
        cluster.read();
        let (lost, twice) = cluster.judge();
        prop_assert!(lost.is_empty(), "lost {lost:?}");
        // A client that was let in before its session was there, and goes back to where that is, may
        // get a message on both nodes.
        let is_calm = !cluster.early;
        if is_calm {
            prop_assert!(twice.is_empty(), "twice {twice:?}");
        }
        prop_assert_eq!(cluster.held_by(), vec![1]);
        let may_pass = |event: &Event| {
            use Event::{Audit, Crash, Cut, Lose, Pass};
            matches!(event, Crash(_) | Pass | Lose(_) | Cut(_) | Audit)
        };
        if is_calm && !events.iter().any(may_pass) {
            prop_assert!(cluster.in_order(), "{:?}", cluster.got);
        }
    }
}
