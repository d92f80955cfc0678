//! Lets a login wait whose client id two devices contend for: it has taken nothing away yet, and
//! whoever is in is left alone meanwhile.
//!
//! It leaves to others: who has to wait, and for how long (`membership`).

use causeway_common::{id::ClientId, wire::Wire};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Ended, Parts};
use crate::session::CloseReason;

/// Returns when the login may go on; an end if nobody is there any more whom it would serve.
pub(super) async fn hold_back<S>(
    parts: &Parts,
    wire: &mut Wire<S>,
    (client_id, address): (&ClientId, &str),
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(hold) = parts.membership.hold_back(client_id, address) else {
        return Ok(());
    };
    let over = tokio::time::sleep_until(hold.until);
    tokio::pin!(over);
    let mut listens = true;
    loop {
        tokio::select! {
            () = &mut over => break,
            read = wire.turn(true), if listens => {
                // A client that has gone must not put out another. One that does not wait for its
                // CONNACK may send more, of which one reading is taken.
                read?;
                listens = false;
            }
        }
    }
    if parts.membership.may_go_on(client_id, hold) {
        Ok(())
    } else {
        Err(Ended::new(CloseReason::TakenOver))
    }
}
