//! How two filters lie to one another: whether they share a topic, whether one has all of the other's.
//!
//! It leaves to others: how a filter meets a topic ([`causeway_common::topic`]).

use causeway_common::topic::is_reserved;

/// Whether some topic name matches both.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    if keeps_apart(one, other) || keeps_apart(other, one) {
        return false;
    }
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            // `a/#` matches `a` too [MQTT-4.7.1-2].
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(one), Some(other)) if one == other || one == "+" || other == "+" => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

/// Whether every topic name that matches `narrow` matches `wide` too.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    if keeps_apart(wide, narrow) {
        return false;
    }
    // Every topic name has a first level.
    let wide = if wide == "+/#" { "#" } else { wide };
    let (mut wide, mut narrow) = (wide.split('/'), narrow.split('/'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some("#"), _) | (None, None) => return true,
            (_, Some("#")) => return false,
            (Some(wide), Some(narrow)) if wide == narrow || wide == "+" => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

/// Topics under `$` match no filter that begins with a wildcard [MQTT-4.7.2-1].
fn keeps_apart(wild: &str, reserved: &str) -> bool {
    wild.starts_with(['+', '#']) && is_reserved(reserved)
}

#[cfg(test)]
mod tests {
    use causeway_common::topic::Filter;
    use proptest::prelude::*;

    use super::*;

    /// Every topic of up to three levels over a few names. An empty level and `$x` are names too.
    fn topics() -> Vec<String> {
        let names = ["a", "b", "", "$x"];
        let mut topics: Vec<String> = names.map(str::to_owned).to_vec();
        for _ in 0..3 {
            let longer =
                topics.iter().flat_map(|topic| names.map(|name| format!("{topic}/{name}")));
            topics = longer.chain(names.map(str::to_owned)).collect();
        }
        topics.retain(|topic| !topic.is_empty());
        topics
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let level = prop_oneof![Just("a"), Just("b"), Just("+"), Just("$x"), Just("")];
        let levels = (prop::collection::vec(level, 0..4), any::<bool>());
        levels.prop_filter_map("no filter", |(mut levels, is_open)| {
            levels.extend(is_open.then_some("#"));
            Filter::new(levels.join("/")).ok()
        })
    }

    proptest! {
        #[test]
        fn filters_lie_to_one_another_as_their_topics_do(one in filter(), other in filter()) {
            let all = topics();
            let both = |topic: &String| one.matches(topic) && other.matches(topic);
            let escapes = |topic: &String| other.matches(topic) && !one.matches(topic);
            let (shared, contained) = (all.iter().any(both), !all.iter().any(escapes));
            let found = (overlap(one.as_str(), other.as_str()), covers(one.as_str(), other.as_str()));
            // `/#` could match the empty topic, were it one: then the answer is on the safe side.
            if one.as_str() == "/#" || other.as_str() == "/#" {
                prop_assert!(found.0 || !shared);
                prop_assert!(contained || !found.1);
            } else {
                prop_assert_eq!(found, (shared, contained));
            }
        }
    }
}
