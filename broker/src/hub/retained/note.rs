//! What two nodes say to each other to find and heal what differs between them: the bodies of
//! `Note::Retained`. A bridge carries them and does not read them.
//!
//! ```text
//!   asker                         peer
//!     ── Ask: my sums ─────────►
//!     ◄──── Differ: these spans ──
//!     ── Want: of these spans ─►           as often as there is more
//!     ◄──── Have: entries ────────
//!     ── Done ─────────────────►           if anything differed: the peer asks in return
//! ```
//!
//! The peer remembers nothing between two notes, and at most one piece is on its way to the asker:
//! so the asker sets the pace, and whatever goes missing is asked for again.

use std::sync::Arc;

use causeway_common::topic::TopicError;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    digest::{DigestError, Span},
    record::{Content, Entry, Version, to_bytes},
};

/// One note. Numbers are the asker's: an answer has the number of what it answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RetainedNote {
    /// The sums of the asker: where do yours differ?
    Ask { number: u64, summary: Vec<u64> },
    /// There. Nowhere: both have the same.
    Differ { number: u64, spans: Vec<Span> },
    /// The asker wants the entries in these spans, behind that place if there is one.
    Want { number: u64, spans: Vec<Span>, after: Option<Place> },
    /// Entries, and the last place if there are more behind it.
    Have { number: u64, records: Vec<Record>, until: Option<Place> },
    /// The asker has had everything that differed: it may have more than the peer.
    Done,
}

/// A place in the order of hashes, in which nodes go through their entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) hash: u64,
    pub(super) topic: Arc<str>,
}

/// One entry on its way.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) topic: Arc<str>,
    version: Version,
    /// The seconds of a tombstone are its age: clocks differ.
    content: Content,
}

/// What is wrong with a note. It is counted and logged; the exchange goes on with others, or asks
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoteError {
    /// The bytes are no note.
    #[error("malformed note on retained messages: {0}")]
    Malformed(#[from] postcard::Error),
    /// Something stands behind the end.
    #[error("note on retained messages with {0} bytes too many")]
    TooLong(usize),
    /// An entry without a topic name.
    #[error("note on retained messages: {0}")]
    Topic(#[from] TopicError),
    /// Sums that cannot be compared.
    #[error("note on retained messages: {0}")]
    Digest(#[from] DigestError),
    /// More spans than anybody asks for at once, or one that ends before it begins.
    #[error("note on retained messages with wrong spans")]
    Spans,
    /// A piece that leads no further, and says that there is more.
    #[error("note on retained messages without an end")]
    Endless,
}

impl RetainedNote {
    pub(super) fn read(body: &[u8]) -> Result<Self, NoteError> {
        let (note, rest) = postcard::take_from_bytes(body)?;
        if !rest.is_empty() {
            return Err(NoteError::TooLong(rest.len()));
        }
        Ok(note)
    }

    pub(super) fn to_bytes(&self) -> bytes::Bytes {
        to_bytes(self)
    }
}

impl Record {
    pub(super) fn of(topic: &Arc<str>, entry: &Entry, now_secs: u64) -> Self {
        let content = Content::of(&entry.what, |at_secs| now_secs.saturating_sub(at_secs));
        Self { topic: Arc::clone(topic), version: entry.version.clone(), content }
    }

    pub(super) fn into_entry(self, now_secs: u64) -> Result<(Arc<str>, Entry), NoteError> {
        let Self { topic, version, content } = self;
        let at_secs = |age_secs: u64| now_secs.saturating_sub(age_secs);
        let what = content.read(&topic, now_secs, at_secs)?;
        Ok((topic, Entry { version, what }))
    }

    /// At least as many bytes as it takes in a note.
    pub(super) fn cost(&self) -> usize {
        let payload_bytes = match &self.content {
            Content::Message { payload, .. } => payload.len(),
            Content::Tombstone { .. } => 0,
        };
        payload_bytes + self.topic.len() + self.version.node.as_str().len() + 40
    }
}

/// Bytes of entries in one note; a larger entry travels alone.
pub(super) const PAGE_BYTES_MAX: usize = 224 * 1024;

/// Spans that are asked for at once.
pub(super) const SPANS_MAX: usize = 256;
