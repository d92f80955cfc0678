//! The side that takes: what is known of each session on its way here, and when its giver is answered.

use std::time::{Duration, Instant};

use causeway_common::{
    id::{NodeId, SessionId},
    link::Origin,
};
use serde::{Deserialize, Serialize};

use super::{
    Stamp,
    letter::{Answer, Head, Piece},
    line::Front,
};
use crate::{
    hub::{
        Hub,
        commits::Due,
        record::{Name, encode},
        waits::Until,
    },
    store::{Batch, Position},
};

/// Which node gives, and its name for the session.
pub(super) type Giver<'a> = (&'a NodeId, SessionId);

/// A session on its way here, or one that came not long ago.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) row: ArrivalRow,
    /// The last letter that was answered.
    answered: Stamp,
    heard: Instant,
    /// Whether all that stands aside there is listened to here, too.
    echoes: bool,
}

/// What is written down of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::hub) struct ArrivalRow {
    stamp: Stamp,
    /// The session here that takes it in.
    ours: SessionId,
    /// The messages of the last letter: they come again if the giver dies now.
    last: Vec<Origin>,
    /// Present as long as messages may keep their places.
    pub(super) front: Option<Front>,
    open: bool,
    /// In seconds since 1970.
    heard_secs: u64,
}

/// What a letter is, by its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The next one, or the last one again that is not answered yet.
    Next,
    Answered,
    /// Its giver has gone on: nobody waits for an answer.
    Late,
}

impl super::Moves {
    fn turn(&self, (from, theirs): Giver<'_>, stamp: Stamp) -> Turn {
        match self.arrivals.get(&(from.clone(), theirs)) {
            Some(known) if stamp < known.row.stamp => Turn::Late,
            Some(known) if stamp == known.answered => Turn::Answered,
            Some(_) | None => Turn::Next,
        }
    }

    fn open_into(&self, session: SessionId) -> impl Iterator<Item = &Arrival> {
        let open = self.arrivals.values();
        open.filter(move |arrival| arrival.row.open && arrival.row.ours == session)
    }

    /// Those who give, by what is known of them.
    fn givers(&self, are_they: impl Fn(&Arrival) -> bool) -> Vec<(NodeId, SessionId)> {
        let found = self.arrivals.iter().filter(|(_, arrival)| are_they(arrival));
        found.map(|(key, _)| key.clone()).collect()
    }

    /// Whether more of a session may come.
    pub(super) fn is_open(&self, session: SessionId) -> bool {
        self.open_into(session).next().is_some()
    }

    /// Nothing is put in front of a session's line any more.
    pub(super) fn forget_front(&mut self, session: SessionId) -> bool {
        let mut found = false;
        for arrival in self.arrivals.values_mut().filter(|arrival| arrival.row.ours == session) {
            found |= arrival.row.front.take().is_some();
        }
        found
    }
}

impl Hub {
    pub(super) fn on_head(&mut self, giver: Giver<'_>, stamp: Stamp, head: &Head) {
        match self.moves.turn(giver, stamp) {
            Turn::Next => {}
            Turn::Answered => return self.answer_letter(giver, stamp, Answer::Stored),
            Turn::Late => return,
        }
        let ours = match self.find_heir(head) {
            Ok(ours) => ours,
            Err(answer) => return self.answer_letter(giver, stamp, answer),
        };
        if let Some(answer) = self.which_way(giver.0, ours, head.epoch) {
            return self.answer_letter(giver, stamp, answer);
        }
        if let Some(entry) = self.registry.entries.get_mut(&ours) {
            entry.measure();
        }
        let key = (giver.0.clone(), giver.1);
        let known = self.moves.arrivals.get(&key).filter(|known| known.row.ours == ours);
        let had_filters = known.is_some_and(|known| known.row.stamp == stamp);
        let last = known.map(|known| known.row.last.clone()).unwrap_or_default();
        let front_before = known.filter(|known| known.row.open).and_then(|known| known.row.front);
        let fits = self.join_lineages(ours, head);
        let echoes = (fits || head.lineage.is_blank()) && self.join_asides(ours, head.aside_since);
        let was_torn = front_before.is_some() && !fits;
        let front = match front_before {
            None if fits => self.front_of(ours, head),
            before => before,
        };
        if was_torn || fits && front.is_none() && head.has_identifiers() {
            self.note_torn(ours); // its identifiers go no further than here
        }
        self.remember_line(ours);
        self.remember_past(ours, &head.past);
        let mut inheritance = head.inheritance();
        if had_filters {
            inheritance.subscriptions.clear();
        }
        let taken = self.take_in_head(ours, inheritance, front.is_some());
        let taken = taken.max(self.write_session(ours)); // what may have been sent is known only now
        let heard_secs = self.wall_secs;
        let row = ArrivalRow { stamp, ours, last, front, open: true, heard_secs };
        let arrival = Arrival { row, answered: Stamp::default(), heard: self.moves.now, echoes };
        self.moves.arrivals.insert(key.clone(), arrival);
        self.begin_again(ours);
        let written = self.write_arrival(giver);
        self.wait_for_routes(key, (ours, stamp), taken.max(written));
    }

