//! The real tasks of a bridge against nodes that are played by hand, over real sockets.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use causeway_common::{
    directory::{Directory, NodeRow, memory::MemoryDirectory},
    id::{Incarnation, NodeId, PacketId},
    link::{self, Envelope, Frame, Hello, Origin, PROTOCOL_VERSION, Part, Routes},
    message::Message,
    packet::{self, ConnectCode, Decoder, Packet, Role, SubscribeCode},
    qos::QoS,
    topic::{Filter, Topic},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{
        Mutex,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{bridge::Bridge, config::Config};

/// A node's link listener.
struct Node {
    name: &'static str,
    listener: TcpListener,
}

/// A node's side of a link. A task answers pings and sets interest up, until it is told to rest.
struct Peer {
    writer: Arc<Mutex<OwnedWriteHalf>>,
    frames: UnboundedReceiver<Frame>,
    answering: JoinHandle<()>,
}

/// The receiving end of a socket.
struct Receiver {
    reader: OwnedReadHalf,
    decoder: Decoder,
    received: BytesMut,
}

impl Node {
    async fn join(name: &'static str, directory: &MemoryDirectory) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Self { name, listener };
        node.show(directory, 1).await;
        node
    }

    async fn show(&self, directory: &MemoryDirectory, incarnation: u64) {
        let address = self.listener.local_addr().unwrap().to_string();
        let row = NodeRow {
            node: NodeId::from(self.name),
            incarnation: Incarnation(incarnation),
            link_address: address.clone(),
            client_address: address,
        };
        directory.join(&row, DEADLINE * 10).await.unwrap();
    }

    /// The next connection, after its CONNECT was answered.
    async fn accept(&self, code: ConnectCode) -> Peer {
        let accepted = timeout(DEADLINE, self.listener.accept()).await.unwrap();
        let (reader, writer) = accepted.unwrap().0.into_split();
        let mut receiver = Receiver {
            reader,
            decoder: Decoder::new(Role::Server, usize::MAX),
            received: BytesMut::new(),
        };
        let Some(Packet::Connect(connect)) = receiver.packet().await else {
            panic!("no CONNECT");
        };
        let login = connect.login.unwrap();
        let credentials = (login.user.as_str(), login.password.as_deref());
        assert_eq!(credentials, ("link", Some(&b"causeway"[..])));
        assert_eq!((connect.client_id.as_str(), connect.clean_session), ("bridge-1", true));
        assert_eq!(connect.keep_alive_secs, 1);
        let writer = Arc::new(Mutex::new(writer));
        let (sender, frames) = unbounded_channel();
        let answering = tokio::spawn(answer(receiver, Arc::clone(&writer), sender));
        let peer = Peer { writer, frames, answering };
        let session_present = false;
        send(&peer.writer, &Packet::ConnAck { session_present, code }).await;
        peer
    }

    /// A link on which the node has said who it is and what it wants, and knows what others want.
    async fn linked(&self, incarnation: u64, wants: &str) -> Peer {
        let mut peer = self.accept(ConnectCode::Accepted).await;
        let Some(Frame::Status(status)) = peer.frame().await else {
            panic!("no status first");
        };
        assert!(!status.ready);
        peer.send(&Frame::Hello(Hello {
            node: NodeId::from(self.name),
            incarnation: Incarnation(incarnation),
            protocol: PROTOCOL_VERSION,
        }))
        .await;
        let routes = Routes {
            version: 1,
            part: Part::SnapshotEnd,
            add: vec![Filter::new(wants).unwrap()],
            ..Routes::default()
        };
        peer.send(&Frame::Routes { id: id(1), routes }).await;
        peer
    }
}

impl Receiver {
    async fn packet(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.received).unwrap() {
                return Some(packet);
            }
            match self.reader.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

async fn answer(
    mut receiver: Receiver,
    writer: Arc<Mutex<OwnedWriteHalf>>,
    frames: UnboundedSender<Frame>,
) {
    while let Some(packet) = receiver.packet().await {
        let answer = match packet {
            Packet::PingReq => Packet::PingResp,
            Packet::Subscribe { id, subscriptions } => Packet::SubAck {
                id,
                codes: vec![SubscribeCode::Granted(QoS::AtLeastOnce); subscriptions.len()],
            },
            Packet::Unsubscribe { id, .. } => Packet::UnsubAck(id),
            Packet::Disconnect => return,
            packet => {
                let _ = frames.send(link::from_packet(packet).unwrap());
                continue;
            }
        };
        send(&writer, &answer).await;
    }
}

async fn send(writer: &Mutex<OwnedWriteHalf>, packet: &Packet) {
    let mut bytes = BytesMut::new();
    packet::encode(packet, &mut bytes).unwrap();
    // A bridge that has closed the link is noticed at the next frame awaited.
    let _ = writer.lock().await.write_all(&bytes).await;
}

impl Peer {
    /// The next frame but for those that are answered; none once the link is closed.
    async fn frame(&mut self) -> Option<Frame> {
        timeout(DEADLINE, self.frames.recv()).await.expect("nothing came")
    }

    async fn send(&self, frame: &Frame) {
        send(&self.writer, &link::to_packet(frame).unwrap()).await;
    }

    /// Neither reads nor writes from now on, and keeps its socket open.
    fn rest(&self) {
        self.answering.abort();
    }

    /// Waits until the snapshot is answered and messages may be given.
    async fn until_ready(&mut self) {
        let (mut ready, mut answered) = (false, false);
        while !(ready && answered) {
            match self.frame().await.expect("closed") {
                Frame::Status(status) => ready = status.ready,
                Frame::Ack(id) => answered = id.get() == 1,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn envelope(from: &str, topic: &str, payload: Bytes) -> Arc<Envelope> {
    let origin = Origin { node: NodeId::from(from), incarnation: Incarnation(1), sequence: 1 };
    let message =
        Message { topic: Topic::new(topic).unwrap(), payload, qos: QoS::ExactlyOnce, retain: true };
    Arc::new(Envelope::new(origin, &message, None).unwrap())
}

async fn start(directory: &MemoryDirectory) -> Bridge {
    // Room for one message of QoS 0 at a time.
    let mut config = Config::default();
    config.admin.address = SocketAddr::from(([127, 0, 0, 1], 0));
    config.bridge.keep_alive_secs = 1;
    config.bridge.mailbox_bytes_max = 1;
    config.directory.poll_interval_ms = 20;
    Bridge::start(config, Arc::new(directory.clone())).await.unwrap()
}

/// Waits until a line stands on the page of metrics.
async fn until_shown(bridge: &Bridge, line: &str) {
    let shown = async {
        while !get(bridge, "/metrics").await.lines().any(|shown| shown == line) {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, shown).await.unwrap_or_else(|_| panic!("{line} is not shown"));
}

async fn get(bridge: &Bridge, path: &str) -> String {
    let mut stream = TcpStream::connect(bridge.admin_address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_message_crosses_the_bridge_untouched_and_is_answered_end_to_end() {
    let directory = MemoryDirectory::new();
    let node_1 = Node::join("node-1", &directory).await;
    let bridge = start(&directory).await;
    let mut one = node_1.linked(1, "one/#").await;
    one.until_ready().await;
    assert!(get(&bridge, "/readyz").await.starts_with("HTTP/1.0 200"));

    let joined = Instant::now();
    let node_2 = Node::join("node-2", &directory).await;
    let mut two = node_2.linked(1, "two/#").await;
    two.until_ready().await;
    assert!(joined.elapsed() < Duration::from_secs(2), "linked late");

    // More than the write buffer takes at a time, so that it is sent in pieces.
    let payload = Bytes::from(vec![7; 1024 * 1024]);
    let envelope = envelope("node-1", "two/x", payload);
    let (first, second) = (Some(id(7)), Some(id(8)));
    one.send(&Frame::Forward { id: first, envelope: Arc::clone(&envelope) }).await;
    one.send(&Frame::Forward { id: second, envelope: Arc::clone(&envelope) }).await;
    let mut answers = Vec::new();
    while answers.len() < 2 {
        let Some(Frame::Forward { id: Some(id), envelope: came }) = two.frame().await else {
            panic!("no message");
        };
        assert_eq!(came, envelope);
        answers.push(id);
    }
    for id in answers {
        two.send(&Frame::Ack(id)).await;
    }
    for expected in [7, 8] {
        assert_eq!(one.frame().await, Some(Frame::Ack(id(expected))));
    }
    let metrics = get(&bridge, "/metrics").await;
    assert!(metrics.contains("causeway_messages_forwarded_total{qos=\"2\"} 2"), "{metrics}");
    assert!(metrics.contains("causeway_links 2"), "{metrics}");

    bridge.stop().await;
    let Some(Frame::Status(last)) = one.frame().await else {
        panic!("no last words");
    };
    assert!(!last.ready);
    assert_eq!(one.frame().await, None);
}

#[tokio::test]
async fn messages_without_answer_get_their_room_back_once_they_are_sent() {
    let directory = MemoryDirectory::new();
    let node_1 = Node::join("node-1", &directory).await;
    let node_2 = Node::join("node-2", &directory).await;
    let _bridge = start(&directory).await;
    let mut one = node_1.linked(1, "one/#").await;
    let mut two = node_2.linked(1, "two/#").await;
    one.until_ready().await;
    two.until_ready().await;
    for _ in 0..3 {
        let envelope = envelope("node-1", "two/x", Bytes::from_static(b"hi"));
        let frame = Frame::Forward { id: None, envelope };
        one.send(&frame).await;
        assert_eq!(two.frame().await, Some(frame));
    }
}

#[tokio::test]
async fn a_silent_node_is_dialled_anew_and_gets_what_it_did_not_answer() {
    let directory = MemoryDirectory::new();
    let node_1 = Node::join("node-1", &directory).await;
    let node_2 = Node::join("node-2", &directory).await;
    let bridge = start(&directory).await;
    let mut one = node_1.linked(1, "one/#").await;
    let mut two = node_2.linked(1, "two/#").await;
    two.until_ready().await;
    one.until_ready().await;
    two.rest();
    let envelope = envelope("node-1", "two/x", Bytes::from_static(b"hi"));
    one.send(&Frame::Forward { id: Some(id(7)), envelope }).await;
    let mut two_again = node_2.linked(1, "two/#").await;
    loop {
        match two_again.frame().await.expect("closed") {
            Frame::Forward { id: Some(id), envelope } => {
                assert_eq!(envelope.topic(), "two/x");
                break two_again.send(&Frame::Ack(id)).await;
            }
            Frame::Status(_) | Frame::Ack(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let answer = one.frame().await;
    assert_eq!(answer, Some(Frame::Ack(id(7))));
    let metrics = get(&bridge, "/metrics").await;
    assert!(metrics.contains("causeway_link_failures_total{reason=\"keep_alive\"} 1"), "{metrics}");
    assert!(metrics.contains("causeway_messages_resent_total 1"), "{metrics}");
}

#[tokio::test]
async fn a_refused_login_and_a_violation_are_tried_again() {
    let directory = MemoryDirectory::new();
    let node = Node::join("node-1", &directory).await;
    let bridge = start(&directory).await;
    node.accept(ConnectCode::BadUserNameOrPassword).await;
    let mut peer = node.accept(ConnectCode::Accepted).await;
    peer.send(&Frame::Ping).await;
    while peer.frame().await.is_some() {}
    let ready = get(&bridge, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.0 503"), "{ready}");
    assert!(ready.ends_with("not armed: waiting for node-1\n"), "{ready}");
    node.linked(1, "a").await.until_ready().await;
    let metrics = get(&bridge, "/metrics").await;
    for reason in ["login", "violation"] {
        let line = format!("causeway_link_failures_total{{reason=\"{reason}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn a_new_life_in_the_directory_ends_the_link_to_the_old() {
    let directory = MemoryDirectory::new();
    let node = Node::join("node-1", &directory).await;
    let _bridge = start(&directory).await;
    let mut old = node.linked(1, "a").await;
    old.until_ready().await;
    node.show(&directory, 2).await;
    let mut new = node.linked(2, "a").await;
    new.until_ready().await;
    while old.frame().await.is_some() {}
}

#[tokio::test]
async fn the_rows_of_a_dead_node_are_swept_and_those_of_others_stay() {
    let swept = "causeway_nodes_swept_total 1";
    let directory = MemoryDirectory::new();
    let node_1 = Node::join("node-1", &directory).await;
    let bridge = start(&directory).await;
    node_1.linked(1, "a").await.until_ready().await;
    let (name, filter) = (NodeId::from("node-1"), Filter::new("a").unwrap());
    directory.note_home(&name, &[filter], &[]).await.unwrap();
    directory.advance(DEADLINE * 11);
    let _node_2 = Node::join("node-2", &directory).await;
    until_shown(&bridge, swept).await;
    assert_eq!(directory.nodes().await.unwrap().len(), 2, "durable sessions may wait there");
    directory.advance(Duration::from_mins(1));
    let forgotten = async {
        while directory.nodes().await.unwrap().len() > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, forgotten).await.expect("the node's row stays for ever");
    let left = directory.nodes().await.unwrap();
    assert_eq!(left[0].row.node, NodeId::from("node-2"));
    let metrics = get(&bridge, "/metrics").await;
    assert!(metrics.contains(swept), "{metrics}");
}

#[tokio::test]
async fn a_bridge_holds_for_a_node_that_was_away_before_it_started_what_its_home_wants() {
    let directory = MemoryDirectory::new();
    let gone = NodeRow {
        node: NodeId::from("node-2"),
        incarnation: Incarnation(1),
        link_address: "127.0.0.1:1".to_owned(),
        client_address: "127.0.0.1:1".to_owned(),
    };
    directory.join(&gone, Duration::from_secs(1)).await.unwrap();
    directory.note_home(&gone.node, &[Filter::new("b/#").unwrap()], &[]).await.unwrap();
    directory.advance(Duration::from_secs(2));
    let node_1 = Node::join("node-1", &directory).await;
    let bridge = start(&directory).await;
    let mut one = node_1.linked(1, "a").await;
    one.until_ready().await;
    until_shown(&bridge, "causeway_nodes_away 1").await;
    let envelope = envelope("node-1", "b/1", Bytes::from_static(b"hi"));
    one.send(&Frame::Forward { id: Some(id(7)), envelope: Arc::clone(&envelope) }).await;
    until_shown(&bridge, "causeway_transits 1").await;
    let node_2 = Node { name: "node-2", listener: TcpListener::bind("127.0.0.1:0").await.unwrap() };
    node_2.show(&directory, 2).await;
    let mut two = node_2.linked(2, "b/#").await;
    let (came_as, came) = loop {
        match two.frame().await.expect("closed") {
            Frame::Forward { id, envelope } => break (id.unwrap(), envelope),
            Frame::Ack(_) | Frame::Status(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(came, envelope);
    two.send(&Frame::Ack(came_as)).await;
    assert_eq!(one.frame().await, Some(Frame::Ack(id(7))));
}

const DEADLINE: Duration = Duration::from_secs(20);
