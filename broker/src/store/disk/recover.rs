//! Opens a log: reads all segments, cuts a torn tail off, sets damaged files aside, and says what
//! lives and what was found.
//!
//! What is read is synced before anybody is told of it: it may have been written by a process that
//! ended before its sync. It leaves to others: telling damage from a torn tail ([`super::scan`]).

use std::io;

use bytes::Bytes;
use smallvec::SmallVec;
use tracing::{error, info, warn};

use super::{
    compact::Compaction,
    files::Folder,
    index::Index,
    log::{Limits, Log, Newest, UNFINISHED, create_whole, file_name, file_number, place},
    record::{HEADER_BYTES, Header, HeaderReading, Record, VERSION},
    scan::{Hole, Scan, scan},
};
use crate::store::{Entry, Key, StoreError};

/// What was found when the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files read.
    pub segments: usize,
    /// Batches read.
    pub batches: usize,
    /// What was being written when the machine or the process stopped, and was never durable.
    pub cut: Option<Cut>,
    /// What had been durable and can't be read any more.
    pub damages: Vec<Damage>,
}

/// The end of the newest file, cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The path.
    pub file: String,
    /// Where it was cut, in bytes from its start.
    pub offset: u64,
    /// How many bytes went, zeros ahead of the end not counted.
    pub bytes: u64,
}

/// A file that could not be read as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The path.
    pub file: String,
    /// Where the file is kept as it was found.
    pub set_aside: String,
    /// Where the damage begins, in bytes from the start of the file.
    pub offset: u64,
    /// How long it is; 0 where whole records, or the whole file after it, are missing.
    pub bytes: u64,
}

/// An open log with all that lives in it.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) log: Log,
    /// In no order; the keys of each are sorted.
    pub(super) entries: Vec<Entry>,
    pub(super) report: Report,
}

/// Opens the log in a folder; `salt` is for one that is new.
pub(super) fn recover(
    folder: Box<dyn Folder>,
    limits: Limits,
    salt: u32,
) -> Result<Recovered, StoreError> {
    let files = find(&*folder)?;
    let salt = files.iter().find_map(Found::header).map_or(salt, |header| header.salt);
    let log = Log {
        folder,
        limits,
        salt,
        next_sequence: 1,
        newest: None,
        index: Index::default(),
        compaction: Compaction::default(),
    };
    let mut recovery = Recovery { log, values: Vec::new(), report: Report::default() };
    recovery.read_all(&files)?;
    recovery.finish()
}

/// A segment whose header has been read.
struct Found {
    number: u64,
    reading: HeaderReading,
}

impl Found {
    fn header(&self) -> Option<Header> {
        match self.reading {
            HeaderReading::Good { header, .. } if header.number == self.number => Some(header),
            HeaderReading::Good { .. } | HeaderReading::Newer(_) | HeaderReading::Damaged => None,
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self.reading, HeaderReading::Good { whole: true, .. })
    }
}

/// All segments in order. Nothing has been touched if one of them is of a newer version.
fn find(folder: &dyn Folder) -> Result<Vec<Found>, StoreError> {
    let names = folder.names().map_err(at(folder, ""))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| file_number(name)).collect();
    numbers.sort_unstable();
    let mut files = Vec::new();
    for number in numbers {
        let name = file_name(number);
        let reading = read_header(folder, &name).map_err(at(folder, &name))?;
        if let HeaderReading::Newer(found) = reading {
            return Err(StoreError::Version { path: folder.path(&name), found, known: VERSION });
        }
        files.push(Found { number, reading });
    }
    for name in names.iter().filter(|name| name.ends_with(UNFINISHED)) {
        folder.remove(name).map_err(at(folder, name))?;
    }
    Ok(files)
}

fn read_header(folder: &dyn Folder, name: &str) -> io::Result<HeaderReading> {
    let file = folder.open(name)?;
    let length = file.len()?.min(HEADER_BYTES as u64);
    let mut bytes = vec![0; HEADER_BYTES];
    let there = usize::try_from(length).unwrap_or(HEADER_BYTES);
    if let Some(bytes) = bytes.get_mut(..there) {
        file.read_at(0, bytes)?;
    }
    Ok(Header::decode(&bytes))
}

fn at<'a>(folder: &'a dyn Folder, name: &'a str) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |error| StoreError::Io { path: folder.path(name), error }
}

struct Recovery {
    log: Log,
    /// The value of each slot of the index.
    values: Vec<Bytes>,
    report: Report,
}

impl Recovery {
    fn read_all(&mut self, files: &[Found]) -> Result<(), StoreError> {
        for (position, file) in files.iter().enumerate() {
            let later = files.get(position + 1..).unwrap_or_default();
            let next_segment = later.iter().find_map(Found::header);
            let next_segment = next_segment.map(|header| header.first_sequence);
            self.report.segments += 1;
            match file.header() {
                Some(header) => {
                    self.read(file, header, next_segment).map_err(|error| self.failed(file, error))
                }
                None => self.set_aside_whole(file.number).map_err(|error| self.failed(file, error)),
            }?;
        }
        Ok(())
    }

    fn failed(&self, file: &Found, error: io::Error) -> StoreError {
        StoreError::Io { path: self.log.folder.path(&file_name(file.number)), error }
    }

