//! The rows of this node's clients, written again when the directory may have lost them, and claims that
//! wait for it. What somebody else owns by now, or has erased, is found here.

use std::sync::{Arc, atomic::Ordering};

use ahash::AHashSet;
use causeway_common::{
    directory::{Claimed, ClientRow, DirectoryError, Restored},
    id::{SessionId, Ticket},
    mailbox::Mailbox,
};
use tracing::debug;

use super::Membership;
use crate::hub::{Owned, TakeOver};

impl Membership {
    /// Writes the row of every session again. What somebody else owns by now is given up.
    pub(in crate::membership) async fn write_rows_again(&self) -> Result<(), DirectoryError> {
        let owned = self.hub.lock().owned();
        let me = self.hub.lock().me().clone();
        let known: AHashSet<SessionId> = owned.iter().map(|owned| owned.session).collect();
        self.logins.rows.lock().retain(|session, _| known.contains(session));
        for owned in owned {
            let Some(epoch) = owned.epoch else { continue };
            let row = self.row_of(&owned);
            let Restored { holder, erased } = self.directory.restore(&row, epoch).await?;
            if let Some(by) = erased {
                self.hub.lock().note_erasure(owned.session, by);
            }
            let Some(holder) = holder else { continue };
            if holder.member.node == me.node {
                continue; // a life of this node that is over: its rows go, and this one is written
            }
            debug!(client_id = %owned.client_id, "client is owned elsewhere by now");
            let mut hub = self.hub.lock();
            hub.disown(&owned.client_id, owned.session);
            hub.hand_over(&owned.client_id, &holder);
        }
        self.claim_late().await
    }

    /// What the directory should know of a session.
    fn row_of(&self, owned: &Owned) -> ClientRow {
        let me = self.hub.lock().me().clone();
        let mut rows = self.logins.rows.lock();
        let row = rows.entry(owned.session).or_insert_with(|| ClientRow {
            client_id: owned.client_id.clone(),
            user: owned.user.clone(),
            owner: me.clone(),
            address: String::new(),
            connected: false,
            durable: owned.durable,
            will: None,
        });
        row.owner = me;
        row.connected = owned.connected;
        row.clone()
    }

    /// Claims the client ids of sessions that logged in while the directory was gone.
    pub(in crate::membership) async fn claim_late(&self) -> Result<(), DirectoryError> {
        if !self.logins.unclaimed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let owned = self.hub.lock().owned();
        for owned in owned.into_iter().filter(|owned| owned.epoch.is_none()) {
            let row = self.row_of(&owned);
            if let Err(error) = self.claim_again(owned.session, &row).await {
                self.logins.unclaimed.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn claim_again(&self, session: SessionId, row: &ClientRow) -> Result<(), DirectoryError> {
        let claimed = self.directory.claim(row).await?;
        let is_ours = self.note_claimed(session, &claimed);
        let mut hub = self.hub.lock();
        if !is_ours {
            hub.disown(&row.client_id, session);
            return Ok(());
        }
        let Claimed { epoch, previous: Some(previous), .. } = claimed else {
            return Ok(());
        };
        if let Some(will) = previous.will {
            hub.publish_will(will);
        }
        if previous.owner.member != row.owner {
            // Nobody waits for the answer: the session has long been let in. What the other node kept
            // of the session comes, and is put behind what there is.
            let nobody = Arc::new(Mailbox::new(0));
            let claim = TakeOver { client_id: row.client_id.clone(), epoch, clean: false };
            let answer = (&nobody, Ticket::default());
            hub.ask_takeover(previous.owner.member.node, claim, answer, self.takeover_deadline());
        }
        Ok(())
    }
}
