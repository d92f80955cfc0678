//! The judgement of a CONNECT: credentials, then what the protocol says, then what the client may not have.
//!
//! It leaves to others: passwords ([`crate::auth`]), rules ([`crate::acl`]), a place for the client
//! (`login.rs`).

use std::sync::Arc;

use causeway_common::packet::Connect;
use tracing::{Span, info};

use super::{Entrance, Parts, entrance::identify};
use crate::{
    acl::Rights,
    auth::{Judged, Permission, entry::Entry},
    session::{Accepted, Door, DropReason, Refusal, judge},
};

/// A CONNECT that was judged well, and what that rests on.
pub(super) struct Admission {
    pub(super) accepted: Accepted,
    pub(super) permission: Permission,
    pub(super) proof: Option<Arc<Entry>>,
}

/// Judges a CONNECT.
pub(super) async fn accept(
    parts: &Parts,
    mut connect: Connect,
    entrance: &Entrance,
) -> Result<Admission, Refusal> {
    let Judged { verdict, proof } = identify(parts, &mut connect, entrance).await;
    let door = Door {
        verdict,
        assigned_id: connect.client_id.is_empty().then(|| parts.assign_id()),
        inbox: parts.inbox,
        keep_alive_secs_max: parts.keep_alive_secs_max,
    };
    let mut accepted = judge(&connect, &door)?;
    Span::current().record("client_id", accepted.client_id.as_str());
    let Accepted { user, client_id, .. } = &accepted;
    let mut permission = parts.auth.permission(user.clone(), client_id.clone());
    if let Some(rights) = permission.rights() {
        restrict(parts, &mut accepted, &rights);
    }
    Ok(Admission { accepted, permission, proof })
}

/// Takes away what the client may not have. A will it may not publish is none, as with mosquitto: the
/// client is let in.
fn restrict(parts: &Parts, accepted: &mut Accepted, rights: &Rights) {
    accepted.inbox.take_if(|inbox| !rights.may_subscribe(&inbox.filter));
    let denied = accepted.will.take_if(|will| !rights.may_write(will.topic.as_str()));
    if let Some(will) = denied {
        parts.metrics.count_drop(DropReason::NotAuthorized);
        info!(topic = %will.topic, "client may not have its will published here");
    }
}
