//! Probes: tiny notes that go the way of messages, through each bridge to each node and back.
//!
//! They measure latency, loss and order by pair of nodes. A node also probes itself through each
//! bridge: a link that is up and silent fails that, and is closed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use causeway_common::{
    id::NodeId,
    link::{Frame, Note},
};

use super::{Hub, LinkId};
use crate::metrics::{Metrics, PeerMetrics};

/// What has been asked and not answered.
#[derive(Debug)]
pub(super) struct Probes {
    started: Instant,
    next_at: Instant,
    interval: Duration,
    asked: BTreeMap<(LinkId, NodeId), Asked>,
}

#[derive(Debug)]
struct Asked {
    /// The number of the last probe; probes to one node through one link count from 1.
    number: u64,
    /// The last number that came back.
    answered: u64,
    metrics: PeerMetrics,
}

impl Asked {
    fn new(metrics: &Metrics, node: &NodeId) -> Self {
        Self { number: 0, answered: 0, metrics: metrics.peer(node) }
    }
}

impl Probes {
    pub(super) fn new(now: Instant, interval: Duration) -> Self {
        Self { started: now, next_at: now + interval, interval, asked: BTreeMap::new() }
    }

    /// A link is gone, and what was asked through it.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.asked.retain(|(by, _), _| *by != link);
    }

    /// Forgets nodes that no longer live, and stops showing their figures.
    pub(super) fn retain(&mut self, metrics: &Metrics, lives: impl Fn(&NodeId) -> bool) {
        for (_, node) in self.asked.keys().filter(|(_, node)| !lives(node)) {
            metrics.forget_peer(node);
        }
        self.asked.retain(|(_, node), _| lives(node));
    }

    pub(super) fn on_echo(
        &mut self,
        now: Instant,
        link: LinkId,
        from: &NodeId,
        number: u64,
        sent_us: u64,
    ) {
        let Some(asked) = self.asked.get_mut(&(link, from.clone())) else {
            return;
        };
        // Also one to a probe that was forgotten meanwhile, with the node it was sent to.
        if number <= asked.answered || number > asked.number {
            asked.metrics.out_of_order.inc();
            return;
        }
        asked.answered = number;
        let sent_at = self.started + Duration::from_micros(sent_us);
        let round_trip = now.saturating_duration_since(sent_at);
        asked.metrics.round_trip.observe(round_trip.as_secs_f64());
    }
}

impl Hub {
    pub(super) fn send_probes(&mut self, now: Instant) {
        if now < self.probes.next_at {
            return;
        }
        self.probes.next_at = now + self.probes.interval;
        let since_start = now.saturating_duration_since(self.probes.started);
        let sent_us = u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX);
        let ready: Vec<LinkId> = self.links.ready().collect();
        for link in ready {
            for to in self.peers.iter().chain([&self.me.node]) {
                let key = (link, to.clone());
                let new = || Asked::new(&self.metrics, to);
                let asked = self.probes.asked.entry(key).or_insert_with(new);
                let unanswered = asked.number - asked.answered;
                if unanswered > 0 {
                    asked.metrics.lost.inc();
                }
                if *to == self.me.node && unanswered >= UNANSWERED_MAX {
                    self.links.sicken(link);
                }
                asked.number += 1;
                let note = Note::Probe { number: asked.number, sent_us };
                let (to, from) = (to.clone(), self.me.node.clone());
                // One that finds no room is missed by whoever sent it.
                self.links.post_if_room(link, Frame::Direct { id: None, to, from, note });
            }
        }
    }
}

/// So many probes to itself may a node miss in a row before it gives the link up.
const UNANSWERED_MAX: u64 = 3;
