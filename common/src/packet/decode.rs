//! Bytes to packets: the rules first, then `mqttbytes`, then our own types.
//!
//! It reads what is in the buffer and never asks for more room: the caller decides how fast a
//! buffer may grow towards the packet that a header announces.

use bytes::{Buf, Bytes, BytesMut};
use mqttbytes::{PacketType, v4};

use super::{
    ConnectCode, DecodeError, Packet, Publish, Role, SubscribeCode, Subscription, connect,
    fields::Fields, gate::Head,
};
use crate::{
    id::PacketId,
    message::Message,
    qos::QoS,
    topic::{Filter, Topic},
};

/// Reads one side of one connection.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    packet_bytes_max: usize,
    /// Whether the packet that must be the first has been.
    opened: bool,
}

impl Decoder {
    /// A decoder for a fresh connection; `packet_bytes_max` counts whole packets with their headers.
    pub fn new(role: Role, packet_bytes_max: usize) -> Self {
        Self { role, packet_bytes_max, opened: false }
    }

    /// Takes the next packet from the buffer; `Ok(None)` while there is no whole one.
    ///
    /// A payload of 4 KiB or more shares the buffer's memory and keeps all of it; smaller ones are
    /// copied out.
    ///
    /// # Errors
    /// Whatever the peer sent, the connection must be closed [MQTT-4.8.0-1].
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        let Some(head) = Head::read(buffer, self.bytes_max(), |kind| self.judge_kind(kind))? else {
            return Ok(None);
        };
        let Some(body) = buffer.get(head.len..head.packet_len()) else {
            return Ok(None);
        };
        let packet = match head.kind {
            PacketType::Publish => Packet::Publish(take_publish(&head, buffer)?),
            PacketType::Connect
            | PacketType::PubAck
            | PacketType::PubRec
            | PacketType::PubRel
            | PacketType::PubComp => {
                let packet = read(head.kind, body)?;
                buffer.advance(head.packet_len());
                packet
            }
            PacketType::ConnAck
            | PacketType::Subscribe
            | PacketType::SubAck
            | PacketType::Unsubscribe
            | PacketType::UnsubAck
            | PacketType::PingReq
            | PacketType::PingResp
            | PacketType::Disconnect => {
                head.judge(body)?;
                translate(v4::read(buffer, head.packet_len()).map_err(DecodeError::Codec)?)?
            }
        };
        self.opened = true;
        Ok(Some(packet))
    }

    fn judge_kind(&self, kind: PacketType) -> Result<(), DecodeError> {
        if !self.opened {
            self.role.judge_first(kind)?;
        }
        self.role.judge_direction(kind)
    }

    /// Who has not said a name yet gets no more room than a CONNECT may need.
    fn bytes_max(&self) -> usize {
        if self.opened { self.packet_bytes_max } else { self.packet_bytes_max.min(FIRST_BYTES_MAX) }
    }
}

/// Takes a PUBLISH out of the buffer: on the path of every message, so field by field, with one copy of
/// each.
fn take_publish(head: &Head, buffer: &mut BytesMut) -> Result<Publish, DecodeError> {
    let mut fields = Fields(buffer.get(head.len..head.packet_len()).unwrap_or_default());
    let qos = head.qos.unwrap_or_default();
    let topic = Topic::new(fields.text()?)?;
    let id = if qos.is_answered() { Some(fields.id()?) } else { None };
    let payload_at = head.packet_len() - fields.0.len();
    let payload = if fields.0.len() < SHARED_BYTES_MIN {
        // It would keep the whole read buffer.
        let payload = Bytes::copy_from_slice(fields.0);
        buffer.advance(head.packet_len());
        payload
    } else {
        buffer.split_to(head.packet_len()).freeze().split_off(payload_at)
    };
    let message = Message { topic, payload, qos, retain: head.first & 0b0001 != 0 };
    Ok(Publish { message, id, dup: head.first & 0b1000 != 0 })
}

