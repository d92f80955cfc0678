//! One task a node: dials it, logs in as an MQTT client, and carries frames between its socket and
//! the core until the node is gone.
//!
//! ```text
//!   socket ─▶ read all, decode until empty ─▶ core, under one lock ─▶ mailboxes of links
//!   socket ◀─ one write ◀─ encode, while little is unsent ◀───────── this link's mailbox
//! ```
//!
//! While much is unsent the mailbox fills; it refuses what may be lost, and holds the rest. It
//! leaves to others: what a frame means ([`crate::core`]), and which nodes there are.

use std::{collections::VecDeque, convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use causeway_common::{
    config::Secret,
    id::{BridgeId, NodeId},
    link::{self, Frame, LINK_PACKET_BYTES_MAX, LINK_USER, LinkError},
    mailbox::Mailbox,
    packet::{Connect, ConnectCode, Login, Packet, Role},
    stint::{Stint, Turns},
    tls::TlsClient,
    wire::{Traffic, Wire, WireError},
};
use parking_lot::Mutex;
use prometheus::IntCounter;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tracing::{info, warn};

use crate::{
    core::{Core, Dial, LinkViolation},
    metrics::Metrics,
    relay::LinkKey,
};

/// What all links of a bridge share.
#[derive(Debug)]
pub(crate) struct LinkParts {
    pub(crate) core: Mutex<Core>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) traffic: Traffic,
    pub(crate) bridge: BridgeId,
    pub(crate) secret: Secret,
    /// What links go through first.
    pub(crate) tls: Option<Arc<TlsClient>>,
    pub(crate) keep_alive_secs: u16,
    /// Between two pings: often enough that a node is heard several times within its lease.
    pub(crate) ping_interval: Duration,
    /// Bytes of QoS 0 messages that may wait for one link.
    pub(crate) mailbox_bytes_max: usize,
    /// What all links are told.
    pub(crate) order: watch::Sender<Order>,
}

/// What all links are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The core may have given a link up: look.
    Look,
    /// Send what there is to send, say good-bye, end.
    Finish,
}

