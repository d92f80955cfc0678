//! Reading a configuration: defaults < TOML file < environment < `--set`.
//!
//! Each layer is judged as it is laid over those below, so that an error names the file, the
//! variable or the flag that is at fault, the key, and what would be accepted. Unknown keys are
//! errors everywhere. It leaves to others: which keys there are (each service has its own structs)
//! and what a running service does with them.

mod args;
mod layers;

use std::{
    borrow::Cow,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;
pub use toml::{Table, Value};

use crate::{directory::redis, telemetry};
pub use args::Args;
use layers::{Layers, read};

/// What the name of an environment variable begins with: `CAUSEWAY_SECTION__KEY`.
pub const ENV_PREFIX: &str = "CAUSEWAY_";

/// The secret that links use where none is configured. Whoever uses it should be told.
pub const DEVELOPMENT_SECRET: &str = "causeway";

/// What `log.filter` accepts, in words.
const LOG_FILTER: &str = "a level (error, warn, info, debug, trace) or directives such as \
                              `info,causeway_broker=debug`";

/// The whole configuration of a service: one struct per TOML section, each with
/// `#[serde(default, deny_unknown_fields)]`.
pub trait Config: de::DeserializeOwned {
    /// Checks what types can't say: ranges, names.
    fn validate(&self) -> Result<(), Invalid>;

    /// Where the service's page for operators is.
    fn admin_address(&self) -> SocketAddr;

    /// What to write instead, if a layer has a form of earlier versions.
    fn retired(_layer: &Table) -> Option<&'static str> {
        None
    }
}

/// A value that its type allows and its meaning does not.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    /// `section.key`, or `section.0.key` in a list of sections.
    pub key: Cow<'static, str>,
    /// What would be accepted.
    pub accepted: String,
}

/// An [`Invalid`] key unless `valid`.
pub fn ensure(
    valid: bool,
    key: impl Into<Cow<'static, str>>,
    accepted: &str,
) -> Result<(), Invalid> {
    if valid {
        return Ok(());
    }
    Err(Invalid { key: key.into(), accepted: accepted.to_owned() })
}

/// Why a configuration was refused: the service ends with code 2.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{file}: {error}", file = file.display())]
    Unreadable {
        /// Its path.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// No TOML, an unknown key, or a value of the wrong type.
    #[error("{origin}: {reason}")]
    Refused {
        /// The file, the variable or the flag.
        origin: String,
        /// What is wrong, with the key and the accepted values.
        reason: String,
    },
    /// A value outside its range.
    #[error("{origin}: `{key}` must be {accepted}", key = invalid.key, accepted = invalid.accepted)]
    Invalid {
        /// The file, the variable or the flag that gave the value.
        origin: String,
        /// The key.
        invalid: Invalid,
    },
}

/// Checks durations: at least 1 of their unit.
pub fn ensure_durations(
    durations: impl IntoIterator<Item = (&'static str, u64)>,
) -> Result<(), Invalid> {
    for (key, duration) in durations {
        ensure((1..=DURATION_MAX).contains(&duration), key, "1 to 1,000,000")?;
    }
    Ok(())
}

/// Checks what all services are told alike: `link.secret`, `directory.prefix`, `[runtime]` and `[log]`.
pub fn ensure_shared(
    secret: &Secret,
    prefix: &str,
    runtime: &Runtime,
    log: &Log,
) -> Result<(), Invalid> {
    let plain_secret = (1..=65_535).contains(&secret.expose().len());
    ensure(plain_secret, "link.secret", "1 to 65,535 bytes long")?;
    ensure(!prefix.is_empty(), "directory.prefix", "at least one character")?;
    ensure((1..=THREADS_MAX).contains(&runtime.threads), "runtime.threads", "1 to 1,024")?;
    ensure(telemetry::valid_filter(&log.filter), "log.filter", LOG_FILTER)
}

/// Checks the files of TLS on links: certificate, key and authority, or none of them; lists only with
/// these.
pub fn ensure_link_files(
    (certificate, key, authority): (&Path, &Path, &Path),
    revocation_lists: &[PathBuf],
) -> Result<(), Invalid> {
    let given = [certificate, key, authority].map(|file| !file.as_os_str().is_empty());
    let wanted = given.contains(&true) || !revocation_lists.is_empty();
    let accepted = "a PEM file: TLS on links needs link.certificate, link.key and link.authority";
    for (is_given, name) in given.into_iter().zip(["certificate", "key", "authority"]) {
        ensure(is_given || !wanted, format!("link.{name}"), accepted)?;
    }
    Ok(())
}

/// The longest duration a key can give, in its unit: beyond it clocks would overflow.
pub const DURATION_MAX: u64 = 1_000_000;

/// Reads a key that takes one of a few words. Whoever writes `true` or a number there is told them.
pub fn word<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: de::DeserializeOwned,
{
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other => other.to_string(),
    };
    T::deserialize(Value::String(text)).map_err(|error| de::Error::custom(error.message()))
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables; those without [`ENV_PREFIX`] are not looked at.
    pub env: Vec<(String, String)>,
    /// `section.key=value`, the last one wins; `section.0.key=value` in a list of sections.
    pub sets: Vec<String>,
}

