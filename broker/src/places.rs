//! Places for connections that are not in yet, and who gives way when none is left: whoever has said nothing
//! for longest. Who talks keeps his place.
//!
//! It leaves to others: to accept, and what is said.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, sleep_until},
};
use tracing::debug;

/// It was silent for longest, and another needs its place.
#[derive(Debug)]
pub(crate) struct GivesWay;

/// Waits until a socket has something to read, or has ended: that is seen by whoever reads. A fresh socket
/// only seems to be readable.
pub(crate) async fn peek(stream: &TcpStream) {
    let _ = stream.peek(&mut [0]).await;
}

/// So many places.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    silent: Mutex<Silent>,
    /// There is one more silent connection.
    more: Notify,
}

/// Connections with a place that have not said a word yet, in the order they came.
#[derive(Debug, Default)]
struct Silent {
    next: u64,
    /// Each is told here that it must go.
    all: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        let free = Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self { free, silent: Mutex::default(), more: Notify::new() }
    }

    /// A place for one more; if need be that of another, who then gives way. None if the node ends.
    pub(crate) async fn take(&self, gives_way: impl FnOnce()) -> Option<OwnedSemaphorePermit> {
        let mut place = pin!(Arc::clone(&self.free).acquire_owned());
        tokio::select! {
            biased;
            place = &mut place => return place.ok(),
            () = self.dismiss_oldest() => gives_way(),
        }
        place.await.ok()
    }

    /// Waits until one that has a place says its first word, whatever that is, or until its time is over:
    /// then there is none.
    pub(crate) async fn first_word<T>(
        &self,
        word: impl Future<Output = T>,
        until: Instant,
    ) -> Result<Option<T>, GivesWay> {
        let (number, dismissed) = self.enter();
        let said = tokio::select! {
            biased;
            word = word => Ok(Some(word)),
            _ = dismissed => Err(GivesWay),
            () = sleep_until(until) => Ok(None),
        };
        self.silent.lock().all.remove(&number);
        if said.is_err() {
            debug!("silent connection has given way");
        }
        said
    }

    fn enter(&self) -> (u64, oneshot::Receiver<()>) {
        let (must_go, dismissed) = oneshot::channel();
        let mut silent = self.silent.lock();
        let number = silent.next;
        silent.next += 1;
        silent.all.insert(number, must_go);
        drop(silent);
        self.more.notify_one();
        (number, dismissed)
    }

    /// Tells whoever came first that it must go; waits for one if there is none.
    async fn dismiss_oldest(&self) {
        while !self.dismiss() {
            self.more.notified().await;
        }
    }

    fn dismiss(&self) -> bool {
        let mut silent = self.silent.lock();
        // Nobody waits for that any more of one that has just said something.
        std::iter::from_fn(|| silent.all.pop_first()).any(|(_, must_go)| must_go.send(()).is_ok())
    }
}
