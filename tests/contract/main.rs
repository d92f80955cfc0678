//! What every implementation of a trait must keep: one suite a trait, run on all of them.

#[cfg(test)]
mod directory;
#[cfg(test)]
mod store;

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Waits until `condition` holds, as long as a busy machine may need.
async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < until, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await; // pacing: of the polls of a condition
    }
}
