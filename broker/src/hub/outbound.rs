//! Messages on their way to other nodes: numbered, given to one ready bridge, kept until that
//! says that every destination has them.
//!
//! ```text
//!   sequence   41    42    43    44    45
//!   slots     │ – │ via A │ – │ via B │ held
//!                                        └ no bridge is ready: its publisher waits
//! ```
//!
//! Topics fall into shards; a shard uses one bridge at a time and changes it only when nothing of
//! it is in flight, or when the bridge is gone: so the order of a topic holds. What was in flight
//! through a bridge that is gone is sent again through another, in order; whoever has had it drops
//! it (`seen.rs`).

use std::{collections::VecDeque, sync::Arc};

use causeway_common::{id::Ticket, link::Envelope, mailbox::Mailbox};

use super::{LinkId, links::Links, shard::SHARDS};
use crate::{
    session::Mail,
    store::{Key, Position},
};

/// Who waits for a message to be safe.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) to: Arc<Mailbox<Mail>>,
    pub(super) ticket: Ticket,
}

impl Answer {
    pub(super) fn give(self) {
        self.to.push_control(Mail::Routed(self.ticket));
    }
}

/// What is on its way.
#[derive(Debug)]
pub(super) struct Outbound {
    /// Sequence of the first slot; from 1 on.
    first: u64,
    pub(super) slots: VecDeque<Option<Pending>>,
    /// The last sequence of QoS 0, which has no slots and a count of its own.
    pub(super) last_unanswered: u64,
    len: usize,
    bytes: usize,
    shards: [Shard; SHARDS],
    pub(super) held: usize,
    /// How many of those held wait for the store.
    pub(super) uncommitted: usize,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) envelope: Arc<Envelope>,
    pub(super) shard: usize,
    /// None while it is held.
    pub(super) via: Option<LinkId>,
    /// Whether any bridge has been given it.
    pub(super) was_sent: bool,
    /// None if nobody waits: QoS 0 that is retained, or a publisher of an earlier life.
    pub(super) answer: Option<Answer>,
    /// When all that its answer promises here is durable.
    pub(super) position: Position,
    /// Under which name it is kept, if it must survive this life: a QoS 2 message of a durable session.
    /// Then it is sent only when it is kept.
    pub(super) kept: Option<Key>,
}

impl Pending {
    /// Whether it may be sent as far as the store goes.
    pub(super) fn is_kept(&self, durable: Position) -> bool {
        self.kept.is_none() || self.position == Position::default() || self.position <= durable
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shard {
    pub(super) via: Option<LinkId>,
    in_flight: usize,
    held: usize,
}

/// Where the next message of a shard goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Via(LinkId),
    /// Nobody takes it now, and somebody may want it.
    Hold,
    /// There is nobody else.
    Nowhere,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            first: 1,
            slots: VecDeque::new(),
            last_unanswered: 0,
            len: 0,
            bytes: 0,
            shards: [Shard::default(); SHARDS],
            held: 0,
            uncommitted: 0,
        }
    }
}

impl Outbound {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn shard(&self, shard: usize) -> Shard {
        self.shards.get(shard).copied().unwrap_or_default()
    }

    fn shard_mut(&mut self, shard: usize) -> Option<&mut Shard> {
        self.shards.get_mut(shard)
    }

    /// All before this one have arrived.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    pub(super) fn pending_mut(&mut self, sequence: u64) -> Option<&mut Pending> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index)?.as_mut()
    }

    /// Whether a message is on its way.
    pub(super) fn has(&self, sequence: u64) -> bool {
        let index = sequence.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.slots.get(index)).is_some_and(Option::is_some)
    }

    /// Gives the next sequence to nothing.
    pub(super) fn skip(&mut self) {
        if self.slots.is_empty() {
            self.first += 1;
        } else {
            self.slots.push_back(None);
        }
    }

    pub(super) fn push(&mut self, pending: Pending) {
        self.bytes += pending.envelope.cost();
        self.len += 1;
        self.slots.push_back(Some(pending));
    }

    /// Counts a message as in flight on a link, or as held.
    pub(super) fn place(&mut self, sequence: u64, via: Option<LinkId>) {
        let Some(pending) = self.pending_mut(sequence) else {
            return;
        };
        pending.via = via;
        let shard = pending.shard;
        self.held += usize::from(via.is_none());
        let Some(shard) = self.shard_mut(shard) else {
            return;
        };
        match via {
            Some(_) => shard.in_flight += 1,
            None => shard.held += 1,
        }
    }

    /// Undoes [`Outbound::place`].
    pub(super) fn unplace(&mut self, shard: usize, via: Option<LinkId>) {
        self.held -= usize::from(via.is_none());
        let Some(shard) = self.shard_mut(shard) else {
            return;
        };
        match via {
            Some(_) => shard.in_flight -= 1,
            None => shard.held -= 1,
        }
    }

    /// Takes a message out, wherever it stands.
    pub(super) fn take(&mut self, sequence: u64) -> Option<Pending> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        let pending = self.slots.get_mut(index)?.take()?;
        self.len -= 1;
        self.bytes -= pending.envelope.cost();
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        Some(pending)
    }

    /// Takes everything off links that are not ready, and everything held, so that it can be
    /// placed again; returns its sequences in order.
    pub(super) fn loosen(&mut self, links: &Links) -> Vec<u64> {
        let first = self.first;
        let loose: Vec<(u64, usize, Option<LinkId>)> = (first..)
            .zip(&self.slots)
            .filter_map(|(sequence, slot)| Some((sequence, slot.as_ref()?)))
            .filter(|(_, pending)| !pending.via.is_some_and(|link| links.is_ready(link)))
            .map(|(sequence, pending)| (sequence, pending.shard, pending.via))
            .collect();
        for (_, shard, via) in &loose {
            self.unplace(*shard, *via);
        }
        loose.into_iter().map(|(sequence, ..)| sequence).collect()
    }

    /// Where the next message of a shard goes; binds an idle shard to a ready bridge.
    pub(super) fn way(&mut self, shard: usize, links: &Links, has_peers: bool) -> Way {
        let Shard { via, in_flight, held } = self.shard(shard);
        if held > 0 {
            return Way::Hold; // nothing overtakes what is held
        }
        if in_flight > 0 {
            // Nor what is in flight on a link that is about to be closed.
            let link = via.filter(|link| links.is_ready(*link));
            return link.map_or(Way::Hold, Way::Via);
        }
        let picked = links.pick(shard);
        if let Some(shard) = self.shard_mut(shard) {
            shard.via = picked;
        }
        match picked {
            Some(link) => Way::Via(link),
            None if has_peers => Way::Hold,
            None => Way::Nowhere,
        }
    }
}