/// Reads all layers.
pub fn load<T: Config>(source: &Source) -> Result<T, ConfigError> {
    let layers = lay::<T>(source)?;
    let config = read::<T>(&layers.merged, "defaults")?;
    config
        .validate()
        .map_err(|invalid| ConfigError::Invalid { origin: layers.origin(&invalid), invalid })?;
    Ok(config)
}

fn lay<T: Config>(source: &Source) -> Result<Layers, ConfigError> {
    let mut layers = Layers::default();
    if let Some(file) = &source.file {
        layers.lay_file::<T>(file)?;
    }
    let mut variables: Vec<_> = source.env.iter().collect();
    variables.sort();
    for (name, value) in variables {
        if let Some(path) = name.strip_prefix(ENV_PREFIX) {
            let path = path.to_lowercase();
            layers.lay_value::<T>(name, &path.split("__").collect::<Vec<_>>(), value)?;
        }
    }
    for set in &source.sets {
        let (path, value) = set.split_once('=').unwrap_or((set, ""));
        let steps: Vec<_> = path.split('.').collect();
        layers.lay_value::<T>(&format!("--set {path}"), &steps, value)?;
    }
    Ok(layers)
}

/// Which directory a service uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Redis, shared by all processes of a cluster.
    Redis,
    /// This process's memory: a cluster of one process.
    Memory,
}

/// Checks what nodes and bridges alike say of their directory: a URL that can lead to a Redis, and
/// commands that end before the lease does.
pub fn ensure_directory(
    backend: Backend,
    url: &Secret,
    lease_secs: u64,
    command_timeout_ms: u64,
) -> Result<(), Invalid> {
    match backend {
        Backend::Memory => return Ok(()),
        Backend::Redis => {}
    }
    ensure(redis::check_url(url.expose()).is_ok(), "directory.url", redis::URL_FORM)?;
    let lease_ms = lease_secs.saturating_mul(1000);
    let accepted = format!("less than directory.lease_secs, which is {lease_ms} ms");
    ensure(command_timeout_ms < lease_ms, "directory.command_timeout_ms", &accepted)
}

/// `[runtime]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Threads that serve connections, 1 to 1,024. One costs least a message; what one cannot serve is
    /// a reason for more processes, or for more threads.
    pub threads: usize,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { threads: 1 }
    }
}

const THREADS_MAX: usize = 1024;

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// What is logged to stderr: a level (`error`, `warn`, `info`, `debug`, `trace`), or directives
    /// of `tracing` such as `info,causeway_broker::link=debug`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        let filter = "info".to_owned();
        Self { filter }
    }
}

