//! What outlives the process: keys and values, written in batches, and how far they are safe.
//!
//! ```text
//!   hub, sessions ──write(batch)──► Store ──grouped, fsynced──► disk
//!        ▲                            │
//!        └────── durable(position) ◄──┘   what waited for that position is acknowledged
//! ```
//!
//! Whoever writes never waits: [`Store::write`] puts the batch into a queue and names its position. An
//! acknowledgement that promises it leaves when that position is durable (DESIGN section 2).
//!
//! It knows nothing of sessions or messages: what keys and values mean is said by
//! whoever writes them. [`disk`] keeps it in files, [`memory`] nothing beyond the process.

pub mod disk;
pub mod memory;

use async_trait::async_trait;
use bytes::Bytes;
use smallvec::SmallVec;
use thiserror::Error;

/// The name of something kept: opaque bytes, at most 66,000.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub SmallVec<[u8; 24]>);

/// A value under one or several names: kept once, until the last of the names is deleted or gets
/// another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// At least one.
    pub keys: SmallVec<[Key; 1]>,
    /// What is kept.
    pub value: Bytes,
}

/// What is written in one step: after a crash all of it is there, or nothing. Within a batch
/// deletions come first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Names that go. One that is not there is no error.
    pub deletes: Vec<Key>,
    /// What is kept from now on.
    pub puts: Vec<Entry>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.deletes.is_empty() && self.puts.is_empty()
    }

    /// Keeps a value under one name.
    pub fn put(&mut self, key: Key, value: Bytes) {
        self.puts.push(Entry { keys: smallvec::smallvec![key], value });
    }

    /// Deletes a name.
    pub fn delete(&mut self, key: Key) {
        self.deletes.push(key);
    }
}

/// How much has been written: grows with each batch. 0 comes before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// Keeps batches.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Takes a batch, after all earlier ones. Never blocks and never fails: while it cannot be kept,
    /// its position does not become durable, and [`Store::trouble`] says why. An empty batch is
    /// no write: the position of the last one is returned.
    fn write(&self, batch: Batch) -> Position;

    /// Everything up to here survives the process and the machine.
    fn durable(&self) -> Position;

    /// Waits until more than `known` is durable, and returns up to where. Cancelling it loses
    /// nothing; several may wait.
    async fn wait(&self, known: Position) -> Position;

    /// Bytes written and not yet durable.
    fn backlog_bytes(&self) -> usize;

    /// Why nothing can be kept now; none if all is well. A full disk heals; a failed fsync does not.
    fn trouble(&self) -> Option<String>;
}

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file or folder cannot be used.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process")]
    Locked {
        /// The folder.
        path: String,
    },
    /// It was written by a newer version of the program.
    #[error("{path} has format version {found}, this program reads up to {known}")]
    Version {
        /// The file.
        path: String,
        /// What it says.
        found: u32,
        /// What this program can read.
        known: u32,
    },
}
