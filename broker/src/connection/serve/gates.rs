//! What is sent only when something is durable: bytes behind a mark wait for a position of the store.
//!
//! It leaves to others: what has to be durable before what (`session`), and writing it (`store`).

use std::{future::poll_fn, task::Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::Serving;
use crate::{
    hub::change_record,
    session::Change,
    store::{Position, Store},
};

impl<S: AsyncRead + AsyncWrite + Unpin> Serving<S> {
    /// Writes down what must outlive the process. What comes after it is sent when it is durable,
    /// unless it can be lost without harm.
    pub(super) fn persist(&mut self, change: &Change) {
        let position = self.parts.store.write(change_record(self.id, change));
        match *change {
            Change::Taken { cost, .. } => self.mailbox.release(1, cost),
            Change::Released { cost, .. } => {
                self.mailbox.release(1, cost);
                self.hold_until(position);
            }
            Change::Forgotten { .. } => self.hold_until(position),
            Change::Completed { .. } => {}
        }
    }

    /// Holds everything that is sent from now on until a position is durable.
    pub(super) fn hold_until(&mut self, position: Position) {
        let last = self.gates.back().map_or(Position::default(), |(last, _)| *last);
        if position > last && position > self.parts.store.durable() {
            self.gates.push_back((position, self.wire.mark()));
            self.wire.hold_at(self.gates.front().map(|(_, mark)| *mark));
        }
    }

    pub(super) fn open_gates(&mut self, durable: Position) {
        if self.gates.is_empty() {
            return;
        }
        while self.gates.pop_front_if(|(position, _)| *position <= durable).is_some() {}
        self.wire.hold_at(self.gates.front().map(|(_, mark)| *mark));
    }
}

/// Waits until more is durable, if anybody waits for it. No async function: that would keep what it was
/// told a second time.
pub(super) fn committed(
    store: &dyn Store,
    durable: Position,
    is_awaited: bool,
) -> impl Future<Output = ()> {
    let mut wait = is_awaited.then(|| store.wait(durable));
    poll_fn(move |context| match &mut wait {
        Some(wait) => wait.as_mut().poll(context).map(drop),
        None => Poll::Pending,
    })
}
