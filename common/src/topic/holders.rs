//! Who holds one filter of the tree: nobody, one, or many.
//!
//! Most nodes of a large tree hold nobody, and most filters have one holder: a client's inbox. That one
//! stands in the node itself; a map is only for more. It leaves to others: which filter that is
//! ([`super::tree`]).

use std::{hash::Hash, mem};

use ahash::RandomState;
use indexmap::IndexMap;

/// Holders, each with a value.
#[derive(Debug, Default)]
pub(super) enum Holders<K, V> {
    #[default]
    Nobody,
    One(K, V),
    /// Boxed, since few nodes have it. It stays until the last has gone.
    Many(Box<IndexMap<K, V, RandomState>>),
}

impl<K, V> Holders<K, V> {
    pub(super) fn is_nobody(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    /// All of them, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let (one, many) = match self {
            Self::Nobody => (None, None),
            Self::One(holder, value) => (Some((holder, value)), None),
            Self::Many(map) => (None, Some(map.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

impl<K: Hash + Eq, V> Holders<K, V> {
    /// Returns the value that the holder had before. The hasher is for a map, should it take one.
    pub(super) fn insert(&mut self, holder: K, value: V, hasher: RandomState) -> Option<V> {
        match self {
            Self::One(known, held) if *known == holder => return Some(mem::replace(held, value)),
            Self::Many(map) => return map.insert(holder, value),
            Self::Nobody | Self::One(..) => {}
        }
        *self = match mem::take(self) {
            Self::One(known, held) => {
                let mut map = IndexMap::with_hasher(hasher);
                map.extend([(known, held), (holder, value)]);
                Self::Many(Box::new(map))
            }
            Self::Nobody | Self::Many(_) => Self::One(holder, value),
        };
        None
    }

    /// Returns the value that the holder had.
    pub(super) fn remove(&mut self, holder: &K) -> Option<V> {
        if let Self::Many(map) = self {
            let value = map.swap_remove(holder)?;
            if map.is_empty() {
                *self = Self::Nobody;
            }
            return Some(value);
        }
        match mem::take(self) {
            Self::One(known, value) if known == *holder => Some(value),
            before @ (Self::Nobody | Self::One(..) | Self::Many(_)) => {
                *self = before;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_holder_comes_and_goes_by_itself() {
        let mut holders = Holders::default();
        let mut insert = |holder, value| holders.insert(holder, value, RandomState::new());
        assert_eq!(
            [insert(1, 'a'), insert(1, 'b'), insert(2, 'c'), insert(2, 'd')],
            [None, Some('a'), None, Some('c')]
        );
        assert_eq!(holders.iter().collect::<Vec<_>>(), [(&1, &'b'), (&2, &'d')]);
        assert_eq!((holders.remove(&3), holders.remove(&1)), (None, Some('b')));
        assert_eq!(holders.iter().collect::<Vec<_>>(), [(&2, &'d')]);
        assert_eq!((holders.remove(&2), holders.remove(&2)), (Some('d'), None));
        assert!(holders.is_nobody());
        holders.insert(4, 'e', RandomState::new());
        assert_eq!((holders.remove(&2), holders.remove(&4)), (None, Some('e')));
        assert!(holders.is_nobody());
    }

    #[test]
    fn one_holder_takes_two_words() {
        assert_eq!(size_of::<Holders<u64, crate::qos::QoS>>(), 16);
    }
}
