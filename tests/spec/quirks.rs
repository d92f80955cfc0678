//! Clients that do things in their own way: `PubSubClient`, esp-mqtt, Tasmota, Home Assistant,
//! `mosquitto_sub`, Paho. What they send is simulated byte by byte; the last two are themselves.

use std::{collections::BTreeSet, process::Command};

use causeway_tests::{
    mosquitto::{self, Subscriber},
    process::Process,
    wait::eventually,
};
use tempfile::TempDir;

use crate::{
    bytes::{
        CLEAN, DUP, PASSWORD, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBREC, PUBREL, QOS_0, QOS_1,
        QOS_2, RETAIN, SESSION_PRESENT, USER, WILL, WILL_QOS_1, WILL_RETAIN, answer, connack,
        connect_of, connect_raw, field, publish, resume, suback, subscribe,
    },
    peer::{Peer, read_publish},
    stage::{Way, both_ways, port, unique},
};

/// An Arduino speaks MQTT 3.1, publishes at QoS 0 only, and has its client id in its source: the
/// same on every board, and after every restart.
#[tokio::test]
async fn pubsubclient_with_mqtt_3_1_and_its_one_client_id_is_served() {
    both_ways(async |way| {
        let (id, topic, status) = (way.id("arduino"), way.topic("in"), way.topic("out"));
        let fields = [&*id, &status, "offline", "user", "secret"].map(field).concat();
        let flags = CLEAN | WILL | WILL_QOS_1 | USER | PASSWORD;
        let connect = connect_raw("MQIsdp", 3, flags, 15, &fields);
        let mut watcher = Peer::login(way.there, &way.id("watcher")).await;
        watcher.wants(&status, 1).await;
        let mut old: Option<Peer> = None;
        for port in [way.here, way.there, way.here] {
            let mut board = Peer::enter(port, &connect, &connack(0)).await;
            if let Some(old) = &mut old {
                old.closed().await;
                watcher.takes(QOS_1, &status, "offline").await;
            }
            board.send(&publish(QOS_0, &status, 0, "online")).await;
            watcher.takes(QOS_0, &status, "online").await;
            board.send(&subscribe(2, &[(&topic, 1)])).await;
            board.gets(&suback(2, &[1])).await;
            watcher.tells(QOS_2, &topic, "x".repeat(200)).await;
            board.takes(QOS_1, &topic, &"x".repeat(200)).await;
            old = Some(board);
        }
    })
    .await;
}

/// It has room for 256 bytes and throws longer packets away unanswered: they stay in its window,
/// and shorter ones come through.
#[tokio::test]
async fn a_client_that_never_answers_long_packets_still_gets_short_ones() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut board = Peer::login(way.there, &way.id("board")).await;
        board.wants(&topic, 1).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        for number in 0..10 {
            alice.tells(QOS_1, &topic, "x".repeat(300)).await;
            board.message().await; // thrown away
            alice.tells(QOS_1, &topic, number.to_string()).await;
            board.takes(QOS_1, &topic, &number.to_string()).await;
        }
    })
    .await;
}

/// esp-mqtt pings long before its keep-alive of 120 s ends, several times before it reads an answer.
#[tokio::test]
async fn esp_mqtt_may_ping_early_and_often() {
    let mut esp = Peer::login_for(port().await, &unique("ESP32_"), 120).await;
    for count in [1, 2, 10] {
        esp.send(&PINGREQ.repeat(count)).await;
        for _ in 0..count {
            esp.gets(&PINGRESP).await;
        }
    }
}

/// esp-mqtt repeats a message after a second on the same connection, whether or not its answer is
/// on its way.
#[tokio::test]
async fn esp_mqtt_may_repeat_on_the_same_connection() {
    both_ways(async |way| {
        let topic = way.topic("a");
        let mut bob = Peer::login(way.there, &way.id("bob")).await;
        bob.wants(&topic, 2).await;
        let mut esp = Peer::login(way.here, &way.id("ESP32_")).await;
        let again = [QOS_2, QOS_2 | DUP, QOS_2 | DUP];
        let all = again.map(|flags| publish(flags, &topic, 5, "two")).concat();
        esp.send(&all).await;
        esp.gets(&answer(PUBREC, 5)).await;
        esp.send(&answer(PUBREL, 5)).await;
        // A repetition may have an answer of its own, or that of the first.
        let mut packet = esp.packet().await.expect("an answer");
        while packet == answer(PUBREC, 5) {
            packet = esp.packet().await.expect("an answer");
        }
        assert_eq!(packet, answer(PUBCOMP, 5));
        bob.takes(QOS_2, &topic, "two").await;
        esp.send(
            &[publish(QOS_1, &topic, 6, "one"), publish(QOS_1 | DUP, &topic, 6, "one")].concat(),
        )
        .await;
        for _ in 0..2 {
            esp.gets(&answer(PUBACK, 6)).await;
            bob.takes(QOS_1, &topic, "one").await; // each is a new message [MQTT-4.3.2-2]
        }
    })
    .await;
}

