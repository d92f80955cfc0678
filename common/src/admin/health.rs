//! Asks a running service whether it is healthy, for supervisors in images without an HTTP client.
//!
//! It leaves to others: which service, and what to do about the answer.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use thiserror::Error;

/// Why a service is not called healthy.
#[derive(Debug, Error)]
pub enum Unhealthy {
    /// Nobody answers in time.
    #[error("no answer from http://{address}/healthz: {error}")]
    Silent {
        /// Who was asked.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The answer is another than 200.
    #[error("http://{address}/healthz answers {status:?}")]
    Refused {
        /// Who was asked.
        address: SocketAddr,
        /// The first line of the answer.
        status: String,
    },
}

/// Asks on this machine for `/healthz`, for at most [`TIMEOUT`] a step.
pub fn ask(configured: SocketAddr) -> Result<(), Unhealthy> {
    let address = reachable(configured);
    let answer = get(address).map_err(|error| Unhealthy::Silent { address, error })?;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(Unhealthy::Refused { address, status: status.to_owned() })
}

/// One can listen on "every address", and dial only one.
fn reachable(configured: SocketAddr) -> SocketAddr {
    let ip = match configured.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, configured.port())
}

fn get(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // In one piece: whoever answers the first of several, and closes, resets the connection.
    let request = format!("GET /healthz HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Longer than a busy machine takes, shorter than supervisors wait.
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// Far more than the page has.
const ANSWER_BYTES_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn told(answer: &'static str) -> Result<(), Unhealthy> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut piece) = (Vec::new(), [0; 256]);
            while !request.ends_with(b"\r\n\r\n") {
                let length = stream.read(&mut piece).unwrap();
                assert_ne!(length, 0, "the request is not whole");
                request.extend_from_slice(&piece[..length]);
            }
            assert!(request.starts_with(b"GET /healthz HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let asked = ask(SocketAddr::from(([0, 0, 0, 0], port)));
        served.join().unwrap();
        asked
    }

    #[test]
    fn only_200_is_healthy() {
        assert!(told("HTTP/1.0 200 OK\r\n\r\nhealthy\n").is_ok());
        for answer in
            ["HTTP/1.0 503 Service Unavailable\r\n\r\n", "", "nonsense", "HTTP/1.0 2000\r\n"]
        {
            assert!(matches!(told(answer), Err(Unhealthy::Refused { .. })), "{answer:?}");
        }
    }

    #[test]
    fn nobody_there_is_not_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(matches!(ask(address), Err(Unhealthy::Silent { .. })));
    }
}
