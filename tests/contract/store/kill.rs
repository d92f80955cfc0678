//! A process that writes and is killed, again and again, on the same folder.
//!
//! The child is this very program. It says what has become durable; all of that, and no half
//! batch, must be there when the folder is opened after its end.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;

const FOLDER: &str = "CAUSEWAY_TEST_STORE_FOLDER";
const ROUNDS: u64 = 30;
/// Names that come and go.
const NAMES: u64 = 200;

/// A mix that looks like chance and repeats.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The batch of this number; `count` says that it was the last.
fn batch(number: u64) -> Batch {
    let mut batch = put("count", &format!("{number:012}"));
    for part in 0..4 {
        let chance = mix(number * 4 + part);
        let name = |shift: u64| key(&format!("{:03}", (chance >> shift) % NAMES));
        if part < 2 {
            batch.delete(name(8));
        } else {
            let keys = [name(8), name(24)].into_iter().collect();
            let length = usize::try_from((chance >> 40) % 900).unwrap();
            let value = format!("{number} ").repeat(length / 8 + 1).into();
            batch.puts.push(Entry { keys, value });
        }
    }
    batch
}

fn apply(model: &mut BTreeMap<Key, Bytes>, batch: &Batch) {
    for key in &batch.deletes {
        model.remove(key);
    }
    for entry in &batch.puts {
        for key in &entry.keys {
            model.insert(key.clone(), entry.value.clone());
        }
    }
}

fn model_of(entries: &[Entry]) -> BTreeMap<Key, Bytes> {
    let named = |entry: &Entry| {
        let value = entry.value.clone();
        entry.keys.clone().into_iter().map(move |key| (key, value.clone()))
    };
    entries.iter().flat_map(named).collect()
}

/// The number of the last batch that is there.
fn count(model: &BTreeMap<Key, Bytes>) -> u64 {
    let count = model.get(&key("count"));
    count.map_or(0, |count| std::str::from_utf8(count).unwrap().parse().unwrap())
}

/// Not a test but the child; does nothing when it is run as a test.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let opened = open(Path::new(&folder));
    let start = count(&model_of(&opened.entries));
    let mut known = Position(0);
    let mut out = std::io::stdout();
    for number in start + 1.. {
        let last = opened.store.write(batch(number));
        // Several in a group, but never far ahead.
        if last.0 - known.0 > mix(number) % 16 {
            known = opened.store.wait(known).await;
            writeln!(out, "durable {}", start + known.0).unwrap();
        }
    }
}

fn start_child(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "store::kill::child", "--nocapture", "--test-threads", "1"]);
    command.env(FOLDER, folder).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Lets a child write, kills it, and returns what it has said last.
fn run_and_kill(folder: &Path, lines: u64) -> u64 {
    let mut child = start_child(folder);
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut durable = 0;
    let mut seen = 0;
    for line in said {
        let Some(position) = line.strip_prefix("durable ") else {
            continue;
        };
        // A line that was cut off by the end says less than was meant.
        durable = position.parse().unwrap_or(durable).max(durable);
        seen += 1;
        if seen == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= lines, "the child has ended by itself");
    durable
}

#[test]
fn a_process_killed_thirty_times_has_lost_nothing_it_called_durable() {
    let folder = tempfile::tempdir().unwrap();
    let (mut model, mut applied) = (BTreeMap::new(), 0);
    for round in 0..ROUNDS {
        let durable = run_and_kill(folder.path(), 1 + mix(round) % 300);
        let opened = open(folder.path());
        assert_eq!(opened.report.damages, []);
        let found = model_of(&opened.entries);
        let there = count(&found);
        assert!(there >= durable, "round {round}: {there} is there, {durable} was durable");
        for number in applied + 1..=there {
            apply(&mut model, &batch(number));
        }
        applied = there;
        assert!(model == found, "round {round}: not what the first {there} batches leave");
    }
    eprintln!("killed {ROUNDS} times: {applied} batches, lost 0");
}
