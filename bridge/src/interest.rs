//! What the bridge must be subscribed to at each node, so that whatever another node wants comes.
//!
//! ```text
//!  filters of all nodes, by first level            view of node-1 (what the others want)
//!    user:  user/bob/#    wanted by node-2     ─▶    user/bob/#   user/carol/#
//!           user/alice/#  wanted by node-1           (its own user/alice/# is not asked of it)
//!           user/carol/#  wanted by node-1, node-3
//! ```
//!
//! A view is exact up to a budget. Beyond it the first level with most filters is *merged*: asked
//! for as a whole (`user/+/#`, and literally what that does not match: `user`, `user/#`). From then
//! on one more filter below it costs nothing and changes nothing at that node. Where no first level
//! is worth merging, `#` stands for everything but topics that begin with `$`, which it does not
//! match [MQTT-4.7.2-1]. A view becomes exact again only when it would fill half of the budget, so
//! that a filter that comes and goes does not turn it over and over.
//!
//! Filters are counted once for all nodes and a view is worked out from them, so memory grows with
//! the filters, not with filters times nodes. Only linked nodes have a view.
//!
//! It leaves to others: sending the changes, and knowing which of them are in force.

use std::collections::{BTreeMap, BTreeSet};

use ahash::RandomState;
use causeway_common::topic::{Filter, is_reserved};
use indexmap::IndexMap;
use smallvec::SmallVec;

use crate::routes::{Filters, NodeIndex};

/// The interest in every linked node.
#[derive(Debug)]
pub struct Interest {
    filters_max: usize,
    groups: Groups,
    views: BTreeMap<NodeIndex, View>,
}

/// All wanted filters by their first level.
type Groups = IndexMap<Box<str>, Group, RandomState>;

/// The filters below one first level.
#[derive(Debug, Default)]
struct Group {
    wanted: IndexMap<Filter, SmallVec<[NodeIndex; 2]>, RandomState>,
    /// How many of them are wanted by that node and no other: these are not asked of it.
    own: BTreeMap<NodeIndex, usize>,
}

/// The interest in one node.
#[derive(Debug, Default)]
struct View {
    merged: BTreeSet<Box<str>>,
    /// Whether `#` is asked for instead of everything that does not begin with `$`.
    everything: bool,
    /// How many filters the node is, or is about to be, subscribed to.
    len: usize,
    /// How many it would be if nothing were merged.
    exact_len: usize,
    changes: Changes,
}

/// What has to be said to a node and has not been yet.
#[derive(Debug, Default)]
struct Changes {
    add: Filters,
    remove: Filters,
}

impl Interest {
    /// No interest in anything; at most `filters_max` filters a node, beyond that merged.
    pub fn new(filters_max: usize) -> Self {
        Self { filters_max, groups: Groups::default(), views: BTreeMap::new() }
    }

    /// A node is linked and knows no interest: all of it is to be said.
    pub fn attach(&mut self, node: NodeIndex) {
        let mut view = View::default();
        for filter in self.groups.values().flat_map(|group| group.exact(node)) {
            view.changes.add(filter);
            view.exact_len += 1;
        }
        view.len = view.exact_len;
        view.shrink(&self.groups, node, self.filters_max);
        self.views.insert(node, view);
    }

    /// A node is no longer linked.
    pub fn detach(&mut self, node: NodeIndex) {
        self.views.remove(&node);
    }

    /// A node wants a filter it did not want before.
    pub fn add(&mut self, filter: &Filter, by: NodeIndex) {
        let key = first_level(filter);
        if !self.groups.contains_key(key) {
            self.groups.insert(key.into(), Group::default());
        }
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        let gaining = group.add(filter, by);
        for (node, view) in &mut self.views {
            if gaining.has(*node) {
                view.gain(filter, key);
                view.shrink(&self.groups, *node, self.filters_max);
            }
        }
    }

    /// A node no longer wants a filter it wanted.
    pub fn remove(&mut self, filter: &Filter, by: NodeIndex) {
        let key = first_level(filter);
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        let losing = group.remove(filter, by);
        let unwanted = group.wanted.is_empty();
        for (node, view) in &mut self.views {
            if losing.has(*node) {
                let left = self.groups.get(key).map_or(0, |group| group.exact_len(*node));
                view.lose(filter, key, left);
                view.unmerge_if_small(&self.groups, *node, self.filters_max);
            }
        }
        if unwanted {
            self.groups.swap_remove(key);
        }
    }

