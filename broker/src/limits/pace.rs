//! How fast one client is read. It leaves to the connection to wait, and to excuse the client's silence.

use std::time::{Duration, Instant};

use super::{Bucket, Rate};

/// What every client is held to.
#[derive(Clone, Copy, Debug, Default)]
pub struct PaceRates {
    /// PUBLISH, SUBSCRIBE and UNSUBSCRIBE packets.
    pub messages: Option<Rate>,
    /// Bytes of all that is read.
    pub bytes: Option<Rate>,
}

/// What one client has used of it.
#[derive(Clone, Debug)]
pub struct Pace {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

/// Which of the two a client has used up, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooFast {
    /// Too many messages.
    Messages(Duration),
    /// Too many bytes.
    Bytes(Duration),
}

impl Pace {
    /// A client that has sent nothing; none where there is no limit.
    pub fn new(rates: PaceRates, now: Instant) -> Option<Box<Self>> {
        let PaceRates { messages, bytes } = rates;
        let bucket = |rate| Bucket::new(rate, now);
        let pace = || Box::new(Self { messages: messages.map(bucket), bytes: bytes.map(bucket) });
        (messages.is_some() || bytes.is_some()).then(pace)
    }

    /// The client has sent so much more. It may be more than it had left.
    pub fn take(&mut self, now: Instant, messages: u64, bytes: u64) {
        for (bucket, tokens) in [(&mut self.messages, messages), (&mut self.bytes, bytes)] {
            if let Some(bucket) = bucket {
                bucket.take(now, tokens);
            }
        }
    }

    /// Whether it must not be read, and for how long.
    pub fn judge(&self, now: Instant) -> Result<(), TooFast> {
        let wait =
            |bucket: &Option<Bucket>| bucket.as_ref().map_or(Duration::ZERO, |one| one.wait(now));
        let (messages, bytes) = (wait(&self.messages), wait(&self.bytes));
        if messages.is_zero() && bytes.is_zero() {
            return Ok(());
        }
        Err(if messages >= bytes { TooFast::Messages(messages) } else { TooFast::Bytes(bytes) })
    }
}

impl TooFast {
    /// How long it waits.
    pub fn wait(self) -> Duration {
        match self {
            Self::Messages(wait) | Self::Bytes(wait) => wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_used_up_for_longer_says_when_to_read_on() {
        let now = Instant::now();
        let rates = PaceRates { messages: Rate::new(10, 1), bytes: Rate::new(1000, 1) };
        let ms = Duration::from_millis;
        // messages and bytes taken, and what follows
        for (messages, bytes, judged) in [
            (0, 0, Ok(())),
            (9, 999, Ok(())),
            (10, 0, Err(TooFast::Messages(ms(100)))),
            (9, 1000, Err(TooFast::Bytes(ms(1)))),
            (12, 1500, Err(TooFast::Bytes(ms(501)))),
            (16, 1500, Err(TooFast::Messages(ms(700)))),
        ] {
            let mut pace = Pace::new(rates, now).unwrap();
            pace.take(now, messages, bytes);
            assert_eq!(pace.judge(now), judged, "{messages}, {bytes}");
        }
        assert!(Pace::new(PaceRates::default(), now).is_none());
    }
}
