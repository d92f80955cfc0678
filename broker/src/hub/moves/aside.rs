//! What came live for a session whose line may be on its way here: it stands aside until the client is let in,
//! and then takes its place behind the line.
//!
//! Should the client go elsewhere before that, it goes along as what it is, behind the line, and stands aside
//! there again: before what came live to that node, which began to listen later as a rule. Places in the line are
//! given by one node alone, so that pieces of one line fit together again whatever way they come.

use std::collections::VecDeque;

use causeway_common::link::Origin;

use crate::{
    hub::registry::Entry,
    session::{Delivery, Place, Stored},
};

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

    /// The place of a message that stood aside on another node: before what came live here, unless something
    /// said earlier on the same node is among that.
    pub(super) fn take_given_place(&mut self, name: Option<&Origin>) -> Place {
        let mut live = self.live.messages.iter().filter_map(|live| live.message.origin.as_ref());
        if name.is_some_and(|name| live.any(|earlier| is_before(earlier, name))) {
            return self.take_place();
        }
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

impl Entry {
    /// Whether a message that stood aside on another node is none that is new here: the same has come live, or
    /// will, and has its place by that. It does if that node `echoes` what is heard here: no client was let in there
    /// since it was here.
    pub(super) fn hears_itself(&self, name: Option<&Origin>, echoes: bool) -> bool {
        if echoes && self.merge.is_whole {
            return true;
        }
        let mut live = self.merge.aside.iter().flat_map(|aside| &aside.live.messages);
        live.any(|live| name.is_some() && live.message.origin.as_ref() == name)
    }
}

/// Whether one message was said before another, as far as their names tell.
fn is_before(earlier: &Origin, later: &Origin) -> bool {
    let is_same_life = earlier.node == later.node && earlier.incarnation == later.incarnation;
    is_same_life && earlier.sequence < later.sequence
}

/// Whether a place is none of a line.
pub(super) fn is_aside(place: Place) -> bool {
    place.0 >= ASIDE
}

/// Far behind every place that a line comes to.
pub(in crate::hub) const ASIDE: u64 = 1 << 48;

/// Behind all that comes from elsewhere.
const LIVE: u64 = 1 << 49;
