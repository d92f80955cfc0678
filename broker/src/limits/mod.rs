//! How much of a node anybody may use in how much time.
//!
//! What decides is pure and told the time: [`Bucket`] (a rate), [`Addresses`] (who connects from where),
//! [`Pace`] (how fast one client is read), [`Budget`] (how near
//! the node is to its memory). It leaves to others: acting on it (`listener`, `connection`),
//! and limits of size, which stand with what they limit.

mod addresses;
mod bucket;
mod budget;
mod pace;

pub use addresses::{Addresses, Crowded, Seat};
pub use bucket::{Bucket, Rate};
pub use budget::{Budget, DoorHold, Loan, Strain};
pub use pace::{Pace, PaceRates, TooFast};
