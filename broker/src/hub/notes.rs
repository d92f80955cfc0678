//! Notes to one other node that must be acknowledged: today, that a client id has a new owner.

use std::{sync::Arc, time::Instant};

use causeway_common::{
    id::{ClientId, Epoch, NodeId, Ticket},
    link::{Frame, Note},
    mailbox::Mailbox,
};

use super::{Hub, LinkId, links::Sent, outbound::Answer};
use crate::session::Mail;

/// Notes on their way. Each goes through any one ready bridge, and again if that goes.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pending: Vec<PendingNote>,
    last_key: u64,
}

#[derive(Debug)]
struct PendingNote {
    key: u64,
    to: NodeId,
    note: Note,
    via: Option<LinkId>,
    deadline: Instant,
    answer: Answer,
}

impl PendingNote {
    fn asks_for(&self, client_id: &ClientId) -> bool {
        match &self.note {
            Note::TakeOver { client_id: asked, .. } => asked == client_id,
            Note::Session(_) | Note::Retained(_) | Note::Probe { .. } | Note::Echo { .. } => false,
        }
    }
}

/// A client id that this node owns now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeOver {
    /// Which.
    pub client_id: ClientId,
    /// Since this claim.
    pub epoch: Epoch,
    /// Whether its client wants no earlier state.
    pub clean: bool,
}

impl Hub {
    /// Asks another node to close its connection of a client id; [`Mail::Routed`] comes when that
    /// is done. Asked until the deadline, also after whoever asked has gone on. False if there is
    /// nobody to ask.
    pub fn ask_takeover(
        &mut self,
        to: NodeId,
        TakeOver { client_id, epoch, clean }: TakeOver,
        (answer_to, ticket): (&Arc<Mailbox<Mail>>, Ticket),
        deadline: Instant,
    ) -> bool {
        let reachable = self.links.ready_count() > 0 || self.peers.contains(&to);
        if to == self.me.node || !reachable {
            return false;
        }
        self.notes.last_key += 1;
        self.notes.pending.push(PendingNote {
            key: self.notes.last_key,
            to,
            note: Note::TakeOver { client_id, epoch, clean },
            via: None,
            deadline,
            answer: Answer { to: Arc::clone(answer_to), ticket },
        });
        self.place_notes();
        true
    }

    /// Whether another node is still asked for a client's session, by an earlier login of it here:
    /// then [`Mail::Routed`] comes to this one, when that is done.
    pub fn await_takeover(
        &mut self,
        client_id: &ClientId,
        (answer_to, ticket): (&Arc<Mailbox<Mail>>, Ticket),
    ) -> bool {
        let asked = self.notes.pending.iter_mut().find(|pending| pending.asks_for(client_id));
        if let Some(asked) = asked {
            asked.answer = Answer { to: Arc::clone(answer_to), ticket };
            return true;
        }
        false
    }

    pub(super) fn is_taking_over(&self, client_id: &ClientId) -> bool {
        self.notes.pending.iter().any(|pending| pending.asks_for(client_id))
    }

    /// Notes nobody waits for any more are forgotten.
    pub(super) fn expire_notes(&mut self, now: Instant) {
        self.notes.pending.retain(|note| note.deadline > now);
    }

    pub(super) fn note_done(&mut self, key: u64) {
        let notes = &mut self.notes.pending;
        if let Some(at) = notes.iter().position(|note| note.key == key) {
            notes.remove(at).answer.give();
        }
    }

    /// Gives every note that no ready bridge has to the first one that is ready.
    pub(super) fn place_notes(&mut self) {
        let ready = self.links.ready().next();
        for note in &mut self.notes.pending {
            if note.via.is_some_and(|link| self.links.is_ready(link)) {
                continue;
            }
            note.via = ready;
            let Some(link) = ready else { continue };
            let (to, from, body) = (note.to.clone(), self.me.node.clone(), note.note.clone());
            let frame = |id| Frame::Direct { id: Some(id), to, from, note: body };
            self.links.send(link, Sent::Note(note.key), frame);
        }
    }
}
