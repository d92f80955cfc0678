//! What holds for any bytes at all; shared by the fuzz targets and the test of their corpus.

use bytes::BytesMut;
use causeway_common::packet::{DecodeError, Decoder, Packet, Role, encode};

/// Reads the bytes, at the start of a conversation and later in one: nothing panics, arrival in two
/// pieces changes nothing, and what is taken can be written and read again.
pub(crate) fn check(role: Role, bytes: &[u8]) {
    for before in [&[], opening(role)] {
        let whole = read(role, [before, bytes, &[]]);
        let (left, right) = bytes.split_at(bytes.len() / 2);
        assert_eq!(whole, read(role, [before, left, right]));
        for packet in whole.0 {
            let mut written = BytesMut::new();
            assert_eq!(encode(&packet, &mut written), Ok(()), "{packet:?}");
            let (packets, error) = read(role, [opening(role), &written, &[]]);
            assert_eq!((packets.last(), error), (Some(&packet), None));
        }
    }
}

fn read(role: Role, pieces: [&[u8]; 3]) -> (Vec<Packet>, Option<DecodeError>) {
    let mut decoder = Decoder::new(role, 1 << 20);
    let mut buffer = BytesMut::new();
    let mut packets = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => return (packets, Some(error)),
            }
        }
    }
    (packets, None)
}

/// The packet that a conversation begins with.
fn opening(role: Role) -> &'static [u8] {
    match role {
        Role::Server => b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01a",
        Role::Client => b"\x20\x02\x00\x00",
    }
}
