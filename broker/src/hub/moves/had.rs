//! Messages that a session's client has had, or that wait for it: what another node has of the same is known
//! when it comes.
//!
//! Bounded in number and in time. What came with QoS 2 is written down too, the last of it: a node that was
//! killed still knows. Copies of QoS 1 may come again then.

use std::collections::VecDeque;

use ahash::{AHashMap, AHashSet};
use causeway_common::{id::SessionId, link::Origin, qos::QoS};

use super::letter::Piece;
use crate::{
    hub::{
        Hub,
        record::{Name, encode},
        registry::Entry,
    },
    store::Batch,
};

/// Names of messages, the last of them.
#[derive(Debug)]
pub(super) struct Had {
    /// With the number under which it is written down, if it is.
    names: AHashMap<Origin, Option<u64>>,
    order: VecDeque<Origin>,
    /// By number, without gaps: some may have been forgotten, or be written down anew.
    written: VecDeque<Origin>,
    /// The number of the next one to be written down.
    next: u64,
    /// The greatest number of names: what waits in a full queue, and more.
    most: usize,
    /// In seconds since 1970.
    until_secs: u64,
}

impl Had {
    fn new() -> Self {
        let (names, order, written) = (AHashMap::new(), VecDeque::new(), VecDeque::new());
        Self { names, order, written, next: 0, most: HAD_MAX, until_secs: 0 }
    }

    fn note(&mut self, name: &Origin) {
        if self.names.contains_key(name) {
            return;
        }
        self.names.insert(name.clone(), None);
        self.order.push_back(name.clone());
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }

    /// Writes down one that is noted.
    fn write(&mut self, session: SessionId, name: &Origin, batch: &mut Batch) {
        let Some(number @ None) = self.names.get_mut(name) else {
            return;
        };
        *number = Some(self.next);
        batch.put(Name::Had(session, self.next).key(), encode(name));
        self.next += 1;
        self.written.push_back(name.clone());
        if self.written.len() > WRITTEN_MAX
            && let Some(oldest) = self.written.pop_front()
        {
            let number = self.next - 1 - self.written.len() as u64;
            batch.delete(Name::Had(session, number).key());
            if let Some(known) = self.names.get_mut(&oldest) {
                known.take_if(|known| *known == number);
            }
        }
    }

    /// Another node has it from now on, and may give it back.
    fn forget(&mut self, session: SessionId, name: &Origin, batch: &mut Batch) {
        let Some(number) = self.names.remove(name) else {
            return;
        };
        self.order.retain(|known| known != name);
        batch.deletes.extend(number.map(|number| Name::Had(session, number).key()));
    }

    /// The last of them, without those that are in the line still.
    fn past(&self, line: &AHashSet<Origin>) -> Vec<Origin> {
        let gone = self.order.iter().rev().filter(|name| !line.contains(*name));
        gone.take(PAST_MAX).cloned().collect()
    }

    /// Deletes what is written down.
    fn erase(&self, session: SessionId, batch: &mut Batch) {
        let first = self.next - self.written.len() as u64;
        let keys = (first..self.next).map(|number| Name::Had(session, number).key());
        batch.deletes.extend(keys);
    }
}

impl Entry {
    /// Whether this very message was put into the line before. If not, it is known from now on.
    pub(in crate::hub) fn has_had(&mut self, name: Option<&Origin>) -> bool {
        let (Some(had), Some(name)) = (self.merge.had.as_mut(), name) else {
            return false;
        };
        let known = had.names.contains_key(name);
        had.note(name);
        known
    }

    /// Says what is to be written down of a message that is known from now on.
    pub(in crate::hub) fn write_had(
        &mut self,
        session: SessionId,
        (name, qos): (Option<&Origin>, QoS),
        batch: &mut Batch,
    ) {
        if qos == QoS::ExactlyOnce
            && let (Some(had), Some(name)) = (self.merge.had.as_mut(), name)
        {
            had.write(session, name, batch);
        }
    }

