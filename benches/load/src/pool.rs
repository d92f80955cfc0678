//! All connections of a load, behind one epoll loop.
//!
//! Sockets are edge-triggered: each is read until it is empty, and written once per turn with all
//! that the turn has given it. It leaves to others: what is sent when ([`crate::run`]).

use std::{io, mem, net::SocketAddr, os::fd::AsRawFd, time::Duration};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

use crate::{
    Failure,
    client::{Client, Greeting, Phase},
    clock::{Alarm, Clock},
    packet::{self, Packet},
    transport::Dialer,
};

/// Who hears what arrives for clients that are logged in.
pub trait Hears {
    /// A packet for a client; what is answered goes to `out`.
    fn packet(
        &mut self,
        client: usize,
        packet: &Packet<'_>,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure>;
}

/// The connections.
#[derive(Debug)]
pub struct Pool {
    poll: Poll,
    events: Option<Events>,
    clock: Clock,
    alarm: Alarm,
    /// What the alarm is set to; 0 if to nothing.
    alarm_ns: u64,
    dialer: Dialer,
    clients: Vec<Client>,
    dirty: Vec<usize>,
    is_dirty: Vec<bool>,
    scratch: Vec<u8>,
    /// Clients that have logged in, or gone, since somebody looked.
    pub changed: Vec<usize>,
}

impl Pool {
    /// One without connections.
    pub fn new(dialer: Dialer, clock: Clock) -> Result<Self, Failure> {
        let poll = Poll::new()?;
        let alarm = Alarm::new()?;
        let descriptor = alarm.descriptor().as_raw_fd();
        poll.registry().register(&mut SourceFd(&descriptor), ALARM, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Some(Events::with_capacity(1024)),
            clock,
            alarm,
            alarm_ns: 0,
            dialer,
            clients: Vec::new(),
            dirty: Vec::new(),
            is_dirty: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            changed: Vec::new(),
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Begins a connection, with the next number.
    pub fn open(&mut self, address: SocketAddr, greeting: Greeting) -> Result<(), Failure> {
        let number = self.clients.len();
        let client = self.dial(number, address, greeting)?;
        self.clients.push(client);
        self.is_dirty.push(false);
        Ok(())
    }

    /// Begins a connection in the place of one that is gone, of which nothing stays: ten thousand a second
    /// would use up the ports.
    pub fn reopen(
        &mut self,
        number: usize,
        address: SocketAddr,
        greeting: Greeting,
    ) -> Result<(), Failure> {
        let new = self.dial(number, address, greeting)?;
        if let Some(client) = self.clients.get_mut(number) {
            client.transport().end_by_reset();
            *client = new;
        }
        Ok(())
    }

    fn dial(
        &self,
        number: usize,
        address: SocketAddr,
        greeting: Greeting,
    ) -> Result<Client, Failure> {
        let mut client = Client::new(self.dialer.dial(address)?, greeting);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(client.transport().socket(), Token(number), both)?;
        Ok(client)
    }

    /// How far a client is.
    pub fn phase(&self, number: usize) -> Option<Phase> {
        self.clients.get(number).map(|client| client.phase)
    }

    /// Where to put what a client shall send at the end of this turn.
    pub fn out(&mut self, number: usize) -> Option<&mut Vec<u8>> {
        self.touch(number);
        self.clients.get_mut(number).map(|client| &mut client.out)
    }

    /// Has a client say goodbye at the end of this turn.
    pub fn leave(&mut self, number: usize) {
        self.touch(number);
        if let Some(client) = self.clients.get_mut(number) {
            client.leave();
        }
    }

    fn touch(&mut self, number: usize) {
        if let Some(is_dirty) = self.is_dirty.get_mut(number)
            && !mem::replace(is_dirty, true)
        {
            self.dirty.push(number);
        }
    }

    /// Writes what this turn has given to clients.
    pub fn flush(&mut self) -> Result<(), Failure> {
        while let Some(number) = self.dirty.pop() {
            if let Some(is_dirty) = self.is_dirty.get_mut(number) {
                *is_dirty = false;
            }
            if let Some(client) = self.clients.get_mut(number) {
                client.flush()?;
            }
        }
        Ok(())
    }

    /// Waits until something arrives or a time has come, and has it heard.
    pub fn wait(&mut self, until_ns: u64, hears: &mut impl Hears) -> Result<(), Failure> {
        let now = self.clock.now();
        if until_ns > now && until_ns != self.alarm_ns {
            self.alarm_ns = until_ns;
            self.alarm.set(Duration::from_nanos(until_ns - now))?;
        }
        let Some(mut events) = self.events.take() else {
            return Ok(());
        };
        let timeout = (until_ns <= now).then_some(Duration::ZERO);
        let polled = self.poll.poll(&mut events, timeout);
        let served = match polled {
            Ok(()) => self.serve(&events, hears),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        };
        self.events = Some(events);
        served
    }

    fn serve(&mut self, events: &Events, hears: &mut impl Hears) -> Result<(), Failure> {
        for event in events {
            if event.token() == ALARM {
                self.alarm.clear();
                self.alarm_ns = 0;
                continue;
            }
            let number = event.token().0;
            if event.is_writable()
                && let Some(client) = self.clients.get_mut(number)
            {
                client.writable()?;
            }
            if event.is_readable() || event.is_read_closed() {
                self.read(number, event.is_read_closed(), hears)?;
            }
        }
        Ok(())
    }

    /// Reads what is there; of a connection that is closed also that, as nobody will tell it again.
    fn read(
        &mut self,
        number: usize,
        is_closed: bool,
        hears: &mut impl Hears,
    ) -> Result<(), Failure> {
        let Some(client) = self.clients.get_mut(number) else {
            return Ok(());
        };
        let before = client.phase;
        while let Some((filled, more)) = client.read(&mut self.scratch)? {
            let now = self.clock.now();
            let mut bytes = self.scratch.get(..filled).unwrap_or_default();
            while let Some((packet, size)) = packet::read(bytes)? {
                if client.phase == Phase::Ready {
                    hears.packet(number, &packet, now, &mut client.out)?;
                } else {
                    client.greeted(&packet)?;
                }
                bytes = bytes.get(size..).unwrap_or_default();
            }
            client.keep(bytes);
            if !more && !is_closed {
                break;
            }
        }
        let (phase, answers) = (client.phase, !client.out.is_empty());
        if phase != before && matches!(phase, Phase::Ready | Phase::Gone) {
            self.changed.push(number);
        }
        if answers {
            self.touch(number);
        }
        Ok(())
    }
}

const ALARM: Token = Token(usize::MAX);

/// Some packets of the largest payload.
const SCRATCH_BYTES: usize = 256 << 10;
