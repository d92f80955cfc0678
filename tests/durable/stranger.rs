//! Mosquitto's broker judges our talkers and listeners, so that a fault of theirs is not taken
//! for one of the broker under test.

use std::{fs, process::Command, sync::Arc, time::Duration};

use causeway_tests::{
    client::RawClient,
    process::{Process, free_port},
    wait::eventually,
};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    ledger::{LAST, Ledger, qos_of},
    listener::{Habit, Listener},
    talker::{Plan, Talker, streams},
};

#[tokio::test]
async fn talkers_and_listeners_find_no_fault_with_mosquitto() {
    let (folder, port) = (TempDir::new().unwrap(), free_port());
    let settings =
        format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
    let path = folder.path().join("conf");
    fs::write(&path, settings).unwrap();
    let mut command = Command::new("/usr/sbin/mosquitto");
    let _broker = Process::start("mosquitto", command.arg("-c").arg(path), folder.path());
    eventually("it listens", async || RawClient::open(port).await.is_ok()).await;

    let ledger = Arc::new(Ledger::default());
    let ((stop, stopped), (stay, stays)) = (watch::channel(false), watch::channel(false));
    let (visit, absence) = (Duration::from_millis(60), Duration::from_millis(30));
    let habit = Habit { name: "bob".into(), ports: vec![port], visit, absence, seed: 3 };
    let listener = Listener::begin(habit, Arc::clone(&ledger)).await;
    let listener = tokio::spawn(listener.run(stays));
    let plan = Plan {
        name: "alice".into(),
        ports: vec![port],
        routes: streams("alice"),
        pace: Duration::from_millis(1),
        visit: Some(visit),
        seed: 3,
    };
    let talker = tokio::spawn(Talker::new(plan, Arc::clone(&ledger)).run(stopped));
    eventually("1,000 messages are acknowledged", async || ledger.acked() >= 1_000).await;
    stop.send_replace(true);
    talker.await.unwrap();
    stay.send_replace(true);
    let mut herald = RawClient::login(port, "herald").await;
    for topic in ledger.topics() {
        herald.publish(&topic, LAST.to_string(), qos_of(&topic)).await.unwrap();
        let heard = async || ledger.has_heard("bob", &topic, LAST);
        eventually("the last message is heard", heard).await;
    }
    listener.abort();
    let (tally, complaints) = ledger.judge(&["bob".to_owned()]);
    assert!(tally.is_clean(), "{tally:?} {complaints:?} {:?}", ledger.faults());
    assert_eq!(ledger.faults(), [""; 0]);
    assert!(ledger.resumed() > 20 && tally.repeated > 0, "{tally:?}, {}", ledger.resumed());
}
