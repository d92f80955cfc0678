//! What frames and packets mean to the simulation: the number that each message carries.

use causeway_common::{id::NodeId, link::Frame, packet::Packet, qos::QoS};

/// The number that a message carries as its payload.
pub(crate) fn number(payload: &[u8]) -> usize {
    std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok()).unwrap_or(usize::MAX)
}

pub(crate) fn message_on(frame: &Frame) -> Option<usize> {
    match frame {
        Frame::Forward { envelope, .. } => Some(number(envelope.payload())),
        // Noise: probes, and answers, which name no message.
        Frame::Direct { id: None, .. } | Frame::Ack(_) => Some(usize::MAX),
        _ => None,
    }
}

pub(crate) fn message_in(packet: &Packet) -> Option<usize> {
    match packet {
        Packet::Publish(publish) => Some(number(&publish.message.payload)),
        Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
            Some(usize::MAX)
        }
        _ => None,
    }
}

pub(crate) fn node_id(index: usize) -> NodeId {
    NodeId::from(format!("node-{index}"))
}

/// QoS of a number.
pub(crate) fn qos(bits: u64) -> QoS {
    QoS::from_bits(u8::try_from(bits % 3).unwrap_or_default()).unwrap_or_default()
}
