//! What holds for any bytes in front of a proxied connection; shared by the fuzz target and the test of its
//! corpus.

use causeway_common::proxy::read_header;

/// Reads the bytes: nothing panics, no more than the longest header is taken, and what follows a header
/// changes nothing and stays.
pub(crate) fn check(bytes: &[u8]) {
    let (said, left) = read(bytes);
    assert!(bytes.len() - left <= 4096);
    if let Ok(said) = said {
        let longer = [bytes, b"\r\n and more"].concat();
        let (again, left_again) = read(&longer);
        assert_eq!((again.ok(), left_again), (Some(said), left + 11));
    }
}

type Said = Result<Option<std::net::SocketAddr>, String>;

/// What the header says, and how many bytes are left behind it.
fn read(bytes: &[u8]) -> (Said, usize) {
    let mut rest = bytes;
    let reading = async { read_header(&mut rest).await.map_err(|error| error.to_string()) };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let said =
        runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(reading));
    (said, rest.len())
}
