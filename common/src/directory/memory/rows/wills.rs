//! The wills of dead nodes' clients in the directory in memory: held, settled, or free again.

use super::{Client, Rows};
use crate::directory::{HeldWill, Member, WILL_HELD, WILLS_MAX};

impl Rows {
    pub(in crate::directory::memory) fn take_wills(&mut self, member: &Member) -> Vec<HeldWill> {
        let (now, now_us) = (self.now(), self.now_us());
        if self.living(member, now).is_some() {
            return Vec::new();
        }
        let until_us = now_us + held_us();
        let left = self.clients.values_mut().filter(|client| client.row.owner == *member);
        let free = left.filter(|client| !client.is_held(now_us));
        let wills = free.filter_map(|client| {
            let will = client.row.will.clone()?;
            client.held_until_us = Some(until_us);
            let client_id = client.row.client_id.clone();
            Some(HeldWill { client_id, epoch: client.epoch, until_us, will })
        });
        wills.take(WILLS_MAX).collect()
    }

    pub(in crate::directory::memory) fn settle_wills(
        &mut self,
        member: &Member,
        wills: &[HeldWill],
    ) {
        for HeldWill { client_id, epoch, until_us, .. } in wills {
            let row = self.clients.get(client_id).filter(|held| held.row.owner == *member);
            let row = row.filter(|held| held.epoch == *epoch);
            if row.is_some_and(|held| held.held_until_us == Some(*until_us)) {
                self.let_go(client_id, false);
            }
        }
    }
}

impl Client {
    /// Whether somebody has taken the will and may yet publish it. A hold that ends later than any begun
    /// now is none: the clock was set back.
    pub(super) fn is_held(&self, now_us: u64) -> bool {
        self.held_until_us.is_some_and(|until| now_us < until && until - now_us <= held_us())
    }
}

fn held_us() -> u64 {
    u64::try_from(WILL_HELD.as_micros()).unwrap_or(u64::MAX)
}
