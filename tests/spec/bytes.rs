//! Control packets as bytes, right ones and wrong ones.

/// Flags of a PUBLISH: the low half of its first byte.
pub(crate) const QOS_0: u8 = 0b0000;
pub(crate) const QOS_1: u8 = 0b0010;
pub(crate) const QOS_2: u8 = 0b0100;
pub(crate) const DUP: u8 = 0b1000;
pub(crate) const RETAIN: u8 = 0b0001;

/// First bytes of the packets that hold an identifier and nothing more.
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;
pub(crate) const UNSUBACK: u8 = 0xb0;

pub(crate) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xd0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// The connect flags.
pub(crate) const CLEAN: u8 = 0x02;
pub(crate) const WILL: u8 = 0x04;
pub(crate) const WILL_QOS_1: u8 = 0x08;
pub(crate) const WILL_QOS_2: u8 = 0x10;
pub(crate) const WILL_RETAIN: u8 = 0x20;
pub(crate) const PASSWORD: u8 = 0x40;
pub(crate) const USER: u8 = 0x80;

/// A CONNACK of this code, from a server that has no session.
pub(crate) fn connack(code: u8) -> [u8; 4] {
    [0x20, 2, 0, code]
}

/// A CONNACK 0 that says that the session goes on.
pub(crate) const SESSION_PRESENT: [u8; 4] = [0x20, 2, 1, 0];

/// A fixed header, and what follows it.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let digit = u8::try_from(left % 128).unwrap();
        left /= 128;
        bytes.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// A length of two bytes, and what follows it.
pub(crate) fn field(content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let length = u16::try_from(content.len()).expect("a field of at most 65,535 bytes");
    [&length.to_be_bytes(), content].concat()
}

/// A CONNECT of MQTT 3.1.1 with these flags and fields, without keep-alive.
pub(crate) fn connect_of(flags: u8, fields: &[&[u8]]) -> Vec<u8> {
    connect_raw("MQTT", 4, flags, 0, &fields.iter().flat_map(field).collect::<Vec<_>>())
}

/// A CONNECT of which everything is said, its fields with their lengths.
pub(crate) fn connect_raw(
    name: &str,
    level: u8,
    flags: u8,
    keep_alive: u16,
    fields: &[u8],
) -> Vec<u8> {
    let [high, low] = keep_alive.to_be_bytes();
    packet(0x10, &[&field(name), &[level, flags, high, low][..], fields].concat())
}

/// A CONNECT with clean session 1.
pub(crate) fn connect(client_id: &str) -> Vec<u8> {
    connect_of(CLEAN, &[client_id.as_bytes()])
}

/// A CONNECT with clean session 0.
pub(crate) fn resume(client_id: &str) -> Vec<u8> {
    connect_of(0, &[client_id.as_bytes()])
}

/// A PUBLISH; the identifier counts for QoS 1 and 2.
pub(crate) fn publish(flags: u8, topic: &str, id: u16, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let id = id.to_be_bytes();
    let id: &[u8] = if flags & (QOS_1 | QOS_2) == 0 { &[] } else { &id };
    packet(0x30 | flags, &[&field(topic), id, payload.as_ref()].concat())
}

/// A PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK.
pub(crate) fn answer(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

/// A SUBSCRIBE for these filters, each with its QoS.
pub(crate) fn subscribe(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let pairs = filters.iter().flat_map(|(filter, qos)| [field(filter), vec![*qos]].concat());
    let body: Vec<u8> = id.to_be_bytes().into_iter().chain(pairs).collect();
    packet(0x82, &body)
}

/// A SUBACK with these codes.
pub(crate) fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
    packet(0x90, &[&id.to_be_bytes(), codes].concat())
}

/// An UNSUBSCRIBE from these filters.
pub(crate) fn unsubscribe(id: u16, filters: &[&str]) -> Vec<u8> {
    let body: Vec<u8> =
        id.to_be_bytes().into_iter().chain(filters.iter().flat_map(field)).collect();
    packet(0xa2, &body)
}

/// Bytes as a person can compare them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn packets_look_as_the_standard_prints_them() {
    let bytes = connect_raw("MQTT", 4, CLEAN, 10, &field("a"));
    assert_eq!(hex(&bytes), "10 0d 00 04 4d 51 54 54 04 02 00 0a 00 01 61");
    assert_eq!(hex(&publish(QOS_1, "a/b", 10, "")), "32 07 00 03 61 2f 62 00 0a");
    assert_eq!(hex(&publish(QOS_0, "a", 10, "x")), "30 04 00 01 61 78");
    assert_eq!(hex(&subscribe(10, &[("a/b", 1)])), "82 08 00 0a 00 03 61 2f 62 01");
    assert_eq!(hex(&unsubscribe(10, &["a/b"])), "a2 07 00 0a 00 03 61 2f 62");
    assert_eq!(hex(&packet(0x30, &[0; 321])[..3]), "30 c1 02");
}
