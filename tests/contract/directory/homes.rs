//! Homes: the durable filters of nodes.

use std::collections::BTreeSet;

use super::*;

contract![
    a_home_is_empty_at_first_and_belongs_to_one_node,
    filters_are_added_and_removed,
    a_home_outlives_the_rows_of_its_node,
    a_home_is_replaced,
    a_home_is_lost_with_the_directory_and_written_again,
    who_reads_while_a_home_is_replaced_finds_what_stays,
];

async fn a_home_is_empty_at_first_and_belongs_to_one_node(ground: &Ground) {
    let (here, there) = (ground.directory(), ground.directory());
    assert!(home(&*here, "node-1").await.is_empty());
    note(&*here, &["a/#", "+/b"], &[]).await;
    assert_eq!(home(&*there, "node-1").await, ["+/b", "a/#"]);
    assert!(home(&*there, "node-2").await.is_empty());
}

async fn filters_are_added_and_removed(ground: &Ground) {
    let directory = ground.directory();
    note(&*directory, &["a", "b", "\u{f6} {x}\n"], &["c"]).await;
    note(&*directory, &["a"], &[]).await;
    assert_eq!(home(&*directory, "node-1").await, ["a", "b", "\u{f6} {x}\n"]);
    note(&*directory, &["d"], &["b", "\u{f6} {x}\n", "never"]).await;
    assert_eq!(home(&*directory, "node-1").await, ["a", "d"]);
    note(&*directory, &["a"], &["a"]).await;
    assert_eq!(home(&*directory, "node-1").await, ["a", "d"], "what is added stays");
    note(&*directory, &[], &["a", "d"]).await;
    assert!(home(&*directory, "node-1").await.is_empty());
    note(&*directory, &[], &[]).await;
}

async fn a_home_outlives_the_rows_of_its_node(ground: &Ground) {
    let directory = ground.directory();
    let node = member("node-1", 1);
    join(&*directory, &node, LONG).await;
    note(&*directory, &["a"], &[]).await;
    directory.leave(&node).await.unwrap();
    directory.sweep(&node, Duration::ZERO).await.unwrap();
    assert_eq!(status(&*directory, &node).await, None);
    join(&*directory, &member("node-1", 2), LONG).await;
    assert_eq!(home(&*directory, "node-1").await, ["a"]);
}

async fn a_home_is_replaced(ground: &Ground) {
    let directory = ground.directory();
    let node = NodeId::from("node-1");
    let many: Vec<Filter> = (0..5_000).map(|n| filter(&format!("{n}/+"))).collect();
    for filters in [&many[..], &many[2_000..], &many[..3], &many[1..2], &[]] {
        directory.replace_home(&node, filters).await.unwrap();
        let found: BTreeSet<Filter> = directory.home(&node).await.unwrap().into_iter().collect();
        assert!(found.iter().eq(filters.iter().collect::<BTreeSet<_>>()), "{}", found.len());
    }
}

async fn a_home_is_lost_with_the_directory_and_written_again(ground: &Ground) {
    let directory = ground.directory();
    note(&*directory, &["a"], &[]).await;
    ground.lose_all().await;
    assert!(home(&*directory, "node-1").await.is_empty());
    directory.replace_home(&NodeId::from("node-1"), &[filter("a")]).await.unwrap();
    assert_eq!(home(&*directory, "node-1").await, ["a"]);
}

async fn who_reads_while_a_home_is_replaced_finds_what_stays(ground: &Ground) {
    let (here, there) = (ground.directory(), ground.directory());
    note(&*here, &["stays", "goes"], &[]).await;
    let node = NodeId::from("node-1");
    let (with, without) = ([filter("stays"), filter("comes")], [filter("goes"), filter("stays")]);
    let replace = async {
        for _ in 0..100 {
            here.replace_home(&node, &with).await.unwrap();
            here.replace_home(&node, &without).await.unwrap();
        }
    };
    let read = async {
        for _ in 0..200 {
            assert!(home(&*there, "node-1").await.contains(&"stays".to_owned()));
        }
    };
    tokio::join!(replace, read);
}

fn filter(text: &str) -> Filter {
    Filter::new(text).unwrap()
}

async fn note(directory: &dyn Directory, add: &[&str], remove: &[&str]) {
    let filters = |texts: &[&str]| texts.iter().copied().map(filter).collect::<Vec<_>>();
    let node = NodeId::from("node-1");
    directory.note_home(&node, &filters(add), &filters(remove)).await.unwrap();
}

/// The filters of a node, in order.
async fn home(directory: &dyn Directory, node: &str) -> Vec<String> {
    let found = directory.home(&NodeId::from(node)).await.unwrap();
    let mut found: Vec<String> = found.iter().map(ToString::to_string).collect();
    found.sort();
    found
}
