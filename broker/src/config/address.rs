//! Addresses in a configuration: one that may be left out, and the one that others are told.
//!
//! It leaves to others: which keys hold them ([`super`]).

use std::net::{IpAddr, SocketAddr};

/// What others are told of an address that this node listens on, `host:port`: under `host`, or the
/// address itself if that is empty.
pub(super) fn advertise(host: &str, bound: SocketAddr) -> String {
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, bound.port()).to_string(),
        Err(_) if host.is_empty() => bound.to_string(),
        Err(_) => format!("{host}:{}", bound.port()),
    }
}

/// An IP address that names one machine, or letters, digits, dots and hyphens.
pub(super) fn valid_host(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-');
    match text.parse::<IpAddr>() {
        Ok(ip) => !ip.is_unspecified(),
        Err(_) => (1..=253).contains(&text.len()) && text.bytes().all(plain),
    }
}

/// TOML has no way to say nothing, so an empty text says it.
pub(super) mod or_empty {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(
        address: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = address.map(|address| address.to_string());
        serializer.serialize_str(&text.unwrap_or_default())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        let address = text.parse();
        address.map(Some).map_err(|_| Error::custom("expected a socket address, or an empty text"))
    }
}
