//! What is wrong with a packet: one variant a rule, with the clause that the rule comes from.
//!
//! It leaves to the caller what follows: a [`DecodeError`] closes the connection [MQTT-4.8.0-1],
//! [`DecodeError::UnsupportedLevel`] after a CONNACK.

use thiserror::Error;

use crate::topic::{FilterError, TopicError};

/// Why bytes are no packet, or one that must not come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Type 0 or 15.
    #[error("packet type {0} is reserved (2.2.1)")]
    ReservedType(u8),
    /// A packet of this type goes the other way.
    #[error("a packet of type {0} does not come from this side (2.2.1)")]
    WrongDirection(u8),
    /// A server was sent something before CONNECT.
    #[error("first packet of type {0} instead of CONNECT [MQTT-3.1.0-1]")]
    ConnectExpected(u8),
    /// A client was sent something before CONNACK.
    #[error("first packet of type {0} instead of CONNACK [MQTT-3.2.0-1]")]
    ConnAckExpected(u8),
    /// The low four bits of this first byte are not those of its type.
    #[error("reserved flags in first byte {0:#04x} [MQTT-2.2.2-2]")]
    HeaderFlags(u8),
    /// Both QoS bits of a PUBLISH are set.
    #[error("PUBLISH with both QoS bits set [MQTT-3.3.1-4]")]
    PublishQoS,
    /// A repetition of what is never repeated.
    #[error("PUBLISH of QoS 0 marked as repeated [MQTT-3.3.1-2]")]
    DupWithoutQoS,
    /// The fourth length byte announces a fifth.
    #[error("remaining length of more than four bytes (2.2.3)")]
    LengthBytes,
    /// The header announces more than is allowed here.
    #[error("packet of {bytes} bytes where {bytes_max} are allowed")]
    TooLarge {
        /// Bytes of the whole packet.
        bytes: usize,
        /// How many it may have.
        bytes_max: usize,
    },
    /// A packet of a fixed length has another one.
    #[error("remaining length {body_bytes} of a packet of type {kind} (2.2.3)")]
    WrongLength {
        /// The packet type.
        kind: u8,
        /// What its header announces.
        body_bytes: usize,
    },
    /// A field reaches beyond the end of its packet.
    #[error("packet ends inside a field (2.2.3)")]
    Truncated,
    /// Bytes behind the last field.
    #[error("bytes behind the last field of a packet (2.2.3)")]
    TrailingBytes,
    /// A string that is not UTF-8.
    #[error("string that is not UTF-8 [MQTT-1.5.3-1]")]
    Utf8,
    /// A string with U+0000.
    #[error("U+0000 in a string [MQTT-1.5.3-2]")]
    Null,
    /// A packet identifier of 0.
    #[error("packet identifier 0 [MQTT-2.3.1-1]")]
    PacketIdZero,
    /// No topic name where one must be.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// No topic filter where one must be.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A protocol name that is not ours.
    #[error("unknown protocol name [MQTT-3.1.2-1]")]
    ProtocolName,
    /// The name is right, this level is not: to be answered with CONNACK 1.
    #[error("unsupported protocol level {0:#04x} [MQTT-3.1.2-2]")]
    UnsupportedLevel(u8),
    /// Bit 0 of the connect flags.
    #[error("reserved connect flag [MQTT-3.1.2-3]")]
    ConnectFlags,
    /// A QoS for a will that is not there.
    #[error("will QoS without a will [MQTT-3.1.2-13]")]
    WillQoSWithoutWill,
    /// Both QoS bits of the will are set.
    #[error("will with both QoS bits set [MQTT-3.1.2-14]")]
    WillQoS,
    /// A retain flag for a will that is not there.
    #[error("will retain without a will [MQTT-3.1.2-15]")]
    WillRetainWithoutWill,
    /// A password of nobody.
    #[error("password without a user name [MQTT-3.1.2-22]")]
    PasswordWithoutUser,
    /// A reserved bit of the CONNACK flags.
    #[error("reserved CONNACK flags {0:#04x} (3.2.2.1)")]
    ConnAckFlags(u8),
    /// A return code that no server may send.
    #[error("reserved CONNACK code {0} (3.2.2.3)")]
    ConnectCode(u8),
    /// A refusal that knows a session.
    #[error("session present in a refusing CONNACK [MQTT-3.2.2-4]")]
    SessionPresent,
    /// A SUBSCRIBE for nothing.
    #[error("SUBSCRIBE without a filter [MQTT-3.8.3-3]")]
    SubscribeEmpty,
    /// The options behind a filter are no QoS.
    #[error("SUBSCRIBE options {0:#04x} [MQTT-3-8.3-4]")]
    SubscribeOptions(u8),
    /// An UNSUBSCRIBE from nothing.
    #[error("UNSUBSCRIBE without a filter [MQTT-3.10.3-2]")]
    UnsubscribeEmpty,
    /// More than [`FILTERS_PER_PACKET_MAX`](super::FILTERS_PER_PACKET_MAX).
    #[error("too many filters in one packet")]
    TooManyFilters,
    /// A SUBACK that answers nothing.
    #[error("SUBACK without a code [MQTT-3.8.4-5]")]
    SubAckEmpty,
    /// A code that no server may send.
    #[error("reserved SUBACK code {0:#04x} [MQTT-3.9.3-2]")]
    SubscribeCode(u8),
    /// Our rules took it, `mqttbytes` did not: a fault in our rules.
    #[error("the codec refuses what the rules allow: {0}")]
    Codec(mqttbytes::Error),
}

