//! The control packets as values: what the rest of Causeway knows of a packet.

use bytes::Bytes;

use crate::{
    id::PacketId,
    message::Message,
    qos::QoS,
    topic::{Filter, Topic},
};

/// An MQTT control packet (MQTT 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Client to server: the login (3.1). Boxed, because it is large and rare.
    Connect(Box<Connect>),
    /// Server to client: the answer to it (3.2).
    ConnAck {
        /// Whether the server has state of an earlier connection.
        session_present: bool,
        /// Accepted, or why not.
        code: ConnectCode,
    },
    /// Either way: a message (3.3).
    Publish(Publish),
    /// Answer to a QoS 1 PUBLISH (3.4).
    PubAck(PacketId),
    /// First answer to a QoS 2 PUBLISH (3.5).
    PubRec(PacketId),
    /// Answer to PUBREC (3.6).
    PubRel(PacketId),
    /// Answer to PUBREL (3.7).
    PubComp(PacketId),
    /// Client to server: wants messages (3.8).
    Subscribe {
        /// Answered by a SUBACK of the same identifier.
        id: PacketId,
        /// At least one [MQTT-3.8.3-3].
        subscriptions: Vec<Subscription>,
    },
    /// Server to client: one code a filter, in their order (3.9).
    SubAck {
        /// The SUBSCRIBE it answers.
        id: PacketId,
        /// [MQTT-3.9.3-1]
        codes: Vec<SubscribeCode>,
    },
    /// Client to server: wants no more (3.10).
    Unsubscribe {
        /// Answered by an UNSUBACK of the same identifier.
        id: PacketId,
        /// At least one [MQTT-3.10.3-2].
        filters: Vec<Filter>,
    },
    /// Server to client (3.11).
    UnsubAck(PacketId),
    /// Client to server (3.12).
    PingReq,
    /// Server to client (3.13).
    PingResp,
    /// Client to server: a good-bye that suppresses the will (3.14).
    Disconnect,
}

/// A CONNECT packet (3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The protocol level: 4 for MQTT 3.1.1, 3 for MQTT 3.1 (`MQIsdp`).
    pub level: u8,
    /// Empty if the server shall choose one.
    pub client_id: String,
    /// Whether to start without the state of earlier connections, and to leave none.
    pub clean_session: bool,
    /// Seconds; 0 turns it off (3.1.2.10).
    pub keep_alive_secs: u16,
    /// To be published if the connection ends without DISCONNECT.
    pub will: Option<Will>,
    /// User name and password, if the user name flag is set.
    pub login: Option<Login>,
}

/// The will of a client (3.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where to publish it.
    pub topic: Topic,
    /// What to publish.
    pub payload: Bytes,
    /// How surely.
    pub qos: QoS,
    /// Whether to retain it.
    pub retain: bool,
}

impl Will {
    /// The message it is when it is published.
    pub fn into_message(self) -> Message {
        let Self { topic, payload, qos, retain } = self;
        Message { topic, payload, qos, retain }
    }
}

/// Who a client says it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// May be empty: that is a user name too.
    pub user: String,
    /// Any bytes (3.1.3.5), or none where the password flag is not set.
    pub password: Option<Bytes>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password stands in no log, however a packet gets into one.
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A PUBLISH packet (3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// What is published; its QoS and retain flag are the packet's.
    pub message: Message,
    /// Present exactly if the QoS is 1 or 2 [MQTT-2.3.1-5].
    pub id: Option<PacketId>,
    /// Whether it may have been sent before.
    pub dup: bool,
}

/// One filter of a SUBSCRIBE, with the greatest QoS the client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Which topics.
    pub filter: Filter,
    /// At most this QoS.
    pub qos: QoS,
}

/// The return code of a CONNACK (3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectCode {
    /// 0
    Accepted = 0,
    /// 1: the server does not speak this level of the protocol.
    UnacceptableProtocol = 1,
    /// 2: the client identifier is not allowed.
    IdentifierRejected = 2,
    /// 3: full, draining, or without its directory.
    ServerUnavailable = 3,
    /// 4: user name or password are wrong.
    BadUserNameOrPassword = 4,
    /// 5: this client may not connect.
    NotAuthorized = 5,
}

/// One code of a SUBACK (3.9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeCode {
    /// Granted, with at most this QoS.
    Granted(QoS),
    /// 0x80: refused.
    Failure,
}