/// Reads the other packets that `mqttbytes` should not: CONNECT, whose rules it does not know, and the
/// answers, one or more a message.
fn read(kind: PacketType, body: &[u8]) -> Result<Packet, DecodeError> {
    let mut fields = Fields(body);
    Ok(match kind {
        PacketType::PubAck => Packet::PubAck(fields.id()?),
        PacketType::PubRec => Packet::PubRec(fields.id()?),
        PacketType::PubRel => Packet::PubRel(fields.id()?),
        PacketType::PubComp => Packet::PubComp(fields.id()?),
        _ => Packet::Connect(Box::new(connect::read(body)?)),
    })
}

fn translate(packet: v4::Packet) -> Result<Packet, DecodeError> {
    Ok(match packet {
        v4::Packet::PingReq => Packet::PingReq,
        v4::Packet::PingResp => Packet::PingResp,
        v4::Packet::Subscribe(subscribe) => Packet::Subscribe {
            id: id(subscribe.pkid)?,
            subscriptions: subscribe
                .filters
                .into_iter()
                .map(translate_subscription)
                .collect::<Result<_, _>>()?,
        },
        v4::Packet::SubAck(ack) => Packet::SubAck {
            id: id(ack.pkid)?,
            codes: ack.return_codes.into_iter().map(subscribe_code).collect(),
        },
        v4::Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe {
            id: id(unsubscribe.pkid)?,
            filters: unsubscribe.topics.into_iter().map(Filter::new).collect::<Result<_, _>>()?,
        },
        v4::Packet::UnsubAck(ack) => Packet::UnsubAck(id(ack.pkid)?),
        v4::Packet::ConnAck(ack) => {
            Packet::ConnAck { session_present: ack.session_present, code: connect_code(ack.code) }
        }
        v4::Packet::Disconnect => Packet::Disconnect,
        v4::Packet::Connect(_)
        | v4::Packet::Publish(_)
        | v4::Packet::PubAck(_)
        | v4::Packet::PubRec(_)
        | v4::Packet::PubRel(_)
        | v4::Packet::PubComp(_) => {
            return Err(DecodeError::Codec(mqttbytes::Error::IncorrectPacketFormat));
        }
    })
}

fn translate_subscription(filter: v4::SubscribeFilter) -> Result<Subscription, DecodeError> {
    Ok(Subscription { filter: Filter::new(filter.path)?, qos: qos(filter.qos) })
}

fn id(number: u16) -> Result<PacketId, DecodeError> {
    PacketId::new(number).ok_or(DecodeError::PacketIdZero) // [MQTT-2.3.1-1]
}

fn qos(qos: mqttbytes::QoS) -> QoS {
    match qos {
        mqttbytes::QoS::AtMostOnce => QoS::AtMostOnce,
        mqttbytes::QoS::AtLeastOnce => QoS::AtLeastOnce,
        mqttbytes::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn subscribe_code(code: v4::SubscribeReasonCode) -> SubscribeCode {
    match code {
        v4::SubscribeReasonCode::Success(granted) => SubscribeCode::Granted(qos(granted)),
        v4::SubscribeReasonCode::Failure => SubscribeCode::Failure,
    }
}

fn connect_code(code: v4::ConnectReturnCode) -> ConnectCode {
    match code {
        v4::ConnectReturnCode::Success => ConnectCode::Accepted,
        v4::ConnectReturnCode::RefusedProtocolVersion => ConnectCode::UnacceptableProtocol,
        v4::ConnectReturnCode::BadClientId => ConnectCode::IdentifierRejected,
        v4::ConnectReturnCode::ServiceUnavailable => ConnectCode::ServerUnavailable,
        v4::ConnectReturnCode::BadUserNamePassword => ConnectCode::BadUserNameOrPassword,
        v4::ConnectReturnCode::NotAuthorized => ConnectCode::NotAuthorized,
    }
}

/// Room for a CONNECT: 64 KiB for the will, as much for all the rest.
const FIRST_BYTES_MAX: usize = 128 * 1024;
const SHARED_BYTES_MIN: usize = 4 * 1024;
