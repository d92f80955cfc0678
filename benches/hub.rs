//! The hub: one message from a publisher to its local subscribers. An iteration is one message,
//! put into every mailbox; the mailboxes are emptied as their tasks would.

use std::{collections::VecDeque, hint::black_box};

use causeway_benches::stage::{Stage, message};
use causeway_common::qos::QoS;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish_to");
    for subscribers in [1, 100] {
        let qos = QoS::AtMostOnce;
        let (Some(mut stage), Some(message)) = (Stage::new(subscribers, qos), message(qos)) else {
            continue;
        };
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            let mut mail = VecDeque::new();
            bencher.iter(|| {
                stage.publish(black_box(message.clone()));
                for client in &stage.clients {
                    client.mailbox.take_all(&mut mail);
                    mail.clear();
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, publish);
criterion_main!(benches);
