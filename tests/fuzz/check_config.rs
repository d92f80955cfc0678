//! What holds for any configuration at all; shared by the fuzz target and the test of its corpus.

use std::{fmt::Debug, fs, path::Path};

use causeway_bridge::config::Config as BridgeConfig;
use causeway_broker::config::Config as BrokerConfig;
use causeway_common::config::{Config, ENV_PREFIX, Secret, Source, Value, load};
use serde::Serialize;

/// Reads the bytes as the configuration of a node and of a bridge. NUL parts them into the file, then
/// variables and `--set` values in any order: nothing panics, no secret is shown, and what is taken is
/// taken again when it is written out.
pub(crate) fn check(bytes: &[u8], folder: &Path) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let file = folder.join("causeway.toml");
    let text = parts.next().unwrap_or_default();
    let env = vec![(format!("{ENV_PREFIX}LINK__SECRET"), SECRET.to_owned())];
    let mut source = Source { file: Some(file), env, sets: Vec::new() };
    for part in parts.map(String::from_utf8_lossy) {
        match part.split_once('=').filter(|(name, _)| name.starts_with(ENV_PREFIX)) {
            Some((name, value)) => source.env.push((name.to_owned(), value.to_owned())),
            None => source.sets.push(part.into_owned()),
        }
    }
    check_as::<BrokerConfig>(text, &source, |node| [&node.link.secret, &node.directory.url]);
    check_as::<BridgeConfig>(text, &source, |bridge| [&bridge.link.secret, &bridge.directory.url]);
}

fn check_as<T: Config + Serialize + PartialEq + Debug>(
    text: &[u8],
    source: &Source,
    secrets: impl Fn(&T) -> [&Secret; 2],
) {
    let read = |text: &[u8], source: &Source| {
        let file = source.file.as_deref().unwrap();
        fs::write(file, text).unwrap();
        load::<T>(source).map_err(|error| error.to_string())
    };
    let config = match read(text, source) {
        Ok(config) => config,
        Err(error) => return assert!(!error.contains(SECRET), "{error}"),
    };
    let written = toml::to_string(&config).unwrap();
    assert!(!format!("{config:?}{written}").contains(SECRET), "{config:?}");
    let [secret, url] = secrets(&config).map(|secret| Value::from(secret.expose()));
    let sets = vec![format!("link.secret={secret}"), format!("directory.url={url}")];
    let again = Source { file: source.file.clone(), sets, ..Source::default() };
    assert_eq!(read(written.as_bytes(), &again), Ok(config), "{written}");
}

/// It is in force unless the input sets another.
const SECRET: &str = "known to nobody but this test";
