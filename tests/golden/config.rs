//! The example configurations: every key, commented out, with its default.

use std::{fs, path::PathBuf};

use causeway_bridge::config::Config as BridgeConfig;
use causeway_broker::config::Config as BrokerConfig;
use causeway_common::config::{self, Config, Source};
use serde::Serialize;
use toml::Table;

use crate::check_config;

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

/// The example with every `#key = value` line put into force.
fn uncommented(name: &str) -> String {
    let text = fs::read_to_string(example(name)).unwrap();
    let plain = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => format!("{key}\n"),
        Some(_) | None => format!("{line}\n"),
    };
    text.lines().map(plain).collect()
}

fn keys(table: &Table) -> Vec<String> {
    let section = |(section, keys): (&String, &toml::Value)| {
        let keys = keys.as_array().map_or(keys, |list| &list[0]);
        let keys = keys.as_table().unwrap().keys();
        keys.map(|key| format!("{section}.{key}")).collect::<Vec<_>>()
    };
    table.iter().flat_map(section).collect()
}

#[track_caller]
fn check<T: Config + Default + PartialEq + std::fmt::Debug + Serialize>(name: &str) {
    let text = uncommented(name);
    let written: T = toml::from_str(&text).unwrap();
    assert_eq!(written, T::default(), "{name} shows other defaults than the code has");
    let shown = keys(&text.parse().unwrap());
    let known = keys(&Table::try_from(T::default()).unwrap());
    assert_eq!(shown, known, "{name} and the code have different keys");

    let file = Some(example(name));
    let read: T = config::load(&Source { file, ..Source::default() }).unwrap();
    assert_eq!(read, T::default(), "{name} changes a default");
}

#[test]
fn the_examples_show_every_key_with_its_default() {
    check::<BrokerConfig>("broker.toml");
    check::<BridgeConfig>("bridge.toml");
}

#[track_caller]
fn refuse<T: Config + std::fmt::Debug>(set: &str, accepted: &str) {
    let sets = vec![set.to_owned()];
    let refused = config::load::<T>(&Source { sets, ..Source::default() }).unwrap_err();
    let (key, _) = set.split_once('=').unwrap();
    let text = refused.to_string();
    assert!(text.starts_with(&format!("--set {key}: ")), "{text}");
    // Where a value does not even have the type, the number in a list is in front only.
    let keys = [key.to_owned(), key.replace(".0.", ".")].map(|key| format!("`{key}`"));
    let names = keys.iter().any(|key| text.contains(key));
    assert!(names && text.contains(accepted), "{text}");
}

/// Of two keys that do not fit, the one that was set is to blame, and both are named.
#[test]
fn keys_that_do_not_fit_are_named() {
    for (set, said) in [
        ("listener.0.address=0.0.0.0:1883", "`node.advertised_address` must be a host name"),
        ("listener.0.address=0.0.0.0:1883", "listener.0.address is 0.0.0.0:1883, which tells"),
        ("directory.lease_secs=1", "`directory.command_timeout_ms` must be less than"),
        ("listener.1.address=127.0.0.1:1", "listener.0 must be set before this one"),
    ] {
        let sets = vec![set.to_owned()];
        let source = Source { sets, ..Source::default() };
        let text = config::load::<BrokerConfig>(&source).unwrap_err().to_string();
        let (key, _) = set.split_once('=').unwrap();
        assert!(text.starts_with(&format!("--set {key}: ")) && text.contains(said), "{text}");
    }
}

/// A number is what it looks like.
#[test]
fn words_may_stand_without_quotes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.toml");
    fs::write(&file, "[[listener]]\ntls_version_min = 1.3\n").unwrap();
    let source = Source { file: Some(file), ..Source::default() };
    let read = config::load::<BrokerConfig>(&source).unwrap();
    assert_eq!(read.listener[0].tls_version_min, causeway_common::tls::TlsVersion::V1_3);
}

