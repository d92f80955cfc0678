//! What holds for every packet: written and read again it is the same, and what we take, another
//! implementation takes too and understands alike.

use proptest::{prelude::*, sample::Index};
use rmqtt_codec::v3;
use tokio_util::codec::Decoder as _;

use super::{table::table, *};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_packet_written_and_read_is_the_same(packet in any_packet(), before in any_bytes(9)) {
        let mut buffer = BytesMut::from(&before[..]);
        encode(&packet, &mut buffer).unwrap();
        let mut buffer = buffer.split_off(before.len());
        prop_assert_eq!(opened(reader(&packet)).decode(&mut buffer), Ok(Some(packet)));
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn another_reader_agrees_on_what_we_write(packet in any_packet()) {
        agree(reader(&packet), &encoded(&packet));
    }

    #[test]
    fn another_reader_agrees_on_what_we_take(
        packet in any_packet(),
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
        changes in prop::collection::vec((any::<Index>(), any_change()), 1..4),
    ) {
        let mut bytes = encoded(&packet).to_vec();
        for (index, change) in &changes {
            change.apply(index.index(bytes.len()), &mut bytes);
        }
        agree(role, &bytes);
    }
}

#[test]
fn another_reader_agrees_on_the_table() {
    for line in table() {
        agree(line.role, &line.bytes);
    }
}

#[track_caller]
fn agree(role: Role, bytes: &[u8]) {
    let mut unread = BytesMut::from(bytes);
    let Ok(Some(ours)) = opened(role).decode(&mut unread) else {
        return;
    };
    if stricter(&ours, &bytes[..bytes.len() - unread.len()]) {
        return;
    }
    let mut buffer = BytesMut::from(bytes);
    let theirs = v3::Codec::new(0).decode(&mut buffer).unwrap();
    assert_eq!(theirs.map(|(packet, _)| translate(packet)), Some(ours));
}

