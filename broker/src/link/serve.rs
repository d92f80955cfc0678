//! One link: from CONNECT to its end, one task, one loop.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use causeway_common::{
    link::{self, Frame, LINK_PACKET_BYTES_MAX, LINK_USER, LinkError, PREFIX},
    mailbox::Mailbox,
    packet::{Connect, ConnectCode, Packet, Role},
    qos::QoS,
    stint::{Stint, Turns},
    topic::Filter,
    wire::{Traffic, Wire, WireError},
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};
use tracing::{Span, info};

use super::LinkParts;
use crate::hub::{LinkId, LinkViolation};

/// Why a link ended.
#[derive(Debug, Error)]
enum LinkEnd {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Frame(#[from] LinkError),
    #[error(transparent)]
    Violation(#[from] LinkViolation),
    #[error("peer said DISCONNECT")]
    Disconnected,
    #[error("no CONNECT in time")]
    ConnectTimeout,
    #[error("first packet is no CONNECT")]
    NoConnect,
    #[error("wrong credentials")]
    Refused,
    #[error("bridge was silent")]
    Silent,
    #[error("replaced, or up and not passing anything on")]
    Sick,
}

/// Serves one link from its first byte to its last.
pub(super) async fn serve<S>(parts: Arc<LinkParts>, stream: S, until: Instant)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let metrics = &parts.metrics;
    let traffic = Traffic {
        packets_received: metrics.link_packets_received.clone(),
        packets_sent: metrics.link_packets_sent.clone(),
        bytes_received: metrics.link_bytes_received.clone(),
        bytes_sent: metrics.link_bytes_sent.clone(),
    };
    let mut wire = Wire::new(Role::Server, stream, LINK_PACKET_BYTES_MAX, traffic);
    let silence_max = match log_in(&parts, &mut wire, until).await {
        Ok(silence_max) => silence_max,
        Err(end) => {
            parts.note_refusal(&end);
            let _ = timeout(parts.connect_timeout, wire.say_good_bye()).await;
            return;
        }
    };
    let mailbox = Arc::new(Mailbox::new(parts.mailbox_bytes_max));
    let id = parts.hub.lock().link_up(&mailbox);
    let serving = Serving {
        parts: &parts,
        wire,
        id,
        mailbox,
        mail: VecDeque::new(),
        looks_on: Vec::new(),
        heard: Instant::now(),
        silence_max,
        stint: Stint::new(STINT, Turns::new(1)),
    };
    let Err(end) = serving.run().await;
    let now = Instant::now().into_std();
    match end {
        LinkEnd::Disconnected => parts.hub.lock().link_left(id),
        _ => parts.hub.lock().link_down(now, id),
    }
    info!(reason = %end, "link closed");
}

/// Reads CONNECT, which must be there by `until`, and answers it; returns how long the bridge may be silent.
async fn log_in<S>(
    parts: &LinkParts,
    wire: &mut Wire<S>,
    until: Instant,
) -> Result<Duration, LinkEnd>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let first = timeout_at(until, wire.read_packet()).await;
    let Packet::Connect(connect) = first.map_err(|_| LinkEnd::ConnectTimeout)?? else {
        return Err(LinkEnd::NoConnect);
    };
    let admitted = knows_secret(&connect, parts.secret.expose());
    let code = if admitted { ConnectCode::Accepted } else { ConnectCode::BadUserNameOrPassword };
    wire.send(&Packet::ConnAck { session_present: false, code });
    if !admitted {
        parts.metrics.link_logins_refused.inc();
        return Err(LinkEnd::Refused);
    }
    Span::current().record("bridge", connect.client_id.as_str());
    info!("link established");
    let keep_alive = Duration::from_secs(u64::from(connect.keep_alive_secs));
    let silence_max = keep_alive + keep_alive / 2;
    Ok(if silence_max.is_zero() { SILENCE_MAX } else { silence_max })
}

