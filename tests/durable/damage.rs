//! A store that was damaged while its node was down: the node starts, says so, keeps what can be
//! read, and never empties anything silently.

use std::{
    fs,
    path::{Path, PathBuf},
};

use causeway_common::qos::QoS;
use causeway_tests::client::RawClient;

use crate::stage::Stage;

/// A write that was cut short by a power cut, as far as a file shows it.
#[tokio::test]
async fn a_torn_tail_is_cut_off_and_said() {
    let (numbers, log, set_aside) = after(|bytes| {
        let end = used(bytes);
        bytes[end - 2..end].fill(0);
    })
    .await;
    assert!(log.contains("cut off an unfinished write"), "{log}");
    assert!(set_aside.is_empty(), "a torn tail is no damage");
    // The last write may have been any of the session's; no earlier message is gone.
    assert!(numbers.len() + 1 >= MESSAGES as usize, "{numbers:?}");
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_said_aloud() {
    let (numbers, log, set_aside) = after(|bytes| {
        let middle = used(bytes) / 2;
        bytes[middle] ^= 0x10;
    })
    .await;
    assert!(log.contains("ERROR") && log.contains("damaged"), "{log}");
    assert_eq!(set_aside.len(), 1, "{set_aside:?}");
    assert!(numbers.len() + 3 >= MESSAGES as usize, "one record was damaged: {numbers:?}");
}

/// Kills a node with a session and its messages, changes the file of its store, starts it anew, and
/// returns what the session still gets, in order; the log; and the files set aside.
async fn after(change: impl Fn(&mut [u8])) -> (Vec<u32>, String, Vec<String>) {
    let mut stage = Stage::with_kills().await;
    stage.absent("bob", "a/#").await;
    stage.say("a/b", 0..MESSAGES, QoS::AtLeastOnce).await;
    let folder = stage.cluster.store_folder("node-1");
    let node = stage.cluster.node_mut(1);
    node.process.kill();
    let path = segment(&folder);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    node.restart().await;
    node.is_ready().await;
    let mut bob = RawClient::resume(stage.port(), "bob").await;
    let mut numbers = stage.numbers(&mut bob).await;
    assert!(numbers.is_sorted() && numbers.iter().all(|number| *number < MESSAGES), "{numbers:?}");
    numbers.dedup();
    let set_aside = set_aside(&folder);
    println!("damage: {} of {MESSAGES} messages are left; set aside: {set_aside:?}", numbers.len());
    (numbers, stage.cluster.node(1).process.log(), set_aside)
}

/// The file that was written last.
fn segment(folder: &Path) -> PathBuf {
    let segments = names(folder).into_iter().filter(|name| name.ends_with(".segment"));
    folder.join(segments.max().expect("a store has a segment"))
}

/// Files kept for whoever wants to look into them.
fn set_aside(folder: &Path) -> Vec<String> {
    names(folder).into_iter().filter(|name| name.contains(".damaged")).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Where what was written ends and the zeros of a file made ahead begin.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).expect("something was written") + 1
}

/// Waiting for the session.
const MESSAGES: u32 = 100;
