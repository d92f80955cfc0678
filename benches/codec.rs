//! The codec: one PUBLISH in, one PUBLISH out. An iteration is one packet.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use causeway_common::{
    message::Message,
    packet::{Decoder, Packet, PublishHeader, Role, encode, encode_publish},
    qos::QoS,
    topic::Topic,
};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

fn message(bytes: usize) -> Option<Message> {
    let topic = Topic::new("user/bob/alice/phone/living-room").ok()?;
    let payload = Bytes::from(vec![b'x'; bytes]);
    Some(Message { topic, payload, qos: QoS::AtMostOnce, retain: false })
}

fn publish(criterion: &mut Criterion) {
    let header = PublishHeader { qos: QoS::AtMostOnce, id: None, dup: false, retain: false };
    for bytes in [64, 1024, 16 * 1024] {
        let Some(message) = message(bytes) else {
            continue;
        };
        let mut frame = BytesMut::new();
        if encode_publish(&message, header, &mut frame).is_err() {
            continue;
        }
        let mut stream = BytesMut::new();
        (0..100).for_each(|_| stream.extend_from_slice(&frame));

        let id = BenchmarkId::new("decode_100_publish", bytes);
        criterion.bench_with_input(id, &stream, |bencher, stream| {
            let begin = || {
                let mut decoder = Decoder::new(Role::Client, 1 << 20);
                let mut buffer = BytesMut::from(&CONNACK[..]);
                let _ = decoder.decode(&mut buffer);
                (decoder, stream.clone())
            };
            let run = |(mut decoder, mut buffer): (Decoder, BytesMut)| {
                while let Ok(Some(packet)) = decoder.decode(&mut buffer) {
                    black_box(packet);
                }
            };
            bencher.iter_batched(begin, run, BatchSize::SmallInput);
        });

        let id = BenchmarkId::new("encode_publish", bytes);
        criterion.bench_with_input(id, &message, |bencher, message| {
            let mut buffer = BytesMut::with_capacity(64 * 1024);
            bencher.iter(|| {
                buffer.clear();
                black_box(encode_publish(message, header, &mut buffer)).is_ok()
            });
        });
    }
    criterion.bench_function("encode_pingresp", |bencher| {
        let mut buffer = BytesMut::with_capacity(64);
        bencher.iter(|| {
            buffer.clear();
            black_box(encode(&Packet::PingResp, &mut buffer)).is_ok()
        });
    });
}

criterion_group!(benches, publish);
criterion_main!(benches);
