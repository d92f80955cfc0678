//! Averages of how much a node has to do: per minute, over the last 1, 5 and 15 minutes.
//!
//! They are exponential moving averages: of what an average said before, the part `e^(-t/window)` is
//! left after a time t, and the rate of that time takes the place of the rest. So a burst is seen
//! at once in the short one and for long in the long one, and nothing but the averages is kept.

use std::time::Duration;

/// The averages of one counter.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    /// What the counter said last.
    total: u64,
    per_minute: [f64; WINDOWS.len()],
}

impl Load {
    /// The averages of a counter that starts with this.
    pub(super) fn new(total: u64) -> Self {
        Self { total, per_minute: Default::default() }
    }

    /// The counter says `total`, so long after it last said something.
    pub(super) fn note(&mut self, elapsed: Duration, total: u64) {
        if elapsed.is_zero() {
            return; // no time, no rate; the next note has it
        }
        let secs = elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "beyond 2^52 one more or less is nothing")]
        let rate = total.saturating_sub(self.total) as f64 / secs * SECS_PER_MINUTE;
        for (average, (_, minutes)) in self.per_minute.iter_mut().zip(WINDOWS) {
            let left = (-secs / (minutes * SECS_PER_MINUTE)).exp();
            *average = rate + left * (*average - rate);
        }
        self.total = total;
    }

    /// The name of each window with its average.
    pub(super) fn averages(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let names = WINDOWS.into_iter().map(|(name, _)| name);
        names.zip(self.per_minute)
    }
}

/// Name and minutes.
const WINDOWS: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

const SECS_PER_MINUTE: f64 = 60.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(load: &Load) -> String {
        let average = |(name, average)| format!("{name}={average:.2}");
        load.averages().map(average).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_steady_rate_is_reached_by_the_short_window_first() {
        let mut load = Load::new(1_000);
        assert_eq!(text(&load), "1min=0.00 5min=0.00 15min=0.00");
        let (mut minutes, mut total) = (0, 1_000);
        for (until, expected) in [
            (1, "1min=37.93 5min=10.88 15min=3.87"),
            (5, "1min=59.60 5min=37.93 15min=17.01"),
            (100, "1min=60.00 5min=60.00 15min=59.92"),
        ] {
            for _ in minutes * 6..until * 6 {
                total += 10;
                load.note(Duration::from_secs(10), total);
            }
            minutes = until;
            assert_eq!(text(&load), expected, "after {until} minutes");
        }
    }

    #[test]
    fn the_length_of_a_step_changes_nothing() {
        let (mut fine, mut coarse) = (Load::new(0), Load::new(0));
        for step in 1..=60 {
            fine.note(Duration::from_secs(1), step * 3);
        }
        coarse.note(Duration::from_mins(1), 180);
        assert_eq!(text(&fine), text(&coarse));
    }

    #[test]
    fn silence_lets_a_burst_fade_and_no_time_leaves_it() {
        let mut load = Load::new(0);
        load.note(Duration::ZERO, 90);
        assert_eq!(text(&load), "1min=0.00 5min=0.00 15min=0.00");
        load.note(Duration::from_mins(1), 90);
        assert_eq!(text(&load), "1min=56.89 5min=16.31 15min=5.80");
        load.note(Duration::from_mins(1), 90);
        assert_eq!(text(&load), "1min=20.93 5min=13.36 15min=5.43");
    }
}