    /// Filters that a node must be subscribed to next, at most `max`; to be said before
    /// [`Self::take_remove`], so that what replaces a filter is in force before it goes.
    pub fn take_add(&mut self, node: NodeIndex, max: usize) -> Vec<Filter> {
        take(self.views.get_mut(&node).map(|view| &mut view.changes.add), max)
    }

    /// Filters that a node must be unsubscribed from, at most `max`.
    pub fn take_remove(&mut self, node: NodeIndex, max: usize) -> Vec<Filter> {
        let changes = self.views.get_mut(&node).map(|view| &mut view.changes);
        take(changes.map(|changes| &mut changes.remove), max)
    }

    /// Whether a node has still to be told of filters it must be subscribed to.
    pub fn has_add(&self, node: NodeIndex) -> bool {
        let view = self.views.get(&node);
        view.is_some_and(|view| !view.changes.add.is_empty())
    }

    /// How many filters a node is asked for.
    pub fn len(&self, node: NodeIndex) -> usize {
        self.views.get(&node).map_or(0, |view| view.len)
    }

    /// How many first levels are merged, over all nodes; `#` counts as one.
    pub fn merged_groups(&self) -> usize {
        let merged = |view: &View| view.merged.len() + usize::from(view.everything);
        self.views.values().map(merged).sum()
    }
}

/// Whose view a change of one filter touches.
enum Touched {
    /// Every node but this one.
    AllBut(NodeIndex),
    /// This node alone: it was, or is, the only other that wants the filter.
    Only(NodeIndex),
    /// Nobody's: two nodes and more want the filter before and after.
    Nobody,
}

impl Touched {
    fn has(&self, node: NodeIndex) -> bool {
        match self {
            Self::AllBut(but) => node != *but,
            Self::Only(only) => node == *only,
            Self::Nobody => false,
        }
    }
}

impl Group {
    fn add(&mut self, filter: &Filter, by: NodeIndex) -> Touched {
        let nodes = self.wanted.entry(filter.clone()).or_default();
        nodes.push(by);
        match *nodes.as_slice() {
            [_] => {
                *self.own.entry(by).or_default() += 1;
                Touched::AllBut(by)
            }
            [before, _] => {
                self.disown(before);
                Touched::Only(before)
            }
            _ => Touched::Nobody,
        }
    }

    fn remove(&mut self, filter: &Filter, by: NodeIndex) -> Touched {
        let Some(nodes) = self.wanted.get_mut(filter) else {
            return Touched::Nobody;
        };
        nodes.retain(|node| *node != by);
        match *nodes.as_slice() {
            [] => {
                self.wanted.swap_remove(filter);
                self.disown(by);
                Touched::AllBut(by)
            }
            [left] => {
                *self.own.entry(left).or_default() += 1;
                Touched::Only(left)
            }
            _ => Touched::Nobody,
        }
    }

    fn disown(&mut self, node: NodeIndex) {
        if let Some(own) = self.own.get_mut(&node) {
            *own -= 1;
            if *own == 0 {
                self.own.remove(&node);
            }
        }
    }

    /// The filters that others than this node want.
    fn exact(&self, node: NodeIndex) -> impl Iterator<Item = &Filter> {
        let wanted = self.wanted.iter();
        wanted.filter_map(move |(filter, nodes)| (nodes.as_slice() != [node]).then_some(filter))
    }

    fn exact_len(&self, node: NodeIndex) -> usize {
        self.wanted.len() - self.own.get(&node).copied().unwrap_or(0)
    }
}

impl View {
    fn gain(&mut self, filter: &Filter, key: &str) {
        self.exact_len += 1;
        if !self.covers(filter, key) {
            self.changes.add(filter);
            self.len += 1;
        }
    }

    /// `left`: how many filters others still want below the same first level.
    fn lose(&mut self, filter: &Filter, key: &str, left: usize) {
        self.exact_len -= 1;
        if !self.covers(filter, key) {
            self.changes.remove(filter);
            self.len -= 1;
        }
        let alone = is_reserved(key) || !self.everything;
        if left == 0
            && self.merged.remove(key)
            && alone
            && let Some(cover) = cover(key)
        {
            self.changes.remove(&cover);
            self.len -= 1;
        }
    }

