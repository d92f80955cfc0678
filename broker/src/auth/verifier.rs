//! Compares passwords: beside the threads that serve, a few at a time, and not twice.
//!
//! ```text
//!   login ── seen before? ──yes──► right, in microseconds
//!              │ no
//!              ▼
//!         wait for a turn, in order ──► a thread of its own: the hash ──► right: remembered
//! ```
//!
//! What is remembered is no password: a keyed hash of user, password and the line of the file, under a
//! key that this process alone knows. So a password that was changed is forgotten by itself. It leaves
//! to others: reading the file ([`super`]).

use std::{sync::Arc, thread};

use ahash::AHashMap;
use aws_lc_rs::{hmac, rand::SystemRandom};
use causeway_common::packet::Login;
use parking_lot::{Mutex, RwLock};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{entry::Entry, passwords::Passwords};
use crate::{limits::Budget, metrics::PasswordChecks};

/// Knows who may connect, and with what.
pub(super) struct Verifier {
    passwords: RwLock<Arc<Passwords>>,
    /// The last right password of each user, by its tag; as many as there are users at most.
    seen: Mutex<AHashMap<Box<str>, hmac::Tag>>,
    key: hmac::Key,
    turns: Arc<Semaphore>,
    budget: Arc<Budget>,
    checks: Option<PasswordChecks>,
}

/// What came of a comparison.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// It is the password of this line.
    Right(Arc<Entry>),
    /// It is not, or nobody knows the user.
    Wrong,
    /// It could not be found out.
    Broken,
}

