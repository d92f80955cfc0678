//! The codec against one table of packets, good and bad, and at its limits.

mod property;
mod table;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::{
    id::PacketId,
    message::Message,
    qos::QoS,
    topic::{Filter, Topic},
};

/// As the table says in its head.
const PACKET_BYTES_MAX: usize = 2_097_152;
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01a";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";

/// A decoder that has read the packet that opens a conversation.
fn opened(role: Role) -> Decoder {
    opened_with(role, PACKET_BYTES_MAX)
}

fn opened_with(role: Role, packet_bytes_max: usize) -> Decoder {
    let mut decoder = Decoder::new(role, packet_bytes_max);
    let opening = match role {
        Role::Server => CONNECT,
        Role::Client => CONNACK,
    };
    let opening = decoder.decode(&mut BytesMut::from(opening));
    assert!(opening.unwrap().is_some());
    decoder
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn message(payload_len: usize) -> Message {
    Message {
        topic: Topic::new("a/b").unwrap(),
        payload: Bytes::from(vec![0; payload_len]),
        qos: QoS::AtMostOnce,
        retain: false,
    }
}

fn publish(payload_len: usize) -> Packet {
    Packet::Publish(Publish { message: message(payload_len), id: None, dup: false })
}

fn connect() -> Connect {
    Connect {
        level: 4,
        client_id: "dev/7".to_owned(),
        clean_session: true,
        keep_alive_secs: 10,
        will: None,
        login: None,
    }
}

fn subscribe(count: usize) -> Packet {
    let subscription = Subscription { filter: Filter::new("a").unwrap(), qos: QoS::AtLeastOnce };
    Packet::Subscribe { id: id(1), subscriptions: vec![subscription; count] }
}

fn encoded(packet: &Packet) -> BytesMut {
    let mut buffer = BytesMut::new();
    encode(packet, &mut buffer).unwrap();
    buffer
}

#[test]
fn every_field_of_a_connect_is_read() {
    let expected = Connect {
        will: Some(Will {
            topic: Topic::new("will/7").unwrap(),
            payload: Bytes::from_static(b"\0gone"),
            qos: QoS::ExactlyOnce,
            retain: true,
        }),
        login: Some(Login {
            user: "alice".to_owned(),
            password: Some(Bytes::from_static(b"secret")),
        }),
        ..connect()
    };
    let mut bytes = BytesMut::from(
        &b"\x10\x2f\0\x04MQTT\x04\xf6\0\x0a\0\x05dev/7\0\x06will/7\0\x05\0gone\0\x05alice\0\x06secret"
            [..],
    );
    let packet = Decoder::new(Role::Server, PACKET_BYTES_MAX).decode(&mut bytes);
    assert_eq!(packet, Ok(Some(Packet::Connect(Box::new(expected)))));
}

#[test]
fn a_packet_may_fill_the_limit_and_not_exceed_it() {
    let bytes = encoded(&publish(1000));
    for (bytes_max, fits) in [(bytes.len(), true), (bytes.len() - 1, false)] {
        let verdict = opened_with(Role::Server, bytes_max).decode(&mut bytes.clone());
        assert_eq!(verdict.is_ok(), fits, "{bytes_max}: {verdict:?}");
    }
}

#[test]
fn a_stranger_gets_less_room_than_a_client() {
    let client_id = "x".repeat(65_535);
    let login = Login { user: client_id.clone(), password: None };
    let large = Connect { client_id, login: Some(login), ..connect() };
    let bytes = encoded(&Packet::Connect(Box::new(large)));
    assert!(opened(Role::Server).decode(&mut bytes.clone()).is_ok());
    let refused = Decoder::new(Role::Server, PACKET_BYTES_MAX).decode(&mut bytes.clone());
    assert!(matches!(refused, Err(DecodeError::TooLarge { .. })), "{refused:?}");
}

#[test]
fn nothing_is_reserved_for_what_a_header_claims() {
    let mut buffer = BytesMut::from(&encoded(&publish(1 << 20))[..100]);
    let before = buffer.capacity();
    assert_eq!(opened(Role::Server).decode(&mut buffer), Ok(None));
    assert_eq!((buffer.len(), buffer.capacity()), (100, before));
}

#[test]
fn a_packet_has_a_bounded_number_of_filters() {
    let most = subscribe(FILTERS_PER_PACKET_MAX);
    let mut buffer = encoded(&most);
    assert_eq!(opened(Role::Server).decode(&mut buffer), Ok(Some(most)));

    let mut buffer = BytesMut::from(&b"\x82\x86\x80\x04\0\x01"[..]);
    for _ in 0..=FILTERS_PER_PACKET_MAX {
        buffer.extend_from_slice(b"\0\x01a\x01");
    }
    let refused = opened(Role::Server).decode(&mut buffer);
    assert_eq!(refused, Err(DecodeError::TooManyFilters));
}

#[test]
fn only_a_large_payload_shares_the_read_buffer() {
    for (payload_len, shares) in [(0, false), (4095, false), (4096, true)] {
        let mut buffer = encoded(&publish(payload_len));
        let range = buffer.as_ptr_range();
        let packet = opened(Role::Server).decode(&mut buffer).unwrap();
        let Some(Packet::Publish(publish)) = packet else {
            panic!("{packet:?}");
        };
        assert_eq!(publish.message.payload.len(), payload_len);
        let start = publish.message.payload.as_ptr();
        assert_eq!(range.contains(&start), shares, "{payload_len}");
    }
}

#[test]
fn a_delivery_has_its_own_header() {
    let message = Message { qos: QoS::ExactlyOnce, retain: true, ..message(1) };
    let header = |qos, id, dup, retain| PublishHeader { qos, id, dup, retain };
    for (header, expected) in [
        (header(QoS::AtMostOnce, None, false, false), &b"\x30\x06\0\x03a/b\0"[..]),
        (header(QoS::AtLeastOnce, Some(id(258)), true, false), b"\x3a\x08\0\x03a/b\x01\x02\0"),
        (header(QoS::ExactlyOnce, Some(id(1)), false, true), b"\x35\x08\0\x03a/b\0\x01\0"),
    ] {
        let mut buffer = BytesMut::new();
        encode_publish(&message, header, &mut buffer).unwrap();
        assert_eq!(buffer, expected);
    }
}

#[test]
fn what_cannot_be_written_leaves_no_trace() {
    let connect_of = |client_id: &str, level| {
        Packet::Connect(Box::new(Connect { client_id: client_id.to_owned(), level, ..connect() }))
    };
    let publish_of = |qos, id, dup| {
        let message = Message { qos, ..message(1) };
        Packet::Publish(Publish { message, id, dup })
    };
    let nothing = Packet::Unsubscribe { id: id(1), filters: Vec::new() };
    let too_much = Packet::Unsubscribe {
        id: id(1),
        filters: vec![Filter::new("x".repeat(65_535)).unwrap(); 4097],
    };
    let silence = Packet::SubAck { id: id(1), codes: Vec::new() };
    let refusal = Packet::ConnAck { session_present: true, code: ConnectCode::ServerUnavailable };
    let one = Some(id(1));
    for (packet, expected) in [
        (connect_of(&"x".repeat(65_536), 4), EncodeError::FieldTooLong(65_536)),
        (connect_of("a\0", 4), EncodeError::Null),
        (connect_of("a", 5), EncodeError::Level(5)),
        (publish_of(QoS::AtMostOnce, one, false), EncodeError::PacketId),
        (publish_of(QoS::AtLeastOnce, None, false), EncodeError::PacketId),
        (publish_of(QoS::AtMostOnce, None, true), EncodeError::DupWithoutQoS),
        (publish(268_435_455), EncodeError::TooLarge(268_435_455 + 5)),
        (subscribe(0), EncodeError::Empty),
        (nothing, EncodeError::Empty),
        (too_much, EncodeError::Codec(mqttbytes::Error::PayloadTooLong)),
        (silence, EncodeError::Empty),
        (
            subscribe(FILTERS_PER_PACKET_MAX + 1),
            EncodeError::TooManyFilters(FILTERS_PER_PACKET_MAX + 1),
        ),
        (refusal, EncodeError::SessionPresent),
    ] {
        let mut buffer = BytesMut::from(&b"before"[..]);
        assert_eq!(encode(&packet, &mut buffer), Err(expected));
        assert_eq!(&buffer[..], b"before", "{expected}");
    }
}

#[test]
fn a_password_stands_in_no_log() {
    let login = Login { user: "alice".to_owned(), password: Some(Bytes::from_static(b"secret")) };
    let packet = Packet::Connect(Box::new(Connect { login: Some(login), ..connect() }));
    let text = format!("{packet:?}");
    assert!(text.contains("alice") && !text.contains("secret"), "{text}");
}
