//! What both halves of a QoS exchange need: a window of packet identifiers in flight.
//!
//! The rules of the exchange itself are the session's (towards clients) and the link's (between
//! node and bridge).

use std::collections::VecDeque;

use ahash::RandomState;
use indexmap::IndexMap;

use crate::id::PacketId;

/// What is in flight, in the order it was sent, each under a packet identifier of its own.
///
/// Identifiers are given out in a circle, so a slot is found by subtraction, and one that has just
/// been freed is the last to be used again [MQTT-2.3.1-2].
///
/// ```text
///   base = 7        ids  7    8    9    10
///   slots           │ x │ – │ x │ x │        8 was answered out of order and waits for 7
/// ```
#[derive(Debug)]
pub struct Window<T> {
    /// Identifier of the first slot, counted from 0.
    base: u16,
    slots: VecDeque<Option<T>>,
    /// Older than all in `slots`: what was left unanswered while the identifiers went round once. It
    /// has lost its slot, so that it keeps none but its own identifier from being used.
    late: IndexMap<PacketId, T, RandomState>,
    len: usize,
}

impl<T> Window<T> {
    /// An empty window.
    pub fn new() -> Self {
        Self { base: 0, slots: VecDeque::new(), late: IndexMap::default(), len: 0 }
    }

    /// How many are in flight.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether an identifier can be given out: at most 65,535 are in flight.
    pub fn has_room(&self) -> bool {
        self.len < CIRCLE
    }

    /// Gives an item an identifier; hands it back if none is free.
    pub fn push(&mut self, item: T) -> Result<PacketId, T> {
        let Some(id) = self.free_id() else {
            return Err(item);
        };
        self.slots.push_back(Some(item));
        self.len += 1;
        Ok(id)
    }

    /// The next identifier, whose slot is to be appended.
    fn free_id(&mut self) -> Option<PacketId> {
        while self.has_room() {
            if self.slots.len() == CIRCLE {
                self.give_up_first_slot();
            }
            let id = self.id_at(self.slots.len())?;
            if !self.late.contains_key(&id) {
                return Some(id);
            }
            self.slots.push_back(None);
        }
        None
    }

    fn give_up_first_slot(&mut self) {
        if let (Some(id), Some(Some(item))) = (self.id_at(0), self.slots.pop_front()) {
            self.late.insert(id, item);
        }
        self.base = (self.base + 1) % SIZE;
    }

    /// What is in flight under an identifier.
    pub fn get_mut(&mut self, id: PacketId) -> Option<&mut T> {
        if self.late.contains_key(&id) {
            return self.late.get_mut(&id);
        }
        self.slots.get_mut(self.index_of(id))?.as_mut()
    }

    /// Takes what is in flight under an identifier out of the window.
    pub fn take(&mut self, id: PacketId) -> Option<T> {
        if let Some(item) = self.late.shift_remove(&id) {
            self.len -= 1;
            return Some(item);
        }
        let index = self.index_of(id);
        let item = self.slots.get_mut(index)?.take()?;
        self.len -= 1;
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.base = (self.base + 1) % SIZE;
        }
        Some(item)
    }

    /// What is in flight, in the order it was sent.
    pub fn iter(&self) -> impl Iterator<Item = (PacketId, &T)> {
        let late = self.late.iter().map(|(id, item)| (*id, item));
        let items = self.slots.iter().enumerate();
        late.chain(items.filter_map(|(index, slot)| Some((self.id_at(index)?, slot.as_ref()?))))
    }

    /// Empties the window, in the order it was filled. Identifiers go on where they were.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        let used = u16::try_from(self.slots.len()).unwrap_or(0);
        self.base = wrapping(self.base, used);
        self.len = 0;
        let late = self.late.drain(..).map(|(_, item)| item);
        late.chain(self.slots.drain(..).flatten())
    }

    fn index_of(&self, id: PacketId) -> usize {
        let position = id.get() - 1;
        usize::from(wrapping(position, SIZE - self.base))
    }

    fn id_at(&self, index: usize) -> Option<PacketId> {
        let index = u16::try_from(index).ok()?;
        PacketId::new(wrapping(self.base, index) + 1)
    }
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// `a + b` in the circle of identifiers; `b` may be a whole turn.
fn wrapping(a: u16, b: u16) -> u16 {
    u16::try_from((u32::from(a) + u32::from(b)) % u32::from(SIZE)).unwrap_or(0)
}

