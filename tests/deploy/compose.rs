//! The composition, as somebody meets it who types `docker compose up`: chat over TLS, a scrape, and the loss
//! of each kind of container.

use causeway_tests::{
    mosquitto::{Subscriber, publish},
    wait::eventually,
};

use crate::{
    engine::{Composition, docker, find},
    prometheus::knows,
    skip,
};

#[tokio::test]
async fn a_composition_chats_is_scraped_and_survives_the_loss_of_a_container() {
    let compose = match find() {
        Ok(compose) => compose,
        Err(why) => return skip("the composition of containers", &why),
    };
    let it = Composition::start(compose);
    let authority = it.authority();
    all_is_up(&it).await;

    chat(&it, &authority, ("bob", 1), "hello").await;
    forwarded(&it, "1").await;
    let delivered = "causeway_messages_delivered_total{qos='1'}";
    knows(it.prometheus, delivered, "instance", "node-1:9883=0 node-2:9883=1").await;

    docker(&["kill", &it.container("node-2")]);
    knows(it.prometheus, "up{job='causeway-broker'}", "instance", "node-1:9883=1 node-2:9883=0")
        .await;
    chat(&it, &authority, ("carol", 0), "node-1 goes on").await;
    it.compose(&["up", "-d"]);
    all_is_up(&it).await;
    chat(&it, &authority, ("bob", 1), "node-2 is back").await;

    // A bridge that ends comes back by itself.
    docker(&["exec", &it.container("bridge-1"), "sh", "-c", "kill -TERM 1"]);
    let restarts = || it.inspect("bridge-1", "{{.RestartCount}}");
    eventually("the bridge is started anew", async || restarts() == "1").await;
    all_is_up(&it).await;
    chat(&it, &authority, ("bob", 1), "so is the bridge").await;
    forwarded(&it, "1").await;
    users_are_added_as_described(&it);
}

/// What root begins the nodes can read.
fn users_are_added_as_described(it: &Composition) {
    let file = "/keys/users/passwords";
    let tool = ["run", "--rm", "-T", "keys", "causeway-broker", "passwd"];
    it.compose(&[&tool[..], &["-b", "-c", file, "alice", "secret"]].concat());
    it.compose(&[&tool[..], &["-b", file, "bob", "secret"]].concat());
    let node = it.container("node-1");
    let listed = docker(&["exec", &node, "ls", "-ln", file]);
    assert!(listed.starts_with("-rw-------") && listed.contains(" 1883 1883 "), "{listed}");
    let read = docker(&["exec", &node, "cat", file]);
    assert!(read.starts_with("alice:$argon2id$") && read.contains("\nbob:"), "{read}");
}

/// Healthy, scraped, and linked.
async fn all_is_up(it: &Composition) {
    it.is_healthy(&["node-1", "node-2", "bridge-1", "redis"]).await;
    let all = "bridge-1:9893=1 node-1:9883=1 node-2:9883=1";
    knows(it.prometheus, "up", "instance", all).await;
    let linked = "bridge-1:9893=2 node-1:9883=1 node-2:9883=1";
    knows(it.prometheus, "causeway_links_ready", "instance", linked).await;
}

/// What the bridge of the present life has carried.
async fn forwarded(it: &Composition, messages: &str) {
    let query = "causeway_messages_forwarded_total{job='causeway-bridge',qos='1'}";
    knows(it.prometheus, query, "instance", &format!("bridge-1:9893={messages}")).await;
}

/// Somebody logs in at a node, and alice writes to him from the first one, over TLS.
async fn chat(it: &Composition, authority: &str, (who, node): (&str, usize), text: &str) {
    let inbox = format!("user/{who}/#");
    let trust = ["--cafile", authority, "-q", "1"];
    let own = ["-i", who, "-t", &inbox, "-v"];
    let reader = Subscriber::start(it.nodes[node], &[&trust[..], &own].concat()).await;
    let topic = format!("user/{who}/alice");
    let message = ["-i", "alice", "-t", &topic, "-m", text];
    publish(it.nodes[0], &[&trust[..], &message].concat()).await;
    reader.has(&[&format!("{topic} {text}")]).await;
}
