//! Everything the bridge decides, pure: told the time, the rows of the directory and the frames of
//! the nodes, it puts frames into the mailboxes of links and says which nodes shall be dialled.
//!
//! The life of a link:
//!
//! ```text
//!  bridge                                            node
//!    │ CONNECT ─────────────────────────────────────▶ │
//!    │ ◀───────────────────────────────────── CONNACK │
//!    │ Status{ready: false} ─────────────────────────▶│  greeting: who is there?
//!    │ ◀──────────────────────────────────────  Hello │
//!    │ SUBSCRIBE what all others want ───────────────▶│  attached: it knows what to forward,
//!    │ ◀──────────────── Routes snapshot … snapshot end│  its routes are learnt; what was held
//!    │ ◀─────────────────────────────────────  SUBACK │  for it is sent: in step
//!    │ Status{ready: true} ──────────────────────────▶│  only now it may give messages
//!    │ ◀─────────────── Forward, Direct, Routes, Ack ─▶│
//! ```
//!
//! Why each rule holds:
//!
//! * **Ready** is said when the bridge is *armed* (the routes of every live node are known: else a
//!   message would be answered that a node not yet known wants) and the node has the whole interest
//!   (else it would keep to itself what others want).
//! * **Armed** is a matter of the start alone, and of a directory that answers: a bridge without it
//!   has not heard of nodes that have come. Afterwards routes are learnt as they come to be, and
//!   nothing is promised on a route before its answer:
//! * **A change of routes is answered** when every other live node has answered the SUBSCRIBEs that
//!   were out. Nodes attached but not ready count too: readiness then has to wait for the interest
//!   known at one moment only, and can't be starved by changes that never end. Nodes that are not
//!   linked count as well: they may not know yet that their link is gone, nor the life before this
//!   one of the bridge, and keep to themselves what the old interest in them does not cover. So a
//!   change waits until they have the interest by a new link, are gone, or refuse to be dialled.
//! * **A message is answered** when all its destinations have answered it. One that is not linked
//!   keeps its share open while its lease runs, and its copies in order.
//! * **Copies flow to a node** once its whole snapshot is there, so that they can be judged by the
//!   routes of the life that is there now.
//! * **Away** is a node whose lease has ended and whose durable sessions may wait for messages: it
//!   counts for nothing else. What its durable filters match at QoS 1 and 2 keeps its share open, its
//!   copies in order, until it is back as a new life or was away for the grace time.
//! * **Cut off** from a live node for longer than a lease, the bridge says ready to nobody: the node
//!   may take new subscriptions through other bridges that this one knows nothing of. Until then
//!   nodes count a bridge they have lost.
//! * **An ended lease proves nothing** for one lease after the directory itself was away: nobody
//!   could renew. **A missing row** proves nothing either while rows seem to have been lost: when
//!   one is missing of a node that was just heard. A node heard by nobody for a lease is gone.
//!   **A lease found ended** by a bridge that has just started proves nothing for one lease either,
//!   unless the node refuses to be dialled: the directory may have been away until then.
//!
//! It leaves to others: sockets, time, the directory itself: the tasks around it.

mod changes;
mod homes;
mod links;
mod members;
mod messages;
mod node;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use ahash::RandomState;
use causeway_common::{
    directory::Member,
    id::{BridgeId, Incarnation, NodeId, PacketId},
    link::{Frame, Part},
};
use hashbrown::HashMap;
use indexmap::IndexSet;
use thiserror::Error;

use crate::{
    interest::Interest,
    metrics::Metrics,
    relay::{Direct, LinkKey, Owed, Ticket},
    routes::{NodeIndex, Routes},
};
use node::{Node, Step};

pub use homes::Homes;
pub use members::Dial;

/// What a bridge is, and its bounds.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name.
    pub bridge: BridgeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The lease of the nodes.
    pub lease: Duration,
    /// How long after its lease a node is away, and not forgotten.
    pub home_grace: Duration,
    /// Filters asked of one node; beyond that they are merged.
    pub interest_filters_max: usize,
}

/// What a bridge knows and decides.
#[derive(Debug)]
pub struct Core {
    options: Options,
    metrics: Arc<Metrics>,
    nodes: BTreeMap<NodeIndex, Node>,
    names: HashMap<NodeId, NodeIndex, RandomState>,
    last_node: u32,
    last_link: u64,
    routes: Routes,
    interest: Interest,
    owed: Owed,
    /// Nodes that have to be told of interest, or whose waiters have to be looked after.
    stale: BTreeSet<NodeIndex>,
    /// Changes of routes that came since the nodes were told.
    changed: Vec<Ticket>,
    directory: View,
    /// Until then a missing row may be one that the directory has lost.
    rows_doubted_until: Option<Instant>,
    /// Until then a lease that was never seen running may have ended because the directory was away
    /// before this bridge looked.
    ends_doubted_until: Option<Instant>,
    armed: bool,
    closing: bool,
    hang_ups: Vec<LinkKey>,
    sweeps: IndexSet<Member, RandomState>,
    /// Lives that have been swept, while the directory still shows them.
    swept: IndexSet<Member, RandomState>,
}

/// What is known of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// It has not answered yet.
    Unseen,
    /// It answers; its leases count from then on.
    Reachable { trusted_from: Instant },
    /// It answered once, and does not now.
    Lost,
}

