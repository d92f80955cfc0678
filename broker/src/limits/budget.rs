//! How near a node is to the memory it may use. It leaves to others what to do then: refusing (`connection`),
//! dropping and closing (`hub`), and looking how much it is (`memory`).

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How near.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strain {
    /// Far from it.
    #[default]
    None,
    /// Four fifths or more: nobody new is let in, no filter is taken, and whoever sends what must be kept is
    /// read slowly.
    Tight,
    /// All: what may be dropped is, and whoever sends what must be kept is closed.
    Full,
}

/// The memory a node may use, and how near to it it was when it last looked.
#[derive(Debug)]
pub struct Budget {
    bytes_max: u64,
    strain: AtomicU8,
    /// Bytes taken since the last look.
    taken: AtomicU64,
    urged: Notify,
    /// What may wait at the door, in KiB.
    door: Arc<Semaphore>,
    /// What may be lent at a time, in KiB.
    loans: Arc<Semaphore>,
    loans_kib: u32,
    lent: AtomicU64,
    /// The most that was lent at a time since the last look.
    lent_most: AtomicU64,
}

/// Memory that is used for a moment and is nobody's to free earlier: a password's comparison. Dropped when it
/// has gone back.
#[derive(Debug)]
pub struct Loan {
    budget: Arc<Budget>,
    bytes: u64,
    _part: OwnedSemaphorePermit,
}

/// Of one who is not in yet: its part of what may wait at the door.
#[derive(Debug, Default)]
pub struct DoorHold(Option<OwnedSemaphorePermit>);

impl Strain {
    /// Of so many bytes out of so many; 0 is no limit.
    fn of(bytes: u64, bytes_max: u64) -> Self {
        if bytes_max == 0 {
            Self::None
        } else if bytes >= bytes_max {
            Self::Full
        } else if bytes >= bytes_max / 5 * 4 {
            Self::Tight
        } else {
            Self::None
        }
    }
}

impl Budget {
    /// So many bytes; 0 is no limit.
    pub fn new(bytes_max: u64) -> Self {
        let door_kib = usize::try_from(bytes_max / DOOR_PART / 1024).unwrap_or(usize::MAX);
        let loans_kib = if bytes_max == 0 { u64::MAX } else { bytes_max / LOANS_PART / 1024 };
        let loans_kib = u32::try_from(loans_kib).unwrap_or(LOANS_KIB_MAX).min(LOANS_KIB_MAX);
        Self {
            bytes_max,
            strain: AtomicU8::default(),
            taken: AtomicU64::default(),
            urged: Notify::new(),
            door: Arc::new(Semaphore::new(door_kib.min(Semaphore::MAX_PERMITS))),
            loans: Arc::new(Semaphore::new(loans_kib as usize)),
            loans_kib,
            lent: AtomicU64::new(0),
            lent_most: AtomicU64::new(0),
        }
    }

    /// Whether there is one at all.
    pub fn is_limited(&self) -> bool {
        self.bytes_max > 0
    }

