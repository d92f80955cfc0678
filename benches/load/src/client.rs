//! One connection of the load: its socket, its buffers, and how far its login has come.
//!
//! It leaves to others: when it is ready ([`crate::pool`]), and everything that comes once it is
//! logged in ([`crate::traffic`]).

use std::{
    io::{self, ErrorKind},
    mem,
};

use crate::{
    Failure,
    packet::{DISCONNECT, Packet, QoS},
    transport::Transport,
};

/// How a client introduces itself.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    /// CONNECT.
    pub connect: Vec<u8>,
    /// SUBSCRIBE and the QoS that it must be granted, if it subscribes.
    pub subscribe: Option<(Vec<u8>, QoS)>,
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The socket is connecting.
    Opening,
    /// CONNECT is on its way.
    Greeting,
    /// SUBSCRIBE is on its way.
    Subscribing,
    /// It may be used.
    Ready,
    /// It has said DISCONNECT and waits until the broker closes.
    Leaving,
    /// The broker has closed after DISCONNECT.
    Gone,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    greeting: Greeting,
    /// How far it is.
    pub phase: Phase,
    /// What is to be sent; whoever adds to it has the pool flush.
    pub out: Vec<u8>,
    /// The beginning of a packet whose rest is still to come.
    rest: Vec<u8>,
}

impl Client {
    /// One that is connecting.
    pub fn new(transport: Transport, greeting: Greeting) -> Self {
        Self { transport, greeting, phase: Phase::Opening, out: Vec::new(), rest: Vec::new() }
    }

    /// Its connection.
    pub fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    /// The socket can be written: it has connected, or has room again.
    pub fn writable(&mut self) -> Result<(), Failure> {
        if self.phase == Phase::Opening {
            // If it could not connect, writing says so.
            self.transport.socket().set_nodelay(true)?;
            self.out.append(&mut self.greeting.connect);
            self.phase = Phase::Greeting;
        }
        self.flush()
    }

    /// Writes what is to be sent, as far as the socket takes it.
    pub fn flush(&mut self) -> Result<(), Failure> {
        if self.phase == Phase::Opening {
            return Ok(());
        }
        let mut written = 0;
        while let Some(bytes) = self.out.get(written..).filter(|bytes| !bytes.is_empty()) {
            match self.transport.write(bytes) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return self.broken(error),
            }
        }
        self.out.drain(..written);
        match self.transport.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => self.broken(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Reads what is there into `scratch`, behind the beginning of a packet from before. Tells how
    /// much of it is filled, and whether there may be more to read; nothing if there is nothing.
    pub fn read(&mut self, scratch: &mut [u8]) -> Result<Option<(usize, bool)>, Failure> {
        let start = self.rest.len();
        if let Some(place) = scratch.get_mut(..start) {
            place.copy_from_slice(&self.rest);
        }
        let room = scratch.get_mut(start..).unwrap_or_default();
        let size = room.len();
        loop {
            match self.transport.read(room) {
                Ok(0) => return self.closed().map(|()| None),
                Ok(count) => {
                    let more = count == size || !self.transport.short_read_is_last();
                    return Ok(Some((start + count, more)));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return self.broken(error).map(|()| None),
            }
        }
    }

    /// Keeps what no whole packet could be read from.
    pub fn keep(&mut self, rest: &[u8]) {
        self.rest.clear();
        self.rest.extend_from_slice(rest);
    }

    /// Takes an answer to its greeting. True if this has made it ready.
    pub fn greeted(&mut self, packet: &Packet<'_>) -> Result<bool, Failure> {
        match (self.phase, packet) {
            (Phase::Greeting, Packet::ConnAck(0)) => {
                if let Some((subscribe, _)) = &mut self.greeting.subscribe {
                    self.out.append(&mut mem::take(subscribe));
                    self.phase = Phase::Subscribing;
                    return Ok(false);
                }
            }
            (Phase::Greeting, Packet::ConnAck(code)) => return Err(Failure::Refused(*code)),
            (Phase::Subscribing, Packet::SubAck(granted)) => {
                let wanted = self.greeting.subscribe.as_ref().map_or(0, |(_, qos)| (*qos).into());
                if *granted != wanted {
                    return Err(Failure::Granted { wanted, granted: *granted });
                }
            }
            // What a durable session was sent before may come in between.
            (_, _) => return Ok(false),
        }
        self.phase = Phase::Ready;
        Ok(true)
    }

    /// Says goodbye.
    pub fn leave(&mut self) {
        self.out.extend_from_slice(&DISCONNECT);
        self.phase = Phase::Leaving;
    }

    /// Only who has said goodbye may be cut off.
    fn broken(&mut self, error: io::Error) -> Result<(), Failure> {
        if self.phase == Phase::Leaving { self.closed() } else { Err(error.into()) }
    }

    fn closed(&mut self) -> Result<(), Failure> {
        if !matches!(self.phase, Phase::Leaving | Phase::Gone) {
            return Err(Failure::Closed(self.phase));
        }
        self.phase = Phase::Gone;
        self.out.clear();
        Ok(())
    }
}
