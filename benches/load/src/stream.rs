//! One publisher's messages: which may be sent now, which have arrived everywhere.
//!
//! It is pure: it is told the time. It leaves to others: the bytes ([`crate::packet`]), and who
//! hears them ([`crate::traffic`]).

use std::collections::VecDeque;

use crate::packet::QoS;

/// What lets a publisher send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Closed loop: at most so many messages on their way.
    Window(u32),
    /// Open loop: the message at place `n` is due at `first_ns + n * interval_ns`, whatever became
    /// of those before it.
    Rate {
        /// Due time of the first one.
        first_ns: u64,
        /// Time between two.
        interval_ns: u64,
    },
}

/// The messages of one publisher. A message is complete when every reader has had it or a later
/// one, and, above QoS 0, the broker has acknowledged it to the publisher.
#[derive(Debug)]
pub struct Stream {
    pace: Pace,
    qos: QoS,
    readers: u32,
    next: u32,
    complete: u32,
    acknowledged: u32,
    /// For each message from `complete` to `next`: by how many readers it is still to be had.
    awaited: VecDeque<u32>,
    progress_ns: u64,
    given_up: u64,
}

impl Stream {
    /// One that so many readers hear.
    pub fn new(pace: Pace, qos: QoS, readers: u32) -> Self {
        Self {
            pace,
            qos,
            readers,
            next: 0,
            complete: 0,
            acknowledged: 0,
            awaited: VecDeque::new(),
            progress_ns: 0,
            given_up: 0,
        }
    }

    /// How many messages have been sent.
    pub fn sent(&self) -> u32 {
        self.next
    }

    /// How many readers every message has.
    pub fn readers(&self) -> u32 {
        self.readers
    }

    /// Whether everything sent is complete.
    pub fn is_complete(&self) -> bool {
        self.complete == self.next
    }

    /// Messages that it no longer waits for.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Begins an open loop at this time; nothing else changes its pace.
    pub fn start(&mut self, now_ns: u64) {
        match &mut self.pace {
            Pace::Window(_) => {}
            Pace::Rate { first_ns, .. } => *first_ns += now_ns,
        }
    }

    /// When the next message is or was due, in an open loop.
    pub fn due(&self) -> Option<u64> {
        match self.pace {
            Pace::Window(_) => None,
            Pace::Rate { first_ns, interval_ns } => {
                Some(first_ns + u64::from(self.next) * interval_ns)
            }
        }
    }

    /// Takes the next message, if it may be sent: its place and when it was due.
    pub fn take(&mut self, now_ns: u64) -> Option<(u32, u64)> {
        let under_way = self.next - self.complete;
        let due_ns = match self.pace {
            Pace::Window(window) => (under_way < window).then_some(now_ns)?,
            Pace::Rate { .. } => self.due().filter(|&due| due <= now_ns)?,
        };
        if under_way >= UNDER_WAY_MAX {
            return None;
        }
        if self.is_complete() {
            self.progress_ns = now_ns;
        }
        let place = self.next;
        self.next += 1;
        self.awaited.push_back(self.readers);
        Some((place, due_ns))
    }

    /// One reader has had the messages from one place up to before another.
    pub fn heard(&mut self, from: u32, to: u32, now_ns: u64) {
        let from = from.saturating_sub(self.complete);
        let to = to.saturating_sub(self.complete);
        let (from, to) = (index(from), index(to));
        for awaited in self.awaited.iter_mut().take(to).skip(from) {
            *awaited = awaited.saturating_sub(1);
        }
        self.settle(now_ns);
    }

    /// The broker has acknowledged one message more.
    pub fn acknowledged(&mut self, now_ns: u64) {
        self.acknowledged = self.next.min(self.acknowledged + 1);
        self.settle(now_ns);
    }

    fn settle(&mut self, now_ns: u64) {
        let acknowledged = if self.qos == QoS::AtMostOnce { self.next } else { self.acknowledged };
        while self.complete < acknowledged && self.awaited.front() == Some(&0) {
            self.awaited.pop_front();
            self.complete += 1;
            self.progress_ns = now_ns;
        }
    }

    /// Gives up what is under way if nothing of it has become complete for so long. True if it did.
    pub fn lose_patience(&mut self, now_ns: u64, patience_ns: u64) -> bool {
        let stuck = !self.is_complete() && now_ns.saturating_sub(self.progress_ns) > patience_ns;
        if stuck {
            self.given_up += u64::from(self.next - self.complete);
            self.awaited.clear();
            self.complete = self.next;
            self.acknowledged = self.next;
        }
        stuck
    }
}

fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// Packet identifiers of a publisher are unique so far.
const UNDER_WAY_MAX: u32 = 65_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_when_all_readers_have_heard_and_the_broker_has_acknowledged() {
        let mut stream = Stream::new(Pace::Window(2), QoS::AtLeastOnce, 2);
        assert_eq!(stream.take(5), Some((0, 5)));
        assert_eq!(stream.take(6), Some((1, 6)));
        assert_eq!(stream.take(7), None);
        stream.heard(0, 1, 8);
        stream.heard(0, 2, 8);
        assert_eq!(stream.take(9), None, "not acknowledged");
        stream.acknowledged(9);
        assert_eq!(stream.take(10), Some((2, 10)));
        stream.acknowledged(11);
        assert_eq!(stream.take(11), None, "one reader lacks the second");
        stream.heard(1, 2, 12);
        assert_eq!(stream.take(12), Some((3, 12)));
    }

    #[test]
    fn a_rate_tells_when_messages_were_due_however_late_they_leave() {
        let pace = Pace::Rate { first_ns: 10, interval_ns: 100 };
        let mut stream = Stream::new(pace, QoS::AtMostOnce, 1);
        stream.start(1000);
        assert_eq!(stream.take(1009), None);
        assert_eq!(stream.take(1250), Some((0, 1010)));
        assert_eq!(stream.take(1250), Some((1, 1110)));
        assert_eq!(stream.take(1250), Some((2, 1210)));
        assert_eq!(stream.take(1250), None);
        assert_eq!(stream.due(), Some(1310));
    }

    #[test]
    fn a_gap_does_not_hold_up_a_stream_and_silence_does_so_for_its_patience_only() {
        let mut stream = Stream::new(Pace::Window(2), QoS::AtMostOnce, 1);
        stream.take(0);
        stream.take(0);
        stream.heard(0, 2, 1);
        assert!(stream.is_complete(), "the first is lost, the second had");
        stream.take(100);
        assert!(!stream.lose_patience(150, 50));
        assert!(stream.lose_patience(151, 50));
        assert_eq!((stream.is_complete(), stream.given_up()), (true, 1));
        stream.heard(2, 3, 160);
        assert_eq!(stream.take(161), Some((3, 161)), "what comes late after all does no harm");
    }
}
