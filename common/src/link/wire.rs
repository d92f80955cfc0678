//! Frames as MQTT packets and back: the only place that knows how a link looks on the wire.

use bytes::{Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;
use thiserror::Error;

use super::{Envelope, EnvelopeError, Frame, Note, PREFIX, envelope::MARK};
use crate::{
    id::{NodeId, PacketId},
    message::Message,
    packet::{self, EncodeError, Packet, Publish, PublishHeader, SubscribeCode, Subscription},
    qos::QoS,
    topic::{Topic, TopicError},
};

/// Why a packet is no frame.
#[derive(Debug, Error)]
pub enum LinkError {
    /// A control packet that nobody sends on a link.
    #[error("{0} has no place on a link")]
    Unexpected(&'static str),
    /// A topic outside `$link/`, or an unknown one inside.
    #[error("unknown topic {0:?} on a link")]
    UnknownTopic(Topic),
    /// A control body that does not say what its topic promises.
    #[error("malformed body under {topic:?}: {error}")]
    Body {
        /// Where.
        topic: Topic,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// A QoS that does not fit the topic.
    #[error("wrong QoS under {0:?}")]
    QoS(Topic),
    /// A forwarded message that cannot be read.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A frame that no packet can carry.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A topic that is none, because of a node name in it.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

/// The packet that carries a frame.
pub fn to_packet(frame: &Frame) -> Result<Packet, LinkError> {
    Ok(match frame {
        Frame::Status(status) => publish(STATUS, None, status)?,
        Frame::Hello(hello) => publish(HELLO, None, hello)?,
        Frame::Routes { id, routes } => publish(ROUTES, Some(*id), routes)?,
        Frame::Direct { id, to, from, note } => direct(*id, to, from, note)?,
        Frame::Forward { id, envelope } => forward(*id, envelope),
        Frame::Subscribe { id, filters } => {
            let wanted = |filter: &crate::topic::Filter| Subscription {
                filter: filter.clone(),
                qos: QoS::AtLeastOnce,
            };
            Packet::Subscribe { id: *id, subscriptions: filters.iter().map(wanted).collect() }
        }
        Frame::SubAck { id, filter_count } => {
            let granted = SubscribeCode::Granted(QoS::AtLeastOnce);
            Packet::SubAck { id: *id, codes: vec![granted; *filter_count] }
        }
        Frame::Unsubscribe { id, filters } => {
            Packet::Unsubscribe { id: *id, filters: filters.clone() }
        }
        Frame::UnsubAck(id) => Packet::UnsubAck(*id),
        Frame::Ack(id) => Packet::PubAck(*id),
        Frame::Ping => Packet::PingReq,
        Frame::Pong => Packet::PingResp,
    })
}

/// Appends the packet that carries a frame to the buffer. Forwarded messages are not copied on
/// the way.
pub fn encode(frame: &Frame, buffer: &mut BytesMut) -> Result<(), LinkError> {
    if let Frame::Forward { id, envelope } = frame {
        let topic = envelope.wire_topic().as_str();
        let header = PublishHeader { qos: link_qos(*id), id: *id, dup: false, retain: false };
        packet::encode_publish_of(topic, envelope.payload(), header, buffer)?;
    } else {
        packet::encode(&to_packet(frame)?, buffer)?;
    }
    Ok(())
}

/// The frame that a packet carries.
pub fn from_packet(packet: Packet) -> Result<Frame, LinkError> {
    Ok(match packet {
        Packet::Publish(publish) => return from_publish(publish),
        Packet::Subscribe { id, subscriptions } => {
            let filters = subscriptions.into_iter().map(|subscription| subscription.filter);
            Frame::Subscribe { id, filters: filters.collect() }
        }
        Packet::SubAck { id, codes } => Frame::SubAck { id, filter_count: codes.len() },
        Packet::Unsubscribe { id, filters } => Frame::Unsubscribe { id, filters },
        Packet::UnsubAck(id) => Frame::UnsubAck(id),
        Packet::PubAck(id) => Frame::Ack(id),
        Packet::PingReq => Frame::Ping,
        Packet::PingResp => Frame::Pong,
        Packet::Connect(_) => return Err(LinkError::Unexpected("CONNECT")),
        Packet::ConnAck { .. } => return Err(LinkError::Unexpected("CONNACK")),
        Packet::PubRec(_) => return Err(LinkError::Unexpected("PUBREC")),
        Packet::PubRel(_) => return Err(LinkError::Unexpected("PUBREL")),
        Packet::PubComp(_) => return Err(LinkError::Unexpected("PUBCOMP")),
        Packet::Disconnect => return Err(LinkError::Unexpected("DISCONNECT")),
    })
}

fn from_publish(publish: Publish) -> Result<Frame, LinkError> {
    let Publish { message: Message { topic, payload, qos, .. }, id, .. } = publish;
    let Some(rest) = topic.as_str().strip_prefix(PREFIX) else {
        return Err(LinkError::UnknownTopic(topic));
    };
    if qos == QoS::ExactlyOnce {
        return Err(LinkError::QoS(topic));
    }
    let (kind, tail) = rest.split_once('/').unwrap_or((rest, ""));
    match kind {
        MARK => {
            let envelope = Arc::new(Envelope::parse(topic, payload)?);
            Ok(Frame::Forward { id, envelope })
        }
        "status" => Ok(Frame::Status(body(&topic, &payload)?)),
        "hello" => Ok(Frame::Hello(body(&topic, &payload)?)),
        "routes" => {
            let routes = body(&topic, &payload)?;
            let id = id.ok_or(LinkError::QoS(topic))?;
            Ok(Frame::Routes { id, routes })
        }
        _ => {
            let Some((to, from)) = tail.split_once('/') else {
                return Err(LinkError::UnknownTopic(topic));
            };
            let (to, from) = (NodeId::from(to), NodeId::from(from));
            let note = match kind {
                "to" => body(&topic, &payload)?,
                "session" => Note::Session(payload),
                "retained" => Note::Retained(payload),
                _ => return Err(LinkError::UnknownTopic(topic)),
            };
            Ok(Frame::Direct { id, to, from, note })
        }
    }
}

fn direct(
    id: Option<PacketId>,
    to: &NodeId,
    from: &NodeId,
    note: &Note,
) -> Result<Packet, LinkError> {
    let (kind, payload) = match note {
        Note::TakeOver { .. } | Note::Probe { .. } | Note::Echo { .. } => {
            return publish(&format!("{PREFIX}to/{to}/{from}"), id, note);
        }
        Note::Session(payload) => ("session", payload.clone()),
        Note::Retained(payload) => ("retained", payload.clone()),
    };
    let topic = Topic::new(format!("{PREFIX}{kind}/{to}/{from}"))?;
    let message = Message { topic, payload, qos: link_qos(id), retain: false };
    Ok(Packet::Publish(Publish { message, id, dup: false }))
}

fn forward(id: Option<PacketId>, envelope: &Envelope) -> Packet {
    let message = Message {
        topic: envelope.wire_topic().clone(),
        payload: envelope.payload().clone(),
        qos: link_qos(id),
        retain: false,
    };
    Packet::Publish(Publish { message, id, dup: false })
}

fn publish(topic: &str, id: Option<PacketId>, body: &impl Serialize) -> Result<Packet, LinkError> {
    let topic = Topic::new(topic)?;
    let payload = match serde_json::to_vec(body) {
        Ok(payload) => Bytes::from(payload),
        Err(error) => return Err(LinkError::Body { topic, error }),
    };
    let message = Message { topic, payload, qos: link_qos(id), retain: false };
    Ok(Packet::Publish(Publish { message, id, dup: false }))
}

fn body<T: DeserializeOwned>(topic: &Topic, payload: &[u8]) -> Result<T, LinkError> {
    serde_json::from_slice(payload).map_err(|error| LinkError::Body { topic: topic.clone(), error })
}

fn link_qos(id: Option<PacketId>) -> QoS {
    match id {
        Some(_) => QoS::AtLeastOnce,
        None => QoS::AtMostOnce,
    }
}

const STATUS: &str = "$link/status";
const HELLO: &str = "$link/hello";
const ROUTES: &str = "$link/routes";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{BridgeId, Incarnation},
        link::{
            CLIENT_PACKET_BYTES_MAX, Hello, LINK_PACKET_BYTES_MAX, Origin, Part, Routes, Status,
        },
        topic::Filter,
    };

    fn id(id: u16) -> PacketId {
        PacketId::new(id).unwrap()
    }

    fn every_frame() -> Vec<Frame> {
        let node = NodeId::from("node-1");
        let filter = Filter::new("user/+/#").unwrap();
        let topic = Topic::new("user/bob/alice").unwrap();
        let payload = Bytes::from_static(b"hi");
        let message = Message { topic, payload, qos: QoS::ExactlyOnce, retain: true };
        let incarnation = Incarnation(9);
        let origin = Origin { node: node.clone(), incarnation, sequence: 2 };
        let envelope = Arc::new(Envelope::new(origin, &message, Some(3)).unwrap());
        let bridge = BridgeId::from("bridge-1");
        let status = Status { bridge, incarnation, ready: true, directory_reachable: false };
        let routes = Routes {
            version: 3,
            part: Part::SnapshotEnd,
            add: vec![filter.clone()],
            durable: vec![filter.clone()],
            ..Routes::default()
        };
        let probe = Note::Probe { number: 1, sent_us: 2 };
        let direct = |note| Frame::Direct { id: None, to: node.clone(), from: node.clone(), note };
        vec![
            Frame::Status(status),
            Frame::Hello(Hello { node: node.clone(), incarnation, protocol: 1 }),
            Frame::Routes { id: id(1), routes },
            Frame::Subscribe { id: id(2), filters: vec![filter.clone()] },
            Frame::SubAck { id: id(2), filter_count: 1 },
            Frame::Unsubscribe { id: id(3), filters: vec![filter] },
            Frame::UnsubAck(id(3)),
            Frame::Forward { id: Some(id(4)), envelope: Arc::clone(&envelope) },
            Frame::Forward { id: None, envelope },
            direct(probe),
            direct(Note::Session(Bytes::from_static(b"\0\xff"))),
            direct(Note::Retained(Bytes::new())),
            Frame::Ack(id(4)),
            Frame::Ping,
            Frame::Pong,
        ]
    }

    #[test]
    fn every_frame_reads_as_it_was_written() {
        for frame in every_frame() {
            let packet = to_packet(&frame).unwrap();
            assert_eq!(from_packet(packet).unwrap(), frame);
        }
    }

    #[test]
    fn what_has_no_place_on_a_link_is_refused() {
        assert!(from_packet(Packet::Disconnect).is_err());
        for (topic, payload) in [
            ("user/bob", "{}"),
            ("$link/nonsense", "{}"),
            ("$link/status", "not json"),
            ("$link/routes", r#"{"version":1,"part":"change"}"#),
            ("$link/to/node-1", "{}"),
        ] {
            let topic = Topic::new(topic).unwrap();
            let message = Message {
                topic: topic.clone(),
                payload: Bytes::from(payload),
                qos: QoS::AtMostOnce,
                retain: false,
            };
            let publish = Publish { message, id: None, dup: false };
            assert!(from_packet(Packet::Publish(publish)).is_err(), "{topic}");
        }
    }

    #[test]
    fn a_link_carries_the_largest_packet_of_a_client() {
        let topic = Topic::new("t").unwrap();
        let payload = Bytes::new();
        let message = Message { topic, payload, qos: QoS::AtMostOnce, retain: true };
        let client = Packet::Publish(Publish { message: message.clone(), id: None, dup: false });
        let node = NodeId::from("n".repeat(64));
        let incarnation = Incarnation(u64::MAX);
        let origin = Origin { node, incarnation, sequence: u64::MAX };
        let envelope = Arc::new(Envelope::new(origin, &message, Some(u64::MAX)).unwrap());
        let (mut taken, mut sent) = (BytesMut::new(), BytesMut::new());
        packet::encode(&client, &mut taken).unwrap();
        encode(&Frame::Forward { id: Some(id(1)), envelope }, &mut sent).unwrap();
        // With a long payload both remaining lengths have four bytes; here they may differ by three.
        let growth = sent.len() - taken.len() + 3;
        assert!(growth <= LINK_PACKET_BYTES_MAX - CLIENT_PACKET_BYTES_MAX, "{growth} bytes");
    }
}
