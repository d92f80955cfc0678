//! SUBACKs (and CONNACKs with an inbox) that wait until their routes are effective everywhere, and,
//! if their session is durable, until their subscriptions are, and the directory knows of them.
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
    letters: Vec<(Until, WaitingLetter)>,
}

/// What is waited for, or what is reached: of each kind all before it too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    /// The version of this node's routes.
    pub(super) routes: u64,
    /// What is durable.
    pub(super) position: Position,
    /// The version of this node's home in the directory.
    pub(super) home: u64,
    /// All messages before this one, of those for other nodes, have arrived.
    pub(super) outbound: u64,
}

impl Until {
    fn is_over(self, reached: Self) -> bool {
        self.routes <= reached.routes
            && self.position <= reached.position
            && self.home <= reached.home
            && self.outbound <= reached.outbound
    }
}

/// From which node, about which session of it, and which letter.
pub(super) type WaitingLetter = (NodeId, SessionId, Stamp);

#[derive(Debug)]
struct Wait {
    until: Until,
    deadline: Instant,
    session: Arc<Mailbox<Mail>>,
    ticket: Ticket,
}

impl RouteWaits {
    pub(super) fn add(
        &mut self,
        until: Until,
        deadline: Instant,
        session: Arc<Mailbox<Mail>>,
        ticket: Ticket,
    ) {
        self.waiting.push_back(Wait { until, deadline, session, ticket });
    }

    pub(super) fn add_letter(&mut self, until: Until, letter: WaitingLetter) {
        self.letters.push((until, letter));
    }

    pub(super) fn has_letters(&self) -> bool {
        !self.letters.is_empty()
    }

    /// A new life has begun: who waits for an answer asks again.
    pub(super) fn forget_letters(&mut self) {
        self.letters.clear();
    }

    /// Letters that have waited for no more than this.
    pub(super) fn take_letters(&mut self, reached: Until) -> Vec<WaitingLetter> {
        let over = self.letters.extract_if(.., |(until, _)| until.is_over(reached));
        over.map(|(_, letter)| letter).collect()
    }

    /// Tells all that have waited for no more than this.
    pub(super) fn release(&mut self, reached: Until) {
        self.tell(|wait| wait.until.is_over(reached));
    }

    /// Tells all who have waited long enough for others; returns how many. For the store there
    /// is no such limit.
    pub(super) fn expire(&mut self, now: Instant, durable: Position) -> u64 {
        self.tell(|wait| wait.deadline <= now && wait.until.position <= durable)
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
