//! Sessions of which the last owner cannot say where they are: it died with its claim, and its row went
//! with it.

use std::time::Duration;

use causeway_common::{
    directory::{
        ClientRow, Directory, Member,
        redis::{RedisDirectory, RedisOptions},
    },
    id::{ClientId, Incarnation, NodeId, UserName},
    qos::QoS,
};
use causeway_tests::{
    client::{RawClient, durable},
    cluster::{Cluster, Service},
    wait::{PATIENCE, eventually},
};

/// A node that claims a client id and dies before it has asked for the session. Nobody looks for that
/// but the next login: the node that has it would ask the directory in a minute.
#[tokio::test]
async fn a_session_is_found_although_its_last_owner_died_before_it_asked_for_it() {
    for is_swept in [false, true] {
        let cluster = Cluster::builder().start().await;
        let [one, two] = [cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port()];
        let mut bob = RawClient::begin(one, "bob").await;
        bob.subscribe("a", QoS::ExactlyOnce).await.unwrap();
        bob.disconnect().await.unwrap();
        let mut alice = RawClient::login(two, "alice").await;
        alice.publish("a", "1", QoS::ExactlyOnce).await.unwrap();

        claim_as_one_who_dies(&cluster, "bob", is_swept).await;
        let (mut bob, _) = RawClient::attach(two, durable("bob")).await.unwrap();
        let message = tokio::time::timeout(SOON, bob.message()).await;
        let message = message.expect("long before the next audit").unwrap().message;
        assert_eq!((message.payload.as_ref(), message.qos), (&b"1"[..], QoS::ExactlyOnce));
        // It has moved: what is said now comes once.
        eventually("the session has moved", async || parked(cluster.node(1)).await < 0.5).await;
        alice.publish("a", "2", QoS::ExactlyOnce).await.unwrap();
        assert_eq!(bob.message().await.unwrap().message.payload, "2");
        bob.ping().await.unwrap();
    }
}

/// Home is down, the client begins anew elsewhere, and that node dies and is forgotten: what home has is not
/// what the client knows, although nobody is left to say so.
#[tokio::test]
async fn a_stale_session_is_not_called_present_although_the_younger_one_is_gone() {
    let builder = Cluster::builder().set("directory.lease_secs=2").durable();
    let mut cluster = builder.set_bridges("bridge.home_grace_secs=1").start().await;
    let [home, there] = [cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port()];
    let mut bob = RawClient::begin(home, "bob").await;
    bob.subscribe("a", QoS::ExactlyOnce).await.unwrap();
    bob.disconnect().await.unwrap();
    let mut alice = RawClient::login(home, "alice").await;
    alice.publish("a", "old", QoS::ExactlyOnce).await.unwrap();

    cluster.node_mut(1).process.kill();
    let mut bob = RawClient::begin(there, "bob").await;
    bob.ping().await.unwrap();
    cluster.node_mut(2).process.kill();
    cluster.node_mut(1).restart().await;
    cluster.node(1).is_ready().await;
    let directory = directory(&cluster);
    let bobs = ClientId::from("bob");
    eventually("nobody owns the client id", async || {
        directory
            .find(&bobs)
            .await
            .unwrap()
            .is_none_or(|owner| owner.member.node.as_str() != "node-2")
    })
    .await;

    let home = cluster.node(1).mqtt_port();
    let (mut bob, found) = RawClient::attach(home, durable("bob")).await.unwrap();
    assert!(!found, "the client began another one");
    assert_eq!(bob.message().await.unwrap().message.payload, "old", "which is due nevertheless");
}

/// A claim of a node that is in no other way there; its row may be swept afterwards.
async fn claim_as_one_who_dies(cluster: &Cluster, client_id: &str, is_swept: bool) {
    let dead = Member { node: NodeId::from("node-9"), incarnation: Incarnation(1) };
    let row = ClientRow {
        client_id: ClientId::from(client_id),
        user: UserName::from(client_id),
        owner: dead.clone(),
        address: "127.0.0.1:1".to_owned(),
        connected: true,
        durable: true,
        will: None,
    };
    let directory = directory(cluster);
    directory.claim(&row).await.unwrap();
    if is_swept {
        directory.sweep(&dead, Duration::ZERO).await.unwrap();
        assert_eq!(directory.find(&row.client_id).await.unwrap(), None);
    }
}

fn directory(cluster: &Cluster) -> RedisDirectory {
    RedisDirectory::connect(RedisOptions {
        url: cluster.redis.url(),
        prefix: "causeway".to_owned(),
        command_timeout: PATIENCE,
    })
    .unwrap()
}

async fn parked(node: &Service) -> f64 {
    node.metrics().await.sum("causeway_sessions_parked")
}

/// Longer than a login waits for a node that is gone, and far from the next audit.
const SOON: Duration = Duration::from_secs(25);
