//! A durable session moves to the node that its client is at.
//!
//! ```text
//!   giver                                               taker
//!   TakeOver, or the directory's word
//!   connection closed, session parked
//!   what its client has said arrives everywhere (`settling.rs`)
//!        ── Head: filters, identifiers ──►   holds the filters too; what comes live stands aside
//!        ◄── stored, effective everywhere ──
//!   flushes every bridge, lets the filters go
//!        ── Line: 256 messages, in order ──►   same places, or behind if the client is in
//!        ◄── stored ──                          (`merge.rs`)
//!   deletes them; …                          …
//!        ── End ──►
//!        ◄── stored ──
//!   forgets the session, answers the TakeOver     lets the client in: what stood aside closes up
//! ```
//!
//! The giver asks until it is answered, whatever is lost or dies meanwhile; it deletes only what was
//! answered, and says nothing more before that deletion is durable. So after a crash of the giver at
//! most one letter's messages come again, and the taker has those of the last letter written down
//! by name. A session whose client comes back is not given further; what is with the taker comes back
//! by the same way.
//!
//! It leaves to others: who owns a client id (`ownership.rs`, `membership`), links (`links.rs`).

mod arrival;
mod aside;
mod asking;
mod cleared;
mod departure;
mod flush;
mod had;
mod letter;
mod line;
mod lineage;
mod merge;
mod names;
mod settling;
mod take_in;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use ahash::AHashMap;
use causeway_common::{
    directory::Owner,
    id::{ClientId, NodeId, SessionId},
    link::{Frame, Note},
    mailbox::Mailbox,
};

use super::{
    Hub, LinkId,
    record::{decode, encode},
};

use arrival::Arrival;
use asking::Withheld;
use departure::Departure;
use letter::{Answer, Body, Letter};
use names::Unsent;

pub use cleared::Cleared;

pub(super) use arrival::ArrivalRow;
pub(super) use aside::ASIDE;
pub(super) use letter::Stamp;
pub(super) use lineage::Lineage;
pub(super) use merge::{Claim, Merge};

/// Sessions on their way from and to this node.
#[derive(Debug)]
pub(super) struct Moves {
    departures: BTreeMap<SessionId, Departure>,
    withheld: Vec<Withheld>,
    /// By the node that gives, and its name for the session. Kept after the end for a while, so that
    /// nothing comes twice.
    arrivals: BTreeMap<(NodeId, SessionId), Arrival>,
    /// Where sessions went that were here.
    moved_on: AHashMap<ClientId, Owner>,
    cleared: Arc<Mailbox<Cleared>>,
    last_number: u64,
    unsent: Unsent,
    now: Instant,
    /// When what sessions remember was last thrown out, in seconds since 1970.
    swept_secs: u64,
}

impl Moves {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            departures: BTreeMap::new(),
            withheld: Vec::new(),
            arrivals: BTreeMap::new(),
            moved_on: AHashMap::new(),
            cleared: Arc::new(Mailbox::new(0)),
            last_number: 0,
            unsent: Unsent::default(),
            now,
            swept_secs: 0,
        }
    }
}

impl Hub {
    /// Takes a letter of another node, or of this one by way of a bridge.
    pub(super) fn on_letter(&mut self, now: Instant, link: LinkId, from: &NodeId, body: &[u8]) {
        self.moves.now = now;
        // What cannot be read is not answered: nothing is lost, its sender keeps it.
        let Ok(Letter { session, stamp, body }) = decode::<Letter>(body) else {
            return;
        };
        match body {
            Body::Head(head) => self.on_head((from, session), stamp, &head),
            Body::Line(pieces) => self.on_line((from, session), stamp, pieces),
            Body::End => self.on_end((from, session), stamp),
            Body::Flush => self.on_flushed(session, stamp, link),
            Body::Answer(answer) => self.on_answer(from, session, stamp, answer),
        }
    }

    /// Does what time asks for: letters again, arrivals given up.
    pub(super) fn tick_moves(&mut self, now: Instant) {
        self.moves.now = now;
        self.tick_departures();
        self.tick_arrivals();
    }

    /// Sends a letter through one of the ready bridges, another one at each attempt. It may be lost.
    fn send_letter(&self, to: &NodeId, letter: &Letter, attempt: u32) {
        let ready: Vec<LinkId> = self.links.ready().collect();
        let turn = usize::try_from(attempt).unwrap_or_default().checked_rem(ready.len());
        let Some(link) = turn.and_then(|turn| ready.get(turn)) else {
            return;
        };
        let note = Note::Session(encode(letter));
        let (to, from) = (to.clone(), self.me.node.clone());
        self.links.post_if_room(*link, Frame::Direct { id: None, to, from, note });
    }

    fn answer_letter(&self, (to, session): (&NodeId, SessionId), stamp: Stamp, answer: Answer) {
        let letter = Letter { session, stamp, body: Body::Answer(answer) };
        self.send_letter(to, &letter, 0);
    }
}
