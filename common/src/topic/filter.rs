//! A topic filter: a pattern that a subscription holds.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::is_reserved;

/// A valid topic filter: 1 to 65,535 bytes, wildcards only as whole levels, `#` only last.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter(Arc<str>);

/// Why a text is no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    /// [MQTT-4.7.3-1]
    #[error("empty topic filter [MQTT-4.7.3-1]")]
    Empty,
    /// [MQTT-4.7.3-3]
    #[error("topic filter of more than 65535 bytes [MQTT-4.7.3-3]")]
    TooLong,
    /// [MQTT-4.7.1-2]
    #[error("`#` that is not the whole last level of a filter [MQTT-4.7.1-2]")]
    MultiLevel,
    /// [MQTT-4.7.1-3]
    #[error("`+` that is not a whole level of a filter [MQTT-4.7.1-3]")]
    SingleLevel,
    /// [MQTT-4.7.3-2]
    #[error("U+0000 in a topic filter [MQTT-4.7.3-2]")]
    Null,
}

impl Filter {
    /// The filter of a text, if it is one.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, FilterError> {
        let text = text.into();
        Self::check(&text)?;
        Ok(Self(text))
    }

    /// Judges a text without taking it.
    pub fn check(text: &str) -> Result<(), FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty); // [MQTT-4.7.3-1]
        }
        if text.len() > usize::from(u16::MAX) {
            return Err(FilterError::TooLong); // [MQTT-4.7.3-3]
        }
        if text.contains('\0') {
            return Err(FilterError::Null); // [MQTT-4.7.3-2]
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let last = levels.peek().is_none();
            match level {
                "#" if last => {}
                "+" => {}
                _ if level.contains('#') => return Err(FilterError::MultiLevel), // [MQTT-4.7.1-2]
                _ if level.contains('+') => return Err(FilterError::SingleLevel), // [MQTT-4.7.1-3]
                _ => {}
            }
        }
        Ok(())
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its levels, `#` and `+` among them.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether it matches a topic name, level by level: the rule that [`super::Tree`] is tested
    /// against, and good enough where one filter meets one name.
    pub fn matches(&self, topic: &str) -> bool {
        if is_reserved(topic) && self.0.starts_with(['+', '#']) {
            return false; // [MQTT-4.7.2-1]
        }
        let mut names = topic.split('/');
        for level in self.levels() {
            if level == "#" {
                return true; // also the parent level [MQTT-4.7.1-2]
            }
            match names.next() {
                Some(name) if level == "+" || level == name => {}
                Some(_) | None => return false,
            }
        }
        names.next().is_none()
    }
}

impl TryFrom<String> for Filter {
    type Error = FilterError;

    fn try_from(text: String) -> Result<Self, FilterError> {
        Self::new(text)
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.as_str().to_owned()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_judged_by_the_standard() {
        use FilterError::{Empty, MultiLevel, Null, SingleLevel};
        for (text, expected) in [
            ("#", Ok(())),
            ("+", Ok(())),
            ("a/#", Ok(())),
            ("+/+/#", Ok(())),
            ("a/+/b", Ok(())),
            ("/", Ok(())),
            ("", Err(Empty)),
            ("a/#/b", Err(MultiLevel)),
            ("a#", Err(MultiLevel)),
            ("a/b#", Err(MultiLevel)),
            ("##", Err(MultiLevel)),
            ("a+", Err(SingleLevel)),
            ("+a/b", Err(SingleLevel)),
            ("a/++/b", Err(SingleLevel)),
            ("a\0", Err(Null)),
        ] {
            assert_eq!(Filter::check(text), expected, "{text:?}");
        }
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/#", "$SYS", true),
            ("ACCOUNTS", "Accounts", false),
            ("a", "a/", false),
        ] {
            let filter = Filter::new(filter).unwrap();
            assert_eq!(filter.matches(topic), expected, "{filter} on {topic}");
        }
    }
}
