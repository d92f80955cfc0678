//! The side that gives: one letter at a time, until the session is the taker's.

use causeway_common::{
    directory::Owner,
    id::{Epoch, NodeId, PacketId, SessionId},
};

use super::{
    Claim, Stamp,
    asking::Asked,
    flush::Flush,
    letter::{Answer, Body, Head, Piece},
    names::name_of,
    settling::Unsettled,
};
use crate::{
    hub::{
        Hub, LinkId,
        record::{MessageRow, Name},
    },
    session::{Inheritance, Said, Session},
    store::{Batch, Position},
};

/// A session that goes.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) to: Owner,
    pub(super) stage: Stage,
    /// The letter that is not answered.
    pub(super) asked: Option<Asked>,
    /// Nothing is said before this is durable.
    after: Position,
    /// What its client has said: the head waits for it.
    pub(super) unsettled: Unsettled,
    /// Whether the taker has the filters.
    filters_given: bool,
    /// Bridges that have nothing more for this node alone: by these links all has come.
    pub(super) flushed: Vec<LinkId>,
    /// Nodes that wait for the end of it.
    pub(super) waiting: Vec<(LinkId, PacketId)>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing is said before every bridge that lives is met: else one that holds something for this
    /// node would find that nobody here wants it.
    Head,
    /// The filters are held there too; these bridges may still have something for this node alone.
    Flush(Flush),
    Line,
    End,
}

impl Departure {
    fn new(to: Owner, after: Position, unsettled: Unsettled) -> Self {
        let (stage, asked) = (Stage::Head, None);
        let (flushed, waiting) = (Vec::new(), Vec::new());
        let filters_given = false;
        Self { to, stage, asked, after, unsettled, filters_given, flushed, waiting }
    }
}

impl Hub {
    /// A parked session belongs to another node: gives it away, or forgets it if its client wants no
    /// earlier state. `waiting` is answered when that is done.
    pub(in crate::hub) fn depart(
        &mut self,
        session: SessionId,
        Claim { by, clean }: Claim,
        waiting: impl IntoIterator<Item = (LinkId, PacketId)>,
    ) {
        if clean || by.member.node == self.me.node {
            if clean {
                self.erase_for(session, by.epoch);
            }
            return self.tell_closed(waiting);
        }
        let after = self.write_session(session);
        let unsettled = self.unsettled(session);
        let going = self.moves.departures.entry(session);
        let departure = going.or_insert_with(|| Departure::new(by.clone(), after, unsettled));
        departure.waiting.extend(waiting);
        if departure.to.epoch < by.epoch {
            let before = std::mem::replace(&mut departure.to, by);
            if before.member.node != departure.to.member.node {
                (departure.stage, departure.asked) = (Stage::Head, None);
                self.say_no_more(session, &before.member.node);
            }
        }
        self.step(session);
    }

    /// The client of this claim wants no earlier state.
    fn erase_for(&mut self, session: SessionId, epoch: Epoch) {
        if let Some(entry) = self.registry.entries.get(&session) {
            self.note_cleared(&entry.client_id, epoch);
        }
        self.discard(session);
    }

    /// Whether a session is being given away, and by which claim.
    pub(super) fn departs_by(&self, session: SessionId) -> Option<Epoch> {
        self.moves.departures.get(&session).map(|departure| departure.to.epoch)
    }

    /// The client is back: what is here stays. What the taker has is its own, and comes back when that
    /// has closed its connection; before that it must not let anybody in.
    pub(in crate::hub) fn stay_here(&mut self, session: SessionId) {
        let asked = self.moves.departures.get_mut(&session).and_then(|going| going.asked.take());
        let Some(waiting) = self.end_departure(session) else {
            return;
        };
        self.remember_line(session);
        if let Some(Body::Line(pieces)) = asked.map(|asked| asked.letter.body) {
            self.write_pieces_had(session, &pieces);
        }
        self.withhold(session, waiting);
        let parked = self.registry.entries.get(&session).and_then(|entry| entry.parked());
        let held: Vec<_> = parked.into_iter().flat_map(Session::subscriptions).collect();
        self.hold_filters(session, &held, false);
    }

    /// A session goes nowhere any more. Returns who waits for its end; none if it did not go.
    pub(in crate::hub) fn end_departure(
        &mut self,
        session: SessionId,
    ) -> Option<Vec<(LinkId, PacketId)>> {
        let departure = self.moves.departures.remove(&session)?;
        self.say_no_more(session, &departure.to.member.node);
        Some(departure.waiting)
    }

