//! Wills (MQTT 3.1.2.5): on every end but DISCONNECT, at their QoS, retained where they ask for it,
//! and once, also when the client's node dies with it.

use std::time::Duration;

use causeway_common::{
    packet::{Connect, Packet, Will},
    qos::QoS,
};
use causeway_tests::{
    client::{RawClient, connect, durable, will},
    cluster::{Cluster, Service},
    wait::{PATIENCE, eventually},
};
use tokio::task::JoinSet;

/// The ends that the standard calls abnormal.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The socket is closed.
    Closed,
    /// Nothing comes for one and a half keep-alives.
    Silent,
    /// Bytes that are no packet.
    Garbage,
    /// A second CONNECT.
    ConnectAgain,
    /// Somebody connects with its client id, on the same node.
    TakenOver,
    /// The same, on the other node.
    TakenOverElsewhere,
    /// Its node is told to end.
    NodeEnds,
}

#[tokio::test]
async fn every_end_but_disconnect_publishes_the_will_on_both_nodes() {
    let mut cluster = Cluster::builder().start().await;
    let mut watchers = Vec::new();
    for node in cluster.nodes() {
        let mut watcher = RawClient::login(node.mqtt_port(), &format!("by-{}", node.name())).await;
        watcher.subscribe("will/#", QoS::ExactlyOnce).await.unwrap();
        watchers.push(watcher);
    }
    let ends = [
        End::Closed,
        End::Silent,
        End::Garbage,
        End::ConnectAgain,
        End::TakenOver,
        End::TakenOverElsewhere,
        End::NodeEnds,
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let qos = QoS::from_bits(u8::try_from(number % 3).unwrap()).unwrap();
        let name = format!("{end:?}");
        let will = will(&format!("will/{name}"), name.clone(), qos);
        // The last leaves nobody on its node who could listen.
        let last = matches!(end, End::NodeEnds);
        let watchers = if last { &mut watchers[1..] } else { &mut watchers[..] };
        bring_about(end, &mut cluster, Connect { will: Some(will), ..connect(&name) }).await;
        for watcher in watchers {
            let message = watcher.message().await.unwrap().message;
            assert_eq!((&*message.payload, message.qos), (name.as_bytes(), qos), "{end:?}");
            assert!(!message.retain);
        }
    }
}

