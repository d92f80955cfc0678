//! The keys of `[limits]`: how much anybody may use in how much time. Limits of size stand in
//! `[session]`, those of number in `[connections]`.

use serde::{Deserialize, Serialize};

use crate::limits::{PaceRates, Rate};

/// How much anybody may use in how much time. 0 is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// New connections a second, on all listeners; further ones wait in the system's queue.
    pub connections_per_second: u64,
    /// Connections at a time from one IPv4 address or IPv6 /64; further ones are closed at once.
    pub connections_per_address: usize,
    /// New connections a second from one of those; further ones are closed at once.
    pub address_connections_per_second: u64,
    /// Connections of one user at a time, on this node; further ones are answered with CONNACK 3.
    pub connections_per_user: usize,
    /// PUBLISH, SUBSCRIBE and UNSUBSCRIBE packets a second of one client; beyond it the node reads
    /// more slowly.
    pub messages_per_second: u64,
    /// Bytes a second from one client; beyond it the node reads more slowly.
    pub bytes_per_second: u64,
    /// Bytes of memory the process may use. At four fifths of it nobody new is let in; README, "Limits".
    pub memory_bytes_max: u64,
    /// How many seconds' worth of each rate may come at once, 1 to 3,600.
    pub burst_secs: u64,
}

impl Limits {
    /// A rate of so much a second, if it is one.
    pub fn rate(&self, per_second: u64) -> Option<Rate> {
        Rate::new(per_second, self.burst_secs)
    }

    /// How fast one client is read.
    pub fn pace(&self) -> PaceRates {
        PaceRates {
            messages: self.rate(self.messages_per_second),
            bytes: self.rate(self.bytes_per_second),
        }
    }

    pub(super) fn rates(&self) -> [(&'static str, u64); 4] {
        [
            ("limits.connections_per_second", self.connections_per_second),
            ("limits.address_connections_per_second", self.address_connections_per_second),
            ("limits.messages_per_second", self.messages_per_second),
            ("limits.bytes_per_second", self.bytes_per_second),
        ]
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_second: 0,
            connections_per_address: 0,
            address_connections_per_second: 0,
            connections_per_user: 0,
            messages_per_second: 0,
            bytes_per_second: 0,
            memory_bytes_max: 0,
            burst_secs: 1,
        }
    }
}
