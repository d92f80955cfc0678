//! 3.1 CONNECT: what makes it right, and what follows from it at once.

use causeway_tests::mosquitto;

use crate::{
    bytes::{
        CLEAN, PASSWORD, PINGREQ, PUBACK, PUBREL, QOS_0, QOS_1, USER, WILL, WILL_QOS_1, WILL_QOS_2,
        WILL_RETAIN, answer, connack, connect, connect_of, connect_raw, field, publish, resume,
        subscribe, unsubscribe,
    },
    peer::Peer,
    stage::{both_ways, port, unique},
};

/// [MQTT-3.1.0-1]
#[tokio::test]
async fn a_first_packet_that_is_no_connect_closes_the_connection() {
    let port = port().await;
    for first in [
        publish(QOS_0, "a", 0, "x"),
        publish(QOS_1, "a", 1, "x"),
        subscribe(1, &[("a", 0)]),
        unsubscribe(1, &["a"]),
        answer(PUBACK, 1),
        answer(PUBREL, 1),
        PINGREQ.to_vec(),
        vec![0xe0, 0],
        connack(0).to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        Peer::say(port, &first).await.closed().await;
    }
}

/// [MQTT-3.1.0-2]
#[tokio::test]
async fn a_second_connect_closes_the_connection() {
    let port = port().await;
    let own = unique("twice");
    for second in [own.clone(), unique("other")] {
        let mut peer = Peer::login(port, &own).await;
        peer.send(&connect(&second)).await;
        peer.closed().await;
    }
}

/// [MQTT-3.1.2-1]
#[tokio::test]
async fn another_protocol_name_closes_the_connection_without_connack() {
    let (port, id) = (port().await, field(unique("name")));
    for name in ["MQTx", "mqtt", "", "MQT", "MQTTT", "HTTP"] {
        Peer::say(port, &connect_raw(name, 4, CLEAN, 0, &id)).await.closed().await;
    }
}

/// [MQTT-3.1.2-2]
#[tokio::test]
async fn another_protocol_level_is_answered_by_1_and_the_end() {
    let (port, id) = (port().await, field(unique("level")));
    for (name, level) in [
        ("MQTT", 0),
        ("MQTT", 3),
        ("MQTT", 5),
        ("MQTT", 6),
        ("MQTT", 0x84),
        ("MQTT", 255),
        ("MQIsdp", 4),
        ("MQIsdp", 0x83),
    ] {
        let mut peer = Peer::say(port, &connect_raw(name, level, CLEAN, 0, &id)).await;
        peer.gets(&connack(1)).await;
        peer.closed().await;
    }
}

/// [MQTT-3.1.2-3]
#[tokio::test]
async fn the_reserved_connect_flag_closes_the_connection() {
    let port = port().await;
    for flags in [1, CLEAN | 1] {
        let connect = connect_of(flags, &[unique("flag").as_bytes()]);
        Peer::say(port, &connect).await.closed().await;
    }
}

/// [MQTT-3.1.2-9] [MQTT-3.1.2-11]
#[tokio::test]
async fn a_will_that_its_flag_does_not_announce_or_announces_in_vain_closes_the_connection() {
    let (port, id) = (port().await, unique("will"));
    let id = id.as_bytes();
    for connect in [
        connect_of(CLEAN | WILL, &[id]),
        connect_of(CLEAN | WILL, &[id, b"topic"]),
        connect_of(CLEAN | WILL | WILL_QOS_1 | WILL_RETAIN, &[id]),
        connect_of(CLEAN, &[id, b"topic", b"gone"]),
        connect_of(CLEAN, &[id, b"topic"]),
    ] {
        Peer::say(port, &connect).await.closed().await;
    }
}

