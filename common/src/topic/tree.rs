//! The one topic tree: filters in, everybody whose filter matches a topic out.
//!
//! It serves subscribers (a session holds a filter with a quality of service) and nodes (a node
//! wants a filter) alike; it knows nothing of either.
//!
//! ```text
//!            root ── rest: holders of "#"
//!      "user" │ └─ plus ── …                    holders of "user/bob"   stand in `exact` of bob
//!           user                                holders of "user/bob/#" stand in `rest`  of bob
//!      "bob"  │ └─ plus ── holders of "user/+"  (`a/#` matches `a` too: [MQTT-4.7.1-2])
//!            bob
//! ```
//!
//! Nodes lie in one vector, edges in one hash map keyed by (parent, level): a level costs one
//! look-up, and neither matching nor dropping recurses, however many levels a peer sends.

use std::hash::{Hash, Hasher};

use ahash::RandomState;
use hashbrown::{Equivalent, HashMap};
use smallvec::SmallVec;

use super::{Filter, holders::Holders, is_reserved};

/// A map from (filter, holder) to a value, searched by topic name.
#[derive(Debug)]
pub struct Tree<K, V> {
    nodes: Vec<Node<K, V>>,
    free: Vec<u32>,
    edges: HashMap<Edge, u32, RandomState>,
    len: usize,
}

#[derive(Debug)]
struct Node<K, V> {
    exact: Holders<K, V>,
    rest: Holders<K, V>,
    plus: Option<u32>,
    /// How many edges (not counting `plus`) leave it.
    children: u32,
}

#[derive(Debug, PartialEq, Eq)]
struct Edge {
    parent: u32,
    level: Box<str>,
}

/// An [`Edge`] looked up without owning its level.
struct EdgeRef<'a> {
    parent: u32,
    level: &'a str,
}

impl<K: Hash + Eq, V> Tree<K, V> {
    /// An empty tree.
    pub fn new() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new(), edges: HashMap::default(), len: 0 }
    }

    /// How many (filter, holder) pairs it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody holds anything.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets a holder hold a filter; returns the value it held it with before.
    pub fn insert(&mut self, filter: &Filter, holder: K, value: V) -> Option<V> {
        let mut at = ROOT;
        for level in filter.levels().filter(|level| *level != "#") {
            at = self.child_or_new(at, level);
        }
        let hasher = RandomState::clone(self.edges.hasher());
        let before = self.holders_mut(at, filter)?.insert(holder, value, hasher);
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes a filter from a holder; returns the value it was held with.
    pub fn remove(&mut self, filter: &Filter, holder: &K) -> Option<V> {
        let path = self.path(filter)?;
        let at = path.last().map_or(ROOT, |step| step.child);
        let value = self.holders_mut(at, filter)?.remove(holder)?;
        self.len -= 1;
        self.prune(path);
        self.give_back();
        Some(value)
    }

    /// Who holds exactly this filter, in no particular order.
    pub fn holders(&self, filter: &Filter) -> impl Iterator<Item = (&K, &V)> {
        let at = self.path(filter).map(|path| path.last().map_or(ROOT, |step| step.child));
        let node = at.and_then(|at| self.node(at));
        let holders = node.map(|node| if ends_open(filter) { &node.rest } else { &node.exact });
        holders.into_iter().flat_map(Holders::iter)
    }

    /// Calls `found` with every holder of a filter that matches the topic; once per filter, so a
    /// holder of two overlapping filters comes twice.
    pub fn for_each_match<'a>(&'a self, topic: &str, mut found: impl FnMut(&'a K, &'a V)) {
        let mut branches: SmallVec<[(u32, Option<&str>); 16]> = SmallVec::new();
        let mut next = Some((ROOT, Some(topic)));
        while let Some((at, rest)) = next.take().or_else(|| branches.pop()) {
            let Some(node) = self.node(at) else { continue };
            // [MQTT-4.7.2-1]: a wildcard at the first level does not match a leading `$`.
            let open = at != ROOT || !is_reserved(topic);
            if open {
                node.rest.iter().for_each(|(holder, value)| found(holder, value));
            }
            let Some(rest) = rest else {
                node.exact.iter().for_each(|(holder, value)| found(holder, value));
                continue;
            };
            let (level, tail) = split_level(rest);
            if let Some(plus) = node.plus.filter(|_| open) {
                branches.push((plus, tail));
            }
            next = self.child(at, level).map(|child| (child, tail));
        }
    }

    /// Whether anybody's filter matches the topic.
    pub fn any_match(&self, topic: &str) -> bool {
        let mut any = false;
        self.for_each_match(topic, |_, _| any = true);
        any
    }

    fn node(&self, at: u32) -> Option<&Node<K, V>> {
        self.nodes.get(at as usize)
    }

    fn node_mut(&mut self, at: u32) -> Option<&mut Node<K, V>> {
        self.nodes.get_mut(at as usize)
    }

    fn holders_mut(&mut self, at: u32, filter: &Filter) -> Option<&mut Holders<K, V>> {
        let open = ends_open(filter);
        let node = self.node_mut(at)?;
        Some(if open { &mut node.rest } else { &mut node.exact })
    }

    /// The literal child of a level; not `+`.
    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        self.edges.get(&EdgeRef { parent, level }).copied()
    }

    fn child_or_new(&mut self, parent: u32, level: &str) -> u32 {
        if level == "+" {
            if let Some(plus) = self.node(parent).and_then(|node| node.plus) {
                return plus;
            }
            let child = self.allocate();
            if let Some(node) = self.node_mut(parent) {
                node.plus = Some(child);
            }
            return child;
        }
        if let Some(child) = self.child(parent, level) {
            return child;
        }
        let child = self.allocate();
        self.edges.insert(Edge { parent, level: level.into() }, child);
        if let Some(node) = self.node_mut(parent) {
            node.children += 1;
        }
        child
    }

    fn allocate(&mut self) -> u32 {
        if let Some(at) = self.free.pop() {
            return at;
        }
        self.nodes.push(Node::default());
        u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
    }

    /// The steps from the root to the node of a filter, if it exists.
    fn path<'f>(&self, filter: &'f Filter) -> Option<SmallVec<[Step<'f>; 8]>> {
        let mut path = SmallVec::new();
        let mut parent = ROOT;
        for level in filter.levels().filter(|level| *level != "#") {
            let child = match level {
                "+" => self.node(parent)?.plus?,
                _ => self.child(parent, level)?,
            };
            path.push(Step { parent, level, child });
            parent = child;
        }
        Some(path)
    }

    /// Takes away, from the leaf upwards, what nobody needs any more.
    fn prune(&mut self, path: SmallVec<[Step<'_>; 8]>) {
        for step in path.into_iter().rev() {
            if !self.node(step.child).is_some_and(Node::is_idle) {
                return;
            }
            self.free.push(step.child);
            let literal = step.level != "+";
            if literal {
                let edge = EdgeRef { parent: step.parent, level: step.level };
                self.edges.remove(&edge);
            }
            let Some(parent) = self.node_mut(step.parent) else {
                return;
            };
            if literal {
                parent.children -= 1;
            } else {
                parent.plus = None;
            }
        }
    }
}

