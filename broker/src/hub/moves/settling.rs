//! What a client has said must be everywhere before the identifiers that name it leave its node: the next
//! node answers a repetition at once, and cannot know how far the message has come.
//!
//! Only the client's own QoS 2 messages are waited for: its QoS 1 messages are said again as new ones
//! where it goes. If a link is stalled or a node is away, that may take long; then the identifiers are
//! given up, and with them the session that the client knows: it says its messages again as new ones.
//!
//! It leaves to others: when a message has arrived (`hub/forward.rs`), and what a session is that its client
//! does not know (`lineage.rs`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use causeway_common::id::SessionId;

use crate::hub::{Hub, outbound::Pending};

/// What a session waits for before it goes.
#[derive(Debug)]
pub(super) struct Unsettled {
    /// Messages for other nodes, by their sequences.
    sequences: Vec<u64>,
    until: Instant,
}

impl Hub {
    /// What a parked session's client has said that is on its way.
    pub(super) fn unsettled(&self, session: SessionId) -> Unsettled {
        let until = self.moves.now + PATIENCE;
        Unsettled { sequences: self.said_by(session), until }
    }

    fn said_by(&self, session: SessionId) -> Vec<u64> {
        let Some(entry) = self.registry.entries.get(&session) else {
            return Vec::new();
        };
        if entry.parked().is_none_or(|state| state.received().next().is_none()) {
            return Vec::new();
        }
        // What is left of an earlier life of this node does not say whose it is.
        let is_its = |pending: &Pending| {
            let answer = pending.answer.as_ref();
            let may_be = answer.is_none_or(|answer| Arc::ptr_eq(&answer.to, &entry.mailbox));
            pending.kept.is_some() && may_be
        };
        let slots = (self.outbound.first()..).zip(&self.outbound.slots);
        let its = slots.filter(|(_, slot)| slot.as_ref().is_some_and(is_its));
        its.map(|(sequence, _)| sequence).collect()
    }

    /// Whether a session's client has said something that has not arrived, and may do so soon.
    pub(super) fn waits_to_settle(&self, unsettled: &Unsettled) -> bool {
        self.moves.now < unsettled.until && self.is_under_way(unsettled)
    }

    fn is_under_way(&self, unsettled: &Unsettled) -> bool {
        unsettled.sequences.iter().any(|sequence| self.outbound.has(*sequence))
    }

    /// A session goes: should its identifiers name something that has not arrived, the client must not
    /// rely on them.
    pub(super) fn give_up_unsettled(&mut self, session: SessionId) {
        let departure = self.moves.departures.get(&session);
        if departure.is_some_and(|departure| self.is_under_way(&departure.unsettled)) {
            self.note_torn(session);
        }
    }

    /// What is on its way has new sequences.
    pub(in crate::hub) fn number_unsettled(&mut self) {
        let going: Vec<SessionId> = self.moves.departures.keys().copied().collect();
        for session in going {
            let sequences = self.said_by(session);
            if let Some(departure) = self.moves.departures.get_mut(&session) {
                departure.unsettled.sequences = sequences;
            }
        }
    }
}

/// Longer than a login waits for its session, as a rule: by then the client is in with another one, or
/// has gone.
const PATIENCE: Duration = Duration::from_secs(10);
