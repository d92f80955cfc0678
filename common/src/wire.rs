//! Bytes in, bytes out: a socket with its two buffers and the decoder, for clients and both ends of
//! links alike. It leaves to others where a socket comes from, and what packets mean.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use prometheus::IntCounter;
use thiserror::Error;
use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tracing::error;

use crate::{
    link::{self, Frame},
    message::Message,
    packet::{self, DecodeError, Decoder, Packet, PublishHeader, Role},
};

/// A peer's socket.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    decoder: Decoder,
    received: BytesMut,
    /// Bytes of the last read.
    last_read: usize,
    /// Bytes of all reads.
    read: u64,
    to_send: BytesMut,
    /// How many bytes were written, of all that were ever put in.
    written: u64,
    /// Nothing from this one on is written.
    held_at: Option<u64>,
    /// Whether the writer may still hold bytes itself.
    unflushed: bool,
    traffic: Tally,
}

/// What passes a socket.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Whole packets in.
    pub packets_received: IntCounter,
    /// Packets put into the write buffer.
    pub packets_sent: IntCounter,
    /// Bytes in.
    pub bytes_received: IntCounter,
    /// Bytes out.
    pub bytes_sent: IntCounter,
}

/// Packets, counted for one socket and added to what all count now and then: no shared memory a
/// packet.
#[derive(Debug)]
struct Tally {
    shared: Traffic,
    packets_received: u64,
    packets_sent: u64,
}

/// Why nothing more can be read or written.
#[derive(Debug, Error)]
pub enum WireError {
    /// The peer has closed it.
    #[error("connection closed")]
    Closed,
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no packet.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A fresh socket. Packets of more than `packet_bytes_max` bytes are refused.
    pub fn new(role: Role, stream: S, packet_bytes_max: usize, traffic: Traffic) -> Self {
        Self {
            stream,
            decoder: Decoder::new(role, packet_bytes_max),
            received: BytesMut::new(),
            last_read: 0,
            read: 0,
            to_send: BytesMut::new(),
            written: 0,
            held_at: None,
            unflushed: false,
            traffic: Tally { shared: traffic, packets_received: 0, packets_sent: 0 },
        }
    }

    /// The next packet among the bytes received, if it is whole.
    pub fn decode(&mut self) -> Result<Option<Packet>, WireError> {
        let packet = self.decoder.decode(&mut self.received)?;
        if packet.is_some() {
            self.traffic.packets_received += 1;
        } else {
            give_back(&mut self.received, self.last_read, RECEIVED_BYTES_MAX);
        }
        Ok(packet)
    }

    /// Reads what there is and writes what there is to write, as far as either is possible; reads
    /// only if asked to. Cancelling it loses nothing.
    ///
    /// No async function, of which a task that waits would keep twice what it was told.
    pub fn turn(&mut self, reads: bool) -> impl Future<Output = Result<(), WireError>> {
        self.traffic.flush();
        poll_fn(move |context| self.poll_turn(context, reads))
    }