#[test]
fn a_value_out_of_range_is_refused_with_its_key_and_what_is_accepted() {
    for (set, accepted) in [
        ("node.name=a/b", "1 to 64 of a-z A-Z 0-9 . _ -"),
        ("listener.0.address=here", "socket address"),
        ("connections.max_connections=0", "1 to 1,000,000"),
        ("connections.refusals_max=1000001", "1 to 1,000,000"),
        ("listener.0.proxy_protocol=maybe", "expected a boolean"),
        ("listener.0.address=localhost:1883", "an IP address and a port such as 127.0.0.1:1883"),
        ("listener.0.allow_anonymous=maybe", "one of `inherit`, `yes`, `no`"),
        ("listener.0.allow_anonymous=true", "one of `inherit`, `yes`, `no`"),
        ("listener.0.client_certificates=true", "one of `none`, `optional`, `required`"),
        ("listener.0.tls_version_min=1.1", "`1.2` or `1.3`"),
        ("admin.address=127.0.0.1:1883", "an address of its own, not that of listener.0.address"),
        ("link.address=127.0.0.1:1883", "an address of its own, not that of listener.0.address"),
        ("connections.handshakes_max=0", "1 to 1,000,000"),
        ("connections.handshake_timeout_secs=0", "1 to 1,000,000"),
        ("limits.memory_bytes_max=1000", "0, or at least 33,554,432"),
        ("limits.burst_secs=0", "1 to 3,600"),
        ("limits.bytes_per_second=1000000001", "0 to 1,000,000,000"),
        ("limits.connections_per_user=-1", "expected usize"),
        ("connections.max_connections=-1", "expected usize"),
        ("session.packet_bytes_max=0", "1 to 268,434,436"),
        ("session.packet_bytes_max=268434437", "1 to 268,434,436"),
        ("session.max_inflight=0", "at least 1"),
        ("session.max_inflight=65536", "expected u16"),
        ("session.keep_alive_secs_max=0", "at least 1"),
        ("retained.tombstone_secs=0", "1 to 1,000,000"),
        ("retained.sync_interval_secs=0", "1 to 1,000,000"),
        ("inbox.auto_subscribe=maybe", "expected a boolean"),
        ("auth.allow_anonymous=maybe", "true, false or \"local\""),
        ("auth.password_file=/none", "a file of lines user:hash, and /none is none: No such file"),
        ("auth.acl_file=/none", "a file of rules `topic`, `user` and `pattern`, and /none is none"),
        ("link.secret=", "1 to 65,535 bytes"),
        ("directory.backend=etcd", "`redis` or `memory`"),
        ("directory.when_lost=wait", "`serve` or `refuse`"),
        ("directory.lease_secs=0", "1 to 1,000,000"),
        ("link.probe_interval_secs=9223372036854775807", "1 to 1,000,000"),
        ("sys.sys_interval_secs=1000001", "0 to 1,000,000"),
        ("directory.prefix=", "at least one character"),
        ("directory.url=http://127.0.0.1", "redis://[user:password@]host"),
        ("directory.url=127.0.0.1:6379", "redis://[user:password@]host"),
        ("directory.command_timeout_ms=6000", "less than directory.lease_secs, which is 6000 ms"),
        ("node.advertised_address=example.org:1883", "a host name or an IP address"),
        ("node.advertised_address=0.0.0.0", "a host name or an IP address"),
        ("node.advertised_address=a/b", "a host name or an IP address"),
        ("log.filter=causeway_broker=loud", "a level (error, warn"),
    ] {
        refuse::<BrokerConfig>(set, accepted);
    }
    for (set, accepted) in [
        ("bridge.name=", "1 to 64 of a-z A-Z 0-9 . _ -"),
        ("bridge.interest_filters_max=0", "at least 1"),
        ("bridge.keep_alive_secs=70000", "expected u16"),
        ("bridge.home_grace_secs=1000001", "0 to 1,000,000"),
        ("link.secret=", "1 to 65,535 bytes"),
        ("directory.poll_interval_ms=0", "1 to 1,000,000"),
        ("directory.backend=etcd", "`redis` or `memory`"),
        ("directory.url=here", "redis://[user:password@]host"),
        ("directory.command_timeout_ms=7000", "less than directory.lease_secs, which is 6000 ms"),
        ("log.filter=a=b=c", "a level (error, warn"),
    ] {
        refuse::<BridgeConfig>(set, accepted);
    }
}

