//! The opposite of the tree: topic names in, everything whose name a filter matches out.
//!
//! The names stand in one ordered map. What begins alike stands together there, so a search reads
//! along, and wherever nothing can match for a while it jumps to the next name that could:
//!
//! ```text
//!   filter a/+/c     names   a/b   a/b/a   a/b/b   a/b/c   a/d/a   b
//!                            ↓       └────jump──────▶ ✓      │
//!                                  nothing after "a/d/c" ◀───┘    end at "b"
//! ```
//!
//! Each level that `+` opens costs a jump or two per name found there, each `#` none: what a tree
//! over the levels would cost, without the memory of one. Nothing recurses, however many levels
//! a peer sends.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
    ops::Bound,
    str::Split,
};

use super::{Filter, is_reserved};

/// Everything in a map whose key, a topic name, a filter matches; in the order of the map.
pub fn matching<'m, K: Borrow<str> + Ord, V>(
    names: &'m BTreeMap<K, V>,
    filter: &Filter,
) -> Matching<'m, K, V> {
    let range = if names.is_empty() {
        btree_map::Range::default()
    } else {
        from(names, &first_candidate(filter))
    };
    Matching { names, range, filter: filter.clone() }
}

/// What [`matching`] finds.
#[derive(Debug)]
pub struct Matching<'m, K, V> {
    names: &'m BTreeMap<K, V>,
    range: btree_map::Range<'m, K, V>,
    filter: Filter,
}

impl<'m, K: Borrow<str> + Ord, V> Iterator for Matching<'m, K, V> {
    type Item = (&'m K, &'m V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (name, value) = self.range.next()?;
            match judge(&self.filter, name.borrow()) {
                Verdict::Match => return Some((name, value)),
                Verdict::Next => {}
                Verdict::Jump(to) => self.range = from(self.names, &to),
                Verdict::End => {
                    // Nobody who asks again shall read on.
                    self.range = btree_map::Range::default();
                    return None;
                }
            }
        }
    }
}

/// What a name says to a search.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Match,
    /// It does not match; the next one may.
    Next,
    /// Nothing before this text can match; it is greater than the name.
    Jump(String),
    /// Nothing behind it can match.
    End,
}

fn from<'m, K: Borrow<str> + Ord, V>(
    names: &'m BTreeMap<K, V>,
    text: &str,
) -> btree_map::Range<'m, K, V> {
    names.range::<str, _>((Bound::Included(text), Bound::Unbounded))
}

/// The least text that can match: the levels before the first wildcard.
fn first_candidate(filter: &Filter) -> String {
    let text = filter.as_str();
    let wildcard = text.find(['+', '#']).unwrap_or(text.len());
    let (literal, rest) = text.split_at_checked(wildcard).unwrap_or((text, ""));
    // `a/#` matches `a` too [MQTT-4.7.1-2].
    let literal = if rest == "#" { literal.strip_suffix('/').unwrap_or(literal) } else { literal };
    literal.to_owned()
}

fn judge(filter: &Filter, name: &str) -> Verdict {
    if is_reserved(name) && filter.as_str().starts_with(['+', '#']) {
        return Verdict::Jump(AFTER_RESERVED.to_owned()); // [MQTT-4.7.2-1]
    }
    let mut walk = Walk { name, at: 0, opened: None, by_plus: false };
    let mut wanted = filter.as_str().split('/');
    while let Some(level) = wanted.next() {
        if level == "#" {
            return Verdict::Match; // also the parent level [MQTT-4.7.1-2]
        }
        let Some(found) = walk.level() else {
            return walk.too_short(level, wanted);
        };
        if level == "+" {
            walk.pass(found, true);
        } else if level == found {
            walk.pass(found, false);
        } else {
            return walk.differs(level, wanted);
        }
    }
    if walk.level().is_none() { Verdict::Match } else { walk.skip() }
}

