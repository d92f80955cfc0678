//! The PROXY protocol, versions 1 and 2: a proxy says in front of a connection who is behind it.
//!
//! Exactly the header is read, so that what follows it, TLS or MQTT, is still in the socket. It leaves to
//! others: whom to believe (a listener's configuration), how long to wait, and what a header says
//! (`proxy-header`).

use std::{io, net::SocketAddr};

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Why a connection has no header that can be believed.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// What came is none.
    #[error("no PROXY header")]
    Missing,
    /// It is larger than any that is needed.
    #[error("PROXY header of more than {0} bytes")]
    Oversize(usize),
    /// It begins like one.
    #[error("malformed PROXY header: {0}")]
    Malformed(proxy_header::Error),
    /// It does not speak of a TCP connection.
    #[error("PROXY header of a datagram")]
    Datagram,
    /// The connection ended within it.
    #[error("connection closed within the PROXY header")]
    Closed,
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the header off a fresh connection. None if it speaks for nobody (`LOCAL`, `UNKNOWN`, or a
/// socket that is not of the internet): then the proxy itself is who has connected. Cancelling it loses
/// what was read.
pub async fn read_header<S>(stream: &mut S) -> Result<Option<SocketAddr>, ProxyError>
where
    S: AsyncRead + Unpin,
{
    let mut head = Vec::with_capacity(V1_BYTES_MAX);
    loop {
        let missing = missing(&head)?;
        if missing == 0 {
            return source(&head);
        }
        let mut rest = (&mut *stream).take(missing as u64);
        if rest.read_buf(&mut head).await? == 0 {
            return Err(ProxyError::Closed);
        }
    }
}

/// How many more bytes certainly belong to the header that these begin; 0 if it is whole. What comes
/// behind it is not ours to read.
fn missing(head: &[u8]) -> Result<usize, ProxyError> {
    let is_like = |signature: &[u8]| head.iter().zip(signature).all(|(a, b)| a == b);
    if is_like(V1_SIGNATURE) {
        return missing_of_v1(head);
    }
    if !is_like(V2_SIGNATURE) {
        return Err(ProxyError::Missing);
    }
    let Some(fixed) = head.get(..V2_FIXED_BYTES) else {
        return Ok(V2_FIXED_BYTES - head.len());
    };
    let &[.., high, low] = fixed else {
        return Err(ProxyError::Missing);
    };
    let whole = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if whole > V2_BYTES_MAX {
        return Err(ProxyError::Oversize(V2_BYTES_MAX));
    }
    Ok(whole.saturating_sub(head.len()))
}

/// A line: where it ends is seen when it has come.
fn missing_of_v1(head: &[u8]) -> Result<usize, ProxyError> {
    if head.ends_with(b"\r\n") {
        return Ok(0);
    }
    if head.len() >= V1_BYTES_MAX {
        return Err(ProxyError::Oversize(V1_BYTES_MAX));
    }
    let end = if head.ends_with(b"\r") { 1 } else { 2 };
    Ok(end.max(V1_BYTES_MIN.saturating_sub(head.len())))
}

/// Who is behind the proxy, by a whole header.
fn source(head: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, _) = ProxyHeader::parse(head, config).map_err(ProxyError::Malformed)?;
    let Some(address) = header.proxied_address() else {
        return Ok(None);
    };
    match address.protocol {
        Protocol::Stream => Ok(Some(address.source)),
        Protocol::Datagram => Err(ProxyError::Datagram),
    }
}

const V1_SIGNATURE: &[u8] = b"PROXY ";
/// `PROXY UNKNOWN` and the end of the line.
const V1_BYTES_MIN: usize = 15;
/// With two of the longest IPv6 addresses.
const V1_BYTES_MAX: usize = 107;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version, family and length.
const V2_FIXED_BYTES: usize = 16;
/// Two addresses and whatever a proxy knows of a TLS connection.
const V2_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, rest].concat()
    }

    /// What is read, how much is left, and how often the reader was asked.
    async fn read(bytes: &[u8]) -> (String, usize) {
        let mut rest = bytes;
        let read = read_header(&mut rest).await;
        let said = match read {
            Ok(Some(address)) => address.to_string(),
            Ok(None) => "nobody".to_owned(),
            Err(error) => error.to_string(),
        };
        (said, rest.len())
    }

    #[tokio::test]
    async fn every_header_says_who_it_is_and_leaves_what_follows() {
        let v4 = [10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0x07, 0x5b];
        let v6 = [&[0x20, 1], &[0; 13][..], &[1], &[0; 16], &[0x30, 0x39, 0x07, 0x5b]].concat();
        let long = [&v4[..], &[0; 4000]].concat();
        let line = |text: &str| text.as_bytes().to_vec();
        for (header, said) in [
            (line("PROXY TCP4 10.0.0.1 10.0.0.2 12345 1883\r\n"), "10.0.0.1:12345"),
            (line("PROXY TCP6 2001::1 ::1 12345 1883\r\n"), "[2001::1]:12345"),
            (line("PROXY UNKNOWN\r\n"), "nobody"),
            (line("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), "nobody"),
            (v2(0x21, 0x11, &v4), "10.0.0.1:12345"),
            (v2(0x21, 0x21, &v6), "[2001::1]:12345"),
            (v2(0x21, 0x11, &long), "10.0.0.1:12345"),
            (v2(0x20, 0x00, &[]), "nobody"),
            (v2(0x20, 0x11, &v4), "nobody"),
            (v2(0x21, 0x31, &[0; 216]), "nobody"),
        ] {
            for follows in [&b""[..], b"\x10\x0c\x00\x04MQTT", b"\r\n"] {
                let bytes = [&header[..], follows].concat();
                assert_eq!(read(&bytes).await, (said.to_owned(), follows.len()), "{bytes:?}");
            }
            for end in 0..header.len() {
                let (said, _) = read(&header[..end]).await;
                assert_eq!(said, "connection closed within the PROXY header", "{end}");
            }
        }
    }

    #[tokio::test]
    async fn whatever_is_no_header_is_refused_with_its_reason() {
        let v4 = [10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0x07, 0x5b];
        let malformed = "malformed PROXY header";
        let long = [b"PROXY TCP4 ", &[b'1'; 200][..]].concat();
        let mut huge = v2(0x21, 0x11, &v4);
        huge[14..16].copy_from_slice(&[0xff, 0xff]);
        for (bytes, said) in [
            (&b"\x10\x0c\x00\x04MQTT"[..], "no PROXY header"),
            (b"\x16\x03\x01\x02\x00\x01\x00", "no PROXY header"),
            (b"GET / HTTP/1.1\r\n\r\n", "no PROXY header"),
            (b"PROXY\r\n", "no PROXY header"),
            (b"PROXY TCP4 10.0.0.1\r\n", malformed),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 99999 1\r\n", malformed),
            (b"PROXY TCP4 ::1 ::1 1 1\r\n", malformed),
            (b"PROXY UDP4 10.0.0.1 10.0.0.2 1 1\r\n", malformed),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 1 1\r\n", malformed),
            (&long, "PROXY header of more than 107 bytes"),
            (&huge, "PROXY header of more than 4096 bytes"),
            (&v2(0x31, 0x11, &v4), malformed),
            (&v2(0x21, 0x41, &v4), malformed),
            (&v2(0x21, 0x11, &v4[..5]), malformed),
            (&v2(0x21, 0x12, &v4), "PROXY header of a datagram"),
        ] {
            let (told, _) = read(bytes).await;
            assert!(told.starts_with(said), "{told} for {bytes:?}");
        }
    }
}