    /// Whether a filter is asked for as a part of something larger.
    fn covers(&self, filter: &Filter, key: &str) -> bool {
        (self.everything && !is_reserved(key))
            || (self.merged.contains(key) && is_below_first_level(filter))
    }

    /// Merges the largest first levels until the budget is kept, or nothing is left to merge.
    fn shrink(&mut self, groups: &Groups, node: NodeIndex, filters_max: usize) {
        while self.len > filters_max {
            let candidates = groups.iter().filter(|(key, _)| self.may_merge(key));
            let largest = candidates
                .map(|(key, group)| (group.exact_len(node), key))
                .reduce(|a, b| if b.0 > a.0 { b } else { a })
                .filter(|(len, _)| *len > MERGED_LEN_MAX);
            if largest.is_none() && self.everything {
                return;
            }
            let before = self.filters(groups, node);
            match largest {
                Some((_, key)) => {
                    self.merged.insert(key.clone());
                }
                None => self.everything = true,
            }
            self.turn_from(&before, groups, node);
        }
    }

    fn may_merge(&self, key: &str) -> bool {
        let has_cover = key != "+" && key != "#" && cover(key).is_some();
        has_cover && !self.merged.contains(key) && (!self.everything || is_reserved(key))
    }

    fn unmerge_if_small(&mut self, groups: &Groups, node: NodeIndex, filters_max: usize) {
        let merges = self.everything || !self.merged.is_empty();
        if merges && self.exact_len <= filters_max / 2 {
            let before = self.filters(groups, node);
            self.merged.clear();
            self.everything = false;
            self.turn_from(&before, groups, node);
        }
    }

    /// Notes the difference between what was asked for and what is now.
    fn turn_from(&mut self, before: &Filters, groups: &Groups, node: NodeIndex) {
        let after = self.filters(groups, node);
        for filter in after.difference(before) {
            self.changes.add(filter);
        }
        for filter in before.difference(&after) {
            self.changes.remove(filter);
        }
        self.len = after.len();
    }

    /// Everything the node is asked for.
    fn filters(&self, groups: &Groups, node: NodeIndex) -> Filters {
        let mut filters = Filters::default();
        if self.everything {
            filters.extend(Filter::new("#"));
        }
        for (key, group) in groups {
            let exact = group.exact(node);
            filters.extend(exact.filter(|filter| !self.covers(filter, key)).cloned());
            let covered_by_all = self.everything && !is_reserved(key);
            if self.merged.contains(key) && !covered_by_all {
                filters.extend(cover(key));
            }
        }
        filters
    }
}

impl Changes {
    /// Taking back what was not said yet costs nothing.
    fn add(&mut self, filter: &Filter) {
        if !self.remove.swap_remove(filter) {
            self.add.insert(filter.clone());
        }
    }

    fn remove(&mut self, filter: &Filter) {
        if !self.add.swap_remove(filter) {
            self.remove.insert(filter.clone());
        }
    }
}

fn take(filters: Option<&mut Filters>, max: usize) -> Vec<Filter> {
    filters.map_or_else(Vec::new, |filters| filters.drain(..max.min(filters.len())).collect())
}

fn first_level(filter: &Filter) -> &str {
    filter.levels().next().unwrap_or_default()
}

/// What asks for everything below a first level; nothing where that would be no filter, because
/// it is too long.
fn cover(key: &str) -> Option<Filter> {
    Filter::new(format!("{key}/+/#")).ok()
}

/// Whether [`cover`] matches all that the filter does: not so for `user` and `user/#`, which both
/// match the topic `user`.
fn is_below_first_level(filter: &Filter) -> bool {
    filter.levels().nth(1).is_some_and(|level| level != "#")
}

