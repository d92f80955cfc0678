//! A password file, in mosquitto's format: one `user:hash` a line, `#` before a comment.
//!
//! It leaves to others: what a hash is (`entry`), when the file is read ([`super`]), and changing it
//! ([`crate::passwd`]).

use std::{str, sync::Arc};

use ahash::AHashMap;
use thiserror::Error;

use super::entry::{Entry, EntryError, Kind};
use crate::lines;

/// Who may connect, and with what.
#[derive(Clone, Debug)]
pub struct Passwords {
    users: AHashMap<Box<str>, Arc<Entry>>,
    /// What the password of an unknown user is compared with, so that it takes as long.
    decoy: Arc<Entry>,
}

/// What is wrong with a password file, and where. It never quotes a password.
pub type Fault = lines::Fault<Reason>;

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// Not text.
    #[error("not UTF-8")]
    NotText,
    /// No colon, or nothing before it.
    #[error("not of the form user:hash")]
    Form,
    /// It stands there twice: which password counts?
    #[error("user `{0}` a second time")]
    Twice(String),
    /// No hashed password.
    #[error("{0}")]
    Entry(#[from] EntryError),
}

/// One line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A comment, or nothing.
    Other,
    /// A user with what stands behind the colon.
    User(&'a str, &'a str),
}

impl Passwords {
    /// Reads a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut users = AHashMap::new();
        lines::take_each(bytes, |line| take_line(&mut users, line))?;
        let decoy = decoy(users.values().map(|entry| entry.kind()));
        let decoy = decoy.map_err(|error| Fault { line: 1, reason: error.into() })?;
        Ok(Self { users, decoy: Arc::new(decoy) })
    }

    /// The password of a user.
    pub fn get(&self, user: &str) -> Option<&Arc<Entry>> {
        self.users.get(user)
    }

    /// Never anybody's password.
    pub fn decoy(&self) -> &Arc<Entry> {
        &self.decoy
    }

    /// All users with their passwords.
    pub fn users(&self) -> impl Iterator<Item = (&str, &Arc<Entry>)> {
        self.users.iter().map(|(user, entry)| (&**user, entry))
    }

    /// How many users.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

fn take_line(users: &mut AHashMap<Box<str>, Arc<Entry>>, line: &[u8]) -> Result<(), Reason> {
    let line = str::from_utf8(line).map_err(|_| Reason::NotText)?;
    match split(line)? {
        Line::Other => Ok(()),
        Line::User(user, hash) => {
            let entry = Arc::new(Entry::parse(hash)?);
            match users.insert(user.into(), entry) {
                None => Ok(()),
                Some(_) => Err(Reason::Twice(user.to_owned())),
            }
        }
    }
}

pub(crate) fn split(line: &str) -> Result<Line<'_>, Reason> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Line::Other);
    }
    let (user, hash) = line.split_once(':').ok_or(Reason::Form)?;
    let (user, hash) = (user.trim(), hash.trim());
    if user.is_empty() { Err(Reason::Form) } else { Ok(Line::User(user, hash)) }
}

/// Hashed as most of the file is: then an unknown user takes as long as most known ones.
fn decoy(kinds: impl Iterator<Item = Kind>) -> Result<Entry, EntryError> {
    let mut counts: AHashMap<Kind, usize> = AHashMap::new();
    kinds.for_each(|kind| *counts.entry(kind).or_default() += 1);
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    Entry::new(most.map_or(Kind::DEFAULT, |(kind, _)| kind), b"")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "$7$101$NSZtvIuiLgvhtNDR$IWd69ddJA+xPEcTLZ8tlCYHmpvgW3gCNQnmu6bzPCQsGva0nKTGKtQ+vN9YAIYIZ0dwEAwLKS3mZWEizpV0adQ==";

    #[test]
    fn a_file_is_read_with_its_comments_blanks_and_line_ends() {
        let file = format!("# users\n\nbob:{HASH}\r\n  carol smith : {HASH} \nd/e+#:{HASH}");
        let passwords = Passwords::parse(file.as_bytes()).unwrap();
        assert_eq!(passwords.len(), 3);
        for user in ["bob", "carol smith", "d/e+#"] {
            assert!(passwords.get(user).unwrap().is_password(b"geheim"), "{user}");
        }
        assert!(passwords.get("# users").is_none() && passwords.get("").is_none());
        let rounds = NonZeroU32::new(101).unwrap();
        assert_eq!(passwords.decoy().kind(), Kind::Pbkdf2 { rounds });
        assert!(Passwords::parse(b"").unwrap().is_empty());
    }

    #[test]
    fn a_bad_line_is_named_with_its_number_and_without_its_password() {
        for (line, expected) in [
            ("carol".to_owned(), Reason::Form),
            (format!(":{HASH}"), Reason::Form),
            (format!("bob:{HASH}"), Reason::Twice("bob".into())),
            ("carol:hunter2".to_owned(), Reason::Entry(EntryError::Plain)),
            ("carol:".to_owned(), Reason::Entry(EntryError::Empty)),
            ("carol:$9$hunter2".to_owned(), Reason::Entry(EntryError::UnknownKind)),
        ] {
            let file = format!("bob:{HASH}\n\n{line}\n");
            let fault = Passwords::parse(file.as_bytes()).unwrap_err();
            assert!(!fault.to_string().contains("hunter2"), "{fault}");
            assert_eq!(fault, Fault { line: 3, reason: expected }, "{line}");
        }
        let fault = Passwords::parse(b"\xff:x").unwrap_err();
        assert_eq!(fault, Fault { line: 1, reason: Reason::NotText });
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Passwords::parse(&bytes);
        }
    }
}
