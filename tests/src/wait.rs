//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// How long a test waits for what must come: far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until a condition holds; panics with the sentence that says which one did not.
pub async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    within(PATIENCE, what, holds).await;
}

/// As [`eventually`], where the time is a part of what is claimed.
pub async fn within(deadline: Duration, what: &str, holds: impl AsyncFnMut() -> bool) {
    assert!(comes_within(deadline, holds).await, "not within {deadline:?}: {what}");
}

/// Whether a condition holds before the time is over, for a test that has more to say if not.
pub async fn comes_within(deadline: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    while !holds().await {
        if Instant::now() > end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await; // pacing: between two looks
    }
    true
}
