//! A node's socket: bytes in, bytes out, and the packets among them.

use std::io;

use bytes::BytesMut;
use causeway_common::packet::{DecodeError, Decoder, Packet, Role};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Why nothing more can be read or written.
#[derive(Debug, Error)]
pub(super) enum WireError {
    #[error("connection closed")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// A node's socket, with its two buffers and the decoder.
#[derive(Debug)]
pub(super) struct Wire {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    decoder: Decoder,
    received: BytesMut,
    /// Encoded, and not written yet.
    pub(super) to_send: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            reader,
            writer,
            decoder: Decoder::new(Role::Client, PACKET_BYTES_MAX),
            received: BytesMut::new(),
            to_send: BytesMut::new(),
        }
    }

    /// The next packet among the bytes received, if it is whole.
    pub(super) fn decode(&mut self) -> Result<Option<Packet>, WireError> {
        Ok(self.decoder.decode(&mut self.received)?)
    }

    /// Reads what there is, or writes what there is to write, whichever is possible first.
    /// Cancelling it loses nothing.
    pub(super) async fn turn(&mut self) -> Result<(), WireError> {
        self.received.reserve(READ_BYTES);
        let moved = tokio::select! {
            read = self.reader.read_buf(&mut self.received) => read?,
            wrote = self.writer.write_buf(&mut self.to_send), if !self.to_send.is_empty() => wrote?,
        };
        if self.to_send.is_empty() && self.to_send.capacity() > BUFFER_BYTES_MAX {
            self.to_send = BytesMut::new(); // a large message leaves no large buffer behind
        }
        if moved == 0 {
            Err(WireError::Closed)
        } else {
            Ok(())
        }
    }

    /// Writes everything there is to write.
    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        Ok(self.writer.write_all_buf(&mut self.to_send).await?)
    }
}

/// The largest packet MQTT has, with its header: what a node lets a client send, every link
/// carries.
const PACKET_BYTES_MAX: usize = 268_435_455 + 5;

/// Room that a read is given.
const READ_BYTES: usize = 64 * 1024;

/// A buffer that has grown beyond this is given back once it is empty.
const BUFFER_BYTES_MAX: usize = 512 * 1024;
