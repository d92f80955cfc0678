//! Messages on their way through the bridge: who still owes an answer, and what waits for whom.
//!
//! ```text
//!   node-1 ── id 7 ──▶ Owed: (link of node-1, 7) ⇐ 2 shares ──▶ Lane of node-2: in flight as 31
//!                                                            └▶ Lane of node-3: held, not linked
//! ```
//!
//! * A message is answered at its origin when its last share is settled: by the answer of that
//!   node, or because that node is gone for good. The bridge itself promises nothing.
//! * A lane sends in the order it was offered things, also over the loss of a link: what was in
//!   flight goes to the front of what is held, and all of it is sent again. The node drops what it
//!   has had.
//! * With the link it came by, a message is forgotten: its origin gives it again, in order, to this
//!   bridge or to another. So what is kept is never more than what all origins keep themselves,
//!   and needs no bound of its own.
//!
//! It leaves to others: where a message goes, when a node is gone.

use std::{collections::VecDeque, sync::Arc};

use ahash::RandomState;
use bytes::Bytes;
use causeway_common::{
    delivery::Window,
    id::{NodeId, PacketId},
    link::{Envelope, Frame, Note},
    mailbox::Mailbox,
};
use hashbrown::HashMap;

use crate::routes::NodeIndex;

/// One link to a node; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    /// Where it leads.
    pub node: NodeIndex,
    /// Counts the links of this bridge.
    pub serial: u64,
}

/// What a node waits for an answer to: a message, a note, a change of its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The link it came by.
    pub link: LinkKey,
    /// Its identifier there.
    pub id: PacketId,
}

/// What is not answered yet, and how many shares of it are open.
#[derive(Debug, Default)]
pub struct Owed {
    shares: HashMap<Ticket, usize, RandomState>,
}

impl Owed {
    /// Opens `shares` (at least one) of a ticket. Returns false if the ticket is open already.
    pub fn open(&mut self, ticket: Ticket, shares: usize) -> bool {
        let news = !self.has(ticket);
        if news {
            self.shares.insert(ticket, shares);
        }
        news
    }

    /// Opens one share more of a ticket that is open.
    pub fn share(&mut self, ticket: Ticket) {
        if let Some(shares) = self.shares.get_mut(&ticket) {
            *shares += 1;
        }
    }

    /// Nobody will ever answer a ticket.
    pub fn withhold(&mut self, ticket: Ticket) {
        self.shares.remove(&ticket);
    }

    /// Settles one share. Returns whether it was the last, so that the answer is due now.
    pub fn settle(&mut self, ticket: Ticket) -> bool {
        let Some(shares) = self.shares.get_mut(&ticket) else {
            return false;
        };
        *shares -= 1;
        let due = *shares == 0;
        if due {
            self.shares.remove(&ticket);
        }
        due
    }

    /// Whether a ticket is open.
    pub fn has(&self, ticket: Ticket) -> bool {
        self.shares.contains_key(&ticket)
    }

    /// A link is gone: nobody waits there any more.
    pub fn forget(&mut self, link: LinkKey) {
        self.shares.retain(|ticket, _| ticket.link != link);
    }

    /// How many tickets are open.
    pub fn len(&self) -> usize {
        self.shares.len()
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }
}

/// One copy of what a node shall have and answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Parcel {
    /// Whose answer waits for it.
    pub ticket: Ticket,
    /// What is in it.
    pub load: Load,
}

/// What is sent from node to node.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// A message, shared by all its destinations.
    Forward(Arc<Envelope>),
    /// A note.
    Direct(Box<Direct>),
}

/// A note from one node to one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Direct {
    /// Who shall have it.
    pub to: NodeId,
    /// Who says it.
    pub from: NodeId,
    /// What it says.
    pub note: Note,
}

/// What a packet identifier on a link stands for.
#[derive(Debug)]
pub enum Sent {
    /// A copy, answered by PUBACK.
    Parcel(Parcel),
    /// Interest, answered by SUBACK.
    Subscribe {
        /// How many filters it asks for.
        filter_count: usize,
        /// What has to wait until it is in force.
        waiters: Vec<Waiter>,
    },
    /// Less interest, answered by UNSUBACK.
    Unsubscribe,
}

