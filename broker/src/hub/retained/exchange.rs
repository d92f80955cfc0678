//! The exchange: one other node after the other is asked for what it has and this node has not.
//!
//! ```text
//!   idle ──due──► asked ──Differ: nowhere──────────────────► idle, the peer has answered
//!                   └────Differ: spans──► wants ──Have: the end──┘
//!                                           └─◄─Have: more─┘
//!   any ──no answer in time──► idle, and the peer is asked again after the others
//! ```
//!
//! A node that has joined asks every peer at once, one by one, and is *synced* when each that
//! lives has answered; it stays so for its life, whoever comes later. From then on peers are asked in
//! turn at an interval, and whoever says that it may have more, in return. Every node answers,
//! synced or not: two that join together do not wait for each other.
//!
//! It leaves to the hub: to carry notes, and to know who lives.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use causeway_common::id::NodeId;

use super::{
    Outcome, Retained,
    digest::Span,
    note::{NoteError, Place, Record, RetainedNote, SPANS_MAX},
};

/// The pace of an exchange.
#[derive(Clone, Debug)]
pub struct ExchangeLimits {
    /// From one exchange to the next, once the node is synced.
    pub interval: Duration,
    /// How long an answer may take; longer for a peer that has failed to answer before.
    pub answer_timeout: Duration,
}

impl Default for ExchangeLimits {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), answer_timeout: Duration::from_secs(5) }
    }
}

/// The notes that must go out: to whom, and the body.
pub type Notes = Vec<(NodeId, Bytes)>;

/// The time, as a hub is told it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines.
    pub at: Instant,
    /// For what outlives the process: seconds since 1970.
    pub secs: u64,
}

/// Where a node stands with its peers.
#[derive(Debug)]
pub struct Exchange {
    limits: ExchangeLimits,
    peers: BTreeMap<NodeId, Peer>,
    asking: Option<Asking>,
    /// When the next peer's turn comes.
    next_at: Option<Instant>,
    last_number: u64,
    is_synced: bool,
}

#[derive(Debug, Default)]
struct Peer {
    has_answered: bool,
    /// It may have more than this node.
    owes_more: bool,
    /// The number it was last asked with.
    asked_with: u64,
    failures: u32,
}

#[derive(Debug)]
struct Asking {
    peer: NodeId,
    /// Of the note that waits for its answer.
    number: u64,
    deadline: Instant,
    /// How long the peer may take for each answer.
    patience: Duration,
    /// What is left to be asked for; the first ones have been, up to `wanted`.
    spans: Vec<Span>,
    wanted: usize,
    after: Option<Place>,
    /// Whether the peer said so that it may be asked; it does not ask in return then.
    in_return: bool,
    differed: bool,
    /// Whether this node has no room for all the peer has.
    was_refused: bool,
}

impl Exchange {
    /// The exchange of a node that has not heard of any other.
    pub fn new(limits: ExchangeLimits) -> Self {
        Self {
            limits,
            peers: BTreeMap::new(),
            asking: None,
            next_at: None,
            last_number: 0,
            is_synced: false,
        }
    }

    /// Whether every node that lived when this one joined has given what it has.
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Which other nodes live. Not to be called before that is known: a node that has no peers is
    /// synced.
    pub fn set_peers(&mut self, peers: &[NodeId]) {
        self.peers.retain(|node, _| peers.contains(node));
        for node in peers {
            self.peers.entry(node.clone()).or_default();
        }
        self.asking.take_if(|asking| !peers.contains(&asking.peer));
        self.judge();
    }

    /// A new life of this node begins, or all bridges have found it: everybody is asked again.
    pub fn rejoin(&mut self) {
        self.is_synced = false;
        self.asking = None;
        for peer in self.peers.values_mut() {
            *peer = Peer::default();
        }
    }

    /// Asks whose turn has come. To be called often, and only while notes can go out.
    pub fn tick(&mut self, now: Now, retained: &Retained, out: &mut Notes) {
        if let Some(late) = self.asking.take_if(|asking| asking.deadline <= now.at)
            && let Some(peer) = self.peers.get_mut(&late.peer)
        {
            peer.failures = peer.failures.saturating_add(1);
            peer.owes_more |= late.in_return;
        }
        self.go_on(now, retained, out);
    }

    /// Takes a note from another node. An error is the other node's fault, and changes nothing: what it
    /// should have answered is asked for again.
    pub fn on_note(
        &mut self,
        now: Now,
        from: &NodeId,
        body: &[u8],
        retained: &mut Retained,
        out: &mut Notes,
    ) -> Result<(), NoteError> {
        match RetainedNote::read(body)? {
            RetainedNote::Ask { number, summary } => {
                let spans = retained.differing(&summary)?;
                say(out, from, &RetainedNote::Differ { number, spans });
            }
            RetainedNote::Want { number, spans, after } => {
                check(&spans, SPANS_MAX)?;
                let (records, until) = retained.page(now.secs, &spans, after.as_ref());
                say(out, from, &RetainedNote::Have { number, records, until });
            }
            RetainedNote::Differ { number, spans } => {
                self.on_differ(now, from, number, spans, out)?;
            }
            RetainedNote::Have { number, records, until } => {
                self.on_have(now, (from, number), records, until, retained, out)?;
            }
            RetainedNote::Done => {
                if let Some(peer) = self.peers.get_mut(from) {
                    peer.owes_more = true;
                }
            }
        }
        self.go_on(now, retained, out);
        Ok(())
    }

