//! MQTT 3.1.1 control packets as values, and the strict codec around `mqttbytes`.
//!
//! * [`Packet`] — every control packet, valid by construction when it comes from [`Decoder`].
//! * [`Decoder`] — bytes to packets, with every rule of the standard that one packet can break.
//! * [`encode`], [`encode_publish`] — packets to bytes.
//!
//! ```text
//! bytes ─▶ gate: header ─▶ gate: body ─▶ mqttbytes ─▶ Topic, Filter ─▶ Packet
//!             │ not yet        └─▶ CONNECT by hand ─────────────────────▲
//!             └─▶ more bytes
//! ```
//!
//! It leaves to the session what needs memory of earlier packets (a second CONNECT, an answer
//! nobody asked for) and what is a matter of policy (limits on levels, who may do what).

mod connect;
mod decode;
mod encode;
mod error;
mod fields;
mod gate;
#[cfg(test)]
mod tests;
mod value;

pub use decode::Decoder;
pub(crate) use encode::encode_publish_of;
pub use encode::{PublishHeader, encode, encode_publish};
pub use error::{DecodeError, EncodeError};
pub use gate::Role;
pub use value::{Connect, ConnectCode, Login, Packet, Publish, SubscribeCode, Subscription, Will};

/// How many filters one SUBSCRIBE or UNSUBSCRIBE may have: a filter of four bytes on the wire
/// takes some hundred in memory, and the standard sets no bound.
pub const FILTERS_PER_PACKET_MAX: usize = 16_384;
