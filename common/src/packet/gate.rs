//! The rules around `mqttbytes`: what it must not see, because it would take it.
//!
//! [`Head::read`] judges the bytes as they come, so that a packet that cannot be right is refused
//! at its first byte and one that is too large at its last length byte, before anything of it is
//! kept. [`Head::judge`] judges the whole packet. Names and filters are judged where they are made
//! ([`crate::topic`]), CONNECT where it is parsed ([`super::connect`]).

use mqttbytes::{FixedHeader, PacketType};

use super::{DecodeError, FILTERS_PER_PACKET_MAX, fields::Fields};
use crate::qos::QoS;

/// Whose eyes a packet is read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads what clients send.
    Server,
    /// Reads what servers send.
    Client,
}

/// What a packet has already been found to be by its first two to five bytes.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) kind: PacketType,
    pub(super) fixed: FixedHeader,
    /// Bytes of the header, 2 to 5.
    pub(super) len: usize,
    pub(super) first: u8,
    /// Of a PUBLISH.
    pub(super) qos: Option<QoS>,
}

impl Head {
    /// Judges the unread bytes as far as they go; `None` while the length is incomplete.
    pub(super) fn read(
        unread: &[u8],
        bytes_max: usize,
        judge_kind: impl FnOnce(PacketType) -> Result<(), DecodeError>,
    ) -> Result<Option<Self>, DecodeError> {
        let Some((&first, rest)) = unread.split_first() else {
            return Ok(None);
        };
        let kind = kind(first)?;
        judge_kind(kind)?;
        judge_flags(first, kind)?;
        let Some((length_bytes, body_bytes)) = remaining_length(rest)? else {
            return Ok(None);
        };
        judge_length(kind, body_bytes)?;
        let len = 1 + length_bytes;
        let bytes = len + body_bytes;
        if bytes > bytes_max {
            return Err(DecodeError::TooLarge { bytes, bytes_max });
        }
        Ok(Some(Self {
            kind,
            fixed: FixedHeader::new(first, length_bytes, body_bytes),
            len,
            first,
            qos: QoS::from_bits(first >> 1 & 0b11),
        }))
    }

    /// Bytes of the whole packet.
    pub(super) fn packet_len(&self) -> usize {
        self.fixed.frame_length()
    }

    /// Judges all that follows the header of what `mqttbytes` will read; lengths that are fixed are so by
    /// now.
    pub(super) fn judge(&self, body: &[u8]) -> Result<(), DecodeError> {
        let mut fields = Fields(body);
        match self.kind {
            PacketType::Connect
            | PacketType::Publish
            | PacketType::PubAck
            | PacketType::PubRec
            | PacketType::PubRel
            | PacketType::PubComp
            | PacketType::PingReq
            | PacketType::PingResp
            | PacketType::Disconnect => Ok(()),
            PacketType::ConnAck => judge_conn_ack(fields),
            PacketType::UnsubAck => fields.id().map(drop),
            PacketType::Subscribe => judge_subscribe(fields),
            PacketType::SubAck => judge_sub_ack(fields),
            PacketType::Unsubscribe => judge_unsubscribe(fields),
        }
    }
}

impl Role {
    /// Whether packets of this type come to it at all.
    pub(super) fn judge_direction(self, kind: PacketType) -> Result<(), DecodeError> {
        let right = match kind {
            PacketType::Publish
            | PacketType::PubAck
            | PacketType::PubRec
            | PacketType::PubRel
            | PacketType::PubComp => true,
            PacketType::Connect
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::PingReq
            | PacketType::Disconnect => self == Self::Server,
            PacketType::ConnAck
            | PacketType::SubAck
            | PacketType::UnsubAck
            | PacketType::PingResp => self == Self::Client,
        };
        right.then_some(()).ok_or(DecodeError::WrongDirection(kind as u8))
    }

    /// Whether a conversation may begin with it.
    pub(super) fn judge_first(self, kind: PacketType) -> Result<(), DecodeError> {
        match self {
            Self::Server if kind != PacketType::Connect => {
                Err(DecodeError::ConnectExpected(kind as u8)) // [MQTT-3.1.0-1]
            }
            Self::Client if kind != PacketType::ConnAck => {
                Err(DecodeError::ConnAckExpected(kind as u8)) // [MQTT-3.2.0-1]
            }
            Self::Server | Self::Client => Ok(()),
        }
    }
}

fn kind(first: u8) -> Result<PacketType, DecodeError> {
    FixedHeader::new(first, 0, 0).packet_type().map_err(|_| DecodeError::ReservedType(first >> 4))
}

