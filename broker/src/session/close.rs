//! Why a connection ends: told by the session, or to it.

use thiserror::Error;

/// Why a connection was closed; [`CloseReason::label`] is the metric's label and the log's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said DISCONNECT.
    ClientDisconnect,
    /// The client closed its socket without DISCONNECT.
    ClientClosed,
    /// Nothing was heard for one and a half times the keep-alive.
    KeepAlive,
    /// The client broke the protocol.
    ProtocolViolation,
    /// No whole CONNECT came in time.
    ConnectTimeout,
    /// CONNECT was answered with a refusal.
    Refused,
    /// The client id logged in again, here or elsewhere.
    TakenOver,
    /// The password of its user was changed or taken away.
    CredentialsChanged,
    /// This node lost its lease.
    Fenced,
    /// The socket failed.
    IoError,
    /// The node is being stopped.
    Shutdown,
    /// There is no memory for what the client sends.
    Memory,
}

impl CloseReason {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::ClientDisconnect,
        Self::ClientClosed,
        Self::KeepAlive,
        Self::ProtocolViolation,
        Self::ConnectTimeout,
        Self::Refused,
        Self::TakenOver,
        Self::CredentialsChanged,
        Self::Fenced,
        Self::IoError,
        Self::Shutdown,
        Self::Memory,
    ];

    /// A short word of a bounded set.
    pub fn label(self) -> &'static str {
        match self {
            Self::ClientDisconnect => "client_disconnect",
            Self::ClientClosed => "client_closed",
            Self::KeepAlive => "keep_alive",
            Self::ProtocolViolation => "protocol_violation",
            Self::ConnectTimeout => "connect_timeout",
            Self::Refused => "refused",
            Self::TakenOver => "taken_over",
            Self::CredentialsChanged => "credentials_changed",
            Self::Fenced => "fenced",
            Self::IoError => "io_error",
            Self::Shutdown => "shutdown",
            Self::Memory => "memory",
        }
    }
}

/// What a client did that the protocol, or a limit within it, forbids. The answer is to close the
/// connection [MQTT-4.8.0-1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// [MQTT-3.1.0-2]
    #[error("second CONNECT on one connection [MQTT-3.1.0-2]")]
    SecondConnect,
    /// A packet that only servers send.
    #[error("packet that only a server sends")]
    ServerPacket,
    /// More topic levels than configured.
    #[error("topic of more than {0} levels")]
    TooManyLevels(usize),
    /// A topic that cannot travel between nodes.
    #[error("topic of more than {0} bytes")]
    TopicTooLong(usize),
}
