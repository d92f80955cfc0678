//! Chapter 1: the data that packets are made of.

use crate::{
    bytes::{
        CLEAN, QOS_0, QOS_1, UNSUBACK, USER, WILL, answer, connect_of, field, packet, publish,
        suback, subscribe, unsubscribe,
    },
    peer::Peer,
    stage::{both_ways, port, unique},
};

/// [MQTT-1.5.3-1]
#[tokio::test]
async fn a_string_that_is_not_utf_8_closes_the_connection_wherever_it_stands() {
    let surrogate: &[u8] = b"a\xed\xa0\x80";
    let last_surrogate: &[u8] = b"\xed\xbf\xbf";
    let overlong: &[u8] = b"\xc1\xbf";
    let half: &[u8] = b"a\xe6\xb8";
    let beyond: &[u8] = b"\xf4\x90\x80\x80";
    for text in [surrogate, last_surrogate, overlong, half, beyond, b"\xff", b"\xc0\x80"] {
        refused_everywhere(text).await;
    }
}

/// [MQTT-1.5.3-2]
#[tokio::test]
async fn a_string_with_u_0000_closes_the_connection_wherever_it_stands() {
    for text in [&b"\0"[..], b"a\0", b"\0a", b"a\0b"] {
        refused_everywhere(text).await;
    }
}

/// [MQTT-1.5.3-3]
#[tokio::test]
async fn u_feff_is_a_character_like_others_and_is_not_stripped() {
    both_ways(async |way| {
        let (with, without) = (way.topic("\u{feff}a"), way.topic("a"));
        let mut subscriber = Peer::login(way.there, &way.id("\u{feff}bob")).await;
        subscriber.wants(&with, 0).await;
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        publisher.tells(QOS_1, &without, "none of yours").await;
        publisher.tells(QOS_1, &with, "\u{feff}yours").await;
        subscriber.takes(QOS_0, &with, "\u{feff}yours").await;
        subscriber.pings().await;
    })
    .await;
}

/// Sends a string in every field that holds one: no answer but the end may come.
async fn refused_everywhere(text: &[u8]) {
    let port = port().await;
    let (id, name) = (&[0, 1][..], unique("bad"));
    let connects = [
        connect_of(CLEAN, &[text]),
        connect_of(CLEAN | WILL, &[name.as_bytes(), text, b"gone"]),
        connect_of(CLEAN | USER, &[name.as_bytes(), text]),
    ];
    for connect in connects {
        Peer::say(port, &connect).await.closed().await;
    }
    let text = field(text);
    let packets = [
        packet(0x30, &text),
        packet(0x32, &[&text, id].concat()),
        packet(0x82, &[id, &text, &[0]].concat()),
        packet(0xa2, &[id, &text].concat()),
    ];
    for wrong in packets {
        let mut peer = Peer::login(port, &unique("bad")).await;
        peer.send(&wrong).await;
        peer.closed().await;
    }
}

/// Any other character may stand anywhere.
#[tokio::test]
async fn control_characters_and_non_characters_are_let_through() {
    both_ways(async |way| {
        let topic = way.topic("\u{1}\u{7f}\u{9f}\u{fdd0}\u{ffff}\u{10ffff}/温度/😀");
        let mut subscriber = Peer::login(way.there, &way.id("b\u{1}\u{ffff}")).await;
        subscriber.send(&subscribe(9, &[(&topic, 0)])).await;
        subscriber.gets(&suback(9, &[0])).await;
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        publisher.send(&publish(QOS_0, &topic, 0, "\0\u{1}")).await;
        subscriber.takes(QOS_0, &topic, "\0\u{1}").await;
        subscriber.send(&unsubscribe(10, &[&topic])).await;
        subscriber.gets(&answer(UNSUBACK, 10)).await;
    })
    .await;
}