impl DecodeError {
    /// A short name for a metric's label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ReservedType(_) => "reserved_type",
            Self::WrongDirection(_) => "wrong_direction",
            Self::ConnectExpected(_) => "connect_expected",
            Self::ConnAckExpected(_) => "connack_expected",
            Self::HeaderFlags(_) => "header_flags",
            Self::PublishQoS => "publish_qos",
            Self::DupWithoutQoS => "dup_without_qos",
            Self::LengthBytes => "length_bytes",
            Self::TooLarge { .. } => "too_large",
            Self::WrongLength { .. } => "wrong_length",
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing_bytes",
            Self::Utf8 => "utf8",
            Self::Null => "null",
            Self::PacketIdZero => "packet_id_zero",
            Self::Topic(_) => "topic",
            Self::Filter(_) => "filter",
            Self::ProtocolName => "protocol_name",
            Self::UnsupportedLevel(_) => "unsupported_level",
            Self::ConnectFlags => "connect_flags",
            Self::WillQoSWithoutWill => "will_qos_without_will",
            Self::WillQoS => "will_qos",
            Self::WillRetainWithoutWill => "will_retain_without_will",
            Self::PasswordWithoutUser => "password_without_user",
            Self::ConnAckFlags(_) => "connack_flags",
            Self::ConnectCode(_) => "connect_code",
            Self::SessionPresent => "session_present",
            Self::SubscribeEmpty => "subscribe_empty",
            Self::SubscribeOptions(_) => "subscribe_options",
            Self::UnsubscribeEmpty => "unsubscribe_empty",
            Self::TooManyFilters => "too_many_filters",
            Self::SubAckEmpty => "suback_empty",
            Self::SubscribeCode(_) => "subscribe_code",
            Self::Codec(_) => "codec",
        }
    }
}

/// Why a packet cannot be written: each is a fault of whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A field does not fit its two length bytes.
    #[error("field of {0} bytes where 65535 fit (1.5.3)")]
    FieldTooLong(usize),
    /// A packet does not fit its four length bytes.
    #[error("remaining length {0} where 268435455 fit (2.2.3)")]
    TooLarge(usize),
    /// A string with U+0000.
    #[error("U+0000 in a string [MQTT-1.5.3-2]")]
    Null,
    /// An identifier with QoS 0, or none with another.
    #[error("packet identifier and QoS do not agree [MQTT-2.3.1-5]")]
    PacketId,
    /// A repetition of what is never repeated.
    #[error("PUBLISH of QoS 0 marked as repeated [MQTT-3.3.1-2]")]
    DupWithoutQoS,
    /// A level other than 3 and 4.
    #[error("unknown protocol level {0:#04x} [MQTT-3.1.2-2]")]
    Level(u8),
    /// A refusal that knows a session.
    #[error("session present in a refusing CONNACK [MQTT-3.2.2-4]")]
    SessionPresent,
    /// A list of filters or codes that must not be empty.
    #[error("empty list of filters or codes [MQTT-3.8.3-3]")]
    Empty,
    /// More than [`FILTERS_PER_PACKET_MAX`](super::FILTERS_PER_PACKET_MAX).
    #[error("{0} filters in one packet")]
    TooManyFilters(usize),
    /// `mqttbytes` refuses it.
    #[error("the codec refuses to write it: {0}")]
    Codec(mqttbytes::Error),
}