fn knows_secret(connect: &Connect, secret: &str) -> bool {
    let Some(login) = &connect.login else {
        return false;
    };
    let password = login.password.as_deref().unwrap_or_default();
    // Takes the same time wherever the first difference is.
    let differences = password.iter().zip(secret.as_bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    login.user == LINK_USER && password.len() == secret.len() && differences == 0
}

struct Serving<'a, S> {
    parts: &'a LinkParts,
    wire: Wire<S>,
    id: LinkId,
    mailbox: Arc<Mailbox<Frame>>,
    mail: VecDeque<Frame>,
    /// What somebody who looks on wants to see; empty for a bridge.
    looks_on: Vec<Filter>,
    heard: Instant,
    silence_max: Duration,
    /// What it does before the clients have their turn.
    stint: Stint,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Serving<'_, S> {
    async fn run(mut self) -> Result<std::convert::Infallible, LinkEnd> {
        let mailbox = Arc::clone(&self.mailbox);
        let mut check = interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if !self.stint.is_over() {
                while self.take_frames()? && !self.stint.is_over() {}
                self.take_mail()?;
            }
            let gives_way = self.stint.is_over();
            tokio::select! {
                biased; // after a pause of this process, what has come counts before the time
                turned = self.wire.turn(!gives_way) => turned?,
                () = mailbox.wait(), if self.mail.is_empty() && !gives_way => {}
                _ = check.tick() => self.check()?,
                () = self.stint.rest(gives_way) => {}
            }
        }
    }

    /// Gives the hub some whole frames of those received, under one lock. Returns whether there may be more.
    fn take_frames(&mut self) -> Result<bool, LinkEnd> {
        let now = Instant::now();
        let mut hub = None;
        for _ in 0..FRAMES_AT_ONCE {
            let Some(packet) = self.wire.decode()? else {
                return Ok(false);
            };
            self.heard = now;
            if packet == Packet::Disconnect {
                return Err(LinkEnd::Disconnected);
            }
            let frame = link::from_packet(packet)?;
            if let Frame::Subscribe { filters, .. } = &frame {
                let wanted = filters.iter().filter(|filter| filter.as_str().starts_with(PREFIX));
                self.looks_on.extend(wanted.cloned());
            }
            self.parts.budget.took(frame.cost());
            let hub = hub.get_or_insert_with(|| self.parts.hub.lock());
            hub.link_frame(now.into_std(), self.id, frame)?;
        }
        Ok(true)
    }

    /// Puts frames into the write buffer, as long as the bridge takes them.
    fn take_mail(&mut self) -> Result<(), LinkEnd> {
        self.mailbox.take_counted(&mut self.mail);
        let (mut items, mut bytes) = (0, 0);
        while self.wire.unsent_bytes() < UNSENT_BYTES_MAX {
            let Some(frame) = self.mail.pop_front() else {
                break;
            };
            if self.looks_on.is_empty() {
                if frame.may_be_lost() {
                    items += 1;
                    bytes += frame.cost();
                }
                self.wire.send_frame(&frame);
            } else {
                if frame.is_publish() {
                    items += 1;
                    bytes += frame.cost();
                }
                self.show(&frame)?;
            }
        }
        if items > 0 {
            self.mailbox.release(items, bytes);
        }
        Ok(())
    }

    /// Shows a frame to somebody who looks on: at QoS 0, and only what was asked for.
    fn show(&mut self, frame: &Frame) -> Result<(), LinkEnd> {
        let mut packet = link::to_packet(frame)?;
        if let Packet::Publish(publish) = &mut packet {
            let topic = publish.message.topic.as_str();
            if !self.looks_on.iter().any(|filter| filter.matches(topic)) {
                return Ok(());
            }
            publish.id = None;
            publish.message.qos = QoS::AtMostOnce;
            self.wire.send(&packet);
        } else if matches!(packet, Packet::SubAck { .. } | Packet::UnsubAck(_) | Packet::PingResp) {
            self.wire.send(&packet);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), LinkEnd> {
        if self.heard.elapsed() > self.silence_max {
            return Err(LinkEnd::Silent);
        }
        if self.parts.hub.lock().link_is_sick(self.id) {
            return Err(LinkEnd::Sick);
        }
        Ok(())
    }
}

/// Bytes that may wait in the write buffer before no more mail is taken.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// Frames handled before the time is looked at.
const FRAMES_AT_ONCE: usize = 32;

/// How long a link is served while clients may wait: longer than one of them, and not in their queue, for it
/// speaks for many.
const STINT: Duration = Duration::from_millis(1);

/// How long a peer without keep-alive may be silent.
const SILENCE_MAX: Duration = Duration::from_hours(1);

const CHECK_INTERVAL: Duration = Duration::from_millis(500);
