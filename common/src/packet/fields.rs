//! The fields of a packet, read one by one from its bytes and never beyond them.
//!
//! It knows the standard's data representations (1.5) and nothing of packets.

use super::DecodeError;
use crate::id::PacketId;

/// What is left of a packet.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.0.split_first().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    /// Two bytes, the high one first (1.5.2).
    pub(super) fn number(&mut self) -> Result<u16, DecodeError> {
        let (first, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*first))
    }

    pub(super) fn id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.number()?).ok_or(DecodeError::PacketIdZero) // [MQTT-2.3.1-1]
    }

    /// Any bytes behind their length.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::from(self.number()?);
        let (field, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(field)
    }

    /// A string (1.5.3). U+FEFF is a character like others [MQTT-1.5.3-3].
    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.bytes()?;
        if bytes.contains(&0) {
            return Err(DecodeError::Null); // [MQTT-1.5.3-2]
        }
        str::from_utf8(bytes).map_err(|_| DecodeError::Utf8) // [MQTT-1.5.3-1]
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }
}
