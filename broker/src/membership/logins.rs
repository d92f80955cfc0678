//! The rows of this node's clients: claimed at login, parked or released at the end, written again
//! when the directory has lost them.
//!
//! The last is in `logins/again.rs`.
//!
//! A client's will stands in its row, and whoever takes it publishes it (`wills.rs`): this node when the
//! connection ends, the node of the client's next login, or any node when this one is dead. So it
//! comes once.

mod again;

use std::sync::atomic::{AtomicBool, Ordering};

use std::collections::VecDeque;

use ahash::{AHashMap, AHashSet};
use causeway_common::{
    directory::{Claimed, ClientRow, DirectoryError, End, Owner},
    id::{ClientId, Epoch, SessionId},
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    Membership,
    fights::{Fights, Hold},
};
use crate::{
    config::WhenLost,
    hub::{Attached, Detached},
    session::{CloseReason, Mail, Session},
};

/// What came of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// This node owns the client id; who owned it before is to be asked for what there was.
    Owned(Claimed),
    /// The directory is gone; the claim is made when it is back.
    Unknown,
    /// Somebody has claimed it after us.
    Lost,
    /// The directory is gone, and such logins are refused.
    Refused,
}

/// The logins of this node.
#[derive(Debug, Default)]
pub(super) struct Logins {
    /// What the directory knows, or should know, of each session.
    rows: Mutex<AHashMap<SessionId, Box<ClientRow>>>,
    /// Ends that the directory has not heard of.
    unreleased: Mutex<Vec<Ending>>,
    /// Connections that said DISCONNECT, while the directory does not know it: their wills are void.
    farewells: Mutex<AHashSet<(ClientId, Epoch)>>,
    /// One client id at a time: the end of a connection, with its will, comes before the next login.
    pub(super) turns: Turns,
    fights: Mutex<Fights>,
    unreachable: AtomicBool,
    /// Sessions whose clients logged in while the directory was gone, and has not heard of it; since when.
    pub(super) unclaimed: Mutex<AHashMap<SessionId, Instant>>,
}

/// The end of a connection, as far as the directory is concerned.
#[derive(Clone, Debug)]
struct Ending {
    row: ClientRow,
    epoch: Epoch,
    /// Whether a durable session stays, and with it the row.
    stays: bool,
    /// Whether the will is to be published, if it is still there.
    how: End,
}

/// Client ids fall into few turns, so that nothing has to be tidied up.
#[derive(Debug)]
pub(super) struct Turns {
    hasher: ahash::RandomState,
    turns: Vec<tokio::sync::Mutex<()>>,
}

impl Logins {
    /// Whether the directory answered last: if not, logins do not wait for it.
    pub(super) fn set_reachable(&self, reachable: bool) {
        self.unreachable.store(!reachable, Ordering::Relaxed);
    }

    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
    }

    /// All connections are about to end, and their rows are another life's.
    pub(super) fn forget_all(&self) {
        self.rows.lock().clear();
        self.unreleased.lock().clear();
        self.unclaimed.lock().clear();
    }

    /// A connection has ended. Whether the directory has not heard of its login; if its session stays, it
    /// has yet to.
    fn end_unclaimed(&self, session: SessionId, stays: bool) -> bool {
        let mut unclaimed = self.unclaimed.lock();
        let is_so = unclaimed.contains_key(&session);
        if !stays {
            unclaimed.remove(&session);
        }
        is_so
    }

    /// Whether the end of this connection has been dealt with, and the directory does not know.
    fn waits_for_directory(&self, (client_id, epoch): &(ClientId, Epoch)) -> bool {
        let unreleased = self.unreleased.lock();
        unreleased.iter().any(|end| end.row.client_id == *client_id && end.epoch == *epoch)
    }

    fn keep_for_later(&self, ending: Ending) {
        let mut unreleased = self.unreleased.lock();
        // Beyond this, rows stay until the node's lease ends: they name an owner who says no.
        if unreleased.len() < UNRELEASED_MAX {
            unreleased.push(ending);
        }
    }
}

impl Membership {
    /// Whether a login has to wait, since two devices contend for its client id.
    pub fn hold_back(&self, client_id: &ClientId, address: &str) -> Option<Hold> {
        self.logins.fights.lock().hold_back(Instant::now(), client_id, address)
    }

    /// Whether a login that has waited is to go on; not if its client has come again since.
    pub fn may_go_on(&self, client_id: &ClientId, hold: Hold) -> bool {
        self.logins.fights.lock().may_go_on(Instant::now(), client_id, hold)
    }

