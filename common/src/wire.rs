//! Bytes in, bytes out: a socket with its two buffers and the decoder, for clients and both ends of
//! links alike. It leaves to others where a socket comes from, and what packets mean.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Poll, ready},
};

use bytes::{Buf, BytesMut};
use prometheus::IntCounter;
use thiserror::Error;
use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tracing::error;

use crate::{
    link::{self, Frame},
    message::Message,
    packet::{self, DecodeError, Decoder, Packet, PublishHeader, Role},
};

/// A peer's socket.
#[derive(Debug)]
pub struct Wire<R, W> {
    reader: R,
    writer: W,
    decoder: Decoder,
    received: BytesMut,
    to_send: BytesMut,
    /// How many bytes were written, of all that were ever put in.
    written: u64,
    /// Nothing from this one on is written.
    held_at: Option<u64>,
    /// Whether the writer may still hold bytes itself.
    unflushed: bool,
    /// How much room a read is given: it grows while reads fill it, shrinks while they do not.
    chunk_bytes: usize,
    traffic: Traffic,
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

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Wire<R, W> {
    /// A fresh socket. Packets of more than `packet_bytes_max` bytes are refused.
    pub fn new(
        role: Role,
        (reader, writer): (R, W),
        packet_bytes_max: usize,
        traffic: Traffic,
    ) -> Self {
        Self {
            reader,
            writer,
            decoder: Decoder::new(role, packet_bytes_max),
            received: BytesMut::new(),
            to_send: BytesMut::new(),
            written: 0,
            held_at: None,
            unflushed: false,
            chunk_bytes: CHUNK_BYTES_MIN,
            traffic,
        }
    }

    /// The next packet among the bytes received, if it is whole.
    pub fn decode(&mut self) -> Result<Option<Packet>, WireError> {
        let packet = self.decoder.decode(&mut self.received)?;
        if packet.is_some() {
            self.traffic.packets_received.inc();
        }
        Ok(packet)
    }

    /// Reads what there is, or writes what there is to write, whichever is possible first; reads
    /// only if asked to. Cancelling it loses nothing.
    pub async fn turn(&mut self, reads: bool) -> Result<(), WireError> {
        let limit = self.writable();
        let Self { reader, writer, received, to_send, unflushed, .. } = self;
        if reads {
            received.reserve(self.chunk_bytes);
        }
        let room = received.capacity() - received.len();
        let writes = limit > 0 || *unflushed;
        tokio::select! {
            read = reader.read_buf(received), if reads => self.note_read(read?, room)?,
            wrote = write(writer, (to_send, limit), unflushed), if writes => self.note_wrote(wrote?),
            else => std::future::pending().await,
        }
        Ok(())
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
        self.writer.shutdown().await?;
        let mut ignored = [0; 512];
        while self.reader.read(&mut ignored).await? > 0 {}
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
        self.traffic.packets_sent.inc();
        if let Err(error) = packet::encode(packet, &mut self.to_send) {
            error!(%error, "own packet could not be encoded");
        }
    }

    /// Puts a message into the write buffer.
    pub fn send_message(&mut self, message: &Message, header: PublishHeader) {
        self.traffic.packets_sent.inc();
        if let Err(error) = packet::encode_publish(message, header, &mut self.to_send) {
            error!(%error, "own message could not be encoded");
        }
    }

    /// Puts a frame into the write buffer.
    pub fn send_frame(&mut self, frame: &Frame) {
        self.traffic.packets_sent.inc();
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

    /// Bytes that wait to be written.
    pub fn unsent_bytes(&self) -> usize {
        self.to_send.len()
    }

    fn note_read(&mut self, bytes: usize, room: usize) -> Result<(), WireError> {
        if bytes == 0 {
            return Err(WireError::Closed);
        }
        self.traffic.bytes_received.inc_by(bytes as u64);
        if bytes >= room {
            self.chunk_bytes = (self.chunk_bytes * 2).min(CHUNK_BYTES_MAX);
        } else if bytes * 4 < self.chunk_bytes {
            self.chunk_bytes = (self.chunk_bytes / 2).max(CHUNK_BYTES_MIN);
        }
        Ok(())
    }

    fn note_wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        self.traffic.bytes_sent.inc_by(bytes as u64);
        if self.to_send.is_empty() && self.to_send.capacity() > CHUNK_BYTES_MAX {
            self.to_send = BytesMut::new(); // a burst leaves no large buffer behind
        }
    }
}

/// Writes what the writer takes of the first `limit` bytes of `to_send`, and has it pass on what it holds itself: TLS keeps
/// what the socket has no room for, and looks after it only when asked to. Cancelling it loses
/// nothing.
async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    (to_send, limit): (&mut BytesMut, usize),
    unflushed: &mut bool,
) -> io::Result<usize> {
    poll_fn(|context| {
        let mut wrote = 0;
        let may_go = to_send.get(..limit).unwrap_or_default();
        if !may_go.is_empty() {
            wrote = ready!(Pin::new(&mut *writer).poll_write(context, may_go))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            to_send.advance(wrote);
        }
        *unflushed = Pin::new(&mut *writer).poll_flush(context)?.is_pending();
        if wrote == 0 && *unflushed {
            return Poll::Pending;
        }
        Poll::Ready(Ok(wrote))
    })
    .await
}

const CHUNK_BYTES_MIN: usize = 2 * 1024;
const CHUNK_BYTES_MAX: usize = 64 * 1024;

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
        let (reader, writer) = io::split(ours);
        let mut wire = Wire::new(Role::Server, (reader, writer), 1024, traffic());
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

    /// The socket takes fewer bytes than there are, so that some stay in the writer.
    #[tokio::test]
    async fn no_byte_stays_behind_in_a_writer_with_a_buffer_of_its_own() {
        let (ours, mut theirs) = io::duplex(5);
        let (reader, writer) = io::split(ours);
        let mut wire = Wire::new(Role::Server, (reader, BufWriter::new(writer)), 1024, traffic());
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
        assert_eq!(wire.traffic.bytes_sent.get(), 20);
    }
}
