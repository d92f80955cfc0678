//! What the hub does when all the memory that may be is used: it takes nothing from bridges that it would have to
//! keep, drops what is for those who do not read, and closes those who have left most unread.
//!
//! What is not taken is not acknowledged, and nothing that comes after it by the same link is either: so the
//! other nodes hold it, in its order. When there is room again that link is closed; the bridge makes a new one,
//! and brings all of it once more.
//!
//! It leaves to others how much memory is used ([`crate::memory`]), and what clients send (`connection`).

use causeway_common::{
    id::{PacketId, SessionId},
    link::Envelope,
    qos::QoS,
};

use super::{Hub, LinkId};
use crate::{
    limits::Strain,
    session::{CloseReason, Mail},
};

impl Hub {
    /// How near the node is to the memory it may use.
    pub fn feel(&mut self, strain: Strain) {
        self.strain = strain;
        if strain < Strain::Full {
            self.links.sicken_refused();
        }
    }

    /// Closes clients that have left much unread or unanswered, those with most first, until so many bytes are free by
    /// that. Of a durable session nothing would be: it keeps what waits.
    pub fn shed(&mut self, bytes: u64) {
        let entries = self.registry.entries.iter();
        let behind = entries.filter(|(_, entry)| !entry.durable && !entry.is_parked());
        let unread = behind.map(|(session, entry)| (entry.mailbox.all_bytes(), *session));
        let mut unread: Vec<(usize, SessionId)> =
            unread.filter(|(bytes, _)| *bytes >= UNREAD_BYTES_MAX).collect();
        unread.sort_unstable_by(|one, other| other.cmp(one));
        let mut freed = 0;
        for (unread_bytes, session) in unread {
            if freed >= bytes {
                return;
            }
            freed += u64::try_from(unread_bytes).unwrap_or(u64::MAX);
            if let Some(mailbox) = self.registry.mailbox(session) {
                mailbox.push_control(Mail::Close(CloseReason::Memory));
            }
        }
    }

    /// Whether a message of another node is not taken now, and shall come again.
    pub(super) fn refuses(
        &mut self,
        link: LinkId,
        id: Option<PacketId>,
        envelope: &Envelope,
    ) -> bool {
        if id.is_none() || envelope.origin.node == self.me.node {
            return false;
        }
        let refuses =
            self.links.has_refused(link) || self.strain == Strain::Full && self.must_keep(envelope);
        if refuses {
            self.links.refuse(link);
            self.metrics.limited.memory_messages.inc();
        }
        refuses
    }

    /// Whether the node would have to keep a message until somebody comes for it.
    fn must_keep(&self, envelope: &Envelope) -> bool {
        let mut must = envelope.retained.is_some();
        self.subscriptions.for_each_match(envelope.topic(), |session, granted| {
            must |= envelope.qos.min(*granted).is_answered() && self.registry.is_durable(*session);
        });
        must
    }

    /// Whether a message is dropped that is for a client here, with this QoS: nobody has it written down, and
    /// either nobody was promised it, or the client has not read what it got before.
    pub(super) fn drops(&self, session: SessionId, qos: QoS, is_written_down: bool) -> bool {
        if self.strain != Strain::Full || is_written_down {
            return false;
        }
        let is_behind = |entry: &super::registry::Entry| {
            entry.mailbox.bytes() > 0 || entry.mailbox.all_bytes() > UNREAD_BYTES_MAX
        };
        !qos.is_answered() || self.registry.entries.get(&session).is_some_and(|one| is_behind(one))
    }
}

/// Whoever has left no more than this unread is not closed.
const UNREAD_BYTES_MAX: usize = 64 * 1024;
