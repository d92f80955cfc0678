//! SUBACKs (and CONNACKs with an inbox) that wait until their routes are effective everywhere.
//!
//! and that their subscriptions are durable, if their session is.
//!
//! The routes of this node have a version that grows with each change. A subscription waits for
//! the version it made; each bridge acknowledges versions; what all bridges have is effective.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use causeway_common::{
    id::{NodeId, SessionId, Ticket},
    mailbox::Mailbox,
};

use super::moves::Stamp;
use crate::{session::Mail, store::Position};

/// In the order of versions, which is the order of deadlines.
#[derive(Debug, Default)]
pub(super) struct RouteWaits {
    waiting: VecDeque<Wait>,
    /// Heads of sessions that move here. They have no deadline: their giver lets go of the filters when
    /// it is answered.
    letters: Vec<((u64, Position), WaitingLetter)>,
}

/// From which node, about which session of it, and which letter.
pub(super) type WaitingLetter = (NodeId, SessionId, Stamp);

#[derive(Debug)]
struct Wait {
    version: u64,
    position: Position,
    deadline: Instant,
    session: Arc<Mailbox<Mail>>,
    ticket: Ticket,
}

impl RouteWaits {
    pub(super) fn add(
        &mut self,
        (version, position): (u64, Position),
        deadline: Instant,
        session: Arc<Mailbox<Mail>>,
        ticket: Ticket,
    ) {
        self.waiting.push_back(Wait { version, position, deadline, session, ticket });
    }

    pub(super) fn add_letter(&mut self, until: (u64, Position), letter: WaitingLetter) {
        self.letters.push((until, letter));
    }

    /// Letters whose version is effective and whose subscriptions are durable.
    pub(super) fn take_letters(&mut self, effective: u64, durable: Position) -> Vec<WaitingLetter> {
        let is_over = |until: &(u64, Position)| until.0 <= effective && until.1 <= durable;
        let over = self.letters.extract_if(.., |(until, _)| is_over(until));
        over.map(|(_, letter)| letter).collect()
    }

    /// Tells all whose version is effective and whose subscription is durable.
    pub(super) fn release(&mut self, effective: u64, durable: Position) {
        self.tell(|wait| wait.version <= effective && wait.position <= durable);
    }

    /// Tells all who have waited long enough for their route; returns how many. For the store there
    /// is no such limit.
    pub(super) fn expire(&mut self, now: Instant, durable: Position) -> u64 {
        self.tell(|wait| wait.deadline <= now && wait.position <= durable)
    }

    fn tell(&mut self, is_over: impl Fn(&Wait) -> bool) -> u64 {
        let mut told = 0;
        self.waiting.retain(|wait| {
            if !is_over(wait) {
                return true;
            }
            wait.session.push_control(Mail::Subscribed(wait.ticket));
            told += 1;
            false
        });
        told
    }
}
