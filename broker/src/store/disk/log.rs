//! The log: groups of batches go to the end of the newest segment, one write and one sync each.
//!
//! Segments are numbered without a gap, and only the oldest ever goes: a deletion in a later one can
//! so never be forgotten while an earlier one still holds what it deleted. What lives in the
//! oldest is written again at the end ([`super::compact`]).
//!
//! It knows no thread and no queue, and does nothing by itself, so that it can be tried with a crash
//! between any two of its steps. It leaves to others: when to write ([`super::writer`]), and reading it
//! all back ([`super::recover`]).

use std::{collections::HashSet, io};

use super::{
    compact::Compaction,
    files::{DiskFile, Folder},
    index::{Index, Place},
    record::{self, Frame, HEADER_BYTES, Header, Written},
};
use crate::store::{Batch, Entry};

/// By how much a segment is filled with zeros ahead of what is written: a sync that doesn't
/// change the length of a file is much cheaper.
const AHEAD_BYTES: u64 = 4 << 20;

/// What a log is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A segment that has reached it is followed by the next.
    pub(super) segment_bytes: u64,
    /// What all segments may take, about.
    pub(super) bytes_max: Option<u64>,
}

/// Why a group is not kept.
#[derive(Debug)]
pub(super) enum LogError {
    /// The disk is full, or there are too many open files; the same group may be written later.
    Later(String),
    /// What is on the disk is no longer known: nothing must be written any more.
    Failed(String),
}

/// What a failed write of a group means.
fn failed_write(path: &str, error: &io::Error) -> LogError {
    let text = format!("{path}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::Later(text),
        _ => LogError::Failed(text),
    }
}

/// The name of a segment's file.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:012}.segment")
}

/// The number in the name of a segment's file.
pub(super) fn file_number(name: &str) -> Option<u64> {
    name.strip_suffix(".segment")?.parse().ok()
}

/// The ending of a file that is not whole yet.
pub(super) const UNFINISHED: &str = ".new";

/// Makes a file that is there with all of `bytes`, or not at all.
pub(super) fn create_whole(folder: &dyn Folder, name: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = format!("{name}{UNFINISHED}");
    let written = folder
        .create(&unfinished)
        .and_then(|file| file.write_at(0, bytes).and_then(|()| file.sync()))
        .and_then(|()| folder.rename(&unfinished, name));
    if written.is_err() {
        // It would be deleted at the next start too; but a full disk needs the space now.
        let _ = folder.remove(&unfinished);
    }
    written.and_then(|()| folder.sync())
}

/// Batches that are written in one step.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    written: Vec<Written>,
    /// What is moved from the oldest segment, then what is new.
    batches: Vec<Batch>,
    next_sequence: u64,
}

impl Group {
    /// What is written to the disk.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) number: u64,
    /// Where the next group goes.
    pub(super) end: u64,
    /// The length of the file; from `end` on it is zeros.
    pub(super) length: u64,
}

/// An open log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) folder: Box<dyn Folder>,
    pub(super) limits: Limits,
    pub(super) salt: u32,
    pub(super) next_sequence: u64,
    pub(super) newest: Option<Newest>,
    pub(super) index: Index,
    pub(super) compaction: Compaction,
}

impl Log {
    /// Whether there is room for batches. There always is if, taken together, less lives after
    /// them than before: or a full store could never be emptied.
    pub(super) fn admits(&self, batches: &[Batch]) -> bool {
        let Some(bytes_max) = self.limits.bytes_max else {
            return true;
        };
        let needed: usize = batches.iter().map(record::estimated_bytes).sum();
        self.index.bytes() + needed as u64 <= bytes_max || self.frees(batches)
    }

    fn frees(&self, batches: &[Batch]) -> bool {
        let mut ended = HashSet::new();
        let mut added = 0;
        for batch in batches.iter().rev() {
            for entry in batch.puts.iter().rev() {
                let lives = entry.keys.iter().filter(|key| ended.insert(*key)).count() > 0;
                added += if lives { entry.value.len() as u64 } else { 0 };
            }
            ended.extend(&batch.deletes);
        }
        self.index.freed_bytes(ended.into_iter()) >= added
    }