impl<K, V> Tree<K, V> {
    /// Gives back the room of a large tree of which little is left: else one who has held a million filters
    /// leaves their room behind for ever.
    fn give_back(&mut self) {
        if self.free.len() < FREE_MIN || self.free.len() / 3 < self.nodes.len() / 4 {
            return;
        }
        let mut is_free = vec![false; self.nodes.len()];
        for at in std::mem::take(&mut self.free) {
            if let Some(one) = is_free.get_mut(at as usize) {
                *one = true;
            }
        }
        let (mut nodes, mut moved) = (Vec::new(), Vec::with_capacity(is_free.len()));
        for (node, is_free) in std::mem::take(&mut self.nodes).into_iter().zip(is_free) {
            moved.push(u32::try_from(nodes.len()).unwrap_or(u32::MAX));
            if !is_free {
                nodes.push(node);
            }
        }
        let to = |at: u32| moved.get(at as usize).copied().unwrap_or(ROOT);
        for node in &mut nodes {
            node.plus = node.plus.map(to);
        }
        let mut edges = HashMap::with_hasher(self.edges.hasher().clone());
        for (Edge { parent, level }, child) in std::mem::take(&mut self.edges) {
            edges.insert(Edge { parent: to(parent), level }, to(child));
        }
        (self.nodes, self.edges) = (nodes, edges);
    }
}

impl<K: Hash + Eq, V> Default for Tree<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

struct Step<'f> {
    parent: u32,
    level: &'f str,
    child: u32,
}

impl<K, V> Node<K, V> {
    fn is_idle(&self) -> bool {
        let is_held = !self.exact.is_nobody() || !self.rest.is_nobody();
        self.children == 0 && self.plus.is_none() && !is_held
    }
}

impl<K, V> Default for Node<K, V> {
    fn default() -> Self {
        Self { exact: Holders::Nobody, rest: Holders::Nobody, plus: None, children: 0 }
    }
}

impl Hash for Edge {
    fn hash<H: Hasher>(&self, state: &mut H) {
        EdgeRef { parent: self.parent, level: &self.level }.hash(state);
    }
}

impl Hash for EdgeRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.parent);
        state.write(self.level.as_bytes());
    }
}

impl Equivalent<Edge> for EdgeRef<'_> {
    fn equivalent(&self, edge: &Edge) -> bool {
        self.parent == edge.parent && self.level == &*edge.level
    }
}

/// Whether a filter ends in `#`.
fn ends_open(filter: &Filter) -> bool {
    filter.as_str().ends_with('#')
}

