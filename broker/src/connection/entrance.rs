//! What the door tells of a client, and what that means for its login. It leaves to `auth` the credentials,
//! and to the session how the answer looks.

use std::sync::Arc;

use causeway_common::{
    id::UserName,
    packet::{Connect, Login},
};

use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::debug;

use super::Parts;
use crate::{
    auth::Judged,
    limits::{Seat, Strain},
    session::Verdict,
};

/// What is known of a client before it has said anything: the door it came through tells.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Where it connects from.
    pub address: String,
    /// Whether it is known to come from this machine.
    pub is_local: bool,
    /// Whether it may come without user name and password; none: as `auth` says.
    pub allow_anonymous: Option<bool>,
    /// Its user name, where TLS has proved that. Then no password is asked for.
    pub user: Option<UserName>,
    /// Its seat among those of its address, if they are counted.
    pub seat: Option<Arc<Seat>>,
}

/// A place at the door, given back when the client is in or has been seen off.
#[derive(Debug)]
pub struct Stay {
    /// The place.
    pub place: OwnedSemaphorePermit,
    /// When its CONNECT must have come, counted from the connection.
    pub until: Instant,
}

/// Whether nobody new is to be let in.
pub(super) fn is_short_of_memory(parts: &Parts) -> bool {
    let is_short = parts.budget.strain() >= Strain::Tight;
    if is_short {
        debug!("no memory for this client");
        parts.metrics.limited.memory_connections.inc();
    }
    is_short
}

/// Who it is, by its certificate or by what it says. A user name in CONNECT does not count beside that
/// of the certificate.
pub(super) async fn identify(parts: &Parts, connect: &mut Connect, entrance: &Entrance) -> Judged {
    if let Some(user) = &entrance.user {
        connect.login = Some(Login { user: user.as_str().to_owned(), password: None });
        return Judged { verdict: Verdict::Admitted, proof: None };
    }
    let anonymous = parts.auth.allows_anonymous(entrance.is_local, entrance.allow_anonymous);
    parts.auth.judge(connect, anonymous).await
}
