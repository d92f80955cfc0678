//! What a connection does less of while the node's memory is short. It leaves to [`crate::limits`] when that is,
//! and to the session what follows for filters and queues.

use std::time::Instant;

use causeway_common::packet::Packet;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Ended, Serving, Step};
use crate::{
    connection::pacing::is_kept,
    limits::Strain,
    session::{CloseReason, Room},
};

impl<S: AsyncRead + AsyncWrite + Unpin> Serving<S> {
    /// Counts a packet, and how much the node can bear of it.
    pub(super) fn weigh(&mut self, now: Instant, packet: &Packet) -> Step {
        self.pacing.count(now, packet);
        self.parts.budget.took(stays(packet));
        let is_kept = is_kept(packet);
        self.ensure_room(is_kept)?;
        let strain = self.parts.budget.strain();
        if is_kept && strain == Strain::Tight {
            self.pacing.spare(now, &self.parts.metrics);
        }
        if strain > Strain::None && matches!(packet, Packet::Subscribe { .. }) {
            // What it does not hold yet is refused.
            self.parts.metrics.limited.memory_messages.inc();
        }
        Ok(())
    }

    /// Nothing that is large, or that must be kept, is taken when all the memory that may be is used.
    pub(super) fn ensure_room(&self, is_heavy: bool) -> Step {
        if is_heavy && self.parts.budget.strain() == Strain::Full {
            return Err(Ended::new(CloseReason::Memory));
        }
        Ok(())
    }

    /// What the session may take more of.
    pub(super) fn room(&self) -> Room {
        let strain = self.parts.budget.strain();
        Room { filters: strain == Strain::None, queue: strain < Strain::Full }
    }

    /// Bytes that may wait in the write buffer before nothing more is read: beyond what messages put there,
    /// only answers to a client that sends and does not read make it grow.
    pub(super) fn answers_bytes_max(&self) -> usize {
        match self.parts.budget.strain() {
            Strain::None => 128 * 1024,
            Strain::Tight => 16 * 1024,
            Strain::Full => 4 * 1024,
        }
    }
}

/// About how many bytes of memory a packet may take up for longer.
fn stays(packet: &Packet) -> usize {
    match packet {
        Packet::Publish(publish) => publish.message.cost(),
        Packet::Subscribe { subscriptions, .. } => {
            let bytes = subscriptions.iter().map(|one| one.filter.as_str().len() * 2);
            bytes.sum::<usize>() + subscriptions.len() * FILTER_COST
        }
        Packet::Connect(_)
        | Packet::ConnAck { .. }
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::SubAck { .. }
        | Packet::Unsubscribe { .. }
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Disconnect => 0,
    }
}

/// Bytes of one packet that a client may have sent in part, while there is no memory.
pub(super) const PART_BYTES_MAX: usize = 64 * 1024;

/// What a filter takes in the session, in the hub and in its tree, besides its text.
const FILTER_COST: usize = 320;
