//! Which node wants which filter, and so: where a message goes. Some of a node's filters are
//! *durable*: sessions hold them that outlive their connections, and a while the node itself.
//!
//! Soft state, learned from the nodes alone. Who must be asked for a message, so that it
//! reaches the bridge at all, is the business of the interest.

use ahash::RandomState;
use causeway_common::topic::{Filter, Tree};
use indexmap::IndexSet;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// A node while the bridge knows it; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u32);

/// A set of filters that keeps the order in which they came.
pub type Filters = IndexSet<Filter, RandomState>;

/// Nodes that a message goes to, ascending.
pub type Destinations = SmallVec<[NodeIndex; 8]>;

/// All that a node wants, at one moment.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Every filter with a holder.
    pub filters: Filters,
    /// Those among them that a durable session holds.
    pub durable: Filters,
}

/// The routes of all nodes.
#[derive(Debug, Default)]
pub struct Routes {
    tree: Tree<NodeIndex, ()>,
    by_node: BTreeMap<NodeIndex, Wanted>,
}

impl Routes {
    /// How many (filter, node) pairs there are.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether no node wants anything.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// A node wants a filter. Returns whether that is news.
    pub fn add(&mut self, node: NodeIndex, filter: &Filter) -> bool {
        let news = self.by_node.entry(node).or_default().filters.insert(filter.clone());
        if news {
            self.tree.insert(filter, node, ());
        }
        news
    }

    /// A node wants a filter no more, durable or not. Returns whether that is news.
    pub fn remove(&mut self, node: NodeIndex, filter: &Filter) -> bool {
        let Some(wanted) = self.by_node.get_mut(&node) else {
            return false;
        };
        wanted.durable.swap_remove(filter);
        let news = wanted.filters.swap_remove(filter);
        if news {
            self.tree.remove(filter, &node);
        }
        news
    }

    /// A durable session of a node holds a filter, from now on or no more. Says nothing of a filter
    /// that the node does not want.
    pub fn set_durable(&mut self, node: NodeIndex, filter: &Filter, durable: bool) {
        let Some(wanted) = self.by_node.get_mut(&node) else {
            return;
        };
        if durable && wanted.filters.contains(filter) {
            wanted.durable.insert(filter.clone());
        } else {
            wanted.durable.swap_remove(filter);
        }
    }

    /// Whether durable sessions of a node hold anything.
    pub fn has_durable(&self, node: NodeIndex) -> bool {
        self.by_node.get(&node).is_some_and(|wanted| !wanted.durable.is_empty())
    }

    /// A node wants exactly this: the end of a snapshot. Returns the filters it wants no more. What
    /// was there before and still is causes nothing; what is new has been added before.
    pub fn keep_only(&mut self, node: NodeIndex, mut keep: Wanted) -> Vec<Filter> {
        let Wanted { filters, durable } = self.by_node.entry(node).or_default();
        let gone: Vec<Filter> = filters.difference(&keep.filters).cloned().collect();
        filters.retain(|filter| keep.filters.contains(filter));
        keep.durable.retain(|filter| filters.contains(filter));
        *durable = keep.durable;
        for filter in &gone {
            self.tree.remove(filter, &node);
        }
        gone
    }

    /// Takes from a node all filters but the durable ones, and returns them.
    pub fn keep_durable(&mut self, node: NodeIndex) -> Vec<Filter> {
        let Some(wanted) = self.by_node.get(&node) else {
            return Vec::new();
        };
        let durable = wanted.durable.clone();
        self.keep_only(node, Wanted { filters: durable.clone(), durable })
    }

    /// Forgets a node and returns the filters it had.
    pub fn forget(&mut self, node: NodeIndex) -> Filters {
        let filters = self.by_node.remove(&node).unwrap_or_default().filters;
        for filter in &filters {
            self.tree.remove(filter, &node);
        }
        filters
    }

    /// The nodes that want a topic, each once, without the one it comes from.
    pub fn destinations(&self, topic: &str, origin: NodeIndex) -> Destinations {
        let mut nodes = Destinations::new();
        self.tree.for_each_match(topic, |node, ()| {
            if *node != origin {
                nodes.push(*node);
            }
        });
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Whether a node wants a topic.
    pub fn wants(&self, node: NodeIndex, topic: &str) -> bool {
        let mut wants = false;
        self.tree.for_each_match(topic, |holder, ()| wants |= *holder == node);
        wants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeIndex = NodeIndex(1);
    const B: NodeIndex = NodeIndex(2);

    fn filter(text: &str) -> Filter {
        Filter::new(text).unwrap()
    }

    #[test]
    fn a_message_never_goes_back_to_its_origin_and_to_no_node_twice() {
        let mut routes = Routes::default();
        for text in ["user/bob/#", "user/+/alice"] {
            assert!(routes.add(A, &filter(text)));
            assert!(routes.add(B, &filter(text)));
        }
        assert_eq!(routes.destinations("user/bob/alice", A).as_slice(), [B]);
        assert_eq!(routes.destinations("user/bob/alice", NodeIndex(9)).as_slice(), [A, B]);
        assert!(routes.destinations("user", A).is_empty());
    }

    #[test]
    fn the_end_of_a_snapshot_takes_only_what_is_missing_in_it() {
        let mut routes = Routes::default();
        for text in ["a", "b", "c"] {
            routes.add(A, &filter(text));
        }
        routes.add(B, &filter("a"));
        routes.set_durable(A, &filter("a"), true);
        let set = |texts: [&str; 2]| texts.map(filter).into_iter().collect::<Filters>();
        let keep = Wanted { filters: set(["b", "d"]), durable: set(["b", "x"]) };
        let mut gone = routes.keep_only(A, keep);
        gone.sort();
        assert_eq!(gone, [filter("a"), filter("c")]);
        assert_eq!(routes.len(), 2);
        assert!(routes.wants(B, "a") && !routes.wants(A, "a") && routes.wants(A, "b"));
    }

    #[test]
    fn durable_filters_are_among_those_a_node_wants_and_go_with_them() {
        let mut routes = Routes::default();
        for text in ["a", "b", "c"] {
            routes.add(A, &filter(text));
            routes.set_durable(A, &filter(text), true);
        }
        routes.add(A, &filter("d"));
        routes.set_durable(A, &filter("x"), true);
        routes.set_durable(A, &filter("a"), false);
        routes.remove(A, &filter("b"));
        let mut gone = routes.keep_durable(A);
        gone.sort();
        assert_eq!(gone, [filter("a"), filter("d")]);
        assert!(routes.has_durable(A) && routes.wants(A, "c") && !routes.wants(A, "d"));
        routes.set_durable(A, &filter("c"), false);
        assert!(!routes.has_durable(A) && routes.wants(A, "c"));
        assert!(!routes.has_durable(B) && routes.keep_durable(B).is_empty());
    }

    #[test]
    fn a_change_that_changes_nothing_is_no_news() {
        let mut routes = Routes::default();
        assert!(routes.add(A, &filter("a")));
        assert!(!routes.add(A, &filter("a")));
        assert!(routes.remove(A, &filter("a")));
        assert!(!routes.remove(A, &filter("a")));
        assert!(routes.is_empty());
    }

    #[test]
    fn a_forgotten_node_leaves_no_route() {
        let mut routes = Routes::default();
        routes.add(A, &filter("a"));
        routes.add(B, &filter("a"));
        assert_eq!(routes.forget(A).len(), 1);
        assert_eq!(routes.destinations("a", NodeIndex(9)).as_slice(), [B]);
    }
}