/// What waits until the interest in a node is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// The answer to a change of another node's routes.
    Routes(Ticket),
    /// The readiness of the bridge for the node itself.
    Ready,
}

/// The way to one node: what is in flight to it, and what is held until it can be.
#[derive(Debug, Default)]
pub struct Lane {
    state: LaneState,
    held: VecDeque<Parcel>,
    held_bytes: usize,
    /// How many of the first of `held` have been in flight before.
    again: usize,
}

#[derive(Debug, Default)]
enum LaneState {
    /// Not linked: copies are held.
    #[default]
    Cut,
    /// Linked, but the node's routes are not known yet: interest flows, copies are held.
    Closed(Outlet),
    /// Everything flows.
    Open(Outlet),
}

#[derive(Debug)]
struct Outlet {
    mailbox: Arc<Mailbox<Frame>>,
    in_flight: Window<Sent>,
}

impl Lane {
    /// A link is up; copies are held until [`Self::open`].
    pub fn link(&mut self, mailbox: Arc<Mailbox<Frame>>) {
        let in_flight = Window::new();
        self.state = LaneState::Closed(Outlet { mailbox, in_flight });
    }

    /// The node's routes are known, and what is held has been sorted by them: it is sent. Returns
    /// how many are sent again.
    pub fn open(&mut self) -> u64 {
        self.state = match std::mem::take(&mut self.state) {
            LaneState::Closed(outlet) | LaneState::Open(outlet) => LaneState::Open(outlet),
            LaneState::Cut => LaneState::Cut,
        };
        self.pump()
    }

    /// The link is gone: what was in flight is held again, before the rest, if its answer is owed
    /// still. Returns what waited for interest in the node.
    pub fn cut(&mut self, owed: &Owed) -> Vec<Waiter> {
        let (mut again, mut waiting) = (VecDeque::new(), Vec::new());
        let state = std::mem::take(&mut self.state);
        let (LaneState::Closed(mut outlet) | LaneState::Open(mut outlet)) = state else {
            return waiting;
        };
        for sent in outlet.in_flight.drain() {
            match sent {
                Sent::Parcel(parcel) if owed.has(parcel.ticket) => again.push_back(parcel),
                Sent::Subscribe { waiters, .. } => waiting.extend(waiters),
                Sent::Parcel(_) | Sent::Unsubscribe => {}
            }
        }
        self.again += again.len();
        self.held_bytes += again.iter().map(Parcel::cost).sum::<usize>();
        again.append(&mut self.held);
        self.held = again;
        waiting
    }

    /// Takes a copy: sends it, or holds it until it can be sent in its turn.
    pub fn offer(&mut self, parcel: Parcel) {
        let parcel = match (&mut self.state, self.held.is_empty()) {
            (LaneState::Open(outlet), true) => outlet.send(parcel),
            (LaneState::Open(_) | LaneState::Closed(_) | LaneState::Cut, _) => Some(parcel),
        };
        if let Some(parcel) = parcel {
            self.held_bytes += parcel.cost();
            self.held.push_back(parcel);
        }
    }

    /// Sends what has no identifier, to be lost where it cannot be sent.
    pub fn try_offer(&self, frame: Frame) -> Result<(), Lost> {
        let (LaneState::Closed(outlet) | LaneState::Open(outlet)) = &self.state else {
            return Err(Lost::NotLinked);
        };
        let cost = frame.cost();
        outlet.mailbox.push(frame, cost).map_err(|_| Lost::Full)
    }

    /// Sends a request of the bridge's own; nothing if no identifier is free or there is no link.
    pub fn request(
        &mut self,
        sent: Sent,
        frame: impl FnOnce(PacketId) -> Frame,
    ) -> Option<PacketId> {
        let (LaneState::Closed(outlet) | LaneState::Open(outlet)) = &mut self.state else {
            return None;
        };
        let id = outlet.in_flight.push(sent).ok()?;
        outlet.mailbox.push_control(frame(id));
        Some(id)
    }

    /// Whether an identifier is free.
    pub fn has_room(&self) -> bool {
        match &self.state {
            LaneState::Closed(outlet) | LaneState::Open(outlet) => outlet.in_flight.has_room(),
            LaneState::Cut => false,
        }
    }

