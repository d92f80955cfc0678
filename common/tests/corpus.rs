//! The corpus of the fuzz targets, replayed without a fuzzer.

use std::{fs, path::PathBuf};

use causeway_common::packet::Role;

#[path = "../../tests/fuzz/check.rs"]
mod check;
#[path = "../../tests/fuzz/check_proxy.rs"]
mod check_proxy;

#[test]
fn no_input_of_the_corpus_breaks_the_codec() {
    for (role, target) in [(Role::Server, "decode_server"), (Role::Client, "decode_client")] {
        let inputs: Vec<_> = fs::read_dir(corpus(target)).unwrap().collect();
        assert!(inputs.len() > 40, "{target}: {}", inputs.len());
        for input in inputs {
            check::check(role, &fs::read(input.unwrap().path()).unwrap());
        }
    }
}

#[test]
fn no_input_of_the_corpus_breaks_the_reader_of_proxy_headers() {
    let inputs: Vec<_> = fs::read_dir(corpus("proxy_header")).unwrap().collect();
    assert!(inputs.len() > 15, "{}", inputs.len());
    for input in inputs {
        check_proxy::check(&fs::read(input.unwrap().path()).unwrap());
    }
}

/// `UPDATE_CORPUS=1 cargo test` writes what is missing.
#[test]
fn the_corpus_holds_every_packet_of_the_table() {
    let table = include_str!("../src/packet/table.txt");
    for line in table.lines().filter(|line| line.contains(" | ")) {
        let columns: Vec<&str> = line.split(" | ").collect();
        let &[eyes, hex, verdict, ..] = &columns[..] else {
            continue; // the head that explains the columns
        };
        let Some(bytes) = bytes(hex) else { continue };
        let target = match eyes.trim_start_matches("fresh-") {
            "server" => "decode_server",
            "client" => "decode_client",
            _ => continue,
        };
        let verdict = verdict.trim_end_matches('*');
        let path = corpus(target).join(format!("{verdict}-{hex}"));
        if std::env::var_os("UPDATE_CORPUS").is_some() {
            fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(fs::read(&path).ok(), Some(bytes), "{}", path.display());
    }
}

fn corpus(target: &str) -> PathBuf {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus");
    PathBuf::from(tests).join(target)
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let pairs = digits?;
    let byte = |pair: &[u32]| u8::try_from(pair.iter().fold(0, |sum, digit| sum * 16 + digit)).ok();
    pairs.chunks(2).map(byte).collect()
}
