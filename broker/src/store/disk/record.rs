//! The bytes of a segment: a [`Header`], then records.
//!
//! ```text
//!   header  magic, version, salt, number, first sequence, CRC     twice, 512 bytes apart
//!   record  crc32c(4) group(4) sequence(8) length(8)              padded to 8 bytes
//!           deletes: count, keys     puts: count, (keys, value)
//! ```
//!
//! A record is one batch. Its checksum starts from the salt of the store, so that nobody who
//! chooses a payload can make bytes that look like a record. `group` says how many records before it
//! were written in the same step: whatever came before those had been synced. It leaves to
//! others: where records stand, and what a hole between them means ([`super::scan`]).

use smallvec::SmallVec;

use crate::store::{Batch, Key};

/// The format this program writes, and the newest it reads.
pub(super) const VERSION: u32 = 1;
/// Where the first record stands.
pub(super) const HEADER_BYTES: usize = 1024;
/// What precedes the body of a record.
pub(super) const FRAME_BYTES: usize = 24;
/// What a record costs beside its entries, rounded up: frame, counts, padding.
const RECORD_OVERHEAD_BYTES: usize = 40;
const ALIGNMENT: usize = 8;
const MAGIC: &[u8; 8] = b"CAUSEWAY";
const SECOND_COPY: usize = 512;
/// The magic, the version, the salt, the number, the first sequence.
const COPY_BYTES: usize = 32;
/// In `group`: what is missing before this record is known to be lost.
const GAP: u32 = 1 << 31;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Grows by one with each segment.
    pub(super) number: u64,
    /// Of its first record.
    pub(super) first_sequence: u64,
    /// The same in all segments of a store.
    pub(super) salt: u32,
}

/// How a header reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderReading {
    /// At least one copy is good; `whole` if both are.
    Good {
        /// What it says.
        header: Header,
        /// Whether both copies say it.
        whole: bool,
    },
    /// Written by a newer program.
    Newer(u32),
    /// Neither copy is good.
    Damaged,
}

impl Header {
    /// All [`HEADER_BYTES`].
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(COPY_BYTES + 4);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&self.salt.to_le_bytes());
        copy.extend_from_slice(&self.number.to_le_bytes());
        copy.extend_from_slice(&self.first_sequence.to_le_bytes());
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        let mut bytes = copy.clone();
        bytes.resize(SECOND_COPY, 0);
        bytes.extend_from_slice(&copy);
        bytes.resize(HEADER_BYTES, 0);
        bytes
    }

    /// Reads the start of a segment.
    pub(super) fn decode(bytes: &[u8]) -> HeaderReading {
        let copies = [bytes.get(..SECOND_COPY), bytes.get(SECOND_COPY..HEADER_BYTES)];
        let [first, second] = copies.map(|copy| copy.and_then(Self::decode_copy));
        let header = first.or(second);
        let newer = copies.into_iter().flatten().find_map(newer_version);
        match (header, newer) {
            (Some(header), _) => HeaderReading::Good { header, whole: first == second },
            (None, Some(version)) => HeaderReading::Newer(version),
            (None, None) => HeaderReading::Damaged,
        }
    }

    fn decode_copy(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { rest: bytes };
        let said = bytes.get(..COPY_BYTES)?;
        let known = reader.take(8)? == MAGIC && reader.u32()? == VERSION;
        let salt = reader.u32()?;
        let (number, first_sequence) = (reader.u64()?, reader.u64()?);
        let whole = reader.u32()? == crc32c::crc32c(said);
        (known && whole).then_some(Self { number, first_sequence, salt })
    }
}

/// Magic and version stand where they do in every version to come.
fn newer_version(copy: &[u8]) -> Option<u32> {
    let mut reader = Reader { rest: copy };
    let ours = reader.take(8)? == MAGIC;
    let version = reader.u32()?;
    (ours && version > VERSION).then_some(version)
}

/// Where an entry of a batch has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// From the start of the buffer.
    pub(super) offset: usize,
    /// What it takes of the disk, its share of the record included.
    pub(super) bytes: usize,
}

/// What is said of a record beside its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Grows by one with each record of a store.
    pub(super) sequence: u64,
    /// The first sequence of the group it was written with: all before it was synced.
    pub(super) group_start: u64,
    /// Whether the sequences before it may be missing, because they are known to be lost.
    pub(super) after_gap: bool,
}

/// Appends a record. `written` gets the place of each entry.
pub(super) fn append(
    buffer: &mut Vec<u8>,
    salt: u32,
    frame: Frame,
    batch: &Batch,
    written: &mut Vec<Written>,
) {
    let start = buffer.len();
    buffer.resize(start + FRAME_BYTES, 0);
    append_body(buffer, batch, written);
    let length = buffer.len() - start - FRAME_BYTES;
    let group = frame.sequence.saturating_sub(frame.group_start);
    let group = u32::try_from(group).unwrap_or(u32::MAX).min(GAP - 1);
    let group = group | if frame.after_gap { GAP } else { 0 };
    let mut head = [0; FRAME_BYTES - 4];
    let fields = group.to_le_bytes().into_iter().chain(frame.sequence.to_le_bytes());
    let fields = fields.chain((length as u64).to_le_bytes());
    head.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
    let body = buffer.get(start + FRAME_BYTES..).unwrap_or_default();
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(salt, &head), body);
    let whole = crc.to_le_bytes().into_iter().chain(head);
    buffer.iter_mut().skip(start).zip(whole).for_each(|(byte, field)| *byte = field);
    buffer.resize(buffer.len().next_multiple_of(ALIGNMENT), 0);
}

