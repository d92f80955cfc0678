//! Notes to one other node that must be acknowledged: today, that a client id has a new owner.

use std::{sync::Arc, time::Instant};

use causeway_common::{
    directory::Claimed,
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
    /// Asks nodes that may have a connection of a client or a part of its session to give that up: one
    /// [`Mail::Routed`] comes for each, when that is done, also for those that an earlier login here has asked.
    /// Asked until the deadline, also after whoever asked has gone on. Returns how many answers come.
    pub fn ask_takeovers(
        &mut self,
        asked: Vec<NodeId>,
        claim: &TakeOver,
        (answer_to, ticket): (&Arc<Mailbox<Mail>>, Ticket),
        deadline: Instant,
    ) -> usize {
        let is_asked_anew =
            |note: &PendingNote| note.asks_for(&claim.client_id) && asked.contains(&note.to);
        self.notes.pending.retain(|note| !is_asked_anew(note));
        let answer = || Answer { to: Arc::clone(answer_to), ticket };
        let mut count = asked.len();
        for note in self.notes.pending.iter_mut().filter(|note| note.asks_for(&claim.client_id)) {
            note.answer = answer();
            count += 1;
        }
        for to in asked {
            self.notes.last_key += 1;
            let TakeOver { client_id, epoch, clean } = claim.clone();
            self.notes.pending.push(PendingNote {
                key: self.notes.last_key,
                to,
                note: Note::TakeOver { client_id, epoch, clean },
                via: None,
                deadline,
                answer: answer(),
            });
        }
        self.place_notes();
        count
    }

    /// Whom to ask first after a claim: the last owner. What the others have may be on its way to that, and would
    /// come out of order from there and from here.
    pub fn first_to_ask(&self, claimed: &Claimed) -> Vec<NodeId> {
        let last = claimed.previous.as_ref().map(|previous| &previous.owner.member.node);
        let last = last.filter(|to| **to != self.me.node);
        // The bridge knows best whether it lives.
        let reachable = last.filter(|to| self.links.ready_count() > 0 || self.peers.contains(to));
        reachable.into_iter().cloned().collect()
    }

    /// Whom to ask when that is done: those that may keep a part of what the last owner had not got yet. One
    /// that is down finds out by itself when it is back.
    pub fn then_to_ask(&self, claimed: &Claimed) -> Vec<NodeId> {
        let last = claimed.previous.as_ref().map(|previous| &previous.owner.member.node);
        let others = claimed.left_on.iter().filter(|to| Some(*to) != last);
        others.filter(|to| self.peers.contains(to)).cloned().collect()
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