/// How many packet identifiers there are: 1 to 65,535.
const SIZE: u16 = u16::MAX;
const CIRCLE: usize = SIZE as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_go_round_and_skip_zero() {
        let mut window = Window::new();
        let mut seen = Vec::new();
        for _ in 0..SIZE {
            let id = window.push(()).unwrap();
            seen.push(id.get());
            window.take(id).unwrap();
        }
        assert_eq!(seen, (1..=SIZE).collect::<Vec<_>>());
        assert_eq!(window.push(()).unwrap().get(), 1);
    }

    #[test]
    fn an_answer_out_of_order_frees_its_slot_when_the_older_are_answered() {
        let mut window = Window::new();
        let ids: Vec<_> = (0..3).map(|item| window.push(item).unwrap()).collect();
        assert_eq!(window.take(ids[1]), Some(1));
        assert_eq!(window.take(ids[1]), None);
        assert_eq!(window.iter().map(|(_, item)| *item).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(window.take(ids[0]), Some(0));
        assert_eq!(window.slots.len(), 1);
        assert_eq!(window.get_mut(ids[2]), Some(&mut 2));
    }

    #[test]
    fn a_full_window_hands_the_item_back() {
        let mut window = Window::new();
        for item in 0..u32::from(SIZE) {
            window.push(item).unwrap();
        }
        assert!(!window.has_room());
        assert_eq!(window.push(9), Err(9));
        let first = PacketId::new(1).unwrap();
        assert_eq!(window.take(first), Some(0));
        assert_eq!(window.push(9), Ok(first));
    }

    #[test]
    fn one_without_an_answer_does_not_use_up_the_identifiers() {
        let mut window = Window::new();
        let (first, second) = (window.push(-1).unwrap(), window.push(-2).unwrap());
        for item in 0..200_000 {
            let id = window.push(item).unwrap();
            assert!(id != first && id != second);
            assert_eq!(window.get_mut(id), Some(&mut item.clone()));
            assert_eq!(window.take(id), Some(item));
        }
        let last = window.push(7).unwrap();
        assert_eq!(window.iter().map(|(_, item)| *item).collect::<Vec<_>>(), [-1, -2, 7]);
        assert_eq!(window.len(), 3);
        assert_eq!((window.take(second), window.take(second)), (Some(-2), None));
        assert_eq!(window.get_mut(first), Some(&mut -1));
        assert_eq!(window.take(last), Some(7));
        assert_eq!(window.drain().collect::<Vec<_>>(), [-1]);
        assert!(window.is_empty());
    }

    #[test]
    fn a_window_with_late_ones_takes_as_many_as_there_are_identifiers() {
        let mut window = Window::new();
        let late = window.push(0).unwrap();
        let ids: Vec<_> = (1..SIZE).map(|item| window.push(item).unwrap()).collect();
        for id in ids.into_iter().step_by(2) {
            window.take(id).unwrap();
            window.push(1).unwrap();
        }
        assert_eq!((window.len(), window.push(9)), (CIRCLE, Err(9)));
        assert_eq!(window.take(late), Some(0));
        assert_eq!(window.push(9), Ok(late));
        let used: std::collections::BTreeSet<_> = window.iter().map(|(id, _)| id.get()).collect();
        assert_eq!(used.len(), CIRCLE);
    }

    #[test]
    fn a_drained_window_starts_with_new_identifiers() {
        let mut window = Window::new();
        let old = window.push('a').unwrap();
        window.push('b').unwrap();
        assert_eq!(window.drain().collect::<String>(), "ab");
        assert_eq!(window.take(old), None);
        assert_eq!(window.push('c').unwrap().get(), 3);
    }
}
