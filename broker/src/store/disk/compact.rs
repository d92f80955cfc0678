//! Makes room: what lives in the oldest segment is written again at the end, a piece with each
//! group, and the segment goes once nothing in it lives.
//!
//! Reading runs four bytes ahead of each byte written, so that the log stays within about two and a
//! half times what lives and two segments, and a group is delayed by little. It leaves to others:
//! writing the pieces ([`super::log`]).

use std::io;

use bytes::Bytes;
use smallvec::SmallVec;
use tracing::{error, warn};

use super::{
    files::DiskFile,
    log::{Log, batch_of, file_name},
    record::{EntryView, FRAME_BYTES, HEADER_BYTES, Record},
};
use crate::store::{Batch, Entry, Key};

/// What is read at least, to be worth it; a quarter of a segment, if that is less.
const PIECE_BYTES_MIN: u64 = 64 << 10;
/// What is read between two groups at most, unless the groups themselves are larger.
const PIECE_BYTES_MAX: u64 = 256 << 10;
/// What is read for each byte written.
const PACE: u64 = 4;

/// How far the oldest segment has been read.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    reading: Option<Reading>,
    /// What may be read.
    credit_bytes: u64,
    /// A file could not be read or deleted. Nothing goes until the next start looks at it.
    pub(super) halted: bool,
}

#[derive(Debug)]
struct Reading {
    segment: u64,
    file: Box<dyn DiskFile>,
    offset: u64,
    end: u64,
}

impl Log {
    /// Whether the log is larger than it need be, so that idle time is well spent on it.
    pub(super) fn compaction_due(&self) -> bool {
        let live_bytes = self.index.live_bytes();
        let slack = 2 * self.limits.segment_bytes;
        let low = live_bytes + slack;
        let target = live_bytes + low;
        let target = self
            .limits
            .bytes_max
            .map_or(target, |bytes_max| target.min(bytes_max.saturating_sub(slack)).max(low));
        // Headers can't be saved by moving what lives: counting them could mean moving for ever.
        let headers = (self.index.segments() * HEADER_BYTES) as u64;
        let more_than_newest = self.index.segments() > 1;
        !self.compaction.halted && more_than_newest && self.index.bytes() > target + headers
    }

    /// Whether there is something to do that needs no new batch.
    pub(super) fn has_idle_work(&self) -> bool {
        self.compaction_due() || self.droppable().is_some()
    }

    /// Reads on in the oldest segment, as far as `news` bytes to be written allow (none: there is
    /// time), and returns what of it must be written again.
    pub(super) fn move_some(&mut self, news: u64) -> Option<Batch> {
        if !self.compaction_due() {
            self.compaction.credit_bytes = 0;
            return None;
        }
        let credit = if news == 0 { PIECE_BYTES_MAX } else { news.saturating_mul(PACE) };
        let credit = credit + self.compaction.credit_bytes;
        self.compaction.credit_bytes = credit;
        if credit < PIECE_BYTES_MIN.min(self.limits.segment_bytes / 4) {
            return None;
        }
        let piece_bytes = credit.min(PIECE_BYTES_MAX.max(news.saturating_mul(PACE)));
        self.compaction.credit_bytes = 0;
        match self.read_piece(piece_bytes) {
            Ok(entries) => batch_of(entries),
            Err(error) => {
                let name = self.index.oldest().map(|(number, _)| file_name(number));
                let path = self.folder.path(&name.unwrap_or_default());
                error!(file = path, %error, "cannot be read: nothing is compacted until a restart");
                self.compaction.halted = true;
                None
            }
        }
    }

    /// What lives in the next piece of the oldest segment.
    fn read_piece(&mut self, bytes: u64) -> io::Result<Vec<Entry>> {
        let Some((segment, oldest)) = self.index.oldest() else {
            return Ok(Vec::new());
        };
        let reading = match self.compaction.reading.take() {
            Some(reading) if reading.segment == segment => reading,
            Some(_) | None => Reading {
                segment,
                file: self.folder.open(&file_name(segment))?,
                offset: HEADER_BYTES as u64,
                end: oldest.bytes,
            },
        };
        let reading = self.compaction.reading.insert(reading);
        let base = reading.offset;
        let piece = Bytes::from(reading.next(bytes)?);
        let mut entries = Vec::new();
        let mut offset = 0;
        while let Some(record) = Record::read(&piece, offset, self.salt, |_| true) {
            let batch = record.batch().ok_or_else(damaged)?;
            let living =
                batch.puts.iter().filter_map(|put| self.living(&piece, base, segment, put));
            entries.extend(living);
            offset = record.end();
        }
        // All has been read, and yet something lives: it is not where it should be.
        if offset == 0 && oldest.live_entries > 0 {
            return Err(damaged());
        }
        if let Some(reading) = &mut self.compaction.reading {
            reading.offset = base + offset as u64;
        }
        Ok(entries)
    }

    /// An entry with the keys that lead to it, if any does.
    fn living(&self, piece: &Bytes, base: u64, segment: u64, put: &EntryView<'_>) -> Option<Entry> {
        let offset = base + put.written.offset as u64;
        let keys = put.keys.iter().map(|key| Key((*key).into()));
        let mut keys: SmallVec<[Key; 1]> =
            keys.filter(|key| self.index.leads_to(key, segment, offset)).collect();
        // One that stands twice in an entry leads to it once.
        keys.sort_unstable();
        keys.dedup();
        (!keys.is_empty()).then(|| Entry { keys, value: piece.slice_ref(put.value) })
    }

    fn droppable(&self) -> Option<u64> {
        let (segment, oldest) = self.index.oldest()?;
        let is_newest = self.index.newest() == Some(segment);
        (!is_newest && oldest.live_entries == 0 && !self.compaction.halted).then_some(segment)
    }

    /// Deletes the oldest segment if nothing in it lives, and makes that durable before another
    /// can go: were a later one gone alone, its deletions would be forgotten.
    pub(super) fn drop_oldest(&mut self) {
        let Some(segment) = self.droppable() else {
            return;
        };
        self.compaction.reading = None;
        let name = file_name(segment);
        if let Err(error) = self.folder.remove(&name).and_then(|()| self.folder.sync()) {
            warn!(file = self.folder.path(&name), %error, "cannot be deleted: kept until a restart");
            self.compaction.halted = true;
            return;
        }
        self.index.drop_segment(segment);
    }
}

impl Reading {
    /// About so many bytes, beginning with a record; the whole record, if that is longer.
    fn next(&self, bytes: u64) -> io::Result<Vec<u8>> {
        let left = self.end.saturating_sub(self.offset);
        let mut piece = self.read(bytes.min(left))?;
        let frame = piece.get(..FRAME_BYTES.min(piece.len())).unwrap_or_default();
        let first = Record::length(frame).unwrap_or(0);
        if first > piece.len() {
            let first = first as u64;
            piece = self.read(if first > left { return Err(damaged()) } else { first })?;
        }
        Ok(piece)
    }

    fn read(&self, bytes: u64) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; usize::try_from(bytes).map_err(|_| damaged())?];
        self.file.read_at(self.offset, &mut piece)?;
        Ok(piece)
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a record is damaged")
}