/// What a merged first level costs at most: its cover, itself, and itself with `/#`.
const MERGED_LEN_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: NodeIndex = NodeIndex(1);
    const B: NodeIndex = NodeIndex(2);
    const C: NodeIndex = NodeIndex(3);

    /// An interest, and what its nodes would be subscribed to if every change were said at once.
    struct Bench {
        interest: Interest,
        said: BTreeMap<NodeIndex, BTreeSet<Filter>>,
        wanted: BTreeSet<(Filter, NodeIndex)>,
    }

    impl Bench {
        fn new(filters_max: usize, linked: &[NodeIndex]) -> Self {
            let mut interest = Interest::new(filters_max);
            let mut said = BTreeMap::new();
            for node in linked {
                interest.attach(*node);
                said.insert(*node, BTreeSet::new());
            }
            let wanted = BTreeSet::new();
            Self { interest, said, wanted }
        }

        fn add(&mut self, text: &str, by: NodeIndex) {
            let filter = filter(text);
            if self.wanted.insert((filter.clone(), by)) {
                self.interest.add(&filter, by);
            }
        }

        fn remove(&mut self, text: &str, by: NodeIndex) {
            let filter = filter(text);
            if self.wanted.remove(&(filter.clone(), by)) {
                self.interest.remove(&filter, by);
            }
        }

        /// Says everything; returns how many filters had to be said.
        #[track_caller]
        fn say(&mut self) -> usize {
            let mut count = 0;
            for (node, said) in &mut self.said {
                for filter in self.interest.take_add(*node, usize::MAX) {
                    assert!(said.insert(filter), "said twice");
                    count += 1;
                }
                for filter in self.interest.take_remove(*node, usize::MAX) {
                    assert!(said.remove(&filter), "took back {filter:?}, which was not said");
                    count += 1;
                }
                assert_eq!(said.len(), self.interest.len(*node));
            }
            count
        }

        fn said(&self, node: NodeIndex) -> Vec<&str> {
            self.said[&node].iter().map(Filter::as_str).collect()
        }

        fn exact(&self, node: NodeIndex) -> BTreeSet<Filter> {
            let others = self.wanted.iter().filter(|(_, by)| *by != node);
            others.map(|(filter, _)| filter.clone()).collect()
        }
    }

    fn filter(text: &str) -> Filter {
        Filter::new(text).unwrap()
    }

    #[test]
    fn a_node_is_asked_for_what_others_want_and_never_for_its_own() {
        let mut bench = Bench::new(100, &[A, B]);
        bench.add("a", A);
        bench.add("b", B);
        bench.add("both", A);
        bench.add("both", B);
        bench.say();
        assert_eq!(bench.said(A), ["b", "both"]);
        assert_eq!(bench.said(B), ["a", "both"]);
        bench.remove("both", A);
        bench.say();
        assert_eq!(bench.said(B), ["a"]);
        assert_eq!(bench.said(A), ["b", "both"]);
    }

    #[test]
    fn what_comes_and_goes_before_it_is_said_is_not_said() {
        let mut bench = Bench::new(100, &[A]);
        bench.add("a", B);
        bench.remove("a", B);
        assert_eq!(bench.say(), 0);
        bench.add("a", B);
        bench.say();
        bench.remove("a", B);
        bench.add("a", C);
        assert_eq!(bench.say(), 0);
    }

    #[test]
    fn the_largest_first_level_is_merged_and_then_grows_for_nothing() {
        let mut bench = Bench::new(10, &[A]);
        for text in ["room/1", "room/2", "room/3", "user", "user/#"] {
            bench.add(text, B);
        }
        for number in 0..5 {
            bench.add(&format!("user/{number}/#"), B);
        }
        bench.say();
        assert_eq!(bench.said(A).len(), 10);
        bench.add("user/one/more", B);
        bench.say();
        let merged = ["room/1", "room/2", "room/3", "user", "user/#", "user/+/#"];
        assert_eq!(bench.said(A), merged);
        for number in 0..1000 {
            bench.add(&format!("user/{number}/+"), C);
        }
        assert_eq!(bench.say(), 0, "nothing more to be said below a merged level");
        assert_eq!(bench.interest.merged_groups(), 1);
    }

    #[test]
    fn a_merged_level_stays_until_all_would_fit_into_half_of_the_budget() {
        let mut bench = Bench::new(10, &[A]);
        let filters: Vec<String> = (0..11).map(|number| format!("user/{number}")).collect();
        for filter in &filters {
            bench.add(filter, B);
        }
        bench.say();
        assert_eq!(bench.said(A), ["user/+/#"]);
        for filter in &filters[..5] {
            bench.remove(filter, B);
        }
        assert_eq!(bench.say(), 0, "6 of 10 are more than half");
        bench.remove(&filters[5], B);
        bench.say();
        let left = ["user/10", "user/6", "user/7", "user/8", "user/9"];
        assert_eq!(bench.said(A), left);
        assert_eq!(bench.interest.merged_groups(), 0);
    }

    #[test]
    fn everything_is_asked_for_where_no_first_level_is_worth_merging() {
        let mut bench = Bench::new(5, &[A]);
        for text in ["a/1", "b/1", "c/1", "+/x", "$s/1", "e/1"] {
            bench.add(text, B);
        }
        bench.say();
        assert_eq!(bench.said(A), ["#", "$s/1"]);
    }

    #[test]
    fn a_node_linked_late_is_told_of_all_at_once() {
        let mut bench = Bench::new(4, &[]);
        for text in ["user/1", "user/2", "user/3", "user/4", "a"] {
            bench.add(text, B);
        }
        bench.interest.attach(A);
        bench.said.insert(A, BTreeSet::new());
        assert_eq!(bench.say(), 2);
        assert_eq!(bench.said(A), ["a", "user/+/#"]);
        bench.interest.detach(A);
        assert_eq!(bench.interest.len(A), 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(String, NodeIndex),
        Remove(prop::sample::Index),
        Say,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let level = prop_oneof![
            4 => Just("a"), 2 => Just("b"), 1 => Just("c"), 1 => Just("$s"), 1 => Just("+"), 1 => Just("")
        ];
        let levels = (prop::collection::vec(level, 1..4), any::<bool>());
        let text = levels.prop_map(|(levels, open)| {
            let text = levels.join("/");
            if open || text.is_empty() { format!("{text}/#") } else { text }
        });
        let node = prop_oneof![Just(A), Just(B), Just(C)];
        prop_oneof![
            6 => (text, node).prop_map(|(text, node)| Step::Add(text, node)),
            4 => any::<prop::sample::Index>().prop_map(Step::Remove),
            2 => Just(Step::Say),
        ]
    }

    fn topics() -> Vec<String> {
        let levels = ["a", "b", "c", "$s", ""];
        let pairs =
            || levels.iter().flat_map(|one| levels.iter().map(move |two| format!("{one}/{two}")));
        let triples =
            pairs().flat_map(|pair| levels.iter().map(move |three| format!("{pair}/{three}")));
        let single = levels.iter().filter(|level| !level.is_empty()).map(|&level| level.to_owned());
        single.chain(pairs()).chain(triples).collect()
    }

    proptest! {
        #[test]
        fn whatever_another_node_wants_is_asked_for(
            steps in prop::collection::vec(any_step(), 1..80),
            filters_max in 1_usize..12,
        ) {
            let mut bench = Bench::new(filters_max, &[A, B]);
            let mut most = 0;
            for step in steps {
                match step {
                    Step::Add(text, by) => bench.add(&text, by),
                    Step::Say => { bench.say(); }
                    Step::Remove(index) if !bench.wanted.is_empty() => {
                        let at = index.index(bench.wanted.len());
                        let (filter, by) = bench.wanted.iter().nth(at).unwrap().clone();
                        bench.remove(filter.as_str(), by);
                    }
                    Step::Remove(_) => {}
                }
                most = most.max(bench.exact(A).len());
            }
            bench.say();
            for node in [A, B] {
                let exact = bench.exact(node);
                let said = &bench.said[&node];
                for topic in topics() {
                    let wanted = exact.iter().any(|filter| filter.matches(&topic));
                    let asked = said.iter().any(|filter| filter.matches(&topic));
                    prop_assert!(asked || !wanted, "{topic} is wanted and not asked of {node:?}: {said:?}");
                }
                let reserved = said.iter().filter(|filter| is_reserved(filter.as_str())).count();
                prop_assert!(said.len() <= filters_max.max(1 + reserved));
            }
            if most <= filters_max {
                prop_assert_eq!(&bench.said[&A], &bench.exact(A));
            }
        }
    }
}
