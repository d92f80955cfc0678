//! Who may connect, and as whom: the listener's rule for those without a name, the password file, and
//! the access file for what comes after.
//!
//! ```text
//!   CONNECT ── a name? ──no──► is that allowed at this listener?
//!                 │ yes
//!                 ▼
//!         password file (passwords) ── compared (verifier) ──► a verdict, and what it rests on
//! ```
//!
//! It leaves to others: how the answer looks (`session`), what the rules of the access file mean
//! ([`crate::acl`]), and when a file has changed ([`crate::reload`]).

pub mod entry;
pub mod passwords;
mod verifier;

use std::{fmt, fs, io, net::SocketAddr, path::Path, sync::Arc};

use ahash::AHashSet;
use causeway_common::{
    config::Invalid,
    id::{ClientId, UserName},
    packet::Connect,
};
use thiserror::Error;
use tokio::sync::watch;

use crate::{
    acl::{self, Acl, Rights},
    config,
    limits::Budget,
    metrics::Metrics,
    session::Verdict,
};

use entry::Entry;
use passwords::Passwords;
use verifier::{Outcome, Verifier};

/// Decides about credentials.
pub struct Auth {
    config: config::Auth,
    verifier: Option<Verifier>,
    acl: watch::Sender<Option<Arc<Acl>>>,
}

/// What is to be said of a CONNECT.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The answer.
    pub verdict: Verdict,
    /// What it rests on, if a password was right.
    pub proof: Option<Arc<Entry>>,
}

/// Tells one client's connection what it may do, whenever that may have changed.
#[derive(Clone, Debug)]
pub struct Permission {
    user: UserName,
    client_id: ClientId,
    acl: watch::Receiver<Option<Arc<Acl>>>,
}

