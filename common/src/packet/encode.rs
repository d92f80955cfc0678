//! Packets to bytes: `mqttbytes` writes what it writes well; PUBLISH, which must not cost a copy of
//! its topic, and CONNECT are written here.
//!
//! Nothing is written that a [`Decoder`](super::Decoder) would refuse.

use bytes::{BufMut, BytesMut};
use mqttbytes::v4;

use super::{
    ConnectCode, EncodeError, FILTERS_PER_PACKET_MAX, Packet, SubscribeCode, Subscription, connect,
};
use crate::{id::PacketId, message::Message, qos::QoS, topic::Filter};

/// What a PUBLISH says of one delivery of a message; the message itself may be shared by many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishHeader {
    /// The QoS of this delivery, perhaps lower than the message's.
    pub qos: QoS,
    /// Present exactly if the QoS is 1 or 2 [MQTT-2.3.1-5].
    pub id: Option<PacketId>,
    /// Whether it may have been sent before; never with QoS 0.
    pub dup: bool,
    /// Whether it is sent because of a new subscription [MQTT-3.3.1-8].
    pub retain: bool,
}

/// Appends a packet to the buffer.
///
/// # Errors
/// A packet that the standard has no bytes for; the buffer is then as it was.
pub fn encode(packet: &Packet, buffer: &mut BytesMut) -> Result<(), EncodeError> {
    let start = buffer.len();
    let written = write(packet, buffer);
    if written.is_err() {
        buffer.truncate(start);
    }
    written
}

/// Appends a PUBLISH to the buffer; allocates nothing but the buffer's growth.
///
/// # Errors
/// As [`encode`].
pub fn encode_publish(
    message: &Message,
    header: PublishHeader,
    buffer: &mut BytesMut,
) -> Result<(), EncodeError> {
    encode_publish_of(message.topic.as_str(), &message.payload, header, buffer)
}

/// The same for a topic and a payload that stand in no [`Message`]. The topic must be a valid one.
pub(crate) fn encode_publish_of(
    topic: &str,
    payload: &[u8],
    header: PublishHeader,
    buffer: &mut BytesMut,
) -> Result<(), EncodeError> {
    if header.id.is_some() != header.qos.is_answered() {
        return Err(EncodeError::PacketId); // [MQTT-2.3.1-5]
    }
    if header.dup && !header.qos.is_answered() {
        return Err(EncodeError::DupWithoutQoS); // [MQTT-3.3.1-2]
    }
    let id_bytes = if header.id.is_some() { 2 } else { 0 };
    let first = 0x30 | u8::from(header.dup) << 3 | header.qos.bits() << 1 | u8::from(header.retain);
    put_header(buffer, first, 2 + topic.len() + id_bytes + payload.len())?;
    put_bytes(buffer, topic.as_bytes())?;
    if let Some(id) = header.id {
        buffer.put_u16(id.get());
    }
    buffer.extend_from_slice(payload);
    Ok(())
}

/// Writes the first byte and the remaining length, and makes room for what follows.
pub(super) fn put_header(
    buffer: &mut BytesMut,
    first: u8,
    body_bytes: usize,
) -> Result<(), EncodeError> {
    if body_bytes > BODY_BYTES_MAX {
        return Err(EncodeError::TooLarge(body_bytes));
    }
    buffer.reserve(HEADER_BYTES_MAX + body_bytes);
    buffer.put_u8(first);
    let mut rest = body_bytes;
    while rest > 0x7f {
        buffer.put_u8(low_bits(rest) | 0x80);
        rest >>= 7;
    }
    buffer.put_u8(low_bits(rest));
    Ok(())
}

pub(super) fn put_bytes(buffer: &mut BytesMut, bytes: &[u8]) -> Result<(), EncodeError> {
    let length = u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong(bytes.len()))?;
    buffer.put_u16(length);
    buffer.extend_from_slice(bytes);
    Ok(())
}

pub(super) fn put_text(buffer: &mut BytesMut, text: &str) -> Result<(), EncodeError> {
    if text.contains('\0') {
        return Err(EncodeError::Null); // [MQTT-1.5.3-2]
    }
    put_bytes(buffer, text.as_bytes())
}

