//! A token bucket that is told the time. It leaves to others what a token is.

use std::time::{Duration, Instant};

/// So much a second, and how much may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    /// What came in this time may come at once.
    burst: Duration,
}

/// What is left of a rate. It may be overdrawn, and then takes the longer to be ready.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: Rate,
    /// When nothing of it is used any more: one time says all.
    full_at: Instant,
}

impl Rate {
    /// None for 0, which is no limit. `burst_secs` is how many seconds' worth may come at once.
    pub fn new(per_second: u64, burst_secs: u64) -> Option<Self> {
        (per_second > 0).then_some(Self { per_second, burst: Duration::from_secs(burst_secs) })
    }

    /// The time in which so many tokens come.
    fn time_for(self, tokens: u64) -> Duration {
        let nanos = u128::from(tokens) * NANOS / u128::from(self.per_second.max(1));
        u64::try_from(nanos).map_or(LONGEST, Duration::from_nanos).min(LONGEST)
    }
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, full_at: now }
    }

    /// Takes tokens, whether they are there or not.
    pub fn take(&mut self, now: Instant, tokens: u64) {
        self.full_at = self.full_at.max(now) + self.rate.time_for(tokens);
    }

    /// How long until there is a token.
    pub fn wait(&self, now: Instant) -> Duration {
        let used = self.full_at.saturating_duration_since(now);
        (used + self.rate.time_for(1)).saturating_sub(self.rate.burst)
    }

    /// Whether nothing of it is used: it need not be remembered.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

const NANOS: u128 = 1_000_000_000;
/// Longer than anybody waits, and short enough to be added to any time.
const LONGEST: Duration = Duration::from_hours(24 * 365);

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens that are taken, one after the other, at a moment (in ms).
    fn granted(bucket: &mut Bucket, now: Instant, most: u32) -> u32 {
        let mut count = 0;
        while count < most && bucket.wait(now).is_zero() {
            bucket.take(now, 1);
            count += 1;
        }
        count
    }

    /// Milliseconds since the start, and how many are granted then.
    type Steps = &'static [(u64, u32)];

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        // per second, burst in seconds, then (ms since the start, how many are granted)
        let table: [(u64, u64, Steps); 4] = [
            (10, 1, &[(0, 10), (99, 0), (100, 1), (1000, 9), (5000, 10), (5000, 0)]),
            (10, 3, &[(0, 30), (50, 0), (200, 2), (100_000, 30)]),
            (1, 1, &[(0, 1), (999, 0), (1000, 1)]),
            (1_000_000_000, 1, &[(0, 1000)]),
        ];
        for (per_second, burst, steps) in table {
            let mut bucket = Bucket::new(Rate::new(per_second, burst).unwrap(), start);
            for (at, count) in steps {
                let now = start + Duration::from_millis(*at);
                let most = 1000;
                assert_eq!(granted(&mut bucket, now, most), *count, "{per_second}/s at {at} ms");
            }
        }
    }

    #[test]
    fn what_is_overdrawn_is_waited_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::new(100, 1).unwrap(), start);
        bucket.take(start, 350);
        assert_eq!(bucket.wait(start), Duration::from_millis(2510));
        assert!(!bucket.is_full(start + Duration::from_millis(3499)));
        assert!(bucket.is_full(start + Duration::from_millis(3500)));
        // A time that goes back gives nothing.
        assert_eq!(bucket.wait(start), Duration::from_millis(2510));
    }

    #[test]
    fn nothing_overflows_and_zero_is_no_limit() {
        assert_eq!(Rate::new(0, 1), None);
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::new(1, 3600).unwrap(), start);
        bucket.take(start, u64::MAX);
        assert_eq!(bucket.wait(start) + Duration::from_secs(3599), LONGEST);
    }
}