    /// Another node has these from now on, and may give them back.
    pub(super) fn forget_had<'a>(
        &mut self,
        session: SessionId,
        names: impl Iterator<Item = &'a Origin>,
        batch: &mut Batch,
    ) {
        if let Some(had) = &mut self.merge.had {
            names.for_each(|name| had.forget(session, name, batch));
        }
    }

    /// Forgets all of it, on the disk too.
    pub(in crate::hub) fn erase_had(&mut self, session: SessionId, batch: &mut Batch) {
        if let Some(had) = self.merge.had.take() {
            had.erase(session, batch);
        }
    }

    /// What a store kept, by number.
    pub(in crate::hub) fn restore_had(&mut self, kept: Vec<(u64, Origin)>) {
        let Some((first, _)) = kept.first() else {
            return;
        };
        let mut had = Box::new(Had::new());
        had.next = *first;
        for (number, name) in kept {
            // Of what was forgotten nothing is there.
            let gap = usize::try_from(number - had.next).unwrap_or_default().min(WRITTEN_MAX);
            had.written.extend(std::iter::repeat_n(name.clone(), gap + 1));
            had.next = number + 1;
            had.note(&name);
            had.names.insert(name, Some(number));
        }
        self.merge.had = Some(had);
    }
}

impl Hub {
    /// Messages that a parked session's client has had, as far as is remembered.
    pub(super) fn past_of(&self, session: SessionId) -> Vec<Origin> {
        let Some(entry) = self.registry.entries.get(&session) else {
            return Vec::new();
        };
        let Some(had) = &entry.merge.had else {
            return Vec::new();
        };
        let mut line = AHashSet::new();
        entry.name_all((&self.me.node, session), |name| {
            line.insert(name);
        });
        had.past(&line)
    }

    /// The client has had these where it was before: copies of them that come are none for it.
    pub(super) fn remember_past(&mut self, session: SessionId, past: &[Origin]) {
        let entry = self.registry.entries.get_mut(&session);
        if let Some(had) = entry.and_then(|entry| entry.merge.had.as_mut()) {
            past.iter().rev().for_each(|name| had.note(name));
        }
    }

    /// Remembers from now on what comes into a session's line, and what is in it.
    pub(in crate::hub) fn remember_line(&mut self, session: SessionId) {
        let until_secs = self.wall_secs + REMEMBERED_SECS;
        let Some(entry) = self.registry.entries.get_mut(&session).filter(|entry| entry.durable)
        else {
            return;
        };
        let mut had = entry.merge.had.take().unwrap_or_else(|| Box::new(Had::new()));
        had.until_secs = until_secs;
        had.most = HAD_MAX.saturating_add(self.limits.session.queue_messages_max);
        entry.name_all((&self.me.node, session), |name| had.note(&name));
        entry.merge.had = Some(had);
    }

    /// Another node may have these messages of the line, and give them back when the client has had them here.
    pub(super) fn write_pieces_had(&mut self, session: SessionId, pieces: &[Piece]) {
        let Some(entry) = self.registry.entries.get_mut(&session) else {
            return;
        };
        let mut batch = Batch::default();
        for Piece { message, .. } in pieces {
            if let Ok((qos, _)) = message.delivery() {
                entry.write_had(session, (message.origin.as_ref(), qos), &mut batch);
            }
        }
        if !batch.is_empty() {
            self.store.write(batch);
        }
    }

    /// Forgets what was remembered for long enough.
    pub(super) fn sweep_had(&mut self) {
        let (wall_secs, mut batch) = (self.wall_secs, Batch::default());
        for (session, entry) in &mut self.registry.entries {
            if entry.merge.had.as_ref().is_some_and(|had| had.until_secs < wall_secs) {
                entry.erase_had(*session, &mut batch);
            }
        }
        if !batch.is_empty() {
            self.store.write(batch);
        }
    }
}

/// Besides what waits.
const HAD_MAX: usize = 4096;

/// What may still be on its way anywhere is among the last.
const PAST_MAX: usize = 1024;

const WRITTEN_MAX: usize = 1024;

/// How long a session remembers what came into its line: what another node has of it should have come
/// by then.
const REMEMBERED_SECS: u64 = 600;
