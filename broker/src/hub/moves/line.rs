//! Which places of a line are in use, until its client is let in: pieces of it come from one node or several, in
//! any order, and each message stands where it stood.
//!
//! The places of one state are given by one node, so that no two messages want the same. Should they nevertheless,
//! the later one goes behind; if the client may know it by its place, the state is torn (`lineage.rs`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::aside::is_aside;
use crate::{
    hub::registry::Entry,
    session::{Place, Session},
};

/// Places in use.
#[derive(Debug, Default)]
pub(in crate::hub) struct Line(BTreeSet<Place>);

/// Messages from another node may keep their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Front {
    /// What stood before this place there may have been sent.
    pub(super) doubtful: Place,
}

impl Line {
    fn of(session: &Session) -> Self {
        let waiting = session.deliveries().filter_map(|(delivery, _)| delivery.stored);
        Self(waiting.map(|stored| stored.place).chain(session.released()).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a message may stand there: no other does, and no identifier means two of them.
    fn admits(&self, place: Place) -> bool {
        let ends = self.0.first().zip(self.0.last());
        let is_near = ends.is_none_or(|(first, last)| {
            first.0 < place.0 + Place::IDS && place.0 < last.0 + Place::IDS
        });
        is_near && !self.0.contains(&place)
    }
}

impl Entry {
    /// The place of a message that comes live: behind all others, or aside.
    pub(in crate::hub) fn take_place(&mut self) -> Place {
        match &mut self.merge.aside {
            Some(aside) => aside.take_place(),
            None => self.use_place(self.next_place),
        }
    }

    /// The place of a message that stood in `wanted` on another node: that one, or the last of the
    /// line; or aside, if it stood so there.
    pub(super) fn place_moved(&mut self, wanted: Place, front: Option<Front>) -> Place {
        if let Some(aside) = self.merge.aside.as_mut().filter(|_| is_aside(wanted)) {
            return aside.take_given_place();
        }
        let line = self.merge.line.as_ref().filter(|_| front.is_some());
        let keeps = line.is_some_and(|line| line.admits(wanted));
        self.use_place(if keeps { wanted } else { self.next_place })
    }

    /// Something stands in this place from now on.
    pub(super) fn use_place(&mut self, place: Place) -> Place {
        self.next_place = self.next_place.max(Place(place.0 + 1));
        if let Some(line) = &mut self.merge.line {
            line.0.insert(place);
        }
        place
    }

    /// Nothing stands there any more.
    pub(super) fn free_place(&mut self, place: Place) {
        if let Some(line) = &mut self.merge.line {
            line.0.remove(&place);
        }
    }

    /// Looks which places a parked session uses.
    pub(super) fn measure(&mut self) {
        if let Some(session) = self.absorb() {
            self.merge.line = Some(Line::of(session));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use causeway_common::{
        id::{ClientId, UserName},
        mailbox::Mailbox,
    };

    use super::*;

    const FRONT: Option<Front> = Some(Front { doubtful: Place(0) });

    fn waiting() -> Entry {
        let (client_id, user) = (ClientId::from("bob"), UserName::from("bob"));
        let mut entry = Entry::new(client_id, user, Arc::new(Mailbox::new(0)), true);
        entry.stand_aside();
        entry
    }

    #[test]
    fn pieces_of_one_line_fit_whatever_way_they_come() {
        let mut entry = waiting();
        for wanted in [5, 7, 6, 3, 9].map(Place) {
            assert_eq!(entry.place_moved(wanted, FRONT), wanted);
        }
        assert_eq!(entry.next_place, Place(10));
    }

    #[test]
    fn no_two_stand_in_one_place() {
        let mut entry = waiting();
        assert_eq!(entry.place_moved(Place(5), FRONT), Place(5));
        assert_eq!(entry.place_moved(Place(5), FRONT), Place(6), "behind");
        entry.free_place(Place(5));
        assert_eq!(entry.place_moved(Place(5), FRONT), Place(5), "it has gone on, and comes back");
    }

    #[test]
    fn no_two_have_one_identifier() {
        let mut entry = waiting();
        assert_eq!(entry.place_moved(Place(5), FRONT), Place(5));
        assert_eq!(entry.place_moved(Place(5 + Place::IDS), FRONT), Place(6));
        assert_eq!(entry.place_moved(Place(4 + Place::IDS), FRONT), Place(4 + Place::IDS));
    }

    #[test]
    fn what_may_not_go_in_front_goes_behind() {
        let mut entry = waiting();
        assert_eq!(entry.place_moved(Place(5), FRONT), Place(5));
        for (wanted, place) in [(8, 6), (3, 7)] {
            assert_eq!(entry.place_moved(Place(wanted), None), Place(place));
        }
    }
}
