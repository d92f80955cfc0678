//! The contract of `broker::store::Store`.
//!
//! [`any`] is run on every implementation; [`disk`] is about what only a disk can keep or suffer,
//! and [`kill`] about processes that end at any moment.

mod any;
mod disk;
mod full;
mod kill;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use causeway_broker::{
    metrics::Metrics,
    store::{
        Batch, Entry, Key, Position, Store, StoreError,
        disk::{DiskOptions, DiskStore, Opened},
        memory::MemoryStore,
    },
};
use prometheus::Registry;
use tempfile::TempDir;

/// A store of one kind, and what stands behind it.
enum Ground {
    Memory,
    Disk(TempDir),
}

impl Ground {
    fn memory() -> Self {
        Self::Memory
    }

    fn disk() -> Self {
        Self::Disk(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory => Arc::new(MemoryStore::default()),
            Self::Disk(folder) => Arc::new(open(folder.path()).store),
        }
    }
}

fn options(folder: &Path) -> DiskOptions {
    DiskOptions {
        folder: folder.to_owned(),
        segment_bytes: 64 << 10,
        bytes_max: None,
        metrics: Metrics::new(&Registry::new()).unwrap().store(),
    }
}

fn try_open(folder: &Path) -> Result<Opened, StoreError> {
    DiskStore::open(options(folder))
}

fn open(folder: &Path) -> Opened {
    try_open(folder).unwrap()
}

fn key(name: &str) -> Key {
    Key(name.as_bytes().into())
}

fn put(name: &str, value: &str) -> Batch {
    let mut batch = Batch::default();
    batch.put(key(name), Bytes::from(value.to_owned()));
    batch
}

/// Each name with its value, in order.
fn content(entries: &[Entry]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let named = |entry: &Entry| {
        let value = text(&entry.value);
        entry.keys.iter().map(|key| (text(&key.0), value.clone())).collect::<Vec<_>>()
    };
    let mut content: Vec<_> = entries.iter().flat_map(named).collect();
    content.sort();
    content
}

/// Waits until all up to `position` is durable.
async fn durable(store: &dyn Store, position: Position) {
    let mut known = store.durable();
    while known < position {
        known = store.wait(known).await;
    }
}
