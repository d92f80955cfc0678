//! One connection to a node, exact about every byte both ways.
//!
//! It answers nothing by itself. Whatever does not come as the test says ends the test with a
//! sentence.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
};

use causeway_tests::wait::PATIENCE;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::bytes::{
    CLEAN, DUP, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBREC, PUBREL, QOS_1, QOS_2, SESSION_PRESENT,
    answer, connack, connect, connect_raw, field, hex, publish, resume, suback, subscribe,
};

/// A connection.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
    /// What came while the answer to something else was awaited.
    early: VecDeque<Vec<u8>>,
    last_id: u16,
}

/// A PUBLISH that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    /// DUP, QoS and RETAIN, as they stood in the first byte.
    pub(crate) flags: u8,
    pub(crate) topic: String,
    /// 0 with QoS 0.
    pub(crate) id: u16,
    pub(crate) payload: Vec<u8>,
}

impl Peer {
    /// A connection on which nothing has been said.
    pub(crate) async fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the node listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, unread: Vec::new(), early: VecDeque::new(), last_id: 0 }
    }

    /// A connection that has sent this CONNECT, or whatever it is.
    pub(crate) async fn say(port: u16, bytes: &[u8]) -> Self {
        let mut peer = Self::open(port).await;
        peer.send(bytes).await;
        peer
    }

    /// A client with clean session 1 that has been let in.
    pub(crate) async fn login(port: u16, client_id: &str) -> Self {
        Self::enter(port, &connect(client_id), &connack(0)).await
    }

    /// A client with clean session 0 that had no session.
    pub(crate) async fn begin(port: u16, client_id: &str) -> Self {
        Self::enter(port, &resume(client_id), &connack(0)).await
    }

    /// A client with clean session 0 whose session goes on.
    pub(crate) async fn resume(port: u16, client_id: &str) -> Self {
        Self::enter(port, &resume(client_id), &SESSION_PRESENT).await
    }

    /// A client that sends this CONNECT and must get this CONNACK.
    pub(crate) async fn enter(port: u16, connect: &[u8], connack: &[u8]) -> Self {
        let mut peer = Self::say(port, connect).await;
        peer.gets(connack).await;
        peer
    }

    /// A client with clean session 1 and a keep-alive.
    pub(crate) async fn login_for(port: u16, client_id: &str, keep_alive_secs: u16) -> Self {
        let connect = connect_raw("MQTT", 4, CLEAN, keep_alive_secs, &field(client_id));
        Self::enter(port, &connect, &connack(0)).await
    }

    /// Sends bytes; that the node has closed meanwhile is no fault.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the node reads");
        assert!(sent.as_ref().err().is_none_or(is_close), "{sent:?}");
    }

    /// The next packet must be exactly this.
    pub(crate) async fn gets(&mut self, expected: &[u8]) {
        let packet = self.packet().await;
        assert!(
            packet.as_deref() == Some(expected),
            "expected {}, got {}",
            hex(expected),
            packet.map_or_else(|| "the end".to_owned(), |packet| hex(&packet))
        );
    }

    /// Somewhere among the next packets must be this one; the others wait for their turn.
    pub(crate) async fn awaits(&mut self, expected: &[u8]) {
        loop {
            let packet = self.arrival().await;
            let packet = packet.unwrap_or_else(|| panic!("the end, not {}", hex(expected)));
            if packet == expected {
                return;
            }
            self.early.push_back(packet);
        }
    }

    /// The next packet; none if the node has closed the connection.
    pub(crate) async fn packet(&mut self) -> Option<Vec<u8>> {
        if let Some(packet) = self.early.pop_front() {
            return Some(packet);
        }
        self.arrival().await
    }

    /// The same from the socket.
    async fn arrival(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(length) = whole(&self.unread) {
                let rest = self.unread.split_off(length);
                return Some(std::mem::replace(&mut self.unread, rest));
            }
            let read = self.stream.read_buf(&mut self.unread);
            let read = timeout(PATIENCE, read).await;
            match read.expect("a packet, or the end of the connection") {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if is_close(&error) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(hex(&self.unread), "", "half a packet before the end");
        None
    }

    /// The node must close the connection and say nothing more.
    pub(crate) async fn closed(&mut self) {
        let packet = self.packet().await;
        assert!(packet.is_none(), "{} instead of the end", hex(&packet.unwrap_or_default()));
    }

    /// The next packet must be a PUBLISH. It is not answered.
    pub(crate) async fn message(&mut self) -> Publish {
        let packet = self.packet().await.expect("a PUBLISH, not the end");
        assert_eq!(packet[0] >> 4, 3, "a PUBLISH, not {}", hex(&packet));
        read_publish(&packet)
    }

    /// The next packet must be this PUBLISH, not answered; returns its identifier.
    pub(crate) async fn finds(&mut self, flags: u8, topic: &str, payload: &str) -> u16 {
        let message = self.message().await;
        let told = String::from_utf8_lossy(&message.payload);
        assert_eq!((message.flags, &*message.topic, &*told), (flags, topic, payload));
        message.id
    }

    /// The same, answered to the end.
    pub(crate) async fn takes(&mut self, flags: u8, topic: &str, payload: &str) {
        let id = self.finds(flags, topic, payload).await;
        self.answers(flags, id).await;
    }

    /// Answers a PUBLISH to the end. What comes before its PUBREL waits for its turn.
    pub(crate) async fn answers(&mut self, flags: u8, id: u16) {
        if flags & QOS_1 != 0 {
            self.send(&answer(PUBACK, id)).await;
        }
        if flags & QOS_2 != 0 {
            self.send(&answer(PUBREC, id)).await;
            self.awaits(&answer(PUBREL, id)).await;
            self.send(&answer(PUBCOMP, id)).await;
        }
    }

    /// Publishes, and waits for the last answer.
    pub(crate) async fn tells(&mut self, flags: u8, topic: &str, payload: impl AsRef<[u8]>) {
        let id = self.next_id();
        self.send(&publish(flags, topic, id, payload)).await;
        if flags & QOS_1 != 0 {
            self.gets(&answer(PUBACK, id)).await;
        }
        if flags & QOS_2 != 0 {
            self.gets(&answer(PUBREC, id)).await;
            self.send(&answer(PUBREL, id)).await;
            self.gets(&answer(PUBCOMP, id)).await;
        }
    }

    /// Subscribes to one filter, which must be granted as asked.
    pub(crate) async fn wants(&mut self, filter: &str, qos: u8) {
        let id = self.next_id();
        self.send(&subscribe(id, &[(filter, qos)])).await;
        // The node may send messages before (3.8.4); they wait for their turn.
        self.awaits(&suback(id, &[qos])).await;
    }

    /// The node must answer a PINGREQ, and have nothing else to say before.
    pub(crate) async fn pings(&mut self) {
        self.send(&PINGREQ).await;
        self.gets(&PINGRESP).await;
    }

    /// An identifier that was not used for the longest time.
    pub(crate) fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}

/// Takes a PUBLISH apart.
pub(crate) fn read_publish(packet: &[u8]) -> Publish {
    let flags = packet[0] & 0x0f;
    let header = 1 + packet[1..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    let body = &packet[header..];
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..2 + length].to_vec()).expect("a topic in UTF-8");
    let rest = &body[2 + length..];
    assert!(flags != flags | DUP || flags & (QOS_1 | QOS_2) != 0, "DUP with QoS 0");
    if flags & (QOS_1 | QOS_2) == 0 {
        return Publish { flags, topic, id: 0, payload: rest.to_vec() };
    }
    let id = u16::from_be_bytes([rest[0], rest[1]]);
    assert_ne!(id, 0, "a packet identifier");
    Publish { flags, topic, id, payload: rest[2..].to_vec() }
}

/// The length of the packet that the bytes begin with, if it is there whole.
fn whole(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (position, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            let total = length + position + 2;
            return (bytes.len() >= total).then_some(total);
        }
    }
    None
}

fn is_close(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