    /// Claims the client id of a new session.
    pub async fn log_in(&self, session: SessionId, row: ClientRow) -> Ownership {
        let since = Instant::now();
        self.logins.rows.lock().insert(session, Box::new(row.clone()));
        if self.logins.is_unreachable() {
            return self.without_directory(session, since);
        }
        let _turn = self.logins.turns.take(&row.client_id).await;
        match self.directory.claim(&row).await {
            Ok(mut claimed) => {
                self.logins.unclaimed.lock().remove(&session);
                self.void_farewell(&row, &mut claimed);
                let client = (&row.client_id, row.address.as_str());
                self.logins.fights.lock().let_in(Instant::now(), client, &claimed);
                if !self.note_claimed(session, &claimed) {
                    // What this claim took nobody else will publish in time.
                    self.publish_wills(&row.owner, claimed.wills, None);
                    return Ownership::Lost;
                }
                Ownership::Owned(claimed)
            }
            Err(DirectoryError::Overtaken(by)) => {
                self.give_way(session, &row, &by);
                Ownership::Lost
            }
            Err(error) => {
                warn!(%error, "login could not be entered in the directory");
                self.metrics.directory_errors.inc();
                self.without_directory(session, since)
            }
        }
    }

    /// The client has logged in elsewhere since this login: its session goes there.
    pub(super) fn give_way(&self, session: SessionId, row: &ClientRow, younger: &Owner) {
        let mut hub = self.hub.lock();
        hub.disown(&row.client_id, session);
        hub.hand_over(&row.client_id, younger);
    }

    /// Tells the hub of a claim; false if somebody has claimed the client id after it.
    pub(super) fn note_claimed(&self, session: SessionId, claimed: &Claimed) -> bool {
        let mut hub = self.hub.lock();
        if let Some(by) = claimed.erased {
            hub.note_erasure(session, by);
        }
        hub.set_epoch(session, claimed)
    }

    /// Gives a login a new session in the place of one that is over ([`Hub::start_anew`]).
    ///
    /// [`Hub::start_anew`]: crate::hub::Hub::start_anew
    pub fn start_anew(
        &self,
        session: SessionId,
        found: (&mut Option<Box<Session>>, &mut VecDeque<Mail>),
        claimed: &Claimed,
    ) -> Option<Attached> {
        let attached = self.hub.lock().start_anew(session, found, claimed)?;
        let mut rows = self.logins.rows.lock();
        if let Some(row) = rows.remove(&session) {
            rows.insert(attached.session, row);
        }
        Some(attached)
    }

    /// A connection has ended: its session is given back to the hub, with mail that was not dealt with,
    /// and the directory is told. The socket should be closed after that: then a client that waits for
    /// the end of its connection finds no trace of it anywhere.
    pub async fn log_out(
        &self,
        session: SessionId,
        (state, left): (Box<Session>, VecDeque<Mail>),
        reason: CloseReason,
    ) {
        let client_id = self.logins.rows.lock().get(&session).map(|row| row.client_id.clone());
        let farewell = self.say_farewell(session, client_id.as_ref(), reason);
        let _turn = match &client_id {
            Some(client_id) => self.logins.turns.take(client_id).await,
            None => None,
        };
        let detached = self.hub.lock().leave(session, state, left);
        let Some(Detached { epoch, stays, .. }) = detached else {
            return;
        };
        let row = self.take_row(session, stays).filter(|_| concerns_directory(reason));
        if reason == CloseReason::TakenOver {
            self.note_put_out(row.as_ref());
        }
        let is_farewell = reason == CloseReason::ClientDisconnect;
        let how = if is_farewell { End::Farewell } else { End::Abnormal };
        let was_claimed = !self.logins.end_unclaimed(session, stays);
        match (row, epoch) {
            (Some(row), Some(epoch)) if was_claimed => {
                self.end(Ending { row, epoch, stays, how }).await;
            }
            // The directory has been gone all the time: nobody else knows of the will.
            (Some(ClientRow { will: Some(will), .. }), _) if !is_farewell && !was_claimed => {
                self.hub.lock().publish_will(will);
            }
            // Replaced by a connection whose claim takes the will, or nobody's.
            (Some(_) | None, _) => {}
        }
        if let Some(farewell) = &farewell {
            self.logins.farewells.lock().remove(farewell);
        }
    }

    /// Notes at once that a client said DISCONNECT [MQTT-3.14.4-3].
    fn say_farewell(
        &self,
        session: SessionId,
        client_id: Option<&ClientId>,
        reason: CloseReason,
    ) -> Option<(ClientId, Epoch)> {
        let epoch = self.hub.lock().epoch_of(session)?;
        let said = reason == CloseReason::ClientDisconnect;
        let farewell = client_id.filter(|_| said).map(|client_id| (client_id.clone(), epoch))?;
        self.logins.farewells.lock().insert(farewell.clone());
        Some(farewell)
    }

    fn note_put_out(&self, row: Option<&ClientRow>) {
        let Some(ClientRow { client_id, address, .. }) = row else { return };
        if self.logins.fights.lock().put_out(Instant::now(), client_id, address) {
            self.metrics.contests.inc();
        }
    }

