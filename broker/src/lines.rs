//! Reading a file of lines, each by itself, and saying in which one something is wrong.
//!
//! It leaves to others: what a line means ([`crate::acl`], [`crate::auth`]).

use thiserror::Error;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct Fault<R> {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: R,
}

/// Has every line of a file taken, up to the first that is refused.
pub(crate) fn take_each<R>(
    bytes: &[u8],
    mut take: impl FnMut(&[u8]) -> Result<(), R>,
) -> Result<(), Fault<R>> {
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        take(line).map_err(|reason| Fault { line: index + 1, reason })?;
    }
    Ok(())
}