    /// What an identifier stands for.
    pub fn sent(&mut self, id: PacketId) -> Option<&mut Sent> {
        self.in_flight()?.get_mut(id)
    }

    /// An answer has come: what it answers. The identifier may be used again.
    pub fn answered(&mut self, id: PacketId) -> Option<Sent> {
        self.in_flight()?.take(id)
    }

    /// Sends what is held, as far as identifiers are free. Returns how many are sent again.
    pub fn pump(&mut self) -> u64 {
        let LaneState::Open(outlet) = &mut self.state else {
            return 0;
        };
        let mut again = 0;
        while outlet.takes_parcels() {
            let Some(parcel) = self.held.pop_front() else {
                break;
            };
            self.held_bytes -= parcel.cost();
            again += u64::from(self.again > 0);
            self.again = self.again.saturating_sub(1);
            outlet.send(parcel); // there is room, so nothing comes back
        }
        again
    }

    /// Forgets what is held for answers that nobody waits for any more.
    pub fn forget_settled(&mut self, owed: &Owed) {
        self.sort_out(|parcel| owed.has(parcel.ticket));
    }

    /// Takes out of what is held all but what is to be kept, and returns it: its shares are to be
    /// settled.
    pub fn sort_out(&mut self, mut keep: impl FnMut(&Parcel) -> bool) -> Vec<Parcel> {
        let (mut kept, mut out, mut again) = (VecDeque::new(), Vec::new(), 0);
        for (index, parcel) in std::mem::take(&mut self.held).into_iter().enumerate() {
            if keep(&parcel) {
                again += usize::from(index < self.again);
                kept.push_back(parcel);
            } else {
                self.held_bytes -= parcel.cost();
                out.push(parcel);
            }
        }
        (self.held, self.again) = (kept, again);
        out
    }

    /// How many copies are held.
    pub fn held_len(&self) -> usize {
        self.held.len()
    }

    /// How many bytes are held.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn in_flight(&mut self) -> Option<&mut Window<Sent>> {
        match &mut self.state {
            LaneState::Closed(outlet) | LaneState::Open(outlet) => Some(&mut outlet.in_flight),
            LaneState::Cut => None,
        }
    }
}

impl Outlet {
    fn takes_parcels(&self) -> bool {
        self.in_flight.len() < PARCELS_IN_FLIGHT_MAX && self.in_flight.has_room()
    }

    /// Sends a copy, or hands it back.
    fn send(&mut self, parcel: Parcel) -> Option<Parcel> {
        if !self.takes_parcels() {
            return Some(parcel);
        }
        let load = parcel.load.clone();
        if let Ok(id) = self.in_flight.push(Sent::Parcel(parcel)) {
            self.mailbox.push_control(load.into_frame(Some(id)));
        }
        None
    }
}

/// Why something without an identifier was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// There is no link to the node.
    NotLinked,
    /// The link's mailbox is full.
    Full,
}

impl Parcel {
    fn cost(&self) -> usize {
        match &self.load {
            Load::Forward(envelope) => envelope.cost(),
            Load::Direct(direct) => DIRECT_COST + direct.note.body().map_or(0, Bytes::len),
        }
    }
}

impl Load {
    /// The frame that carries it.
    pub fn into_frame(self, id: Option<PacketId>) -> Frame {
        match self {
            Self::Forward(envelope) => Frame::Forward { id, envelope },
            Self::Direct(direct) => {
                let Direct { to, from, note } = *direct;
                Frame::Direct { id, to, from, note }
            }
        }
    }
}

/// Fewer than there are identifiers, so that interest always finds one.
const PARCELS_IN_FLIGHT_MAX: usize = 60_000;