    /// Answers a head when its filters are effective in the whole cluster, and all of it is durable. What was
    /// said here before it came was no message for this session: its giver must have that first, which
    /// lets go of the filters then.
    fn wait_for_routes(
        &mut self,
        (from, theirs): (NodeId, SessionId),
        (ours, stamp): (SessionId, Stamp),
        position: Position,
    ) {
        let outbound = self.outbound.next_sequence();
        let until = Until { outbound, ..self.until(ours, position) };
        self.waits.add_letter(until, (from, theirs, stamp));
        self.release_waits();
    }

    pub(super) fn on_line(&mut self, giver: Giver<'_>, stamp: Stamp, pieces: Vec<Piece>) {
        let key = (giver.0.clone(), giver.1);
        let now = self.moves.now;
        match self.moves.turn(giver, stamp) {
            Turn::Next => {}
            Turn::Answered => return self.answer_letter(giver, stamp, Answer::Stored),
            Turn::Late => return,
        }
        let arrival = self.moves.arrivals.get_mut(&key);
        let is_here = |arrival: &&mut Arrival| self.registry.is_durable(arrival.row.ours);
        let Some(arrival) = arrival.filter(is_here) else {
            return self.answer_letter(giver, stamp, Answer::Unknown);
        };
        let names = pieces.iter().filter_map(|piece| piece.message.origin.clone()).collect();
        let before = std::mem::replace(&mut arrival.row.last, names);
        (arrival.row.stamp, arrival.heard) = (stamp, now);
        arrival.row.heard_secs = self.wall_secs;
        let (ours, ways) = (arrival.row.ours, (arrival.row.front, arrival.echoes));
        let (batch, line) = self.take_in_line(ours, pieces, &before, ways);
        let written = self.write_with_arrival(giver, batch);
        self.hand_in(ours, line, written);
        self.step(ours);
        self.when_durable(written, Due::Letter(key.0, key.1, stamp));
    }

    pub(super) fn on_end(&mut self, giver: Giver<'_>, stamp: Stamp) {
        let key = (giver.0.clone(), giver.1);
        match self.moves.turn(giver, stamp) {
            Turn::Next => {}
            Turn::Answered => return self.answer_letter(giver, stamp, Answer::Stored),
            Turn::Late => return,
        }
        let Some(arrival) = self.moves.arrivals.get_mut(&key) else {
            return self.answer_letter(giver, stamp, Answer::Stored);
        };
        arrival.row.stamp = stamp;
        arrival.row.last.clear();
        if arrival.row.open {
            self.metrics.sessions_moved.r#in.inc();
        }
        let written = self.close_arrival(giver);
        self.when_durable(written, Due::Letter(key.0, key.1, stamp));
    }

    /// Messages that came from elsewhere have gone on: should they come again, they are no repetition.
    pub(super) fn forget_last(&mut self, ours: SessionId, gone: &[Piece], batch: &mut Batch) {
        let is_gone =
            |name: &Origin| gone.iter().any(|piece| piece.message.origin.as_ref() == Some(name));
        for (key, arrival) in &mut self.moves.arrivals {
            if arrival.row.ours == ours && arrival.row.last.iter().any(is_gone) {
                arrival.row.last.retain(|name| !is_gone(name));
                let name = Name::Arrival(key.0.clone(), key.1);
                batch.put(name.key(), encode(&arrival.row));
            }
        }
    }

    /// What an answer waited for is durable.
    pub(in crate::hub) fn letter_done(&mut self, from: NodeId, theirs: SessionId, stamp: Stamp) {
        let key = (from, theirs);
        if let Some(arrival) = self.moves.arrivals.get_mut(&key)
            && arrival.row.stamp == stamp
        {
            arrival.answered = stamp;
            self.answer_letter((&key.0, theirs), stamp, Answer::Stored);
        }
    }

    /// Nothing more comes from this giver. What stood aside closes up when the client is let in.
    fn close_arrival(&mut self, giver: Giver<'_>) -> Position {
        let key = (giver.0.clone(), giver.1);
        let Some(arrival) = self.moves.arrivals.get_mut(&key) else {
            return Position::default();
        };
        arrival.row.open = false;
        arrival.row.front = None;
        let ours = arrival.row.ours;
        let written = self.write_arrival(giver);
        self.step(ours); // it may be on its way to the next node, and have waited for this
        written
    }

    /// Whether messages of a session are still on their way here, as far as is known. What is left with
    /// the node that it goes to next is there already.
    pub(super) fn is_arriving(&self, session: SessionId, to: &NodeId) -> bool {
        let now = self.moves.now;
        let into = self.moves.arrivals.iter().filter(|(_, known)| known.row.ours == session);
        let open = into.filter(|((from, _), known)| known.row.open && from != to);
        open.into_iter().any(|(_, arrival)| now < arrival.heard + GIVER_SILENCE)
    }