    /// Reads one segment, after all before it.
    fn read(&mut self, file: &Found, header: Header, next: Option<u64>) -> io::Result<()> {
        let name = file_name(file.number);
        let mut bytes = self.read_file(&name)?;
        let salt = header.salt;
        let mut found = scan(&bytes, salt, header.first_sequence, next);
        let repaired;
        if !found.holes.is_empty() || !file.is_whole() {
            repaired = self.repair(&name, &bytes, &found, header, next)?;
            bytes = repaired;
            found = scan(&bytes, salt, header.first_sequence, next);
        } else if let Some(torn) = found.torn {
            self.cut(&name, &bytes, torn)?;
        }
        self.apply(file.number, &found);
        self.log.next_sequence = found.next_sequence;
        self.log.index.grow(file.number, found.end as u64);
        if next.is_none() {
            let end = found.end;
            self.open_newest(file.number, bytes.get(..end).unwrap_or_default())?;
        }
        Ok(())
    }

    fn read_file(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.log.folder.open(name)?;
        let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Cuts off what had been written when the process or the machine stopped.
    fn cut(&mut self, name: &str, bytes: &[u8], torn: Hole) -> io::Result<()> {
        let file = self.log.folder.path(name);
        let rest = bytes.get(torn.offset..).unwrap_or_default();
        let written = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let cut = Cut { file, offset: torn.offset as u64, bytes: written as u64 };
        warn!(
            file = cut.file,
            offset = cut.offset,
            bytes = cut.bytes,
            "cut off an unfinished write"
        );
        let open = self.log.folder.open(name)?;
        open.truncate(cut.offset)?;
        open.sync()?;
        self.report.cut = Some(cut);
        Ok(())
    }

    /// Keeps the file as it was found under another name, and puts in its place one with all that
    /// can be read of it, which is returned.
    fn repair(
        &mut self,
        name: &str,
        bytes: &[u8],
        found: &Scan<'_>,
        header: Header,
        next: Option<u64>,
    ) -> io::Result<Vec<u8>> {
        let folder = &*self.log.folder;
        let aside = free_name(folder, name)?;
        create_whole(folder, &aside, bytes)?;
        let mut repaired = header.encode();
        repaired.extend(found.repaired(bytes, header.salt, next));
        create_whole(folder, name, &repaired)?;
        let in_header = Hole { offset: 0, bytes: HEADER_BYTES, sequence: 0 };
        let holes = if found.holes.is_empty() { &[in_header][..] } else { &found.holes };
        for hole in holes {
            let (offset, bytes) = (hole.offset as u64, hole.bytes as u64);
            self.damaged(name, &aside, offset, bytes);
        }
        Ok(repaired)
    }

    fn set_aside_whole(&mut self, number: u64) -> io::Result<()> {
        let name = file_name(number);
        let folder = &*self.log.folder;
        let bytes = folder.open(&name)?.len()?;
        let aside = free_name(folder, &name)?;
        folder.rename(&name, &aside)?;
        folder.sync()?;
        self.damaged(&name, &aside, 0, bytes);
        Ok(())
    }

    fn damaged(&mut self, name: &str, aside: &str, offset: u64, bytes: u64) {
        let (file, set_aside) = (self.log.folder.path(name), self.log.folder.path(aside));
        error!(
            file,
            offset,
            bytes,
            set_aside,
            "damaged: what can be read of it is kept, what was there before is set aside"
        );
        self.report.damages.push(Damage { file, set_aside, offset, bytes });
    }

    /// Does what the batches of a segment say.
    fn apply(&mut self, segment: u64, found: &Scan<'_>) {
        for batch in found.records.iter().filter_map(Record::batch) {
            self.report.batches += 1;
            for key in batch.deletes {
                self.log.index.delete(&Key(key.into()));
            }
            for entry in batch.puts {
                let keys = entry.keys.iter().map(|key| Key((*key).into()));
                let slot = self.log.index.put(keys, place(segment, 0, entry.written)) as usize;
                if slot >= self.values.len() {
                    self.values.resize(slot + 1, Bytes::new());
                }
                if let Some(value) = self.values.get_mut(slot) {
                    *value = Bytes::copy_from_slice(entry.value);
                }
            }
        }
    }

    /// Lets the log go on at the end of the last segment, `written`.
    fn open_newest(&mut self, number: u64, written: &[u8]) -> io::Result<()> {
        let file = self.log.folder.open(&file_name(number))?;
        // A failed sync may have left bytes in memory that are not on the disk and that no further
        // sync would write; the same bytes written again are.
        file.write_at(0, written)?;
        file.sync()?;
        let (end, length) = (written.len() as u64, file.len()?);
        self.log.newest = Some(Newest { file, number, end, length });
        Ok(())
    }

    fn finish(self) -> Result<Recovered, StoreError> {
        let Self { log, values, report } = self;
        log.folder.sync().map_err(at(&*log.folder, ""))?;
        let (slots, keys) = log.index.keys();
        let none = || Entry { keys: SmallVec::new(), value: Bytes::new() };
        let mut entries: Vec<Entry> = std::iter::repeat_with(none).take(slots).collect();
        for (key, slot) in keys {
            if let Some(entry) = entries.get_mut(slot as usize) {
                entry.keys.push(key.clone());
            }
        }
        for (entry, value) in entries.iter_mut().zip(values) {
            entry.keys.sort_unstable();
            entry.value = value;
        }
        entries.retain(|entry| !entry.keys.is_empty());
        info!(
            segments = report.segments,
            batches = report.batches,
            entries = entries.len(),
            live_bytes = log.index.live_bytes(),
            bytes = log.index.bytes(),
            "opened the store"
        );
        Ok(Recovered { log, entries, report })
    }
}

/// A name under which a damaged file can be kept.
fn free_name(folder: &dyn Folder, name: &str) -> io::Result<String> {
    let names = folder.names()?;
    let first = format!("{name}.damaged");
    let more = (2..).map(|number| format!("{name}.damaged-{number}"));
    let free = std::iter::once(first).chain(more).find(|name| !names.contains(name));
    free.ok_or_else(|| io::Error::other("no free name"))
}
