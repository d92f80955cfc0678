//! Sweeps the rows of nodes whose lease has ended, so that nobody is believed to be logged in where
//! nobody is.
//!
//! Whose lease has ended is said by the core and, in the end, by the directory: it deletes only
//! rows of a life whose lease has ended by its own clock, so any number of bridges may sweep.

use std::{sync::Arc, time::Duration};

use causeway_common::directory::Directory;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::link::LinkParts;

/// Sweeps until the task is aborted.
pub(crate) async fn sweep(directory: Arc<dyn Directory>, parts: Arc<LinkParts>, pause: Duration) {
    loop {
        let due = parts.core.lock().sweeps();
        for member in due {
            let (node, incarnation) = (&member.node, member.incarnation);
            match directory.sweep(&member).await {
                Ok(rows) => {
                    info!(%node, %incarnation, rows, "swept");
                    parts.metrics.rows_swept.inc_by(rows);
                    parts.metrics.nodes_swept.inc();
                    parts.core.lock().swept(&member);
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
