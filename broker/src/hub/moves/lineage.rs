//! Which state is the one that the client knows.
//!
//! A client that was let in elsewhere while its home was down has begun a new session there, with
//! packet identifiers of its own, and has forgotten the old one. The state here is *stale* then: its
//! messages are still due to the client, but its identifiers mean other messages to it by now. Were
//! it told that its session is present, it would take our messages for ones it has had, and we its.
//!
//! Nor does a CONNACK say anything that its client has not received: a session that it was told it
//! has not, although it may have known one, is its own from the first packet it sends on.
//!
//! So a state bears the claim under which a client was last let in with it, its *lineage*; and each
//! session knows the last claim by which the client may have been let in anywhere, its *tip*. It is
//! present if the lineage reaches the tip. Pieces of one lineage fit together again, whatever way
//! they come; pieces of two do not, and belong to nobody.

use causeway_common::{
    directory::Claimed,
    id::{Epoch, SessionId},
};
use serde::{Deserialize, Serialize};

use super::letter::Head;
use crate::{
    hub::{Hub, record::change_record, registry::Entry},
    session::Change,
    store::{Batch, Position},
};

/// Where the state of a durable session comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::hub) struct Lineage {
    state: Descent,
    /// The last claim by which the client may have been let in, here or elsewhere.
    tip: Epoch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Descent {
    /// No client has been let in with it.
    #[default]
    Blank,
    /// A client was let in with it under this claim.
    Of(Epoch),
    /// Pieces of several that do not fit, or one that the client may not have heard of.
    Mixed,
}

impl Lineage {
    /// Whether the client knows this state: what it is told in CONNACK [MQTT-3.2.2-2].
    fn is_present(self) -> bool {
        match self.state {
            Descent::Of(claim) => claim >= self.tip,
            Descent::Blank | Descent::Mixed => false,
        }
    }

    /// Whether no client has been let in with it.
    pub(super) fn is_blank(self) -> bool {
        self.state == Descent::Blank
    }

    /// Takes in what another node has. Returns whether that may keep its identifiers: whether it is of
    /// the lineage that the state here has from now on.
    fn take_in(&mut self, theirs: Self) -> bool {
        let (state, keeps) = match (self.state, theirs.state) {
            (Descent::Blank, Descent::Mixed) | (Descent::Mixed, _) => (Descent::Mixed, false),
            (Descent::Blank, theirs @ (Descent::Blank | Descent::Of(_))) => (theirs, true),
            (Descent::Of(ours), Descent::Of(theirs)) if ours < theirs => (Descent::Mixed, false),
            (Descent::Of(ours), Descent::Of(theirs)) => (Descent::Of(ours), ours == theirs),
            (ours @ Descent::Of(_), Descent::Blank | Descent::Mixed) => (ours, false),
        };
        self.state = state;
        keeps
    }
}

impl Hub {
    /// A claim has been made for a session.
    pub(in crate::hub) fn note_claim(&mut self, session: SessionId, claimed: &Claimed) {
        let me = self.me.node.clone();
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return;
        };
        let Lineage { state, tip } = &mut entry.merge.lineage;
        // What this node had claimed before, it knows as well as anybody.
        let was_fleeting = claimed.previous.as_ref().is_some_and(|previous| !previous.durable);
        match claimed.before.as_ref().filter(|before| before.node != me) {
            Some(_) if was_fleeting && *state == Descent::Blank => {
                *tip = Epoch::default(); // it has no session that it could know [MQTT-3.1.2-6]
            }
            Some(before) => *tip = before.epoch,
            None => {}
        }
        if entry.merge.let_in && entry.merge.lineage.is_present() {
            entry.found_its_client(); // the directory was gone when the client was let in
        }
    }

    /// What comes from another node joins a session here. Returns whether it may keep its identifiers.
    pub(super) fn join_lineages(&mut self, ours: SessionId, head: &Head) -> bool {
        let Some(entry) = self.registry.entries.get_mut(&ours) else {
            return false;
        };
        let lineage = &mut entry.merge.lineage;
        if head.claimed == Some(lineage.tip) {
            lineage.tip = head.lineage.tip; // the giver knows whether its claim let anybody in
        }
        if lineage.state == Descent::Blank && entry.merge.line.is_some() {
            lineage.state = Descent::Mixed; // identifiers of theirs are in use here
        }
        let keeps = lineage.take_in(head.lineage);
        if keeps {
            // Nothing new gets an identifier by which the client may know another message.
            entry.next_place = entry.next_place.max(head.doubtful).max(head.next_place);
        }
        self.write_session(ours);
        keeps
    }

    /// Whether a client that is let in now knows its session [MQTT-3.2.2-2], and finds all of it here.
    pub fn is_present(&self, session: SessionId) -> bool {
        let entry = self.registry.entries.get(&session);
        entry.is_some_and(|entry| entry.merge.lineage.is_present()) && !self.moves.is_open(session)
    }

    /// The rest of what fits a session here does not come, or not soon: what is here is no session that
    /// its client knows, unless that is in.
    pub(super) fn note_torn(&mut self, session: SessionId) {
        if let Some(entry) = self.registry.entries.get_mut(&session)
            && (entry.is_parked() || !entry.merge.let_in)
        {
            entry.merge.lineage.state = Descent::Mixed;
            self.write_session(session);
        }
    }

    /// The client is told that it is in: what comes from another node from now on comes behind. That, and
    /// what its session has forgotten for it, is written down; returns when it is durable. CONNACK waits
    /// for it: a node that has died must know whom it had let in.
    pub fn let_in(&mut self, session: SessionId, forgotten: &[Change]) -> Position {
        let (is_present, is_whole) = (self.is_present(session), !self.moves.is_open(session));
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return Position::default();
        };
        (entry.merge.let_in, entry.merge.is_whole) = (true, is_whole);
        let lineage = entry.merge.lineage;
        if is_present || lineage == Lineage::default() {
            entry.found_its_client();
        } else {
            let tip = lineage.tip.max(entry.epoch.unwrap_or_default());
            entry.merge.lineage = Lineage { state: Descent::Mixed, tip };
        }
        let client_id = entry.client_id.clone();
        let mut batch = Batch::default();
        for change in forgotten {
            batch.deletes.extend(change_record(session, change).deletes);
        }
        let written = self.write_session_with(session, batch);
        if !self.is_taking_over(&client_id) {
            self.tell_withheld(|withheld| withheld.session == session);
        }
        self.close_ranks(session);
        written
    }

    /// The client has sent something: it knows that it is in, and what it was told of its session.
    pub fn know(&mut self, session: SessionId) {
        if let Some(entry) = self.registry.entries.get_mut(&session) {
            entry.found_its_client();
            self.write_session(session);
        }
    }
}

impl Entry {
    fn found_its_client(&mut self) {
        let Lineage { state, tip } = self.merge.lineage;
        let known = match state {
            Descent::Of(claim) => claim.max(tip),
            Descent::Blank | Descent::Mixed => tip,
        };
        // Without a directory there is no claim, and yet nobody knows the client better.
        let claim = self.epoch.unwrap_or_default().max(known);
        self.merge.lineage = Lineage { state: Descent::Of(claim), tip: claim };
    }
}
