//! The session: one message to a client, and its answers. An iteration is one message from the hub to
//! the client's last answer, with the bytes that are sent.

use std::hint::black_box;

use causeway_benches::stage::{Stage, message};
use causeway_common::qos::QoS;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn deliver(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deliver_at_qos");
    for qos in QoS::ALL {
        let (Some(mut stage), Some(message)) = (Stage::new(1, qos), message(qos)) else {
            continue;
        };
        group.bench_function(BenchmarkId::from_parameter(qos), |bencher| {
            bencher.iter(|| {
                stage.publish(black_box(message.clone()));
                stage.take_all();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, deliver);
criterion_main!(benches);
