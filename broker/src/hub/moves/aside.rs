//! What came live for a session whose line may be on its way here: it stands aside until the client is let in,
//! and then takes its place behind the line.
//!
//! Should the client go elsewhere before that, it goes along as what it is, behind the line, and stands aside
//! there again: before what came live to that node, which began to listen later. Numbered places are given
//! by one node alone, so that pieces of one line fit together again whatever way they come.

use std::collections::VecDeque;

use crate::session::{Delivery, Place, Stored};

/// Messages that stand aside, written down far behind every place that a line comes to.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Came live to another node, and from there with the session.
    given: Queue,
    live: Queue,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Delivery>,
    /// The last place, counted from the first one of its kind.
    last: u64,
}

impl Aside {
    /// What a store kept, in the order of places.
    pub(super) fn restore(kept: impl Iterator<Item = Delivery>) -> Self {
        let mut aside = Self::default();
        kept.for_each(|delivery| aside.put(delivery));
        aside
    }

    /// The place of a message that comes live.
    pub(super) fn take_place(&mut self) -> Place {
        self.live.last += 1;
        Place(LIVE + self.live.last)
    }

    /// The place of a message that stood aside on another node.
    pub(super) fn take_given_place(&mut self) -> Place {
        self.given.last += 1;
        Place(ASIDE + self.given.last)
    }

    /// Takes a message in its place.
    pub(super) fn put(&mut self, delivery: Delivery) {
        let Some(Stored { place, .. }) = delivery.stored else {
            return;
        };
        let (queue, first) =
            if place.0 < LIVE { (&mut self.given, ASIDE) } else { (&mut self.live, LIVE) };
        queue.last = queue.last.max(place.0 - first);
        queue.messages.push_back(delivery);
    }

    /// In the order in which the client is to have them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.given.messages.iter().chain(&self.live.messages)
    }

    /// The same, and nothing stays.
    pub(super) fn into_messages(self) -> impl Iterator<Item = Delivery> {
        self.given.messages.into_iter().chain(self.live.messages)
    }

    /// Takes one out, if it is there.
    pub(super) fn remove(&mut self, is_it: impl Fn(&Delivery) -> bool) -> Option<Delivery> {
        [&mut self.given, &mut self.live].into_iter().find_map(|queue| {
            let at = queue.messages.iter().position(&is_it)?;
            queue.messages.remove(at)
        })
    }
}

/// Whether a place is none of a line.
pub(super) fn is_aside(place: Place) -> bool {
    place.0 >= ASIDE
}

/// Far behind every place that a line comes to.
pub(in crate::hub) const ASIDE: u64 = 1 << 48;

/// Behind all that comes from elsewhere.
const LIVE: u64 = 1 << 49;
