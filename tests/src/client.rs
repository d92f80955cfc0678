//! An own MQTT client: exact about what it sends and when it answers, cheap enough for ten
//! thousand of them in one test.
//!
//! It has no task of its own: whoever holds it reads it, or does not.

use std::{collections::VecDeque, io, time::Duration};

use bytes::{Bytes, BytesMut};
use causeway_common::{
    id::PacketId,
    message::Message,
    packet::{
        Connect, ConnectCode, Decoder, Packet, Publish, Role, SubscribeCode, Subscription, Will,
        encode,
    },
    qos::QoS,
    topic::{Filter, Topic},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::wait::PATIENCE;

/// One connection. Every wait ends with an error after [`PATIENCE`].
#[derive(Debug)]
pub struct RawClient<S = TcpStream> {
    stream: S,
    decoder: Decoder,
    unread: BytesMut,
    /// Messages that came while something else was awaited; acknowledged already.
    came: VecDeque<Publish>,
    last_id: u16,
}

/// A CONNECT with clean session, without keep-alive: most of these clients say nothing for long.
pub fn connect(client_id: &str) -> Connect {
    Connect {
        level: 4,
        client_id: client_id.to_owned(),
        clean_session: true,
        keep_alive_secs: 0,
        will: None,
        login: None,
    }
}

/// A CONNECT that asks for the session of earlier connections, and leaves one.
pub fn durable(client_id: &str) -> Connect {
    Connect { clean_session: false, ..connect(client_id) }
}

/// A will of this QoS that is not retained.
pub fn will(topic: &str, payload: impl Into<Bytes>, qos: QoS) -> Will {
    let topic = Topic::new(topic).expect("a topic name");
    Will { topic, payload: payload.into(), qos, retain: false }
}

/// A PUBLISH that was not sent before; the identifier counts for QoS 1 and 2.
pub fn publish(topic: &str, payload: impl Into<Bytes>, qos: QoS, id: PacketId) -> Packet {
    Packet::Publish(Publish {
        message: Message {
            topic: Topic::new(topic).expect("a topic name"),
            payload: payload.into(),
            qos,
            retain: false,
        },
        id: qos.is_answered().then_some(id),
        dup: false,
    })
}

impl RawClient {
    /// A network connection, and nothing said on it.
    pub async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// The same from an address of its own: any of 127.0.0.0/8.
    pub async fn open_from(from: [u8; 4], port: u16) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(([127, 0, 0, 1], port).into()).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Connects and waits for the CONNACK.
    pub async fn connect(port: u16, connect: Connect) -> io::Result<(Self, ConnectCode)> {
        let mut client = Self::open(port).await?;
        let code = client.log_in(connect).await?;
        Ok((client, code))
    }

    /// Logs in as a client id. Panics if that is refused.
    pub async fn login(port: u16, client_id: &str) -> Self {
        let answer = Self::connect(port, connect(client_id)).await;
        let (client, code) = answer.unwrap_or_else(|error| panic!("{client_id}: {error}"));
        assert_eq!(code, ConnectCode::Accepted, "{client_id}");
        client
    }

    /// Connects, and says whether there was a session. Being refused is an error.
    pub async fn attach(port: u16, connect: Connect) -> io::Result<(Self, bool)> {
        let mut client = Self::open(port).await?;
        client.send(&Packet::Connect(Box::new(connect))).await?;
        match client.packet().await? {
            Packet::ConnAck { session_present, code: ConnectCode::Accepted } => {
                Ok((client, session_present))
            }
            other => Err(unexpected("CONNACK 0", &other)),
        }
    }

    /// Goes on with a session that must be there.
    pub async fn resume(port: u16, client_id: &str) -> Self {
        let attached = Self::attach(port, durable(client_id)).await;
        let (client, session_present) = attached.unwrap_or_else(|e| panic!("{client_id}: {e}"));
        assert!(session_present, "{client_id} has no session");
        client
    }

    /// Begins a durable session. Panics if there was one.
    pub async fn begin(port: u16, client_id: &str) -> Self {
        let attached = Self::attach(port, durable(client_id)).await;
        let (client, session_present) = attached.unwrap_or_else(|e| panic!("{client_id}: {e}"));
        assert!(!session_present, "{client_id} has a session already");
        client
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawClient<S> {
    /// A connection that is there already, and nothing said on it.
    pub fn over(stream: S) -> Self {
        Self {
            stream,
            decoder: Decoder::new(Role::Client, 4 << 20),
            unread: BytesMut::new(),
            came: VecDeque::new(),
            last_id: 0,
        }
    }

    /// What it is said on.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// What it is said on, for somebody who reads and writes himself.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// Says CONNECT and waits for the CONNACK.
    pub async fn log_in(&mut self, connect: Connect) -> io::Result<ConnectCode> {
        self.send(&Packet::Connect(Box::new(connect))).await?;
        match self.packet().await? {
            Packet::ConnAck { code, .. } => Ok(code),
            other => Err(unexpected("CONNACK", &other)),
        }
    }

    /// Sends one packet.
    pub async fn send(&mut self, packet: &Packet) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        encode(packet, &mut bytes).map_err(io::Error::other)?;
        self.send_bytes(&bytes).await
    }

    /// Sends any bytes.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await??;
        self.stream.flush().await
    }

    /// The next packet, unanswered. Ends with `UnexpectedEof` if the server closes. Cancelling it
    /// loses nothing.
    pub async fn packet(&mut self) -> io::Result<Packet> {
        loop {
            let decoded = self.decoder.decode(&mut self.unread);
            if let Some(packet) = decoded.map_err(io::Error::other)? {
                return Ok(packet);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await??;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next packet, and all that came with it.
    pub async fn packets(&mut self) -> io::Result<Vec<Packet>> {
        let mut packets = vec![self.packet().await?];
        while let Some(packet) = self.decoder.decode(&mut self.unread).map_err(io::Error::other)? {
            packets.push(packet);
        }
        Ok(packets)
    }

    /// Sends several packets at once.
    pub async fn send_all(&mut self, packets: &[Packet]) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        for packet in packets {
            encode(packet, &mut bytes).map_err(io::Error::other)?;
        }
        self.send_bytes(&bytes).await
    }

    /// The next message, answered as its QoS demands.
    pub async fn message(&mut self) -> io::Result<Publish> {
        loop {
            if let Some(publish) = self.came.pop_front() {
                return Ok(publish);
            }
            let packet = self.packet().await?;
            if let Some(other) = self.receive(packet).await? {
                return Err(unexpected("a message", &other));
            }
        }
    }

    /// Publishes and waits for the last answer.
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: QoS,
    ) -> io::Result<()> {
        let id = self.next_id();
        self.send(&publish(topic, payload, qos, id)).await?;
        match qos {
            QoS::AtMostOnce => Ok(()),
            QoS::AtLeastOnce => self.expect(&Packet::PubAck(id)).await,
            QoS::ExactlyOnce => {
                self.expect(&Packet::PubRec(id)).await?;
                self.send(&Packet::PubRel(id)).await?;
                self.expect(&Packet::PubComp(id)).await
            }
        }
    }

    /// Subscribes and waits for the SUBACK.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> io::Result<SubscribeCode> {
        let id = self.next_id();
        let filter = Filter::new(filter).map_err(io::Error::other)?;
        let subscriptions = vec![Subscription { filter, qos }];
        self.send(&Packet::Subscribe { id, subscriptions }).await?;
        match self.answer().await? {
            Packet::SubAck { id: of, codes } if of == id && codes.len() == 1 => Ok(codes[0]),
            other => Err(unexpected("SUBACK", &other)),
        }
    }

    /// Unsubscribes and waits for the UNSUBACK.
    pub async fn unsubscribe(&mut self, filter: &str) -> io::Result<()> {
        let id = self.next_id();
        let filters = vec![Filter::new(filter).map_err(io::Error::other)?];
        self.send(&Packet::Unsubscribe { id, filters }).await?;
        self.expect(&Packet::UnsubAck(id)).await
    }

    /// Asks whether the server is there, and waits for the answer.
    pub async fn ping(&mut self) -> io::Result<()> {
        self.send(&Packet::PingReq).await?;
        self.expect(&Packet::PingResp).await
    }

    /// Says good-bye and waits until the server has closed [MQTT-3.14.4-1].
    pub async fn disconnect(mut self) -> io::Result<()> {
        self.send(&Packet::Disconnect).await?;
        self.stream.shutdown().await?;
        self.closed(PATIENCE).await.map(drop)
    }

    /// Waits until the server closes, and returns how many packets still came.
    pub async fn closed(&mut self, deadline: Duration) -> io::Result<usize> {
        let mut count = 0;
        let end = async {
            loop {
                match self.packet().await {
                    Ok(_) => count += 1,
                    Err(error) if is_close(&error) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        };
        timeout(deadline, end).await??;
        Ok(count)
    }

    /// A packet identifier that was not used for the longest time.
    pub fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.last_id).expect("never 0")
    }

    /// The next packet that is no part of receiving a message.
    async fn answer(&mut self) -> io::Result<Packet> {
        loop {
            let packet = self.packet().await?;
            if let Some(other) = self.receive(packet).await? {
                return Ok(other);
            }
        }
    }

    async fn expect(&mut self, expected: &Packet) -> io::Result<()> {
        let answer = self.answer().await?;
        if answer == *expected {
            return Ok(());
        }
        Err(unexpected(&format!("{expected:?}"), &answer))
    }

    /// Does the receiver's part of a packet; hands back what has none.
    async fn receive(&mut self, packet: Packet) -> io::Result<Option<Packet>> {
        match packet {
            Packet::Publish(publish) => {
                let answer = match publish.message.qos {
                    QoS::AtMostOnce => None,
                    QoS::AtLeastOnce => publish.id.map(Packet::PubAck),
                    QoS::ExactlyOnce => publish.id.map(Packet::PubRec),
                };
                self.came.push_back(publish);
                if let Some(answer) = answer {
                    self.send(&answer).await?;
                }
                Ok(None)
            }
            Packet::PubRel(id) => self.send(&Packet::PubComp(id)).await.map(|()| None),
            other => Ok(Some(other)),
        }
    }
}

/// Whether the other side ended the connection, with or without unread data of ours.
fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

fn unexpected(wanted: &str, found: &Packet) -> io::Error {
    io::Error::other(format!("instead of {wanted}: {found:?}"))
}
