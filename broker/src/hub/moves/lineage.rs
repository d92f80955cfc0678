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
//!
//! A claim whose client went on before it was let in says nothing: whoever has it for the tip takes the one
//! before it instead. Only its own node knows that of it, and tells with the session.

use causeway_common::{
    directory::Claimed,
    id::{Epoch, SessionId},
};
use serde::{Deserialize, Serialize};

use super::{departure::Stage, letter::Head};
use crate::{
    hub::{Hub, record::change_record, registry::Entry},
    session::Change,
    store::{Batch, Position},
};

/// Where the state of a durable session comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::hub) struct Lineage {
    state: Descent,
    /// The last claim by which the client may have been let in, here or elsewhere.
    tip: Epoch,
    /// The last claims that are known to have let nobody in, in their order.
    fruitless: Vec<Fruitless>,
}

/// A claim that let nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fruitless {
    claim: Epoch,
    /// The tip when it was made.
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
    fn is_present(&self) -> bool {
        match self.state {
            Descent::Of(claim) => claim >= self.tip,
            Descent::Blank | Descent::Mixed => false,
        }
    }

    /// Whether no client has been let in with it.
    pub(super) fn is_blank(&self) -> bool {
        self.state == Descent::Blank
    }

    /// The client has gone on since this claim. Had the claim's node let it in, the tip there would be as young.
    fn end_claim(&mut self, claim: Epoch) {
        if claim > self.tip {
            let tip = self.tip;
            self.learn(&[Fruitless { claim, tip }]);
        }
    }

    fn learn(&mut self, more: &[Fruitless]) {
        self.fruitless.extend_from_slice(more);
        self.fruitless.sort_unstable_by_key(|known| known.claim);
        self.fruitless.dedup_by_key(|known| known.claim);
        let too_many = self.fruitless.len().saturating_sub(FRUITLESS_MAX);
        self.fruitless.drain(..too_many);
        self.look_through();
    }

    /// Takes for the tip what claims that let nobody in have found.
    fn look_through(&mut self) {
        // Each found an older one: from the youngest on, none is passed by.
        for known in self.fruitless.iter().rev() {
            if known.claim == self.tip {
                self.tip = known.tip;
            }
        }
    }

    /// Takes in what another node has. Returns whether that may keep its identifiers: whether it is of
    /// the lineage that the state here has from now on.
    fn take_in(&mut self, theirs: &Self) -> bool {
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
    /// A claim has been made for a session, after `own`, the last one of this node before it.
    pub(in crate::hub) fn note_claim(
        &mut self,
        session: SessionId,
        own: Option<Epoch>,
        claimed: &Claimed,
    ) {
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return;
        };
        entry.listen_since(claimed.epoch);
        let lineage = &mut entry.merge.lineage;
        lineage.end_claim(own.unwrap_or_default());
        // What this node had claimed since, it knows as well as anybody.
        let was_fleeting = claimed.previous.as_ref().is_some_and(|previous| !previous.durable);
        match &claimed.before {
            Some(_) if was_fleeting && lineage.is_blank() => {
                lineage.tip = Epoch::default(); // it has no session that it could know [MQTT-3.1.2-6]
            }
            Some(before) => {
                lineage.tip = lineage.tip.max(before.epoch);
                lineage.look_through(); // its node may have told already
            }
            None => {}
        }
        if !entry.merge.let_in {
            return;
        }
        // The directory was gone when the client was let in.
        if lineage.is_present() {
            entry.found_its_client();
        } else {
            lineage.tip = lineage.tip.max(claimed.epoch);
        }
    }

    /// What comes from another node joins a session here. Returns whether it may keep its identifiers.
    pub(super) fn join_lineages(&mut self, ours: SessionId, head: &Head) -> bool {
        let Some(entry) = self.registry.entries.get_mut(&ours) else {
            return false;
        };
        let mut theirs = head.lineage.clone();
        theirs.end_claim(head.claimed.unwrap_or_default()); // if it let anybody in, the giver knows
        let lineage = &mut entry.merge.lineage;
        lineage.learn(&theirs.fruitless);
        if lineage.is_blank() && entry.merge.line.as_ref().is_some_and(|line| !line.is_empty()) {
            lineage.state = Descent::Mixed; // identifiers of theirs are in use here
        }
        let keeps = lineage.take_in(&theirs);
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
            self.set_stage(session, Stage::Head); // whoever takes it must know
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
        let lineage = &mut entry.merge.lineage;
        let is_first = lineage.is_blank() && lineage.tip == Epoch::default();
        if is_present || is_first {
            entry.found_its_client();
        } else {
            let tip = lineage.tip.max(entry.epoch.unwrap_or_default());
            *lineage = Lineage { state: Descent::Mixed, tip, fruitless: Vec::new() };
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
        let Lineage { state, tip, .. } = self.merge.lineage;
        let known = match state {
            Descent::Of(claim) => claim.max(tip),
            Descent::Blank | Descent::Mixed => tip,
        };
        // Without a directory there is no claim, and yet nobody knows the client better.
        let claim = self.epoch.unwrap_or_default().max(known);
        self.merge.lineage =
            Lineage { state: Descent::Of(claim), tip: claim, fruitless: Vec::new() };
    }
}

/// A client that has gone on so often without being let in anywhere may be told that it has no session.
const FRUITLESS_MAX: usize = 64;