    /// Makes a group of batches, and of some work on the oldest segment if that is due.
    pub(super) fn group(&mut self, batches: Vec<Batch>) -> Group {
        let news: usize = batches.iter().map(record::estimated_bytes).sum();
        let moved = self.move_some(news as u64);
        let mut group = Group { next_sequence: self.next_sequence, ..Group::default() };
        // Before the new ones: it is told by what was there before them.
        group.batches.extend(moved);
        group.batches.extend(batches);
        for batch in &group.batches {
            let sequence = group.next_sequence;
            let frame = Frame { sequence, group_start: self.next_sequence, after_gap: false };
            record::append(&mut group.bytes, self.salt, frame, batch, &mut group.written);
            group.next_sequence += 1;
        }
        group
    }

    /// Writes a group and syncs it. If the disk is full the same group may be tried again, and no
    /// other before it: what is there of it already is then written over by the same bytes.
    pub(super) fn write(&mut self, group: &Group) -> Result<(), LogError> {
        if !group.bytes.is_empty() {
            let length = group.bytes.len() as u64;
            self.make_room(length)?;
            let segment_bytes = self.limits.segment_bytes;
            if let Some(newest) = &mut self.newest {
                let written = newest.write(&group.bytes, segment_bytes);
                let name = file_name(newest.number);
                written.map_err(|error| failed_write(&self.folder.path(&name), &error))?;
                // An error of a sync is final, even if it says that the disk is full.
                newest.file.sync().map_err(|error| {
                    LogError::Failed(format!("{}: sync: {error}", self.folder.path(&name)))
                })?;
                let base = newest.end;
                newest.end += length;
                let number = newest.number;
                self.index.grow(number, length);
                self.apply(group, number, base);
            }
            self.next_sequence = group.next_sequence;
        }
        self.drop_oldest();
        Ok(())
    }

    /// Keys lead to where the group has put them.
    fn apply(&mut self, group: &Group, segment: u64, base: u64) {
        let mut written = group.written.iter();
        for batch in &group.batches {
            for key in &batch.deletes {
                self.index.delete(key);
            }
            for (entry, written) in batch.puts.iter().zip(written.by_ref()) {
                let place = place(segment, base, *written);
                self.index.put(entry.keys.iter().cloned(), place);
            }
        }
    }

    /// Ends the newest segment if `length` does not fit, and begins the next.
    fn make_room(&mut self, length: u64) -> Result<(), LogError> {
        let fits = |newest: &Newest| {
            newest.end + length <= self.limits.segment_bytes || newest.end == HEADER_BYTES as u64
        };
        if self.newest.as_ref().is_some_and(fits) {
            return Ok(());
        }
        if let Some(newest) = &self.newest {
            let path = self.folder.path(&file_name(newest.number));
            let failed = |error: &io::Error| LogError::Failed(format!("{path}: {error}"));
            newest.file.truncate(newest.end).map_err(|error| failed(&error))?;
            newest.file.sync().map_err(|error| failed(&error))?;
        }
        self.newest = None;
        let number = self.index.newest().map_or(1, |newest| newest + 1);
        let header = Header { number, first_sequence: self.next_sequence, salt: self.salt };
        let name = file_name(number);
        // Nothing stands in it yet: whatever went wrong, it may be made anew.
        let file = create_whole(&*self.folder, &name, &header.encode())
            .and_then(|()| self.folder.open(&name))
            .map_err(|error| LogError::Later(format!("{}: {error}", self.folder.path(&name))))?;
        let end = HEADER_BYTES as u64;
        self.newest = Some(Newest { file, number, end, length: end });
        self.index.grow(number, end);
        Ok(())
    }
}

impl Newest {
    /// Writes at the end, and zeros behind it if that makes the file grow.
    fn write(&mut self, bytes: &[u8], segment_bytes: u64) -> io::Result<()> {
        self.file.write_at(self.end, bytes)?;
        let end = self.end + bytes.len() as u64;
        if end <= self.length {
            return Ok(());
        }
        self.length = end;
        let ahead = segment_bytes.saturating_sub(end).min(AHEAD_BYTES);
        let zeros = vec![0; usize::try_from(ahead).unwrap_or(0)];
        // Without them the next sync is dearer, no more.
        if self.file.write_at(end, &zeros).is_ok() {
            self.length = end + ahead;
        }
        Ok(())
    }
}

/// Where an entry of a buffer stands that was written at `base`.
pub(super) fn place(segment: u64, base: u64, written: Written) -> Place {
    let bytes = u32::try_from(written.bytes).unwrap_or(u32::MAX);
    Place { segment, offset: base + written.offset as u64, bytes }
}

/// A batch of nothing but entries.
pub(super) fn batch_of(puts: Vec<Entry>) -> Option<Batch> {
    (!puts.is_empty()).then(|| Batch { deletes: Vec::new(), puts })
}
