//! The bridge: links the nodes of a cluster and keeps nothing.
//!
//! Pure parts:
//! * [`routes`] — which node wants which filter.
//! * [`interest`] — what must be asked of each node, so that it comes at all.
//! * [`relay`] — messages on their way, and who still owes an answer.
//! * [`core`] — what joins them: everything the bridge decides.
//!
//! Around them:
//! * `link` — one task a node, between its socket and the core.
//! * `watch` — looks into the directory, and keeps a link task for each node.
//! * `janitor` — sweeps the rows of dead nodes.
//! * [`bridge`] — builds and joins all.
//! * [`config`] — the keys of its configuration.
//! * [`metrics`] — what it counts.

pub mod bridge;
pub mod config;
pub mod core;
pub mod interest;
mod janitor;
mod link;
pub mod metrics;
pub mod relay;
pub mod routes;
mod watch;