/// What a node did that no node does: its link must be closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkViolation {
    /// The bridge has given this link up before.
    #[error("the link was given up")]
    GivenUp,
    /// Something before the hello.
    #[error("no hello first")]
    NoHello,
    /// A second hello.
    #[error("a second hello")]
    SecondHello,
    /// It is another node than the one that was dialled.
    #[error("dialled {dialled}, and {said} answered")]
    WrongNode {
        /// Who should have answered.
        dialled: NodeId,
        /// Who did.
        said: NodeId,
    },
    /// It is an older life of the node.
    #[error("incarnation {said} answered, {known} is known")]
    OlderIncarnation {
        /// The youngest known.
        known: Incarnation,
        /// The one that answered.
        said: Incarnation,
    },
    /// It speaks another version of the link protocol.
    #[error("link protocol version {0}")]
    Protocol(u32),
    /// A frame only bridges send.
    #[error("a node does not send {0}")]
    Unexpected(&'static str),
    /// A part of a snapshot outside of one, or a change within one.
    #[error("{0:?} out of place")]
    Part(Part),
    /// An answer to something that was not sent, or not next in order.
    #[error("answer to {0:?}, which does not await it")]
    Unasked(PacketId),
    /// A packet identifier that is still in use.
    #[error("identifier {0:?} is in use")]
    IdInUse(PacketId),
    /// A message or a note of another node.
    #[error("speaks for {0}")]
    Forged(NodeId),
    /// A message though the node was never told ready.
    #[error("a message before the bridge was ready")]
    NotReady,
}

impl Core {
    /// A bridge that knows nobody.
    pub fn new(options: Options, metrics: Arc<Metrics>) -> Self {
        Self {
            interest: Interest::new(options.interest_filters_max),
            options,
            metrics,
            nodes: BTreeMap::new(),
            names: HashMap::default(),
            last_node: 0,
            last_link: 0,
            routes: Routes::default(),
            owed: Owed::default(),
            stale: BTreeSet::new(),
            changed: Vec::new(),
            directory: View::Unseen,
            rows_doubted_until: None,
            ends_doubted_until: None,
            armed: false,
            closing: false,
            hang_ups: Vec::new(),
            sweeps: IndexSet::default(),
            swept: IndexSet::default(),
        }
    }

    /// Takes one frame of a node; [`Self::frames`] is the way for several.
    pub fn frame(
        &mut self,
        now: Instant,
        link: LinkKey,
        frame: Frame,
    ) -> Result<(), LinkViolation> {
        self.frames(now, link, &mut VecDeque::from([frame]))
    }

    /// Takes all frames that a node has sent, in order; changes of routes among them share the
    /// SUBSCRIBEs they cause. After an error the caller closes the link ([`Self::link_down`]).
    pub fn frames(
        &mut self,
        now: Instant,
        link: LinkKey,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), LinkViolation> {
        let taken = frames.drain(..).try_for_each(|frame| self.take(now, link, frame));
        self.say_changes();
        self.note_flow();
        taken
    }

    fn take(&mut self, now: Instant, link: LinkKey, frame: Frame) -> Result<(), LinkViolation> {
        let Some(node) = self.nodes.get_mut(&link.node) else {
            return Err(LinkViolation::GivenUp);
        };
        let Some(open) = node.link.as_ref().filter(|open| open.key == link) else {
            return Err(LinkViolation::GivenUp);
        };
        let attached = open.is_attached();
        node.heard = Some(now);
        match frame {
            Frame::Hello(_) if attached => Err(LinkViolation::SecondHello),
            Frame::Hello(hello) => self.hello(link, hello),
            Frame::Pong => Ok(()),
            Frame::Status(_) => Err(LinkViolation::Unexpected("a status")),
            Frame::Subscribe { .. } => Err(LinkViolation::Unexpected("SUBSCRIBE")),
            Frame::Unsubscribe { .. } => Err(LinkViolation::Unexpected("UNSUBSCRIBE")),
            Frame::Ping => Err(LinkViolation::Unexpected("PINGREQ")),
            Frame::Routes { .. }
            | Frame::SubAck { .. }
            | Frame::UnsubAck(_)
            | Frame::Forward { .. }
            | Frame::Direct { .. }
            | Frame::Ack(_)
                if !attached =>
            {
                Err(LinkViolation::NoHello)
            }
            Frame::Routes { id, routes } => self.routes_changed(link, id, routes),
            Frame::SubAck { id, filter_count } => self.subscribed(link, id, filter_count),
            Frame::UnsubAck(id) => self.unsubscribed(link, id),
            Frame::Forward { id, envelope } => self.forward(link, id, &envelope),
            Frame::Direct { id, to, from, note } => {
                self.direct(link, id, Direct { to, from, note })
            }
            Frame::Ack(id) => self.answered(link, id),
        }
    }

    /// Does what the time demands; to be called at [`Self::deadline`], or more often.
    pub fn tick(&mut self, now: Instant) {
        let lease = self.options.lease;
        for node in self.nodes.values_mut() {
            if let Step::Out { since, cut_off } = &mut node.step {
                *cut_off |= now >= *since + lease;
            }
        }
        self.expire_homes(now);
        self.review();
        self.note_sizes();
    }

    /// When [`Self::tick`] has something to do next, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let due = self.nodes.values().filter_map(|node| match node.step {
            Step::Out { since, cut_off: false } => Some(since + self.options.lease),
            Step::Away => self.expires_at(node),
            Step::Out { cut_off: true, .. } | Step::In => None,
        });
        due.min()
    }

    /// The bridge is about to end: no node shall give it anything more.
    pub fn close(&mut self) {
        self.closing = true;
        self.review();
    }

    /// One share of an answer is settled: if it was the last, the answer goes out.
    fn settle(&mut self, ticket: Ticket) {
        if !self.owed.settle(ticket) {
            return;
        }
        let node = self.nodes.get(&ticket.link.node);
        let link = node.and_then(|node| node.link.as_ref());
        if let Some(link) = link.filter(|link| link.key == ticket.link) {
            link.mailbox.push_control(Frame::Ack(ticket.id));
        }
    }
}

#[cfg(test)]
mod tests;