    /// A claim may be faster than the end of the connection before it, also where the directory was gone
    /// at that end: then the will was published without it, or is void.
    pub(super) fn void_farewell(&self, row: &ClientRow, claimed: &mut Claimed) {
        let Some(previous) = &claimed.previous else { return };
        let farewell = (row.client_id.clone(), previous.owner.epoch);
        let is_settled = previous.owner.member == row.owner
            && (self.logins.farewells.lock().contains(&farewell)
                || self.logins.waits_for_directory(&farewell));
        if is_settled {
            self.void_will(&row.owner, &mut claimed.wills, farewell.1);
        }
    }

    /// The row of a connection that has ended; of a session that stays, one without client is kept.
    fn take_row(&self, session: SessionId, stays: bool) -> Option<ClientRow> {
        let mut rows = self.logins.rows.lock();
        let row = rows.remove(&session)?;
        if stays {
            let kept = ClientRow { connected: false, will: None, ..ClientRow::clone(&row) };
            rows.insert(session, Box::new(kept));
        }
        Some(*row)
    }

    /// Tells the directory of ends that it has not heard of, and of sessions that have expired.
    pub(super) async fn release_late(&self) {
        let unreleased = std::mem::take(&mut *self.logins.unreleased.lock());
        for ending in unreleased {
            let _turn = self.logins.turns.take(&ending.row.client_id).await;
            self.end(ending).await;
        }
        let expired = self.hub.lock().take_expired();
        for (session, epoch) in expired {
            let row = self.logins.rows.lock().remove(&session);
            if let (Some(row), Some(epoch)) = (row, epoch) {
                let _turn = self.logins.turns.take(&row.client_id).await;
                self.end(Ending { row: *row, epoch, stays: false, how: End::Farewell }).await;
            }
        }
    }

    /// Tells the directory, and publishes the will if that is due.
    async fn end(&self, ending: Ending) {
        let Ending { row: ClientRow { client_id, user, owner, .. }, epoch, how, .. } = &ending;
        let done = if ending.stays {
            self.directory.park(client_id, owner, *epoch, *how).await
        } else {
            self.directory.release(client_id, user, owner, *epoch, *how).await
        };
        match done {
            Ok(Some(mut wills)) => {
                // Its own will was published when the directory did not answer, which had heard of it.
                if *how == End::Farewell {
                    self.void_will(owner, &mut wills, *epoch);
                }
                self.publish_wills(owner, wills, None);
            }
            // Whoever has the row by now has taken the will with it.
            Ok(None) => {}
            Err(error) => {
                debug!(%error, "the end of a connection waits for the directory");
                self.metrics.directory_errors.inc();
                self.logins.keep_for_later(self.end_without_directory(ending));
            }
        }
    }

    /// A will does not wait for the directory. Should somebody else take it meanwhile, it comes twice, rather
    /// than late.
    fn end_without_directory(&self, ending: Ending) -> Ending {
        let will = ending.row.will.clone().filter(|_| ending.how == End::Abnormal);
        if let Some(will) = will {
            self.hub.lock().publish_will(will);
        }
        Ending { how: End::Farewell, ..ending }
    }

    fn without_directory(&self, session: SessionId, since: Instant) -> Ownership {
        self.logins.unclaimed.lock().insert(session, since);
        match self.terms.when_lost {
            WhenLost::Serve => Ownership::Unknown,
            WhenLost::Refuse => Ownership::Refused,
        }
    }
}

/// Whether a connection that ended so is ended in the directory too. A node that was fenced or stops
/// leaves its rows to others, who publish the wills in them.
fn concerns_directory(reason: CloseReason) -> bool {
    match reason {
        CloseReason::Fenced | CloseReason::Shutdown => false,
        CloseReason::ClientDisconnect
        | CloseReason::ClientClosed
        | CloseReason::KeepAlive
        | CloseReason::ProtocolViolation
        | CloseReason::ConnectTimeout
        | CloseReason::Refused
        | CloseReason::TakenOver
        | CloseReason::CredentialsChanged
        | CloseReason::IoError
        | CloseReason::Memory => true,
    }
}

impl Turns {
    pub(super) async fn take(
        &self,
        client_id: &ClientId,
    ) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let hash = self.hasher.hash_one(client_id.as_str());
        let index = usize::try_from(hash % TURNS as u64).unwrap_or_default();
        match self.turns.get(index) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }
}

impl Default for Turns {
    fn default() -> Self {
        let turns = std::iter::repeat_with(|| tokio::sync::Mutex::new(())).take(TURNS).collect();
        // The same in every process, so that a run can be repeated: who shares a turn waits for a call
        // of the directory, and no more.
        Self { hasher: ahash::RandomState::with_seeds(1, 2, 3, 4), turns }
    }
}

const TURNS: usize = 256;

const UNRELEASED_MAX: usize = 100_000;
