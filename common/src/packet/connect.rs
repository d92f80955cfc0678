//! CONNECT, read and written by hand: `mqttbytes` reads a level 5 as if it were 4, refuses a
//! binary password and MQTT 3.1, cannot tell an empty user name from none, and writes only
//! into an empty buffer.
//!
//! It leaves to the session what the standard lets a server decide: client identifiers, above all
//! the empty one.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Connect, DecodeError, EncodeError, Login, Will,
    encode::{put_bytes, put_header, put_text},
    fields::Fields,
};
use crate::{qos::QoS, topic::Topic};

/// Reads the whole packet behind its header.
pub(super) fn read(body: &[u8]) -> Result<Connect, DecodeError> {
    let mut fields = Fields(body);
    let name = fields.bytes()?;
    let level = fields.byte()?;
    match (name, level) {
        (NAME, LEVEL) | (NAME_31, LEVEL_31) => {}
        (NAME | NAME_31, _) => return Err(DecodeError::UnsupportedLevel(level)), // [MQTT-3.1.2-2]
        (_, _) => return Err(DecodeError::ProtocolName),                         // [MQTT-3.1.2-1]
    }
    let flags = fields.byte()?;
    if flags & RESERVED != 0 {
        return Err(DecodeError::ConnectFlags); // [MQTT-3.1.2-3]
    }
    let connect = Connect {
        level,
        clean_session: flags & CLEAN_SESSION != 0,
        keep_alive_secs: fields.number()?,
        client_id: fields.text()?.to_owned(),
        will: read_will(flags, &mut fields)?,
        login: read_login(level, flags, &mut fields)?,
    };
    fields.end()?;
    Ok(connect)
}

/// Writes the whole packet.
pub(super) fn write(connect: &Connect, buffer: &mut BytesMut) -> Result<(), EncodeError> {
    let name = match connect.level {
        LEVEL => NAME,
        LEVEL_31 => NAME_31,
        level => return Err(EncodeError::Level(level)),
    };
    let mut body = BytesMut::new();
    put_bytes(&mut body, name)?;
    body.put_u8(connect.level);
    body.put_u8(flags(connect));
    body.put_u16(connect.keep_alive_secs);
    put_text(&mut body, &connect.client_id)?;
    if let Some(will) = &connect.will {
        put_text(&mut body, will.topic.as_str())?;
        put_bytes(&mut body, &will.payload)?;
    }
    if let Some(login) = &connect.login {
        put_text(&mut body, &login.user)?;
        if let Some(password) = &login.password {
            put_bytes(&mut body, password)?;
        }
    }
    put_header(buffer, 0x10, body.len())?;
    buffer.extend_from_slice(&body);
    Ok(())
}

fn read_will(flags: u8, fields: &mut Fields<'_>) -> Result<Option<Will>, DecodeError> {
    let qos = QoS::from_bits(flags >> WILL_QOS_SHIFT & 0b11).ok_or(DecodeError::WillQoS)?; // [MQTT-3.1.2-14]
    let retain = flags & WILL_RETAIN != 0;
    if flags & WILL != 0 {
        return Ok(Some(Will {
            topic: Topic::new(fields.text()?)?,
            payload: Bytes::copy_from_slice(fields.bytes()?),
            qos,
            retain,
        }));
    }
    if qos.is_answered() {
        return Err(DecodeError::WillQoSWithoutWill); // [MQTT-3.1.2-13]
    }
    if retain {
        return Err(DecodeError::WillRetainWithoutWill); // [MQTT-3.1.2-15]
    }
    Ok(None)
}

fn read_login(level: u8, flags: u8, fields: &mut Fields<'_>) -> Result<Option<Login>, DecodeError> {
    if flags & (USER | PASSWORD) == PASSWORD {
        return Err(DecodeError::PasswordWithoutUser); // [MQTT-3.1.2-22]
    }
    // MQTT 3.1 lets a flag stand for a field that is not there: the length decides.
    let present =
        |flag, fields: &Fields<'_>| flags & flag != 0 && !(level == LEVEL_31 && fields.is_empty());
    if !present(USER, fields) {
        return Ok(None);
    }
    let user = fields.text()?.to_owned();
    let password = if present(PASSWORD, fields) {
        Some(Bytes::copy_from_slice(fields.bytes()?))
    } else {
        None
    };
    Ok(Some(Login { user, password }))
}

fn flags(connect: &Connect) -> u8 {
    let mut flags = if connect.clean_session { CLEAN_SESSION } else { 0 };
    if let Some(will) = &connect.will {
        flags |= WILL | will.qos.bits() << WILL_QOS_SHIFT;
        flags |= if will.retain { WILL_RETAIN } else { 0 };
    }
    if let Some(login) = &connect.login {
        flags |= USER;
        flags |= login.password.as_ref().map_or(0, |_| PASSWORD);
    }
    flags
}

const NAME: &[u8] = b"MQTT";
const LEVEL: u8 = 4;
const NAME_31: &[u8] = b"MQIsdp";
const LEVEL_31: u8 = 3;

// The connect flags (3.1.2.3).
const RESERVED: u8 = 0x01;
const CLEAN_SESSION: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER: u8 = 0x80;
