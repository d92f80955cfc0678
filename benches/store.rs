//! The store on a disk. An iteration is a number of writes of 200 bytes, of which the last has become
//! durable; beside it, the same on a bare file with one sync a write. Disks differ by the minute:
//! only the ratios of one run mean anything.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use bytes::Bytes;
use causeway_broker::{
    metrics::Metrics,
    store::{
        Batch, Key, Store,
        disk::{DiskOptions, DiskStore, SEGMENT_BYTES},
    },
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prometheus::Registry;
use tokio::runtime::{Builder, Runtime};

/// What each write keeps.
const VALUE_BYTES: usize = 200;
/// So many keys are written in turn, so that most of what is written dies.
const KEYS: u64 = 20_000;

fn open(folder: &Path) -> Option<DiskStore> {
    let metrics = Metrics::new(&Registry::new()).ok()?.store();
    let folder = folder.to_owned();
    let options = DiskOptions { folder, segment_bytes: SEGMENT_BYTES, bytes_max: None, metrics };
    Some(DiskStore::open(options).ok()?.store)
}

/// Writes so many batches, and waits until they are durable.
fn write(runtime: &Runtime, store: &DiskStore, count: u64, number: &mut u64) {
    let mut last = store.write(Batch::default());
    let mut known = last;
    for _ in 0..count {
        *number += 1;
        let mut batch = Batch::default();
        batch
            .put(Key((*number % KEYS).to_be_bytes()[..].into()), Bytes::from(vec![1; VALUE_BYTES]));
        last = store.write(batch);
    }
    runtime.block_on(async {
        while known < last {
            known = store.wait(known).await;
        }
    });
}

/// One after the other: write, sync.
fn sync_each(criterion: &mut Criterion, folder: &Path) -> Option<()> {
    let file = File::create(folder.join("bare")).ok()?;
    file.write_all_at(&vec![0; 64 << 20], 0).ok()?;
    file.sync_all().ok()?;
    let mut group = criterion.benchmark_group("sync_each_write");
    group.throughput(Throughput::Elements(1));
    let mut offset = 0;
    group.bench_function("1", |bencher| {
        bencher.iter(|| {
            offset = (offset + 256) % (63 << 20);
            file.write_all_at(&[1; VALUE_BYTES], offset).and_then(|()| file.sync_data())
        });
    });
    group.finish();
    Some(())
}

fn durable_writes(criterion: &mut Criterion) {
    let Ok(folder) = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    sync_each(criterion, folder.path());
    let runtime = Builder::new_current_thread().build();
    let (Some(store), Ok(runtime)) = (open(&folder.path().join("store")), runtime) else {
        return;
    };
    let mut group = criterion.benchmark_group("durable_writes");
    let mut number = 0;
    for count in [1, 64, 1024] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| write(&runtime, &store, count, &mut number));
        });
    }
    group.finish();
}

criterion_group!(benches, durable_writes);
criterion_main!(benches);
