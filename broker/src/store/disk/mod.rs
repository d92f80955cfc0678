//! The store on a disk: a log of batches in segments, and an index in memory of what of it lives.
//!
//! ```text
//!   write ─► queue ─► writer (a thread) ─► log: one write, one sync a group ─► durable ─► wait
//!                                           │
//!              000000000001.segment … n.segment    the oldest is rewritten at the end, then goes
//! ```
//!
//! * `writer` — the thread: groups of whatever has come meanwhile; full disks and failures.
//! * `log` — where groups go; `compact` — how the oldest segment goes; `index` — what lives where.
//! * `record` — the bytes; `scan` — reads them back and tells damage from a torn tail.
//! * `recover` — opens a folder; `files` — the few things asked of a file system.
//!
//! It leaves to others: what keys and values mean.

mod compact;
mod files;
mod index;
mod log;
mod record;
mod recover;
mod scan;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter, IntGauge};
use tokio::sync::watch;

use self::{
    files::RealFolder,
    log::Limits,
    recover::recover,
    writer::{Queue, Shared, Writer},
};
use super::{Batch, Entry, Position, Store, StoreError};

pub use self::recover::{Cut, Damage, Report};

/// The size of a segment where nothing else is asked for.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// A smaller segment would cost more than it keeps.
const SEGMENT_BYTES_MIN: u64 = 4096;
/// So many segments must fit into the most a store may take, to have room to move.
const SEGMENTS_MIN: u64 = 8;
/// Locked by the process that has the folder open.
const LOCK: &str = "lock";

/// Where a store is, and what it may take.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// Made if it is missing. One process has it open at a time.
    pub folder: PathBuf,
    /// The size of a file of the log, at least 4,096 and at most an eighth of `bytes_max`; see
    /// [`SEGMENT_BYTES`]. A larger batch makes a larger file.
    pub segment_bytes: u64,
    /// Beyond it nothing is kept but what frees space, as on a full disk; while it frees, the store
    /// may take two segments more. Without it the disk is the limit.
    pub bytes_max: Option<u64>,
    /// What is counted.
    pub metrics: DiskMetrics,
}

/// What a store counts.
#[derive(Clone, Debug)]
pub struct DiskMetrics {
    /// Groups written and synced.
    pub commits: IntCounter,
    /// Batches that have become durable.
    pub batches: IntCounter,
    /// Seconds of writing and syncing a group.
    pub commit_time: Histogram,
    /// Bytes written, what was moved included.
    pub written_bytes: IntCounter,
    /// What all segments take.
    pub bytes: IntGauge,
    /// What of it lives.
    pub live_bytes: IntGauge,
    /// Files.
    pub segments: IntGauge,
    /// 1 while nothing can be kept.
    pub trouble: IntGauge,
    /// Damages found when the store was opened.
    pub damages: IntCounter,
}

/// A store that has been opened.
#[derive(Debug)]
pub struct Opened {
    /// To write on.
    pub store: DiskStore,
    /// Everything that is kept, each entry with the names that lead to it, sorted; in no order.
    pub entries: Vec<Entry>,
    /// What was found.
    pub report: Report,
}

/// Keeps batches in a folder. Dropping it writes what waits, as [`DiskStore::close`] does.
#[derive(Debug)]
pub struct DiskStore {
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl DiskStore {
    /// Opens the store in a folder and reads all that is kept. It blocks, some seconds for a
    /// million small entries.
    ///
    /// # Errors
    ///
    /// If the folder or a file can't be used, another process has it open, or a newer program has
    /// written it. Damaged files are no error: see [`Report`].
    pub fn open(options: DiskOptions) -> Result<Opened, StoreError> {
        let DiskOptions { folder, segment_bytes, bytes_max, metrics } = options;
        let lock = lock(&folder)?;
        let share = bytes_max.map_or(segment_bytes, |bytes_max| bytes_max / SEGMENTS_MIN);
        let segment_bytes = segment_bytes.min(share).max(SEGMENT_BYTES_MIN);
        let limits = Limits { segment_bytes, bytes_max };
        let recovered = recover(Box::new(RealFolder::new(&folder)), limits, random())?;
        metrics.damages.inc_by(recovered.report.damages.len() as u64);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            changed: parking_lot::Condvar::new(),
            durable: watch::Sender::new(0),
            trouble: Mutex::new(None),
        });
        let writer = Writer {
            shared: shared.clone(),
            log: recovered.log,
            metrics,
            lock,
            taken: std::collections::VecDeque::new(),
            troubled: false,
        };
        let thread = thread::Builder::new().name("store".to_owned());
        let thread = thread.spawn(|| writer.run()).map_err(at(&folder))?;
        let store = Self { shared, thread: Mutex::new(Some(thread)) };
        Ok(Opened { store, entries: recovered.entries, report: recovered.report })
    }

    /// Writes what waits and gives the folder free; returns up to where all is durable. Batches
    /// written afterwards are not kept. It blocks for a write, but not for space on a full disk.
    pub fn close(&self) -> Position {
        self.shared.queue.lock().close();
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            // A thread that has panicked has said so itself; what it wrote counts.
            let _ = thread.join();
        }
        self.durable()
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Store for DiskStore {
    fn write(&self, batch: Batch) -> Position {
        let position = self.shared.queue.lock().push(batch);
        self.shared.changed.notify_one();
        Position(position)
    }

    fn durable(&self) -> Position {
        Position(*self.shared.durable.borrow())
    }

    async fn wait(&self, known: Position) -> Position {
        let mut durable = self.shared.durable.subscribe();
        let reached = durable.wait_for(|durable| *durable > known.0).await.map(|reached| *reached);
        match reached {
            Ok(reached) => Position(reached),
            // The sender is part of this store, which is borrowed here.
            Err(_) => std::future::pending().await,
        }
    }

    fn backlog_bytes(&self) -> usize {
        self.shared.queue.lock().backlog_bytes
    }

    fn trouble(&self) -> Option<String> {
        let said = self.shared.trouble.lock().clone();
        let ended = || self.thread.lock().as_ref().is_some_and(thread::JoinHandle::is_finished);
        said.or_else(|| ended().then(|| "the thread that writes has ended".to_owned()))
    }
}

/// Makes the folder if it is missing, and keeps other processes out.
fn lock(folder: &Path) -> Result<fs::File, StoreError> {
    fs::create_dir_all(folder).map_err(at(folder))?;
    let path = folder.join(LOCK);
    let mut options = fs::File::options();
    let file = options.create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(StoreError::Locked { path: folder.display().to_string() })
        }
        Err(fs::TryLockError::Error(error)) => Err(at(&path)(error)),
    }
}

/// Nobody outside can know it.
fn random() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(LOCK).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.display().to_string();
    move |error| StoreError::Io { path, error }
}
