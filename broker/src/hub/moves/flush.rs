//! Before a session's filters go, every bridge is asked to send something back: what it had for this node
//! alone has come before that.
//!
//! * A bridge that has not linked in this life of the node finds no filter any more if they are gone by
//!   then, and takes what it holds for unwanted. So nothing is given before every bridge that the
//!   directory shows has been here, and the filters stay while one of them is not linked.
//! * A bridge that was lost sends again what was not answered, by its next link: it is asked again.
//!
//! It leaves to others: which bridges live (`hub/bridges.rs`), and how long one that was lost counts
//! (`hub/links.rs`).

use causeway_common::{
    id::SessionId,
    link::{Frame, Note},
};

use super::{Letter, Stamp, departure::Stage, letter::Body};
use crate::hub::{Hub, LinkId, links::Sent, record::encode};

/// Bridges are asked.
#[derive(Debug)]
pub(super) struct Flush {
    /// They have not answered.
    pub(super) left: Vec<LinkId>,
    stamp: Stamp,
}

impl Hub {
    /// Asks every bridge.
    pub(super) fn flush(&mut self, session: SessionId) {
        if let Some(departure) = self.moves.departures.get_mut(&session) {
            departure.flushed.clear();
        }
        self.flush_by(session, self.links.bridges());
    }

    /// Asks the bridges that have linked since.
    pub(super) fn flush_the_rest(&mut self, session: SessionId) {
        self.flush_by(session, self.unflushed(session));
    }

    pub(super) fn waits_for_bridges(&self, stage: &Stage) -> bool {
        match stage {
            Stage::Head => !self.bridges.are_met(),
            Stage::Flush(flush) => flush.left.iter().any(|link| self.links.is_linked(*link)),
            Stage::Line | Stage::End => false,
        }
    }

    /// Whether no bridge can have anything more for this node alone.
    pub(super) fn is_flushed(&self, session: SessionId) -> bool {
        let all_linked = self.bridges.are_all(|bridge| self.links.has(bridge));
        all_linked && !self.links.has_lost() && self.unflushed(session).is_empty()
    }

    /// Bridges that have not been asked since the taker has the filters; none if they are gone here.
    pub(super) fn unflushed(&self, session: SessionId) -> Vec<LinkId> {
        let entry = self.registry.entries.get(&session);
        if entry.is_none_or(|entry| entry.filters.is_empty()) {
            return Vec::new();
        }
        let departure = self.moves.departures.get(&session);
        let flushed = departure.map_or(&[][..], |departure| departure.flushed.as_slice());
        let mut left = self.links.bridges();
        left.retain(|link| !flushed.contains(link));
        left
    }

    fn flush_by(&mut self, session: SessionId, left: Vec<LinkId>) {
        let stamp = self.next_stamp();
        let me = self.me.node.clone();
        for link in &left {
            let note = Note::Session(encode(&Letter { session, stamp, body: Body::Flush }));
            let (to, from) = (me.clone(), me.clone());
            let frame = |id| Frame::Direct { id: Some(id), to, from, note };
            self.links.send(*link, Sent::Note(0), frame);
        }
        self.set_stage(session, Stage::Flush(Flush { left, stamp }));
    }

    pub(super) fn on_flushed(&mut self, session: SessionId, stamp: Stamp, link: LinkId) {
        if self.links.has_refused(link) {
            return; // what came before this was not all taken, and comes again by the next link
        }
        if let Some(departure) = self.moves.departures.get_mut(&session)
            && let Stage::Flush(flush) = &mut departure.stage
            && flush.stamp == stamp
        {
            flush.left.retain(|bridge| *bridge != link);
            departure.flushed.push(link);
            self.step(session);
        }
    }
}