/// [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-14] [MQTT-3.1.2-15]
#[tokio::test]
async fn will_qos_and_will_retain_without_a_will_or_of_3_close_the_connection() {
    let (port, id) = (port().await, unique("will"));
    let id = id.as_bytes();
    for flags in [WILL_QOS_1, WILL_QOS_2, WILL_QOS_1 | WILL_QOS_2, WILL_RETAIN] {
        Peer::say(port, &connect_of(CLEAN | flags, &[id])).await.closed().await;
    }
    let both = CLEAN | WILL | WILL_QOS_1 | WILL_QOS_2;
    Peer::say(port, &connect_of(both, &[id, b"topic", b"gone"])).await.closed().await;
}

/// [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.2-20] [MQTT-3.1.2-21]
#[tokio::test]
async fn a_user_name_or_password_that_its_flag_denies_or_promises_in_vain_closes_the_connection() {
    let (port, id) = (port().await, unique("user"));
    let id = id.as_bytes();
    for (flags, fields) in [
        (0, &[id, b"bob"][..]),                           // [MQTT-3.1.2-18]
        (USER, &[id]),                                    // [MQTT-3.1.2-19]
        (USER, &[id, b"bob", b"secret"]),                 // [MQTT-3.1.2-20]
        (USER | PASSWORD, &[id, b"bob"]),                 // [MQTT-3.1.2-21]
        (USER | PASSWORD, &[id, b"bob", b"secret", b""]), // one field too many
    ] {
        Peer::say(port, &connect_of(CLEAN | flags, fields)).await.closed().await;
    }
}

/// [MQTT-3.1.2-22]
#[tokio::test]
async fn a_password_without_a_user_name_closes_the_connection() {
    let port = port().await;
    let id = unique("password");
    let fields = [id.as_bytes(), b"secret"];
    Peer::say(port, &connect_of(CLEAN | PASSWORD, &fields)).await.closed().await;
}

/// [MQTT-3.1.3-1]
#[tokio::test]
async fn the_fields_are_read_in_their_order() {
    both_ways(async |way| {
        let (id, topic, user) = (way.id("id"), way.topic("will"), way.id("user"));
        let fields = [id.as_bytes(), topic.as_bytes(), b"gone", user.as_bytes(), b"\xff\0secret"];
        let mut observer = Peer::login(way.there, &way.id("observer")).await;
        observer.wants(&topic, 0).await;
        let all = connect_of(CLEAN | WILL | USER | PASSWORD, &fields);
        let mut peer = Peer::enter(way.here, &all, &connack(0)).await;
        // The user name opens an inbox, the will goes to its topic, the id is taken over.
        let inbox = format!("user/{user}/observer");
        observer.tells(QOS_1, &inbox, "hello").await;
        peer.takes(QOS_1, &inbox, "hello").await;
        let _next = Peer::login(way.there, &id).await;
        peer.closed().await;
        observer.takes(QOS_0, &topic, "gone").await;
    })
    .await;
}

/// [MQTT-3.1.3-2]
#[tokio::test]
async fn a_session_belongs_to_its_client_id_and_to_no_other() {
    both_ways(async |way| {
        let (bob, topic) = (way.id("bob"), way.topic("his"));
        let mut subscriber = Peer::begin(way.here, &bob).await;
        subscriber.wants(&topic, 1).await;
        drop(subscriber);
        for other in [bob.to_uppercase(), format!("{bob} "), format!("{bob}x")] {
            let mut stranger = Peer::begin(way.there, &other).await;
            stranger.pings().await;
        }
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        publisher.tells(QOS_1, &topic, "for bob").await;
        Peer::resume(way.there, &bob).await.takes(QOS_1, &topic, "for bob").await;
    })
    .await;
}

/// [MQTT-3.1.3-3]
#[tokio::test]
async fn a_connect_without_a_client_id_closes_the_connection() {
    let port = port().await;
    Peer::say(port, &connect_of(CLEAN, &[])).await.closed().await;
    // What comes first is the client id, whatever it was meant to be: here the will is missing.
    Peer::say(port, &connect_of(CLEAN | WILL, &[b"topic", b"gone"])).await.closed().await;
}

