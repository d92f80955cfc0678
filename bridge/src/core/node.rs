//! What the bridge knows of one node, and how far its link has come.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use causeway_common::{
    directory::Member,
    id::{Incarnation, PacketId},
    link::Frame,
    mailbox::Mailbox,
};

use crate::{
    relay::{Lane, LinkKey, Owed, Waiter},
    routes::Wanted,
};

/// A node that has, or may have, a lease, or that is away.
#[derive(Debug)]
pub(super) struct Node {
    /// Its youngest known life.
    pub(super) member: Member,
    /// The life that the directory showed last; it is swept when a younger one takes its place.
    pub(super) shown: Incarnation,
    /// Where its link listener is.
    pub(super) address: String,
    pub(super) link: Option<Link>,
    pub(super) lane: Lane,
    /// When its last frame came.
    pub(super) heard: Option<Instant>,
    pub(super) step: Step,
    /// What waits for interest in it that is not even said yet.
    pub(super) waiters: Vec<Waiter>,
    /// Nobody listens where it is: its process is gone, and the interest it knew.
    pub(super) is_absent: bool,
    /// The directory has shown its lease running.
    pub(super) was_live: bool,
    /// Until then it is not forgotten, since durable sessions may wait there. Known once its lease
    /// has ended.
    pub(super) home_until: Option<Instant>,
}

/// Whether the bridge knows the routes of a node as they are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is linked, and its whole snapshot has come.
    In,
    /// It is not, since then.
    Out {
        since: Instant,
        /// For longer than a lease: the bridge does not vouch for its routes any more.
        cut_off: bool,
    },
    /// Its lease has ended: only its durable filters are left, and what is held for them.
    Away,
}

/// A link that is up.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) key: LinkKey,
    pub(super) mailbox: Arc<Mailbox<Frame>>,
    pub(super) phase: Phase,
    pub(super) readiness: Readiness,
    /// Whether the node was ever told to give its messages.
    pub(super) was_ready: bool,
    /// What the last status said: ready, directory reachable.
    pub(super) told: Option<(bool, bool)>,
    /// SUBSCRIBEs that are not answered, oldest first: a node answers them in their order.
    pub(super) subscribes: VecDeque<PacketId>,
    /// UNSUBSCRIBEs that are not answered.
    pub(super) unsubscribes: usize,
}

/// How far a link has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// The first status is out, the node has not said who it is.
    Greeting,
    /// The node sends its snapshot: what it has named so far.
    Snapshot(Wanted),
    /// The node sends changes.
    InStep,
}

/// Whether the node may give its messages to this bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// No.
    Withheld,
    /// As soon as the interest in it is in force.
    Awaited,
    /// Yes.
    Given,
}

impl Node {
    pub(super) fn new(member: Member, address: String, now: Instant) -> Self {
        Self {
            shown: member.incarnation,
            member,
            address,
            link: None,
            lane: Lane::default(),
            heard: None,
            step: Step::Out { since: now, cut_off: false },
            waiters: Vec::new(),
            is_absent: false,
            was_live: true,
            home_until: None,
        }
    }

    /// Whether its lease has ended, and it is remembered for its durable filters alone.
    pub(super) fn is_away(&self) -> bool {
        self.step == Step::Away
    }

    /// Forgets what is kept for answers that nobody waits for any more.
    pub(super) fn forget_settled(&mut self, owed: &Owed) {
        self.lane.forget_settled(owed);
        self.waiters.retain(|waiter| match waiter {
            Waiter::Routes(ticket) => owed.has(*ticket),
            Waiter::Ready => true,
        });
    }

    /// The link, if the node on it is known.
    pub(super) fn attached(&mut self) -> Option<&mut Link> {
        self.link.as_mut().filter(|link| link.is_attached())
    }
}

impl Link {
    pub(super) fn new(key: LinkKey, mailbox: Arc<Mailbox<Frame>>) -> Self {
        Self {
            key,
            mailbox,
            phase: Phase::Greeting,
            readiness: Readiness::Withheld,
            was_ready: false,
            told: None,
            subscribes: VecDeque::new(),
            unsubscribes: 0,
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        match self.phase {
            Phase::Greeting => false,
            Phase::Snapshot(_) | Phase::InStep => true,
        }
    }
}
