//! From the first byte to CONNACK.
//!
//! ```text
//!   CONNECT ── judge ── place in the hub ── claim in the directory ── old connection closed,
//!      │         │            │                     │                 wherever it was
//!      │      CONNACK 1,2,4,5 CONNACK 3         (degraded or 3)            │
//!      └── nothing in time: closed                       inbox routable ── CONNACK 0
//! ```

use std::{collections::VecDeque, sync::Arc};

use causeway_common::{
    directory::{Claimed, ClientRow},
    id::{Epoch, SessionId},
    mailbox::Mailbox,
    packet::{Connect, ConnectCode, Packet, Subscription},
    wire::Wire,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use tracing::debug;

use super::{
    Ended, Entrance, Parts,
    admission::{Admission, accept},
    connect::read_connect,
    early::{close_reason, take_in, takeover_ticket, will_ticket},
    entrance::is_short_of_memory,
    hold::hold_back,
};
use crate::{
    auth::Permission,
    hub::{Attach, Attached, Hub, HubError, INBOX_TICKET, Knock, TakeOver},
    membership::Ownership,
    session::{Accepted, Action, CloseReason, Kept, Mail, Refusal, Session},
    store::Position,
};

/// A client that is about to get its CONNACK 0.
#[derive(Debug)]
pub struct LoggedIn {
    /// Its session's name on this node.
    pub session: SessionId,
    /// Its session.
    pub state: Box<Session>,
    /// Where the hub puts what is for it.
    pub mailbox: Arc<Mailbox<Mail>>,
    /// Mail that came while the client was not yet in.
    pub early: VecDeque<Mail>,
    /// What to do first: CONNACK, then what the client has not answered.
    pub first: Vec<Action>,
    /// Whether the hub is to be told of its first packet ([`Hub::know`](crate::hub::Hub::know)).
    pub begins: bool,
    /// Nothing is sent before this is durable: that it was let in, and what was erased for that.
    pub after: Position,
    /// What it may do.
    pub permission: Permission,
}

/// Reads CONNECT and answers it. On an error the connection is to be closed; a refusal has been
/// put into the write buffer.
pub(super) async fn log_in<S>(
    parts: &Arc<Parts>,
    wire: &mut Wire<S>,
    entrance: &Entrance,
    deadline: Instant,
) -> Result<LoggedIn, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let accepted = match read_connect(parts, wire, deadline).await? {
        Ok(connect) => {
            // A password may wait for others.
            let judged = timeout_at(deadline, accept(parts, connect, entrance)).await;
            judged.map_err(|_elapsed| Ended::new(CloseReason::ConnectTimeout))?
        }
        Err(refusal) => Err(refusal),
    };
    let address = entrance.address.as_str();
    let admitted = match accepted {
        Ok(admission) => {
            hold_back(parts, wire, (&admission.accepted.client_id, address)).await?;
            enter(parts, admission, address).await?
        }
        Err(refusal) => Err(refusal),
    };
    let refused = match admitted {
        Ok(client) => {
            parts.metrics.logins.inc();
            return Ok(client);
        }
        Err(refusal) => refusal,
    };
    parts.metrics.count_refusal(refused);
    answer(wire, refused.code());
    Err(Ended::with(CloseReason::Refused, refused))
}

/// Gives the client a place, its client id and its inbox; a refusal is for its CONNACK, an end for
/// nobody: its connection is to be closed.
pub async fn admit(
    parts: &Arc<Parts>,
    connect: &Connect,
    entrance: &Entrance,
) -> Result<Result<LoggedIn, Refusal>, Ended> {
    match accept(parts, connect.clone(), entrance).await {
        Ok(admission) => enter(parts, admission, &entrance.address).await,
        Err(refusal) => Ok(Err(refusal)),
    }
}

async fn enter(
    parts: &Arc<Parts>,
    admission: Admission,
    address: &str,
) -> Result<Result<LoggedIn, Refusal>, Ended> {
    if is_short_of_memory(parts) {
        return Ok(Err(Refusal::ServerUnavailable));
    }
    let Admission { accepted, permission, proof } = admission;
    let accepted = &accepted;
    let attached = match find_place(parts, accepted).await? {
        Ok(attached) => attached,
        Err(error) => {
            debug!(%error, "no place for this client");
            return Ok(Err(Refusal::ServerUnavailable));
        }
    };
    let mut newcomer = Newcomer::new(parts, attached, accepted);
    if !newcomer.own(accepted, address).await? {
        return Ok(Err(Refusal::ServerUnavailable));
    }
    if let Some(inbox) = &accepted.inbox {
        newcomer.open_inbox(inbox).await?;
    }
    // Whoever changes the file after this finds the client in the hub.
    if !parts.auth.vouches(&accepted.user, proof.as_ref()) {
        return Err(Ended::new(CloseReason::CredentialsChanged));
    }
    Ok(Ok(newcomer.into_client(accepted, permission)))
}

