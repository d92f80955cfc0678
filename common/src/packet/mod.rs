//! MQTT 3.1.1 control packets as values, and the strict codec around `mqttbytes`.
//!
//! * [`Packet`] — every control packet, valid by construction when it comes from [`Decoder`].
//! * [`Decoder`] — bytes to packets, with every rule of the standard that one packet can break.
//! * [`encode`], [`encode_publish`] — packets to bytes.
//!
//! It leaves to the session what needs memory of earlier packets (a second CONNECT, an answer
//! nobody asked for) and what is a matter of policy (limits on levels, who may do what).

mod value;

pub use value::{Connect, ConnectCode, Login, Packet, Publish, SubscribeCode, Subscription, Will};
