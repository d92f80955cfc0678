//! Chance from a seed, for clients that come and go: a run differs from the next by what the
//! machine does, never by what the clients want.

use std::time::Duration;

/// A small generator (xorshift); good enough to vary what clients do.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// One of its own for each name within a seed.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let mixed = name.bytes().fold(seed ^ 0x9e37_79b9_7f4a_7c15, |state, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(mixed | 1)
    }

    /// 0 to `limit` - 1; 0 if the limit is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11).checked_rem(limit).unwrap_or(0)
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Some time up to a greatest.
    pub(crate) fn time_up_to(&mut self, greatest: Duration) -> Duration {
        let micros = u64::try_from(greatest.as_micros()).expect("less than a day");
        Duration::from_micros(self.below(micros + 1))
    }

    /// One of several.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let count = u64::try_from(from.len()).expect("few");
        from[usize::try_from(self.below(count)).expect("few")]
    }
}
