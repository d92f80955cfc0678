//! Logins that the directory has not heard of: claimed when it is back.
//!
//! It leaves to `logins.rs` what becomes of a connection that ends before that.

use std::sync::Arc;

use ahash::AHashSet;
use causeway_common::{
    directory::{ClientRow, DirectoryError, Previous},
    id::{SessionId, Ticket},
    mailbox::Mailbox,
};
use tokio::time::Instant;

use super::Membership;
use crate::hub::TakeOver;

impl Membership {
    /// Claims the client ids of sessions that logged in while the directory was gone.
    pub(super) async fn claim_late(&self) -> Result<(), DirectoryError> {
        if self.logins.unclaimed.lock().is_empty() {
            return Ok(());
        }
        let owned = self.hub.lock().owned();
        let known: AHashSet<SessionId> = owned.iter().map(|owned| owned.session).collect();
        self.logins.unclaimed.lock().retain(|session, _| known.contains(session));
        for owned in owned {
            if !self.logins.unclaimed.lock().contains_key(&owned.session) {
                continue;
            }
            // Its connection may end meanwhile: before this claim, or after it.
            let _turn = self.logins.turns.take(&owned.client_id).await;
            let since = self.logins.unclaimed.lock().get(&owned.session).copied();
            if let Some(since) = since {
                let row = self.row_of(&owned);
                self.claim_again(owned.session, &row, since).await?;
            }
        }
        Ok(())
    }

    async fn claim_again(
        &self,
        session: SessionId,
        row: &ClientRow,
        since: Instant,
    ) -> Result<(), DirectoryError> {
        let mut claimed = match self.directory.claim_late(row, since.elapsed()).await {
            // Nobody else knows of its will: that is published when it has closed.
            Err(DirectoryError::Overtaken(by)) => {
                self.give_way(session, row, &by);
                return Ok(());
            }
            claimed => claimed?,
        };
        self.logins.unclaimed.lock().remove(&session);
        self.void_farewell(row, &mut claimed);
        // The first claim of the same connection may have seemed to fail.
        let is_own = |previous: &&Previous| {
            previous.owner.member == row.owner && previous.address == row.address
        };
        if let Some(own) = claimed.previous.as_ref().filter(is_own).map(|own| own.owner.epoch) {
            self.void_will(&row.owner, &mut claimed.wills, own);
        }
        self.publish_wills(&row.owner, std::mem::take(&mut claimed.wills), None);
        let is_ours = self.note_claimed(session, &claimed);
        let mut hub = self.hub.lock();
        if !is_ours {
            hub.disown(&row.client_id, session);
        }
        if is_ours {
            // Nobody waits for the answers: the session has long been let in. What other nodes kept of the
            // session comes, and is put behind what there is.
            let nobody = Arc::new(Mailbox::new(0));
            let (client_id, epoch) = (row.client_id.clone(), claimed.epoch);
            let claim = TakeOver { client_id, epoch, clean: false };
            let answer = (&nobody, Ticket::default());
            let asked = hub.first_to_ask(&claimed);
            hub.ask_takeovers(asked, &claim, answer, self.takeover_deadline());
        }
        Ok(())
    }
}
