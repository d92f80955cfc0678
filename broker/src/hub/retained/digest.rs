//! Sums over all entries, by which two nodes find what differs between them.
//!
//! Every topic has a hash, the same on every node and in every version of the program. The hashes
//! fall into buckets, by their first bits; a bucket's sum is the XOR of a hash of each topic with
//! its version, so an entry comes and goes in one step. Nodes with few entries compare few, wide
//! buckets: the sum of a wide bucket is the XOR of the narrow ones in it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{super::shard::hash, record::Version};

/// The hash of a topic.
pub(super) fn topic_hash(topic: &str) -> u64 {
    hash(topic.bytes())
}

/// All hashes from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Sums that cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("digest of {0} buckets")]
pub struct DigestError(pub usize);

/// The sums of one node.
#[derive(Debug, Default)]
pub(super) struct Digest {
    /// Of the narrowest buckets; empty before the first entry.
    sums: Vec<u64>,
}

impl Digest {
    /// Lets an entry in, or out again.
    pub(super) fn toggle(&mut self, topic_hash: u64, version: &Version) {
        if self.sums.is_empty() {
            self.sums = vec![0; 1 << BITS_MAX];
        }
        if let Some(sum) = self.sums.get_mut(bucket(topic_hash, BITS_MAX)) {
            let counter = version.counter.to_le_bytes();
            let topic = topic_hash.to_le_bytes();
            *sum ^= hash(topic.into_iter().chain(counter).chain(version.node.as_str().bytes()));
        }
    }

    /// Sums of as many buckets as suit a number of entries.
    pub(super) fn summary(&self, entry_count: usize) -> Vec<u64> {
        let bits = (entry_count / ENTRIES_PER_BUCKET).max(1).ilog2() + 1;
        self.folded(bits.clamp(BITS_MIN, BITS_MAX))
    }

    /// Where the sums of another node differ, in order.
    pub(super) fn differing(&self, theirs: &[u64]) -> Result<Vec<Span>, DigestError> {
        let bits = theirs.len().checked_ilog2().unwrap_or_default();
        if !theirs.len().is_power_of_two() || !(BITS_MIN..=BITS_MAX).contains(&bits) {
            return Err(DigestError(theirs.len()));
        }
        let mut spans: Vec<Span> = Vec::new();
        let both = self.folded(bits).into_iter().zip(theirs);
        for (number, _) in (0..).zip(both).filter(|(_, (ours, theirs))| ours != *theirs) {
            let first: u64 = number << (u64::BITS - bits);
            let last = first | (u64::MAX >> bits);
            match spans.last_mut() {
                Some(span) if span.last.checked_add(1) == Some(first) => span.last = last,
                Some(_) | None => spans.push(Span { first, last }),
            }
        }
        Ok(spans)
    }

    fn folded(&self, bits: u32) -> Vec<u64> {
        if self.sums.is_empty() {
            return vec![0; 1 << bits];
        }
        let wide = self.sums.chunks(1 << (BITS_MAX - bits));
        wide.map(|narrow| narrow.iter().fold(0, |sum, narrow| sum ^ narrow)).collect()
    }
}

fn bucket(topic_hash: u64, bits: u32) -> usize {
    usize::try_from(topic_hash >> (u64::BITS - bits)).unwrap_or_default()
}

/// 256 buckets at least.
const BITS_MIN: u32 = 8;

/// 16,384 at most: 160 KiB on a link.
const BITS_MAX: u32 = 14;

/// How many entries a bucket has where there are neither too few nor too many.
const ENTRIES_PER_BUCKET: usize = 16;

#[cfg(test)]
mod tests {
    use causeway_common::id::NodeId;

    use super::*;

    fn version(counter: u64) -> Version {
        Version { counter, node: NodeId::from("n") }
    }

    fn covers(spans: &[Span], hash: u64) -> bool {
        spans.iter().any(|span| (span.first..=span.last).contains(&hash))
    }

    #[test]
    fn what_differs_is_found_at_every_width() {
        for count in [0, 1, 10_000, 10_000_000] {
            let mut ours = Digest::default();
            let mut theirs = Digest::default();
            for hash in (0..1000).map(|n| topic_hash(&format!("room/{n}"))) {
                ours.toggle(hash, &version(1));
                theirs.toggle(hash, &version(1));
            }
            assert_eq!(ours.differing(&theirs.summary(count)), Ok(vec![]));
            let changed = topic_hash("room/7");
            theirs.toggle(changed, &version(1));
            theirs.toggle(changed, &version(2));
            let spans = ours.differing(&theirs.summary(count)).unwrap();
            assert_eq!(spans.len(), 1);
            assert!(covers(&spans, changed));
            theirs.toggle(changed, &version(2));
            theirs.toggle(changed, &version(1));
            assert_eq!(ours.differing(&theirs.summary(count)), Ok(vec![]));
        }
    }

    #[test]
    fn neighbours_that_differ_are_one_span() {
        let mut full = Digest::default();
        for number in 0..100_000 {
            full.toggle(topic_hash(&format!("room/{number}")), &version(1));
        }
        let all = Span { first: 0, last: u64::MAX };
        assert_eq!(full.differing(&Digest::default().summary(0)), Ok(vec![all]));
    }

    #[test]
    fn sums_of_another_make_are_refused() {
        let digest = Digest::default();
        for count in [0, 1, 128, 257, 32_768] {
            assert_eq!(digest.differing(&vec![0; count]), Err(DigestError(count)));
        }
    }
}
