//! A topic name: where a message is published.

use std::fmt;

use thiserror::Error;

/// A valid topic name: 1 to 65,535 bytes, no wildcard, no U+0000.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Box<str>);

/// Why a text is no topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// [MQTT-4.7.3-1]
    #[error("empty topic name [MQTT-4.7.3-1]")]
    Empty,
    /// [MQTT-4.7.3-3]
    #[error("topic name of more than 65535 bytes [MQTT-4.7.3-3]")]
    TooLong,
    /// [MQTT-3.3.2-2]
    #[error("wildcard in a topic name [MQTT-3.3.2-2]")]
    Wildcard,
    /// [MQTT-4.7.3-2]
    #[error("U+0000 in a topic name [MQTT-4.7.3-2]")]
    Null,
}

impl Topic {
    /// The name of a text, if it is one.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, TopicError> {
        let text = text.into();
        Self::check(&text)?;
        Ok(Self(text))
    }

    /// Judges a text without taking it.
    pub fn check(text: &str) -> Result<(), TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty); // [MQTT-4.7.3-1]
        }
        if text.len() > usize::from(u16::MAX) {
            return Err(TopicError::TooLong); // [MQTT-4.7.3-3]
        }
        // No branch a byte: every PUBLISH comes through here.
        let wrong = |byte| matches!(byte, b'+' | b'#' | 0);
        if text.bytes().fold(false, |any, byte| any | wrong(byte)) {
            if text.contains('\0') {
                return Err(TopicError::Null); // [MQTT-4.7.3-2]
            }
            return Err(TopicError::Wildcard); // [MQTT-3.3.2-2]
        }
        Ok(())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many levels it has; `a//b` has three.
    pub fn level_count(&self) -> usize {
        1 + self.0.bytes().filter(|byte| *byte == b'/').count()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_by_the_standard() {
        for (text, expected) in [
            ("a", Ok(())),
            ("/", Ok(())),
            ("a//b", Ok(())),
            ("caf\u{e9}/\u{6e29}\u{5ea6}", Ok(())),
            ("$SYS/x", Ok(())),
            (" ", Ok(())),
            ("", Err(TopicError::Empty)),
            ("a/#", Err(TopicError::Wildcard)),
            ("a+b", Err(TopicError::Wildcard)),
            ("a\0b", Err(TopicError::Null)),
        ] {
            assert_eq!(Topic::check(text), expected, "{text:?}");
        }
        assert_eq!(Topic::check(&"x".repeat(65_535)), Ok(()));
        assert_eq!(Topic::check(&"x".repeat(65_536)), Err(TopicError::TooLong));
    }

    #[test]
    fn levels_are_counted_with_the_empty_ones() {
        let levels = |text: &str| Topic::new(text).unwrap().level_count();
        assert_eq!((levels("a"), levels("/"), levels("a//b")), (1, 2, 3));
    }
}
