//! How long one task works before it gives way to the others of its thread: whoever sends without end must
//! not keep the others waiting. It leaves to the task to look, and to do its work in small pieces.
//!
//! Tasks that have more to do than one stint allows queue up, and one of them works at a time: between two of
//! them the sockets are looked at, and everybody who has little to do is served. So how long that takes does not
//! grow with the number of those who never end.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
    time::Instant,
};

/// Where tasks that have more to do wait for their turn, in the order they came.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

/// The work of one task from the time it is woken, or has its turn, until it waits or gives way.
///
/// ```text
///   loop {
///       if !stint.is_over() { work, piece by piece, until there is none or the stint is over }
///       let gives_way = stint.is_over();
///       select! { biased; … what may be waited for, and no new work if gives_way …
///                 () = stint.rest(gives_way) => {} }
///   }
/// ```
pub struct Stint {
    lasts: Duration,
    turns: Turns,
    /// None until it is first looked at.
    began: Option<Instant>,
    /// The place in the queue.
    place: Option<Place>,
    /// While it is the task's turn.
    turn: Option<OwnedSemaphorePermit>,
}

type Place = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

impl Turns {
    /// For a runtime of so many threads: so many work at a time.
    pub fn new(threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(threads.max(1))))
    }

    /// Waits for its turn, then until all who are ready have been served.
    async fn wait(self) -> Option<OwnedSemaphorePermit> {
        let turn = self.0.acquire_owned().await.ok();
        yield_now().await;
        turn
    }
}

impl Stint {
    /// One that lasts so long. It begins when somebody first asks whether it is over.
    pub fn new(lasts: Duration, turns: Turns) -> Self {
        Self { lasts, turns, began: None, place: None, turn: None }
    }

    /// Whether the others have waited long enough.
    pub fn is_over(&mut self) -> bool {
        self.is_over_at(Instant::now())
    }

    /// The same, by a time that is known.
    pub fn is_over_at(&mut self, now: Instant) -> bool {
        let began = *self.began.get_or_insert(now);
        now.saturating_duration_since(began) >= self.lasts
    }

    /// Lets all who are ready go first, without a look at the sockets; what they take does not count.
    pub fn step_aside(&mut self) -> impl Future<Output = ()> {
        let mut since = None;
        poll_fn(move |context| {
            let now = Instant::now();
            let Some(since) = since else {
                since = Some(now);
                context.waker().wake_by_ref();
                return Poll::Pending;
            };
            self.began = self.began.map(|began| began + now.saturating_duration_since(since));
            Poll::Ready(())
        })
    }

    /// The last branch of a `select!` that is `biased`: once it is polled nothing else was ready. Without more
    /// to do it never ends, and whatever wakes the task begins a new stint. With more to do it ends when
    /// it is the task's turn, and the new stint begins only then; dropped before, it keeps its place.
    ///
    /// No async function: that would keep what it was told a second time.
    pub fn rest(&mut self, has_more: bool) -> impl Future<Output = ()> {
        poll_fn(move |context| {
            self.turn = None;
            if !has_more {
                self.began = None;
                return Poll::Pending;
            }
            let place = self.place.get_or_insert_with(|| Box::pin(self.turns.clone().wait()));
            let turn = ready!(place.as_mut().poll(context));
            (self.turn, self.place, self.began) = (turn, None, None);
            Poll::Ready(())
        })
    }
}

impl fmt::Debug for Stint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stint").field("began", &self.began).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::{select, task::JoinSet};

    use super::*;

    const LASTS: Duration = Duration::from_millis(1);

    #[test]
    fn it_lasts_from_the_first_look() {
        let mut stint = Stint::new(LASTS, Turns::new(1));
        let began = Instant::now();
        let looks = [0, 999, 1000, 5000].map(|micros| began + Duration::from_micros(micros));
        assert_eq!(looks.map(|now| stint.is_over_at(now)), [false, false, true, true]);
        assert!(!Stint::new(LASTS, Turns::new(1)).is_over_at(began + LASTS));
    }

    #[tokio::test]
    async fn whoever_has_rested_begins_anew() {
        let mut stint = Stint::new(LASTS, Turns::new(1));
        let began = Instant::now();
        for round in 0..3 {
            let now = began + LASTS * 2 * round;
            assert!(!stint.is_over_at(now));
            assert!(stint.is_over_at(now + LASTS));
            stint.rest(true).await;
        }
    }

    #[tokio::test]
    async fn it_goes_on_while_something_else_is_ready() {
        let mut stint = Stint::new(LASTS, Turns::new(1));
        let began = Instant::now();
        assert!(!stint.is_over_at(began));
        select! {
            biased;
            () = std::future::ready(()) => {}
            () = stint.rest(false) => {}
        }
        assert!(stint.is_over_at(began + LASTS));
    }

    #[tokio::test]
    async fn whoever_steps_aside_comes_after_all_who_are_ready_and_pays_nothing_for_it() {
        let mut stint = Stint::new(LASTS, Turns::new(1));
        assert!(!stint.is_over_at(Instant::now()));
        let other = tokio::spawn(async {
            let began = Instant::now();
            while began.elapsed() < LASTS * 3 {}
            began.elapsed()
        });
        let before = stint.began.unwrap();
        stint.step_aside().await;
        assert!(other.is_finished());
        assert!(stint.began.unwrap() - before >= other.await.unwrap());
    }

    #[tokio::test]
    async fn whatever_wakes_it_in_the_queue_it_keeps_its_place_and_begins_nothing() {
        let turns = Turns::new(1);
        let held = turns.clone().wait().await;
        let mut stint = Stint::new(Duration::ZERO, turns.clone());
        for _ in 0..2 {
            assert!(stint.is_over());
            select! {
                biased;
                () = stint.rest(true) => panic!("it is not its turn"),
                () = yield_now() => {}
            }
        }
        let mut later = Box::pin(turns.wait());
        select! {
            biased;
            _ = &mut later => panic!("it is not its turn"),
            () = yield_now() => {}
        }
        drop(held);
        select! {
            biased;
            _ = &mut later => panic!("it came later"),
            () = stint.rest(true) => {}
        }
    }

    /// Fifty tasks of one thread never end; one that has little to do waits for few of their stints, not for all.
    #[tokio::test]
    async fn who_has_little_to_do_does_not_wait_for_all_the_others() {
        let (turns, stints) = (Turns::new(1), Arc::new(AtomicUsize::new(0)));
        let mut busy = JoinSet::new();
        for _ in 0..50 {
            let (mut stint, stints) = (Stint::new(Duration::ZERO, turns.clone()), stints.clone());
            busy.spawn(async move {
                loop {
                    stints.fetch_add(1, Ordering::Relaxed);
                    stint.rest(true).await;
                }
            });
        }
        yield_now().await;
        for _ in 0..100 {
            let before = stints.load(Ordering::Relaxed);
            yield_now().await;
            let between = stints.load(Ordering::Relaxed) - before;
            assert!(between <= 50, "{between}");
        }
        let all = stints.load(Ordering::Relaxed);
        assert!((50..=250).contains(&all), "{all}: each at first, then about one at a time");
    }
}
