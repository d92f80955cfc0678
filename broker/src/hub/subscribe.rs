//! Sessions take filters and let them go; other nodes hear of the first and the last holder of each.

use std::time::Instant;

use bytes::Bytes;
use causeway_common::{
    id::{SessionId, Ticket},
    link::Routes,
    packet::Subscription,
    topic::Filter,
};

use super::{Hub, is_route, record::Name, waits::Until};
use crate::store::{Batch, Position};

/// Who holds a filter on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    by_any: bool,
    by_durable: bool,
}

impl Hub {
    /// Lets a session hold filters; [`Mail::Subscribed`](crate::session::Mail) comes when they are
    /// effective in the whole cluster, and durable if the session is.
    pub fn subscribe(
        &mut self,
        now: Instant,
        session: SessionId,
        ticket: Ticket,
        subscriptions: &[Subscription],
    ) {
        let position = self.hold_filters(session, subscriptions, true);
        if let Some(mailbox) = self.registry.mailbox(session) {
            let until = self.until(session, position);
            let deadline = now + self.limits.route_timeout;
            self.waits.add(until, deadline, mailbox, ticket);
            self.release_waits();
            self.show_sys(session, subscriptions);
        }
    }

    /// When what a session holds by now is effective, and cannot be lost any more.
    pub(super) fn until(&self, session: SessionId, position: Position) -> Until {
        let durable = self.registry.is_durable(session);
        let home = if durable { self.home.version() } else { 0 };
        Until { routes: self.links.route_version(), position, home, outbound: 0 }
    }

    /// Lets a session hold filters, and perhaps gives it what is retained under them. Returns when that
    /// is durable.
    pub(super) fn hold_filters(
        &mut self,
        session: SessionId,
        subscriptions: &[Subscription],
        gives_retained: bool,
    ) -> Position {
        let mut batch = Batch::default();
        let mut change = Routes::default();
        let durable = self.registry.is_durable(session);
        for Subscription { filter, qos } in subscriptions {
            let before = self.held(filter);
            if !self.registry.hold(session, filter) {
                continue;
            }
            let held_with = self.subscriptions.insert(filter, session, *qos);
            // What is written down already needs no room on a full disk: the client can come and drain.
            if durable && held_with != Some(*qos) {
                let name = Name::Filter(session, filter.clone());
                batch.put(name.key(), Bytes::copy_from_slice(&[qos.bits()]));
            }
            let after = Held { by_any: true, by_durable: before.by_durable || durable };
            note_change(&mut change, filter, before, after);
        }
        let wanted = if gives_retained { subscriptions } else { &[] };
        let found = self.find_retained(session, wanted, &mut batch);
        let position = self.write_down(batch);
        self.give_retained(session, found, position);
        self.announce(&change);
        self.note_sizes();
        position
    }

    /// Takes filters from a session. Returns when that is durable.
    pub fn unsubscribe(&mut self, session: SessionId, filters: &[Filter]) -> Position {
        let mut batch = Batch::default();
        let mut change = Routes::default();
        let durable = self.registry.is_durable(session);
        for filter in filters {
            if !self.registry.let_go(session, filter) {
                continue;
            }
            self.subscriptions.remove(filter, &session);
            if durable {
                batch.delete(Name::Filter(session, filter.clone()).key());
            }
            let after = self.held(filter);
            let before = Held { by_any: true, by_durable: after.by_durable || durable };
            note_change(&mut change, filter, before, after);
        }
        let position = self.write_down(batch);
        self.announce(&change);
        self.note_sizes();
        position
    }

    /// Filters that durable sessions of this node hold: what is said under them waits for this node
    /// while it is gone.
    pub fn durable_filters(&self) -> Vec<Filter> {
        let durable = self.registry.held_filters().filter(|(_, durable)| *durable);
        let mut filters: Vec<Filter> = durable.map(|(filter, _)| filter.clone()).collect();
        filters.retain(is_route);
        filters.sort_unstable();
        filters.dedup();
        filters
    }

    /// When a change is durable; at once if there is nothing to write.
    fn write_down(&self, batch: Batch) -> Position {
        if batch.is_empty() { Position::default() } else { self.store.write(batch) }
    }

    fn held(&self, filter: &Filter) -> Held {
        let mut held = Held { by_any: false, by_durable: false };
        for (session, _) in self.subscriptions.holders(filter) {
            held.by_any = true;
            held.by_durable |= self.registry.is_durable(*session);
            if held.by_durable {
                break;
            }
        }
        held
    }

    /// Tells every bridge what has changed about this node's routes.
    fn announce(&mut self, change: &Routes) {
        self.home.change(change);
        self.send_changes(change);
    }
}

fn note_change(change: &mut Routes, filter: &Filter, before: Held, after: Held) {
    if !is_route(filter) {
        return;
    }
    let lists = [
        (&mut change.add, !before.by_any && after.by_any),
        (&mut change.remove, before.by_any && !after.by_any),
        (&mut change.durable, !before.by_durable && after.by_durable),
        (&mut change.fleeting, before.by_durable && !after.by_durable),
    ];
    for (list, changed) in lists {
        if changed {
            list.push(filter.clone());
        }
    }
}
