//! A clean login erases what any node keeps of a session, also a node that is down then
//! [MQTT-3.1.2-6].

use causeway_common::qos::QoS;
use causeway_tests::{
    client::{RawClient, durable},
    cluster::Cluster,
    wait::eventually,
};

use crate::home::node_is_gone;

#[tokio::test]
async fn a_session_erased_while_its_node_was_down_does_not_come_back_with_it() {
    let builder = Cluster::builder().set("directory.lease_secs=2").durable();
    let mut cluster = builder.set_bridges("bridge.home_grace_secs=1").start().await;
    let [there, home] = [cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port()];
    let early = ["early-home", "early-there", "early-nowhere"];
    let late = ["late-home", "late-there", "late-nowhere", "late-since"];
    for client_id in early.into_iter().chain(late).chain(["stays"]) {
        let mut client = RawClient::begin(home, client_id).await;
        client.subscribe("a", QoS::AtLeastOnce).await.unwrap();
        client.disconnect().await.unwrap();
    }
    say(home, "a", "old").await;

    cluster.node_mut(2).process.kill();
    for client_id in early {
        RawClient::login(there, client_id).await.disconnect().await.unwrap();
    }
    node_is_gone(&cluster).await;
    for client_id in late {
        RawClient::login(there, client_id).await.disconnect().await.unwrap();
    }
    let mut since = RawClient::begin(there, "late-since").await;
    since.subscribe("b", QoS::AtLeastOnce).await.unwrap();
    cluster.node_mut(2).restart().await;
    cluster.node(2).is_ready().await;

    let home = cluster.node(2).mqtt_port();
    let at = [("home", home), ("there", there)];
    for (when, (place, port)) in ["early", "late"].into_iter().flat_map(|it| at.map(|at| (it, at)))
    {
        let client_id = format!("{when}-{place}");
        let (mut client, found) = RawClient::attach(port, durable(&client_id)).await.unwrap();
        assert!(!found, "{client_id}");
        client.subscribe("b", QoS::AtLeastOnce).await.unwrap();
        say(there, "b", "new").await;
        assert_eq!(client.message().await.unwrap().message.payload, "new", "{client_id}");
        client.ping().await.unwrap();
        assert_eq!(since.message().await.unwrap().message.payload, "new");
    }
    // Nor does what its clients do not ask for stay there: but one, which nobody erased, and two new ones.
    let kept = async || cluster.node(2).metrics().await.sum("causeway_sessions_parked");
    eventually("the erased sessions are gone", async || (kept().await - 3.0).abs() < 0.5).await;
    let mut stays = RawClient::resume(home, "stays").await;
    assert_eq!(stays.message().await.unwrap().message.payload, "old");
    since.ping().await.unwrap();
}

async fn say(port: u16, topic: &str, text: &'static str) {
    let mut sayer = RawClient::login(port, "sayer").await;
    sayer.publish(topic, text, QoS::AtLeastOnce).await.unwrap();
    sayer.disconnect().await.unwrap();
}