/// Why there is no link.
#[derive(Debug, Error)]
enum LinkEnd {
    #[error("cannot connect: {0}")]
    Dial(io::Error),
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error("no answer in time")]
    DialTimeout,
    #[error("login refused: {0:?}")]
    Refused(ConnectCode),
    #[error("CONNECT was answered with something else")]
    NoConnAck,
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Frame(#[from] LinkError),
    #[error(transparent)]
    Violation(#[from] LinkViolation),
    #[error("node was silent")]
    Silent,
    #[error("given up")]
    GivenUp,
}

/// Keeps a link to a node, until the node is gone or all links shall end.
pub(crate) async fn keep_linked(parts: Arc<LinkParts>, node: NodeId) {
    let mut order = parts.order.subscribe();
    let mut pause = PAUSE_MIN;
    while let Some(dial) = parts.dial(&node)
        && *order.borrow_and_update() != Order::Finish
    {
        let began = Instant::now();
        let Err(end) = link_once(&parts, &dial, &mut order).await else {
            return;
        };
        warn!(%node, address = %dial.address, reason = %end, "not linked");
        if let LinkEnd::Dial(error) = &end
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            let now = Instant::now().into_std();
            parts.core.lock().refused(now, &node);
        }
        if let Some(counter) = end.counter(&parts.metrics) {
            counter.inc();
        }
        if began.elapsed() > PAUSE_MAX {
            pause = PAUSE_MIN; // it was a link, not another attempt
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Dials, and serves the link to its end; `Ok` after an order to finish.
async fn link_once(
    parts: &Arc<LinkParts>,
    dial: &Dial,
    order: &mut watch::Receiver<Order>,
) -> Result<(), LinkEnd> {
    let deadline = Instant::now() + DIAL_TIMEOUT;
    let dialling = timeout_at(deadline, TcpStream::connect(&dial.address)).await;
    let stream = dialling.map_err(|_| LinkEnd::DialTimeout)?.map_err(LinkEnd::Dial)?;
    stream.set_nodelay(true).map_err(LinkEnd::Dial)?;
    let Some(tls) = &parts.tls else {
        return serve(parts, dial, order, (stream, deadline)).await;
    };
    let shaking = timeout_at(deadline, tls.connect(&dial.address, stream)).await;
    let stream = shaking.map_err(|_| LinkEnd::DialTimeout)?.map_err(LinkEnd::Tls)?;
    serve(parts, dial, order, (stream, deadline)).await
}

/// Logs in before the deadline, and serves the link to its end; `Ok` after an order to finish.
async fn serve<S>(
    parts: &Arc<LinkParts>,
    dial: &Dial,
    order: &mut watch::Receiver<Order>,
    (socket, deadline): (S, Instant),
) -> Result<(), LinkEnd>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let wire = timeout_at(deadline, log_in(parts, socket)).await;
    let wire = wire.map_err(|_| LinkEnd::DialTimeout)??;
    let mailbox = Arc::new(Mailbox::new(parts.mailbox_bytes_max));
    let up = Up::new(parts, dial, &mailbox).ok_or(LinkEnd::GivenUp)?;
    info!(node = %dial.member.node, address = %dial.address, "linked");
    let key = up.key;
    let mut link = Link::new(up, wire, mailbox);
    tokio::select! {
        ended = link.run() => {
            let Err(end) = ended;
            Err(end)
        }
        ordered = wait_for_end(order, parts, key) => {
            ordered?;
            timeout(FINISH_TIMEOUT, link.finish()).await.unwrap_or(Ok(()))
        }
    }
}

/// Waits for the order to finish, or until the core has given the link up.
async fn wait_for_end(
    order: &mut watch::Receiver<Order>,
    parts: &LinkParts,
    key: LinkKey,
) -> Result<(), LinkEnd> {
    loop {
        // Without anybody to order there is nobody to work for.
        if order.changed().await.is_err() || *order.borrow_and_update() == Order::Finish {
            return Ok(());
        }
        if !parts.core.lock().is_linked(key) {
            return Err(LinkEnd::GivenUp);
        }
    }
}

/// Logs in at a node's link listener.
async fn log_in<S>(parts: &LinkParts, socket: S) -> Result<Wire<S>, LinkEnd>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let traffic = parts.traffic.clone();
    let mut wire = Wire::new(Role::Client, socket, LINK_PACKET_BYTES_MAX, traffic);
    let password = Bytes::copy_from_slice(parts.secret.expose().as_bytes());
    let connect = Connect {
        level: 4,
        client_id: parts.bridge.as_str().to_owned(),
        clean_session: true,
        keep_alive_secs: parts.keep_alive_secs,
        will: None,
        login: Some(Login { user: LINK_USER.to_owned(), password: Some(password) }),
    };
    wire.send(&Packet::Connect(Box::new(connect)));
    match wire.read_packet().await? {
        Packet::ConnAck { code: ConnectCode::Accepted, .. } => Ok(wire),
        Packet::ConnAck { code, .. } => Err(LinkEnd::Refused(code)),
        _ => Err(LinkEnd::NoConnAck),
    }
}

impl LinkParts {
    fn dial(&self, node: &NodeId) -> Option<Dial> {
        self.core.lock().dial(node)
    }
}

impl LinkEnd {
    fn counter<'a>(&self, metrics: &'a Metrics) -> Option<&'a IntCounter> {
        let failures = &metrics.link_failures;
        match self {
            Self::GivenUp | Self::Violation(LinkViolation::GivenUp) => None,
            Self::Dial(_) | Self::DialTimeout => Some(&failures.dial),
            Self::Tls(_) => Some(&failures.tls),
            Self::Refused(_) | Self::NoConnAck => Some(&failures.login),
            Self::Wire(WireError::Closed) => Some(&failures.closed),
            Self::Wire(WireError::Io(_)) => Some(&failures.io_error),
            Self::Wire(WireError::Decode(_)) | Self::Frame(_) | Self::Violation(_) => {
                Some(&failures.violation)
            }
            Self::Silent => Some(&failures.keep_alive),
        }
    }
}

/// A link the core knows of; it learns of the end however that comes, a cancelled task too.
#[derive(Debug)]
struct Up {
    parts: Arc<LinkParts>,
    key: LinkKey,
}

