//! A simulated store: what is written becomes durable later, in its order, and a crash keeps all that
//! was declared durable and any number of the batches after that.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use causeway_broker::store::{Batch, Entry, Key, Position, Store};
use parking_lot::Mutex;

/// What a disk holds, over all lives of its node.
pub(crate) type Kept = BTreeMap<Key, Bytes>;

/// The same, with the messages of each session in places from 1 on. A name is a kind, the session,
/// the place, as numbers of varying length (`broker/src/hub/record.rs`).
pub(crate) fn numbered_anew(kept: Kept) -> Kept {
    let mut lines: BTreeMap<Vec<u8>, Vec<(u64, Bytes)>> = BTreeMap::new();
    let mut anew = Kept::new();
    for (key, value) in kept {
        let bytes = key.0.to_vec();
        if bytes.first() != Some(&QUEUED) {
            anew.insert(key, value);
            continue;
        }
        let session_ends = 2 + bytes[1..].iter().take_while(|byte| **byte >= 0x80).count();
        let place = bytes[session_ends..].iter().rev();
        let place = place.fold(0, |place, byte| place << 7 | u64::from(byte & 0x7f));
        lines.entry(bytes[..session_ends].to_vec()).or_default().push((place, value));
    }
    for (mut name, mut line) in lines {
        line.sort_unstable_by_key(|(place, _)| *place);
        for (place, (_, value)) in (1..).zip(line) {
            name.push(place); // a line of the simulation is short
            anew.insert(Key(name.as_slice().into()), value);
            name.pop();
        }
    }
    anew
}

/// The kind of a message in a line.
const QUEUED: u8 = 2;

/// The store of one process.
#[derive(Debug)]
pub(crate) struct Disk {
    inner: Mutex<Inner>,
    /// It says that all is durable at once.
    lies: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    kept: Kept,
    pending: VecDeque<Batch>,
    durable: u64,
}

impl Disk {
    pub(crate) fn open(kept: Kept, lies: bool) -> Self {
        let inner = Mutex::new(Inner { kept, pending: VecDeque::new(), durable: 0 });
        Self { inner, lies: AtomicBool::new(lies) }
    }

    /// From now on it says that all is durable, or tells the truth.
    pub(crate) fn set_lies(&self, lies: bool) {
        self.lies.store(lies, Ordering::Relaxed);
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let inner = self.inner.lock();
        let entry = |(key, value): (&Key, &Bytes)| Entry {
            keys: [key.clone()].into_iter().collect(),
            value: value.clone(),
        };
        inner.kept.iter().map(entry).collect()
    }

    /// How many batches are not durable yet.
    pub(crate) fn pending(&self) -> u64 {
        self.inner.lock().pending.len() as u64
    }

    /// The first batches that are not durable become it.
    pub(crate) fn sync(&self, batches: u64) {
        let mut inner = self.inner.lock();
        for _ in 0..batches {
            let Some(Batch { deletes, puts }) = inner.pending.pop_front() else {
                return;
            };
            for key in deletes {
                inner.kept.remove(&key);
            }
            for Entry { keys, value } in puts {
                inner.kept.extend(keys.into_iter().map(|key| (key, value.clone())));
            }
            inner.durable += 1;
        }
    }

    /// What is there when the process is gone.
    pub(crate) fn crash(&self) -> Kept {
        std::mem::take(&mut self.inner.lock().kept)
    }
}

#[async_trait]
impl Store for Disk {
    fn write(&self, batch: Batch) -> Position {
        let mut inner = self.inner.lock();
        if !batch.is_empty() {
            inner.pending.push_back(batch);
        }
        inner.end()
    }

    fn durable(&self) -> Position {
        let inner = self.inner.lock();
        if self.lies.load(Ordering::Relaxed) { inner.end() } else { Position(inner.durable) }
    }

    async fn wait(&self, _known: Position) -> Position {
        std::future::pending().await
    }

    fn backlog_bytes(&self) -> usize {
        0
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

impl Inner {
    fn end(&self) -> Position {
        Position(self.durable + self.pending.len() as u64)
    }
}
