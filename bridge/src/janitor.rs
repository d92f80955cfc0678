//! Sweeps the rows of nodes whose lease has ended, so that nobody is believed to be logged in where
//! nobody is.
//!
//! Whose lease has ended is said by the core and, in the end, by the directory: it deletes only
//! rows of a life whose lease has ended by its own clock, so any number of bridges may sweep. The
//! own row of a node with durable sessions stays for their grace time, and rows whose will nobody has
//! taken yet stay too: so a dead life is swept on every look until its node row is gone.

use std::{sync::Arc, time::Duration};

use causeway_common::directory::Directory;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::link::LinkParts;

/// Sweeps until the task is aborted. `keep_row`: how long the row of a node with a home outlives its
/// lease.
pub(crate) async fn sweep(
    directory: Arc<dyn Directory>,
    parts: Arc<LinkParts>,
    keep_row: Duration,
    pause: Duration,
) {
    loop {
        let due = parts.core.lock().sweeps();
        for member in due {
            let (node, incarnation) = (&member.node, member.incarnation);
            match directory.sweep(&member, keep_row).await {
                Ok(rows) => {
                    let is_first = parts.core.lock().swept(&member);
                    parts.metrics.rows_swept.inc_by(rows);
                    parts.metrics.nodes_swept.inc_by(u64::from(is_first));
                    if is_first || rows > 0 {
                        info!(%node, %incarnation, rows, "swept");
                    }
                }
                Err(error) => {
                    warn!(%node, %incarnation, %error, "not swept, will be tried again");
                    parts.metrics.directory_errors.inc();
                }
            }
        }
        sleep(pause).await;
    }
}
