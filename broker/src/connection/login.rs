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
    directory::{ClientRow, Owner},
    id::{Epoch, Ticket},
    mailbox::Mailbox,
    packet::{Connect, ConnectCode, DecodeError, Packet, Subscription},
    wire::{Wire, WireError},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tracing::{Span, debug};

use super::{Ended, Parts};
use crate::{
    hub::SessionId,
    membership::Ownership,
    session::{Accepted, CloseReason, Door, Mail, Refusal, Session, judge},
};

/// A client that has got its CONNACK 0.
#[derive(Debug)]
pub(super) struct LoggedIn {
    pub(super) session: SessionId,
    pub(super) state: Session,
    pub(super) mailbox: Arc<Mailbox<Mail>>,
    /// Mail that came while the client was not yet in.
    pub(super) early: VecDeque<Mail>,
}

/// Reads CONNECT and answers it. On an error the connection is to be closed; a refusal has been
/// put into the write buffer.
pub(super) async fn log_in<R, W>(
    parts: &Arc<Parts>,
    wire: &mut Wire<R, W>,
    address: &str,
    deadline: Instant,
) -> Result<LoggedIn, Ended>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let refused = match read_connect(wire, deadline).await? {
        Ok(connect) => match admit(parts, &connect, address).await? {
            Ok(client) => {
                answer(wire, ConnectCode::Accepted);
                parts.metrics.logins.inc();
                return Ok(client);
            }
            Err(refusal) => refusal,
        },
        Err(refusal) => refusal,
    };
    parts.metrics.count_refusal(refused);
    answer(wire, refused.code());
    Err(Ended::with(CloseReason::Refused, refused))
}

/// The CONNECT; an inner error if its level is not spoken here [MQTT-3.1.2-2].
async fn read_connect<R, W>(
    wire: &mut Wire<R, W>,
    deadline: Instant,
) -> Result<Result<Connect, Refusal>, Ended>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match tokio::time::timeout_at(deadline, wire.read_packet()).await {
        Err(_elapsed) => Err(Ended::new(CloseReason::ConnectTimeout)),
        Ok(Ok(Packet::Connect(connect))) => Ok(Ok(*connect)),
        Ok(Ok(_)) => Err(Ended::with(CloseReason::ProtocolViolation, "first packet is no CONNECT")),
        Ok(Err(WireError::Decode(DecodeError::UnsupportedLevel(_)))) => {
            Ok(Err(Refusal::UnacceptableProtocol))
        }
        Ok(Err(error)) => Err(error.into()),
    }
}

/// Gives the client a place, its client id and its inbox.
async fn admit(
    parts: &Arc<Parts>,
    connect: &Connect,
    address: &str,
) -> Result<Result<LoggedIn, Refusal>, Ended> {
    let door = Door {
        verdict: parts.auth.judge(connect),
        assigned_id: parts.assign_id(),
        inbox: parts.inbox,
        keep_alive_secs_max: parts.keep_alive_secs_max,
    };
    let accepted = match judge(connect, &door) {
        Ok(accepted) => accepted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    Span::current().record("client_id", accepted.client_id.as_str());
    let mailbox = Arc::new(Mailbox::new(parts.mailbox_bytes_max));
    let attached = parts.hub.lock().attach(&accepted.client_id, &mailbox);
    let session = match attached {
        Ok(attached) => attached.session,
        Err(error) => {
            debug!(%error, "no place for this client");
            return Ok(Err(Refusal::ServerUnavailable));
        }
    };
    let mut newcomer = Newcomer { parts, session, mailbox, early: VecDeque::new(), is_in: false };
    if !newcomer.own(&accepted, address).await? {
        return Ok(Err(Refusal::ServerUnavailable));
    }
    if let Some(inbox) = &accepted.inbox {
        newcomer.open_inbox(inbox).await?;
    }
    Ok(Ok(newcomer.into_client(&accepted)))
}

/// A client with a place and no CONNACK yet; dropped before that, it leaves nothing behind.
struct Newcomer<'a> {
    parts: &'a Arc<Parts>,
    session: SessionId,
    mailbox: Arc<Mailbox<Mail>>,
    early: VecDeque<Mail>,
    is_in: bool,
}