fn append_body(buffer: &mut Vec<u8>, batch: &Batch, written: &mut Vec<Written>) {
    append_number(buffer, batch.deletes.len());
    for key in &batch.deletes {
        append_bytes(buffer, &key.0);
    }
    append_number(buffer, batch.puts.len());
    for entry in &batch.puts {
        let offset = buffer.len();
        append_number(buffer, entry.keys.len());
        for key in &entry.keys {
            append_bytes(buffer, &key.0);
        }
        append_bytes(buffer, &entry.value);
        written.push(Written { offset, bytes: buffer.len() - offset + RECORD_OVERHEAD_BYTES });
    }
}

fn append_bytes(buffer: &mut Vec<u8>, bytes: &[u8]) {
    append_number(buffer, bytes.len());
    buffer.extend_from_slice(bytes);
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn append_number(buffer: &mut Vec<u8>, number: usize) {
    let mut rest = number;
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            return buffer.push(low);
        }
        buffer.push(low | 0x80);
    }
}

/// About what a batch takes of the disk, or of memory while it waits.
pub(super) fn estimated_bytes(batch: &Batch) -> usize {
    let keys = |keys: &[Key]| keys.iter().map(|key| key.0.len() + 2).sum::<usize>();
    let puts = batch.puts.iter().map(|entry| keys(&entry.keys) + entry.value.len() + 4);
    RECORD_OVERHEAD_BYTES + keys(&batch.deletes) + puts.sum::<usize>()
}

/// A record in a buffer, its checksum right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// What is said of it.
    pub(super) frame: Frame,
    /// Where it starts.
    pub(super) offset: usize,
    /// Its batch, encoded.
    body: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the frame at `offset`, as long as `accepts` holds of its sequence; none if there is
    /// no whole record with the right checksum.
    pub(super) fn read(
        bytes: &'a [u8],
        offset: usize,
        salt: u32,
        accepts: impl Fn(u64) -> bool,
    ) -> Option<Self> {
        let rest = bytes.get(offset..)?;
        let mut reader = Reader { rest };
        let (crc, group, sequence) = (reader.u32()?, reader.u32()?, reader.u64()?);
        if sequence == 0 || !accepts(sequence) {
            return None;
        }
        let length = usize::try_from(reader.u64()?).ok()?;
        let body = reader.take(length)?;
        let checked = rest.get(4..FRAME_BYTES + length)?;
        rest.get(..Self::length(rest)?)?;
        let group_start = sequence.checked_sub(u64::from(group & !GAP))?;
        let frame = Frame { sequence, group_start, after_gap: group & GAP != 0 };
        (crc32c::crc32c_append(salt, checked) == crc).then_some(Self { frame, offset, body })
    }

    /// The length of the record whose frame stands at the start of `frame`, if it is one: to know
    /// how much to read.
    pub(super) fn length(frame: &[u8]) -> Option<usize> {
        let mut reader = Reader { rest: frame.get(16..)? };
        let length = usize::try_from(reader.u64()?).ok()?;
        length.checked_add(FRAME_BYTES)?.checked_next_multiple_of(ALIGNMENT)
    }

    /// Where the next record starts.
    pub(super) fn end(&self) -> usize {
        (self.offset + FRAME_BYTES + self.body.len()).next_multiple_of(ALIGNMENT)
    }

    /// What was written; none if it is no batch, which a right checksum rules out.
    pub(super) fn batch(&self) -> Option<BatchView<'a>> {
        let mut reader = Reader { rest: self.body };
        let base = self.offset + FRAME_BYTES;
        let mut view = BatchView::default();
        for _ in 0..reader.number()? {
            view.deletes.push(reader.bytes()?);
        }
        for _ in 0..reader.number()? {
            let start = self.body.len() - reader.rest.len();
            let mut keys = SmallVec::new();
            for _ in 0..reader.number()? {
                keys.push(reader.bytes()?);
            }
            let value = reader.bytes()?;
            let bytes = self.body.len() - reader.rest.len() - start + RECORD_OVERHEAD_BYTES;
            let written = Written { offset: base + start, bytes };
            view.puts.push(EntryView { keys, value, written });
        }
        reader.rest.is_empty().then_some(view)
    }
}

/// A batch in the buffer it was read into.
#[derive(Debug, Default)]
pub(super) struct BatchView<'a> {
    /// Names that go, first.
    pub(super) deletes: Vec<&'a [u8]>,
    /// What is kept.
    pub(super) puts: Vec<EntryView<'a>>,
}

/// An entry in the buffer it was read into.
#[derive(Debug)]
pub(super) struct EntryView<'a> {
    /// Its names.
    pub(super) keys: SmallVec<[&'a [u8]; 1]>,
    /// What is kept.
    pub(super) value: &'a [u8],
    /// Where it stands, from the start of the buffer.
    pub(super) written: Written,
}

/// Takes fields from the front of bytes.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn number(&mut self) -> Option<usize> {
        let mut number = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.number()?;
        self.take(count)
    }
}
