//! A connection's part of the rates: what it has read, and until when it reads no more. It leaves to
//! [`crate::limits`] what is too much, and to the loop the waiting.

use std::time::Duration;

use causeway_common::packet::{Packet, Publish};
use tokio::time::Instant;

use crate::{
    limits::{Pace, PaceRates, TooFast},
    metrics::Metrics,
};

/// Whether a client is read on.
#[derive(Debug)]
pub(super) struct Pacing {
    /// None where there is no limit.
    pace: Option<Box<Pace>>,
    /// How many bytes of all that were read have been counted.
    counted: u64,
    /// When it may be read again, because memory was short.
    spared_until: Option<Instant>,
    /// While it is not read: until then.
    paused_until: Option<Instant>,
}

impl Pacing {
    /// Of a client of whom so many bytes were read before.
    pub(super) fn new(rates: PaceRates, counted: u64) -> Self {
        let pace = Pace::new(rates, Instant::now().into_std());
        Self { pace, counted, spared_until: None, paused_until: None }
    }

    /// Whether there is anything to judge by.
    pub(super) fn is_in_force(&self) -> bool {
        self.pace.is_some() || self.spared_until.is_some()
    }

    /// A packet has been taken.
    pub(super) fn count(&mut self, now: std::time::Instant, packet: &Packet) {
        if let Some(pace) = &mut self.pace
            && is_message(packet)
        {
            pace.take(now, 1, 0);
        }
    }

    /// Memory is short, and a packet has been taken that must be kept: one in a while is, so that the answers
    /// among them are heard, by which memory is freed.
    pub(super) fn spare(&mut self, now: std::time::Instant, metrics: &Metrics) {
        metrics.limited.memory_messages.inc();
        self.spared_until = Some(Instant::from_std(now) + SPARED);
    }

    /// Whether the client is not to be read now; `read` is how many bytes were read of it in all.
    pub(super) fn judge(&mut self, now: std::time::Instant, read: u64, metrics: &Metrics) -> bool {
        if let Some(over) = self.spared_until {
            if Instant::from_std(now) < over {
                self.paused_until = Some(over);
                return true;
            }
            (self.spared_until, self.paused_until) = (None, None);
        }
        let Some(pace) = &mut self.pace else {
            return false;
        };
        if read > self.counted {
            pace.take(now, 0, read - self.counted);
            self.counted = read;
        }
        let Err(too_fast) = pace.judge(now) else {
            self.paused_until = None;
            return false;
        };
        if self.paused_until.is_none() {
            let limited = &metrics.limited;
            match too_fast {
                TooFast::Messages(_) => limited.messages_per_second.inc(),
                TooFast::Bytes(_) => limited.bytes_per_second.inc(),
            }
        }
        self.paused_until = Some(Instant::from_std(now) + too_fast.wait());
        true
    }

    /// When it is to be read again, if it is not read now.
    pub(super) fn pause_end(&self) -> Option<Instant> {
        self.paused_until
    }
}

/// Whether a packet is one that must not be dropped once it is taken. What deletes a retained message frees
/// memory.
pub(super) fn is_kept(packet: &Packet) -> bool {
    let Packet::Publish(Publish { message, .. }) = packet else {
        return false;
    };
    message.qos.is_answered() || (message.retain && !message.payload.is_empty())
}

/// Whether a packet counts as a message of the client's own: it answers nothing.
fn is_message(packet: &Packet) -> bool {
    matches!(packet, Packet::Publish(_) | Packet::Subscribe { .. } | Packet::Unsubscribe { .. })
}

/// How long a client is not read that sends what must be kept, while memory is short.
const SPARED: Duration = Duration::from_secs(1);
