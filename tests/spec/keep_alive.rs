//! Keep-alive (3.1.2.10) and PINGREQ (3.12).

use std::time::{Duration, Instant};

use crate::{
    bytes::{PINGREQ, PINGRESP, QOS_0, publish},
    peer::Peer,
    stage::{port, unique},
};

/// [MQTT-3.1.2-24] [MQTT-3.1.2-23]
#[tokio::test]
async fn a_silent_client_is_disconnected_after_one_and_a_half_times_its_keep_alive() {
    let port = port().await;
    let mut silent = Peer::login_for(port, &unique("silent"), 1).await;
    let since = Instant::now();
    silent.closed().await;
    assert!(since.elapsed() > Duration::from_millis(1_400), "{:?}", since.elapsed());
}

/// [MQTT-3.1.2-24] Any packet counts, not PINGREQ alone.
#[tokio::test]
async fn a_client_that_says_something_in_time_is_not_disconnected() {
    let port = port().await;
    let topic = unique("alive");
    let mut pinging = Peer::login_for(port, &unique("pinging"), 1).await;
    let mut talking = Peer::login_for(port, &unique("talking"), 1).await;
    let mut forever = Peer::login(port, &unique("forever")).await; // keep-alive 0: off
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(4) {
        pinging.pings().await;
        talking.send(&publish(QOS_0, &topic, 0, "x")).await;
        tokio::time::sleep(Duration::from_millis(500)).await; // pacing: within the keep-alive
    }
    for peer in [&mut pinging, &mut talking, &mut forever] {
        peer.pings().await;
    }
}

/// [MQTT-3.12.4-1]
#[tokio::test]
async fn every_pingreq_is_answered() {
    let mut peer = Peer::login(port().await, &unique("ping")).await;
    peer.send(&PINGREQ.repeat(50)).await;
    for _ in 0..50 {
        peer.gets(&PINGRESP).await;
    }
    peer.pings().await;
}
