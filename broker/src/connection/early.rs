//! Mail that comes before its client is in: what is kept, and the answers that its CONNACK waits for.

use causeway_common::id::{Epoch, Ticket};

use crate::session::{CloseReason, Mail, Session};

/// Lets the session of a client that is not yet in have what came for it from another node, and all
/// that is written down: it may belong before what was here. False if the mail is to be kept.
pub(super) fn take_in(state: &mut Session, mail: &mut Mail) -> bool {
    match mail {
        Mail::Inherit(inheritance) => {
            state.inherit(std::mem::take(inheritance));
            true
        }
        Mail::Deliver(delivery) if delivery.stored.is_some() => {
            state.keep(delivery.clone());
            true
        }
        Mail::Deliver(_)
        | Mail::Routed(_)
        | Mail::Subscribed(_)
        | Mail::Vacant
        | Mail::Close(_) => false,
    }
}

/// Why the connection is to be closed, if the mail says so.
pub(super) fn close_reason(mail: &Mail) -> Option<CloseReason> {
    match mail {
        Mail::Close(reason) => Some(*reason),
        Mail::Deliver(_)
        | Mail::Routed(_)
        | Mail::Subscribed(_)
        | Mail::Vacant
        | Mail::Inherit(_) => None,
    }
}

/// Names the will of the connection that this claim replaced.
pub(super) fn will_ticket(epoch: Epoch) -> Ticket {
    Ticket((7 << 61) | epoch.0)
}

/// Names the takeover of the old connection by this claim; no message of the session has such a ticket.
pub(super) fn takeover_ticket(epoch: Epoch) -> Ticket {
    Ticket((3 << 62) | epoch.0)
}
