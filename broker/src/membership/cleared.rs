//! Tells the directory of sessions that have left nothing on this node, so that logins elsewhere need not ask
//! it any more.
//!
//! It leaves to others: when that is so (`hub/moves`).

use std::collections::VecDeque;

use tracing::debug;

use super::Membership;
use crate::hub::Cleared;

impl Membership {
    /// Tells the directory, until the task is aborted. What it does not hear does no harm: this node is asked
    /// once more.
    pub async fn report_cleared(&self) {
        let cleared = self.hub.lock().cleared();
        let mut taken = VecDeque::new();
        loop {
            cleared.wait().await;
            cleared.take_all(&mut taken);
            let node = self.hub.lock().me().node.clone();
            for Cleared { client_id, epoch } in taken.drain(..) {
                if self.logins.is_unreachable() {
                    continue;
                }
                if let Err(error) = self.directory.cleared(&client_id, &node, epoch).await {
                    debug!(%error, "the directory has not heard that a session has gone");
                    self.metrics.directory_errors.inc();
                }
            }
        }
    }
}
