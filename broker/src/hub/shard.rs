//! Which bridge a topic goes by: topics fall into shards, and each shard wants one bridge most.
//!
//! The same on every node and in every run. It leaves to `outbound.rs` when a shard may move.

use causeway_common::id::BridgeId;

/// How many there are.
pub(super) const SHARDS: usize = 64;

/// The shard of a topic.
pub(super) fn shard_of(topic: &str) -> usize {
    let shard = hash(topic.bytes()) % SHARDS as u64;
    usize::try_from(shard).unwrap_or_default()
}

/// How much a shard wants a bridge (rendezvous hash): when a bridge goes, only its own shards move.
pub(super) fn rendezvous(bridge: &BridgeId, shard: usize) -> u64 {
    hash(bridge.as_str().bytes().chain(shard.to_le_bytes()))
}

/// FNV-1a, and then the last step of `MurmurHash3`: without it names that differ at their end alone
/// have hashes that differ in few bits.
pub(super) fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325, step);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_differ_at_their_end_fall_into_many_shards() {
        let mut used: Vec<_> = (0..1000).map(|n| shard_of(&format!("room/{n}"))).collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), SHARDS);
    }

    #[test]
    fn every_one_of_a_few_bridges_gets_its_share_of_the_shards() {
        for count in 2..=5 {
            let bridges: Vec<_> =
                (1..=count).map(|n| BridgeId::from(format!("bridge-{n}"))).collect();
            let winner = |shard| bridges.iter().max_by_key(|bridge| rendezvous(bridge, shard));
            for bridge in &bridges {
                let share = (0..SHARDS).filter(|shard| winner(*shard) == Some(bridge)).count();
                assert!(share * count * 2 >= SHARDS, "{bridge:?} of {count}: {share}");
            }
        }
    }
}