#[test]
fn the_earlier_form_of_listeners_is_answered_with_the_one_of_today() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    for text in ["[listener]\nmax_connections = 7", "[listener_tls]\naddress = '[::]:8883'"] {
        fs::write(&file, text).unwrap();
        let source = Source { file: Some(file.clone()), ..Source::default() };
        let refused = config::load::<BrokerConfig>(&source).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("{}: ", file.display())), "{refused}");
        assert!(
            refused.contains("`[[listener]]`") && refused.contains("`[connections]`"),
            "{refused}"
        );
    }
}

#[test]
fn every_listener_has_an_address_of_its_own() {
    let load = |sets: &[&str]| {
        let sets = sets.iter().copied().map(str::to_owned).collect();
        config::load::<BrokerConfig>(&Source { sets, ..Source::default() })
    };
    load(&["listener.0.address=127.0.0.1:0", "listener.1.address=127.0.0.1:0"]).unwrap();
    let twice = ["listener.0.address=127.0.0.1:1", "listener.1.address=127.0.0.1:1"];
    let refused = load(&twice).unwrap_err().to_string();
    assert!(
        refused.starts_with("--set listener.1.address: `listener.1.address` must be"),
        "{refused}"
    );
    let keyed = load(&["listener.0.key=server.key"]).unwrap_err().to_string();
    assert!(keyed.contains("`listener.0.certificate` must be a PEM file"), "{keyed}");
    let refused = load(&["node.name=a", "listener.1.address=127.0.0.1:1"]).unwrap_err().to_string();
    assert!(refused.starts_with("--set listener.1.address: is no key"), "{refused}");
}

#[test]
fn an_error_between_two_keys_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    for (text, expected) in [
        ("[link]\naddress = '0.0.0.0:2883'", "`node.advertised_address` must be a host name"),
        ("[[listener]]\naddress = '[::]:1883'", "`node.advertised_address` must be a host name"),
        ("[directory]\nlease_secs = 1", "`directory.command_timeout_ms` must be less than"),
    ] {
        fs::write(&file, text).unwrap();
        let source = Source { file: Some(file.clone()), ..Source::default() };
        let refused = config::load::<BrokerConfig>(&source).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("{}: ", file.display())), "{refused}");
        assert!(refused.contains(expected), "{refused}");

        // A cluster of one process asks nobody else.
        let sets = ["directory.backend=memory", "link.secret=of-our-own"].map(str::to_owned);
        let sets = sets.to_vec();
        config::load::<BrokerConfig>(&Source { sets, ..source }).unwrap();
    }
}

#[test]
fn links_that_others_can_reach_need_a_secret_of_their_own() {
    let load = |sets: &[&str]| {
        let reachable = ["directory.backend=memory", "link.address=0.0.0.0:2883"];
        let sets = reachable.iter().chain(sets).copied().map(str::to_owned).collect();
        config::load::<BrokerConfig>(&Source { sets, ..Source::default() })
    };
    let refused = load(&[]).unwrap_err().to_string();
    assert!(refused.contains("`link.secret` must be one of your own"), "{refused}");
    load(&["link.secret=of-our-own"]).unwrap();
}

#[test]
fn a_node_tells_others_where_it_is() {
    let bound = "0.0.0.0:2883".parse().unwrap();
    for (advertised, told) in [
        ("", "0.0.0.0:2883"),
        ("10.0.0.7", "10.0.0.7:2883"),
        ("::1", "[::1]:2883"),
        ("node-1.example.org", "node-1.example.org:2883"),
    ] {
        let sets = vec![
            "link.address=0.0.0.0:2883".to_owned(),
            "directory.backend=memory".to_owned(),
            "link.secret=of-our-own".to_owned(),
            format!("node.advertised_address={advertised}"),
        ];
        let config: BrokerConfig = config::load(&Source { sets, ..Source::default() }).unwrap();
        assert_eq!(config.node.advertise(bound), told);
    }
}

#[test]
fn no_input_of_the_corpus_breaks_the_reader_of_configurations() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/configuration");
    let inputs: Vec<_> = fs::read_dir(corpus).unwrap().collect();
    assert!(inputs.len() > 25, "{}", inputs.len());
    for input in inputs {
        check_config::check(&fs::read(input.unwrap().path()).unwrap(), folder.path());
    }
}
