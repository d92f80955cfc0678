//! One line out of two: where a message that comes from another node's line stands in the one here.
//!
//! ```text
//!   from there:  │ 3 │ 4 │ 5 │                   same places: packet identifiers stay
//!   aside:                     │ live │ live │   written down far behind, until the client is let in
//!   afterwards:  │ 3 │ 4 │ 5 │ 6 │ 7 │
//! ```
//!
//! It leaves to others: which places are in use (`line.rs`), what stands aside (`aside.rs`), and which message
//! was had already (`had.rs`).
//!
//! While filters are held on both nodes a message may come into both lines: each is known by its
//! origin, whichever way comes first.

use causeway_common::{
    directory::Owner,
    id::{Epoch, NodeId, SessionId},
    link::Origin,
};

use super::{
    aside::{Aside, is_aside},
    had::Had,
    line::{Front, Line},
    lineage::Lineage,
    names::name_of,
};
use crate::{
    hub::{
        Hub,
        record::{MessageRow, Name, encode},
        registry::Entry,
    },
    session::{Delivery, Inheritance, Mail, Place, Session, Stored},
    store::Batch,
};

/// What a durable session needs to take in another.
#[derive(Debug, Default)]
pub(in crate::hub) struct Merge {
    /// Whether the client was told that it is in, on its present or last connection: from then on
    /// nothing is put in front of what it gets.
    pub(in crate::hub) let_in: bool,
    /// Whether nothing of it was known to be elsewhere when its client was let in.
    pub(super) is_whole: bool,
    /// All that its filters ask for has come to this node itself since this claim, or is on its way.
    pub(super) listens_since: Option<Epoch>,
    /// What stands aside has come since this claim; 0 if that is not known.
    pub(super) aside_since: Epoch,
    /// Present while pieces of the line may come together.
    pub(super) line: Option<Line>,
    pub(super) aside: Option<Aside>,
    /// What was put into the line lately.
    pub(super) had: Option<Box<Had>>,
    /// Who owns the client id by now: the session goes there when its connection is closed.
    pub(in crate::hub) claim: Option<Box<Claim>>,
    pub(in crate::hub) lineage: Lineage,
    /// The last claim that erased what there was, as far as is known: what is of an older one is not
    /// taken in.
    pub(in crate::hub) erased: Option<Epoch>,
}

/// Another node's ownership of a client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::hub) struct Claim {
    pub(in crate::hub) by: Owner,
    /// Whether its client wants no earlier state.
    pub(in crate::hub) clean: bool,
}

impl Merge {
    /// Whether a client of a durable session has not been told yet that it is in.
    pub(in crate::hub) fn waits_to_be_in(&self) -> bool {
        self.had.is_some() && !self.let_in
    }

    /// Where what stands aside is written down.
    pub(in crate::hub) fn aside_stored(&self) -> impl Iterator<Item = Stored> {
        self.aside.iter().flat_map(Aside::iter).filter_map(|delivery| delivery.stored)
    }
}

impl Entry {
    /// Puts a message from another node, or from aside, into the mailbox. What moves is never refused
    /// for lack of room.
    pub(super) fn hand(&self, delivery: Delivery, counted: bool) {
        if !counted {
            self.mailbox.count(1, delivery.cost());
        }
        self.mailbox.push_control(Mail::Deliver(delivery));
    }

    /// The names of what is written down in a parked session's line, and aside.
    pub(super) fn name_all(
        &self,
        (here, session): (&NodeId, SessionId),
        mut each: impl FnMut(Origin),
    ) {
        let mut name = |delivery: &Delivery| {
            if let Some(stored) = &delivery.stored {
                each(name_of(delivery, here, session, stored.place));
            }
        };
        self.merge.aside.iter().flat_map(Aside::iter).for_each(&mut name);
        if let Some(state) = self.parked() {
            state.deliveries().for_each(|(delivery, _)| name(delivery));
        }
        self.each_in_mailbox(name);
    }

    fn each_in_mailbox(&self, mut each: impl FnMut(&Delivery)) {
        self.mailbox.retain(|mail| {
            if let Mail::Deliver(delivery) = mail {
                each(delivery);
            }
            true
        });
    }

