//! Which durable filters this node has, as the directory knows it: while the node is gone, what is said
//! under them waits for it, also for a bridge that starts meanwhile and knows nothing else.

use std::{collections::VecDeque, sync::atomic::Ordering};

use causeway_common::directory::DirectoryError;
use tracing::debug;

use super::Membership;
use crate::hub::sum_up;

impl Membership {
    /// Tells the directory which durable filters come and go, until the task is aborted. What comes
    /// while it is being told goes together.
    pub async fn keep_home(&self) {
        let changes = self.hub.lock().home_changes();
        loop {
            changes.wait().await;
            let _turn = self.home_turn.lock().await;
            let mut taken = VecDeque::new();
            changes.take_all(&mut taken);
            let Some(version) = taken.back().map(|change| change.version) else {
                continue;
            };
            let (add, remove) = sum_up(taken);
            if self.logins.is_unreachable() {
                self.home_is_behind.store(true, Ordering::Relaxed);
            } else {
                let node = self.hub.lock().me().node.clone();
                if let Err(error) = self.directory.note_home(&node, &add, &remove).await {
                    debug!(%error, "durable filters wait for the directory");
                    self.home_is_behind.store(true, Ordering::Relaxed);
                }
            }
            self.hub.lock().home_noted(version);
        }
    }

    pub(super) async fn write_home_again(&self) -> Result<(), DirectoryError> {
        let _turn = self.home_turn.lock().await;
        let (node, held, version) = {
            let mut hub = self.hub.lock();
            (hub.me().node.clone(), hub.durable_filters(), hub.skip_home_changes())
        };
        self.home_is_behind.store(true, Ordering::Relaxed);
        let replaced = self.directory.replace_home(&node, &held).await;
        self.hub.lock().home_noted(version);
        replaced?;
        self.home_is_behind.store(false, Ordering::Relaxed);
        Ok(())
    }
}