    /// Lends so many bytes beside the whole, when its turn comes: all loans together are a part of it, or one
    /// that is larger. None if the node ends.
    pub async fn borrow(self: &Arc<Self>, bytes: u64) -> Option<Loan> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.loans_kib);
        let part = Arc::clone(&self.loans).acquire_many_owned(kib).await.ok()?;
        let lent = self.lent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.lent_most.fetch_max(lent, Ordering::Relaxed);
        Some(Loan { budget: Arc::clone(self), bytes, _part: part })
    }

    /// What is left of the memory in use without what was lent since this was last asked: of that nothing can be
    /// freed by refusing or shedding anything.
    pub fn without_loans(&self, bytes: u64) -> u64 {
        let lent = self.lent.load(Ordering::Relaxed);
        let most = self.lent_most.swap(lent, Ordering::Relaxed).max(lent);
        bytes.saturating_sub(most)
    }

    /// So many bytes are used.
    pub fn note(&self, bytes: u64) -> Strain {
        let strain = Strain::of(bytes, self.bytes_max);
        self.strain.store(strain as u8, Ordering::Relaxed);
        self.taken.store(0, Ordering::Relaxed);
        strain
    }

    /// How near it was when that was last noted.
    pub fn strain(&self) -> Strain {
        let noted = self.strain.load(Ordering::Relaxed);
        let all = [Strain::None, Strain::Tight, Strain::Full];
        all.into_iter().find(|strain| *strain as u8 == noted).unwrap_or_default()
    }

    /// By how many bytes there must be less until there is some room again.
    pub fn excess(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.bytes_max / 10 * 9)
    }

    /// About so many bytes have been taken in, and may stay. After a part of the whole it is time to look.
    pub fn took(&self, bytes: usize) {
        if self.bytes_max == 0 {
            return;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.taken.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) >= self.bytes_max / LOOKS {
            self.urged.notify_one();
        }
    }

    /// Waits until it is time to look.
    pub async fn urged(&self) {
        self.urged.notified().await;
    }

    /// Whether one who is not in yet may have sent so many bytes: what all of them have sent must not
    /// take more than a part of the whole. A little is free.
    pub fn admits(&self, DoorHold(place): &mut DoorHold, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(FREE_BYTES).div_ceil(1024);
        let held = place.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if self.bytes_max == 0 || wanted <= held {
            return true;
        }
        let Ok(more) = u32::try_from(wanted - held) else {
            return false;
        };
        match (Arc::clone(&self.door).try_acquire_many_owned(more), place) {
            (Err(_), _) => return false,
            (Ok(more), Some(place)) => place.merge(more),
            (Ok(more), none @ None) => *none = Some(more),
        }
        true
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.budget.lent.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// All loans together take at most this part of the whole, if each does.
const LOANS_PART: u64 = 8;

/// More than anybody has, and not too much for a semaphore of any machine.
const LOANS_KIB_MAX: u32 = 1 << 28;

/// Those who are not in yet take at most this part of the whole.
const DOOR_PART: u64 = 16;

/// Whose CONNECT is no longer than this waits for nobody's leave.
const FREE_BYTES: usize = 1024;

/// After such a part of the whole has been taken in, somebody looks.
const LOOKS: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strain_grows_with_what_is_used_and_goes_with_it() {
        for (bytes_max, bytes, strain) in [
            (0, u64::MAX, Strain::None),
            (100, 0, Strain::None),
            (100, 79, Strain::None),
            (100, 80, Strain::Tight),
            (100, 99, Strain::Tight),
            (100, 100, Strain::Full),
            (u64::MAX, u64::MAX - 1, Strain::Tight),
        ] {
            let budget = Budget::new(bytes_max);
            assert_eq!((budget.note(bytes), budget.strain()), (strain, strain), "{bytes}");
            assert_eq!((budget.note(0), budget.strain()), (Strain::None, Strain::None));
        }
    }

    #[test]
    fn who_is_not_in_yet_gets_a_part_and_gives_it_back() {
        let budget = Budget::new(DOOR_PART * 3 * 1024);
        let (mut one, mut other, mut third) = Default::default();
        assert!(budget.admits(&mut one, FREE_BYTES), "a little is free");
        assert!(budget.admits(&mut one, FREE_BYTES + 1));
        assert!(budget.admits(&mut one, FREE_BYTES + 2048), "it may want more");
        assert!(!budget.admits(&mut other, FREE_BYTES + 1025));
        assert!(budget.admits(&mut other, FREE_BYTES + 1024));
        assert!(!budget.admits(&mut third, FREE_BYTES + 1));
        assert!(budget.admits(&mut third, FREE_BYTES));
        drop(one);
        assert!(budget.admits(&mut third, FREE_BYTES + 2048));
        assert!(Budget::new(0).admits(&mut other, usize::MAX), "no limit");
    }

    #[tokio::test]
    async fn after_a_part_of_the_whole_it_is_time_to_look() {
        let budget = Budget::new(6400);
        budget.took(99);
        assert!(!is_ready(budget.urged()).await);
        budget.took(1);
        assert!(is_ready(budget.urged()).await);
        budget.note(1);
        budget.took(99);
        assert!(!is_ready(budget.urged()).await);
    }

    #[tokio::test]
    async fn loans_are_apart_and_a_part_of_the_whole_at_a_time_or_one() {
        let budget = Arc::new(Budget::new(LOANS_PART * 4 * 1024));
        let first = budget.borrow(3 * 1024).await.unwrap();
        assert!(
            !is_ready(async { drop(budget.borrow(2 * 1024).await) }).await,
            "too much at a time"
        );
        let second = budget.borrow(1024).await.unwrap();
        drop(first);
        assert_eq!(budget.without_loans(10_000), 10_000 - 4 * 1024, "they were there meanwhile");
        assert_eq!(budget.without_loans(10_000), 10_000 - 1024);
        assert!(!is_ready(async { drop(budget.borrow(u64::MAX / 2).await) }).await);
        drop(second);
        let large = budget.borrow(1 << 30).await.unwrap();
        assert!(!is_ready(async { drop(budget.borrow(1).await) }).await, "alone");
        assert_eq!(budget.without_loans(10_000), 0);
        drop(large);
        assert_eq!((budget.without_loans(0), budget.without_loans(10_000)), (0, 10_000));
        let unlimited = Arc::new(Budget::new(0));
        let _many = (unlimited.borrow(1 << 30).await, unlimited.borrow(1 << 30).await);
    }

    /// Whether a future is ready at its first poll.
    async fn is_ready(future: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            () = future => true,
            () = std::future::ready(()) => false,
        }
    }
}
