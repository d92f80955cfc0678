//! Which durable filters this node has, as the directory knows it: while the node is gone, what is said
//! under them waits for it, also for a bridge that starts meanwhile and knows nothing else.

use std::{sync::atomic::Ordering, time::Duration};

use causeway_common::directory::DirectoryError;
use tokio::time::sleep;
use tracing::debug;

use super::Membership;

impl Membership {
    /// Tells the directory which durable filters come and go, until the task is aborted: a bridge that
    /// starts while this node is gone knows from there what waits for it.
    pub async fn keep_home(&self) {
        loop {
            let (add, remove) = self.hub.lock().take_home_changes();
            let node = self.hub.lock().me().node.clone();
            if !add.is_empty() || !remove.is_empty() {
                // What went and came back since must stay.
                let held = self.hub.lock().durable_filters();
                let remove: Vec<_> =
                    remove.into_iter().filter(|gone| held.binary_search(gone).is_err()).collect();
                if let Err(error) = self.directory.note_home(&node, &add, &remove).await {
                    debug!(%error, "durable filters wait for the directory");
                    self.home_is_behind.store(true, Ordering::Relaxed);
                }
            }
            sleep(HOME_INTERVAL).await;
        }
    }

    pub(super) async fn write_home_again(&self) -> Result<(), DirectoryError> {
        let (node, held) = {
            let mut hub = self.hub.lock();
            hub.take_home_changes();
            (hub.me().node.clone(), hub.durable_filters())
        };
        self.home_is_behind.store(true, Ordering::Relaxed);
        self.directory.replace_home(&node, &held).await?;
        self.home_is_behind.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// How far the directory may be behind with durable filters.
const HOME_INTERVAL: Duration = Duration::from_millis(50);