/// Tasmota's CONNECT: a retained "Offline" for its end.
fn tasmota(id: &str, topic: &str) -> Vec<u8> {
    let fields = [id.as_bytes(), topic.as_bytes(), b"Offline", b"DVES_USER", b"DVES_PASS"];
    connect_of(CLEAN | WILL | WILL_QOS_1 | WILL_RETAIN | USER | PASSWORD, &fields)
}

/// It publishes a retained "Online" right after CONNECT. When it comes back before its old
/// connection has been missed, "Offline" must not come behind "Online", and not stay.
#[tokio::test]
async fn tasmota_that_comes_back_is_online() {
    both_ways(async |way| {
        let (id, topic) = (way.id("DVES"), way.topic("tele/tasmota/LWT"));
        let mut watcher = Peer::login(way.there, &way.id("watcher")).await;
        watcher.wants(&topic, 1).await;
        let hello = [tasmota(&id, &topic), publish(QOS_0 | RETAIN, &topic, 0, "Online")].concat();
        let mut lives = Vec::new();
        for port in [way.here, way.there, way.here] {
            lives.push(Peer::enter(port, &hello, &connack(0)).await);
            if lives.len() > 1 {
                watcher.takes(QOS_1, &topic, "Offline").await;
            }
            watcher.takes(QOS_0, &topic, "Online").await;
        }
        is_retained(&way, &topic, QOS_0, "Online").await;
        drop(lives.pop());
        watcher.takes(QOS_1, &topic, "Offline").await;
        is_retained(&way, &topic, QOS_1, "Offline").await;
    })
    .await;
}

async fn is_retained(way: &Way, topic: &str, flags: u8, payload: &str) {
    for port in [way.here, way.there] {
        let mut later = Peer::login(port, &way.id("later")).await;
        later.wants(topic, 1).await;
        later.takes(flags | RETAIN, topic, payload).await;
    }
}

/// Home Assistant asks once for thousands of documents that describe its devices.
#[tokio::test]
async fn home_assistant_gets_thousands_of_retained_documents_at_one_subscribe() {
    both_ways(async |way| {
        let mut bridge = Peer::login(way.here, &way.id("zigbee2mqtt")).await;
        let topics: BTreeSet<String> = (0..DOCUMENTS)
            .map(|number| way.topic(&format!("homeassistant/sensor/{number:05}/config")))
            .collect();
        let mut id = 0;
        for topic in &topics {
            id += 1;
            bridge.send(&publish(QOS_1 | RETAIN, topic, id, "x".repeat(DOCUMENT_BYTES))).await;
            bridge.gets(&answer(PUBACK, id)).await;
        }
        let mut assistant = Peer::login(way.there, &way.id("assistant")).await;
        assistant.wants(&way.topic("homeassistant/#"), 1).await;
        let mut came = BTreeSet::new();
        while came.len() < topics.len() {
            let document = assistant.message().await;
            assert_eq!((document.flags, document.payload.len()), (QOS_1 | RETAIN, DOCUMENT_BYTES));
            assistant.send(&answer(PUBACK, document.id)).await;
            assert!(came.insert(document.topic.clone()), "{} came twice", document.topic);
        }
        assert!(came == topics, "others came");
        let birth = way.topic("homeassistant/status");
        bridge.tells(QOS_1, &birth, "online").await;
        assistant.takes(QOS_1, &birth, "online").await;
    })
    .await;
}

const DOCUMENTS: usize = 2_500;
const DOCUMENT_BYTES: usize = 2_000;

/// Two `mosquitto_sub` with the same `-i` take the connection from each other for ever. Nobody else
/// notices, and the one that is left over is served.
#[tokio::test]
async fn two_mosquitto_subs_of_one_client_id_disturb_nobody_else() {
    both_ways(async |way| {
        let (id, topic) = (way.id("twin"), way.topic("a"));
        let arguments = ["-i", &*id, "-t", &topic, "-q", "1"];
        let mut witness = Peer::login(way.there, &way.id("witness")).await;
        witness.wants(&topic, 1).await;
        let first = Subscriber::start(way.here, &arguments).await;
        let second = Subscriber::start(way.there, &arguments).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        eventually("each has come back", async || {
            alice.tells(QOS_1, &topic, "meanwhile").await;
            witness.takes(QOS_1, &topic, "meanwhile").await;
            first.login_count() > 1 && second.login_count() > 1
        })
        .await;
        drop(first);
        eventually("the one that is left is served", async || {
            alice.tells(QOS_1, &topic, "the end").await;
            witness.takes(QOS_1, &topic, "the end").await;
            second.messages().iter().any(|message| message == "the end")
        })
        .await;
    })
    .await;
}

