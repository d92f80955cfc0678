//! What a node does when its password file or its access file has changed.
//!
//! It leaves to others: noticing ([`causeway_common::watch`]), reading ([`crate::auth`]), and what follows
//! from it for each session (`hub`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use causeway_common::watch::Watch;
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::{
    auth::{Auth, FileError},
    config,
    hub::Hub,
    metrics::Metrics,
};

/// The files of `[auth]`, watched from now on: to be called before they are read.
pub(super) fn watch_files(config: &config::Auth) -> Vec<Fresh> {
    let fresh = |file: &Path, take| {
        let file = file.to_owned();
        Fresh { watch: Watch::new(vec![file.clone()]), file, take }
    };
    let passwords = config.password_file().map(|file| fresh(file, take_passwords as Take));
    let acl = config.acl_file().map(|file| fresh(file, take_acl as Take));
    passwords.into_iter().chain(acl).collect()
}

/// A file that is taken anew whenever it has changed.
pub(super) struct Fresh {
    file: PathBuf,
    watch: Watch,
    take: Take,
}

type Take = fn(&Auth, &Mutex<Hub>) -> Result<(), FileError>;

impl Fresh {
    /// Runs until the task is aborted.
    pub(super) async fn keep(self, auth: Arc<Auth>, hub: Arc<Mutex<Hub>>, metrics: Arc<Metrics>) {
        let Self { file, watch, take } = self;
        metrics.reload_failures.with_label_values(&[&*file.to_string_lossy()]).inc_by(0);
        watch.run(move || note(&file, &metrics, take(&auth, &hub))).await;
    }
}

fn note(file: &Path, metrics: &Metrics, taken: Result<(), FileError>) {
    let file = file.to_string_lossy();
    match taken {
        Ok(()) => {
            info!(%file, "taken");
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let gauge = metrics.reload_success.with_label_values(&[&*file]);
            gauge.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        }
        Err(error) => {
            warn!(%file, %error, "not taken: what it said before goes on");
            metrics.reload_failures.with_label_values(&[&*file]).inc();
        }
    }
}

/// Whoever came with a password that is no longer in the file must come again.
fn take_passwords(auth: &Auth, hub: &Mutex<Hub>) -> Result<(), FileError> {
    let changed = auth.reload_passwords()?;
    let closed = hub.lock().close_users(|user| changed.contains(user));
    if closed > 0 {
        info!(users = changed.len(), closed, "connections closed: their passwords have changed");
    }
    Ok(())
}

fn take_acl(auth: &Auth, hub: &Mutex<Hub>) -> Result<(), FileError> {
    let acl = auth.reload_acl()?;
    hub.lock().set_acl(acl);
    Ok(())
}