const DIRECT_COST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_common::id::Epoch;

    const LINK: LinkKey = LinkKey { node: NodeIndex(1), serial: 1 };

    fn ticket(id: u16) -> Ticket {
        let id = PacketId::new(id).unwrap();
        Ticket { link: LINK, id }
    }

    fn parcel(id: u16) -> Parcel {
        let (to, from) = (NodeId::from("node-2"), NodeId::from("node-1"));
        let note =
            Note::TakeOver { client_id: "alice".into(), epoch: Epoch(u64::from(id)), clean: true };
        let load = Load::Direct(Box::new(Direct { to, from, note }));
        let ticket = ticket(id);
        Parcel { ticket, load }
    }

    fn taken(mailbox: &Mailbox<Frame>) -> Vec<u64> {
        let mut frames = VecDeque::new();
        mailbox.take_all(&mut frames);
        let epochs = frames.into_iter().map(|frame| match frame {
            Frame::Direct { note: Note::TakeOver { epoch, .. }, .. } => epoch.0,
            other => panic!("{other:?}"),
        });
        epochs.collect()
    }

    #[test]
    fn an_answer_is_due_with_the_last_share_and_once() {
        let mut owed = Owed::default();
        assert!(owed.open(ticket(1), 2));
        assert!(!owed.open(ticket(1), 1), "the identifier is in use");
        owed.share(ticket(1));
        assert!(!owed.settle(ticket(1)));
        assert!(!owed.settle(ticket(1)));
        assert!(owed.settle(ticket(1)));
        assert!(!owed.settle(ticket(1)));
        assert!(owed.is_empty());
    }

    #[test]
    fn a_link_that_is_gone_is_owed_nothing() {
        let mut owed = Owed::default();
        owed.open(ticket(1), 1);
        owed.forget(LINK);
        assert!(!owed.settle(ticket(1)));
        assert_eq!(owed.len(), 0);
    }

    #[test]
    fn a_full_window_holds_copies_until_answers_come_and_keeps_their_order() {
        let mut lane = Lane::default();
        let mailbox = Arc::new(Mailbox::new(1));
        lane.link(Arc::clone(&mailbox));
        lane.open();
        let max = u16::try_from(PARCELS_IN_FLIGHT_MAX).unwrap();
        for id in 1..=max + 3 {
            lane.offer(parcel(id));
        }
        assert_eq!(taken(&mailbox).len(), PARCELS_IN_FLIGHT_MAX);
        assert_eq!((lane.held_len(), lane.held_bytes()), (3, 3 * DIRECT_COST));
        lane.answered(PacketId::new(2).unwrap());
        assert_eq!(lane.pump(), 0);
        assert_eq!(taken(&mailbox), [u64::from(max) + 1]);
        assert!(lane.has_room(), "there is room for interest left");
        let request = lane.request(Sent::Unsubscribe, Frame::UnsubAck);
        assert!(request.is_some());
    }

    #[test]
    fn what_was_in_flight_goes_before_what_was_held_when_a_link_is_cut() {
        let mut owed = Owed::default();
        let mut lane = Lane::default();
        let mailbox = Arc::new(Mailbox::new(1));
        lane.link(Arc::clone(&mailbox));
        lane.open();
        let max = u16::try_from(PARCELS_IN_FLIGHT_MAX).unwrap();
        for id in 1..=max + 1 {
            owed.open(ticket(id), 1);
            lane.offer(parcel(id));
        }
        lane.cut(&owed);
        taken(&mailbox);
        lane.link(Arc::clone(&mailbox));
        assert_eq!(lane.open(), u64::from(max));
        lane.answered(PacketId::new(1).unwrap());
        assert_eq!(lane.pump(), 0, "the last was never sent before");
        let sent = taken(&mailbox);
        assert!(sent.is_sorted() && sent.len() == PARCELS_IN_FLIGHT_MAX + 1);
    }

    #[test]
    fn a_cut_lane_sends_again_only_what_is_owed_still() {
        let mut owed = Owed::default();
        let mut lane = Lane::default();
        let mailbox = Arc::new(Mailbox::new(1));
        lane.link(Arc::clone(&mailbox));
        lane.open();
        for id in 1..=3 {
            owed.open(ticket(id), 1);
            lane.offer(parcel(id));
        }
        owed.settle(ticket(2));
        assert!(lane.cut(&owed).is_empty());
        owed.open(ticket(4), 1);
        lane.offer(parcel(4));
        owed.settle(ticket(3));
        lane.forget_settled(&owed);
        taken(&mailbox);
        lane.link(Arc::clone(&mailbox));
        assert!(taken(&mailbox).is_empty(), "held until the routes are known");
        assert_eq!(lane.open(), 1);
        assert_eq!(taken(&mailbox), [1, 4]);
        assert_eq!((lane.held_len(), lane.held_bytes()), (0, 0));
    }
}