/// How far a name agrees with a filter.
struct Walk<'n> {
    name: &'n str,
    /// Where the level that is looked at begins: behind the end of the name if none is left.
    at: usize,
    /// The end of the last level that `+` let pass: another name may have another one there.
    opened: Option<usize>,
    /// Whether that was the last level that passed.
    by_plus: bool,
}

impl<'n> Walk<'n> {
    fn level(&self) -> Option<&'n str> {
        self.name.get(self.at..)?.split('/').next()
    }

    fn pass(&mut self, level: &str, by_plus: bool) {
        let end = self.at + level.len();
        if by_plus {
            self.opened = Some(end);
        }
        self.by_plus = by_plus;
        self.at = end + 1;
    }

    fn passed(&self) -> &'n str {
        self.name.get(..self.at).unwrap_or_default()
    }

    /// All levels of the name agree; the filter has more.
    fn too_short<'f>(&self, level: &'f str, rest: Split<'f, char>) -> Verdict {
        if self.by_plus {
            return Verdict::Next; // `a/b-` stands before `a/b/c`
        }
        Verdict::Jump(with_literals(format!("{}/", self.name), Some(level), rest))
    }

    /// A level of the name is not the one wanted. Names with that one in its place may still come.
    fn differs<'f>(&self, level: &'f str, mut rest: Split<'f, char>) -> Verdict {
        let wanted = format!("{}{level}", self.passed());
        let next = rest.clone().next();
        let ends_here = next.is_none() || next == Some("#");
        if ends_here && self.name.cmp(&wanted) == Ordering::Less {
            return Verdict::Jump(wanted);
        }
        let below = wanted + "/";
        if next.is_some() && self.name.cmp(&below) == Ordering::Less {
            let first = rest.next();
            return Verdict::Jump(with_literals(below, first, rest));
        }
        self.skip()
    }

    /// Nothing below the level that `+` opened last can match any more.
    fn skip(&self) -> Verdict {
        match self.opened.and_then(|end| self.name.get(..end)) {
            Some(passed) => Verdict::Jump(format!("{passed}{AFTER_SLASH}")),
            None => Verdict::End,
        }
    }
}

/// The least text that begins with `start` and the levels up to the next wildcard.
fn with_literals<'f>(mut start: String, first: Option<&'f str>, rest: Split<'f, char>) -> String {
    for (nth, level) in first.into_iter().chain(rest).enumerate() {
        if level == "+" || level == "#" {
            // The parent level of `#` matches; with a slash behind it, it would be passed over.
            start.push_str(if nth > 0 && level == "+" { "/" } else { "" });
            break;
        }
        start.push_str(if nth > 0 { "/" } else { "" });
        start.push_str(level);
    }
    start
}

/// The character behind the slash.
const AFTER_SLASH: char = '0';

