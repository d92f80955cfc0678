//! Looks ten times a second, and whenever much has come in, how much memory the process uses, and tells whoever
//! acts on it.
//!
//! What is looked at is what the system would kill it for, its resident memory: it counts what no sum
//! of queues does. It leaves to others what follows ([`crate::limits::Strain`]).

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::{
    hub::Hub,
    limits::{Budget, Strain},
    metrics::Metrics,
    sys::memory,
};

/// Watches until the task is aborted; nothing if there is no limit.
pub async fn watch(budget: Arc<Budget>, hub: Arc<Mutex<Hub>>, metrics: Arc<Metrics>) {
    if !budget.is_limited() {
        return;
    }
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Strain::None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = budget.urged() => {}
        }
        let Some(memory) = memory() else {
            warn!("limits.memory_bytes_max has no effect: the system does not tell what is used");
            return;
        };
        let bytes = budget.without_loans(memory.bytes);
        let strain = budget.note(bytes);
        if strain == Strain::Full {
            hub.lock().shed(budget.excess(bytes));
        }
        if strain == before {
            continue;
        }
        hub.lock().feel(strain);
        metrics.memory_strain.set(strain as i64);
        if strain > before {
            warn!(bytes, ?strain, "memory is short");
        } else {
            info!(bytes, ?strain, "memory is less short");
        }
        before = strain;
    }
}

const TICK: Duration = Duration::from_millis(100);
