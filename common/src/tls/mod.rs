//! TLS for listeners and for both ends of links: what stands in the files, who the other side is, and
//! how all of that is read anew while connections live on.
//!
//! It leaves to others: sockets, how many handshakes there may be at a time, and what is said inside.

mod client;
mod failure;
mod files;
mod fresh;
mod lists;
mod peer;
mod server;
mod witness;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use client::{ClientFiles, TlsClient};
pub use failure::{Failure, TlsError, TlsFailures};
pub use files::{BadFile, Piece, share_an_authority};
pub use fresh::{Fresh, Reloads, keep_fresh};
pub use peer::{NameFrom, Who};
pub use server::{Greeted, Hello, ServerFiles, TlsServer};

/// What a server asks of its clients' certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// None is asked for.
    #[default]
    None,
    /// One that is shown must be right; a client may show none.
    Optional,
    /// No client is let in without.
    Required,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// 1.2
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// 1.3
    #[serde(rename = "1.3")]
    V1_3,
}

/// Named, as a process default would panic once any crate brings a second one.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
