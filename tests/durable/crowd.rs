//! Talkers and listeners together: started, watched, ended, judged.
//!
//! It leaves to the tests what happens to the processes meanwhile.

use std::{sync::Arc, time::Duration};

use causeway_common::qos::QoS;
use causeway_tests::{
    client::RawClient,
    cluster::{Cluster, Service},
    wait::{PATIENCE, comes_within, eventually},
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    ledger::{LAST, Ledger, Tally, qos_of},
    listener::{Habit, Listener},
    talker::{Plan, Route, Talker, streams},
};

/// A running crowd.
pub(crate) struct Crowd {
    pub(crate) ledger: Arc<Ledger>,
    stop: watch::Sender<bool>,
    stay: watch::Sender<bool>,
    talkers: Vec<JoinHandle<Vec<Route>>>,
    listeners: Vec<JoinHandle<()>>,
    names: Vec<String>,
    /// Topics of retained messages, with what was written last.
    kept: Vec<Route>,
}

/// Who is in it.
#[derive(Clone, Debug)]
pub(crate) struct Size {
    pub(crate) talkers: usize,
    pub(crate) listeners: usize,
    /// Time between two messages of a talker.
    pub(crate) pace: Duration,
    /// Whether everybody changes the node now and then.
    pub(crate) roams: bool,
    pub(crate) seed: u64,
}

impl Crowd {
    /// Starts listeners, and then talkers, spread over these ports.
    pub(crate) async fn start(ports: &[u16], size: &Size) -> Self {
        let ledger = Arc::new(Ledger::default());
        let (stop, _) = watch::channel(false);
        let (stay, _) = watch::channel(false);
        let homes = |number: usize| {
            if size.roams { ports.to_vec() } else { vec![ports[number % ports.len()]] }
        };
        let (mut listeners, mut names) = (Vec::new(), Vec::new());
        for number in 0..size.listeners {
            let name = format!("listener-{number}");
            let habit = Habit {
                name: name.clone(),
                ports: homes(number),
                visit: Duration::from_millis(600),
                absence: Duration::from_millis(200),
                seed: size.seed,
            };
            let listener = Listener::begin(habit, Arc::clone(&ledger)).await;
            listeners.push(tokio::spawn(listener.run(stay.subscribe())));
            names.push(name);
        }
        let talker = |number: usize| {
            let name = format!("talker-{number}");
            let mut routes = streams(&name);
            routes.push(kept(&name, number));
            let plan = Plan {
                name,
                ports: homes(number),
                routes,
                pace: size.pace,
                visit: Some(Duration::from_secs(1)),
                seed: size.seed,
            };
            tokio::spawn(Talker::new(plan, Arc::clone(&ledger)).run(stop.subscribe()))
        };
        let talkers = (0..size.talkers).map(talker).collect();
        Self { ledger, stop, stay, talkers, listeners, names, kept: Vec::new() }
    }

    /// Waits until this many more messages are acknowledged than now.
    pub(crate) async fn advances(&self, count: u64) {
        let goal = self.ledger.acked() + count;
        let what = format!("{count} more messages are acknowledged");
        eventually(&what, async || self.ledger.acked() >= goal).await;
    }

    /// Ends it, and finds nothing missing, twice with QoS 2, out of order or against the rules.
    pub(crate) async fn finish(self, cluster: &Cluster) -> Tally {
        let (tally, complaints) = self.judge(cluster).await;
        let few = &complaints[..complaints.len().min(20)];
        let count = complaints.len();
        assert!(count == 0, "{tally:?}; {count} complaints, such as:\n{}", few.join("\n"));
        assert!(tally.is_clean(), "{tally:?}");
        tally
    }

    /// Ends the talkers once all is answered, lets the listeners come for all there is, and
    /// judges. Every listener has had whatever is still repeated when a last message has come
    /// that was sent when all was quiet.
    pub(crate) async fn judge(mut self, cluster: &Cluster) -> (Tally, Vec<String>) {
        self.stop.send_replace(true);
        for talker in self.talkers.drain(..) {
            let routes = tokio::time::timeout(PATIENCE, talker).await;
            let routes = routes.expect("a talker is answered in the end").expect("no panic");
            self.kept.extend(routes.into_iter().filter(|route| route.retain));
        }
        self.stay.send_replace(true);
        cluster.is_quiet().await;
        let port = cluster.node(1).mqtt_port();
        let mut herald = RawClient::login(port, "herald").await;
        for topic in self.ledger.topics() {
            herald.publish(&topic, LAST.to_string(), qos_of(&topic)).await.unwrap();
        }
        let deaf = || -> Vec<String> {
            let topics = self.ledger.topics();
            let pairs = self.names.iter().flat_map(|name| topics.iter().map(move |of| (name, of)));
            let deaf = pairs.filter(|(name, topic)| !self.ledger.has_heard(name, topic, LAST));
            deaf.map(|(name, topic)| format!("{name} never hears the last of {topic}")).collect()
        };
        comes_within(PATIENCE, async || deaf().is_empty()).await;
        let deaf = deaf();
        // What waited where nobody looked for it comes with the next audit of its node.
        comes_within(AUDIT, async || self.ledger.judge(&self.names).0.missing == 0).await;
        for listener in &self.listeners {
            listener.abort();
        }
        for node in cluster.nodes() {
            is_kept(node, &self.kept).await;
        }
        let (tally, complaints) = self.ledger.judge(&self.names);
        let faults = self.ledger.faults();
        let (resumed, slowest) = (self.ledger.resumed(), self.ledger.slowest_login());
        println!("{tally:?}; {resumed} logins found their session, the slowest took {slowest:.1?}");
        (tally, complaints.into_iter().chain(deaf).chain(faults).collect())
    }
}

/// A topic of retained messages of a talker.
fn kept(name: &str, number: usize) -> Route {
    let qos = if number.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
    Route { topic: format!("kept/{name}"), qos, retain: true, count: 0 }
}

/// Every topic has its last value on this node.
async fn is_kept(node: &Service, kept: &[Route]) {
    let mut reader = RawClient::login(node.mqtt_port(), "reader").await;
    reader.subscribe("kept/#", QoS::AtLeastOnce).await.unwrap();
    for _ in kept {
        let message = reader.message().await.unwrap().message;
        let route = kept.iter().find(|route| route.topic == message.topic.as_str()).unwrap();
        let (value, last) = (message.payload, (route.count - 1).to_string());
        assert!(message.retain && value == last.as_bytes(), "{}: {value:?}", route.topic);
    }
    reader.disconnect().await.unwrap();
}

/// Longer than a node takes to look for the owners of all its sessions.
const AUDIT: Duration = Duration::from_secs(100);

/// A queue that a crowd does not fill while a node is away: what a full one drops is its policy,
/// and tested elsewhere.
pub(crate) const LONG_QUEUES: &str = "session.queue_messages_max=100000";
