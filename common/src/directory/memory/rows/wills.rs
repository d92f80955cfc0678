//! The wills of connections that have ended in the directory in memory: held, settled, or free again.

use super::{Client, Rows};
use crate::{
    directory::{End, HeldWill, Member, WILL_HELD, WILLS_MAX},
    id::Epoch,
    message::Message,
};

/// Wills in a client's row that are to be published.
#[derive(Default)]
pub(super) struct Debt {
    /// Each with the claim that it came with.
    wills: Vec<(Epoch, Message)>,
    /// Until when whoever took the last has them alone.
    held_until_us: u64,
    /// The row goes when all are settled: whether its owner has said that its session has ended.
    goes: Option<bool>,
}

impl Rows {
    pub(in crate::directory::memory) fn take_wills(&mut self, member: &Member) -> Vec<HeldWill> {
        let (now, now_us) = (self.now(), self.now_us());
        if self.living(member, now).is_some() {
            return Vec::new();
        }
        let left = self.clients.values_mut().filter(|client| client.row.owner == *member);
        let free = left.filter(|client| !client.is_held(now_us));
        let taken = free.filter_map(|client| {
            let wills = client.end(End::Abnormal, now_us);
            client.debt.as_mut()?.goes_when_settled(false);
            Some(wills)
        });
        taken.take(WILLS_MAX).flatten().collect()
    }

    pub(in crate::directory::memory) fn settle_wills(
        &mut self,
        member: &Member,
        wills: &[HeldWill],
    ) {
        for HeldWill { client_id, epoch, of, .. } in wills {
            let Some(client) = self.owned(client_id, member, *epoch) else { continue };
            if let Some(has_ended) = client.settle(*of) {
                self.let_go(client_id, has_ended);
            }
        }
    }
}

impl Client {
    /// Whether somebody has taken a will and may yet publish it. A hold that ends later than any begun
    /// now is none: the clock was set back.
    pub(super) fn is_held(&self, now_us: u64) -> bool {
        let until = self.debt.as_ref().map(|debt| debt.held_until_us);
        until.is_some_and(|until| now_us < until && until - now_us <= held_us())
    }

    /// The connection has ended: its will is void, or owed from now on. Returns what the caller holds by
    /// that: all that is owed, but what somebody holds already.
    pub(super) fn end(&mut self, end: End, now_us: u64) -> Vec<HeldWill> {
        self.row.connected = false;
        let is_held = self.is_held(now_us);
        let others = self.debt.as_ref().filter(|_| is_held).map_or(0, |debt| debt.wills.len());
        if let Some(will) = self.row.will.take().filter(|_| end == End::Abnormal) {
            self.debt.get_or_insert_default().wills.push((self.epoch, will));
        }
        let taken = self.held().split_off(others);
        if let Some(debt) = self.debt.as_mut().filter(|_| !taken.is_empty()) {
            debt.held_until_us = now_us + held_us();
        }
        taken
    }

    /// What whoever claims the client id owes from then on.
    pub(super) fn debt_when_over(&self, now_us: u64) -> Option<Box<Debt>> {
        let owed = self.debt.iter().flat_map(|debt| debt.wills.iter().cloned());
        let own = self.row.will.clone().map(|will| (self.epoch, will));
        let wills: Vec<_> = owed.chain(own).collect();
        let debt = Debt { wills, held_until_us: now_us + held_us(), goes: None };
        (!debt.wills.is_empty()).then(|| Box::new(debt))
    }

    /// All that is owed here, for whoever has just taken it.
    pub(super) fn held(&self) -> Vec<HeldWill> {
        let owed = self.debt.iter().flat_map(|debt| &debt.wills);
        let held = owed.map(|(of, will)| HeldWill {
            client_id: self.row.client_id.clone(),
            epoch: self.epoch,
            of: *of,
            will: will.clone(),
        });
        held.collect()
    }

    /// Forgets a will; says how the row is to go, if it was the last and that is due.
    fn settle(&mut self, of: Epoch) -> Option<bool> {
        let debt = self.debt.as_mut()?;
        debt.wills.retain(|(owed, _)| *owed != of);
        if !debt.wills.is_empty() {
            return None;
        }
        self.debt.take()?.goes
    }
}

impl Debt {
    /// The row goes with the last will. What the owner has said of its session stands.
    pub(super) fn goes_when_settled(&mut self, has_ended: bool) {
        self.goes.get_or_insert(has_ended);
    }
}

fn held_us() -> u64 {
    super::micros(WILL_HELD)
}
