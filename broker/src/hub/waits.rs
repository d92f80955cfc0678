//! SUBACKs (and CONNACKs with an inbox) that wait until their routes are effective everywhere.
//!
//! The routes of this node have a version that grows with each change. A subscription waits for
//! the version it made; each bridge acknowledges versions; what all bridges have is effective.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use causeway_common::{id::Ticket, mailbox::Mailbox};

use crate::session::Mail;

/// In the order of versions, which is the order of deadlines.
#[derive(Debug, Default)]
pub(super) struct RouteWaits {
    waiting: VecDeque<Wait>,
}

#[derive(Debug)]
struct Wait {
    version: u64,
    deadline: Instant,
    session: Arc<Mailbox<Mail>>,
    ticket: Ticket,
}

impl RouteWaits {
    pub(super) fn add(
        &mut self,
        version: u64,
        deadline: Instant,
        session: Arc<Mailbox<Mail>>,
        ticket: Ticket,
    ) {
        self.waiting.push_back(Wait { version, deadline, session, ticket });
    }

    /// Tells all whose version is effective.
    pub(super) fn release(&mut self, effective: u64) {
        while let Some(wait) = self.waiting.pop_front_if(|wait| wait.version <= effective) {
            wait.session.push_control(Mail::Subscribed(wait.ticket));
        }
    }

    /// Tells all who have waited long enough; returns how many.
    pub(super) fn expire(&mut self, now: Instant) -> u64 {
        let mut expired = 0;
        while let Some(wait) = self.waiting.pop_front_if(|wait| wait.deadline <= now) {
            wait.session.push_control(Mail::Subscribed(wait.ticket));
            expired += 1;
        }
        expired
    }
}
