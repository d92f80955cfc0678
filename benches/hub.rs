//! The hub: one message from a publisher to its local subscribers. An iteration is one message,
//! put into every mailbox; the mailboxes are emptied as their tasks would.

use std::{collections::VecDeque, hint::black_box, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use causeway_broker::{
    hub::{
        Attach, Hub, HubLimits, Knock,
        retained::{ExchangeLimits, RetainedLimits},
    },
    metrics::Metrics,
    session::{Limits, Mail},
    store::memory::MemoryStore,
};
use causeway_common::{
    directory::Member,
    id::{ClientId, Incarnation, NodeId, Ticket, UserName},
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
        session: Arc::new(session_limits()),
        mailbox_bytes_max: 1 << 20,
        session_expiry_secs: None,
        backlog_bytes_max: 1 << 20,
        route_timeout: Duration::from_secs(5),
        lost_bridge_grace: Duration::from_secs(12),
        probe_interval: Duration::from_secs(3),
        retained: RetainedLimits::default(),
        exchange: ExchangeLimits::default(),
    };
    let me = Member { node: NodeId::from("node-1"), incarnation: Incarnation(1) };
    let metrics = Arc::new(Metrics::new(&Registry::new()).ok()?);
    let store = Arc::new(MemoryStore::default());
    let mut hub = Hub::new(now, me, limits, (metrics, store));
    let filter = Filter::new("news/+").ok()?;
    let mut mailboxes = Vec::new();
    for number in 0..subscribers {
        let name = format!("c{number}");
        let (client_id, user) = (ClientId::from(&*name), UserName::from(&*name));
        let knock = Knock { client_id, user, clean: true };
        let Attach::In(attached) = hub.attach(&knock, &Arc::new(Mailbox::new(0))).ok()? else {
            return None;
        };
        let wanted = [Subscription { filter: filter.clone(), qos: QoS::AtMostOnce }];
        hub.subscribe(now, attached.session, Ticket(1), &wanted);
        mailboxes.push(attached.mailbox);
    }
    Some((hub, mailboxes, Topic::new("news/today").ok()?))
}

fn session_limits() -> Limits {
    Limits {
        max_inflight: 20,
        queue_messages_max: 1000,
        queue_bytes_max: 1 << 20,
        topic_levels_max: 200,
        filters_max: 1000,
        owed_messages_max: 100,
        owed_bytes_max: 1 << 20,
    }
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
                black_box(hub.publish(&publisher, None, message, None));
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