    /// Both ways in one go: neither keeps the other waiting.
    fn poll_turn(&mut self, context: &mut Context<'_>, reads: bool) -> Poll<Result<(), WireError>> {
        let wrote = self.poll_write(context)?;
        let read = if reads { self.poll_read(context)? } else { Poll::Pending };
        if wrote.is_pending() && read.is_pending() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Reads into room that all sockets of a thread share, so that one that is silent keeps none. What
    /// belongs to a packet of which a part is there goes to that part at once.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let Self { stream, received, .. } = self;
        let bytes = if received.is_empty() {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut room = ReadBuf::new(scratch);
                ready!(Pin::new(stream).poll_read(context, &mut room))?;
                received.extend_from_slice(room.filled());
                Poll::Ready(io::Result::Ok(room.filled().len()))
            })
        } else {
            received.reserve(CHUNK_BYTES);
            pin!(stream.read_buf(received)).poll(context)
        };
        let bytes = ready!(bytes)?;
        if bytes == 0 {
            return Poll::Ready(Err(WireError::Closed));
        }
        self.last_read = bytes;
        self.read += bytes as u64;
        self.traffic.shared.bytes_received.inc_by(bytes as u64);
        Poll::Ready(Ok(()))
    }

    /// Writes what the writer takes of what may be written, and has it pass on what it holds itself: TLS
    /// keeps what the socket has no room for, and looks after it only when asked to.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let limit = self.writable();
        let Self { stream, to_send, unflushed, .. } = self;
        if limit == 0 && !*unflushed {
            return Poll::Pending;
        }
        let mut wrote = 0;
        let may_go = to_send.get(..limit).unwrap_or_default();
        if !may_go.is_empty() {
            wrote = ready!(Pin::new(&mut *stream).poll_write(context, may_go))?;
            if wrote == 0 {
                return Poll::Ready(Err(WireError::Io(io::ErrorKind::WriteZero.into())));
            }
            to_send.advance(wrote);
        }
        *unflushed = Pin::new(&mut *stream).poll_flush(context)?.is_pending();
        if wrote == 0 && *unflushed {
            return Poll::Pending;
        }
        self.note_wrote(wrote);
        Poll::Ready(Ok(()))
    }

    /// Reads until a whole packet is there.
    pub async fn read_packet(&mut self) -> Result<Packet, WireError> {
        loop {
            if let Some(packet) = self.decode()? {
                return Ok(packet);
            }
            self.turn(true).await?;
        }
    }

    /// Writes everything there is to write, ends the sending side, and waits for the client's end.
    pub async fn say_good_bye(&mut self) -> Result<(), WireError> {
        self.flush().await?;
        self.stream.shutdown().await?;
        let mut ignored = [0; 512];
        while self.stream.read(&mut ignored).await? > 0 {}
        Ok(())
    }

    /// Writes everything there is to write.
    pub async fn flush(&mut self) -> Result<(), WireError> {
        while !self.to_send.is_empty() || self.unflushed {
            self.turn(false).await?;
        }
        Ok(())
    }

    /// Puts a packet into the write buffer.
    pub fn send(&mut self, packet: &Packet) {
        self.traffic.packets_sent += 1;
        if let Err(error) = packet::encode(packet, &mut self.to_send) {
            error!(%error, "own packet could not be encoded");
        }
    }

    /// Puts a message into the write buffer.
    pub fn send_message(&mut self, message: &Message, header: PublishHeader) {
        self.traffic.packets_sent += 1;
        if let Err(error) = packet::encode_publish(message, header, &mut self.to_send) {
            error!(%error, "own message could not be encoded");
        }
    }

    /// Puts a frame into the write buffer.
    pub fn send_frame(&mut self, frame: &Frame) {
        self.traffic.packets_sent += 1;
        if let Err(error) = link::encode(frame, &mut self.to_send) {
            error!(%error, "own frame could not be encoded");
        }
    }

    /// Names the place behind all that was put into the write buffer until now.
    pub fn mark(&self) -> u64 {
        self.written + self.to_send.len() as u64
    }

    /// Lets nothing from this mark on be written; none: everything may be.
    pub fn hold_at(&mut self, mark: Option<u64>) {
        self.held_at = mark;
    }

    /// Bytes at the front of the write buffer that may be written.
    fn writable(&self) -> usize {
        let held_at = self.held_at.map_or(u64::MAX, |mark| mark.saturating_sub(self.written));
        self.to_send.len().min(usize::try_from(held_at).unwrap_or(usize::MAX))
    }

    /// Bytes that were read and belong to a packet that is not whole yet, or was not taken.
    pub fn untaken_bytes(&self) -> usize {
        self.received.len()
    }

    /// Bytes that were read, in all.
    pub fn read_bytes(&self) -> u64 {
        self.read
    }

    /// Bytes that wait to be written.
    pub fn unsent_bytes(&self) -> usize {
        self.to_send.len()
    }

    fn note_wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        self.traffic.shared.bytes_sent.inc_by(bytes as u64);
        give_back(&mut self.to_send, bytes, TO_SEND_BYTES_MAX);
    }
}

