//! SUBACK means that the subscription is effective in the whole cluster.

use causeway_common::qos::QoS;
use causeway_tests::{client::RawClient, cluster::Cluster};

#[tokio::test]
async fn what_is_published_anywhere_after_suback_arrives() {
    let cluster = Cluster::builder().start().await;
    let mut subscriber = RawClient::login(cluster.node(2).mqtt_port(), "bob").await;
    let mut publisher = RawClient::login(cluster.node(1).mqtt_port(), "alice").await;
    for round in 0..1_000 {
        // Every third round a wildcard, every second one QoS 0, which nobody would repeat.
        let topic = format!("round/{round}/x");
        let filter = if round % 3 == 0 { format!("round/{round}/+") } else { topic.clone() };
        let qos = if round % 2 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        subscriber.subscribe(&filter, QoS::AtLeastOnce).await.unwrap();
        publisher.publish(&topic, "x", qos).await.unwrap();
        let arrived = subscriber.message().await;
        let arrived = arrived.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(arrived.message.topic.as_str(), topic);
    }
    let metrics = cluster.node(2).metrics().await;
    assert_eq!(metrics.sum("causeway_route_timeouts_total").to_string(), "0");
}