impl Verifier {
    /// None if the system gives no random numbers.
    pub(super) fn new(
        passwords: Passwords,
        budget: Arc<Budget>,
        checks: Option<PasswordChecks>,
    ) -> Option<Self> {
        // Half of the machine at most: the rest serves those that are in.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Some(Self {
            passwords: RwLock::new(Arc::new(passwords)),
            seen: Mutex::default(),
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?,
            turns: Arc::new(Semaphore::new((cores / 2).max(1))),
            budget,
            checks,
        })
    }

    /// Who may connect now.
    pub(super) fn passwords(&self) -> Arc<Passwords> {
        Arc::clone(&self.passwords.read())
    }

    /// Takes a new file. Returns the old one.
    pub(super) fn replace(&self, passwords: Passwords) -> Arc<Passwords> {
        let new = Arc::new(passwords);
        let old = std::mem::replace(&mut *self.passwords.write(), Arc::clone(&new));
        self.seen.lock().retain(|user, _| new.get(user).is_some());
        old
    }

    /// Compares; may wait for others, the caller sets the limit. Given up, it goes on for nobody to its
    /// end, and keeps its turn so long.
    pub(super) async fn check(&self, login: &Login) -> Outcome {
        let passwords = self.passwords();
        let known = passwords.get(&login.user).filter(|_| login.password.is_some());
        let password = login.password.clone().unwrap_or_default();
        let tag = known.map(|entry| self.tag(&login.user, &password, entry));
        if let (Some(entry), Some(tag)) = (known, &tag)
            && self.has_seen(&login.user, tag)
        {
            self.count(|checks| &checks.remembered);
            return Outcome::Right(Arc::clone(entry));
        }
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            return Outcome::Broken;
        };
        // Somebody unknown takes as long as somebody known.
        let entry = Arc::clone(known.unwrap_or(passwords.decoy()));
        // Guesses must not make memory short for those who are in.
        let Some(loan) = self.budget.borrow(entry.memory_bytes()).await else {
            return Outcome::Broken;
        };
        let compared = spawn_blocking(move || {
            let _held = (turn, loan);
            entry.is_password(&password)
        });
        match (compared.await, known, tag) {
            (Err(_), _, _) => Outcome::Broken,
            (Ok(true), Some(entry), Some(tag)) => {
                self.count(|checks| &checks.right);
                self.seen.lock().insert(login.user.as_str().into(), tag);
                Outcome::Right(Arc::clone(entry))
            }
            (Ok(_), _, _) => {
                self.count(|checks| &checks.wrong);
                Outcome::Wrong
            }
        }
    }

    fn has_seen(&self, user: &str, tag: &hmac::Tag) -> bool {
        let same = |seen: &hmac::Tag| {
            aws_lc_rs::constant_time::verify_slices_are_equal(seen.as_ref(), tag.as_ref()).is_ok()
        };
        self.seen.lock().get(user).is_some_and(same)
    }

    fn tag(&self, user: &str, password: &[u8], entry: &Entry) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user.as_bytes(), password, entry.to_string().as_bytes()] {
            // With its length, so that no part can lend bytes to the next.
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        context.sign()
    }

    fn count(&self, which: impl Fn(&PasswordChecks) -> &prometheus::IntCounter) {
        if let Some(checks) = &self.checks {
            which(checks).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::auth::entry::Kind;

    fn file(users: &[(&str, &str)]) -> Passwords {
        let kind = Kind::Pbkdf2 { rounds: NonZeroU32::new(20).unwrap() };
        let line = |(user, password): &(&str, &str)| {
            format!("{user}:{}\n", Entry::new(kind, password.as_bytes()).unwrap())
        };
        let text: String = users.iter().map(line).collect();
        Passwords::parse(text.as_bytes()).unwrap()
    }

    fn login(user: &str, password: Option<&str>) -> Login {
        let password = password.map(|password| password.as_bytes().to_vec().into());
        Login { user: user.to_owned(), password }
    }

    fn verifier(users: &[(&str, &str)]) -> Verifier {
        let registry = prometheus::Registry::new();
        let metrics = crate::metrics::Metrics::new(&registry).unwrap();
        let budget = Arc::new(Budget::new(0));
        Verifier::new(file(users), budget, Some(metrics.password_checks.clone())).unwrap()
    }

    async fn is_right(verifier: &Verifier, user: &str, password: Option<&str>) -> bool {
        match verifier.check(&login(user, password)).await {
            Outcome::Right(_) => true,
            Outcome::Wrong => false,
            Outcome::Broken => panic!("cannot be found out"),
        }
    }

    #[tokio::test]
    async fn a_password_is_right_for_its_user_alone() {
        let verifier = verifier(&[("alice", "one"), ("bob", "two"), ("empty", "")]);
        for (user, password, expected) in [
            ("alice", Some("one"), true),
            ("alice", Some("one"), true),
            ("alice", Some("two"), false),
            ("bob", Some("one"), false),
            ("bob", Some("two"), true),
            ("alice", None, false),
            ("alice", Some(""), false),
            ("empty", Some(""), true),
            ("empty", None, false),
            ("carol", Some(""), false),
            ("", Some(""), false),
        ] {
            assert_eq!(is_right(&verifier, user, password).await, expected, "{user} {password:?}");
        }
        let checks = verifier.checks.unwrap();
        assert_eq!((checks.remembered.get(), checks.right.get()), (1, 3));
        assert_eq!(checks.wrong.get(), 7);
    }

    #[tokio::test]
    async fn what_was_right_is_forgotten_with_its_line() {
        let verifier = verifier(&[("alice", "one"), ("bob", "two")]);
        assert!(is_right(&verifier, "alice", Some("one")).await);
        assert!(is_right(&verifier, "bob", Some("two")).await);
        verifier.replace(file(&[("alice", "other")]));
        assert!(!is_right(&verifier, "alice", Some("one")).await);
        assert!(!is_right(&verifier, "bob", Some("two")).await);
        assert!(is_right(&verifier, "alice", Some("other")).await);
        assert_eq!(verifier.seen.lock().len(), 1);
    }

    #[tokio::test]
    async fn those_seen_before_do_not_wait_for_those_that_were_not() {
        let verifier = verifier(&[("alice", "one")]);
        assert!(is_right(&verifier, "alice", Some("one")).await);
        let all = u32::try_from(verifier.turns.available_permits()).unwrap();
        let _busy = Arc::clone(&verifier.turns).acquire_many_owned(all).await.unwrap();
        assert!(is_right(&verifier, "alice", Some("one")).await);
        let stranger = login("alice", Some("two"));
        let waiting = std::time::Duration::from_millis(50);
        let waits = tokio::time::timeout(waiting, verifier.check(&stranger)).await;
        assert!(waits.is_err(), "{waits:?} without a turn");
    }
}