    /// What a store kept that stood aside.
    pub(in crate::hub) fn restore_aside(&mut self, aside: impl Iterator<Item = Delivery>) {
        let aside = Aside::restore(aside);
        aside.iter().for_each(|delivery| self.mailbox.count(1, delivery.cost()));
        let is_empty = aside.iter().next().is_none();
        self.merge.aside = (!is_empty).then_some(aside);
        self.merge.let_in = true;
    }

    /// What comes live goes behind what another node may have of this session.
    pub(in crate::hub) fn stand_aside(&mut self) {
        self.merge.aside.get_or_insert_default();
        self.merge.line.get_or_insert_default();
    }

    /// The node has started anew while the rest of the line is on its way here. Which of it may have been
    /// sent no row of the session says whose client waits to be let in.
    pub(super) fn expect_rest(&mut self, front: Front) {
        self.stand_aside();
        if let Some(state) = self.parked_mut() {
            state.inherit(Inheritance { doubtful: front.doubtful, ..Inheritance::default() });
        }
    }

    /// Takes a message that stands aside; gives it back if it does not.
    pub(in crate::hub) fn put_aside(&mut self, delivery: Delivery) -> Option<Delivery> {
        let stands_aside = delivery.stored.is_some_and(|stored| is_aside(stored.place));
        match &mut self.merge.aside {
            Some(aside) if stands_aside => {
                self.mailbox.count(1, delivery.cost());
                aside.put(delivery);
                None
            }
            Some(_) | None => Some(delivery),
        }
    }

    /// Another node has a message of a parked session's line, or of what stands aside.
    pub(super) fn give_away(&mut self, place: Place) {
        let is_it = |delivery: &Delivery| delivery.stored.is_some_and(|it| it.place == place);
        let cost = if let Some(aside) = self.merge.aside.as_mut().filter(|_| is_aside(place)) {
            aside.remove(is_it).map(|delivery| delivery.cost())
        } else {
            self.free_place(place);
            self.parked_mut().and_then(|state| state.give_away(place))
        };
        if let Some(cost) = cost {
            self.mailbox.release(1, cost);
        }
    }

    /// A parked session's messages, in the order in which its client is to have them.
    pub(super) fn all_in_order(&mut self) -> impl Iterator<Item = &Delivery> {
        self.absorb();
        let line = self.parked().into_iter().flat_map(Session::deliveries);
        line.map(|(delivery, _)| delivery).chain(self.merge.aside.iter().flat_map(Aside::iter))
    }

    /// Takes back a live message that stands aside, if this very one does. Returns where it was written
    /// down.
    pub(super) fn take_from_aside(&mut self, name: &Origin) -> Option<Stored> {
        let aside = self.merge.aside.as_mut()?;
        let is_it = |delivery: &Delivery| {
            !delivery.retain && delivery.message.origin.as_ref() == Some(name)
        };
        let delivery = aside.remove(is_it)?;
        self.mailbox.release(1, delivery.cost());
        delivery.stored
    }
}

impl Hub {
    /// What stood aside takes its place behind what has come.
    pub(super) fn close_ranks(&mut self, session: SessionId) {
        self.end_front(session);
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return;
        };
        entry.merge.line = None;
        let aside = entry.merge.aside.take().unwrap_or_default();
        let (mut batch, mut line) = (Batch::default(), Vec::new());
        for delivery in aside.into_messages() {
            let place = entry.take_place();
            if let Some(stored) = &delivery.stored {
                batch.delete(Name::Queued(session, stored.place).key());
            }
            let row = encode(&MessageRow::of(&delivery));
            batch.put(Name::Queued(session, place).key(), row);
            line.push((delivery, place));
        }
        if line.is_empty() {
            return;
        }
        let position = self.store.write(batch);
        for (delivery, place) in line {
            entry.hand(Delivery { stored: Some(Stored { place, position }), ..delivery }, true);
        }
    }

    /// A client comes back to a parked session: what other nodes still have of it may go before what is
    /// here.
    pub(in crate::hub) fn reopen(&mut self, session: SessionId) {
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return;
        };
        entry.measure();
        entry.merge.let_in = false;
        entry.stand_aside();
    }
}
