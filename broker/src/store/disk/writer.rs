//! The thread that writes: takes all that waits, writes and syncs it in one step, says how far all
//! is durable, and goes on. What comes meanwhile is the next group; nothing waits for company.
//!
//! It leaves to others: what a group looks like on the disk ([`super::log`]).

use std::{
    collections::VecDeque,
    fs::File,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use tracing::{error, info};

use super::{
    DiskMetrics,
    log::{Log, LogError},
    record::estimated_bytes,
};
use crate::store::Batch;

/// A group takes no more than this, unless it is one batch or the store is full.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Pauses while the disk is full grow from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What writers and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Mutex<Queue>,
    /// Something has changed in the queue.
    pub(super) changed: Condvar,
    pub(super) durable: watch::Sender<u64>,
    pub(super) trouble: Mutex<Option<String>>,
}

/// What waits for the thread.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Batch>,
    last_position: u64,
    /// What is not durable, here and in the thread's hands.
    pub(super) backlog_bytes: usize,
    /// Nothing more is taken.
    closed: bool,
}

impl Queue {
    /// Takes a batch and returns its position; it is not kept if nothing is taken any more.
    pub(super) fn push(&mut self, batch: Batch) -> u64 {
        if !batch.is_empty() {
            self.last_position += 1;
            self.backlog_bytes += estimated_bytes(&batch);
            if !self.closed {
                self.waiting.push_back(batch);
            }
        }
        self.last_position
    }

    /// Takes nothing more; what is there is still written.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }
}

/// The thread cannot go on.
#[derive(Debug)]
struct Stopped;

/// The thread's own.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) log: Log,
    pub(super) metrics: DiskMetrics,
    /// Held as long as the files are written to.
    pub(super) lock: File,
    /// Taken from the queue and not yet written.
    pub(super) taken: VecDeque<Batch>,
    pub(super) troubled: bool,
}

impl Writer {
    /// Writes until the store is closed or fails.
    pub(super) fn run(mut self) {
        self.show();
        let mut any_written = false;
        while let Some(batches) = self.next() {
            any_written |= !batches.is_empty();
            if self.keep(batches).is_err() {
                break;
            }
        }
        self.shared.queue.lock().close();
        if any_written && !self.troubled {
            // Damage to the last group could not be told from a torn tail without a later one.
            let _ = self.commit(vec![Batch::default()], 0);
        }
        if let Err(error) = self.lock.unlock() {
            error!(%error, "the folder of the store stays locked until this process ends");
        }
    }

    /// What to write next; nothing if there is time for other work, none if the store is closed.
    fn next(&mut self) -> Option<Vec<Batch>> {
        if self.taken.is_empty() {
            let has_idle_work = self.log.has_idle_work();
            let mut queue = self.shared.queue.lock();
            while queue.waiting.is_empty() && !queue.closed && !has_idle_work {
                self.shared.changed.wait(&mut queue);
            }
            if queue.waiting.is_empty() && queue.closed {
                return None;
            }
            mem::swap(&mut self.taken, &mut queue.waiting);
        }
        let mut bytes = 0;
        let fits = |batch: &&Batch| {
            let first = bytes == 0;
            bytes += estimated_bytes(batch);
            first || bytes <= GROUP_BYTES_MAX
        };
        let count = self.taken.iter().take_while(fits).count();
        Some(self.taken.drain(..count).collect())
    }

    /// Makes batches durable, once there is room for them.
    fn keep(&mut self, mut batches: Vec<Batch>) -> Result<(), Stopped> {
        let mut pause = RETRY.0;
        while !self.log.admits(&batches) {
            if self.log.has_idle_work() {
                self.commit(Vec::new(), 0)?;
                continue;
            }
            self.trouble("the store takes as much as store.bytes_max allows".to_owned());
            self.pause(&mut pause)?;
            // What comes later may free more than all of it needs.
            let mut queue = self.shared.queue.lock();
            batches.extend(self.taken.drain(..).chain(queue.waiting.drain(..)));
        }
        let bytes = batches.iter().map(estimated_bytes).sum();
        let count = batches.len() as u64;
        self.commit(batches, bytes)?;
        self.metrics.batches.inc_by(count);
        if count > 0 {
            self.shared.durable.send_modify(|durable| *durable += count);
        }
        Ok(())
    }

    /// Writes a group, again and again while the disk is full.
    fn commit(&mut self, batches: Vec<Batch>, bytes: usize) -> Result<(), Stopped> {
        let group = self.log.group(batches);
        let mut pause = RETRY.0;
        loop {
            let start = Instant::now();
            match self.log.write(&group) {
                Ok(()) => {
                    self.metrics.commit_time.observe(start.elapsed().as_secs_f64());
                    break;
                }
                Err(LogError::Later(text)) => {
                    self.trouble(text);
                    self.pause(&mut pause)?;
                    self.log.drop_oldest();
                }
                Err(LogError::Failed(text)) => {
                    self.trouble(format!("nothing is kept until a restart: {text}"));
                    return Err(Stopped);
                }
            }
        }
        self.heal();
        self.shared.queue.lock().backlog_bytes -= bytes;
        self.metrics.commits.inc();
        self.metrics.written_bytes.inc_by(group.bytes() as u64);
        self.show();
        Ok(())
    }

    /// Lets some time pass; an error if the store is being closed, which can't wait for space.
    fn pause(&mut self, pause: &mut Duration) -> Result<(), Stopped> {
        let until = Instant::now() + *pause;
        *pause = (*pause * 2).min(RETRY.1);
        let mut queue = self.shared.queue.lock();
        loop {
            if queue.closed {
                return Err(Stopped);
            }
            if self.shared.changed.wait_until(&mut queue, until).timed_out() {
                return Ok(());
            }
        }
    }

    fn trouble(&mut self, text: String) {
        if !mem::replace(&mut self.troubled, true) {
            error!(trouble = text, "the store keeps nothing now");
            self.metrics.trouble.set(1);
        }
        *self.shared.trouble.lock() = Some(text);
    }

    fn heal(&mut self) {
        if mem::take(&mut self.troubled) {
            info!("the store keeps again what is written");
            self.metrics.trouble.set(0);
            *self.shared.trouble.lock() = None;
        }
    }

    fn show(&self) {
        let index = &self.log.index;
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.bytes.set(gauge(index.bytes()));
        self.metrics.live_bytes.set(gauge(index.live_bytes()));
        self.metrics.segments.set(gauge(index.segments() as u64));
    }
}