    /// A session that goes has got filters from elsewhere: they go with it.
    pub(super) fn begin_again(&mut self, session: SessionId) {
        if let Some(departure) = self.moves.departures.get_mut(&session) {
            departure.filters_given = false;
            self.set_stage(session, Stage::Head);
            self.step(session);
        }
    }

    /// Says the next thing, if it is its turn.
    pub(super) fn step(&mut self, session: SessionId) {
        let Some(departure) = self.moves.departures.get(&session) else {
            return;
        };
        let is_waiting = departure.asked.is_some() || !self.is_durable(departure.after);
        if is_waiting || self.waits_for_bridges(&departure.stage) {
            return;
        }
        match departure.stage {
            Stage::Head if self.waits_to_settle(&departure.unsettled) => {}
            Stage::Head => self.say_head(session),
            Stage::Flush(_) | Stage::Line if self.unflushed(session).is_empty() => {
                self.set_stage(session, Stage::Line);
                self.say_line(session);
            }
            Stage::Flush(_) | Stage::Line => self.flush_the_rest(session),
            Stage::End => self.ask(session, Body::End),
        }
    }

    /// The store has come further, or links have changed.
    pub(in crate::hub) fn step_all(&mut self) {
        let going: Vec<SessionId> = self.moves.departures.keys().copied().collect();
        for session in going {
            self.step(session);
        }
    }

    pub(super) fn set_stage(&mut self, session: SessionId, stage: Stage) {
        if let Some(departure) = self.moves.departures.get_mut(&session) {
            (departure.stage, departure.asked) = (stage, None);
        }
    }

