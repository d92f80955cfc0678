//! Reading an access file, in mosquitto's format:
//!
//! ```text
//! topic [read|write|readwrite|deny] <filter>     for the user above; for nameless clients before any
//! user <name>
//! pattern [read|write|readwrite|deny] <filter>   for everybody, with %u and %c for their names
//! # a comment
//! ```
//!
//! What mosquitto refuses is refused; a line that it would take for something else than it looks like
//! is refused too.

use std::str;

use causeway_common::topic::{Filter, FilterError};
use thiserror::Error;

use super::{Access, Acl, Pattern};
use crate::lines;

/// What is wrong with an access file, and where.
pub type Fault = lines::Fault<Reason>;

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// Not text.
    #[error("not UTF-8")]
    NotText,
    /// No word that a rule begins with.
    #[error("`{0}` is none of `topic`, `user`, `pattern`")]
    UnknownWord(String),
    /// No filter.
    #[error("no filter after `{0}`")]
    NoFilter(&'static str),
    /// More than one word, of which the first is no access.
    #[error("`{0}` is none of `read`, `write`, `readwrite`, `deny`")]
    UnknownAccess(String),
    /// Not a topic filter.
    #[error("{0}")]
    Filter(#[from] FilterError),
    /// `user` and nothing.
    #[error("no name after `user`")]
    NoUser,
    /// What looks like two words is one.
    #[error("a tab where a space must stand")]
    Tab,
}

impl Acl {
    /// Reads a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut acl = Self::default();
        let mut user = None;
        lines::take_each(bytes, |line| take_line(&mut acl, &mut user, line))?;
        Ok(acl)
    }
}

fn take_line(acl: &mut Acl, user: &mut Option<String>, line: &[u8]) -> Result<(), Reason> {
    let line = str::from_utf8(line).map_err(|_| Reason::NotText)?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    match word {
        "topic" => {
            let (access, filter) = rule("topic", rest)?;
            acl.add(user.as_deref(), access, filter);
        }
        "pattern" => {
            let (access, text) = rule("pattern", rest)?;
            acl.patterns.push(Pattern { access, text });
        }
        "user" if rest.is_empty() => return Err(Reason::NoUser),
        "user" => *user = Some(rest.to_owned()),
        _ if word.contains('\t') => return Err(Reason::Tab),
        _ => return Err(Reason::UnknownWord(word.to_owned())),
    }
    Ok(())
}

/// What stands behind `topic` or `pattern`. Without an access it is both; with one, the filter may
/// hold spaces.
fn rule(word: &'static str, rest: &str) -> Result<(Access, Filter), Reason> {
    if rest.is_empty() {
        return Err(Reason::NoFilter(word));
    }
    let Some((access, filter)) = rest.split_once(' ') else {
        let reads_as_two = rest.split_once('\t').is_some_and(|(access, _)| of(access).is_some());
        return if reads_as_two {
            Err(Reason::Tab)
        } else {
            Ok((Access::ReadWrite, Filter::new(rest)?))
        };
    };
    let known = of(access).ok_or_else(|| Reason::UnknownAccess(access.to_owned()))?;
    Ok((known, Filter::new(filter.trim())?))
}

fn of(word: &str) -> Option<Access> {
    Some(match word {
        "read" => Access::Read,
        "write" => Access::Write,
        "readwrite" => Access::ReadWrite,
        "deny" => Access::Deny,
        _ => return None,
    })
}
