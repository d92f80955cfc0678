//! Reads the records of one segment and says what is wrong with them; pure.
//!
//! Two things look alike at first: a *torn tail*, what was being written when the machine stopped,
//! and *damage* to what had been synced. A record after the bad spot tells them apart: if it was
//! written in a later group, the bad one had been synced. It leaves to others: files, and what
//! becomes of them ([`super::recover`]).

use super::record::{self, Frame, HEADER_BYTES, Record};
use crate::store::Batch;

/// Every record starts at a multiple of this.
const STEP: usize = 8;

/// A place in a segment that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    /// Where it starts, in bytes from the start of the file.
    pub(super) offset: usize,
    /// How long it is.
    pub(super) bytes: usize,
    /// The first record that is missing.
    pub(super) sequence: u64,
}

/// What stands in a segment.
#[derive(Debug, Default)]
pub(super) struct Scan<'a> {
    /// What can be read and counts, in order.
    pub(super) records: Vec<Record<'a>>,
    /// Damage to what had been synced.
    pub(super) holes: Vec<Hole>,
    /// What was being written at the end; only in the last segment.
    pub(super) torn: Option<Hole>,
    /// Where the next record is to be written.
    pub(super) end: usize,
    /// The sequence of that record.
    pub(super) next_sequence: u64,
    /// As the header says.
    first_sequence: u64,
}

/// Reads a segment whose header is known. `next_segment` is the first sequence of the one after
/// it; none for the last, in which alone the end may be torn.
pub(super) fn scan(
    bytes: &[u8],
    salt: u32,
    first_sequence: u64,
    next_segment: Option<u64>,
) -> Scan<'_> {
    let start = Scan { end: HEADER_BYTES, first_sequence, ..Scan::default() };
    let mut scan = read_all(start, bytes, salt);
    match next_segment {
        None => scan.find_torn(bytes),
        // Its end is cut off where a record ends, and nobody would miss it otherwise.
        Some(next) if next > scan.next_sequence && scan.rest(bytes).is_none() => {
            let (offset, sequence) = (scan.end, scan.next_sequence);
            scan.holes.push(Hole { offset, bytes: 0, sequence });
        }
        Some(_) => scan.holes.extend(scan.rest(bytes)),
    }
    scan
}

fn read_all<'a>(mut scan: Scan<'a>, bytes: &'a [u8], salt: u32) -> Scan<'a> {
    scan.next_sequence = scan.first_sequence;
    loop {
        let expected = scan.next_sequence;
        let next = Record::read(bytes, scan.end, salt, |sequence| sequence >= expected)
            .filter(|found| found.frame.sequence == expected || found.frame.after_gap);
        let next = next.or_else(|| {
            let found = search(bytes, scan.end, salt, expected)?;
            let (offset, bytes) = (scan.end, found.offset - scan.end);
            scan.holes.push(Hole { offset, bytes, sequence: expected });
            Some(found)
        });
        let Some(record) = next else {
            return scan;
        };
        scan.end = record.end();
        scan.next_sequence = record.frame.sequence + 1;
        scan.records.push(record);
    }
}

/// The next record after one that can't be read.
fn search(bytes: &[u8], from: usize, salt: u32, missing: u64) -> Option<Record<'_>> {
    let rest = bytes.get(from..)?;
    if rest.iter().all(|byte| *byte == 0) {
        return None;
    }
    // Sequences can't grow faster than records take space.
    let last = missing + (rest.len() / STEP) as u64;
    let accepts = |sequence| sequence > missing && sequence <= last;
    (from + STEP..bytes.len())
        .step_by(STEP)
        .find_map(|offset| Record::read(bytes, offset, salt, accepts))
}

impl Scan<'_> {
    /// What follows the last record, unless it is the zeros that were there before.
    fn rest(&self, bytes: &[u8]) -> Option<Hole> {
        let rest = bytes.get(self.end..).unwrap_or_default();
        let any = rest.iter().any(|byte| *byte != 0);
        let (offset, sequence) = (self.end, self.next_sequence);
        any.then_some(Hole { offset, bytes: rest.len(), sequence })
    }

    /// Cuts what was never synced: from the first hole after which nothing is of a later group.
    fn find_torn(&mut self, bytes: &[u8]) {
        self.torn = self.rest(bytes);
        let last_group = self.records.last().map_or(0, |record| record.frame.group_start);
        let proven = self.holes.iter().take_while(|hole| last_group > hole.sequence).count();
        if let Some(first) = self.holes.get(proven).copied() {
            self.holes.truncate(proven);
            self.records.retain(|record| record.frame.sequence < first.sequence);
            self.end = first.offset;
            self.next_sequence = first.sequence;
            self.torn = Some(Hole { bytes: bytes.len() - first.offset, ..first });
        }
    }

    /// The records that can be read, as a segment without its header and without holes. What was lost is
    /// marked, so that it isn't reported again. `next_segment` as for [`scan`].
    pub(super) fn repaired(&self, bytes: &[u8], salt: u32, next_segment: Option<u64>) -> Vec<u8> {
        let mut good = Vec::new();
        let mut expected = self.first_sequence;
        for record in &self.records {
            let sequence = record.frame.sequence;
            if sequence > expected && !record.frame.after_gap {
                append_gap(&mut good, salt, sequence - 1);
            }
            good.extend_from_slice(bytes.get(record.offset..record.end()).unwrap_or_default());
            expected = sequence + 1;
        }
        match next_segment {
            Some(next) if next > expected => append_gap(&mut good, salt, next - 1),
            Some(_) | None => {}
        }
        good
    }
}

/// An empty record before which everything may be missing.
fn append_gap(buffer: &mut Vec<u8>, salt: u32, sequence: u64) {
    let frame = Frame { sequence, group_start: sequence, after_gap: true };
    record::append(buffer, salt, frame, &Batch::default(), &mut Vec::new());
}
