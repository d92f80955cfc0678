//! Where everything stands: from a key to its entry, and how much of each segment lives.
//!
//! An entry lives while one of its keys leads to it. It leaves to others: reading and writing.

use std::collections::BTreeMap;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::store::Key;

/// The number of an entry; used again once nothing leads to the entry.
pub(super) type Slot = u32;

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the segment.
    pub(super) segment: u64,
    /// From the start of the file.
    pub(super) offset: u64,
    /// What it takes of the disk.
    pub(super) bytes: u32,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    place: Place,
    /// How many lead to it.
    keys: u32,
}

/// One segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    /// What has been written to it, its header included.
    pub(super) bytes: u64,
    /// What its living entries take.
    pub(super) live_bytes: u64,
    /// How many live.
    pub(super) live_entries: u64,
}

/// Everything that is kept, by key and by segment.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots_by_key: HashMap<Key, Slot, RandomState>,
    slots: Vec<Kept>,
    free: Vec<Slot>,
    segments: BTreeMap<u64, Segment>,
    live_bytes: u64,
    bytes: u64,
}

impl Index {
    /// What the living entries take.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// What has been written to all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many segments there are.
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// The segment with the lowest number.
    pub(super) fn oldest(&self) -> Option<(u64, Segment)> {
        self.segments.first_key_value().map(|(number, segment)| (*number, *segment))
    }

    /// The highest number.
    pub(super) fn newest(&self) -> Option<u64> {
        self.segments.last_key_value().map(|(number, _)| *number)
    }

    /// Counts what has been written to a segment, which begins with that.
    pub(super) fn grow(&mut self, segment: u64, bytes: u64) {
        self.segments.entry(segment).or_default().bytes += bytes;
        self.bytes += bytes;
    }

    /// Forgets a segment that is gone.
    pub(super) fn drop_segment(&mut self, segment: u64) {
        let gone = self.segments.remove(&segment).unwrap_or_default();
        self.bytes = self.bytes.saturating_sub(gone.bytes);
    }

    /// Whether a key leads to the entry at a place.
    pub(super) fn leads_to(&self, key: &Key, segment: u64, offset: u64) -> bool {
        let kept = self.slots_by_key.get(key).and_then(|slot| self.slots.get(*slot as usize));
        kept.is_some_and(|kept| kept.place.segment == segment && kept.place.offset == offset)
    }

    /// What would be free if these keys went; each key has its share of its entry.
    pub(super) fn freed_bytes<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> u64 {
        let slots = keys.filter_map(|key| self.slots_by_key.get(key));
        let kept = slots.filter_map(|slot| self.slots.get(*slot as usize));
        kept.map(|kept| u64::from(kept.place.bytes / kept.keys.max(1))).sum()
    }

    /// Lets a key lead nowhere.
    pub(super) fn delete(&mut self, key: &Key) {
        if let Some(slot) = self.slots_by_key.remove(key) {
            self.release(slot);
        }
    }

    /// Lets all `keys` lead to one entry.
    pub(super) fn put(&mut self, keys: impl ExactSizeIterator<Item = Key>, place: Place) -> Slot {
        let kept = Kept { place, keys: u32::try_from(keys.len()).unwrap_or(u32::MAX) };
        let segment = self.segments.entry(place.segment).or_default();
        segment.live_bytes += u64::from(place.bytes);
        segment.live_entries += 1;
        self.live_bytes += u64::from(place.bytes);
        let slot = self.occupy(kept);
        if keys.len() == 0 {
            self.end(slot);
        }
        for key in keys {
            if let Some(old) = self.slots_by_key.insert(key, slot) {
                self.release(old);
            }
        }
        slot
    }

    /// Every key with the entry it leads to, and how many entries there may be.
    pub(super) fn keys(&self) -> (usize, impl Iterator<Item = (&Key, Slot)>) {
        (self.slots.len(), self.slots_by_key.iter().map(|(key, slot)| (key, *slot)))
    }

    fn occupy(&mut self, kept: Kept) -> Slot {
        if let Some(slot) = self.free.pop()
            && let Some(free) = self.slots.get_mut(slot as usize)
        {
            *free = kept;
            return slot;
        }
        // Four thousand million entries don't fit into memory.
        let slot = Slot::try_from(self.slots.len()).unwrap_or(Slot::MAX);
        self.slots.push(kept);
        slot
    }

    fn release(&mut self, slot: Slot) {
        let Some(kept) = self.slots.get_mut(slot as usize) else {
            return;
        };
        kept.keys = kept.keys.saturating_sub(1);
        if kept.keys == 0 {
            self.end(slot);
        }
    }

    fn end(&mut self, slot: Slot) {
        let Some(Kept { place, .. }) = self.slots.get(slot as usize) else {
            return;
        };
        let bytes = u64::from(place.bytes);
        self.live_bytes = self.live_bytes.saturating_sub(bytes);
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.live_bytes = segment.live_bytes.saturating_sub(bytes);
            segment.live_entries = segment.live_entries.saturating_sub(1);
        }
        self.free.push(slot);
    }
}
