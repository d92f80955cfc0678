//! Names and numbers: who a client, a user, a node or a bridge is, and which life of it is meant.
//!
//! Every name is its own type and cheap to clone; numbers that must never be compared with one
//! another (incarnation, epoch, packet identifier) cannot be.

use std::{borrow::Borrow, fmt, num::NonZeroU16, sync::Arc};

use serde::{Deserialize, Serialize};

/// Declares a name: an immutable string, shared when cloned.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

/// Declares a number with a meaning of its own.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// The client identifier of a CONNECT (MQTT 3.1.3.1).
    ClientId
}
name! {
    /// The name of a broker process in the cluster; it outlives restarts. See [`valid_member_name`].
    NodeId
}
name! {
    /// The name of a bridge process.
    BridgeId
}

/// Who is behind a client: the MQTT user name, or the client id where none is given. A name that was
/// given is never equal to one that was not: whoever chooses a client id does not thereby become the
/// user of that name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserName(Arc<str>);

impl UserName {
    /// The user behind a client that gave no name.
    pub fn nameless(client_id: &ClientId) -> Self {
        Self(Arc::from([NAMELESS, client_id.as_str()].concat()))
    }

    /// The name as text; the client id if none was given.
    pub fn as_str(&self) -> &str {
        self.0.strip_prefix(NAMELESS).unwrap_or(&self.0)
    }

    /// The name that was given, if one was.
    pub fn given(&self) -> Option<&str> {
        (!self.0.starts_with(NAMELESS)).then_some(&self.0)
    }
}

impl From<&str> for UserName {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl From<String> for UserName {
    fn from(text: String) -> Self {
        Self(Arc::from(text))
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What no text of MQTT can hold [MQTT-1.5.3-2].
const NAMELESS: &str = "\0";

number! {
    /// One life of a node: grows each time a node of that name starts or fences itself.
    /// Milliseconds since 1970 at its start, or one more than its predecessor.
    Incarnation
}
number! {
    /// One ownership of a client id; grows with each claim in the directory.
    Epoch
}
number! {
    /// A session of one node, also over its connections and the node's lives; never used twice there.
    SessionId
}
number! {
    /// Names one routed message or one subscription of a session until it is safe.
    Ticket
}

/// A packet identifier: never 0 [MQTT-2.3.1-1].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PacketId(pub NonZeroU16);

impl PacketId {
    /// The identifier, or nothing for 0.
    pub fn new(id: u16) -> Option<Self> {
        NonZeroU16::new(id).map(Self)
    }

    /// The smallest one.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// The number on the wire, 1 to 65,535.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

/// What [`valid_member_name`] accepts, in words.
pub const MEMBER_NAME: &str = "1 to 64 of a-z A-Z 0-9 . _ -";

/// Whether a node's or bridge's name can stand in a topic level, a Redis key and a metric label:
/// 1 to 64 of `a-z A-Z 0-9 . _ -`.
pub fn valid_member_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_makes_nobody_the_user_of_that_name() {
        let (alice, nameless) = (UserName::from("alice"), UserName::nameless(&"alice".into()));
        assert_ne!(alice, nameless);
        assert_eq!((alice.as_str(), alice.given()), ("alice", Some("alice")));
        assert_eq!((nameless.as_str(), nameless.given()), ("alice", None));
        for user in [alice, nameless] {
            let kept = serde_json::to_string(&user).unwrap();
            assert_eq!(serde_json::from_str::<UserName>(&kept).unwrap(), user);
        }
    }

    #[test]
    fn a_packet_identifier_is_never_zero() {
        assert!(PacketId::new(0).is_none());
        assert_eq!(PacketId::new(7).map(PacketId::get), Some(7));
    }

    #[test]
    fn a_member_name_fits_into_a_topic_level() {
        for (name, valid) in [
            ("node-1", true),
            ("a.b_C-9", true),
            ("", false),
            ("a/b", false),
            ("a+", false),
            ("n\u{f6}de", false),
        ] {
            assert_eq!(valid_member_name(name), valid, "{name:?}");
        }
        assert!(!valid_member_name(&"x".repeat(65)));
    }
}
