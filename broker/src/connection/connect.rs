//! The first packet of a client: read in time, and within what may wait at the door. It leaves to `admission.rs`
//! what it says.

use causeway_common::{
    packet::{Connect, DecodeError, Packet},
    wire::{Wire, WireError},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};

use super::{Ended, Parts};
use crate::{
    limits::DoorHold,
    session::{CloseReason, Refusal},
};

/// The CONNECT; an inner error if its level is not spoken here [MQTT-3.1.2-2].
pub(super) async fn read_connect<S>(
    parts: &Parts,
    wire: &mut Wire<S>,
    deadline: Instant,
) -> Result<Result<Connect, Refusal>, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match timeout_at(deadline, read_first(parts, wire)).await {
        Err(_elapsed) => Err(Ended::new(CloseReason::ConnectTimeout)),
        Ok(Ok(Some(Packet::Connect(connect)))) => Ok(Ok(*connect)),
        Ok(Ok(Some(_))) => {
            Err(Ended::with(CloseReason::ProtocolViolation, "first packet is no CONNECT"))
        }
        Ok(Ok(None)) => {
            parts.metrics.limited.memory_connections.inc();
            Err(Ended::new(CloseReason::Memory))
        }
        Ok(Err(WireError::Decode(DecodeError::UnsupportedLevel(_)))) => {
            Ok(Err(Refusal::UnacceptableProtocol))
        }
        Ok(Err(error)) => Err(error.into()),
    }
}

/// The first packet; none if there is no room for what has come of it.
async fn read_first<S>(parts: &Parts, wire: &mut Wire<S>) -> Result<Option<Packet>, WireError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut hold = DoorHold::default();
    loop {
        if let Some(packet) = wire.decode()? {
            return Ok(Some(packet));
        }
        if !parts.budget.admits(&mut hold, wire.untaken_bytes()) {
            return Ok(None);
        }
        wire.turn(true).await?;
    }
}