/// Why a file was not taken.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// A line of the password file.
    #[error("{0}")]
    Passwords(#[from] passwords::Fault),
    /// A line of the access file.
    #[error("{0}")]
    Acl(#[from] acl::Fault),
}

/// Whether clients without a user name may connect to a listener. Where nothing is said, they may if
/// they are of this machine and there are no passwords.
pub fn anonymous_allowed(setting: Option<bool>, has_passwords: bool, is_local: bool) -> bool {
    setting.unwrap_or(!has_passwords && is_local)
}

/// Whether an address is one of this machine alone.
pub fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl Auth {
    /// As configured; reads the files. The error names the key that is at fault. `budget` lends what comparisons
    /// take, `metrics` count them.
    pub fn load(
        config: &config::Auth,
        budget: &Arc<Budget>,
        metrics: Option<&Metrics>,
    ) -> Result<Self, Invalid> {
        let mut auth = Self::open();
        if let Some(file) = config.password_file() {
            let read = read_passwords(file).map_err(|error| refused(PASSWORDS, file, &error))?;
            let checks = metrics.map(|metrics| metrics.password_checks.clone());
            let no_chance = || Invalid { key: PASSWORDS.0.into(), accepted: NO_CHANCE.to_owned() };
            let verifier = Verifier::new(read, Arc::clone(budget), checks);
            auth.verifier = Some(verifier.ok_or_else(no_chance)?);
        }
        if let Some(file) = config.acl_file() {
            let read = read_acl(file).map_err(|error| refused(ACL, file, &error))?;
            auth.acl.send_replace(Some(Arc::new(read)));
        }
        auth.config = config.clone();
        Ok(auth)
    }

    /// Without any file.
    pub fn open() -> Self {
        Self { config: config::Auth::default(), verifier: None, acl: watch::Sender::new(None) }
    }

    /// Whether clients without a user name, of this machine or not, may connect to a listener.
    /// `own` is what the listener itself says of that, if it does.
    pub fn allows_anonymous(&self, is_local: bool, own: Option<bool>) -> bool {
        let setting = own.or(self.config.allow_anonymous);
        anonymous_allowed(setting, self.verifier.is_some(), is_local)
    }

    /// Whether anybody at all may connect to a listener, for this machine alone or not.
    pub fn allows_somebody(&self, is_local: bool, own: Option<bool>) -> bool {
        self.verifier.is_some() || self.allows_anonymous(is_local, own)
    }

    /// What is to be said of the credentials in a CONNECT. May wait for others; the caller sets the
    /// limit.
    pub async fn judge(&self, connect: &Connect, anonymous: bool) -> Judged {
        // An empty name is none.
        let login = connect.login.as_ref().filter(|login| !login.user.is_empty());
        let (verdict, proof) = match (login, &self.verifier) {
            (Some(login), Some(verifier)) => match verifier.check(login).await {
                Outcome::Right(entry) => (Verdict::Admitted, Some(entry)),
                Outcome::Wrong => (Verdict::BadCredentials, None),
                Outcome::Broken => (Verdict::Unknown, None),
            },
            // Without a file a password proves nothing: who may come without a name is believed.
            (Some(_) | None, _) if anonymous => (Verdict::Admitted, None),
            (Some(_), None) => (Verdict::BadCredentials, None),
            (None, _) => (Verdict::NotAuthorized, None),
        };
        Judged { verdict, proof }
    }

    /// Whether what a verdict rests on still stands in the file.
    pub fn vouches(&self, user: &UserName, proof: Option<&Arc<Entry>>) -> bool {
        let (Some(verifier), Some(proof)) = (&self.verifier, proof) else {
            return true;
        };
        let passwords = verifier.passwords();
        user.given().and_then(|user| passwords.get(user)) == Some(proof)
    }

    /// What a client may do, from now on.
    pub fn permission(&self, user: UserName, client_id: ClientId) -> Permission {
        Permission { user, client_id, acl: self.acl.subscribe() }
    }

    /// The rules in force; none if there is no file.
    pub fn acl(&self) -> Option<Arc<Acl>> {
        self.acl.borrow().clone()
    }

    /// Reads the password file again. Returns the users whose password is another now, or none.
    pub fn reload_passwords(&self) -> Result<AHashSet<String>, FileError> {
        let (Some(file), Some(verifier)) = (self.config.password_file(), &self.verifier) else {
            return Ok(AHashSet::new());
        };
        let old = verifier.replace(read_passwords(file)?);
        let new = verifier.passwords();
        let gone = old.users().filter(|(user, entry)| new.get(user) != Some(entry));
        Ok(gone.map(|(user, _)| user.to_owned()).collect())
    }

    /// Reads the access file again. Every connection learns of it, the hub from the caller.
    pub fn reload_acl(&self) -> Result<Option<Arc<Acl>>, FileError> {
        if let Some(file) = self.config.acl_file() {
            self.acl.send_replace(Some(Arc::new(read_acl(file)?)));
        }
        Ok(self.acl())
    }
}

impl Permission {
    /// What the client may do; none: everything.
    pub fn rights(&mut self) -> Option<Arc<Rights>> {
        let acl = self.acl.borrow_and_update();
        acl.as_ref().map(|acl| Arc::new(acl.rights_of(&self.user, &self.client_id)))
    }

    /// The same if that may have changed since it was last asked. Costs no lock if not.
    pub fn changed(&mut self) -> Option<Option<Arc<Rights>>> {
        let is_new = self.acl.has_changed().unwrap_or(false);
        is_new.then(|| self.rights())
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("config", &self.config).finish_non_exhaustive()
    }
}

fn read_passwords(file: &Path) -> Result<Passwords, FileError> {
    Ok(Passwords::parse(&fs::read(file)?)?)
}

fn read_acl(file: &Path) -> Result<Acl, FileError> {
    Ok(Acl::parse(&fs::read(file)?)?)
}

fn refused((key, form): (&'static str, &str), file: &Path, error: &FileError) -> Invalid {
    Invalid {
        key: key.into(),
        accepted: format!("{form}, and {} is none: {error}", file.display()),
    }
}

const PASSWORDS: (&str, &str) = ("auth.password_file", "a file of lines user:hash");
const ACL: (&str, &str) = ("auth.acl_file", "a file of rules `topic`, `user` and `pattern`");
const NO_CHANCE: &str = "left out while the system has no random numbers";

#[cfg(test)]
mod tests;
