//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// How long a test waits for what must come: far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until a condition holds; panics with the sentence that says which one did not.
pub async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    within(PATIENCE, what, holds).await;
}

/// As [`eventually`], where the time is a part of what is claimed.
pub async fn within(deadline: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !holds().await {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await; // pacing: between two looks
    }
}