async fn bring_about(end: End, cluster: &mut Cluster, with_will: Connect) {
    let name = with_will.client_id.clone();
    let keep_alive_secs = u16::from(matches!(end, End::Silent));
    let with_will = Connect { keep_alive_secs, ..with_will };
    let port = cluster.node(1).mqtt_port();
    let (mut client, _) = RawClient::attach(port, with_will).await.unwrap();
    match end {
        End::Closed => return drop(client),
        End::Silent => {}
        End::Garbage => client.send_bytes(&[0xf0; 8]).await.unwrap(),
        End::ConnectAgain => {
            client.send(&Packet::Connect(Box::new(connect(&name)))).await.unwrap();
        }
        End::TakenOver => drop(RawClient::login(port, &name).await.disconnect().await),
        End::TakenOverElsewhere => {
            let other = RawClient::login(cluster.node(2).mqtt_port(), &name).await;
            other.disconnect().await.unwrap();
        }
        End::NodeEnds => cluster.node(1).process.signal("TERM"),
    }
    client.closed(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn disconnect_takes_the_will_back_and_a_new_connect_replaces_it() {
    let cluster = Cluster::builder().start().await;
    let (port, other) = (cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port());
    let mut watcher = RawClient::login(other, "watcher").await;
    watcher.subscribe("will/#", QoS::AtLeastOnce).await.unwrap();
    for clean_session in [true, false] {
        let none = will("will/none", "none", QoS::AtLeastOnce);
        let with_will = Connect { will: Some(none), clean_session, ..connect("bob") };
        let (bob, _) = RawClient::attach(port, with_will).await.unwrap();
        bob.disconnect().await.unwrap();
        // Without a will of its own the next connection leaves none either.
        drop(RawClient::attach(port, Connect { clean_session, ..connect("bob") }).await.unwrap());
    }
    let second = Connect { will: Some(will("will/b", "b", QoS::AtLeastOnce)), ..durable("bob") };
    drop(RawClient::attach(port, second).await.unwrap());
    assert_eq!(watcher.message().await.unwrap().message.topic.as_str(), "will/b");
}

#[tokio::test]
async fn a_will_waits_for_an_absent_session_and_is_retained_if_it_says_so() {
    let cluster = Cluster::builder().start().await;
    let (port, other) = (cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port());
    let mut absent = RawClient::begin(other, "absent").await;
    absent.subscribe("will/#", QoS::ExactlyOnce).await.unwrap();
    absent.disconnect().await.unwrap();
    let mut watcher = RawClient::login(port, "watcher").await;
    watcher.subscribe("will/#", QoS::ExactlyOnce).await.unwrap();
    let retained = Will { retain: true, ..will("will/bob", "gone", QoS::ExactlyOnce) };
    let with_will = Connect { will: Some(retained), ..connect("bob") };
    drop(RawClient::attach(port, with_will).await.unwrap());
    let live = watcher.message().await.unwrap().message;
    assert!(!live.retain, "[MQTT-3.3.1-9]");
    let mut absent = RawClient::resume(other, "absent").await;
    let queued = absent.message().await.unwrap().message;
    assert_eq!((&*queued.payload, queued.qos), (&b"gone"[..], QoS::ExactlyOnce));
    let mut late = RawClient::login(other, "late").await;
    late.subscribe("will/bob", QoS::AtLeastOnce).await.unwrap();
    let kept = late.message().await.unwrap().message;
    assert!(kept.retain && kept.payload == "gone");
}

#[tokio::test]
async fn the_wills_of_a_killed_node_come_once_from_the_survivors() {
    let mut cluster =
        Cluster::builder().nodes(3).set("directory.lease_secs=3").durable().start().await;
    let mut watchers = Vec::new();
    for node in &cluster.nodes()[..2] {
        let mut watcher = RawClient::login(node.mqtt_port(), &format!("by-{}", node.name())).await;
        watcher.subscribe("will/#", QoS::ExactlyOnce).await.unwrap();
        watchers.push(watcher);
    }
    let doomed = connect_all(cluster.node(3)).await;
    cluster.node_mut(3).process.kill();
    drop(doomed);

    // Its lease still runs: a login elsewhere does not wait for the sweep, nor does its will.
    for (number, node) in cluster.nodes()[..2].iter().enumerate() {
        let name = format!("doomed-{number}");
        let mut back = RawClient::login(node.mqtt_port(), &name).await;
        back.publish(&format!("will/{name}"), "back", QoS::ExactlyOnce).await.unwrap();
        back.disconnect().await.unwrap();
    }
    let mut diaries = [Diary::default(), Diary::default()];
    for (diary, watcher) in diaries.iter_mut().zip(&mut watchers) {
        diary.read(watcher, |diary| diary.gone() >= DOOMED).await;
    }
    // Nor does its own return bring a will a second time.
    cluster.node_mut(3).restart().await;
    cluster.is_ready().await;
    let mut last = RawClient::login(cluster.node(3).mqtt_port(), "last").await;
    last.publish("will/last", "last", QoS::ExactlyOnce).await.unwrap();
    for (diary, watcher) in diaries.iter_mut().zip(&mut watchers) {
        diary.read(watcher, |diary| !diary.of("last").is_empty()).await;
        for number in 0..DOOMED {
            let expected = if number < 2 { &["gone", "back"][..] } else { &["gone"] };
            assert_eq!(diary.of(&format!("doomed-{number}")), expected, "doomed-{number}");
        }
    }
}

/// Some come back while the lease of their dead node runs, some when their wills are being taken, some later.
#[tokio::test]
async fn the_will_of_a_killed_node_s_client_comes_before_whatever_it_says_next() {
    for restarts in [false, true] {
        let mut cluster =
            Cluster::builder().nodes(3).set("directory.lease_secs=3").durable().start().await;
        let mut watcher = RawClient::login(cluster.node(1).mqtt_port(), "watcher").await;
        watcher.subscribe("will/#", QoS::ExactlyOnce).await.unwrap();
        let doomed = connect_all(cluster.node(3)).await;
        cluster.node_mut(3).process.kill();
        drop(doomed);
        let ports = [1, 2].map(|number| cluster.node(number).mqtt_port());
        let mut logins = JoinSet::new();
        for number in 0..DOOMED {
            logins.spawn(async move {
                let delay = Duration::from_millis(40) * u32::try_from(number).unwrap();
                tokio::time::sleep(delay).await; // pacing: around the end of the lease
                let name = format!("doomed-{number}");
                let mut back = RawClient::login(ports[number % 2], &name).await;
                let topic = format!("will/{name}");
                back.publish(&topic, "back", QoS::ExactlyOnce).await.unwrap();
                back
            });
        }
        if restarts {
            cluster.node_mut(3).restart().await;
        }
        let mut diary = Diary::default();
        diary.read(&mut watcher, |diary| diary.0.len() >= 2 * DOOMED).await;
        for number in 0..DOOMED {
            let heard = diary.of(&format!("doomed-{number}"));
            assert_eq!(heard, ["gone", "back"], "doomed-{number}, restarts: {restarts}");
        }
        logins.join_all().await;
    }
}

/// The will of a connection that ended on a node, or whose client came to another one, is in that node's hands
/// when it is killed, and has not got to any other: the only bridge ends too.
#[tokio::test]
async fn a_will_that_a_killed_node_had_just_taken_comes_from_a_survivor() {
    for taker in [1, 2] {
        let mut cluster = Cluster::builder().nodes(3).set("directory.lease_secs=3").start().await;
        let mut watcher = RawClient::login(cluster.node(3).mqtt_port(), "watcher").await;
        watcher.subscribe("will/#", QoS::ExactlyOnce).await.unwrap();
        let last = will("will/bob", "gone", QoS::AtLeastOnce);
        let with_will = Connect { will: Some(last), ..connect("bob") };
        let (bob, _) = RawClient::attach(cluster.node(1).mqtt_port(), with_will).await.unwrap();
        cluster.bridge(1).process.signal("STOP");
        let port = cluster.node(taker).mqtt_port();
        let end = tokio::spawn(async move {
            match taker {
                1 => drop(bob),
                _ => drop(RawClient::attach(port, connect("bob")).await),
            }
        });
        eventually("the will is taken", async || {
            cluster.node(taker).metrics().await.counts("causeway_wills_published_total", 1)
        })
        .await;
        cluster.node_mut(taker).process.kill();
        cluster.bridge_mut(1).process.kill();
        end.await.unwrap();
        cluster.bridge_mut(1).restart().await;
        let heard = watcher.message().await.unwrap().message;
        assert_eq!((heard.topic.as_str(), &*heard.payload), ("will/bob", &b"gone"[..]), "{taker}");
    }
}

/// What a watcher was told, as it came.
#[derive(Default)]
struct Diary(Vec<(String, String)>);

impl Diary {
    async fn read(&mut self, watcher: &mut RawClient, is_enough: impl Fn(&Self) -> bool) {
        while !is_enough(self) {
            let message = watcher.message().await.unwrap().message;
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            self.0.push((message.topic.as_str().to_owned(), payload));
        }
    }

    fn gone(&self) -> usize {
        self.0.iter().filter(|(_, payload)| payload == "gone").count()
    }

    fn of(&self, name: &str) -> Vec<&str> {
        let topic = format!("will/{name}");
        self.0.iter().filter(|(of, _)| *of == topic).map(|(_, payload)| &**payload).collect()
    }
}

/// Clients with wills of which each tells itself gone.
async fn connect_all(node: &Service) -> Vec<RawClient> {
    let mut clients = Vec::new();
    for number in 0..DOOMED {
        let name = format!("doomed-{number}");
        let will = will(&format!("will/{name}"), "gone", QoS::ExactlyOnce);
        let with_will = Connect { will: Some(will), ..connect(&name) };
        clients.push(RawClient::attach(node.mqtt_port(), with_will).await.unwrap().0);
    }
    clients
}

const DOOMED: usize = 150;
