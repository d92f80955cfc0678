//! Fights: two devices with one client id throw each other out, and each comes back at once.
//!
//! Whoever is in stays in for a while, longer each time: the other's next login is held back *before*
//! it takes anything away. So a fight costs nobody else anything, and both get something done.
//!
//! A node knows a fight by what it sees itself: connections that it closed for a newer one, on
//! whatever node that is, and claims that the directory calls contests. It leaves to others: waiting
//! (`connection`), and counting claims in the whole cluster (the directory).

use std::time::Duration;

use ahash::AHashMap;
use causeway_common::{directory::Claimed, id::ClientId};
use tokio::time::Instant;
use tracing::warn;

/// The fights of the last while.
#[derive(Debug, Default)]
pub(super) struct Fights {
    /// Two generations: what is old goes at once, without being looked for.
    young: AHashMap<ClientId, Fight>,
    old: AHashMap<ClientId, Fight>,
    grown_since: Option<Instant>,
    last_attempt: u64,
}

#[derive(Debug)]
struct Fight {
    /// How often, in a row, the client id was taken from a connected client.
    contests: u32,
    /// When that last happened.
    last: Instant,
    /// The address of the client that is in, if it is on this node.
    holder: Option<String>,
    /// The youngest login that was held back.
    attempt: u64,
    /// The contests of which the log tells.
    told: u32,
}

/// A login that has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Until then the other client is left alone.
    pub until: Instant,
    /// Its name among those that are held back.
    attempt: u64,
}

impl Fights {
    /// A client has been let in under this address; the directory says how that came about.
    pub(super) fn let_in(
        &mut self,
        now: Instant,
        (client_id, address): (&ClientId, &str),
        claimed: &Claimed,
    ) {
        if claimed.contests == 0 {
            if let Some(fight) = self.find(now, client_id) {
                fight.holder = Some(address.to_owned());
            }
            return;
        }
        let Some(fight) = self.find_or_begin(now, client_id) else {
            return;
        };
        fight.contests = fight.contests.max(claimed.contests);
        fight.last = now;
        fight.holder = Some(address.to_owned());
        if let Some(previous) = &claimed.previous {
            fight.tell(client_id, address, &previous.address);
        }
    }

    /// A client of this address was put out by a newer connection. Returns whether that is one of many
    /// in a row.
    pub(super) fn put_out(&mut self, now: Instant, client_id: &ClientId, address: &str) -> bool {
        let Some(fight) = self.find_or_begin(now, client_id) else {
            return false;
        };
        fight.contests = fight.contests.saturating_add(1);
        fight.last = now;
        fight.holder.take_if(|holder| holder == address);
        fight.pause().is_some()
    }

    /// A client wants to log in; returns until when it has to wait.
    pub(super) fn hold_back(
        &mut self,
        now: Instant,
        client_id: &ClientId,
        address: &str,
    ) -> Option<Hold> {
        let attempt = self.last_attempt + 1;
        let fight = self.find(now, client_id)?;
        let until = fight.last + fight.pause()?;
        if until <= now {
            return None;
        }
        if let Some(holder) = fight.holder.clone() {
            fight.tell(client_id, address, &holder);
        }
        fight.attempt = attempt;
        self.last_attempt = attempt;
        Some(Hold { until, attempt })
    }

    /// Whether a login that was held back is to go on. Of several only the youngest is: the client has
    /// given up the others.
    pub(super) fn may_go_on(&mut self, now: Instant, client_id: &ClientId, hold: Hold) -> bool {
        self.find(now, client_id).is_none_or(|fight| fight.attempt == hold.attempt)
    }

    fn find(&mut self, now: Instant, client_id: &ClientId) -> Option<&mut Fight> {
        if !self.young.contains_key(client_id) {
            let fight = self.old.remove(client_id)?;
            self.young.insert(client_id.clone(), fight);
        }
        self.young.get_mut(client_id).filter(|fight| now < fight.last + REMEMBERED)
    }

    /// The fight for a client id; nothing if there are too many.
    fn find_or_begin(&mut self, now: Instant, client_id: &ClientId) -> Option<&mut Fight> {
        if now >= *self.grown_since.get_or_insert(now) + REMEMBERED {
            self.old = std::mem::take(&mut self.young);
            self.grown_since = Some(now);
        }
        if self.find(now, client_id).is_none() {
            if self.young.len() >= FIGHTS_MAX {
                return None;
            }
            let fight = Fight { contests: 0, last: now, holder: None, attempt: 0, told: 0 };
            self.young.insert(client_id.clone(), fight);
        }
        self.young.get_mut(client_id)
    }
}

impl Fight {
    /// For how long whoever is in is left alone.
    fn pause(&self) -> Option<Duration> {
        let over = self.contests.checked_sub(CONTESTS_FREE)?;
        Some((PAUSE * 2_u32.saturating_pow(over)).min(PAUSE_MAX))
    }

    /// Says so now and then, not each time.
    fn tell(&mut self, client_id: &ClientId, here: &str, there: &str) {
        let contests = self.contests;
        let Some(pause) = self.pause() else { return };
        if contests >= self.told.saturating_mul(2) {
            self.told = contests;
            warn!(%client_id, here, there, contests, ?pause, "two clients contend for one id");
        }
    }
}

/// So many contests in a row cost nothing: a device may come back that often.
const CONTESTS_FREE: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// Clients give up waiting for CONNACK after 10 s or more.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A node that two fighters take turns on sees one of them put out every two pauses.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Beyond this, clients that are put out are not noted: a node that comes back may put out many.
const FIGHTS_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
