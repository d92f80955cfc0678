//! What all doors share: how many are served at a time, how fast new ones come, and who comes from where.

use std::{net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep},
};
use tracing::debug;

use crate::{
    limits::{Addresses, Bucket, Crowded, Rate, Seat},
    metrics::Metrics,
    places::{GivesWay, Places},
};

/// Lets connections in, one after the other.
#[derive(Debug)]
pub struct Gate {
    places: Places,
    /// Of new connections; none: as they come.
    pace: Option<Mutex<Bucket>>,
    addresses: Arc<Addresses>,
}

impl Gate {
    /// So many connections at a time that are not refused yet, and so many new ones a second.
    pub fn new(places: usize, rate: Option<Rate>, addresses: Addresses) -> Self {
        let now = Instant::now().into_std();
        Self {
            places: Places::new(places),
            pace: rate.map(|rate| Mutex::new(Bucket::new(rate, now))),
            addresses: Arc::new(addresses),
        }
    }

    /// Waits until one more connection may be accepted. Meanwhile they stand in the system's queue.
    pub(super) async fn opens(&self, metrics: &Metrics) {
        let mut wait = self.wait();
        if !wait.is_zero() {
            metrics.limited.connections_per_second.inc();
        }
        while !wait.is_zero() {
            sleep(wait).await;
            wait = self.wait();
        }
    }

    /// One has been accepted: takes a place for it, or none if the node ends. If there is none, whoever has
    /// been silent for longest gives way.
    pub(super) async fn place(&self, metrics: &Metrics) -> Option<OwnedSemaphorePermit> {
        if let Some(pace) = &self.pace {
            pace.lock().take(Instant::now().into_std(), 1);
        }
        self.places.take(|| metrics.limited.places.inc()).await
    }

    /// Waits until one that has a place says its first word, or until its time is over.
    pub(super) fn first_word<T>(
        &self,
        word: impl Future<Output = T>,
        until: Instant,
    ) -> impl Future<Output = Result<Option<T>, GivesWay>> {
        self.places.first_word(word, until)
    }

    /// Whether one more of this address may come; then what is to be kept as long as it is there.
    pub(super) fn admit(
        &self,
        from: IpAddr,
        metrics: &Metrics,
    ) -> Result<Option<Arc<Seat>>, Crowded> {
        let admitted = self.addresses.admit(Instant::now().into_std(), from);
        let refused = match admitted {
            Ok(seat) => return Ok(seat.map(Arc::new)),
            Err(refused) => refused,
        };
        match refused {
            Crowded::Number => metrics.limited.connections_per_address.inc(),
            Crowded::Rate => metrics.limited.address_connections_per_second.inc(),
        }
        // No louder: whoever floods must not fill the log too. What is counted is logged.
        debug!(reason = %refused, "connection not taken");
        Err(refused)
    }

    fn wait(&self) -> Duration {
        let wait = |pace: &Mutex<Bucket>| pace.lock().wait(Instant::now().into_std());
        self.pace.as_ref().map_or(Duration::ZERO, wait)
    }
}
