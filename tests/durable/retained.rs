//! Retained messages: the same on every node, whoever wrote them, through restarts, and for those
//! that join.

use std::{collections::BTreeMap, time::Duration};

use causeway_common::{
    message::Message,
    packet::{Packet, Publish},
    qos::QoS,
    topic::Topic,
};
use causeway_tests::{
    client::RawClient,
    cluster::{Cluster, Service},
    wait::within,
};

/// Topic and content of what is retained under a filter.
type Kept = BTreeMap<String, String>;

#[tokio::test]
async fn set_replaced_and_deleted_on_one_node_it_is_so_on_both() {
    let cluster = Cluster::builder().start().await;
    let mut alice = RawClient::login(cluster.node(1).mqtt_port(), "alice").await;
    let mut live = RawClient::login(cluster.node(2).mqtt_port(), "live").await;
    live.subscribe("kept/#", QoS::ExactlyOnce).await.unwrap();
    for (value, qos) in [
        ("a", QoS::AtMostOnce),
        ("b", QoS::AtLeastOnce),
        ("c", QoS::ExactlyOnce),
        ("", QoS::AtLeastOnce),
        ("d", QoS::AtLeastOnce),
    ] {
        retain(&mut alice, "kept/a/b", value, qos).await;
        let came = live.message().await.unwrap().message;
        assert_eq!((&*came.payload, came.retain), (value.as_bytes(), false), "[MQTT-3.3.1-9]");
        if qos == QoS::AtMostOnce {
            continue; // Nobody has promised when it is on all nodes.
        }
        // Acknowledged on node-1, so node-2 has it [MQTT-3.3.1-6], [MQTT-3.3.1-10].
        for node in cluster.nodes() {
            let expected = if value.is_empty() { "{}".into() } else { format!("{:?}", one(value)) };
            assert_eq!(format!("{:?}", kept(node, "kept/#").await), expected, "{}", node.name());
        }
    }
    for filter in ["kept/a/b", "kept/+/b", "+/a/#", "#"] {
        assert_eq!(kept(cluster.node(2), filter).await, one("d"), "{filter}");
    }
    assert_eq!(kept(cluster.node(2), "kept/a").await, Kept::new());
}