fn judge_flags(first: u8, kind: PacketType) -> Result<(), DecodeError> {
    let flags = first & 0b1111;
    let right = match kind {
        PacketType::Publish => return judge_publish_flags(flags),
        // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => flags == 0b0010,
        PacketType::Connect
        | PacketType::ConnAck
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubComp
        | PacketType::SubAck
        | PacketType::UnsubAck
        | PacketType::PingReq
        | PacketType::PingResp
        | PacketType::Disconnect => flags == 0, // [MQTT-3.14.1-1]
    };
    // [MQTT-2.2.2-2]
    right.then_some(()).ok_or(DecodeError::HeaderFlags(first))
}

fn judge_publish_flags(flags: u8) -> Result<(), DecodeError> {
    let qos = QoS::from_bits(flags >> 1 & 0b11).ok_or(DecodeError::PublishQoS)?; // [MQTT-3.3.1-4]
    if flags & 0b1000 != 0 && !qos.is_answered() {
        return Err(DecodeError::DupWithoutQoS); // [MQTT-3.3.1-2]
    }
    Ok(())
}

/// How many length bytes there are, and the length they tell (2.2.3). The standard does not ask
/// for the shortest form.
fn remaining_length(rest: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    let mut length = 0;
    for (position, byte) in rest.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Ok(Some((position + 1, length)));
        }
    }
    if rest.len() >= LENGTH_BYTES_MAX {
        return Err(DecodeError::LengthBytes);
    }
    Ok(None)
}

/// Refuses a packet of fixed length by its header, before its body is waited for.
fn judge_length(kind: PacketType, body_bytes: usize) -> Result<(), DecodeError> {
    let right = match kind {
        PacketType::ConnAck
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubRel
        | PacketType::PubComp
        | PacketType::UnsubAck => body_bytes == 2,
        PacketType::PingReq | PacketType::PingResp | PacketType::Disconnect => body_bytes == 0,
        PacketType::Connect
        | PacketType::Publish
        | PacketType::Subscribe
        | PacketType::SubAck
        | PacketType::Unsubscribe => true,
    };
    let kind = kind as u8;
    right.then_some(()).ok_or(DecodeError::WrongLength { kind, body_bytes })
}

fn judge_conn_ack(mut fields: Fields<'_>) -> Result<(), DecodeError> {
    let flags = fields.byte()?;
    let code = fields.byte()?;
    if flags & !1 != 0 {
        return Err(DecodeError::ConnAckFlags(flags));
    }
    if code > CONNECT_CODE_MAX {
        return Err(DecodeError::ConnectCode(code));
    }
    if flags == 1 && code != 0 {
        return Err(DecodeError::SessionPresent); // [MQTT-3.2.2-4]
    }
    Ok(())
}

fn judge_subscribe(mut fields: Fields<'_>) -> Result<(), DecodeError> {
    fields.id()?;
    if fields.is_empty() {
        return Err(DecodeError::SubscribeEmpty); // [MQTT-3.8.3-3]
    }
    judge_filters(fields, |fields| {
        let options = fields.byte()?;
        QoS::from_bits(options).map(drop).ok_or(DecodeError::SubscribeOptions(options)) // [MQTT-3-8.3-4]
    })
}

fn judge_unsubscribe(mut fields: Fields<'_>) -> Result<(), DecodeError> {
    fields.id()?;
    if fields.is_empty() {
        return Err(DecodeError::UnsubscribeEmpty); // [MQTT-3.10.3-2]
    }
    judge_filters(fields, |_| Ok(()))
}

/// Judges strings, each followed by what `judge_rest` takes, up to the end of the packet.
fn judge_filters(
    mut fields: Fields<'_>,
    mut judge_rest: impl FnMut(&mut Fields<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut count = 0;
    while !fields.is_empty() {
        count += 1;
        if count > FILTERS_PER_PACKET_MAX {
            return Err(DecodeError::TooManyFilters);
        }
        fields.text()?;
        judge_rest(&mut fields)?;
    }
    Ok(())
}

fn judge_sub_ack(mut fields: Fields<'_>) -> Result<(), DecodeError> {
    fields.id()?;
    if fields.is_empty() {
        return Err(DecodeError::SubAckEmpty); // [MQTT-3.8.4-5]
    }
    // [MQTT-3.9.3-2]
    let reserved = |code: &&u8| !matches!(code, 0..=2 | 0x80);
    match fields.0.iter().find(reserved) {
        Some(code) => Err(DecodeError::SubscribeCode(*code)),
        None => Ok(()),
    }
}

const LENGTH_BYTES_MAX: usize = 4;
const CONNECT_CODE_MAX: u8 = 5;