    /// Messages may keep their places as long as no client was let in. Where that was not, none has a place: all of
    /// it stands aside.
    fn front_of(&mut self, session: SessionId, head: &Head) -> Option<Front> {
        let entry = self.registry.entries.get_mut(&session)?;
        if entry.merge.let_in && !entry.is_parked() {
            return None;
        }
        entry.stand_aside();
        (!head.lineage.is_blank()).then_some(Front { doubtful: head.doubtful })
    }

    /// Where a session goes to, from there it does not come: what is here is given back.
    pub(super) fn take_no_more_from(&mut self, session: SessionId, to: &NodeId) {
        let from = self.moves.arrivals.iter_mut().filter(|((from, _), _)| from == to);
        let mut closed = Vec::new();
        for (key, arrival) in from.filter(|(_, known)| known.row.open && known.row.ours == session)
        {
            (arrival.row.open, arrival.row.front) = (false, None);
            closed.push(key.1);
        }
        for theirs in closed {
            self.write_arrival((to, theirs));
        }
    }

    /// A session goes on without what comes no more: what goes is no session that its client knows. False if
    /// all has come.
    pub(super) fn give_up_silent(&mut self, session: SessionId) -> bool {
        let silent = self.moves.givers(|known| known.row.open && known.row.ours == session);
        for giver in &silent {
            self.give_up_giver(giver);
        }
        !silent.is_empty()
    }

    fn give_up_giver(&mut self, (from, theirs): &(NodeId, SessionId)) {
        let known = self.moves.arrivals.get(&(from.clone(), *theirs));
        if let Some(ours) = known.filter(|it| it.row.front.is_some()).map(|it| it.row.ours) {
            self.note_torn(ours);
        }
        self.close_arrival((from, *theirs));
    }

    fn write_arrival(&mut self, giver: Giver<'_>) -> Position {
        self.write_with_arrival(giver, Batch::default())
    }

    fn write_with_arrival(&mut self, (from, theirs): Giver<'_>, mut batch: Batch) -> Position {
        let key = (from.clone(), theirs);
        if let Some(arrival) = self.moves.arrivals.get(&key) {
            batch.put(Name::Arrival(key.0, key.1).key(), encode(&arrival.row));
        }
        self.store.write(batch)
    }

    /// Writes down of a session's arrivals that none goes in front any more.
    pub(super) fn end_front(&mut self, session: SessionId) {
        if !self.moves.forget_front(session) {
            return;
        }
        for (from, theirs) in self.moves.givers(|known| known.row.ours == session) {
            self.write_arrival((&from, theirs));
        }
    }

    pub(super) fn tick_arrivals(&mut self) {
        let now = self.moves.now;
        let is_silent = |known: &Arrival| known.row.open && known.heard + GIVER_SILENCE * 2 <= now;
        for giver in &self.moves.givers(is_silent) {
            self.give_up_giver(giver);
        }
        self.forget_arrivals();
        let wall_secs = self.wall_secs;
        if self.moves.swept_secs + SWEEP_SECS <= wall_secs {
            self.moves.swept_secs = wall_secs;
            self.sweep_had();
        }
    }

    fn forget_arrivals(&mut self) {
        let too_many = self.moves.arrivals.len().saturating_sub(ARRIVALS_MAX);
        let wall_secs = self.wall_secs;
        let is_old = |arrival: &Arrival| arrival.row.heard_secs + KEPT_SECS < wall_secs;
        let closed = self.moves.arrivals.iter().filter(|(_, arrival)| !arrival.row.open);
        let old = closed.enumerate().filter(|(at, (_, arrival))| *at < too_many || is_old(arrival));
        let old: Vec<(NodeId, SessionId)> = old.map(|(_, (key, _))| key.clone()).collect();
        if old.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        for key in old {
            self.moves.arrivals.remove(&key);
            batch.delete(Name::Arrival(key.0, key.1).key());
        }
        self.store.write(batch);
    }

    /// What a store kept: giver and row.
    pub(in crate::hub) fn restore_arrivals(
        &mut self,
        found: Vec<((NodeId, SessionId), ArrivalRow)>,
    ) {
        for (key, row) in found {
            if row.open
                && let Some(front) = row.front
                && let Some(entry) = self.registry.entries.get_mut(&row.ours)
            {
                entry.merge.let_in = false;
                entry.expect_rest(front);
                entry.measure();
            }
            let (answered, heard) = (Stamp::default(), self.moves.now);
            self.moves.arrivals.insert(key, Arrival { row, answered, heard, echoes: false });
        }
        let sessions: Vec<SessionId> = self.registry.entries.keys().copied().collect();
        for session in sessions {
            self.remember_line(session);
        }
    }
}

/// A giver that says nothing for so long is not waited for.
const GIVER_SILENCE: Duration = Duration::from_secs(5);

/// How long it is known what came from where; a giver that was dead for longer may give the messages of
/// one letter twice.
const KEPT_SECS: u64 = 24 * 3600;

const ARRIVALS_MAX: usize = 10_000;

const SWEEP_SECS: u64 = 60;
