//! The rows of this node's clients: claimed at login, released at the end, written again when the
//! directory has lost them.

use std::sync::atomic::{AtomicBool, Ordering};

use ahash::AHashMap;
use causeway_common::{
    directory::{ClientRow, DirectoryError, Owner},
    id::{Epoch, Ticket},
    mailbox::Mailbox,
};
use parking_lot::Mutex;
use std::sync::Arc;
use tracing::{debug, warn};

use super::Membership;
use crate::{config::WhenLost, hub::SessionId};

/// What came of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// This node owns the client id.
    Owned {
        /// Since this claim.
        epoch: Epoch,
        /// Who owned it until then, elsewhere.
        previous: Option<Owner>,
    },
    /// The directory is gone; the claim is made when it is back.
    Unknown,
    /// Somebody has claimed it after us.
    Lost,
    /// The directory is gone, and such logins are refused.
    Refused,
}

/// The logins of this node.
#[derive(Debug, Default)]
pub(super) struct Logins {
    /// What the directory knows, or should know, of each session.
    rows: Mutex<AHashMap<SessionId, ClientRow>>,
    /// Releases that the directory has not heard of.
    unreleased: Mutex<Vec<(ClientRow, Epoch)>>,
    unreachable: AtomicBool,
    /// Whether any session may be without a claim.
    unclaimed: AtomicBool,
}

impl Logins {
    /// Whether the directory answered last: if not, logins do not wait for it.
    pub(super) fn set_reachable(&self, reachable: bool) {
        self.unreachable.store(!reachable, Ordering::Relaxed);
    }

    /// All sessions are about to end, and their rows are another life's.
    pub(super) fn forget_all(&self) {
        self.rows.lock().clear();
        self.unreleased.lock().clear();
    }

    fn keep_for_later(&self, row: ClientRow, epoch: Epoch) {
        let mut unreleased = self.unreleased.lock();
        // Beyond this, rows stay until the node's lease ends: they name an owner who says no.
        if unreleased.len() < UNRELEASED_MAX {
            unreleased.push((row, epoch));
        }
    }
}

impl Membership {
    /// Claims the client id of a new session.
    pub async fn log_in(&self, session: SessionId, row: ClientRow) -> Ownership {
        self.logins.rows.lock().insert(session, row.clone());
        if self.logins.unreachable.load(Ordering::Relaxed) {
            return self.without_directory();
        }
        match self.directory.claim(&row).await {
            Ok(claimed) => {
                if !self.hub.lock().set_epoch(session, claimed.epoch) {
                    return Ownership::Lost;
                }
                let elsewhere = |owner: &Owner| owner.member != row.owner;
                let previous = claimed.previous.filter(elsewhere);
                Ownership::Owned { epoch: claimed.epoch, previous }
            }
            Err(error) => {
                warn!(%error, "login could not be entered in the directory");
                self.metrics.directory_errors.inc();
                self.without_directory()
            }
        }
    }

    /// Takes a session from the hub, and its row from the directory, in the background.
    pub fn log_out(self: &Arc<Self>, session: SessionId) {
        let detached = self.hub.lock().detach(session);
        let row = self.logins.rows.lock().remove(&session);
        let (Some(row), Some(epoch)) = (row, detached.and_then(|detached| detached.epoch)) else {
            return;
        };
        let this = Arc::clone(self);
        tokio::spawn(async move { this.release(row, epoch).await });
    }

    /// Writes the row of every session again; sessions that somebody else owns by now are closed.
    pub(super) async fn write_rows_again(&self) -> Result<(), DirectoryError> {
        let owned = self.hub.lock().owned();
        for (client_id, session, epoch) in owned {
            let row = self.logins.rows.lock().get(&session).cloned();
            let (Some(row), Some(epoch)) = (row, epoch) else {
                continue;
            };
            if !self.directory.restore(&row, epoch).await? {
                debug!(%client_id, "client is owned elsewhere by now");
                self.hub.lock().disown(&client_id, session);
            }
        }
        self.claim_late().await
    }

    /// Tells the directory of releases that it has not heard of.
    pub(super) async fn release_late(&self) {
        let unreleased = std::mem::take(&mut *self.logins.unreleased.lock());
        for (row, epoch) in unreleased {
            self.release(row, epoch).await;
        }
    }

    /// Claims the client ids of sessions that logged in while the directory was gone.
    pub(super) async fn claim_late(&self) -> Result<(), DirectoryError> {
        if !self.logins.unclaimed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let owned = self.hub.lock().owned();
        for (_, session, _) in owned.into_iter().filter(|(_, _, epoch)| epoch.is_none()) {
            let row = self.logins.rows.lock().get(&session).cloned();
            let Some(row) = row else { continue };
            if let Err(error) = self.claim_again(session, &row).await {
                self.logins.unclaimed.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn claim_again(&self, session: SessionId, row: &ClientRow) -> Result<(), DirectoryError> {
        let claimed = self.directory.claim(row).await?;
        let mut hub = self.hub.lock();
        if !hub.set_epoch(session, claimed.epoch) {
            hub.disown(&row.client_id, session);
        } else if let Some(previous) = claimed.previous {
            // Nobody waits for the answer: the session has long been let in.
            let claim = (row.client_id.clone(), claimed.epoch);
            let nobody = Arc::new(Mailbox::new(0));
            let answer = (&nobody, Ticket::default());
            hub.ask_takeover(previous.member.node, claim, answer, self.takeover_deadline());
        }
        Ok(())
    }

    async fn release(&self, row: ClientRow, epoch: Epoch) {
        let ClientRow { client_id, user, owner, .. } = &row;
        if let Err(error) = self.directory.release(client_id, user, owner, epoch).await {
            debug!(%error, "release waits for the directory");
            self.metrics.directory_errors.inc();
            self.logins.keep_for_later(row, epoch);
        }
    }

    fn without_directory(&self) -> Ownership {
        self.logins.unclaimed.store(true, Ordering::Relaxed);
        match self.terms.when_lost {
            WhenLost::Serve => Ownership::Unknown,
            WhenLost::Refuse => Ownership::Refused,
        }
    }
}

const UNRELEASED_MAX: usize = 100_000;
