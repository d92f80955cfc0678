//! The layers of a configuration: a file, then values one at a time, each judged as it is laid over
//! the rest.
//!
//! It leaves to others: which layers there are, and their order ([`super::load`]).

use std::{collections::BTreeMap, fs, path::PathBuf};

use toml::{Table, Value};

use super::{Config, ConfigError, Invalid};

/// What has been read so far, and who said it.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) merged: Table,
    /// `section.key` to the variable or flag that gave it last.
    origins: BTreeMap<String, String>,
    file: Option<String>,
}

impl Layers {
    pub(super) fn lay_file<T: Config>(&mut self, file: &PathBuf) -> Result<(), ConfigError> {
        let text = fs::read_to_string(file)
            .map_err(|error| ConfigError::Unreadable { file: file.clone(), error })?;
        let origin = file.display().to_string();
        // The parser's own rendering would quote the line, which may hold a secret.
        self.merged = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            refused(&origin, format!("line {line}: {}", error.message()))
        })?;
        read::<T>(&self.merged, &origin)?;
        self.file = Some(origin);
        Ok(())
    }

    /// Lays one value over the others: a TOML value if the key takes that, otherwise plain text.
    pub(super) fn lay_value<T: Config>(
        &mut self,
        origin: &str,
        path: &[&str],
        text: &str,
    ) -> Result<(), ConfigError> {
        if path.len() < 2 {
            let form = "is no key; write CAUSEWAY_SECTION__KEY=value or --set section.key=value";
            return Err(refused(origin, form.to_owned()));
        }
        let plain = Value::String(text.to_owned());
        let first = text.parse().unwrap_or_else(|_| plain.clone());
        let with_first = self.with(origin, path, first)?;
        let with_plain = self.with(origin, path, plain)?;
        self.merged = match read::<T>(&with_first, origin) {
            Ok(_) => with_first,
            // `--set link.secret=12345` is a text, though it looks like a number.
            Err(error) => read::<T>(&with_plain, origin).map(|_| with_plain).map_err(|_| error)?,
        };
        self.origins.insert(path.join("."), origin.to_owned());
        Ok(())
    }

    fn with(&self, origin: &str, path: &[&str], value: Value) -> Result<Table, ConfigError> {
        let mut merged = Value::Table(self.merged.clone());
        let is_put = put(&mut merged, path, value);
        let merged = merged.try_into().ok().filter(|_| is_put.is_ok());
        let form = "is no key; the entries of a list are named 0, 1, … in turn";
        let Err(Nowhere { missing }) = is_put else {
            return merged.ok_or_else(|| refused(origin, form.to_owned()));
        };
        let first = missing.map(|missing| {
            let list = path.iter().take_while(|step| step.parse::<usize>().is_err());
            let list = list.copied().collect::<Vec<_>>().join(".");
            format!(", and {list}.{missing} must be set before this one, as --set {list}.{missing}.KEY=VALUE")
        });
        Err(refused(origin, format!("{form}{}", first.unwrap_or_default())))
    }

    /// Who is to blame for a value: whoever gave the key, or one that the reason names.
    pub(super) fn origin(&self, Invalid { key, accepted }: &Invalid) -> String {
        let is_named = |key: &str| {
            let is_of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
            accepted.split(|c| !is_of_key(c)).any(|word| word.trim_end_matches('.') == key)
        };
        let other = || self.origins.iter().find(|(key, _)| is_named(key)).map(|(_, origin)| origin);
        let named = self.origins.get(&**key).or_else(other).or(self.file.as_ref());
        named.map_or("defaults", String::as_str).to_owned()
    }
}

/// A path that leads nowhere.
struct Nowhere {
    /// The entry of a list that must be there first, if that is the reason.
    missing: Option<usize>,
}

/// Puts a value where `path` leads, through tables and through the entries of lists, of which the
/// next one may be begun.
fn put(place: &mut Value, path: &[&str], value: Value) -> Result<(), Nowhere> {
    let [step, rest @ ..] = path else {
        *place = value;
        return Ok(());
    };
    let within = match rest.first() {
        Some(next) if next.parse::<usize>().is_ok() => Value::Array(Vec::new()),
        Some(_) | None => Value::Table(Table::new()),
    };
    match place {
        Value::Table(table) => put(table.entry(*step).or_insert(within), rest, value),
        Value::Array(list) => {
            let Ok(number) = step.parse::<usize>() else {
                return Err(Nowhere { missing: None });
            };
            if number == list.len() {
                list.push(within);
            }
            let missing = Some(list.len());
            let entry = list.get_mut(number).ok_or(Nowhere { missing })?;
            put(entry, rest, value)
        }
        _ => Err(Nowhere { missing: None }),
    }
}

pub(super) fn read<T: Config>(table: &Table, origin: &str) -> Result<T, ConfigError> {
    if let Some(instead) = T::retired(table) {
        return Err(refused(origin, instead.to_owned()));
    }
    let error_to_text = |error: toml::de::Error| {
        let text = error.to_string().trim_end().replace('\n', " ");
        text.replace("invalid socket address syntax", ADDRESS_FORM)
    };
    T::deserialize(table.clone()).map_err(|error| refused(origin, error_to_text(error)))
}

/// What the standard library leaves unsaid.
const ADDRESS_FORM: &str =
    "invalid socket address, expected an IP address and a port such as 127.0.0.1:1883 or [::]:1883";

fn refused(origin: &str, reason: String) -> ConfigError {
    let origin = origin.to_owned();
    ConfigError::Refused { origin, reason }
}