impl Newcomer<'_> {
    /// Makes this node the owner of the client id; the old connection is closed afterwards. False
    /// if that cannot be had.
    async fn own(&mut self, accepted: &Accepted, address: &str) -> Result<bool, Ended> {
        let row = ClientRow {
            client_id: accepted.client_id.clone(),
            user: accepted.user.clone(),
            owner: self.parts.hub.lock().me().clone(),
            address: address.to_owned(),
        };
        match self.parts.membership.log_in(self.session, row).await {
            Ownership::Owned { epoch, previous: Some(previous) } => {
                self.close_elsewhere(accepted, epoch, previous).await?;
            }
            Ownership::Owned { previous: None, .. } | Ownership::Unknown => {}
            Ownership::Lost => return Err(Ended::new(CloseReason::TakenOver)),
            Ownership::Refused => return Ok(false),
        }
        Ok(true)
    }

    /// Waits, not for ever, until another node has closed the client's old connection.
    async fn close_elsewhere(
        &mut self,
        accepted: &Accepted,
        epoch: Epoch,
        previous: Owner,
    ) -> Result<(), Ended> {
        let deadline = Instant::now() + self.parts.membership.takeover_timeout();
        let claim = (accepted.client_id.clone(), epoch);
        let asked = self.parts.hub.lock().ask_takeover(
            previous.member.node,
            claim,
            (&self.mailbox, TAKEOVER_TICKET),
            self.parts.membership.takeover_deadline(),
        );
        if !asked {
            return Ok(());
        }
        let closed =
            |mail: &Mail| matches!(mail, Mail::Routed(ticket) if *ticket == TAKEOVER_TICKET);
        if !self.wait_for(closed, Some(deadline)).await? {
            self.parts.metrics.takeover_timeouts.inc();
        }
        Ok(())
    }

    /// Waits until messages for the user reach this node; the hub sets the limit.
    async fn open_inbox(&mut self, inbox: &Subscription) -> Result<(), Ended> {
        let now = Instant::now().into_std();
        self.parts.hub.lock().subscribe_inbox(now, self.session, inbox);
        self.wait_for(|mail| matches!(mail, Mail::Subscribed(_)), None).await?;
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
                    if tokio::time::timeout_at(deadline, self.mailbox.wait()).await.is_err() {
                        return Ok(false);
                    }
                }
            }
        }
    }

    fn into_client(mut self, accepted: &Accepted) -> LoggedIn {
        self.is_in = true;
        let now = Instant::now().into_std();
        let limits = Arc::clone(&self.parts.limits);
        let mut state = Session::new(now, accepted.keep_alive, limits);
        if let Some(inbox) = &accepted.inbox {
            state.hold(inbox);
        }
        let mailbox = Arc::clone(&self.mailbox);
        LoggedIn { session: self.session, state, mailbox, early: std::mem::take(&mut self.early) }
    }
}

impl Drop for Newcomer<'_> {
    fn drop(&mut self) {
        if !self.is_in {
            self.parts.membership.log_out(self.session);
        }
    }
}

fn close_reason(mail: &Mail) -> Option<CloseReason> {
    match mail {
        Mail::Close(reason) => Some(*reason),
        Mail::Deliver(_) | Mail::Routed(_) | Mail::Subscribed(_) => None,
    }
}

fn answer<R, W>(wire: &mut Wire<R, W>, code: ConnectCode)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // No state of earlier connections is kept: session present is 0 [MQTT-3.2.2-1].
    wire.send(&Packet::ConnAck { session_present: false, code });
}

/// Names the takeover of the old connection; no message of the session has this ticket.
const TAKEOVER_TICKET: Ticket = Ticket(u64::MAX);