/// Whether the other reader is known to refuse it: an empty client id where the session is to
/// stay (which we leave to the session), and MQTT 3.1 with its flagged fields left out.
fn stricter(packet: &Packet, bytes: &[u8]) -> bool {
    match packet {
        Packet::Connect(connect) => {
            (connect.client_id.is_empty() && !connect.clean_session)
                || (connect.level == 3 && encoded(packet) != bytes)
        }
        Packet::ConnAck { .. }
        | Packet::Publish(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Subscribe { .. }
        | Packet::SubAck { .. }
        | Packet::Unsubscribe { .. }
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Disconnect => false,
    }
}

/// Who reads packets of this type.
fn reader(packet: &Packet) -> Role {
    match packet {
        Packet::ConnAck { .. } | Packet::SubAck { .. } | Packet::UnsubAck(_) | Packet::PingResp => {
            Role::Client
        }
        Packet::Connect(_)
        | Packet::Publish(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Subscribe { .. }
        | Packet::Unsubscribe { .. }
        | Packet::PingReq
        | Packet::Disconnect => Role::Server,
    }
}

/// What happens to bytes on their way.
#[derive(Clone, Debug)]
enum Change {
    Set(u8),
    Insert(u8),
    Remove,
    /// Drops a byte behind the header and says so there, so that the length stays right.
    Shorten,
}

impl Change {
    fn apply(&self, at: usize, bytes: &mut Vec<u8>) {
        match self {
            Self::Set(byte) => bytes[at] = *byte,
            Self::Insert(byte) => bytes.insert(at, *byte),
            Self::Remove if bytes.len() > 1 => drop(bytes.remove(at)),
            Self::Shorten if at > 1 && (1..0x80).contains(&bytes[1]) => {
                bytes.remove(at);
                bytes[1] -= 1;
            }
            Self::Remove | Self::Shorten => {}
        }
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<u8>().prop_map(Change::Set),
        (0..8_u8).prop_map(Change::Set),
        any::<u8>().prop_map(Change::Insert),
        Just(Change::Remove),
        Just(Change::Shorten),
    ]
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let filters = || prop::collection::vec((any_filter(), any_qos()), 1..5);
    let codes = prop::collection::vec(any_subscribe_code(), 1..9);
    prop_oneof![
        any_connect().prop_map(|connect| Packet::Connect(Box::new(connect))),
        any_connect_code().prop_map(|code| Packet::ConnAck { session_present: false, code }),
        Just(Packet::ConnAck { session_present: true, code: ConnectCode::Accepted }),
        any_publish().prop_map(Packet::Publish),
        any_id().prop_map(Packet::PubAck),
        any_id().prop_map(Packet::PubRec),
        any_id().prop_map(Packet::PubRel),
        any_id().prop_map(Packet::PubComp),
        (any_id(), filters()).prop_map(|(id, filters)| Packet::Subscribe {
            id,
            subscriptions: filters
                .into_iter()
                .map(|(filter, qos)| Subscription { filter, qos })
                .collect(),
        }),
        (any_id(), codes).prop_map(|(id, codes)| Packet::SubAck { id, codes }),
        (any_id(), filters()).prop_map(|(id, filters)| Packet::Unsubscribe {
            id,
            filters: filters.into_iter().map(|(filter, _)| filter).collect(),
        }),
        any_id().prop_map(Packet::UnsubAck),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        Just(Packet::Disconnect),
    ]
}

fn any_connect() -> impl Strategy<Value = Connect> {
    let text = || "[^\0]{0,12}";
    let will = (any_topic(), any_bytes(40), any_qos(), any::<bool>());
    let login = (text(), prop::option::of(any_bytes(20)));
    (
        prop_oneof![Just(3), Just(4)],
        text(),
        any::<bool>(),
        any::<u16>(),
        prop::option::of(will),
        prop::option::of(login),
    )
        .prop_map(|(level, client_id, clean_session, keep_alive_secs, will, login)| Connect {
            level,
            client_id,
            clean_session,
            keep_alive_secs,
            will: will.map(|(topic, payload, qos, retain)| Will { topic, payload, qos, retain }),
            login: login.map(|(user, password)| Login { user, password }),
        })
}

fn any_publish() -> impl Strategy<Value = Publish> {
    let message = (any_topic(), any_bytes(300), any_qos(), any::<bool>());
    (message, any_id(), any::<bool>()).prop_map(|((topic, payload, qos, retain), id, dup)| {
        Publish {
            message: Message { topic, payload, qos, retain },
            id: qos.is_answered().then_some(id),
            dup: dup && qos.is_answered(),
        }
    })
}

fn any_topic() -> impl Strategy<Value = Topic> {
    "[^\0+#]{1,12}".prop_map(|text| Topic::new(text).unwrap())
}

fn any_filter() -> impl Strategy<Value = Filter> {
    r"([^\x00/+#]{0,4}/|\+/){0,3}([^\x00/+#]{1,4}|\+|#)".prop_map(|text| Filter::new(text).unwrap())
}

fn any_bytes(len_max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..=len_max).prop_map(Bytes::from)
}

fn any_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(id)
}

fn any_qos() -> impl Strategy<Value = QoS> {
    (0..=2_u8).prop_map(|bits| QoS::from_bits(bits).unwrap())
}

fn any_subscribe_code() -> impl Strategy<Value = SubscribeCode> {
    prop_oneof![any_qos().prop_map(SubscribeCode::Granted), Just(SubscribeCode::Failure)]
}

fn any_connect_code() -> impl Strategy<Value = ConnectCode> {
    prop_oneof![
        Just(ConnectCode::Accepted),
        Just(ConnectCode::UnacceptableProtocol),
        Just(ConnectCode::IdentifierRejected),
        Just(ConnectCode::ServerUnavailable),
        Just(ConnectCode::BadUserNameOrPassword),
        Just(ConnectCode::NotAuthorized),
    ]
}

