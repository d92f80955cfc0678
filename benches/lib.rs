//! Benches of the pure parts: `cargo bench -p causeway-benches`. Each file measures one part and
//! says what an iteration is; figures are for comparing two versions of the same machine's run.
//! `allocations.rs` is a test: what a message may allocate on its way.
//!
//! Here is what several of them need: [`stage`].

pub mod stage;
