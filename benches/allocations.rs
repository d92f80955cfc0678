//! What a message may allocate on its way through a node, once all buffers have grown: nothing a
//! delivery, and a publisher's PUBLISH three times (its topic, its payload, the one that all
//! deliveries share).

#![allow(clippy::unwrap_used, reason = "clippy counts only functions marked as tests as tests")]

use allocation_counter::measure;
use bytes::BytesMut;
use causeway_benches::stage::{FILTER, Stage, TOPIC, message};
use causeway_common::{
    packet::{Decoder, Packet, PublishHeader, Role, encode_publish},
    qos::QoS,
    topic::Filter,
};

const ROUNDS: u64 = 100;

/// Allocations of so many messages to so many subscribers, after as many to warm up.
fn allocations(subscribers: usize, qos: QoS) -> u64 {
    let mut stage = Stage::new(subscribers, qos).unwrap();
    let mut messages = vec![message(qos).unwrap(); 2 * usize::try_from(ROUNDS).unwrap()];
    let mut round = || {
        stage.publish(messages.pop().unwrap());
        stage.take_all();
    };
    (0..ROUNDS).for_each(|_| round());
    let counted = measure(|| (0..ROUNDS).for_each(|_| round()));
    for client in &stage.clients {
        assert_eq!(client.session.undelivered_count(), 0, "a client has not answered");
    }
    counted.count_total
}

#[test]
fn a_delivery_allocates_nothing() {
    assert!(Filter::new(FILTER).unwrap().matches(TOPIC));
    for qos in QoS::ALL {
        for subscribers in [1, 10, 100] {
            let counted = allocations(subscribers, qos);
            assert_eq!(counted, ROUNDS, "QoS {qos}, {subscribers} subscribers: one a message");
        }
    }
}

#[test]
fn a_message_without_subscribers_allocates_no_more() {
    assert!(allocations(0, QoS::AtMostOnce) <= ROUNDS);
}

#[test]
fn a_publish_is_taken_out_of_its_bytes_with_one_allocation_a_field() {
    let message = message(QoS::AtLeastOnce).unwrap();
    let header = PublishHeader {
        qos: QoS::AtLeastOnce,
        id: Some(causeway_common::id::PacketId::FIRST),
        dup: false,
        retain: false,
    };
    let mut decoder = Decoder::new(Role::Client, 1024);
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    buffer.extend_from_slice(&[0x20, 2, 0, 0]);
    decoder.decode(&mut buffer).unwrap().unwrap();
    for _ in 0..ROUNDS {
        encode_publish(&message, header, &mut buffer).unwrap();
    }
    let counted = measure(|| {
        while let Some(packet) = decoder.decode(&mut buffer).unwrap() {
            assert!(matches!(packet, Packet::Publish(_)));
        }
    });
    assert_eq!(counted.count_total, 2 * ROUNDS, "topic and payload");
}