/// The other reader's packet in our words.
fn translate(packet: v3::Packet) -> Packet {
    let filter = |text: &str| Filter::new(text).unwrap();
    match packet {
        v3::Packet::Connect(connect) => Packet::Connect(Box::new(translate_connect(*connect))),
        v3::Packet::ConnectAck(ack) => Packet::ConnAck {
            session_present: ack.session_present,
            code: connect_code(ack.return_code),
        },
        v3::Packet::Publish(publish) => Packet::Publish(Publish {
            message: Message {
                topic: Topic::new(&*publish.topic).unwrap(),
                payload: publish.payload,
                qos: qos(publish.qos),
                retain: publish.retain,
            },
            id: publish.packet_id.map(PacketId),
            dup: publish.dup,
        }),
        v3::Packet::PublishAck { packet_id } => Packet::PubAck(PacketId(packet_id)),
        v3::Packet::PublishReceived { packet_id } => Packet::PubRec(PacketId(packet_id)),
        v3::Packet::PublishRelease { packet_id } => Packet::PubRel(PacketId(packet_id)),
        v3::Packet::PublishComplete { packet_id } => Packet::PubComp(PacketId(packet_id)),
        v3::Packet::Subscribe { packet_id, topic_filters } => Packet::Subscribe {
            id: PacketId(packet_id),
            subscriptions: topic_filters
                .iter()
                .map(|(text, granted)| Subscription { filter: filter(text), qos: qos(*granted) })
                .collect(),
        },
        v3::Packet::SubscribeAck { packet_id, status } => Packet::SubAck {
            id: PacketId(packet_id),
            codes: status.into_iter().map(subscribe_code).collect(),
        },
        v3::Packet::Unsubscribe { packet_id, topic_filters } => Packet::Unsubscribe {
            id: PacketId(packet_id),
            filters: topic_filters.iter().map(|text| filter(text)).collect(),
        },
        v3::Packet::UnsubscribeAck { packet_id } => Packet::UnsubAck(PacketId(packet_id)),
        v3::Packet::PingRequest => Packet::PingReq,
        v3::Packet::PingResponse => Packet::PingResp,
        v3::Packet::Disconnect => Packet::Disconnect,
    }
}

fn translate_connect(connect: v3::Connect) -> Connect {
    Connect {
        level: connect.protocol.level(),
        client_id: connect.client_id.to_string(),
        clean_session: connect.clean_session,
        keep_alive_secs: connect.keep_alive,
        will: connect.last_will.map(|will| Will {
            topic: Topic::new(&*will.topic).unwrap(),
            payload: will.message,
            qos: qos(will.qos),
            retain: will.retain,
        }),
        login: connect
            .username
            .map(|user| Login { user: user.to_string(), password: connect.password }),
    }
}

fn qos(qos: v3::QoS) -> QoS {
    QoS::from_bits(qos.value()).unwrap()
}

fn subscribe_code(code: v3::SubscribeReturnCode) -> SubscribeCode {
    match code {
        v3::SubscribeReturnCode::Success(granted) => SubscribeCode::Granted(qos(granted)),
        v3::SubscribeReturnCode::Failure => SubscribeCode::Failure,
    }
}

fn connect_code(code: v3::ConnectAckReason) -> ConnectCode {
    match code {
        v3::ConnectAckReason::ConnectionAccepted => ConnectCode::Accepted,
        v3::ConnectAckReason::UnacceptableProtocolVersion => ConnectCode::UnacceptableProtocol,
        v3::ConnectAckReason::IdentifierRejected => ConnectCode::IdentifierRejected,
        v3::ConnectAckReason::ServiceUnavailable => ConnectCode::ServerUnavailable,
        v3::ConnectAckReason::BadUserNameOrPassword => ConnectCode::BadUserNameOrPassword,
        v3::ConnectAckReason::NotAuthorized => ConnectCode::NotAuthorized,
        v3::ConnectAckReason::Reserved => panic!("a code that we refuse"),
    }
}
