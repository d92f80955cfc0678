//! `table.txt`: every line gets its verdict, however its bytes arrive.

use super::*;

#[test]
fn every_line_gets_its_verdict() {
    for line in table() {
        let mut buffer = line.buffer();
        let result = line.decoder().decode(&mut buffer);
        let written = match &result {
            Ok(None) => "more",
            Ok(Some(packet)) if encoded(packet) == line.bytes => "ok",
            Ok(Some(_)) => "ok*",
            Err(error) => error.reason(),
        };
        assert_eq!(written, line.verdict, "{line:?}: {result:?}");
        match result {
            Ok(Some(packet)) => {
                assert!(buffer.is_empty(), "{line:?}");
                let again = line.decoder().decode(&mut encoded(&packet));
                assert_eq!(again, Ok(Some(packet)), "{line:?}");
            }
            Ok(None) => assert_eq!(buffer, line.bytes, "{line:?}"),
            Err(error) => {
                let clause = line.why.find("[MQTT").map_or("", |at| &line.why[at..]);
                assert!(error.to_string().contains(clause), "{line:?}: {error}");
            }
        }
    }
}

#[test]
fn a_cut_at_any_byte_changes_no_verdict() {
    for line in table() {
        let expected = line.decoder().decode(&mut line.buffer());
        for cut in 0..line.bytes.len() {
            let mut decoder = line.decoder();
            let mut buffer = BytesMut::from(&line.bytes[..cut]);
            let mut result = decoder.decode(&mut buffer);
            if result == Ok(None) {
                buffer.extend_from_slice(&line.bytes[cut..]);
                result = decoder.decode(&mut buffer);
            }
            assert_eq!(result, expected, "{line:?} cut at {cut}");
        }
    }
}

#[test]
fn packets_come_one_by_one_from_one_stream() {
    for role in [Role::Server, Role::Client] {
        let good: Vec<Line> =
            table().filter(|line| line.role == role && line.verdict.starts_with("ok")).collect();
        assert!(good.len() > 10);
        let expected: Vec<Packet> = good
            .iter()
            .map(|line| line.decoder().decode(&mut line.buffer()).unwrap().unwrap())
            .collect();
        let stream: Vec<u8> = good.iter().flat_map(|line| line.bytes.clone()).collect();
        for step in [1, 2, 3, 7, 64, stream.len()] {
            let mut decoder = Decoder::new(role, PACKET_BYTES_MAX);
            let mut buffer = BytesMut::new();
            let mut found = Vec::new();
            for chunk in stream.chunks(step) {
                buffer.extend_from_slice(chunk);
                while let Some(packet) = decoder.decode(&mut buffer).unwrap() {
                    found.push(packet);
                }
            }
            assert_eq!(found, expected, "{role:?} in steps of {step}");
            assert!(buffer.is_empty());
        }
    }
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) role: Role,
    fresh: bool,
    pub(super) bytes: Vec<u8>,
    verdict: &'static str,
    why: &'static str,
}

impl Line {
    fn decoder(&self) -> Decoder {
        if self.fresh { Decoder::new(self.role, PACKET_BYTES_MAX) } else { opened(self.role) }
    }

    fn buffer(&self) -> BytesMut {
        BytesMut::from(&self.bytes[..])
    }
}

pub(super) fn table() -> impl Iterator<Item = Line> {
    let lines = include_str!("../table.txt").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(parse)
}

fn parse(line: &'static str) -> Line {
    let mut columns = line.splitn(4, " | ");
    let mut column = || columns.next();
    let (eyes, hex, verdict) = (column().unwrap(), column().unwrap(), column().unwrap());
    let (fresh, eyes) = match eyes.strip_prefix("fresh-") {
        Some(eyes) => (true, eyes),
        None => (false, eyes),
    };
    Line {
        role: match eyes {
            "server" => Role::Server,
            "client" => Role::Client,
            _ => panic!("{line}"),
        },
        fresh,
        bytes: bytes(hex),
        verdict,
        why: column().unwrap_or(""),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}
