//! Who publishes and who hears what; what arrived, how late, and what did not.
//!
//! It is pure: it is told the time. It leaves to others: connections ([`crate::pool`]) and the
//! phases of a run ([`crate::run`]).

use std::ops::Range;

use hdrhistogram::Histogram;

use crate::{
    Failure,
    packet::{Answer, Packet, QoS, Stamp, Template},
    pool::Hears,
    stream::Stream,
};

/// What a client is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It sends the messages of one stream.
    Publisher(usize),
    /// It hears the streams from one on; for each, the place of the next message.
    Subscriber(usize, Vec<u32>),
}

/// A stream and how its messages look.
#[derive(Debug)]
struct Line {
    stream: Stream,
    template: Template,
    publisher: usize,
    is_ripe: bool,
}

/// All of it.
#[derive(Debug)]
pub struct Traffic {
    lines: Vec<Line>,
    roles: Vec<Role>,
    ripe: Vec<usize>,
    measured: Range<u64>,
    counts: Counts,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages sent.
    pub sent: u64,
    /// Messages that arrived, once for each subscriber.
    pub delivered: u64,
    /// Messages that arrived behind a later one of their stream: late, or a second time.
    pub disordered: u64,
    /// Messages that had not come when a later one did.
    pub skipped: u64,
}

impl Traffic {
    /// Nobody and nothing yet.
    pub fn new() -> Result<Self, Failure> {
        // From a nanosecond to a minute, with three digits.
        let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3);
        Ok(Self {
            lines: Vec::new(),
            roles: Vec::new(),
            ripe: Vec::new(),
            measured: u64::MAX..u64::MAX,
            counts: Counts::default(),
            latency: histogram().map_err(|_| Failure::Histogram)?,
            lateness: histogram().map_err(|_| Failure::Histogram)?,
        })
    }

    /// Adds a stream that a client publishes.
    pub fn stream(&mut self, publisher: usize, stream: Stream, template: Template) {
        self.lines.push(Line { stream, template, publisher, is_ripe: false });
    }

    /// Adds the next client.
    pub fn client(&mut self, role: Role) {
        self.roles.push(role);
    }

    /// Begins to send.
    pub fn start(&mut self, now_ns: u64) {
        for number in 0..self.lines.len() {
            if let Some(line) = self.lines.get_mut(number) {
                line.stream.start(now_ns);
            }
            self.ripen(number);
        }
    }

    /// Which part of the time the histograms are about.
    pub fn measure(&mut self, measured: Range<u64>) {
        self.measured = measured;
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// From when a message was due until it was heard, in nanoseconds.
    pub fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// From when a message was due until the generator sent it.
    pub fn lateness(&self) -> &Histogram<u64> {
        &self.lateness
    }

    /// Whether everything that was sent has arrived, or been given up.
    pub fn is_complete(&self) -> bool {
        self.lines.iter().all(|line| line.stream.is_complete())
    }

    /// Messages that the generator no longer waits for.
    pub fn given_up(&self) -> u64 {
        self.lines.iter().map(|line| line.stream.given_up()).sum()
    }

    /// Deliveries that never were. One that came late is none of them.
    pub fn lost(&self) -> u64 {
        let tails = self.roles.iter().map(|role| match role {
            Role::Publisher(_) => 0,
            Role::Subscriber(first, next) => {
                let lines = self.lines.iter().skip(*first).zip(next);
                lines.map(|(line, next)| u64::from(line.stream.sent() - next)).sum()
            }
        });
        let missing = self.counts.skipped + tails.sum::<u64>();
        missing.saturating_sub(self.counts.disordered)
    }

    /// Gives up what has not moved for so long.
    pub fn lose_patience(&mut self, now_ns: u64, patience_ns: u64) {
        for number in 0..self.lines.len() {
            let line = self.lines.get_mut(number);
            if line.is_some_and(|line| line.stream.lose_patience(now_ns, patience_ns)) {
                self.ripen(number);
            }
        }
    }

    fn ripen(&mut self, number: usize) {
        if let Some(line) = self.lines.get_mut(number).filter(|line| !line.is_ripe) {
            line.is_ripe = true;
            self.ripe.push(number);
        }
    }

    /// When the next message is due, in an open loop. Streams that are due are made ripe.
    pub fn next_due(&mut self, now_ns: u64) -> Option<u64> {
        let mut earliest = None;
        for number in 0..self.lines.len() {
            let due = self.lines.get(number).and_then(|line| line.stream.due());
            match due {
                Some(due) if due <= now_ns => self.ripen(number),
                Some(due) => earliest = Some(earliest.map_or(due, |e: u64| e.min(due))),
                None => {}
            }
        }
        earliest
    }

    /// A stream that may have something to send, and its publisher.
    pub fn next_ripe(&mut self) -> Option<(usize, usize)> {
        let number = self.ripe.pop()?;
        let line = self.lines.get_mut(number)?;
        line.is_ripe = false;
        Some((number, line.publisher))
    }

    /// Writes what a stream may send now.
    pub fn send(&mut self, number: usize, now_ns: u64, out: &mut Vec<u8>) {
        let Some(line) = self.lines.get_mut(number) else {
            return;
        };
        let stream = u32::try_from(number).unwrap_or(u32::MAX);
        while out.len() < OUT_BYTES_MAX
            && let Some((sequence, due_ns)) = line.stream.take(now_ns)
        {
            line.template.write(Stamp { due_ns, stream, sequence }, out);
            self.counts.sent += 1;
            if self.measured.contains(&due_ns) {
                self.lateness.saturating_record(now_ns.saturating_sub(due_ns));
            }
        }
    }

    fn delivered(&mut self, client: usize, payload: &[u8], now_ns: u64) -> Result<(), Failure> {
        let stamp = Stamp::read(payload).ok_or(Failure::Stranger)?;
        let number = usize::try_from(stamp.stream).unwrap_or(usize::MAX);
        let Some(Role::Subscriber(first, next)) = self.roles.get_mut(client) else {
            return Err(Failure::Stranger);
        };
        let place = number.checked_sub(*first).and_then(|place| next.get_mut(place));
        let (Some(next), Some(line)) = (place, self.lines.get_mut(number)) else {
            return Err(Failure::Stranger);
        };
        self.counts.delivered += 1;
        if self.measured.contains(&stamp.due_ns) {
            self.latency.saturating_record(now_ns.saturating_sub(stamp.due_ns));
        }
        if stamp.sequence < *next {
            self.counts.disordered += 1;
            return Ok(());
        }
        self.counts.skipped += u64::from(stamp.sequence - *next);
        line.stream.heard(*next, stamp.sequence + 1, now_ns);
        *next = stamp.sequence + 1;
        self.ripen(number);
        Ok(())
    }

    fn acknowledged(&mut self, client: usize, now_ns: u64) {
        if let Some(&Role::Publisher(number)) = self.roles.get(client) {
            if let Some(line) = self.lines.get_mut(number) {
                line.stream.acknowledged(now_ns);
            }
            self.ripen(number);
        }
    }
}

