//! The mailbox: what waits for the task that owns a session or a link.
//!
//! Anybody may put something in; one task takes everything out at once and is woken once for it.
//! It is bounded in bytes for what may be dropped (deliveries, forwarded QoS 0). Control mail is
//! not bounded here: each piece of it answers something the owner asked for, and what it may ask
//! for is bounded by the owner.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Poll, Waker},
};

use parking_lot::Mutex;
use thiserror::Error;

/// A bounded queue with one reader.
#[derive(Debug)]
pub struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
    /// Bytes that its owner has taken out and still holds, by its own account.
    held: AtomicUsize,
    bytes_max: usize,
    items_max: usize,
}

#[derive(Debug)]
struct Inner<T> {
    mail: VecDeque<T>,
    bytes: usize,
    /// Droppable pieces that wait, or were taken and are still counted.
    items: usize,
    /// Of the task that waited last.
    waker: Option<Waker>,
}

/// The mailbox has no room for this many bytes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("mailbox is full")]
pub struct Full;

impl<T> Mailbox<T> {
    /// An empty mailbox that takes `bytes_max` bytes of droppable mail, and always one piece.
    pub fn new(bytes_max: usize) -> Self {
        Self::bounded(bytes_max, usize::MAX)
    }

    /// The same, with a bound on the number of droppable pieces too.
    pub fn bounded(bytes_max: usize, items_max: usize) -> Self {
        let inner = Inner { mail: VecDeque::new(), bytes: 0, items: 0, waker: None };
        Self { inner: Mutex::new(inner), held: AtomicUsize::new(0), bytes_max, items_max }
    }

    /// Whether [`Mailbox::push`] would take a piece of so many bytes. Only pushing makes this worse,
    /// so one that pushes alone may ask first.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.inner.lock().has_room(bytes, self.bytes_max, self.items_max)
    }

    /// Puts in what may be refused for want of room. A piece larger than the whole mailbox is
    /// taken while the mailbox is otherwise empty of such mail.
    pub fn push(&self, item: T, bytes: usize) -> Result<(), Full> {
        let mut inner = self.inner.lock();
        if !inner.has_room(bytes, self.bytes_max, self.items_max) {
            return Err(Full);
        }
        inner.bytes += bytes;
        inner.items += 1;
        inner.put(item);
        Ok(())
    }

    /// Puts in what must not be lost: answers and orders.
    pub fn push_control(&self, item: T) {
        self.inner.lock().put(item);
    }

    /// Takes everything that is in.
    pub fn take_all(&self, into: &mut VecDeque<T>) {
        let mut inner = self.inner.lock();
        (inner.bytes, inner.items) = (0, 0);
        inner.take(into);
    }

    /// Takes everything that is in, and goes on counting its bytes until they are released: what
    /// the owner has taken and not yet dealt with takes up room like what waits.
    pub fn take_counted(&self, into: &mut VecDeque<T>) {
        self.inner.lock().take(into);
    }

    /// So many pieces, of so many bytes in all, taken by [`Mailbox::take_counted`], have been dealt
    /// with.
    pub fn release(&self, items: usize, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.items = inner.items.saturating_sub(items);
        inner.bytes = inner.bytes.saturating_sub(bytes);
    }

    /// Counts pieces that are known to the owner already, and puts nothing in.
    pub fn count(&self, items: usize, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.items += items;
        inner.bytes += bytes;
    }

    /// Throws out what is not to be kept; what is thrown out must not be droppable mail.
    pub fn retain(&self, keep: impl FnMut(&T) -> bool) {
        self.inner.lock().mail.retain(keep);
    }

    /// Its owner's task has ended, and is woken no more.
    pub fn vacate(&self) {
        self.inner.lock().waker = None;
    }

    /// Whether nothing is in.
    pub fn is_empty(&self) -> bool {
        self.inner.lock().mail.is_empty()
    }

    /// Pieces of droppable mail that wait, or are still counted.
    pub fn item_count(&self) -> usize {
        self.inner.lock().items
    }

    /// Bytes of such mail.
    pub fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// Its owner holds so many bytes of what it has taken out; they take no room here.
    pub fn note_held(&self, bytes: usize) {
        self.held.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of such mail, and of what its owner holds.
    pub fn all_bytes(&self) -> usize {
        self.bytes() + self.held.load(Ordering::Relaxed)
    }

    /// Waits until something is in. Only the owner calls this; cancelling it loses nothing.
    pub fn wait(&self) -> impl Future<Output = ()> {
        poll_fn(|context| {
            let mut inner = self.inner.lock();
            if !inner.mail.is_empty() {
                return Poll::Ready(());
            }
            match &mut inner.waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => inner.waker = Some(context.waker().clone()),
            }
            Poll::Pending
        })
    }

    /// Gives back the room that earlier mail took.
    pub fn shrink(&self) {
        self.inner.lock().mail.shrink_to_fit();
    }
}

impl<T> Inner<T> {
    fn has_room(&self, bytes: usize, bytes_max: usize, items_max: usize) -> bool {
        (self.bytes == 0 || self.bytes + bytes <= bytes_max) && self.items < items_max
    }

    /// Wakes the owner only for the first piece: it takes all the others with it.
    fn put(&mut self, item: T) {
        self.mail.push_back(item);
        if self.mail.len() == 1
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
    }

    fn take(&mut self, into: &mut VecDeque<T>) {
        if into.is_empty() {
            std::mem::swap(&mut self.mail, into);
        } else {
            into.append(&mut self.mail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn droppable_mail_is_bounded_and_control_mail_is_not() {
        let mailbox = Mailbox::new(10);
        assert_eq!(mailbox.push('a', 6), Ok(()));
        assert_eq!(mailbox.push('b', 6), Err(Full));
        mailbox.push_control('c');
        assert_eq!(mailbox.push('d', 4), Ok(()));
        let mut taken = VecDeque::new();
        mailbox.take_all(&mut taken);
        assert_eq!(taken, ['a', 'c', 'd']);
        assert_eq!(mailbox.bytes(), 0);
    }

    #[test]
    fn a_piece_larger_than_the_mailbox_is_taken_alone() {
        let mailbox = Mailbox::new(10);
        assert_eq!(mailbox.push('a', 100), Ok(()));
        assert_eq!(mailbox.push('b', 1), Err(Full));
    }

    #[test]
    fn what_is_taken_counted_takes_up_room_until_it_is_released() {
        let mailbox = Mailbox::new(10);
        assert_eq!(mailbox.push('a', 10), Ok(()));
        let mut taken = VecDeque::new();
        mailbox.take_counted(&mut taken);
        assert_eq!(mailbox.push('b', 1), Err(Full));
        mailbox.release(1, 10);
        assert_eq!(mailbox.push('b', 1), Ok(()));
        mailbox.take_counted(&mut taken);
        assert_eq!(taken, ['a', 'b']);
    }

    #[tokio::test]
    async fn mail_put_in_before_the_wait_wakes_it() {
        let mailbox = Mailbox::new(10);
        mailbox.push_control('a');
        mailbox.wait().await;
        mailbox.take_all(&mut VecDeque::new());
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), mailbox.wait());
        assert!(waiting.await.is_err(), "an empty mailbox does not wake its owner");
    }
}
