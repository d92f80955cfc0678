//! Hash maps of which there are many: each connection has some, mostly empty.
//!
//! A map of `ahash` brings keys of its own, 32 bytes. These share one set of keys a process, drawn at its
//! start: names from outside can be guessed to collide no better than with a set each.

use std::{
    collections::{HashMap, HashSet},
    hash::BuildHasher,
    sync::LazyLock,
};

use ahash::{AHasher, RandomState};

/// A map that takes no room for keys of its own.
pub type KeyedMap<K, V> = HashMap<K, V, Keyed>;

/// A set of the same kind.
pub type KeyedSet<K> = HashSet<K, Keyed>;

/// Hashes with the keys of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keyed;

impl BuildHasher for Keyed {
    type Hasher = AHasher;

    fn build_hasher(&self) -> AHasher {
        KEYS.build_hasher()
    }
}

static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_map_hashes_another_finds() {
        let set: KeyedSet<_> = ["a", "b"].into_iter().collect();
        let map: KeyedMap<_, _> = set.iter().map(|name| (*name, name.len())).collect();
        assert_eq!((map.get("a"), map.get("c")), (Some(&1), None));
        assert_eq!(Keyed.hash_one("a"), Keyed.hash_one("a"));
    }

    #[test]
    fn an_empty_map_takes_four_words() {
        assert_eq!(size_of::<KeyedMap<u64, u64>>(), 4 * size_of::<usize>());
    }
}
