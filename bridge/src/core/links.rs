//! Links come, say who they are, are told how the bridge is, and go.

use std::{sync::Arc, time::Instant};

use causeway_common::{
    directory::Member,
    id::NodeId,
    link::{Frame, Hello, PROTOCOL_VERSION, Status},
    mailbox::Mailbox,
};

use super::{
    Core, LinkViolation, View,
    node::{Link, Phase, Readiness, Step},
};
use crate::{
    relay::{LinkKey, Waiter},
    routes::{NodeIndex, Wanted},
};

impl Core {
    /// A node has accepted the bridge's CONNECT. Frames for it appear in the mailbox, a status
    /// first. An older link to the same node is given up. Nothing if the node is gone meanwhile.
    pub fn link_up(
        &mut self,
        now: Instant,
        member: &Member,
        mailbox: Arc<Mailbox<Frame>>,
    ) -> Option<LinkKey> {
        let at = self.live(&member.node)?;
        self.give_up(now, at);
        self.last_link += 1;
        let key = LinkKey { node: at, serial: self.last_link };
        let node = self.nodes.get_mut(&at)?;
        node.is_absent = false;
        node.lane.link(Arc::clone(&mailbox));
        node.link = Some(Link::new(key, mailbox));
        self.tell(at);
        self.note_sizes();
        Some(key)
    }

    /// A link has ended. Does nothing for one that was given up before.
    pub fn link_down(&mut self, now: Instant, link: LinkKey) {
        let node = self.nodes.get(&link.node);
        let open = node.and_then(|node| node.link.as_ref());
        if open.is_some_and(|open| open.key == link) {
            self.lose_link(now, link.node);
            self.say_changes();
            self.review();
            self.note_sizes();
        }
    }

    /// Whether a link is in use.
    pub fn is_linked(&self, link: LinkKey) -> bool {
        let node = self.nodes.get(&link.node);
        let open = node.and_then(|node| node.link.as_ref());
        open.is_some_and(|open| open.key == link)
    }

    /// Links the bridge has given up of its own accord, each once: the caller closes them.
    pub fn take_hang_ups(&mut self) -> Vec<LinkKey> {
        std::mem::take(&mut self.hang_ups)
    }

    /// Gives up the link to a node, if there is one.
    pub(super) fn give_up(&mut self, now: Instant, at: NodeIndex) {
        let node = self.nodes.get(&at);
        if let Some(link) = node.and_then(|node| node.link.as_ref()) {
            self.hang_ups.push(link.key);
            self.lose_link(now, at);
        }
    }

    pub(super) fn hello(&mut self, link: LinkKey, hello: Hello) -> Result<(), LinkViolation> {
        let Some(node) = self.nodes.get_mut(&link.node) else {
            return Err(LinkViolation::GivenUp);
        };
        if hello.protocol != PROTOCOL_VERSION {
            return Err(LinkViolation::Protocol(hello.protocol));
        }
        if hello.node != node.member.node {
            let dialled = node.member.node.clone();
            let said = hello.node;
            return Err(LinkViolation::WrongNode { dialled, said });
        }
        let (known, said) = (node.member.incarnation, hello.incarnation);
        if said < known {
            return Err(LinkViolation::OlderIncarnation { known, said });
        }
        // A life younger than the directory shows is about to appear there.
        node.member.incarnation = said;
        if let Some(open) = &mut node.link {
            open.phase = Phase::Snapshot(Wanted::default());
        }
        self.interest.attach(link.node);
        self.stale.insert(link.node);
        self.review();
        Ok(())
    }

    /// Forgets a link: what came by it will come again, what went by it is held.
    fn lose_link(&mut self, now: Instant, at: NodeIndex) {
        let Some(node) = self.nodes.get_mut(&at) else {
            return;
        };
        let Some(link) = node.link.take() else {
            return;
        };
        if node.step == Step::In {
            node.step = Step::Out { since: now, cut_off: false };
        }
        self.owed.forget(link.key);
        let mut waiters = node.lane.cut(&self.owed);
        waiters.append(&mut node.waiters);
        waiters.retain(|waiter| *waiter != Waiter::Ready);
        node.waiters = waiters;
        for node in self.nodes.values_mut() {
            node.forget_settled(&self.owed);
        }
        self.interest.detach(at);
    }

    /// Nobody listens where a node should be: its process is gone, so nobody is left there who
    /// could trust an interest that has grown since.
    pub fn refused(&mut self, now: Instant, node: &NodeId) {
        let Some(at) = self.live(node) else {
            return;
        };
        let unlinked = self.nodes.get_mut(&at).filter(|node| node.link.is_none());
        let Some(node) = unlinked else { return };
        if !node.was_live {
            self.gone(now, at);
            return self.tick(now);
        }
        node.is_absent = true;
        let waiters = std::mem::take(&mut node.waiters);
        self.release(at, waiters);
    }

    /// Judges anew whether the bridge is armed and for whom it is ready, and says so.
    pub(super) fn review(&mut self) {
        let in_step = self.live_nodes().all(|(_, node)| node.step == Step::In);
        // Nodes may have come that a bridge without the directory has not heard of.
        let sees = matches!(self.directory, View::Reachable { .. });
        self.armed |= sees && in_step && self.live_nodes().next().is_some();
        let cut_off = |step| matches!(step, Step::Out { cut_off: true, .. });
        let fit =
            self.armed && !self.closing && !self.nodes.values().any(|node| cut_off(node.step));
        for (at, node) in &mut self.nodes {
            let Some(link) = node.attached() else {
                continue;
            };
            match (link.readiness, fit) {
                (Readiness::Withheld, true) => {
                    link.readiness = Readiness::Awaited;
                    node.waiters.push(Waiter::Ready);
                    self.stale.insert(*at);
                }
                (Readiness::Awaited | Readiness::Given, false) => {
                    link.readiness = Readiness::Withheld;
                }
                (Readiness::Withheld, false) | (Readiness::Awaited | Readiness::Given, true) => {}
            }
        }
        self.say_changes();
        self.tell_all();
    }

    /// A node has the whole interest that was known when the bridge became fit.
    pub(super) fn interest_in_force(&mut self, at: NodeIndex) {
        let link = self.nodes.get_mut(&at).and_then(|node| node.link.as_mut());
        if let Some(link) = link.filter(|link| link.readiness == Readiness::Awaited) {
            link.readiness = Readiness::Given;
            link.was_ready = true;
            self.tell(at);
        }
    }

    pub(super) fn tell_all(&mut self) {
        let nodes: Vec<NodeIndex> = self.nodes.keys().copied().collect();
        for at in nodes {
            self.tell(at);
        }
    }

    /// Says to a node how the bridge is, if that is news to it.
    fn tell(&mut self, at: NodeIndex) {
        let link = self.nodes.get_mut(&at).and_then(|node| node.link.as_mut());
        let Some(link) = link else { return };
        let ready = link.readiness == Readiness::Given;
        let directory_reachable = matches!(self.directory, View::Reachable { .. });
        if link.told.replace((ready, directory_reachable)) == Some((ready, directory_reachable)) {
            return;
        }
        let status = Status {
            bridge: self.options.bridge.clone(),
            incarnation: self.options.incarnation,
            ready,
            directory_reachable,
        };
        link.mailbox.push_control(Frame::Status(status));
    }
}
