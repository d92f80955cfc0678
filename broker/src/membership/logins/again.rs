//! The rows of this node's clients, written again when the directory may have lost them. What somebody
//! else owns by now, or has erased, is found here.

use ahash::AHashSet;
use causeway_common::{
    directory::{ClientRow, DirectoryError, Restored},
    id::SessionId,
};
use tracing::debug;

use super::Membership;
use crate::hub::Owned;

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
            self.give_way(owned.session, &row, &holder);
        }
        self.claim_late().await
    }

    /// What the directory should know of a session.
    pub(in crate::membership) fn row_of(&self, owned: &Owned) -> ClientRow {
        let me = self.hub.lock().me().clone();
        let mut rows = self.logins.rows.lock();
        let fresh = || ClientRow {
            client_id: owned.client_id.clone(),
            user: owned.user.clone(),
            owner: me.clone(),
            address: String::new(),
            connected: false,
            durable: owned.durable,
            will: None,
        };
        let row = rows.entry(owned.session).or_insert_with(|| Box::new(fresh()));
        row.connected = owned.connected;
        row.owner = me;
        ClientRow::clone(row)
    }
}
