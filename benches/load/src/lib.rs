//! A load generator for MQTT 3.1.1 brokers: one thread (for logins perhaps more), one epoll loop each, no
//! MQTT library.
//!
//! A closed loop keeps a window of messages on their way and shows what a message costs; an open
//! loop sends at a rate and shows how long messages take, counted from when they were due. What
//! the broker costs is read from /proc over the measured phase alone.

use std::io;

use thiserror::Error;

use crate::{client::Phase, outcome::Outcome, packet::Malformed, plan::Plan, plan::Scenario};

pub mod client;
pub mod clock;
pub mod logins;
pub mod outcome;
pub mod packet;
pub mod plan;
pub mod pool;
pub mod process;
pub mod run;
pub mod stream;
pub mod traffic;
pub mod transport;

/// Why a run has no outcome.
#[derive(Debug, Error)]
pub enum Failure {
    /// A socket, or the system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What the broker sent is not MQTT.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The broker closed a connection.
    #[error("the broker closed a connection ({0:?})")]
    Closed(Phase),
    /// The broker let a client not in.
    #[error("the broker refused a client (CONNACK {0})")]
    Refused(u8),
    /// The broker granted another QoS.
    #[error("the broker granted {granted:#04x} for QoS {wanted}")]
    Granted {
        /// What was asked for.
        wanted: u8,
        /// What SUBACK said.
        granted: u8,
    },
    /// A message that this run did not send, or that another client should have got.
    #[error("the broker delivered a message to somebody who did not ask for it")]
    Stranger,
    /// Something took longer than a run may.
    #[error("{0} took too long")]
    Slow(&'static str),
    /// A watched process is gone.
    #[error("no process {0}")]
    Process(u32),
    /// The bounds of a histogram.
    #[error("no histogram")]
    Histogram,
    /// A fault of its own.
    #[error("a thread of the generator has ended")]
    Thread,
}

/// Does what a plan says.
pub fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let dialer = match &plan.tls_ca {
        Some(authorities) => transport::Dialer::tls(authorities)?,
        None => transport::Dialer::default(),
    };
    match plan.scenario {
        Scenario::Pair | Scenario::FanOut | Scenario::FanIn | Scenario::CrossNode => {
            run::run(plan, dialer)
        }
        Scenario::Idle => logins::idle(plan, dialer),
        Scenario::Connect => logins::connect(plan, &dialer),
    }
}
