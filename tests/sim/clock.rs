//! The clock of a run, which stands still until it is told to go on, and the tasks that live by it.
//!
//! Most of the cluster is stepped by hand. A node's place in the directory and its logins are the
//! real tasks of `broker/src/membership.rs` and `broker/src/connection/login.rs`: they run here, on
//! one thread, in an order that repeats.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    runtime::{Builder, EnterGuard, Runtime},
    task::yield_now,
    time::advance,
};

/// The clock and its tasks.
pub(crate) struct Clock {
    runtime: Runtime,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        Self { runtime: runtime.unwrap() }
    }

    /// Until this is dropped, whoever asks the time asks this clock.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Lets time pass, and tasks do what they can.
    pub(crate) fn advance(&self, by: Duration) {
        self.runtime.block_on(async {
            advance(by).await;
            for _ in 0..TURNS {
                yield_now().await;
            }
        });
    }
}

/// What a call answers that never waits.
pub(crate) fn ready<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

/// So often tasks that wait for one another get their turn.
const TURNS: usize = 4;
