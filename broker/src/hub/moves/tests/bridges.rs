//! Sessions on the move, and a second bridge that holds a message for the node they leave.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use causeway_common::{
    id::{BridgeId, Incarnation, NodeId, PacketId},
    link::{Envelope, Frame, Origin, Part, Status},
    mailbox::Mailbox,
    message::Message,
    qos::QoS,
    topic::{Filter, Topic},
};

use super::{cluster::Cluster, nothing_lost_or_twice, parked};
use crate::hub::LinkId;

/// A bridge with one link, to the first node, and with one message for it.
struct Second {
    link: Option<LinkId>,
    mailbox: Arc<Mailbox<Frame>>,
    routes: BTreeSet<Filter>,
    held: Option<Arc<Envelope>>,
}

const NAME: &str = "second";

/// What the second bridge holds.
const NUMBER: u64 = 999;

impl Second {
    fn new() -> Self {
        let origin =
            Origin { node: NodeId::from("node-9"), incarnation: Incarnation(1), sequence: 1 };
        let message = Message {
            topic: Topic::new("t/9").unwrap(),
            payload: Bytes::from(NUMBER.to_string()),
            qos: QoS::AtLeastOnce,
            retain: false,
        };
        Self {
            link: None,
            mailbox: Arc::new(Mailbox::new(1_000_000)),
            routes: BTreeSet::new(),
            held: Some(Arc::new(Envelope::new(origin, &message, None).unwrap())),
        }
    }

    fn link(&mut self, cluster: &mut Cluster) {
        self.mailbox = Arc::new(Mailbox::new(1_000_000));
        self.routes.clear();
        let (now, hub) = (cluster.now, &mut cluster.nodes[0].hub);
        let link = hub.link_up(&self.mailbox);
        let status = Status {
            bridge: BridgeId::from(NAME),
            incarnation: Incarnation(1),
            ready: false,
            directory_reachable: true,
        };
        hub.link_frame(now, link, Frame::Status(status)).unwrap();
        self.link = Some(link);
    }

    fn lose_link(&mut self, cluster: &mut Cluster) {
        cluster.nodes[0].hub.link_down(cluster.now, self.link.take().unwrap());
    }

    /// Everything is carried that can be, by this bridge and the other one.
    fn settle(&mut self, cluster: &mut Cluster) {
        cluster.settle();
        while self.carry(cluster) {
            cluster.settle();
        }
    }

    fn carry(&mut self, cluster: &mut Cluster) -> bool {
        let mut frames = VecDeque::new();
        self.mailbox.take_all(&mut frames);
        let any = !frames.is_empty();
        for frame in frames {
            for answer in self.take(frame) {
                let link = self.link.unwrap();
                cluster.nodes[0].hub.link_frame(cluster.now, link, answer).unwrap();
            }
        }
        any
    }

    /// What it says to that.
    fn take(&mut self, frame: Frame) -> Vec<Frame> {
        match frame {
            Frame::Routes { id, routes } => {
                self.routes.extend(routes.add);
                routes.remove.iter().for_each(|filter| _ = self.routes.remove(filter));
                let is_whole = routes.part == Part::SnapshotEnd;
                let held = self.held.take_if(|_| is_whole);
                let wanted = held
                    .filter(|held| self.routes.iter().any(|filter| filter.matches(held.topic())));
                let given = wanted.map(|envelope| Frame::Forward { id: Some(FIRST), envelope });
                [Frame::Ack(id)].into_iter().chain(given).collect()
            }
            Frame::Direct { id: Some(id), to, from, note } => {
                let back = Frame::Direct { id: PacketId::new(2), to, from, note };
                vec![back, Frame::Ack(id)]
            }
            _ => vec![],
        }
    }
}

const FIRST: PacketId = PacketId::FIRST;

/// A client's messages are on a node that has just come back; both bridges live, one is linked.
fn come_back() -> (Cluster, Second) {
    let mut cluster = parked(2, 5);
    cluster.list(&["bridge", NAME]);
    cluster.crash(0);
    (cluster, Second::new())
}

fn has_all(cluster: &mut Cluster) {
    cluster.read();
    nothing_lost_or_twice(cluster);
    assert!(cluster.got.contains(&NUMBER), "{:?}", cluster.got);
    assert_eq!((cluster.got.len(), cluster.held_by()), (6, vec![1]));
}

#[test]
fn a_session_leaves_with_what_a_bridge_holds_that_links_later() {
    let (mut cluster, mut second) = come_back();
    cluster.come(1, false);
    cluster.after(2);
    assert_eq!((cluster.device().is_in, cluster.held_by()), (false, vec![0, 1]));
    second.link(&mut cluster);
    second.settle(&mut cluster);
    assert!(cluster.device().is_in && cluster.device().present);
    has_all(&mut cluster);
}

#[test]
fn a_session_waits_no_longer_for_a_bridge_whose_lease_has_ended() {
    let (mut cluster, _) = come_back();
    cluster.come(1, false);
    cluster.settle();
    assert!(!cluster.device().is_in);
    cluster.list(&["bridge"]);
    cluster.settle();
    assert!(cluster.device().is_in);
    assert_eq!(cluster.held_by(), [1]);
}

#[test]
fn a_session_waits_until_it_is_known_which_bridges_there_are() {
    let mut cluster = parked(2, 5);
    cluster.list_nothing();
    cluster.crash(0);
    cluster.come(1, false);
    cluster.after(2);
    assert_eq!((cluster.device().is_in, cluster.held_by()), (false, vec![0, 1]));
    cluster.list(&["bridge"]);
    cluster.settle();
    assert!(cluster.device().is_in);
    assert_eq!(cluster.held_by(), [1]);
}

#[test]
fn a_bridge_whose_link_breaks_meanwhile_is_waited_for() {
    for secs in [0, 5] {
        let (mut cluster, mut second) = come_back();
        let held = second.held.take();
        second.link(&mut cluster);
        second.settle(&mut cluster);
        second.lose_link(&mut cluster);
        second.held = held;
        cluster.come(1, false);
        cluster.settle();
        cluster.after(secs);
        assert!(cluster.device().is_in, "it was here before, and the client need not wait");
        assert_eq!(cluster.held_by(), [0, 1], "{secs}");
        second.link(&mut cluster);
        second.settle(&mut cluster);
        has_all(&mut cluster);
    }
}

#[test]
fn a_bridge_that_is_lost_is_waited_for_as_long_as_it_lives() {
    let (mut cluster, mut second) = come_back();
    second.link(&mut cluster);
    second.settle(&mut cluster);
    second.lose_link(&mut cluster);
    cluster.come(1, false);
    cluster.after(5);
    assert_eq!(cluster.held_by(), [0, 1]);
    cluster.list(&["bridge"]);
    cluster.settle();
    assert_eq!(cluster.held_by(), [1]);
}

/// The second link comes before the first one is known to be gone.
#[test]
fn a_bridge_that_links_again_hears_first_who_the_node_is() {
    let (mut cluster, mut second) = come_back();
    second.link(&mut cluster);
    cluster.come(1, false);
    cluster.settle();
    second.link(&mut cluster);
    let mut said = VecDeque::new();
    second.mailbox.take_all(&mut said);
    assert!(matches!(said.front(), Some(Frame::Hello(_))), "{said:?}");
}
