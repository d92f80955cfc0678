//! What comes from another node becomes part of the session here.

use std::sync::Arc;

use bytes::Bytes;
use causeway_common::{id::SessionId, link::Origin};

use super::{
    aside::is_aside,
    letter::{Answer, Head, Piece},
    line::Front,
};
use crate::{
    hub::{
        Hub,
        record::{Name, encode},
        registry::{Entry, Stay},
    },
    session::{Delivery, Inheritance, Kept, Mail, Place, Session, Stored},
    store::{Batch, Position},
};

impl Hub {
    /// The session here that a session from elsewhere becomes part of. If there is none, a parked one
    /// is made, which moves on should the client be elsewhere by then.
    pub(super) fn find_heir(&mut self, head: &Head) -> Result<SessionId, Answer> {
        if let Some(session) = self.registry.current(&head.client_id) {
            let entry = self.registry.entries.get(&session);
            // Its client wanted a clean one, now or since [MQTT-3.1.2-6]; and nobody gets what was meant
            // for another user.
            let was_erased =
                |entry: &Entry| head.claimed.is_some_and(|claim| Some(claim) < entry.merge.erased);
            let fits = entry.is_some_and(|entry| {
                entry.durable && entry.user == head.user && !was_erased(entry)
            });
            return if fits { Ok(session) } else { Err(Answer::Unwanted) };
        }
        if let Some(owner) = self.moves.moved_on.get(&head.client_id)
            && owner.epoch > head.epoch
        {
            return Err(Answer::Elsewhere { node: owner.member.node.clone(), epoch: owner.epoch });
        }
        let mailbox = Arc::new(self.new_mailbox(true));
        let mut entry = Entry::new(head.client_id.clone(), head.user.clone(), mailbox, true);
        entry.epoch = Some(head.epoch);
        let limits = Arc::clone(&self.limits.session);
        let state = Session::durable(self.moves.now, limits, Kept::default());
        entry.stay = Stay::Parked { session: Box::new(state), since_secs: self.wall_secs };
        let session = self.registry.insert(entry);
        self.write_session(session);
        Ok(session)
    }

    /// Takes filters, and identifiers if the client goes on with them. Returns when all is durable.
    pub(super) fn take_in_head(
        &mut self,
        ours: SessionId,
        mut inheritance: Inheritance,
        keeps_identifiers: bool,
    ) -> Position {
        if let Some(entry) = self.registry.entries.get(&ours) {
            let held = &entry.filters;
            inheritance.subscriptions.retain(|theirs| !held.contains(&theirs.filter));
        }
        let held = self.hold_filters(ours, &inheritance.subscriptions, false);
        let mut batch = Batch::default();
        if keeps_identifiers {
            let released = inheritance.released.iter();
            let released = released.map(|place| Name::Released(ours, *place).key());
            let received = inheritance.received.iter();
            let received = received.map(|id| Name::Received(ours, id.get()).key());
            for key in released.chain(received) {
                batch.put(key, Bytes::new());
            }
        } else {
            // It was told that there is no session, and has forgotten all of its own.
            inheritance.received.clear();
            inheritance.released.clear();
            inheritance.doubtful = Place::default();
        }
        let Some(entry) = self.registry.entries.get_mut(&ours) else {
            return held;
        };
        for place in &inheritance.released {
            entry.use_place(*place);
        }
        match entry.parked_mut() {
            Some(state) => state.inherit(inheritance),
            None => entry.mailbox.push_control(Mail::Inherit(Box::new(inheritance))),
        }
        if batch.is_empty() { held } else { self.store.write(batch) }
    }

    /// Finds a place for each message that was not had before, and says what is to be written down.
    pub(super) fn take_in_line(
        &mut self,
        ours: SessionId,
        pieces: Vec<Piece>,
        before: &[Origin],
        (front, echoes): (Option<Front>, bool),
    ) -> (Batch, Vec<(Delivery, Place)>) {
        let (mut batch, mut line) = (Batch::default(), Vec::with_capacity(pieces.len()));
        let mut is_torn = false;
        let Some(entry) = self.registry.entries.get_mut(&ours) else {
            return (batch, line);
        };
        for Piece { place: wanted, message } in pieces {
            let value = encode(&message);
            let (Ok((qos, retain)), Ok(said)) = (message.delivery(), message.said()) else {
                continue;
            };
            let name = said.origin.as_ref();
            let was_last = name.is_some_and(|name| before.contains(name));
            let in_line = !is_aside(wanted);
            if let Some(came_live) =
                name.filter(|_| in_line).and_then(|it| entry.take_from_aside(it))
            {
                // It stands where the line has it, before what came later.
                batch.delete(Name::Queued(ours, came_live.place).key());
            } else if !in_line && entry.hears_itself(name, echoes)
                || entry.has_had(name)
                || was_last
            {
                self.metrics.duplicates_dropped.inc();
                continue;
            }
            let place = entry.place_moved(wanted, front);
            is_torn |= place != wanted && front.is_some_and(|front| wanted < front.doubtful);
            entry.write_had(ours, (name, qos), &mut batch);
            batch.put(Name::Queued(ours, place).key(), value);
            let delivery = Delivery { message: Arc::new(said), qos, retain, stored: None };
            line.push((delivery, place));
        }
        if is_torn {
            self.note_torn(ours); // the client may know something else by that identifier
        }
        (batch, line)
    }

    /// Hands in what is written down.
    pub(super) fn hand_in(
        &mut self,
        ours: SessionId,
        line: Vec<(Delivery, Place)>,
        position: Position,
    ) {
        let Some(entry) = self.registry.entries.get_mut(&ours) else {
            return;
        };
        for (delivery, place) in line {
            let stored = Some(Stored { place, position });
            if let Some(delivery) = entry.put_aside(Delivery { stored, ..delivery }) {
                entry.hand(delivery, false);
            }
        }
    }
}
