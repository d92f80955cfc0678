//! A durable session whose node is down: what it wants is not acknowledged until the node is back,
//! or its grace time is over.

use causeway_common::{packet::Packet, qos::QoS};
use causeway_tests::{
    client::{RawClient, publish},
    cluster::Cluster,
    wait::{PATIENCE, eventually},
};
use tokio::time::timeout;

use crate::stage::number;

#[tokio::test]
async fn a_message_waits_for_the_node_of_its_session_also_over_a_new_bridge() {
    let builder = Cluster::builder().set("directory.lease_secs=2").durable();
    let mut cluster = builder.start().await;
    begin(&cluster).await;
    let mut alice = RawClient::login(cluster.node(1).mqtt_port(), "alice").await;
    cluster.node_mut(2).process.kill();
    let ids = say(&mut alice, 0).await;
    node_is_gone(&cluster).await;
    is_unanswered(&mut alice, "the node is away").await;
    // A bridge that has never seen the node learns of it from the directory.
    cluster.bridge_mut(1).process.kill();
    cluster.bridge_mut(1).restart().await;
    cluster.node(1).is_ready().await;
    let later = say(&mut alice, 2).await;
    is_unanswered(&mut alice, "the bridge is new").await;
    cluster.node_mut(2).restart().await;
    for id in ids.into_iter().chain(later) {
        is_answered(&mut alice, id).await;
    }
    let mut bob = RawClient::resume(cluster.node(2).mqtt_port(), "bob").await;
    for expected in 0..4 {
        assert_eq!(number(&bob.message().await.unwrap().message.payload), expected);
    }
    bob.ping().await.unwrap();
}

#[tokio::test]
async fn a_home_that_does_not_come_back_is_given_up_and_the_loss_is_counted() {
    let builder = Cluster::builder().set("directory.lease_secs=2").durable();
    let mut cluster = builder.set_bridges("bridge.home_grace_secs=2").start().await;
    begin(&cluster).await;
    let mut alice = RawClient::login(cluster.node(1).mqtt_port(), "alice").await;
    cluster.node_mut(2).process.kill();
    for id in say(&mut alice, 0).await {
        is_answered(&mut alice, id).await;
    }
    let metrics = cluster.bridge(1).metrics().await;
    let dropped = metrics.sum_where("causeway_messages_dropped_total", "reason=\"home_gone\"");
    assert_eq!(dropped.to_string(), "2");
}

/// Bob has a session on node-2, and no connection.
async fn begin(cluster: &Cluster) {
    let mut bob = RawClient::begin(cluster.node(2).mqtt_port(), "bob").await;
    bob.subscribe("a/#", QoS::ExactlyOnce).await.unwrap();
    bob.disconnect().await.unwrap();
    let home = ["SISMEMBER", "causeway:home:node-2", "a/#"];
    eventually("the directory knows", async || cluster.redis_cli(&home) == "1").await;
}

/// Publishes one number with QoS 1 and the next with QoS 2; returns what answers them first.
async fn say(alice: &mut RawClient, first: u32) -> [Packet; 2] {
    let [one, two] = [alice.next_id(), alice.next_id()];
    let of = |number: u32, qos, id| publish("a/b", number.to_string(), qos, id);
    alice.send(&of(first, QoS::AtLeastOnce, one)).await.unwrap();
    alice.send(&of(first + 1, QoS::ExactlyOnce, two)).await.unwrap();
    [Packet::PubAck(one), Packet::PubRec(two)]
}

async fn is_answered(alice: &mut RawClient, answer: Packet) {
    let packet = timeout(PATIENCE, alice.packet()).await.unwrap().unwrap();
    assert_eq!(packet, answer);
}

/// Whatever was due has come when a PINGREQ is answered.
async fn is_unanswered(alice: &mut RawClient, when: &str) {
    alice.send(&Packet::PingReq).await.unwrap();
    assert_eq!(alice.packet().await.unwrap(), Packet::PingResp, "{when}");
}

pub(crate) async fn node_is_gone(cluster: &Cluster) {
    let live = async || cluster.bridge(1).metrics().await.sum("causeway_nodes_live");
    eventually("the node's lease has ended", async || live().await < 1.5).await;
    // And what follows from it has been done, as the next look at the directory tells.
    let away = async || cluster.bridge(1).metrics().await.sum("causeway_nodes_away");
    eventually("its home is remembered", async || away().await > 0.5).await;
}