/// Behind everything that begins with `$`.
const AFTER_RESERVED: &str = "%";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each name with its length.
    fn map(names: &[&str]) -> BTreeMap<Box<str>, usize> {
        names.iter().map(|name| (Box::from(*name), name.len())).collect()
    }

    fn found<'m>(names: &'m BTreeMap<Box<str>, usize>, filter: &str) -> Vec<&'m str> {
        let filter = Filter::new(filter).unwrap();
        matching(names, &filter).map(|(name, _)| &**name).collect()
    }

    #[test]
    fn names_are_found_by_filter() {
        let names = map(&["a", "a/", "a/b", "a/b-/c", "a/b/c", "a/b/c/d", "b", "$s", "$s/b", "/"]);
        for (filter, expected) in [
            ("a", &["a"][..]),
            ("a/#", &["a", "a/", "a/b", "a/b-/c", "a/b/c", "a/b/c/d"]),
            ("a/+", &["a/", "a/b"]),
            ("a/+/c", &["a/b-/c", "a/b/c"]),
            ("a/b/c/#", &["a/b/c", "a/b/c/d"]),
            ("+/b", &["a/b"]),
            ("+", &["a", "b"]),
            ("+/+", &["/", "a/", "a/b"]),
            ("#", &["/", "a", "a/", "a/b", "a/b-/c", "a/b/c", "a/b/c/d", "b"]),
            ("+/#", &["/", "a", "a/", "a/b", "a/b-/c", "a/b/c", "a/b/c/d", "b"]),
            ("$s/#", &["$s", "$s/b"]),
            ("$s/+", &["$s/b"]),
            ("c/#", &[]),
        ] {
            assert_eq!(found(&names, filter), expected, "{filter}");
        }
    }

    #[test]
    fn what_cannot_match_is_not_read() {
        for (filter, name, expected) in [
            ("a/b", "a/0", Verdict::Jump("a/b".to_owned())),
            ("a/b/#", "a/b-", Verdict::Jump("a/b/".to_owned())),
            ("a/+/c", "a/b/d", Verdict::Jump("a/b0".to_owned())),
            ("a/+/c/+/d", "a/b/a", Verdict::Jump("a/b/c/".to_owned())),
            ("+/b", "a/b/c", Verdict::Jump("a0".to_owned())),
            ("a/b/+", "a/b", Verdict::Jump("a/b/".to_owned())),
            ("a/+", "b", Verdict::End),
            ("#", "$s", Verdict::Jump("%".to_owned())),
        ] {
            assert_eq!(judge(&Filter::new(filter).unwrap(), name), expected, "{filter} {name}");
        }
    }

    #[test]
    fn a_search_among_many_reads_few() {
        let mut names = BTreeMap::new();
        for device in 0..100 {
            for value in 0..100 {
                names.insert(format!("device/{device:02}/{value:02}"), value);
            }
        }
        let filter = Filter::new("device/+/42").unwrap();
        let mut read = 0;
        let mut at = first_candidate(&filter);
        while let Some((name, _)) = from(&names, &at).next() {
            read += 1;
            at = match judge(&filter, name) {
                Verdict::Match | Verdict::Next => format!("{name}\0"),
                Verdict::Jump(to) => to,
                Verdict::End => break,
            };
        }
        assert_eq!(matching(&names, &filter).count(), 100);
        assert!(read <= 400, "{read} names read");
    }

    #[test]
    fn the_deepest_names_neither_overflow_the_stack_nor_hide() {
        let deep = "/".repeat(65_535);
        let names = map(&[&deep, "a"]);
        assert_eq!(found(&names, "/#"), [&*deep]);
        assert_eq!(found(&names, &deep), [&*deep]);
        let plus = vec!["+"; 32_768].join("/");
        assert_eq!(found(&names, &plus), [""; 0]);
    }

    fn any_name() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just("a-"), Just("a0"), Just(""), Just("$s")];
        prop::collection::vec(level, 1..6)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("a name", |text| !text.is_empty())
    }

    fn any_filter() -> impl Strategy<Value = Filter> {
        let level = prop_oneof![
            3 => Just("+"), 2 => Just("a"), 1 => Just("b"), 1 => Just("a-"),
            1 => Just(""), 1 => Just("$s"),
        ];
        (prop::collection::vec(level, 0..5), any::<bool>()).prop_filter_map(
            "a filter",
            |(mut levels, open)| {
                levels.extend(open.then_some("#"));
                Filter::new(levels.join("/")).ok()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn a_search_agrees_with_the_names_one_by_one(
            names in prop::collection::btree_set(any_name(), 0..60),
            filter in any_filter(),
        ) {
            let map: BTreeMap<&str, usize> = names.iter().map(|name| (&**name, name.len())).collect();
            let found: Vec<&str> = matching(&map, &filter).map(|(name, _)| *name).collect();
            let expected: Vec<&str> =
                names.iter().map(|name| &**name).filter(|name| filter.matches(name)).collect();
            prop_assert_eq!(found, expected, "{}", filter);
        }

        #[test]
        fn a_jump_leads_forward(name in any_name(), filter in any_filter()) {
            if let Verdict::Jump(to) = judge(&filter, &name) {
                prop_assert!(to > name, "{} {} {}", filter, name, to);
            }
        }
    }
}