#[tokio::test]
async fn writers_who_disagree_leave_one_value_everywhere() {
    let cluster = Cluster::builder().nodes(3).start().await;
    let mut writers = Vec::new();
    for node in cluster.nodes() {
        let (port, name) = (node.mqtt_port(), node.name().to_owned());
        writers.push(tokio::spawn(async move {
            let mut writer = RawClient::login(port, &format!("writer-{name}")).await;
            for round in 0..ROUNDS {
                for topic in 0..TOPICS {
                    let qos = QoS::from_bits(u8::try_from((round + topic) % 3).unwrap()).unwrap();
                    // Now and then it is deleted.
                    let is_deleted = (round + topic) % 7 == 3;
                    let value = if is_deleted { String::new() } else { format!("{name}/{round}") };
                    retain(&mut writer, &format!("kept/{topic}"), &value, qos).await;
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    cluster.is_quiet().await;
    let mut last = Vec::new();
    let agreed = async || {
        last.clear();
        for node in cluster.nodes() {
            last.push(kept(node, "kept/#").await);
        }
        last.iter().all(|kept| *kept == last[0])
    };
    within(Duration::from_secs(30), "all nodes have the same", agreed).await;
    println!("retained: {} of {TOPICS} topics are left", last[0].len());
    let ending = format!("/{}", ROUNDS - 1);
    for (topic, value) in &last[0] {
        assert!(value.ends_with(&ending), "{topic}: {value} is no last word of anybody");
    }
    let deleted = (0..TOPICS).filter(|topic| (ROUNDS - 1 + topic) % 7 == 3).count();
    assert_eq!(last[0].len(), TOPICS - deleted, "what all deleted last is deleted");
}

#[tokio::test]
async fn it_survives_the_death_of_all_nodes_at_once() {
    let mut cluster = Cluster::builder().durable().start().await;
    let expected = write_many(cluster.node(1)).await;
    for number in 1..=2 {
        cluster.node_mut(number).process.kill();
    }
    for number in 1..=2 {
        cluster.node_mut(number).restart().await;
    }
    cluster.is_ready().await;
    for node in cluster.nodes() {
        assert!(kept(node, "kept/#").await == expected, "{}", node.name());
    }
}

#[tokio::test]
async fn who_joins_or_returns_is_ready_only_with_all_of_it() {
    let mut cluster = Cluster::builder().durable().start().await;
    let mut expected = write_many(cluster.node(1)).await;
    let joined = cluster.add_node().await;
    joined.is_ready().await;
    assert!(kept(joined, "kept/#").await == expected, "a node that joins");

    cluster.node_mut(2).process.kill();
    let mut writer = RawClient::login(cluster.node(3).mqtt_port(), "writer").await;
    for number in 0..MANY / 2 {
        let topic = format!("kept/{number}");
        let value = if number % 2 == 0 { "" } else { "new" };
        retain(&mut writer, &topic, value, QoS::AtLeastOnce).await;
        expected.remove(&topic);
        if !value.is_empty() {
            expected.insert(topic, value.to_owned());
        }
    }
    cluster.node_mut(2).restart().await;
    cluster.is_ready().await;
    assert!(kept(cluster.node(2), "kept/#").await == expected, "a node that returns");
}

/// Many values from one node, some of them deleted again; returns what is left.
async fn write_many(node: &Service) -> Kept {
    let mut writer = RawClient::login(node.mqtt_port(), "writer").await;
    let mut expected = Kept::new();
    for number in 0..MANY {
        let (topic, value) = (format!("kept/{number}"), format!("value {number}"));
        retain(&mut writer, &topic, &value, QoS::AtLeastOnce).await;
        expected.insert(topic, value);
    }
    for number in (0..MANY).step_by(10) {
        let topic = format!("kept/{number}");
        retain(&mut writer, &topic, "", QoS::ExactlyOnce).await;
        expected.remove(&topic);
    }
    writer.disconnect().await.unwrap();
    expected
}

async fn retain(writer: &mut RawClient, topic: &str, value: &str, qos: QoS) {
    let id = writer.next_id();
    let message = Message {
        topic: Topic::new(topic).unwrap(),
        payload: value.to_owned().into(),
        qos,
        retain: true,
    };
    let publish = Publish { message, id: qos.is_answered().then_some(id), dup: false };
    writer.send(&Packet::Publish(publish)).await.unwrap();
    let steps: &[_] = match qos {
        QoS::AtMostOnce => &[],
        QoS::AtLeastOnce => &[(Packet::PubAck(id), None)],
        QoS::ExactlyOnce => {
            &[(Packet::PubRec(id), Some(Packet::PubRel(id))), (Packet::PubComp(id), None)]
        }
    };
    for (expected, answer) in steps {
        assert_eq!(writer.packet().await.unwrap(), *expected);
        if let Some(answer) = answer {
            writer.send(answer).await.unwrap();
        }
    }
}

/// What somebody new on a node gets for a filter. A live message ends it: retained ones come
/// before, since they belong to the SUBSCRIBE.
async fn kept(node: &Service, filter: &str) -> Kept {
    let mut reader = RawClient::login(node.mqtt_port(), "reader").await;
    reader.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
    reader.subscribe("end/of/reading", QoS::AtLeastOnce).await.unwrap();
    reader.publish("end/of/reading", "", QoS::AtLeastOnce).await.unwrap();
    let mut kept = Kept::new();
    loop {
        let message = reader.message().await.unwrap().message;
        let topic = message.topic.as_str().to_owned();
        if topic == "end/of/reading" {
            reader.disconnect().await.unwrap();
            return kept;
        }
        assert!(message.retain, "{topic}: [MQTT-3.3.1-8]");
        let value = String::from_utf8(message.payload.to_vec()).unwrap();
        assert_eq!(kept.insert(topic, value), None, "each topic has one");
    }
}

fn one(value: &str) -> Kept {
    [("kept/a/b".to_owned(), value.to_owned())].into()
}

const ROUNDS: usize = 40;

const TOPICS: usize = 20;

const MANY: usize = 500;
