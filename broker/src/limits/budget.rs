//! How near a node is to the memory it may use. It leaves to others what to do then: refusing (`connection`),
//! dropping (`hub`), and looking how much it is (`memory`).

use std::sync::atomic::{AtomicU8, Ordering};

/// How near.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strain {
    /// Far from it.
    #[default]
    None,
    /// Four fifths or more: nobody new is let in, and whoever sends what must be kept is read slowly.
    Tight,
    /// All: what may be dropped is, and whoever sends what must be kept is closed.
    Full,
}

/// The memory a node may use, and how near to it it was when it last looked.
#[derive(Debug, Default)]
pub struct Budget {
    bytes_max: u64,
    strain: AtomicU8,
}

impl Strain {
    /// Of so many bytes out of so many; 0 is no limit.
    fn of(bytes: u64, bytes_max: u64) -> Self {
        if bytes_max == 0 {
            Self::None
        } else if bytes >= bytes_max {
            Self::Full
        } else if bytes >= bytes_max / 5 * 4 {
            Self::Tight
        } else {
            Self::None
        }
    }
}

impl Budget {
    /// So many bytes; 0 is no limit.
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, strain: AtomicU8::default() }
    }

    /// Whether there is one at all.
    pub fn is_limited(&self) -> bool {
        self.bytes_max > 0
    }

    /// So many bytes are used.
    pub fn note(&self, bytes: u64) -> Strain {
        let strain = Strain::of(bytes, self.bytes_max);
        self.strain.store(strain as u8, Ordering::Relaxed);
        strain
    }

    /// How near it was when that was last noted.
    pub fn strain(&self) -> Strain {
        let noted = self.strain.load(Ordering::Relaxed);
        let all = [Strain::None, Strain::Tight, Strain::Full];
        all.into_iter().find(|strain| *strain as u8 == noted).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strain_grows_with_what_is_used_and_goes_with_it() {
        for (bytes_max, bytes, strain) in [
            (0, u64::MAX, Strain::None),
            (100, 0, Strain::None),
            (100, 79, Strain::None),
            (100, 80, Strain::Tight),
            (100, 99, Strain::Tight),
            (100, 100, Strain::Full),
            (u64::MAX, u64::MAX - 1, Strain::Tight),
        ] {
            let budget = Budget::new(bytes_max);
            assert_eq!((budget.note(bytes), budget.strain()), (strain, strain), "{bytes}");
            assert_eq!((budget.note(0), budget.strain()), (Strain::None, Strain::None));
        }
    }
}
