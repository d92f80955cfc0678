//! What came live for a session whose line may be on its way here: it stands aside until the client is let in,
//! and then takes its place behind the line.
//!
//! Should the client go elsewhere before that, it goes along as what it is, behind the line, and stands aside
//! there again: before what came live to that node, which began to listen later as a rule. A client that turns
//! round often leaves some on each node: when it is let in, what was said on one node comes as it was said.

use std::collections::VecDeque;

use ahash::AHashMap;
use causeway_common::{
    id::{Epoch, NodeId, SessionId},
    link::Origin,
};

use super::names::{Age, age_of};
use crate::{
    hub::{Hub, registry::Entry},
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

    /// The place of a message that stood aside on another node: before what came live here.
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

    /// In the order of places.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.given.messages.iter().chain(&self.live.messages)
    }

    /// In the order in which the client is to have them.
    pub(super) fn into_messages(self) -> Vec<Delivery> {
        let messages: Vec<Delivery> =
            self.given.messages.into_iter().chain(self.live.messages).collect();
        as_said(&messages)
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
    /// A claim has been made: what comes from now on is listened to under that, or under an older one.
    pub(super) fn listen_since(&mut self, claim: Epoch) {
        self.merge.listens_since.get_or_insert(claim);
        if self.merge.aside.as_ref().is_some_and(|aside| aside.iter().next().is_none()) {
            self.merge.aside_since = claim;
        }
    }

    /// Whether a message that stood aside on another node is none that is new here: the same has come live, or
    /// will, and has its place by that. It does if that node `echoes` what is heard here ([`Hub::join_asides`]).
    pub(super) fn hears_itself(&self, name: Option<&Origin>, echoes: bool) -> bool {
        if echoes && self.merge.is_whole {
            return true;
        }
        let mut live = self.merge.aside.iter().flat_map(|aside| &aside.live.messages);
        live.any(|live| name.is_some() && live.message.origin.as_ref() == name)
    }
}

impl Hub {
    /// What has stood aside elsewhere, since some claim, may come here. Returns whether all that its filters ask for has
    /// come here itself since then.
    pub(super) fn join_asides(&mut self, session: SessionId, since: Epoch) -> bool {
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return false;
        };
        entry.merge.aside_since = entry.merge.aside_since.min(since);
        entry.merge.listens_since.is_some_and(|listens| listens < since)
    }
}

/// What was said on one node in the order in which it was said there, each in the place of another of them.
fn as_said(messages: &[Delivery]) -> Vec<Delivery> {
    let mut nodes: AHashMap<&NodeId, Vec<(Age, usize)>> = AHashMap::new();
    let mut turns = Vec::with_capacity(messages.len());
    for (at, delivery) in messages.iter().enumerate() {
        let name = delivery.message.origin.as_ref();
        match name.and_then(|name| Some((&name.node, age_of(name)?))) {
            Some((node, age)) => nodes.entry(node).or_default().push((age, at)),
            None => turns.push((at, at)),
        }
    }
    for said in nodes.into_values() {
        let mut by_age = said.clone();
        by_age.sort_unstable();
        turns.extend(said.into_iter().zip(by_age).map(|((_, to), (_, from))| (to, from)));
    }
    turns.sort_unstable();
    turns.into_iter().filter_map(|(_, from)| messages.get(from).cloned()).collect()
}

/// Whether a place is none of a line.
pub(super) fn is_aside(place: Place) -> bool {
    place.0 >= ASIDE
}

/// Far behind every place that a line comes to.
pub(in crate::hub) const ASIDE: u64 = 1 << 48;

/// Behind all that comes from elsewhere.
const LIVE: u64 = 1 << 49;
