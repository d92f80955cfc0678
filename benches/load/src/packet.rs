//! The few packets of MQTT 3.1.1 that a load needs, written and read by hand: the generator shall
//! cost little, and share nothing with any broker that it measures.
//!
//! It leaves to others: when something is sent ([`crate::traffic`]), and over what
//! ([`crate::client`]).

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How surely a message arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum QoS {
    /// 0
    AtMostOnce,
    /// 1
    AtLeastOnce,
    /// 2
    ExactlyOnce,
}

impl From<QoS> for u8 {
    fn from(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => 0,
            QoS::AtLeastOnce => 1,
            QoS::ExactlyOnce => 2,
        }
    }
}

impl TryFrom<u8> for QoS {
    type Error = Malformed;

    fn try_from(number: u8) -> Result<Self, Malformed> {
        match number {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            _ => Err(Malformed(number)),
        }
    }
}

/// What a broker sent is no packet of MQTT 3.1.1, or none that a client is sent.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a malformed packet (first byte {0:#04x})")]
pub struct Malformed(pub u8);

/// The packets that are an identifier and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// QoS 1: the receiver has it.
    PubAck,
    /// QoS 2: the receiver has it.
    PubRec,
    /// QoS 2: the sender will not send it again.
    PubRel,
    /// QoS 2: done.
    PubComp,
}

impl Answer {
    /// Appends it for a packet identifier.
    pub fn write(self, id: u16, out: &mut Vec<u8>) {
        let first = match self {
            Self::PubAck => 0x40,
            Self::PubRec => 0x50,
            Self::PubRel => 0x62,
            Self::PubComp => 0x70,
        };
        let [high, low] = id.to_be_bytes();
        out.extend_from_slice(&[first, 2, high, low]);
    }
}

/// What a broker sends to a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The answer to CONNECT; 0 lets the client in.
    ConnAck(u8),
    /// The answer to SUBSCRIBE: the QoS of its one filter, or 0x80.
    SubAck(u8),
    /// A message.
    Publish {
        /// Its QoS on this way.
        qos: QoS,
        /// 0 with QoS 0.
        id: u16,
        /// What it says.
        payload: &'a [u8],
    },
    /// A step in the handshake of a message.
    Answer(Answer, u16),
    /// The answer to PINGREQ, which says nothing.
    Pong,
}

/// Appends CONNECT.
pub fn connect(client_id: &str, clean: bool, out: &mut Vec<u8>) {
    head(0x10, 12 + client_id.len(), out);
    text("MQTT", out);
    out.extend_from_slice(&[4, if clean { 2 } else { 0 }]);
    out.extend_from_slice(&KEEP_ALIVE_SECS.to_be_bytes());
    text(client_id, out);
}

/// Appends SUBSCRIBE with one filter.
pub fn subscribe(filter: &str, qos: QoS, out: &mut Vec<u8>) {
    head(0x82, 5 + filter.len(), out);
    out.extend_from_slice(&[0, 1]);
    text(filter, out);
    out.push(qos.into());
}

/// DISCONNECT.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Longer than any run, so that no connection needs a timer here.
const KEEP_ALIVE_SECS: u16 = 3600;

/// What a payload begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When the message should have been sent, by the generator's clock.
    pub due_ns: u64,
    /// The series that it belongs to.
    pub stream: u32,
    /// Its place there, from 0.
    pub sequence: u32,
}

impl Stamp {
    /// The smallest payload.
    pub const BYTES: usize = 16;

    /// What a payload says of itself; nothing if it is too short.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (due_ns, rest) = payload.split_first_chunk()?;
        let (stream, rest) = rest.split_first_chunk()?;
        let (sequence, _) = rest.split_first_chunk()?;
        Some(Self {
            due_ns: u64::from_le_bytes(*due_ns),
            stream: u32::from_le_bytes(*stream),
            sequence: u32::from_le_bytes(*sequence),
        })
    }
}

/// A PUBLISH whose identifier and stamp are still to be filled in.
#[derive(Debug)]
pub struct Template {
    bytes: Vec<u8>,
    id_at: Option<usize>,
    payload_at: usize,
}

impl Template {
    /// A message on a topic; `payload_bytes` is at least [`Stamp::BYTES`].
    pub fn new(topic: &str, qos: QoS, payload_bytes: usize) -> Self {
        let id_bytes = if qos == QoS::AtMostOnce { 0 } else { 2 };
        let mut bytes = Vec::new();
        head(0x30 | u8::from(qos) << 1, 2 + topic.len() + id_bytes + payload_bytes, &mut bytes);
        text(topic, &mut bytes);
        let id_at = (id_bytes > 0).then_some(bytes.len());
        let payload_at = bytes.len() + id_bytes;
        bytes.resize(payload_at + payload_bytes, b'x');
        Self { bytes, id_at, payload_at }
    }

