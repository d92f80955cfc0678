//! The access file that is shipped, on two nodes: everybody is reached, and nobody speaks for another.

use std::path::PathBuf;

use causeway_common::{
    packet::{Connect, ConnectCode, SubscribeCode},
    qos::QoS,
};
use causeway_tests::{
    client::{RawClient, connect, durable},
    cluster::Cluster,
    wait::eventually,
};

use crate::stage::{Files, code, enter, heard, named};

const USERS: [&str; 4] = ["alice", "bob", "bob/x", "+"];

async fn shipped(files: &Files, builder: causeway_tests::cluster::Builder) -> Cluster {
    for user in USERS {
        files.add(user, &format!("{user}'s"), "sha512-pbkdf2");
    }
    let acl = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/acl");
    let cluster = builder
        .set_nodes(&files.password_setting())
        .set_nodes(&format!("auth.acl_file={}", acl.display()))
        .start()
        .await;
    cluster.is_ready().await;
    cluster
}

fn user(client_id: &str, user: &str) -> Connect {
    named(client_id, user, Some(&format!("{user}'s")))
}

/// Says it, whether it may or not, and waits for the answer.
async fn say(client: &mut RawClient, topic: &str) {
    client.publish(topic, topic.to_owned(), QoS::AtLeastOnce).await.unwrap();
}

#[tokio::test]
async fn a_user_is_reached_and_cannot_speak_for_another() {
    let files = Files::new();
    let cluster = shipped(&files, Cluster::builder()).await;
    let (here, there) = (cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port());
    let mut alice = enter(here, user("a1", "alice")).await;
    let mut bob = enter(there, user("b1", "bob")).await;
    // Nobody is bob by his client id, nor by a name that reaches into his.
    let mut thieves = vec![
        enter(there, user("bob", "alice")).await,
        enter(there, user("t2", "bob/x")).await,
        enter(there, user("t3", "+")).await,
    ];
    assert_eq!(code(here, connect("bob")).await, ConnectCode::NotAuthorized);
    for thief in &mut thieves {
        for filter in ["user/bob/#", "user/bob/alice", "user/bob/x/#"] {
            let code = thief.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
            assert_eq!(code, SubscribeCode::Failure, "{filter}");
        }
        // Wide enough to hold something of the thief's own, if it has anything.
        thief.subscribe("#", QoS::AtLeastOnce).await.unwrap();
        thief.subscribe("user/+/alice", QoS::AtLeastOnce).await.unwrap();
        for topic in ["user/bob/carol", "user/bob/bob", "user/bob", "user/bob/alice/x", "anything"]
        {
            say(thief, topic).await;
        }
    }
    for topic in ["user/bob/carol", "user/bob/x", "user/bob/alice"] {
        say(&mut alice, topic).await;
    }
    assert_eq!(bob.message().await.unwrap().message.topic.as_str(), "user/bob/alice");
    say(&mut bob, "user/alice/bob").await;
    assert_eq!(alice.message().await.unwrap().message.topic.as_str(), "user/alice/bob");
    assert_eq!(heard(&mut bob).await, [""; 0]);
    // alice's second device has her message too; the others nothing.
    let expected: [&[&str]; 3] = [&["user/alice/bob"], &[], &[]];
    for (thief, expected) in thieves.iter_mut().zip(expected) {
        assert_eq!(heard(thief).await, expected);
    }
}

#[tokio::test]
async fn what_waits_for_a_session_is_its_users_and_goes_with_it() {
    let files = Files::new();
    let cluster = shipped(&files, Cluster::builder().durable()).await;
    let (here, there) = (cluster.node(1).mqtt_port(), cluster.node(2).mqtt_port());
    let stays = |connect: Connect| Connect { clean_session: false, ..connect };
    let mut alice = enter(here, user("a1", "alice")).await;
    let mut bob = enter(here, stays(user("bob", "bob"))).await;
    bob.subscribe("#", QoS::AtLeastOnce).await.unwrap();
    bob.disconnect().await.unwrap();
    for topic in ["user/bob/alice", "user/alice/alice"] {
        say(&mut alice, topic).await;
    }
    // It moves to the other node, and means the same there.
    let mut bob = enter(there, stays(user("bob", "bob"))).await;
    assert_eq!(bob.message().await.unwrap().message.topic.as_str(), "user/bob/alice");
    say(&mut alice, "user/alice/alice").await;
    say(&mut alice, "user/bob/alice").await;
    assert_eq!(bob.message().await.unwrap().message.topic.as_str(), "user/bob/alice");
    assert_eq!(heard(&mut bob).await, [""; 0]);
}

/// Somebody without a name who takes a client id is not the user of that name.
#[tokio::test]
async fn a_session_is_not_had_by_a_client_id_alone() {
    let files = Files::new();
    files.add("bob", "bob's", "sha512-pbkdf2");
    let cluster = Cluster::builder()
        .nodes(1)
        .bridges(0)
        .set_nodes(&files.password_setting())
        .set_nodes("auth.allow_anonymous=true")
        .start()
        .await;
    let port = cluster.node(1).mqtt_port();
    let stays = Connect { clean_session: false, ..user("bob", "bob") };
    let bob = enter(port, stays.clone()).await;
    bob.disconnect().await.unwrap();
    let mut other = RawClient::login(port, "other").await;
    say(&mut other, "user/bob/other").await;
    eventually("it waits for bob", async || {
        cluster.node(1).metrics().await.sum("causeway_sessions_parked") > 0.0
    })
    .await;
    let (mut thief, was_present) = RawClient::attach(port, durable("bob")).await.unwrap();
    assert!(!was_present);
    assert_eq!(heard(&mut thief).await, [""; 0]);
}