impl Up {
    fn new(parts: &Arc<LinkParts>, dial: &Dial, mailbox: &Arc<Mailbox<Frame>>) -> Option<Self> {
        let now = Instant::now().into_std();
        let mailbox = Arc::clone(mailbox);
        let key = parts.core.lock().link_up(now, &dial.member, mailbox)?;
        let parts = Arc::clone(parts);
        Some(Self { parts, key })
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let now = Instant::now().into_std();
        self.parts.core.lock().link_down(now, self.key);
    }
}

#[derive(Debug)]
struct Link<S> {
    up: Up,
    wire: Wire<S>,
    mailbox: Arc<Mailbox<Frame>>,
    /// Taken from the mailbox, not encoded yet.
    mail: VecDeque<Frame>,
    /// Decoded, not given to the core yet.
    frames: VecDeque<Frame>,
    heard: Instant,
    ping_at: Instant,
    keep_alive: Duration,
    /// What it does before the other links have their turn.
    stint: Stint,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    fn new(up: Up, wire: Wire<S>, mailbox: Arc<Mailbox<Frame>>) -> Self {
        let now = Instant::now();
        let keep_alive = Duration::from_secs(u64::from(up.parts.keep_alive_secs));
        Self {
            ping_at: now + up.parts.ping_interval,
            up,
            wire,
            mailbox,
            mail: VecDeque::new(),
            frames: VecDeque::new(),
            heard: now,
            keep_alive,
            stint: Stint::new(STINT, Turns::new(1)),
        }
    }

    async fn run(&mut self) -> Result<Infallible, LinkEnd> {
        loop {
            if !self.stint.is_over() {
                while self.take_frames()? && !self.stint.is_over() {}
                self.take_mail();
            }
            let gives_way = self.stint.is_over();
            let silent_at = self.heard + self.keep_alive * 3 / 2;
            tokio::select! {
                biased; // after a pause of this process, what has come counts before the time
                turned = self.wire.turn(!gives_way) => turned?,
                () = self.mailbox.wait(), if self.mail.is_empty() && !gives_way => {}
                () = sleep_until(silent_at) => return Err(LinkEnd::Silent),
                () = sleep_until(self.ping_at) => self.ping(),
                () = self.stint.rest(gives_way) => {}
            }
        }
    }

    /// Sends everything there is to send, and DISCONNECT.
    async fn finish(&mut self) -> Result<(), LinkEnd> {
        while !self.mail.is_empty() || !self.mailbox.is_empty() {
            self.take_mail();
            self.wire.flush().await?;
        }
        self.wire.send(&Packet::Disconnect);
        Ok(self.wire.flush().await?)
    }

    /// Gives the core some whole frames of those received, under one lock. Returns whether there may be more.
    fn take_frames(&mut self) -> Result<bool, LinkEnd> {
        while self.frames.len() < FRAMES_AT_ONCE
            && let Some(packet) = self.wire.decode()?
        {
            self.frames.push_back(link::from_packet(packet)?);
        }
        let has_more = self.frames.len() >= FRAMES_AT_ONCE;
        if !self.frames.is_empty() {
            self.heard = Instant::now();
            let mut core = self.up.parts.core.lock();
            core.frames(self.heard.into_std(), self.up.key, &mut self.frames)?;
        }
        Ok(has_more)
    }

    /// Puts frames into the write buffer, as long as the node takes them.
    fn take_mail(&mut self) {
        if self.mail.is_empty() {
            self.mailbox.take_counted(&mut self.mail);
        }
        let mut released = (0, 0);
        while self.wire.unsent_bytes() < UNSENT_BYTES_MAX {
            let Some(frame) = self.mail.pop_front() else {
                break;
            };
            if frame.may_be_lost() {
                released = (released.0 + 1, released.1 + frame.cost());
            }
            self.wire.send_frame(&frame);
        }
        if released.0 > 0 {
            self.mailbox.release(released.0, released.1);
        }
    }

    fn ping(&mut self) {
        self.ping_at = Instant::now() + self.up.parts.ping_interval;
        self.wire.send_frame(&Frame::Ping);
    }
}

/// Bytes that may wait in the write buffer before no more mail is taken.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// Frames handled before the time is looked at.
const FRAMES_AT_ONCE: usize = 256;

/// How long one link is served while others may wait.
const STINT: Duration = Duration::from_millis(1);

/// From the first packet of TCP to CONNACK.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// For the last words at the end.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two attempts: from one to the other, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