    fn on_differ(
        &mut self,
        now: Now,
        from: &NodeId,
        number: u64,
        spans: Vec<Span>,
        out: &mut Notes,
    ) -> Result<(), NoteError> {
        let Some(asking) = self.answered(from, number) else {
            return Ok(());
        };
        check(&spans, usize::MAX)?;
        asking.differed = !spans.is_empty();
        // From the end, as they are taken from there.
        asking.spans = spans;
        asking.spans.reverse();
        self.want(now, out);
        Ok(())
    }

    fn on_have(
        &mut self,
        now: Now,
        (from, number): (&NodeId, u64),
        records: Vec<Record>,
        until: Option<Place>,
        retained: &mut Retained,
        out: &mut Notes,
    ) -> Result<(), NoteError> {
        let is_empty = records.is_empty();
        let mut was_refused = false;
        for record in records {
            let (topic, entry) = record.into_entry(now.secs)?;
            was_refused |= retained.merge(now.secs, &topic, &entry) == Outcome::Full;
        }
        let Some(asking) = self.answered(from, number) else {
            return Ok(()); // late, but good to know
        };
        asking.was_refused |= was_refused;
        if until.is_none() {
            let left = asking.spans.len().saturating_sub(asking.wanted);
            asking.spans.truncate(left);
        } else if is_empty || until <= asking.after {
            return Err(NoteError::Endless);
        }
        asking.after = until;
        self.want(now, out);
        Ok(())
    }

    /// What is being asked, if this is the answer to it.
    fn answered(&mut self, from: &NodeId, number: u64) -> Option<&mut Asking> {
        self.asking.as_mut().filter(|asking| asking.peer == *from && asking.number == number)
    }

    /// Asks for the next piece; if there is none, the peer has given everything.
    fn want(&mut self, now: Now, out: &mut Notes) {
        let Some(asking) = &mut self.asking else { return };
        asking.wanted = asking.spans.len().min(SPANS_MAX);
        if asking.wanted == 0 {
            return self.finish(now, out);
        }
        self.last_number += 1;
        asking.number = self.last_number;
        asking.deadline = now.at + asking.patience;
        let spans = asking.spans.iter().rev().take(SPANS_MAX).copied().collect();
        let (number, after) = (asking.number, asking.after.clone());
        say(out, &asking.peer, &RetainedNote::Want { number, spans, after });
    }

    fn finish(&mut self, now: Now, out: &mut Notes) {
        let Some(done) = self.asking.take() else { return };
        if done.differed && !done.in_return {
            say(out, &done.peer, &RetainedNote::Done);
        }
        if let Some(peer) = self.peers.get_mut(&done.peer) {
            peer.has_answered = true;
            peer.failures = 0;
        }
        // Nothing is gained by asking again soon for what there is no room for.
        let intervals = if done.was_refused { INTERVALS_WHEN_FULL } else { 1 };
        self.next_at = Some(now.at + self.limits.interval * intervals);
        self.judge();
    }

    fn judge(&mut self) {
        self.is_synced |= self.peers.values().all(|peer| peer.has_answered);
    }

    /// Begins with the next peer if it is time.
    fn go_on(&mut self, now: Now, retained: &Retained, out: &mut Notes) {
        if self.asking.is_some() {
            return;
        }
        let is_turn = self.is_synced && self.next_at.is_none_or(|at| at <= now.at);
        let is_due = |peer: &Peer| {
            let is_new = !self.is_synced && !peer.has_answered;
            is_turn || is_new || peer.owes_more
        };
        let due = self.peers.iter_mut().filter(|(_, peer)| is_due(peer));
        let Some((node, peer)) = due.min_by_key(|(_, peer)| peer.asked_with) else {
            return;
        };
        self.last_number += 1;
        let number = self.last_number;
        peer.asked_with = number;
        let patience = peer.patience(&self.limits);
        let in_return = std::mem::take(&mut peer.owes_more);
        say(out, node, &RetainedNote::Ask { number, summary: retained.summary() });
        self.asking = Some(Asking {
            peer: node.clone(),
            number,
            deadline: now.at + patience,
            patience,
            spans: Vec::new(),
            wanted: 0,
            after: None,
            in_return,
            differed: false,
            was_refused: false,
        });
    }
}

impl Peer {
    /// How long it may take to answer. One that is slow to send a large message gets the time for
    /// it in the end.
    fn patience(&self, limits: &ExchangeLimits) -> Duration {
        limits.answer_timeout * (1 << self.failures.min(DOUBLINGS_MAX))
    }
}

fn say(out: &mut Notes, to: &NodeId, note: &RetainedNote) {
    out.push((to.clone(), note.to_bytes()));
}

fn check(spans: &[Span], count_max: usize) -> Result<(), NoteError> {
    let in_order = spans.iter().all(|span| span.first <= span.last)
        && spans.is_sorted_by(|a, b| a.last < b.first);
    if spans.len() > count_max || !in_order {
        return Err(NoteError::Spans);
    }
    Ok(())
}

/// How much rarer peers are asked while there is no room for what they have.
const INTERVALS_WHEN_FULL: u32 = 20;

/// How often the time for an answer doubles at most.
const DOUBLINGS_MAX: u32 = 4;