/// [MQTT-3.1.3-4]
#[tokio::test]
async fn a_client_id_that_is_no_utf_8_closes_the_connection() {
    let port = port().await;
    for id in [&b"\xff"[..], b"a\xed\xa0\x80", b"a\0b"] {
        Peer::say(port, &connect_of(CLEAN, &[id])).await.closed().await;
    }
}

/// [MQTT-3.1.3-5] Longer ones, and any other character, are allowed too.
#[tokio::test]
async fn client_ids_of_1_to_23_letters_and_digits_are_let_in_and_others_too() {
    let port = port().await;
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for letter in alphabet.chars() {
        Peer::login(port, &letter.to_string()).await;
    }
    for start in [0, 23, 39] {
        Peer::login(port, &alphabet[start..start + 23]).await;
    }
    let long = "x".repeat(65_535);
    for id in [" ", "a/b", "#", "+", "$SYS", "naïve", "😀", &alphabet[..24], &long] {
        Peer::login(port, id).await;
    }
}

/// [MQTT-3.1.3-6]
#[tokio::test]
async fn a_client_without_an_id_gets_one_of_its_own() {
    both_ways(async |way| {
        let topic = way.topic("nameless");
        let mut first = Peer::login(way.here, "").await;
        let mut second = Peer::login(way.there, "").await;
        let mut third = Peer::login(way.there, "").await;
        first.wants(&topic, 1).await;
        second.wants(&topic, 1).await;
        third.tells(QOS_1, &topic, "to all").await;
        first.takes(QOS_1, &topic, "to all").await;
        second.takes(QOS_1, &topic, "to all").await;
    })
    .await;
}

/// [MQTT-3.1.3-7] [MQTT-3.1.3-8] [MQTT-3.1.3-9]
#[tokio::test]
async fn no_id_and_clean_session_0_are_answered_by_2_and_the_end() {
    let port = port().await;
    let in_mqtt_31 = connect_raw("MQIsdp", 3, CLEAN, 0, &field(""));
    for connect in [resume(""), connect_of(USER, &[b"", b"bob"]), in_mqtt_31] {
        let mut peer = Peer::say(port, &connect).await;
        peer.gets(&connack(2)).await;
        peer.closed().await;
    }
}

/// [MQTT-3.1.3-10] [MQTT-3.1.3-11]
#[tokio::test]
async fn a_will_topic_or_user_name_that_is_no_utf_8_closes_the_connection() {
    let (port, id) = (port().await, unique("utf8"));
    let id = id.as_bytes();
    for text in [&b"\xff"[..], b"a\xed\xa0\x80", b"a\0b"] {
        let will = connect_of(CLEAN | WILL, &[id, text, b"gone"]);
        let user = connect_of(CLEAN | USER, &[id, text]);
        for connect in [will, user] {
            Peer::say(port, &connect).await.closed().await;
        }
    }
    // The will's payload and the password may be any bytes.
    let fields = [id, b"topic", b"\xff\0", b"bob", b"\xff\0"];
    let right = connect_of(CLEAN | WILL | USER | PASSWORD, &fields);
    Peer::enter(port, &right, &connack(0)).await.send(&[0xe0, 0]).await;
}

/// [MQTT-3.1.4-1]
#[tokio::test]
async fn a_connect_that_is_not_right_closes_the_connection_without_connack() {
    let port = port().await;
    let id = field(unique("wrong"));
    let right = connect_raw("MQTT", 4, CLEAN, 0, &id);
    let trailing = connect_raw("MQTT", 4, CLEAN, 0, &[&id[..], b"x"].concat());
    let cut = connect_raw("MQTT", 4, CLEAN, 0, &id[..id.len() - 1]);
    let (nothing, name_alone) = (vec![0x10, 0], vec![0x10, 6, 0, 4, b'M', b'Q', b'T', b'T']);
    let mut flagged = right.clone();
    flagged[0] |= 1;
    let long_id = [0x10, 16, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0xff, 0xff, 1, 2, 3, 4];
    for wrong in [trailing, cut, nothing, name_alone, flagged, long_id.to_vec()] {
        Peer::say(port, &wrong).await.closed().await;
    }
    Peer::enter(port, &right, &connack(0)).await.pings().await;
}

