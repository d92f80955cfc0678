//! A key that is `true`, `false`, or `local`: the listener decides.
//!
//! It leaves to others: what that means ([`crate::auth::anonymous_allowed`]).

/// TOML has no way to say nothing, so `local` says it.
pub(super) mod or_local {
    use std::fmt;

    use serde::{
        Deserializer, Serializer,
        de::{Error, Visitor},
    };

    #[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(
        setting: &Option<bool>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match setting {
            Some(setting) => serializer.serialize_bool(*setting),
            None => serializer.serialize_str(LOCAL),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<bool>, D::Error> {
        deserializer.deserialize_any(Setting)
    }

    struct Setting;

    impl Visitor<'_> for Setting {
        type Value = Option<bool>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false or \"local\"")
        }

        fn visit_bool<E: Error>(self, setting: bool) -> Result<Option<bool>, E> {
            Ok(Some(setting))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Option<bool>, E> {
            if text == LOCAL {
                Ok(None)
            } else {
                Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
    }

    const LOCAL: &str = "local";
}