    fn say_head(&mut self, session: SessionId) {
        self.give_up_unsettled(session);
        let going = self.moves.departures.get_mut(&session);
        let given = going.map(|going| going.filters_given);
        let past = self.past_of(session);
        let epoch = self.departs_by(session).unwrap_or_default();
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return;
        };
        let who = (entry.client_id.clone(), entry.user.clone(), epoch);
        let descent = (entry.epoch, entry.merge.lineage.clone());
        let aside_since = entry.merge.aside_since;
        let next_place = entry.next_place;
        let Some(state) = entry.absorb() else { return };
        let mut inheritance = Inheritance {
            subscriptions: state.subscriptions().collect(),
            received: state.received().collect(),
            released: state.released().collect(),
            doubtful: state.doubtful(),
        };
        if given == Some(true) {
            inheritance.subscriptions.clear(); // theirs, to be kept or given up
        }
        inheritance.subscriptions.sort_unstable_by(|a, b| a.filter.cmp(&b.filter));
        inheritance.received.sort_unstable();
        let past = (past, aside_since);
        let head = Box::new(Head::new(who, descent, past, (inheritance, next_place)));
        self.ask(session, Body::Head(head));
    }

    /// The next messages; the end if there are no more and none can come.
    fn say_line(&mut self, session: SessionId) {
        let going = self.moves.departures.get(&session);
        let Some(to) = going.map(|departure| departure.to.member.node.clone()) else {
            return;
        };
        if self.is_arriving(session, &to) {
            return; // what comes from elsewhere goes on in its order
        }
        self.take_no_more_from(session, &to);
        if self.give_up_silent(session) {
            return;
        }
        if self.is_flushed(session) {
            self.drop_filters(session);
            if let Some(entry) = self.registry.entries.get_mut(&session) {
                (entry.merge.is_whole, entry.merge.listens_since) = (false, None);
            }
        }
        let pieces = self.next_pieces(session);
        let holds_filters =
            self.registry.entries.get(&session).is_some_and(|entry| !entry.filters.is_empty());
        if !pieces.is_empty() {
            self.ask(session, Body::Line(pieces));
        } else if !holds_filters {
            self.set_stage(session, Stage::End);
            self.ask(session, Body::End);
        } else if let Some(departure) = self.moves.departures.get_mut(&session) {
            let waiting = std::mem::take(&mut departure.waiting);
            self.tell_closed(waiting);
        }
    }

    fn next_pieces(&mut self, session: SessionId) -> Vec<Piece> {
        let node = self.me.node.clone();
        let mut bytes = 0;
        let mut pieces = Vec::new();
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return pieces;
        };
        for delivery in entry.all_in_order() {
            let Some(stored) = &delivery.stored else {
                continue;
            };
            bytes += delivery.message.cost();
            if !pieces.is_empty() && (bytes > LETTER_BYTES_MAX || pieces.len() == PIECES_MAX) {
                break;
            }
            let place = stored.place;
            let origin = Some(name_of(delivery, &node, session, place));
            let said = Said { message: delivery.message.message.clone(), origin };
            let message = MessageRow::new(&said, delivery.qos, delivery.retain);
            pieces.push(Piece { place, message });
        }
        pieces
    }

    pub(super) fn on_answer(
        &mut self,
        from: &NodeId,
        session: SessionId,
        stamp: Stamp,
        answer: Answer,
    ) {
        let Some(departure) = self.moves.departures.get_mut(&session) else {
            return;
        };
        let is_asked = departure.asked.as_ref().is_some_and(|asked| asked.letter.stamp == stamp);
        if !is_asked || departure.to.member.node != *from {
            return;
        }
        let asked = departure.asked.take().map(|asked| asked.letter.body);
        let pieces = if let Some(Body::Line(pieces)) = asked { pieces } else { Vec::new() };
        match answer {
            Answer::Stored => self.on_stored(session, &pieces),
            Answer::Unknown => self.set_stage(session, Stage::Head),
            Answer::Unwanted => return self.is_gone(session),
            Answer::Elsewhere { node, epoch } => {
                if node == self.me.node {
                    return self.stays_by(session, epoch);
                }
                if epoch <= departure.to.epoch {
                    return self.give_no_more(session); // the directory will say
                }
                departure.to.epoch = epoch;
                departure.to.member.node = node;
                departure.stage = Stage::Head;
            }
        }
        self.step(session);
    }

    /// A session that goes gets a head of the same client: of two claims the younger one says where it
    /// goes. Present if not here.
    pub(super) fn which_way(
        &mut self,
        giver: &NodeId,
        session: SessionId,
        theirs: Epoch,
    ) -> Option<Answer> {
        let to = self.moves.departures.get(&session)?.to.clone();
        if to.epoch < theirs {
            self.stays_by(session, theirs);
        } else if to.member.node == *giver {
            return Some(Answer::Elsewhere { node: to.member.node, epoch: to.epoch });
        }
        None
    }

    /// A younger claim says that the session belongs here.
    fn stays_by(&mut self, session: SessionId, epoch: Epoch) {
        self.give_no_more(session);
        if let Some(entry) = self.registry.entries.get_mut(&session) {
            entry.epoch = entry.epoch.max(Some(epoch));
            self.write_session(session);
        }
    }

    fn give_no_more(&mut self, session: SessionId) {
        let waiting = self.end_departure(session);
        self.tell_closed(waiting.into_iter().flatten());
    }

    fn on_stored(&mut self, session: SessionId, pieces: &[Piece]) {
        let Some(departure) = self.moves.departures.get_mut(&session) else {
            return;
        };
        match departure.stage {
            Stage::Head => {
                departure.filters_given = true;
                self.flush(session);
            }
            Stage::Flush(_) => {}
            Stage::Line => self.forget_pieces(session, pieces),
            Stage::End => self.on_end_stored(session),
        }
    }

    /// Something may have come from elsewhere since the end was said.
    fn on_end_stored(&mut self, session: SessionId) {
        let entry = self.registry.entries.get(&session);
        let holds_filters = entry.is_some_and(|entry| !entry.filters.is_empty());
        if holds_filters || !self.next_pieces(session).is_empty() {
            self.set_stage(session, Stage::Line);
        } else {
            self.is_gone(session);
        }
    }

    /// The taker has these messages.
    fn forget_pieces(&mut self, session: SessionId, pieces: &[Piece]) {
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return;
        };
        let mut batch = Batch::default();
        let names = pieces.iter().filter_map(|piece| piece.message.origin.as_ref());
        entry.forget_had(session, names, &mut batch);
        for Piece { place, .. } in pieces {
            entry.give_away(*place);
            batch.delete(Name::Queued(session, *place).key());
        }
        self.forget_last(session, pieces, &mut batch);
        let after = self.store.write(batch);
        if let Some(departure) = self.moves.departures.get_mut(&session) {
            departure.after = after;
        }
    }
}

const LETTER_BYTES_MAX: usize = 256 * 1024;

const PIECES_MAX: usize = 256;