/// Gets a place from the hub, if need be after an older connection of the client id has ended.
async fn find_place(
    parts: &Arc<Parts>,
    accepted: &Accepted,
) -> Result<Result<Attached, HubError>, Ended> {
    let waiting = Arc::new(Mailbox::new(0));
    let Accepted { client_id, user, clean, .. } = accepted;
    let knock = Knock { client_id: client_id.clone(), user: user.clone(), clean: *clean };
    loop {
        let attached = parts.hub.lock().attach(&knock, &waiting);
        match attached {
            Ok(Attach::In(attached)) => return Ok(Ok(attached)),
            Err(error) => return Ok(Err(error)),
            Ok(Attach::Wait) => waiting.wait().await,
        }
        let mut mail = VecDeque::new();
        waiting.take_all(&mut mail);
        if let Some(reason) = mail.iter().find_map(close_reason) {
            return Err(Ended::new(reason));
        }
    }
}

/// A client with a place and no CONNACK yet; dropped before that, it leaves behind what it found.
struct Newcomer<'a> {
    parts: &'a Arc<Parts>,
    session: SessionId,
    mailbox: Arc<Mailbox<Mail>>,
    early: VecDeque<Mail>,
    /// None once it is in.
    state: Option<Box<Session>>,
    /// The CONNACK waits for this.
    after: Position,
}

impl<'a> Newcomer<'a> {
    fn new(parts: &'a Arc<Parts>, attached: Attached, accepted: &Accepted) -> Self {
        let Attached { session, mailbox, resumed, after } = attached;
        let (now, limits) = (Instant::now().into_std(), Arc::clone(&parts.limits));
        let fresh = || {
            Box::new(if accepted.clean {
                Session::new(now, accepted.keep_alive, limits)
            } else {
                Session::durable(now, limits, Kept::default())
            })
        };
        let state = Some(resumed.unwrap_or_else(fresh));
        Self { parts, session, mailbox, early: VecDeque::new(), state, after }
    }

    /// Makes this node the owner of the client id; the old connection is closed afterwards, its will
    /// published, its session here. False if that cannot be had.
    async fn own(&mut self, accepted: &Accepted, address: &str) -> Result<bool, Ended> {
        let row = ClientRow {
            client_id: accepted.client_id.clone(),
            user: accepted.user.clone(),
            owner: self.parts.hub.lock().me().clone(),
            address: address.to_owned(),
            connected: true,
            durable: !accepted.clean,
            will: accepted.will.clone(),
        };
        let me = row.owner.clone();
        let mut owned = match self.parts.membership.log_in(self.session, row).await {
            Ownership::Owned(claimed) => claimed,
            Ownership::Unknown => return Ok(true),
            Ownership::Lost => return Err(Ended::new(CloseReason::TakenOver)),
            Ownership::Refused => return Ok(false),
        };
        let is_in_place = self.start_anew_if_erased(&owned);
        // Whoever takes wills in the directory publishes them [MQTT-3.1.2-8].
        let (wills, ticket) = (std::mem::take(&mut owned.wills), will_ticket(owned.epoch));
        let told = Some((Arc::clone(&self.mailbox), ticket));
        let is_awaited = self.parts.membership.publish_wills(&me, wills, told);
        if !is_in_place {
            return Err(Ended::new(CloseReason::TakenOver));
        }
        let deadline = Instant::now() + self.parts.membership.takeover_timeout();
        self.gather(accepted, &owned, deadline).await?;
        if is_awaited {
            // Whoever hears this client from now on has heard its will before, on whatever node.
            let heard = |mail: &Mail| matches!(mail, Mail::Routed(told) if *told == ticket);
            self.wait_for(heard, Some(deadline)).await?;
        }
        Ok(true)
    }

    /// What the client found here may have been erased by a clean login elsewhere [MQTT-3.1.2-6]: it gets a
    /// new session. False if its connection is to be closed.
    fn start_anew_if_erased(&mut self, claimed: &Claimed) -> bool {
        if !self.parts.hub.lock().is_erased(self.session) {
            return true;
        }
        let found = (&mut self.state, &mut self.early);
        let attached = self.parts.membership.start_anew(self.session, found, claimed);
        let Some(Attached { session, mailbox, after, .. }) = attached else {
            return false;
        };
        let (now, limits) = (Instant::now().into_std(), Arc::clone(&self.parts.limits));
        self.state = Some(Box::new(Session::durable(now, limits, Kept::default())));
        (self.session, self.mailbox, self.after) = (session, mailbox, self.after.max(after));
        true
    }

