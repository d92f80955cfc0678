//! Quality of service (MQTT 4.3): how surely a message must arrive.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The three levels, ordered from the weakest to the strongest.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[repr(u8)]
pub enum QoS {
    /// 0: sent once, never answered.
    #[default]
    AtMostOnce = 0,
    /// 1: answered by PUBACK, may come twice.
    AtLeastOnce = 1,
    /// 2: PUBREC, PUBREL, PUBCOMP; comes once.
    ExactlyOnce = 2,
}

impl QoS {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::AtMostOnce, Self::AtLeastOnce, Self::ExactlyOnce];

    /// The level of its two bits on the wire; 3 is none [MQTT-3.3.1-4].
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The level as the number on the wire.
    pub fn bits(self) -> u8 {
        self as u8
    }

    /// Whether somebody waits for an answer to a message of this level.
    pub fn is_answered(self) -> bool {
        self != Self::AtMostOnce
    }
}

impl fmt::Display for QoS {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.bits(), f)
    }
}
