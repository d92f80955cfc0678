//! What the directory should know of this node's durable filters: while the node is gone, bridges hold
//! for it what is said under them, also those that have started since and know nothing else.
//!
//! Changes go into a mailbox; a SUBACK of a durable session waits until its change is noted, so that
//! a node that dies right after it has said nothing that a new bridge does not know. It leaves to
//! others: telling the directory (`membership/home.rs`).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use causeway_common::{link::Routes, mailbox::Mailbox, topic::Filter};

use super::Hub;

/// A filter that came to this node's durable sessions, or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeChange {
    /// Which one.
    pub filter: Filter,
    /// Whether it came.
    pub held: bool,
    /// Grows with each change.
    pub version: u64,
}

/// How far the directory is.
#[derive(Debug)]
pub(super) struct Home {
    version: u64,
    noted: u64,
    changes: Arc<Mailbox<HomeChange>>,
}

impl Home {
    pub(super) fn new() -> Self {
        Self { version: 0, noted: 0, changes: Arc::new(Mailbox::new(0)) }
    }

    /// The version that says all there is now.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The last version that the directory knows.
    pub(super) fn noted(&self) -> u64 {
        self.noted
    }

    pub(super) fn change(&mut self, routes: &Routes) {
        let came = routes.durable.iter().map(|filter| (filter, true));
        let went = routes.fleeting.iter().map(|filter| (filter, false));
        for (filter, held) in came.chain(went) {
            self.version += 1;
            let filter = filter.clone();
            self.changes.push_control(HomeChange { filter, held, version: self.version });
        }
    }
}

impl Hub {
    /// Where changes of [`Hub::durable_filters`] appear.
    pub fn home_changes(&self) -> Arc<Mailbox<HomeChange>> {
        Arc::clone(&self.home.changes)
    }

    /// Takes all changes: [`Hub::durable_filters`] says what they come to. Returns their version.
    pub fn skip_home_changes(&mut self) -> u64 {
        self.home.changes.take_all(&mut VecDeque::new());
        self.home.version
    }

    /// The directory knows all changes up to a version, or nobody can be told of them: SUBACKs no longer
    /// wait for that.
    pub fn home_noted(&mut self, version: u64) {
        self.home.noted = self.home.noted.max(version);
        self.release_waits();
    }
}

/// What changes come to: filters that came, and filters that went.
pub fn sum_up(changes: impl IntoIterator<Item = HomeChange>) -> (Vec<Filter>, Vec<Filter>) {
    let last: BTreeMap<Filter, bool> =
        changes.into_iter().map(|change| (change.filter, change.held)).collect();
    let (came, went): (Vec<_>, Vec<_>) = last.into_iter().partition(|(_, held)| *held);
    let filters = |list: Vec<(Filter, bool)>| list.into_iter().map(|(filter, _)| filter).collect();
    (filters(came), filters(went))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_changes_of_one_filter_the_last_counts() {
        let change =
            |text: &str, held| HomeChange { filter: Filter::new(text).unwrap(), held, version: 0 };
        let changes = [("a", true), ("b", false), ("a", false), ("b", true), ("c", true)];
        let (came, went) = sum_up(changes.map(|(text, held)| change(text, held)));
        let texts =
            |filters: Vec<Filter>| filters.iter().map(Filter::to_string).collect::<Vec<_>>();
        assert_eq!(
            (texts(came), texts(went)),
            (vec!["b".into(), "c".into()], vec!["a".to_owned()])
        );
    }
}
