//! A disk in memory that can lose what was not synced, fill up and fail.
//!
//! Bytes that were written and not synced survive a crash or don't, in pieces of [`SECTOR_BYTES`];
//! files that were made, renamed or deleted survive up to some point of that order.

use std::{collections::BTreeMap, io, sync::Arc};

use parking_lot::Mutex;

use super::super::files::{DiskFile, Folder};

/// Smaller than any real one: more ways to tear a record.
const SECTOR_BYTES: usize = 16;

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                to.resize(to.len().max(offset + bytes.len()), 0);
                to[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Self::Truncate { length } => to.resize(*length, 0),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    synced: Vec<u8>,
    now: Vec<u8>,
    unsynced: Vec<Change>,
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.unsynced.push(change);
    }

    /// What is left after a crash.
    fn survive(&mut self, chance: &mut dyn FnMut() -> bool) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Write { offset, bytes } => {
                    for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                        if chance() {
                            let offset = offset + number * SECTOR_BYTES;
                            Change::Write { offset, bytes: sector.to_vec() }
                                .apply(&mut self.synced);
                        }
                    }
                }
                cut @ Change::Truncate { .. } => {
                    if chance() {
                        cut.apply(&mut self.synced);
                    }
                }
            }
        }
        self.now = self.synced.clone();
    }
}

/// What goes wrong, and when: operations that change something are counted down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// After so many operations nothing does anything any more, as if the machine had stopped.
    Crash(usize),
    /// So many bytes fit in all files together.
    Full(usize),
    /// The sync after so many others fails, once.
    Sync(usize),
}

type Names = BTreeMap<String, usize>;

#[derive(Debug, Default)]
struct State {
    contents: Vec<Content>,
    names: Names,
    /// How the names were after the last sync and after each change since.
    names_history: Vec<Names>,
    fault: Fault,
    crashed: bool,
    operations: usize,
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        self.operations += 1;
        if let Fault::Crash(left) = &mut self.fault {
            self.crashed |= *left == 0;
            *left = left.saturating_sub(1);
        }
        if self.crashed { Err(io::Error::other("crashed")) } else { Ok(()) }
    }

    fn renamed(&mut self) {
        self.names_history.push(self.names.clone());
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn bytes(&self) -> usize {
        self.names.values().map(|file| self.contents[*file].now.len()).sum()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.step()?;
        if let Fault::Sync(left) = &mut self.fault {
            if *left == 0 {
                self.fault = Fault::None;
                return Err(io::Error::other("the disk has failed"));
            }
            *left -= 1;
        }
        Ok(())
    }
}

/// All handles are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(super) fn set(&self, fault: Fault) {
        self.0.lock().fault = fault;
    }

    pub(super) fn has_crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// Operations so far that changed something.
    pub(super) fn operations(&self) -> usize {
        self.0.lock().operations
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.lock().bytes()
    }

    /// The disk as the machine finds it when it starts again.
    pub(super) fn restart(&self, chance: &mut dyn FnMut() -> bool) -> Self {
        let mut state = self.0.lock();
        let mut contents = state.contents.clone();
        for content in &mut contents {
            content.survive(chance);
        }
        let mut names = state.names_history.first().cloned().unwrap_or_default();
        let later: Vec<Names> = state.names_history.drain(..).skip(1).collect();
        for later in later {
            if !chance() {
                break;
            }
            names = later;
        }
        let names_history = vec![names.clone()];
        Self(Arc::new(Mutex::new(State { contents, names, names_history, ..State::default() })))
    }

    /// The bytes of a file.
    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        let state = self.0.lock();
        let file = state.find(name).unwrap();
        state.contents[file].now.clone()
    }

    /// Puts bytes in place of a file, synced.
    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.0.lock();
        let content = Content { synced: bytes.clone(), now: bytes, unsynced: Vec::new() };
        state.contents.push(content);
        let file = state.contents.len() - 1;
        state.names.insert(name.to_owned(), file);
        state.names_history = vec![state.names.clone()];
    }

    /// A copy that shares nothing, all of it synced.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::default();
        for name in self.names().unwrap() {
            copy.put(&name, self.read(&name));
        }
        copy
    }
}

impl Folder for Disk {
    fn path(&self, name: &str) -> String {
        name.to_owned()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.step()?;
        state.contents.push(Content::default());
        let file = state.contents.len() - 1;
        state.names.insert(name.to_owned(), file);
        state.renamed();
        Ok(Box::new(Open { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.0.lock().find(name)?;
        Ok(Box::new(Open { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let file = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        state.renamed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.find(name)?;
        state.names.remove(name);
        state.renamed();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.sync()?;
        state.names_history = vec![state.names.clone()];
        Ok(())
    }
}

#[derive(Debug)]
struct Open {
    disk: Disk,
    file: usize,
}

impl DiskFile for Open {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().contents[self.file].now.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.disk.0.lock();
        let offset = usize::try_from(offset).unwrap();
        let there = state.contents[self.file].now.get(offset..offset + buffer.len());
        buffer.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.step()?;
        let offset = usize::try_from(offset).unwrap();
        let length = state.contents[self.file].now.len();
        let grows = (offset + bytes.len()).saturating_sub(length);
        let fits = match state.fault {
            Fault::Full(space) => space.saturating_sub(state.bytes()),
            Fault::None | Fault::Crash(_) | Fault::Sync(_) => usize::MAX,
        };
        let count = bytes.len() - grows.saturating_sub(fits).min(bytes.len());
        let bytes_that_fit = bytes[..count].to_vec();
        if count > 0 {
            state.contents[self.file].change(Change::Write { offset, bytes: bytes_that_fit });
        }
        if count < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.step()?;
        let length = usize::try_from(length).unwrap();
        state.contents[self.file].change(Change::Truncate { length });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.sync()?;
        let content = &mut state.contents[self.file];
        content.unsynced.clear();
        content.synced = content.now.clone();
        Ok(())
    }
}