/// `mosquitto_sub -c` under an id of more than 23 characters, which MQTT 3.1 did not allow.
#[tokio::test]
async fn mosquitto_sub_with_a_long_id_finds_its_session_again() {
    both_ways(async |way| {
        let id = way.id("an-id-of-far-more-than-twenty-three-characters");
        let topic = way.topic("a");
        let arguments = ["-c", "-i", &*id, "-t", &topic, "-q", "1"];
        drop(Subscriber::start(way.here, &arguments).await);
        for payload in ["one", "two"] {
            let message = ["-t", &*topic, "-q", "1", "-m", payload];
            mosquitto::publish(way.there, &message).await;
        }
        Subscriber::start(way.there, &arguments).await.has(&["one", "two"]).await;
    })
    .await;
}

/// Paho comes back by itself, with its session, after its connection was taken from it.
#[tokio::test]
async fn paho_comes_back_with_its_session() {
    both_ways(async |way| {
        let (id, topic) = (way.id("paho"), way.topic("a"));
        let folder = TempDir::new().unwrap();
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-u", "-c", PAHO, &way.there.to_string(), &id, &topic]);
        let mut paho = Process::start("paho", &mut command, folder.path());
        paho.line("that it is subscribed", |line| (line == "subscribed").then_some(())).await;
        let mut thief = Peer::enter(way.here, &resume(&id), &SESSION_PRESENT).await;
        let mut alice = Peer::login(way.here, &way.id("alice")).await;
        alice.tells(QOS_1, &topic, "unanswered").await;
        let message = thief.packet().await.expect("a packet");
        assert_eq!(read_publish(&message).payload, b"unanswered");
        thief.closed().await; // Paho is back
        alice.tells(QOS_2, &topic, "live").await;
        paho.line("the live message", |line| (line == "message 2 0 live").then_some(())).await;
        let told = paho.lines();
        let expected = ["connected 0", "subscribed", "connected 1", "message 1 1 unanswered"];
        assert_eq!(told[..4], expected);
    })
    .await;
}

const PAHO: &str = r#"
import sys
import paho.mqtt.client as mqtt

port, client_id, topic = int(sys.argv[1]), sys.argv[2], sys.argv[3]

def on_connect(client, _userdata, flags, code):
    print("connected", flags["session present"] if code == 0 else "refused %d" % code)
    if not flags["session present"]:
        client.subscribe(topic, 2)

client = mqtt.Client(client_id, clean_session=False)
client.reconnect_delay_set(3, 4)
client.on_connect = on_connect
client.on_subscribe = lambda *_: print("subscribed")
client.on_message = lambda _c, _u, m: print("message", m.qos, int(m.dup), m.payload.decode())
client.connect("127.0.0.1", port, 60)
client.loop_forever()
"#;

/// A user name of no bytes is one: it is let in, and its inbox is that of its client id.
#[tokio::test]
async fn an_empty_user_name_is_that_of_nobody() {
    both_ways(async |way| {
        let id = way.id("empty");
        for (flags, fields) in
            [(USER, &[&*id, ""][..]), (USER | PASSWORD, &[&*id, "", ""]), (USER, &["", ""])]
        {
            let fields: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
            let login = connect_of(CLEAN | flags, &fields);
            let mut peer = Peer::enter(way.here, &login, &connack(0)).await;
            peer.pings().await;
            if !fields[0].is_empty() {
                let inbox = format!("user/{id}/alice");
                let mut alice = Peer::login(way.there, &way.id("alice")).await;
                alice.tells(QOS_1, &inbox, "hello").await;
                peer.takes(QOS_1, &inbox, "hello").await;
            }
        }
    })
    .await;
}

/// A password without a user name closes the connection in MQTT 3.1 too, where the standard said
/// nothing of it.
#[tokio::test]
async fn a_password_without_a_user_name_is_refused_in_both_versions() {
    let (port, id) = (port().await, unique("password"));
    let fields = [field(&id), field("secret")].concat();
    for (name, level) in [("MQTT", 4), ("MQIsdp", 3)] {
        let connect = connect_raw(name, level, CLEAN | PASSWORD, 0, &fields);
        Peer::say(port, &connect).await.closed().await;
    }
}

/// What is retained in an inbox comes at each login, as at each SUBSCRIBE, behind what waits.
#[tokio::test]
async fn what_is_retained_in_an_inbox_comes_behind_what_waits() {
    both_ways(async |way| {
        let (bob, id) = (way.id("bob"), way.id("alice"));
        let (kept, passing) = (format!("user/{bob}/kept"), format!("user/{bob}/passing"));
        let mut alice = Peer::login(way.here, &id).await;
        alice.tells(QOS_1 | RETAIN, &kept, "kept").await;
        let mut peer = Peer::begin(way.here, &bob).await;
        peer.takes(QOS_1 | RETAIN, &kept, "kept").await;
        drop(peer);
        for port in [way.there, way.here, way.here] {
            alice.tells(QOS_1, &passing, "waits").await;
            let mut peer = Peer::resume(port, &bob).await;
            peer.takes(QOS_1, &passing, "waits").await;
            peer.takes(QOS_1 | RETAIN, &kept, "kept").await;
            alice.tells(QOS_1, &passing, "live").await;
            peer.takes(QOS_1, &passing, "live").await;
        }
    })
    .await;
}
