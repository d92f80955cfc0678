//! Keeps what was read from files as new as the files: all of it is read anew when one has changed.
//!
//! It leaves to others: to look ([`crate::watch`]), and to read.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use prometheus::IntGaugeVec;
use tracing::{info, warn};

use super::{BadFile, TlsClient, TlsServer};
use crate::{metrics::labels, watch::Watch};

labels! {
    /// Whether files could be read anew.
    pub struct Reloads {
        /// They could, and are in force.
        done,
        /// They could not; what was read before is still in force.
        failed,
    }
}

/// What is read from files and can be read anew.
#[derive(Clone, Debug)]
pub enum Fresh {
    /// A side that accepts.
    Server(Arc<TlsServer>),
    /// A side that connects.
    Client(Arc<TlsClient>),
}

impl Fresh {
    fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Server(server) => server.files(),
            Self::Client(client) => client.files(),
        }
    }

    fn reload(&self) -> Result<(), BadFile> {
        match self {
            Self::Server(server) => server.reload(),
            Self::Client(client) => client.reload(),
        }
    }

    fn certificate(&self) -> (&Path, i64) {
        match self {
            Self::Server(server) => (server.certificate(), server.expiry_secs()),
            Self::Client(client) => (client.certificate(), client.expiry_secs()),
        }
    }

    fn show_expiry(&self, expiry: &IntGaugeVec) {
        let (file, secs) = self.certificate();
        expiry.with_label_values(&[&*file.to_string_lossy()]).set(secs);
    }
}

/// Reads files anew when they change and, from the call on, at SIGHUP; until the future is dropped. `expiry`
/// shows when each certificate ends, by its file. Within a Tokio runtime.
pub fn keep_fresh(
    all: Vec<Fresh>,
    reloads: Reloads,
    expiry: IntGaugeVec,
) -> impl Future<Output = ()> + Send {
    for one in &all {
        one.show_expiry(&expiry);
    }
    let files = all.iter().flat_map(Fresh::files).collect();
    let reload = move || {
        for one in &all {
            let (certificate, _) = one.certificate();
            let certificate = certificate.display();
            match one.reload() {
                Ok(()) => {
                    reloads.done.inc();
                    one.show_expiry(&expiry);
                    info!(%certificate, "tls files are in force");
                }
                Err(error) => {
                    reloads.failed.inc();
                    warn!(%certificate, "tls files stay as they were: there must be {error}");
                }
            }
        }
    };
    Watch::new(files).run(reload)
}
