//! Topic names, topic filters (MQTT 4.7), and what matches one against the other: a tree of filters
//! searched by name, and a search among names by filter.
//!
//! A [`Topic`] and a [`Filter`] are valid by construction, so nobody behind the packet decoder
//! checks again. Limits beyond the standard's (how many levels a node takes) are the session's.

mod filter;
mod holders;
mod name;
mod scan;
mod tree;

pub use filter::{Filter, FilterError};
pub use name::{Topic, TopicError};
pub use scan::{Matching, matching};
pub use tree::Tree;

/// Whether a topic starts with `$`: reserved for the server, not matched by a leading wildcard
/// [MQTT-4.7.2-1].
pub fn is_reserved(text: &str) -> bool {
    text.starts_with('$')
}
