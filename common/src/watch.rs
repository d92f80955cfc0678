//! Calls back when a file has changed, and at SIGHUP.
//!
//! ```text
//!   every second ── stat ──► another file than was read? ──► still the same a second later? ──► call
//!   SIGHUP ─────────────────────────────────────────────────────────────────────────────────► call
//! ```
//!
//! Files are looked at, not watched by the kernel's notices: a look costs microseconds, and sees what
//! notices miss: a mounted folder, a link that leads elsewhere, a file put in place of another. One that is
//! being written is left to settle, so that a certificate and its key are found together.
//!
//! It leaves to others: which files, and to read them.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::service;

/// Files that belong together, and what was seen of them.
#[derive(Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    /// As they were when they were last read.
    known: Vec<Mark>,
    /// As they were at the last look.
    last: Vec<Mark>,
    hangups: Option<Signal>,
}

/// What tells one state of a file from another; none while there is no file.
type Mark = Option<[i64; 6]>;

impl Watch {
    /// A change from now on counts, and a SIGHUP: to be called before the files are read. Within a Tokio
    /// runtime.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let known: Vec<_> = files.iter().map(mark).collect();
        let hangups = signal(SignalKind::hangup());
        let hangups = hangups.inspect_err(|error| warn!(%error, "SIGHUP can't be heard")).ok();
        Self { files, last: known.clone(), known, hangups }
    }

    /// Watches until the task is aborted. `changed` may block: it is given a thread.
    pub async fn run(mut self, changed: impl Fn() + Send + Sync + 'static) {
        let changed = Arc::new(changed);
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                _ = ticks.tick() => false,
                () = next(self.hangups.as_mut()) => true,
            };
            let changed = Arc::clone(&changed);
            let looked = spawn_blocking(move || {
                if self.look(is_asked) {
                    info!(by_signal = is_asked, "files are read anew");
                    if is_asked { service::reload(&*changed) } else { changed() }
                }
                self
            });
            match looked.await {
                Ok(back) => self = back,
                Err(error) => return warn!(%error, "files are not read again any more"),
            }
        }
    }

    /// Looks at the files. Whether they are to be read.
    fn look(&mut self, is_asked: bool) -> bool {
        let now = self.files.iter().map(mark).collect();
        let is_due = self.is_due(now);
        if is_due || is_asked {
            // Also if they will be refused: they are not read again before they change again.
            self.known.clone_from(&self.last);
        }
        is_due || is_asked
    }

    /// Whether these are other files than were read, and the same as at the last look.
    fn is_due(&mut self, now: Vec<Mark>) -> bool {
        let is_settled = now == self.last;
        self.last = now;
        is_settled && self.last != self.known
    }
}

async fn next(hangups: Option<&mut Signal>) {
    let heard = match hangups {
        Some(hangups) => hangups.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

fn mark(file: &PathBuf) -> Mark {
    let found = fs::metadata(file).ok()?;
    let [inode, bytes] = [found.ino(), found.size()].map(u64::cast_signed);
    let changed = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    let [a, b, c, d] = changed;
    Some([inode, bytes, a, b, c, d])
}

const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_once_for_each_change_after_it_has_settled() {
        let mark = |bytes| vec![Some([1, bytes, 1, 1, 1, 1])];
        let mut watch = Watch::new(Vec::new());
        (watch.known, watch.last) = (mark(1), mark(1));
        for (now, expected) in [
            (mark(1), false),
            (mark(2), false),
            (mark(3), false),
            (mark(3), true),
            (vec![None], false),
            (vec![None], true),
            (mark(3), false),
            (mark(1), false),
            (mark(1), true),
        ] {
            let is_due = watch.is_due(now.clone());
            assert_eq!(is_due, expected, "{now:?}");
            if is_due {
                watch.known = now;
            }
        }
        // Changed and changed back: there is nothing to read.
        assert!(!watch.is_due(mark(2)) && !watch.is_due(mark(1)) && !watch.is_due(mark(1)));
    }

    #[tokio::test]
    async fn every_way_to_change_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "one").unwrap();
        let mut watch = Watch::new(vec![path("a")]);
        assert!(!watch.look(false), "nothing has changed");
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(path("a"), "three").unwrap(),
            &|| {
                // Of the same size, put in its place.
                fs::write(path("b"), "three").unwrap();
                fs::rename(path("b"), path("a")).unwrap();
            },
            &|| fs::remove_file(path("a")).unwrap(),
            &|| {
                fs::write(path("c"), "three").unwrap();
                std::os::unix::fs::symlink(path("c"), path("a")).unwrap();
            },
        ];
        for change in changes {
            change();
            assert!(!watch.look(false), "it may still be written");
            assert!(watch.look(false));
            assert!(!watch.look(false) && !watch.look(false));
        }
        assert!(watch.look(true), "asked for");
    }
}