    /// Waits, not for ever, until other nodes have closed the client's old connection and handed over
    /// what they have of its session. An earlier login here may have asked them already.
    async fn gather(
        &mut self,
        accepted: &Accepted,
        claimed: &Claimed,
        deadline: Instant,
    ) -> Result<(), Ended> {
        let (client_id, epoch) = (accepted.client_id.clone(), claimed.epoch);
        let claim = TakeOver { client_id, epoch, clean: accepted.clean };
        let asked_until = self.parts.membership.takeover_deadline();
        for whom in [Hub::first_to_ask, Hub::then_to_ask] {
            let answer = (&self.mailbox, takeover_ticket(epoch));
            let count = {
                let mut hub = self.parts.hub.lock();
                let asked = whom(&hub, claimed);
                hub.ask_takeovers(asked, &claim, answer, asked_until)
            };
            self.wait_for_moves(epoch, count, deadline).await?;
        }
        Ok(())
    }

    async fn wait_for_moves(
        &mut self,
        epoch: Epoch,
        count: usize,
        deadline: Instant,
    ) -> Result<(), Ended> {
        let closed =
            |mail: &Mail| matches!(mail, Mail::Routed(ticket) if *ticket == takeover_ticket(epoch));
        for _ in 0..count {
            if !self.wait_for(closed, Some(deadline)).await? {
                self.parts.metrics.takeover_timeouts.inc();
                break;
            }
        }
        Ok(())
    }

    /// Waits until messages for the user reach this node; the hub sets the limit.
    async fn open_inbox(&mut self, inbox: &Subscription) -> Result<(), Ended> {
        let now = Instant::now().into_std();
        self.parts.hub.lock().subscribe_inbox(now, self.session, inbox);
        // An earlier connection of this session may have left other subscriptions under way.
        let open =
            |mail: &Mail| matches!(mail, Mail::Subscribed(ticket) if *ticket == INBOX_TICKET);
        self.wait_for(open, None).await?;
        Ok(())
    }

    /// Waits for one piece of mail and keeps all others; false if it does not come in time.
    async fn wait_for(
        &mut self,
        wanted: impl Fn(&Mail) -> bool,
        deadline: Option<Instant>,
    ) -> Result<bool, Ended> {
        loop {
            self.mailbox.take_counted(&mut self.early);
            if let Some(reason) = self.early.iter().find_map(close_reason) {
                return Err(Ended::new(reason));
            }
            if let Some(at) = self.early.iter().position(&wanted) {
                self.early.remove(at);
                return Ok(true);
            }
            match deadline {
                None => self.mailbox.wait().await,
                Some(deadline) => {
                    if timeout_at(deadline, self.mailbox.wait()).await.is_err() {
                        return Ok(false);
                    }
                }
            }
        }
    }

    fn into_client(mut self, accepted: &Accepted, mut permission: Permission) -> LoggedIn {
        let now = Instant::now().into_std();
        let mut state = self.state.take().unwrap_or_else(|| {
            Box::new(Session::new(now, accepted.keep_alive, Arc::clone(&self.parts.limits)))
        });
        state.set_rights(permission.rights());
        let mut hub = self.parts.hub.lock();
        let mut early = std::mem::take(&mut self.early);
        self.mailbox.take_counted(&mut early);
        // Of a login more mail comes than of most hours after it.
        self.mailbox.shrink();
        // What came from another node is there before CONNACK says so.
        early.retain_mut(|mail| !take_in(&mut state, mail));
        early.shrink_to_fit();
        if let Some(inbox) = &accepted.inbox {
            state.hold(inbox);
        }
        let session_present = hub.is_present(self.session);
        let forgotten = if session_present { Vec::new() } else { state.start_over() };
        // From now on nothing is put in front of what this client gets.
        let after = hub.let_in(self.session, &forgotten).max(self.after);
        drop(hub);
        let mut first = vec![Action::Send(Packet::ConnAck {
            session_present, // [MQTT-3.2.2-1] [MQTT-3.2.2-2]
            code: ConnectCode::Accepted,
        })];
        state.resume(now, accepted.keep_alive, &mut first);
        let mailbox = Arc::clone(&self.mailbox);
        let begins = !session_present && !accepted.clean;
        LoggedIn { session: self.session, state, mailbox, early, first, begins, after, permission }
    }
}

impl Drop for Newcomer<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            let left = (state, std::mem::take(&mut self.early));
            let (membership, session) = (Arc::clone(&self.parts.membership), self.session);
            // Never let in, it has no will of its own to be published.
            let end = CloseReason::ClientDisconnect;
            tokio::spawn(async move { membership.log_out(session, left, end).await });
        }
    }
}

fn answer<S>(wire: &mut Wire<S>, code: ConnectCode)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A refusal says that no session is present [MQTT-3.2.2-4].
    wire.send(&Packet::ConnAck { session_present: false, code });
}
