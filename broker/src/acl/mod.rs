//! What a client may read and write: the rules of an access file, and how they decide.
//!
//! ```text
//!   file ── parse ──► Acl ── rights_of(user, client id) ──► Rights: may this topic be read, written?
//! ```
//!
//! The rules are mosquitto's. Those of the client's user come first, then the patterns; among each, a
//! denial comes before all else. What nothing allows is denied. It leaves to others: when to ask
//! (`session` for what a client says, `hub` for what it gets), and when a file is read (`auth`).

mod filters;
mod parse;

use std::sync::Arc;

use ahash::AHashMap;
use causeway_common::{
    id::{ClientId, UserName},
    topic::Filter,
};

pub use parse::{Fault, Reason};

/// The rules of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    users: AHashMap<Box<str>, Arc<Rules>>,
    /// Of clients without a user name.
    nameless: Option<Arc<Rules>>,
    patterns: Vec<Pattern>,
}

/// What one rule says of the topics that its filter matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    ReadWrite,
    Deny,
}

/// Rules that stand side by side. Their order means nothing: a denial comes first wherever it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rules {
    denied: Vec<Filter>,
    readable: Vec<Filter>,
    writable: Vec<Filter>,
}

/// A rule with `%u` or `%c` in it, or one for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    access: Access,
    text: Filter,
}

/// What one client may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    own: Option<Arc<Rules>>,
    patterns: Rules,
}

impl Acl {
    /// What a client may do, with its names put into the patterns.
    pub fn rights_of(&self, user: &UserName, client_id: &ClientId) -> Rights {
        let own = match user.given() {
            Some(name) => self.users.get(name),
            None => self.nameless.as_ref(),
        };
        let mut patterns = Rules::default();
        let client_id = client_id.as_str();
        // Such a name would make a pattern match more than one name: as mosquitto, all patterns give
        // nothing then.
        let is_wild = |name: &str| name.contains(['+', '#']);
        if !is_wild(client_id) && !user.given().is_some_and(is_wild) {
            for pattern in &self.patterns {
                if let Some(filter) = pattern.with_names(user.given(), client_id) {
                    patterns.add(pattern.access, filter);
                }
            }
        }
        Rights { own: own.cloned(), patterns }
    }

    fn add(&mut self, user: Option<&str>, access: Access, filter: Filter) {
        let rules = match user {
            Some(name) => self.users.entry(name.into()).or_default(),
            None => self.nameless.get_or_insert_default(),
        };
        Arc::make_mut(rules).add(access, filter);
    }
}

impl Pattern {
    /// The rule for one client; none if it says nothing of it. A slash in a name would reach into the
    /// topics of others, and `$` at the start into the server's own: with such a name a pattern can
    /// deny and not allow.
    fn with_names(&self, user: Option<&str>, client_id: &str) -> Option<Filter> {
        let text = self.text.as_str();
        let (has_user, has_client) = (text.contains("%u"), text.contains("%c"));
        if has_user && user.is_none() {
            return None;
        }
        let user = user.unwrap_or_default();
        let mut names = [(has_user, user), (has_client, client_id)].into_iter();
        let reaches = names.any(|(used, name)| used && (name.contains('/') || name.is_empty()));
        let filled = fill_in(text, user, client_id);
        let is_reserved = filled.starts_with('$') && !text.starts_with('$');
        let allows = match self.access {
            Access::Deny => false,
            Access::Read | Access::Write | Access::ReadWrite => true,
        };
        if allows && (reaches || is_reserved) {
            return None;
        }
        Filter::new(filled).ok()
    }
}

/// Replaces `%u` and `%c`, once: what a name brings along is not looked at again.
fn fill_in(text: &str, user: &str, client_id: &str) -> String {
    let mut filled = String::with_capacity(text.len() + user.len() + client_id.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        filled.push_str(before);
        let name = match after.as_bytes().first() {
            Some(b'u') => Some(user),
            Some(b'c') => Some(client_id),
            Some(_) | None => None,
        };
        filled.push_str(name.unwrap_or("%"));
        rest = if name.is_some() { after.get(1..).unwrap_or_default() } else { after };
    }
    filled.push_str(rest);
    filled
}

impl Rules {
    fn add(&mut self, access: Access, filter: Filter) {
        match access {
            Access::Deny => self.denied.push(filter),
            Access::Read => self.readable.push(filter),
            Access::Write => self.writable.push(filter),
            Access::ReadWrite => {
                self.readable.push(filter.clone());
                self.writable.push(filter);
            }
        }
    }

    /// What they say of a topic; none if nothing matches.
    fn judge(&self, allowed: &[Filter], topic: &str) -> Option<bool> {
        let matches = |filters: &[Filter]| filters.iter().any(|filter| filter.matches(topic));
        if matches(&self.denied) {
            return Some(false);
        }
        matches(allowed).then_some(true)
    }

    /// Whether a subscription to this filter could bring anything; none if nothing is said of it.
    fn judge_filter(&self, filter: &str) -> Option<bool> {
        if self.denied.iter().any(|denied| filters::covers(denied.as_str(), filter)) {
            return Some(false);
        }
        let overlap = |read: &Filter| filters::overlap(read.as_str(), filter);
        self.readable.iter().any(overlap).then_some(true)
    }
}

impl Rights {
    /// Whether the client may be sent a message of this topic.
    pub fn may_read(&self, topic: &str) -> bool {
        let own = self.own.as_deref().and_then(|own| own.judge(&own.readable, topic));
        let by_pattern = || self.patterns.judge(&self.patterns.readable, topic);
        own.or_else(by_pattern).unwrap_or(false)
    }

    /// Whether the client may publish to this topic.
    pub fn may_write(&self, topic: &str) -> bool {
        let own = self.own.as_deref().and_then(|own| own.judge(&own.writable, topic));
        let by_pattern = || self.patterns.judge(&self.patterns.writable, topic);
        own.or_else(by_pattern).unwrap_or(false)
    }

    /// Whether the client may hold this filter: not if nothing that it matches may be read. What comes
    /// under a wider one is judged message by message.
    pub fn may_subscribe(&self, filter: &Filter) -> bool {
        let own = self.own.as_deref().and_then(|own| own.judge_filter(filter.as_str()));
        own.or_else(|| self.patterns.judge_filter(filter.as_str())).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests;