    /// Appends the message with this stamp. The identifier follows from its place.
    pub fn write(&self, stamp: Stamp, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(at) = self.id_at {
            let id = u16::try_from(stamp.sequence % 65_535).unwrap_or(0) + 1;
            patch(out, start + at, &id.to_be_bytes());
        }
        let at = start + self.payload_at;
        patch(out, at, &stamp.due_ns.to_le_bytes());
        patch(out, at + 8, &stamp.stream.to_le_bytes());
        patch(out, at + 12, &stamp.sequence.to_le_bytes());
    }
}

fn patch(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn head(first: u8, mut length: usize, out: &mut Vec<u8>) {
    out.push(first);
    loop {
        let digit = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        out.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            return;
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Reads the packet that `bytes` begin with, and tells its size; nothing if it is not there yet.
pub fn read(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let Some((length, digits)) = remaining_length(rest).ok_or(Malformed(first))? else {
        return Ok(None);
    };
    let Some(body) = rest.get(digits..digits + length) else {
        return Ok(None);
    };
    let packet = packet(first, body).ok_or(Malformed(first))?;
    Ok(Some((packet, 1 + digits + length)))
}

/// The length and how many bytes say it. The outer option is nothing if no length looks like this,
/// the inner one if there is more of it to come.
#[expect(clippy::option_option, reason = "wrong and not yet are two things")]
fn remaining_length(bytes: &[u8]) -> Option<Option<(usize, usize)>> {
    let mut length = 0;
    for (place, &byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some(Some((length, place + 1)));
        }
    }
    (bytes.len() < 4).then_some(None)
}

fn packet(first: u8, body: &[u8]) -> Option<Packet<'_>> {
    Some(match first >> 4 {
        2 => Packet::ConnAck(*body.get(1)?),
        3 => publish(first, body)?,
        4 => Packet::Answer(Answer::PubAck, identifier(body)?.0),
        5 => Packet::Answer(Answer::PubRec, identifier(body)?.0),
        6 => Packet::Answer(Answer::PubRel, identifier(body)?.0),
        7 => Packet::Answer(Answer::PubComp, identifier(body)?.0),
        9 => Packet::SubAck(*body.get(2)?),
        13 => Packet::Pong,
        _ => return None,
    })
}

fn publish(first: u8, body: &[u8]) -> Option<Packet<'_>> {
    let qos = QoS::try_from(first >> 1 & 3).ok()?;
    let (topic_bytes, rest) = identifier(body)?;
    let rest = rest.get(usize::from(topic_bytes)..)?;
    let (id, payload) = if qos == QoS::AtMostOnce { (0, rest) } else { identifier(rest)? };
    Some(Packet::Publish { qos, id, payload })
}

fn identifier(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_message_is_read_as_it_was() {
        for (qos, payload_bytes) in
            [(QoS::AtMostOnce, 16), (QoS::AtLeastOnce, 64), (QoS::ExactlyOnce, 65_536)]
        {
            let stamp = Stamp { due_ns: 1 << 40, stream: 7, sequence: 65_535 };
            let mut out = Vec::new();
            Template::new("a/b", qos, payload_bytes).write(stamp, &mut out);
            let (packet, size) = read(&out).unwrap().unwrap();
            assert_eq!(size, out.len());
            let Packet::Publish { qos: read_qos, id, payload } = packet else { panic!() };
            assert_eq!((read_qos, payload.len()), (qos, payload_bytes));
            assert_eq!(id, u16::from(qos != QoS::AtMostOnce), "identifiers begin again at 1");
            assert_eq!(Stamp::read(payload), Some(stamp));
        }
    }

    #[test]
    fn a_packet_that_is_cut_short_is_waited_for() {
        let mut out = Vec::new();
        Template::new("a", QoS::AtLeastOnce, 200)
            .write(Stamp { due_ns: 0, stream: 0, sequence: 0 }, &mut out);
        for end in 0..out.len() {
            assert_eq!(read(&out[..end]), Ok(None), "{end} bytes");
        }
    }

    #[test]
    fn what_no_broker_sends_is_malformed() {
        for bytes in [&[0x10, 0][..], &[0x30, 0xff, 0xff, 0xff, 0xff], &[0x36, 2, 0, 0], &[0x20, 0]]
        {
            assert_eq!(read(bytes), Err(Malformed(bytes[0])), "{bytes:x?}");
        }
    }

    #[test]
    fn greetings_have_the_bytes_of_the_standard() {
        let mut out = Vec::new();
        connect("c", true, &mut out);
        assert_eq!(out, b"\x10\x0d\0\x04MQTT\x04\x02\x0e\x10\0\x01c");
        out.clear();
        subscribe("a/+", QoS::AtLeastOnce, &mut out);
        assert_eq!(out, b"\x82\x08\0\x01\0\x03a/+\x01");
    }
}
