//! The bridge: links the nodes of a cluster and keeps nothing.
//!
//! Pure parts:
//! * [`routes`] — which node wants which filter.
//! * [`interest`] — what must be asked of each node, so that it comes at all.
//! * [`relay`] — messages on their way, and who still owes an answer.
//! * [`core`] — what joins them: everything the bridge decides.
//!
//! Around them:
//! * [`config`] — the keys of its configuration.
//! * [`metrics`] — what it counts.

pub mod config;
pub mod core;
pub mod interest;
pub mod metrics;
pub mod relay;
pub mod routes;
