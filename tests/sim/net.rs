//! Chance and the network: seeded numbers, and connections as two queues that lose, delay and break.
//!
//! It leaves to others: who is at the ends, and when something happens ([`crate::scene`]).

use std::collections::VecDeque;

/// A seeded source of numbers (splitmix64): the same in every run and on every machine.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end - 1`; 0 for an empty range.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn one_of<T: Copy, const N: usize>(&mut self, from: [T; N]) -> T {
        from[usize::try_from(self.below(N as u64)).unwrap_or_default()]
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.below(from.len() as u64);
        from.get(usize::try_from(at).unwrap_or_default())
    }
}

/// What comes out of a pipe.
#[derive(Debug)]
pub(crate) enum Item<T> {
    /// The connection is accepted.
    Open,
    One(T),
    /// The other side, or the network, has ended the connection.
    End,
}

/// One direction of a connection: first in, first out, each piece with the time when it is due.
#[derive(Debug)]
pub(crate) struct Pipe<T> {
    items: VecDeque<(u64, Item<T>)>,
    last_due_us: u64,
    is_open: bool,
}

impl<T> Default for Pipe<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), last_due_us: 0, is_open: true }
    }
}

impl<T> Pipe<T> {
    /// Puts a piece in; returns when it is due, or nothing if nobody will ever get it.
    pub(crate) fn put(&mut self, due_us: u64, item: Item<T>) -> Option<u64> {
        if !self.is_open {
            return None;
        }
        self.last_due_us = self.last_due_us.max(due_us);
        self.items.push_back((self.last_due_us, item));
        Some(self.last_due_us)
    }

    /// The sending side has gone: of what is on its way, `kept` pieces still arrive.
    pub(crate) fn end(&mut self, kept: usize, due_us: u64) -> Option<u64> {
        if !self.is_open {
            return None;
        }
        self.items.truncate(kept);
        self.last_due_us = self.items.back().map_or(0, |(due, _)| *due);
        let due = self.put(due_us, Item::End);
        self.is_open = false;
        due
    }

    /// The receiving side has gone.
    pub(crate) fn close(&mut self) {
        self.items.clear();
        self.is_open = false;
    }

    /// Lets nothing out before a time.
    pub(crate) fn stall(&mut self, until_us: u64) {
        for (due, _) in &mut self.items {
            *due = until_us.max(*due);
        }
        self.last_due_us = until_us.max(self.last_due_us);
    }

    pub(crate) fn take_due(&mut self, now_us: u64) -> Vec<Item<T>> {
        let due = self.items.iter().take_while(|(due, _)| *due <= now_us);
        let count = due.count();
        self.items.drain(..count).map(|(_, item)| item).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }
}

/// A connection of a client or a bridge to a node.
#[derive(Debug)]
pub(crate) struct Wire<T> {
    pub(crate) node: usize,
    /// The number of the client or the bridge.
    pub(crate) peer: usize,
    pub(crate) to_node: Pipe<T>,
    pub(crate) to_peer: Pipe<T>,
}

impl<T> Wire<T> {
    pub(crate) fn new(node: usize, peer: usize) -> Self {
        Self { node, peer, to_node: Pipe::default(), to_peer: Pipe::default() }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.to_node.is_open && self.to_peer.is_open
    }

    pub(crate) fn to(&mut self, end: End) -> &mut Pipe<T> {
        match end {
            End::Node => &mut self.to_node,
            End::Peer => &mut self.to_peer,
        }
    }
}

/// An end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Node,
    /// The client or the bridge.
    Peer,
}

impl End {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Node => Self::Peer,
            Self::Peer => Self::Node,
        }
    }
}