/// A text that is never shown: not by `Debug`, not in errors, not when written out again.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Whether it is [`DEVELOPMENT_SECRET`].
    pub fn is_known_to_all(&self) -> bool {
        self.0 == DEVELOPMENT_SECRET
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("…")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer);
        // The usual error would show the value.
        text.map(Self).map_err(|_| de::Error::custom("invalid type, expected a text in quotes"))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::ExitCode};

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Shop {
        door: Door,
        log: Log,
        shelf: Vec<Shelf>,
    }

    #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Shelf {
        boards: u16,
    }

    #[derive(Clone, Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Door {
        width: u16,
        open: bool,
        key: Secret,
        address: SocketAddr,
    }

    impl Default for Door {
        fn default() -> Self {
            let address = ([127, 0, 0, 1], 1).into();
            let key = "k".into();
            Self { width: 3, open: true, key, address }
        }
    }

    impl Config for Shop {
        fn validate(&self) -> Result<(), Invalid> {
            for (number, shelf) in self.shelf.iter().enumerate() {
                ensure(shelf.boards < 9, format!("shelf.{number}.boards"), "less than 9")?;
            }
            let narrow = self.door.width < 100;
            ensure(narrow, "door.width", "less than 100")?;
            let fits = self.shelf.len() <= usize::from(self.door.width);
            ensure(fits, "shelf", "at most door.width many")
        }

        fn admin_address(&self) -> SocketAddr {
            self.door.address
        }

        fn retired(layer: &Table) -> Option<&'static str> {
            layer.contains_key("gate").then_some("`gate` is now `door`")
        }
    }

    fn with(file: &str, env: &[(&str, &str)], sets: &[&str]) -> Result<Shop, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.toml");
        fs::write(&path, file).unwrap();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let source = Source {
            file: Some(path),
            env: env.iter().map(owned).collect(),
            sets: sets.iter().copied().map(str::to_owned).collect(),
        };
        let text = |error: ConfigError| error.to_string();
        let folder = format!("{}/", folder.path().display());
        load(&source).map_err(|error| text(error).replace(&folder, ""))
    }

    #[test]
    fn each_layer_goes_over_the_one_below() {
        let width = |file, env, sets| with(file, env, sets).unwrap().door.width;
        let file = "[door]\nwidth = 4";
        let env = [("CAUSEWAY_DOOR__WIDTH", "5"), ("PATH", "/bin")];
        assert_eq!(width("", &[], &[]), 3);
        assert_eq!(width(file, &[], &[]), 4);
        assert_eq!(width(file, &env, &[]), 5);
        assert_eq!(width(file, &env, &["door.width=6"]), 6);
        assert_eq!(width(file, &env, &["door.width=6", "door.width=7"]), 7);
    }

    #[test]
    fn a_value_is_taken_as_text_where_the_key_wants_text() {
        for (set, key) in [
            ("door.key=abc", "abc"),
            ("door.key=12345", "12345"),
            ("door.key=\"in quotes\"", "in quotes"),
            ("door.key=a=b", "a=b"),
            ("door.key=", ""),
            ("door.key=true", "true"),
        ] {
            assert_eq!(with("", &[], &[set]).unwrap().door.key.expose(), key, "{set}");
        }
        let door = with("", &[("CAUSEWAY_DOOR__OPEN", "false")], &["door.address=[::1]:9"]);
        let door = door.unwrap().door;
        assert_eq!((door.open, door.address.to_string().as_str()), (false, "[::1]:9"));
    }

    #[test]
    fn an_error_names_the_place_the_key_and_what_is_accepted() {
        let one_of = "expected one of `width`, `open`, `key`, `address`";
        for (file, env, sets, error) in [
            (
                "[door]\nwitdh = 4",
                None,
                None,
                format!("shop.toml: unknown field `witdh`, {one_of} in `door`"),
            ),
            (
                "[door]\nwidth = \"four\"",
                None,
                None,
                "shop.toml: invalid type: string \"four\", expected u16 in `door.width`".into(),
            ),
            ("[door]\nwidth = 3\nwidth = 4", None, None, "shop.toml: line 3: duplicate key".into()),
            (
                "",
                Some(("CAUSEWAY_DOR__WIDTH", "4")),
                None,
                "CAUSEWAY_DOR__WIDTH: unknown field `dor`, expected one of `door`, `log`, `shelf`"
                    .into(),
            ),
            (
                "",
                Some(("CAUSEWAY_DOOR_WIDTH", "4")),
                None,
                "CAUSEWAY_DOOR_WIDTH: is no key; write CAUSEWAY_SECTION__KEY=value or --set \
                 section.key=value"
                    .into(),
            ),
            (
                "",
                None,
                Some("door.high=4"),
                format!("--set door.high: unknown field `high`, {one_of} in `door`"),
            ),
            (
                "[door]\nwidth = 5",
                Some(("CAUSEWAY_DOOR__WIDTH", "100")),
                None,
                "CAUSEWAY_DOOR__WIDTH: `door.width` must be less than 100".into(),
            ),
            (
                "[door]\nwidth = 500",
                None,
                None,
                "shop.toml: `door.width` must be less than 100".into(),
            ),
        ] {
            let refused = with(file, &env.into_iter().collect::<Vec<_>>(), sets.as_slice());
            assert_eq!(refused, Err(error));
        }
    }

    #[test]
    fn a_list_of_sections_is_reached_by_numbers() {
        let boards = |file, env: &[_], sets: &[&str]| {
            let shop = with(file, env, sets);
            shop.map(|shop| shop.shelf.iter().map(|shelf| shelf.boards).collect::<Vec<_>>())
        };
        let two = "[[shelf]]\nboards = 1\n[[shelf]]\nboards = 2";
        let env = [("CAUSEWAY_SHELF__1__BOARDS", "5")];
        assert!(boards("", &[], &[]).unwrap().is_empty());
        assert_eq!(boards(two, &env, &[]).unwrap(), [1, 5]);
        assert_eq!(boards(two, &env, &["shelf.2.boards=6"]).unwrap(), [1, 5, 6]);
        assert_eq!(boards("", &[], &["shelf.0.boards=3", "shelf.0.boards=4"]).unwrap(), [4]);
        let gap = boards("", &[], &["shelf.1.boards=3"]).unwrap_err();
        assert!(gap.starts_with("--set shelf.1.boards: is no key; the entries of a list"), "{gap}");
        assert!(gap.contains("shelf.0 must be set before this one, as --set shelf.0.KEY"), "{gap}");
        let unnamed = boards(two, &[], &["shelf.boards=3"]).unwrap_err();
        assert!(unnamed.starts_with("--set shelf.boards: is no key"), "{unnamed}");
        let high = boards(two, &[], &["shelf.1.boards=9"]).unwrap_err();
        assert_eq!(high, "--set shelf.1.boards: `shelf.1.boards` must be less than 9");
    }

    #[test]
    fn of_two_keys_that_do_not_fit_the_one_that_was_given_is_to_blame() {
        let two = "[[shelf]]\nboards = 1\n[[shelf]]\nboards = 2";
        let refused = with(two, &[], &["door.width=1"]).unwrap_err();
        assert_eq!(refused, "--set door.width: `shelf` must be at most door.width many");
        let refused = with(&format!("{two}\n[door]\nwidth = 1"), &[], &[]).unwrap_err();
        assert_eq!(refused, "shop.toml: `shelf` must be at most door.width many");
    }

    #[test]
    fn an_address_is_asked_for_in_full() {
        let refused = with("", &[], &["door.address=localhost:1883"]).unwrap_err();
        assert!(refused.contains("an IP address and a port such as 127.0.0.1:1883"), "{refused}");
    }

    #[test]
    fn an_earlier_form_is_answered_with_the_one_of_today() {
        for refused in [with("[gate]\nwidth = 2", &[], &[]), with("", &[], &["gate.width=2"])] {
            assert!(refused.unwrap_err().ends_with(": `gate` is now `door`"));
        }
    }

    #[test]
    fn a_range_is_judged_after_all_layers() {
        let shop = with("[door]\nwidth = 500", &[], &["door.width=5"]);
        assert_eq!(shop.unwrap().door.width, 5);
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let file = Some(PathBuf::from("/nowhere/shop.toml"));
        let refused = load::<Shop>(&Source { file, ..Source::default() }).unwrap_err();
        assert!(refused.to_string().starts_with("/nowhere/shop.toml: "), "{refused}");
    }

    #[test]
    fn a_process_ends_with_2_after_an_error_and_with_0_after_a_check() {
        let args = |set: &str, check_config| Args {
            config: None,
            sets: vec![set.to_owned()],
            check_config,
            check_health: false,
        };
        let load = |set, check_config| args(set, check_config).load::<Shop>();
        assert_eq!(load("door.width=8", false).unwrap().door.width, 8);
        assert_eq!(load("door.width=8", true), Err(ExitCode::SUCCESS));
        assert_eq!(load("door.height=8", false), Err(ExitCode::from(2)));
        assert_eq!(load("door.height=8", true), Err(ExitCode::from(2)));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let shop = with("", &[], &["door.key=hunter2"]).unwrap();
        assert!(!format!("{shop:?}").contains("hunter2"));
        for (file, set) in [
            ("[door]\nkey = 48151623", None),
            ("[door]\nkey = [48151623]", None),
            ("[door]\nkey = 48151623x", None),
            ("[door]\nkey = \"48151623", None),
            ("", Some("door.kye=48151623")),
            ("", Some("doorkey=48151623")),
        ] {
            let refused = with(file, &[], set.as_slice()).unwrap_err();
            assert!(!refused.contains("48151623"), "{refused}");
        }
    }
}
