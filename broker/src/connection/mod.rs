//! A client's connection: one task, one loop.
//!
//! ```text
//!   socket ──read all there is──► Decoder ──packets──► Session ──actions──► hub, write buffer
//!                                                         ▲                       │
//!   mailbox ──mail, while the write buffer has room───────┘        flushed once ──┘
//! ```
//!
//! Whatever can wake the loop stands in one `select!`: bytes to read, room to write, mail, the
//! session's deadline. No branch owns state, so dropping one loses nothing.
//!
//! It leaves to others: accepting (`listener`), what packets mean (`session`), who gets a message
//! (`hub`), who owns a client id (`membership`).

mod admission;
mod connect;
mod early;
mod entrance;
mod hold;
mod login;
mod pacing;
mod serve;

use std::{
    io::ErrorKind::UnexpectedEof,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use causeway_common::{
    id::ClientId,
    packet::Role,
    stint::Turns,
    wire::{Traffic, Wire, WireError},
};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::info;

use crate::{
    auth::Auth,
    hub::Hub,
    limits::{Budget, PaceRates},
    membership::Membership,
    metrics::Metrics,
    session::{CloseReason, Limits, Violation},
    store::Store,
};

pub use entrance::{Entrance, Stay};
pub use login::{LoggedIn, admit};
pub use serve::Serving;

/// What all connections of a node share.
#[derive(Debug)]
pub struct Parts {
    /// Who gets a message. Never locked across an await.
    pub hub: Arc<Mutex<Hub>>,
    /// What outlives the process.
    pub store: Arc<dyn Store>,
    /// Who owns a client id.
    pub membership: Arc<Membership>,
    /// Who may connect.
    pub auth: Arc<Auth>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What passes the sockets of clients.
    pub traffic: Traffic,
    /// What one session may hold.
    pub limits: Arc<Limits>,
    /// How near the node is to the memory it may use.
    pub budget: Arc<Budget>,
    /// How fast one client is read.
    pub pace: PaceRates,
    /// Where clients wait that send more than others can wait for.
    pub turns: Turns,
    /// Bytes of one packet from a client.
    pub packet_bytes_max: usize,
    /// Seconds; 0 sets no limit.
    pub keep_alive_secs_max: u16,
    /// From the connection to a whole CONNECT, with what comes before that.
    pub connect_timeout: Duration,
    /// Whether a login subscribes to the user's inbox.
    pub inbox: bool,
    /// Makes the ids of clients that bring none.
    pub assigned_ids: AtomicU64,
}

impl Parts {
    /// The buffers of a client's socket.
    pub fn wire<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Wire<S> {
        Wire::new(Role::Server, stream, self.packet_bytes_max, self.traffic.clone())
    }

    /// An id for a client that brings none: no other client of the cluster has it.
    fn assign_id(&self) -> ClientId {
        let number = self.assigned_ids.fetch_add(1, Ordering::Relaxed);
        let member = self.hub.lock().me().clone();
        ClientId::from(format!("auto-{}-{}-{number}", member.node, member.incarnation))
    }
}

/// Logs a client in whose first bytes may have been read; none if it is not let in, and has been seen off.
/// What is to run then is boxed, because a task would have room for it twice.
pub async fn come_in<S>(
    parts: Arc<Parts>,
    (mut wire, heard): (Wire<S>, Result<(), WireError>),
    entrance: Entrance,
    Stay { place, until }: Stay,
) -> Option<Box<Serving<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let logged_in = match heard {
        Ok(()) => login::log_in(&parts, &mut wire, &entrance, until).await,
        Err(error) => Err(error.into()),
    };
    match logged_in {
        Ok(client) => {
            drop(place);
            Some(Box::new(Serving::new(parts, wire, client, entrance.seat)))
        }
        Err(ended) => {
            if ended.reason == CloseReason::Refused {
                // The refusal must reach the client: closing at once, with bytes of the client
                // unread, would make the kernel reset the connection and throw it away.
                let _ = tokio::time::timeout(REFUSAL_TIMEOUT, wire.say_good_bye()).await;
            }
            note_end(&parts, &ended);
            None
        }
    }
}

fn note_end(parts: &Parts, ended: &Ended) {
    parts.metrics.count_close(ended.reason);
    let detail = ended.detail.as_deref().unwrap_or_default();
    info!(reason = ended.reason.label(), detail, "connection closed");
}

/// How a connection ended.
#[derive(Debug)]
pub struct Ended {
    /// Why.
    pub reason: CloseReason,
    /// What else there is to say, for the log.
    pub detail: Option<String>,
}

impl Ended {
    fn new(reason: CloseReason) -> Self {
        Self { reason, detail: None }
    }

    fn with(reason: CloseReason, detail: impl std::fmt::Display) -> Self {
        Self { reason, detail: Some(format!("{detail}")) }
    }
}

impl From<WireError> for Ended {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Closed => Self::new(CloseReason::ClientClosed),
            // MQTT tells an end from a loss by DISCONNECT, so TLS need not say it too.
            WireError::Io(error) if error.kind() == UnexpectedEof => {
                Self::new(CloseReason::ClientClosed)
            }
            WireError::Io(error) => Self::with(CloseReason::IoError, error),
            WireError::Decode(error) => Self::with(CloseReason::ProtocolViolation, error),
        }
    }
}

impl From<Violation> for Ended {
    fn from(violation: Violation) -> Self {
        Self::with(CloseReason::ProtocolViolation, violation)
    }
}

/// How long a refused client may take to read the answer and go.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
