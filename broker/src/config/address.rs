//! Addresses in a configuration: the one that others are told.
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
