//! A simulated store: what is written becomes durable later, in its order, and a crash keeps all that
//! was declared durable and any number of the batches after that.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use bytes::Bytes;
use causeway_broker::store::{Batch, Entry, Key, Position, Store};
use parking_lot::Mutex;

/// What a disk holds, over all lives of its node.
pub(crate) type Kept = BTreeMap<Key, Bytes>;

/// The store of one process.
#[derive(Debug)]
pub(crate) struct Disk {
    inner: Mutex<Inner>,
    /// It says that all is durable at once.
    lies: bool,
}

#[derive(Debug)]
struct Inner {
    kept: Kept,
    pending: VecDeque<Batch>,
    durable: u64,
}

impl Disk {
    pub(crate) fn open(kept: Kept, lies: bool) -> Self {
        Self { inner: Mutex::new(Inner { kept, pending: VecDeque::new(), durable: 0 }), lies }
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
        if self.lies { inner.end() } else { Position(inner.durable) }
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
