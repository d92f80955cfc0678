//! The topic tree: one match among many filters. An iteration is one match.

use std::hint::black_box;

use causeway_common::topic::{Filter, Tree};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// One inbox a user, and a few who look at everything of a kind.
fn tree_of(users: u32) -> Tree<u32, ()> {
    let mut tree = Tree::new();
    let hold = |tree: &mut Tree<u32, ()>, text: String, holder| {
        if let Ok(filter) = Filter::new(text) {
            tree.insert(&filter, holder, ());
        }
    };
    for user in 0..users {
        hold(&mut tree, format!("user/u{user}/#"), user);
    }
    for (holder, text) in ["user/+/status", "sensor/#", "+/+/alarm"].into_iter().enumerate() {
        hold(&mut tree, text.to_owned(), u32::MAX - u32::try_from(holder).unwrap_or(0));
    }
    tree
}

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("match_one_of");
    for users in [1_000, 10_000, 100_000, 1_000_000] {
        let tree = tree_of(users);
        let topics: Vec<String> = (0..1024u32)
            .map(|number| format!("user/u{}/alice", number.wrapping_mul(7919) % users))
            .collect();
        group.bench_with_input(BenchmarkId::from_parameter(users), &tree, |bencher, tree| {
            let mut turn = topics.iter().cycle();
            bencher.iter(|| {
                let topic = turn.next().map_or("", String::as_str);
                let mut found = 0;
                tree.for_each_match(topic, |holder, ()| found += *holder);
                black_box(found)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, matching);
criterion_main!(benches);
