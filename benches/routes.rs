//! The bridge's routes: to which nodes a message goes. An iteration is one message, in a cluster whose
//! nodes hold an inbox a client and one filter that all want.

use std::hint::black_box;

use causeway_bridge::routes::{NodeIndex, Routes};
use causeway_common::topic::Filter;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const CLIENTS_A_NODE: u32 = 500;

fn routes_of(nodes: u32) -> Routes {
    let mut routes = Routes::default();
    let mut add = |node: u32, text: &str| {
        if let Ok(filter) = Filter::new(text) {
            routes.add(NodeIndex(node), &filter);
        }
    };
    for node in 0..nodes {
        add(node, "news/#");
        for client in 0..CLIENTS_A_NODE {
            add(node, &format!("user/u{node}-{client}/#"));
        }
    }
    routes
}

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("destinations_among_nodes");
    for nodes in [2, 20, 200] {
        let routes = routes_of(nodes);
        for (kind, topic) in [("inbox", "user/u1-77/alice"), ("all", "news/today")] {
            group.bench_function(BenchmarkId::new(kind, nodes), |bencher| {
                bencher.iter(|| black_box(routes.destinations(black_box(topic), NodeIndex(0))));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, find);
criterion_main!(benches);