/// The first level, and what follows its slash.
fn split_level(rest: &str) -> (&str, Option<&str>) {
    match rest.split_once('/') {
        Some((level, tail)) => (level, Some(tail)),
        None => (rest, None),
    }
}

const ROOT: u32 = 0;

/// A tree with fewer free places keeps them.
const FREE_MIN: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::new(text).unwrap()
    }

    fn matches(tree: &Tree<u32, ()>, topic: &str) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        tree.for_each_match(topic, |holder, ()| {
            found.insert(*holder);
        });
        found
    }

    #[test]
    fn a_holder_is_found_by_every_filter_that_matches() {
        let mut tree = Tree::new();
        for (holder, text) in ["a/b", "a/+", "a/#", "#", "+/b", "b"].iter().enumerate() {
            tree.insert(&filter(text), u32::try_from(holder).unwrap(), ());
        }
        assert_eq!(matches(&tree, "a/b"), BTreeSet::from([0, 1, 2, 3, 4]));
        assert_eq!(matches(&tree, "a"), BTreeSet::from([2, 3]));
        assert_eq!(matches(&tree, "$x/b"), BTreeSet::new());
    }

    #[test]
    fn an_emptied_tree_keeps_nothing() {
        let mut tree = Tree::new();
        let filters = ["a/b/c", "a/+/c", "a/#", "#", "+", "a//"];
        for text in filters {
            assert_eq!(tree.insert(&filter(text), 1, 'x'), None);
            assert_eq!(tree.insert(&filter(text), 1, 'y'), Some('x'));
            assert_eq!(tree.holders(&filter(text)).count(), 1);
        }
        assert_eq!(tree.len(), filters.len());
        for text in filters {
            assert_eq!(tree.remove(&filter(text), &1), Some('y'));
            assert_eq!(tree.remove(&filter(text), &1), None);
        }
        assert!(tree.is_empty() && tree.edges.is_empty());
        assert_eq!(tree.free.len() + 1, tree.nodes.len());
    }

    #[test]
    fn the_deepest_topic_neither_overflows_the_stack_nor_stays() {
        let deep = "/".repeat(65_535);
        let mut tree = Tree::new();
        tree.insert(&filter(&deep), 1, ());
        assert!(tree.any_match(&deep));
        tree.remove(&filter(&deep), &1);
        assert!(tree.edges.is_empty());
        drop(tree);
    }

    fn any_filter() -> impl Strategy<Value = Filter> {
        let level = prop_oneof![Just("a"), Just("b"), Just("+"), Just(""), Just("$s")];
        (prop::collection::vec(level, 1..5), any::<bool>()).prop_filter_map(
            "a filter",
            |(levels, open)| {
                let mut text = levels.join("/");
                if open {
                    text.push_str("/#");
                }
                Filter::new(text).ok()
            },
        )
    }

    fn any_topic() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("$s")];
        prop::collection::vec(level, 1..6)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("a name", |text| !text.is_empty())
    }

    proptest! {
        #[test]
        fn the_tree_agrees_with_the_filters_one_by_one(
            filters in prop::collection::vec(any_filter(), 0..40),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            topics in prop::collection::vec(any_topic(), 1..10),
        ) {
            let mut tree = Tree::new();
            let mut held: Vec<Option<Filter>> = Vec::new();
            for (holder, filter) in filters.into_iter().enumerate() {
                tree.insert(&filter, u32::try_from(holder).unwrap(), ());
                held.push(Some(filter));
            }
            for index in &gone {
                if held.is_empty() {
                    break;
                }
                let at = index.index(held.len());
                if let Some(filter) = held[at].take() {
                    prop_assert!(tree.remove(&filter, &u32::try_from(at).unwrap()).is_some());
                }
            }
            for topic in &topics {
                let expected: BTreeSet<u32> = held.iter().enumerate()
                    .filter(|(_, filter)| filter.as_ref().is_some_and(|filter| filter.matches(topic)))
                    .map(|(holder, _)| u32::try_from(holder).unwrap())
                    .collect();
                prop_assert_eq!(matches(&tree, topic), expected, "{}", topic);
            }
        }
    }

    #[test]
    fn a_large_tree_gives_its_room_back_and_keeps_what_is_left() {
        let mut tree = Tree::new();
        let filters = |range: std::ops::Range<u32>| range.map(|n| filter(&format!("{n}/+/{n}")));
        for held in filters(0..10_000) {
            tree.insert(&held, 1, ());
        }
        for gone in filters(10..10_000) {
            assert_eq!(tree.remove(&gone, &1), Some(()));
        }
        assert!(tree.nodes.len() < 10_000 && tree.len() == 10, "{}", tree.nodes.len());
        for n in 0..20 {
            assert_eq!(tree.any_match(&format!("{n}/x/{n}")), n < 10, "{n}");
        }
        for gone in filters(0..10) {
            assert_eq!(tree.remove(&gone, &1), Some(()));
        }
        assert!(tree.is_empty() && tree.edges.is_empty());
    }
}
