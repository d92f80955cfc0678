//! The simulated cluster: the pure parts of three nodes and two bridges, and six clients, under one
//! seeded scheduler.
//!
//! ```text
//!   client ⇄ (queue, queue) ⇄ Session · Hub ⇄ (queue, queue) ⇄ Core ⇄ (queue, queue) ⇄ Hub · Session ⇄ client
//! ```
//!
//! Nothing here waits, and no time passes: the clock is a number, the network two queues a
//! connection, and what happens next is drawn from the seed. So every run can be repeated:
//!
//! * `CAUSEWAY_SEEDS=100000 cargo test -p causeway-tests --test sim` runs more of them,
//! * `CAUSEWAY_SEED=17` runs one, and prints what happened; with `CAUSEWAY_FAULT=AckEarly` under a fault.
//!
//! It leaves to others: bytes, sockets, tasks (`tests/cluster`), and the real directories
//! (`tests/contract`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "clippy counts only functions marked as tests as tests"
)]

mod bridge;
mod client;
mod clock;
mod directory;
mod disk;
mod ledger;
mod net;
mod node;
mod retained;
mod scene;
mod wills;
mod words;
mod world;

use std::fmt::Write as _;

use world::{Outcome, run};

/// A fault put in on purpose, at the seam between a pure part and its shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nodes take what they have had before.
    NoDedup,
    /// A bridge answers a message before its destinations have.
    AckEarly,
    /// A bridge takes messages before it knows all routes.
    ReadyEarly,
    /// What came by a link goes back to where it came from.
    Echo,
    /// Nodes do not repeat what was not answered.
    NoResend,
    /// A node answers SUBSCRIBE before the route is effective.
    SubAckEarly,
    /// A store says that all is durable at once, and it is not.
    DurableEarly,
    /// A QoS 2 message is sent to its client before its place is durable.
    DeliverEarly,
    /// PUBCOMP is sent before it is durable that the identifier is forgotten.
    ForgetEarly,
    /// A node answers a message with RETAIN before every node has it.
    RetainEarly,
    /// Nodes open without what is retained elsewhere.
    JoinUnsynced,
    /// A will is published although its client said DISCONNECT.
    WillInSpite,
    /// Whoever takes the wills of a dead node does not publish them.
    WillOfTheDead,
    /// Whoever takes the wills of a dead node has them out of the directory before they are published.
    SettleEarly,
    /// Places in the lines of durable sessions are numbered anew after a restart.
    PlacesAnew,
    /// A node says that a letter of a moving session is durable before it is: the giver deletes.
    LetterEarly,
    /// A node calls a session present although its client was let in elsewhere since.
    StalePresent,
}

impl Fault {
    /// Whether only a crash shows it.
    pub(crate) fn is_of_store(self) -> bool {
        match self {
            Self::DurableEarly
            | Self::DeliverEarly
            | Self::ForgetEarly
            | Self::PlacesAnew
            | Self::LetterEarly => true,
            Self::NoDedup
            | Self::AckEarly
            | Self::ReadyEarly
            | Self::Echo
            | Self::NoResend
            | Self::SubAckEarly
            | Self::RetainEarly
            | Self::JoinUnsynced
            | Self::WillInSpite
            | Self::WillOfTheDead
            | Self::SettleEarly
            | Self::StalePresent => false,
        }
    }

    /// Whether it takes many deaths of nodes to show it.
    pub(crate) fn needs_deaths(self) -> bool {
        matches!(self, Self::StalePresent | Self::SettleEarly)
    }

    /// Whether it shows only when sessions move.
    pub(crate) fn is_of_moves(self) -> bool {
        matches!(self, Self::LetterEarly | Self::StalePresent | Self::SettleEarly)
    }
}

/// Names the seed whose run panics.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} panics", self.0);
        }
    }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What happened in a run that violated something, told from its second run.
fn report(seed: u64, fault: Option<Fault>) -> String {
    let Outcome { violation, trace, .. } = run(seed, fault, true);
    let Some(violation) = violation else {
        return format!("seed {seed} violates nothing the second time");
    };
    let concerns = |message: Option<usize>| message.is_none() || message == violation.message;
    let lines = trace.iter().filter(|line| concerns(line.message));
    let lines: Vec<&str> = lines.map(|line| line.text.as_str()).collect();
    let last = lines.len().saturating_sub(LINES);
    let mut text = format!(
        "seed {seed}, step {}: #{:?} {}\n",
        violation.step, violation.message, violation.text
    );
    for line in &lines[last..] {
        let _ = writeln!(text, "{line}");
    }
    text
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = from_env("CAUSEWAY_SEED") {
        let named = std::env::var("CAUSEWAY_FAULT").unwrap_or_default();
        let fault = FAULTS.into_iter().find(|fault| format!("{fault:?}") == named);
        let outcome = run(seed, fault, true);
        for line in &outcome.trace {
            eprintln!("{}", line.text);
        }
        assert!(outcome.violation.is_none(), "{}", report(seed, fault));
        return;
    }
    let first = from_env("CAUSEWAY_FIRST_SEED").unwrap_or(0);
    let (mut messages, mut steps, mut broken) = (0, 0, Vec::new());
    for seed in first..first + from_env("CAUSEWAY_SEEDS").unwrap_or(SEEDS) {
        let outcome = run(seed, None, false);
        messages += outcome.messages;
        steps += outcome.steps;
        if let Some(violation) = outcome.violation {
            eprintln!("seed {seed}: #{:?} {}", violation.message, violation.text);
            broken.push(seed);
        }
        if seed % 1_000 == 999 {
            eprintln!("{messages} messages, {steps} steps up to seed {seed}");
        }
    }
    eprintln!("{messages} messages, {steps} steps");
    if let Some(seed) = broken.first() {
        panic!("{} seeds break promises: {broken:?}\n{}", broken.len(), report(*seed, None));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let (once, again) = (run(seed, None, true), run(seed, None, true));
        assert_eq!(once.trace.len(), again.trace.len(), "seed {seed}");
        for (a, b) in once.trace.iter().zip(&again.trace) {
            assert_eq!(a, b, "seed {seed}");
        }
    }
}