impl Tally {
    fn flush(&mut self) {
        let received = std::mem::take(&mut self.packets_received);
        let sent = std::mem::take(&mut self.packets_sent);
        if received > 0 {
            self.shared.packets_received.inc_by(received);
        }
        if sent > 0 {
            self.shared.packets_sent.inc_by(sent);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Gives the room of an empty buffer back if little of it was used last: a burst leaves no large buffer
/// behind, and a stream keeps its own, up to a bound.
fn give_back(buffer: &mut BytesMut, used: usize, bytes_max: usize) {
    let needed = used.saturating_mul(4).clamp(KEPT_BYTES_MAX, bytes_max);
    if buffer.is_empty() && buffer.try_reclaim(needed + 1) {
        *buffer = BytesMut::new();
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK_BYTES]);
}

/// Room for one read.
const CHUNK_BYTES: usize = 64 * 1024;

/// An empty buffer keeps no more room than this, whatever was used of it: the room that all sockets share takes what
/// is read, and a thousand who have sent something large once must not keep a hundred megabytes.
const RECEIVED_BYTES_MAX: usize = 8 * 1024;
const TO_SEND_BYTES_MAX: usize = 128 * 1024;

/// A buffer that is empty and was little used keeps no more room than this.
const KEPT_BYTES_MAX: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use tokio::{io::BufWriter, time::timeout};

    use super::*;

    fn traffic() -> Traffic {
        let counter = || IntCounter::new("a", "a").unwrap();
        Traffic {
            packets_received: counter(),
            packets_sent: counter(),
            bytes_received: counter(),
            bytes_sent: counter(),
        }
    }

    #[tokio::test]
    async fn nothing_behind_a_mark_is_written_until_it_may_be() {
        let (ours, mut theirs) = io::duplex(100);
        let mut wire = Wire::new(Role::Server, ours, 1024, traffic());
        wire.send(&Packet::PingResp);
        wire.hold_at(Some(wire.mark()));
        wire.send(&Packet::PingReq);
        wire.turn(false).await.unwrap();
        let held = timeout(std::time::Duration::from_millis(20), wire.turn(false));
        assert!(held.await.is_err(), "what is held makes nothing to do");
        wire.hold_at(None);
        wire.flush().await.unwrap();
        let mut came = [0; 4];
        theirs.read_exact(&mut came).await.unwrap();
        assert_eq!(came, [0xd0, 0, 0xc0, 0]);
    }

    #[tokio::test]
    async fn a_burst_leaves_no_large_buffer_behind() {
        let (ours, theirs) = io::duplex(1 << 20);
        let mut wire = Wire::new(Role::Server, ours, 1024, traffic());
        let (mut lengths, mut theirs) = (Vec::new(), theirs);
        for packets in [50_000, 50_000, 1] {
            (0..packets).for_each(|_| wire.send(&Packet::PingResp));
            wire.flush().await.unwrap();
            theirs.read_exact(&mut vec![0; 2 * packets]).await.unwrap();
            lengths.push(wire.to_send.try_reclaim(KEPT_BYTES_MAX + 1));
        }
        assert_eq!(lengths, [true, true, false], "kept while it is used, then given back");
    }

    /// The socket takes fewer bytes than there are, so that some stay in the writer.
    #[tokio::test]
    async fn no_byte_stays_behind_in_a_writer_with_a_buffer_of_its_own() {
        let (ours, mut theirs) = io::duplex(5);
        let mut wire = Wire::new(Role::Server, BufWriter::new(ours), 1024, traffic());
        for _ in 0..10 {
            wire.send(&Packet::PingResp);
        }
        let turning = async {
            loop {
                wire.turn(true).await.unwrap();
            }
        };
        let mut came = [0; 20];
        let all = async { theirs.read_exact(&mut came).await.unwrap() };
        tokio::select! {
            () = turning => {}
            read = timeout(std::time::Duration::from_mins(1), all) => assert_eq!(read, Ok(20)),
        }
        assert_eq!(came, [[0xd0, 0]; 10].concat()[..]);
        assert_eq!(wire.traffic.shared.bytes_sent.get(), 20);
    }
}