impl Hears for Traffic {
    fn packet(
        &mut self,
        client: usize,
        packet: &Packet<'_>,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match *packet {
            Packet::Publish { qos, id, payload } => {
                match qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => Answer::PubAck.write(id, out),
                    QoS::ExactlyOnce => Answer::PubRec.write(id, out),
                }
                self.delivered(client, payload, now_ns)?;
            }
            Packet::Answer(Answer::PubAck | Answer::PubComp, _) => {
                self.acknowledged(client, now_ns);
            }
            Packet::Answer(Answer::PubRec, id) => Answer::PubRel.write(id, out),
            Packet::Answer(Answer::PubRel, id) => Answer::PubComp.write(id, out),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::Pong => {}
        }
        Ok(())
    }
}

/// What one publisher may have waiting for its socket before it is given no more.
const OUT_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Pace;

    fn pair(qos: QoS) -> Traffic {
        let mut traffic = Traffic::new().unwrap();
        traffic.client(Role::Publisher(0));
        traffic.client(Role::Subscriber(0, vec![0]));
        traffic.stream(0, Stream::new(Pace::Window(3), qos, 1), Template::new("t", qos, 16));
        traffic.start(0);
        traffic
    }

    fn arrives(traffic: &mut Traffic, sequence: u32, now_ns: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let stamp = Stamp { due_ns: 1, stream: 0, sequence };
        Template::new("t", QoS::AtLeastOnce, 16).write(stamp, &mut bytes);
        let (packet, _) = crate::packet::read(&bytes).unwrap().unwrap();
        let mut out = Vec::new();
        traffic.packet(1, &packet, now_ns, &mut out).unwrap();
        out
    }

    #[test]
    fn what_never_comes_is_lost_and_what_comes_late_is_not() {
        let mut traffic = pair(QoS::AtMostOnce);
        traffic.send(0, 1, &mut Vec::new());
        assert_eq!(arrives(&mut traffic, 2, 5), [0x40, 2, 0, 3]);
        assert_eq!((traffic.lost(), traffic.is_complete()), (2, true));
        arrives(&mut traffic, 0, 6);
        assert_eq!((traffic.lost(), traffic.counts().disordered), (1, 1));
    }

    #[test]
    fn latency_counts_from_when_a_message_was_due() {
        let mut traffic = pair(QoS::AtMostOnce);
        traffic.send(0, 1, &mut Vec::new());
        arrives(&mut traffic, 0, 2);
        traffic.measure(0..10);
        arrives(&mut traffic, 1, 900);
        assert_eq!((traffic.latency().len(), traffic.latency().max()), (1, 899));
    }

    #[test]
    fn a_stranger_s_message_ends_the_run() {
        let mut traffic = pair(QoS::AtMostOnce);
        let packet = Packet::Publish { qos: QoS::AtMostOnce, id: 0, payload: b"short" };
        let heard = traffic.packet(1, &packet, 0, &mut Vec::new());
        assert!(matches!(heard, Err(Failure::Stranger)));
    }
}
