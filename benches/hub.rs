//! The hub: one message from a publisher to its local subscribers. An iteration is one message,
//! put into every mailbox; the mailboxes are emptied as their tasks would.

use std::{collections::VecDeque, hint::black_box, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use causeway_broker::{
    hub::{Hub, HubLimits},
    metrics::Metrics,
    session::Mail,
};
use causeway_common::{
    directory::Member,
    id::{ClientId, Incarnation, NodeId, Ticket},
    mailbox::Mailbox,
    message::Message,
    packet::Subscription,
    qos::QoS,
    topic::{Filter, Topic},
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use prometheus::Registry;

type Mailboxes = Vec<Arc<Mailbox<Mail>>>;

/// A hub with so many clients, all subscribed to one topic.
fn hub_with(subscribers: usize) -> Option<(Hub, Mailboxes, Topic)> {
    let now = Instant::now();
    let limits = HubLimits {
        connections_max: subscribers,
        backlog_bytes_max: 1 << 20,
        route_timeout: Duration::from_secs(5),
        lost_bridge_grace: Duration::from_secs(12),
        probe_interval: Duration::from_secs(3),
    };
    let me = Member { node: NodeId::from("node-1"), incarnation: Incarnation(1) };
    let metrics = Arc::new(Metrics::new(&Registry::new()).ok()?);
    let mut hub = Hub::new(now, me, limits, metrics);
    let filter = Filter::new("news/+").ok()?;
    let mut mailboxes = Vec::new();
    for number in 0..subscribers {
        let mailbox = Arc::new(Mailbox::new(1 << 20));
        let attached = hub.attach(&ClientId::from(format!("c{number}")), &mailbox).ok()?;
        let wanted = [Subscription { filter: filter.clone(), qos: QoS::AtMostOnce }];
        hub.subscribe(now, attached.session, Ticket(1), &wanted);
        mailboxes.push(mailbox);
    }
    Some((hub, mailboxes, Topic::new("news/today").ok()?))
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish_to");
    for subscribers in [1, 100] {
        let Some((mut hub, mailboxes, topic)) = hub_with(subscribers) else {
            continue;
        };
        let Some(publisher) = mailboxes.first().cloned() else {
            continue;
        };
        let payload = Bytes::from(vec![b'x'; 64]);
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            let mut mail = VecDeque::new();
            bencher.iter(|| {
                let (topic, payload) = (topic.clone(), payload.clone());
                let message = Message { topic, payload, qos: QoS::AtMostOnce, retain: false };
                black_box(hub.publish(&publisher, None, message));
                for mailbox in &mailboxes {
                    mailbox.take_all(&mut mail);
                    mail.clear();
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, publish);
criterion_main!(benches);