/// Some seed finds a fault, and says so in one of these words.
#[track_caller]
fn catches(fault: Fault, words: &[&str]) {
    for seed in 0..FAULT_SEEDS {
        if let Some(violation) = run(seed, Some(fault), false).violation {
            let says = |words: &&str| violation.text.contains(words);
            assert!(words.iter().any(says), "seed {seed}: {}", violation.text);
            eprintln!("{fault:?} is caught by seed {seed}: {}", violation.text);
            return;
        }
    }
    panic!("no seed catches {fault:?}");
}

/// Some seed shows this of a fault that has other effects too.
#[track_caller]
fn shows(fault: Fault, words: &str) {
    let is_seen = |seed: &u64| {
        let violation = run(*seed, Some(fault), false).violation;
        violation.is_some_and(|violation| violation.text.contains(words))
    };
    let seed = (0..FAULT_SEEDS).find(is_seen);
    eprintln!("{fault:?} is caught by seed {:?}", seed.unwrap());
}

#[test]
fn the_simulation_catches_nodes_that_take_duplicates() {
    catches(Fault::NoDedup, &["twice", "a will came as"]);
}

#[test]
fn the_simulation_catches_a_bridge_that_answers_early() {
    catches(Fault::AckEarly, &["does not have it", "never received", "retained under"]);
}

#[test]
fn the_simulation_catches_a_bridge_that_forwards_before_it_knows_all_routes() {
    catches(Fault::ReadyEarly, &["does not have it", "never received"]);
}

#[test]
fn the_simulation_catches_an_echo() {
    shows(Fault::Echo, "twice");
}

#[test]
fn the_simulation_catches_nodes_that_do_not_repeat() {
    shows(Fault::NoResend, "waits for its answer");
}

#[test]
fn the_simulation_catches_a_subscription_answered_early() {
    catches(Fault::SubAckEarly, &["does not have it", "retained under", "never received"]);
}

#[test]
fn the_simulation_catches_a_store_that_declares_too_early() {
    catches(Fault::DurableEarly, &["never received", "session present", "twice"]);
}

#[test]
fn the_simulation_catches_a_delivery_before_its_place_is_durable() {
    catches(Fault::DeliverEarly, &["never received", "twice"]);
}

#[test]
fn the_simulation_catches_an_identifier_that_is_given_back_too_early() {
    catches(Fault::ForgetEarly, &["never received", "does not have it"]);
}

#[test]
fn the_simulation_catches_a_retained_message_answered_early() {
    catches(Fault::RetainEarly, &["retained under", "does not have it"]);
}

#[test]
fn the_simulation_catches_a_node_that_opens_without_what_is_retained() {
    shows(Fault::JoinUnsynced, "retained under");
}

#[test]
fn the_simulation_catches_a_will_in_spite_of_disconnect() {
    catches(Fault::WillInSpite, &["in spite of DISCONNECT"]);
}

#[test]
fn the_simulation_catches_wills_of_a_dead_node_that_nobody_publishes() {
    catches(Fault::WillOfTheDead, &["never received this will", "let in before its will"]);
}

#[test]
fn the_simulation_catches_wills_of_a_dead_node_that_come_after_their_client() {
    shows(Fault::SettleEarly, "is let in before its will");
}

#[test]
fn the_simulation_catches_places_that_are_numbered_anew_after_a_restart() {
    shows(Fault::PlacesAnew, "twice");
}

#[test]
fn the_simulation_catches_a_letter_that_is_answered_before_it_is_durable() {
    shows(Fault::LetterEarly, "never received");
}

#[test]
fn the_simulation_catches_a_stale_session_that_is_called_present() {
    shows(Fault::StalePresent, "never received");
}

const FAULTS: [Fault; 17] = [
    Fault::NoDedup,
    Fault::AckEarly,
    Fault::ReadyEarly,
    Fault::Echo,
    Fault::NoResend,
    Fault::SubAckEarly,
    Fault::DurableEarly,
    Fault::DeliverEarly,
    Fault::ForgetEarly,
    Fault::RetainEarly,
    Fault::JoinUnsynced,
    Fault::WillInSpite,
    Fault::WillOfTheDead,
    Fault::SettleEarly,
    Fault::PlacesAnew,
    Fault::LetterEarly,
    Fault::StalePresent,
];

const SEEDS: u64 = 200;
const FAULT_SEEDS: u64 = 2_000;
const LINES: usize = 60;