fn write(packet: &Packet, buffer: &mut BytesMut) -> Result<(), EncodeError> {
    let written = match packet {
        Packet::Connect(connect) => return connect::write(connect, buffer),
        Packet::Publish(publish) => {
            let header = PublishHeader {
                qos: publish.message.qos,
                id: publish.id,
                dup: publish.dup,
                retain: publish.message.retain,
            };
            return encode_publish(&publish.message, header, buffer);
        }
        Packet::ConnAck { session_present, code } => {
            if *session_present && *code != ConnectCode::Accepted {
                return Err(EncodeError::SessionPresent); // [MQTT-3.2.2-4]
            }
            v4::ConnAck::new(connect_code(*code), *session_present).write(buffer)
        }
        Packet::PubAck(id) => v4::PubAck::new(id.get()).write(buffer),
        Packet::PubRec(id) => v4::PubRec::new(id.get()).write(buffer),
        Packet::PubRel(id) => v4::PubRel::new(id.get()).write(buffer),
        Packet::PubComp(id) => v4::PubComp::new(id.get()).write(buffer),
        Packet::Subscribe { id, subscriptions } => subscribe(*id, subscriptions)?.write(buffer),
        Packet::SubAck { id, codes } => sub_ack(*id, codes)?.write(buffer),
        Packet::Unsubscribe { id, filters } => unsubscribe(*id, filters)?.write(buffer),
        Packet::UnsubAck(id) => v4::UnsubAck::new(id.get()).write(buffer),
        Packet::PingReq => v4::PingReq.write(buffer),
        Packet::PingResp => v4::PingResp.write(buffer),
        Packet::Disconnect => v4::Disconnect.write(buffer),
    };
    written.map(drop).map_err(EncodeError::Codec)
}

fn subscribe(id: PacketId, wanted: &[Subscription]) -> Result<v4::Subscribe, EncodeError> {
    judge_filter_count(wanted.len())?;
    let filter = |wanted: &Subscription| {
        v4::SubscribeFilter::new(wanted.filter.as_str().to_owned(), qos(wanted.qos))
    };
    Ok(v4::Subscribe { pkid: id.get(), filters: wanted.iter().map(filter).collect() })
}

fn unsubscribe(id: PacketId, filters: &[Filter]) -> Result<v4::Unsubscribe, EncodeError> {
    judge_filter_count(filters.len())?;
    Ok(v4::Unsubscribe {
        pkid: id.get(),
        topics: filters.iter().map(|filter| filter.as_str().to_owned()).collect(),
    })
}

fn sub_ack(id: PacketId, codes: &[SubscribeCode]) -> Result<v4::SubAck, EncodeError> {
    if codes.is_empty() {
        return Err(EncodeError::Empty); // [MQTT-3.8.4-5]
    }
    let code = |code: &SubscribeCode| match code {
        SubscribeCode::Granted(granted) => v4::SubscribeReasonCode::Success(qos(*granted)),
        SubscribeCode::Failure => v4::SubscribeReasonCode::Failure,
    };
    Ok(v4::SubAck::new(id.get(), codes.iter().map(code).collect()))
}

fn judge_filter_count(count: usize) -> Result<(), EncodeError> {
    match count {
        0 => Err(EncodeError::Empty), // [MQTT-3.8.3-3] [MQTT-3.10.3-2]
        1..=FILTERS_PER_PACKET_MAX => Ok(()),
        _ => Err(EncodeError::TooManyFilters(count)),
    }
}

fn qos(qos: QoS) -> mqttbytes::QoS {
    match qos {
        QoS::AtMostOnce => mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce => mqttbytes::QoS::AtLeastOnce,
        QoS::ExactlyOnce => mqttbytes::QoS::ExactlyOnce,
    }
}

fn connect_code(code: ConnectCode) -> v4::ConnectReturnCode {
    match code {
        ConnectCode::Accepted => v4::ConnectReturnCode::Success,
        ConnectCode::UnacceptableProtocol => v4::ConnectReturnCode::RefusedProtocolVersion,
        ConnectCode::IdentifierRejected => v4::ConnectReturnCode::BadClientId,
        ConnectCode::ServerUnavailable => v4::ConnectReturnCode::ServiceUnavailable,
        ConnectCode::BadUserNameOrPassword => v4::ConnectReturnCode::BadUserNamePassword,
        ConnectCode::NotAuthorized => v4::ConnectReturnCode::NotAuthorized,
    }
}

/// The low seven bits of a length.
fn low_bits(length: usize) -> u8 {
    let [low, ..] = length.to_le_bytes();
    low & 0x7f
}

const HEADER_BYTES_MAX: usize = 5;
const BODY_BYTES_MAX: usize = 268_435_455;