/// [MQTT-3.1.4-2]
#[tokio::test]
async fn the_older_connection_of_a_client_id_is_closed() {
    both_ways(async |way| {
        let id = way.id("bob");
        let mut first = Peer::login(way.here, &id).await;
        let mut second = Peer::login(way.there, &id).await;
        first.closed().await;
        let mut third = Peer::begin(way.here, &id).await;
        second.closed().await;
        let mut fourth = Peer::resume(way.there, &id).await;
        third.closed().await;
        fourth.pings().await;
    })
    .await;
}

/// [MQTT-3.1.4-3] [MQTT-3.1.4-4]
#[tokio::test]
async fn a_right_connect_is_answered_by_0_and_clean_session_is_done() {
    both_ways(async |way| {
        let (id, topic) = (way.id("bob"), way.topic("kept"));
        let mut publisher = Peer::login(way.here, &way.id("alice")).await;
        let mut peer = Peer::begin(way.here, &id).await;
        peer.wants(&topic, 1).await;
        drop(peer);
        let mut peer = Peer::resume(way.there, &id).await;
        publisher.tells(QOS_1, &topic, "kept").await;
        peer.takes(QOS_1, &topic, "kept").await;
        let mut clean = Peer::login(way.here, &id).await;
        peer.closed().await;
        publisher.tells(QOS_1, &topic, "not kept").await;
        clean.pings().await;
        drop(clean);
        Peer::begin(way.there, &id).await.pings().await;
    })
    .await;
}

/// [MQTT-3.1.4-5]
#[tokio::test]
async fn nothing_behind_a_refused_connect_is_done() {
    both_ways(async |way| {
        let topic = way.topic("refused");
        let mut subscriber = Peer::login(way.there, &way.id("bob")).await;
        subscriber.wants(&topic, 1).await;
        let message = publish(QOS_1, &topic, 1, "from nobody");
        for connect in [resume(""), connect_raw("MQTT", 5, CLEAN, 0, &field("five"))] {
            let mut refused = Peer::say(way.here, &[connect, message.clone()].concat()).await;
            let answer = refused.packet().await.expect("a CONNACK");
            assert_eq!((answer[0], answer[3] > 0), (0x20, true));
            refused.closed().await;
        }
        Peer::login(way.here, &way.id("alice")).await.tells(QOS_1, &topic, "from alice").await;
        subscriber.takes(QOS_1, &topic, "from alice").await;
        subscriber.pings().await;
    })
    .await;
}

/// What was sent behind a CONNECT that is accepted counts, though CONNACK has not come yet (3.1.4).
#[tokio::test]
async fn what_is_sent_with_the_connect_is_done_after_it() {
    both_ways(async |way| {
        let topic = way.topic("early");
        let all = [
            connect(&way.id("hasty")),
            subscribe(1, &[(&topic, 1)]),
            publish(QOS_1, &topic, 2, "early"),
            PINGREQ.to_vec(),
        ];
        let mut hasty = Peer::say(way.here, &all.concat()).await;
        hasty.gets(&connack(0)).await;
        let mut kinds = Vec::new();
        for _ in 0..4 {
            let packet = hasty.packet().await.expect("an answer");
            kinds.push(packet[0] & 0xf0);
        }
        kinds.sort_unstable();
        assert_eq!(kinds, [0x30, 0x40, 0x90, 0xd0]);
        let port = way.there.to_string();
        mosquitto::publish(way.there, &["-t", &topic, "-q", "1", "-m", &port]).await;
        hasty.takes(QOS_1, &topic, &port).await;
    })
    .await;
}
