//! What may be retained under each topic: the words that were said there, and which of them can be the
//! last.
//!
//! A word is *superseded* when another was acknowledged that was said after it was over and done with.
//! Whoever says something on a retained topic says it when its word before that is done, so one writer's
//! words are superseded in their order. What nobody has superseded may be found, now and at the end.

use std::collections::BTreeMap;

/// Later than every step but the end.
const AT_LAST: u64 = u64::MAX - 1;

/// All retained topics.
#[derive(Debug, Default)]
pub(crate) struct Retaining {
    topics: BTreeMap<String, Vec<Word>>,
    /// Where the word is that a message carries.
    places: BTreeMap<usize, (String, usize)>,
}

#[derive(Debug)]
struct Word {
    message: usize,
    by: usize,
    is_deletion: bool,
    said_at: u64,
    /// When a node answered it first.
    answered_at: Option<u64>,
    /// From when on it cannot be said again.
    done_at: Option<u64>,
    /// Its client has forgotten it, and says others: it may still be on its way.
    is_given_up: bool,
}

impl Retaining {
    pub(crate) fn says(
        &mut self,
        (by, message): (usize, usize),
        topic: &str,
        is_deletion: bool,
        step: u64,
    ) {
        let words = self.topics.entry(topic.to_owned()).or_default();
        self.places.insert(message, (topic.to_owned(), words.len()));
        words.push(Word {
            message,
            by,
            is_deletion,
            said_at: step,
            answered_at: None,
            done_at: None,
            is_given_up: false,
        });
    }

    /// A node has answered. If no other is open, nobody else may have it, and the others can open without
    /// it should that node be gone by then: it counts in the end.
    pub(crate) fn answered(&mut self, message: usize, step: u64, is_alone: bool) {
        if let Some(word) = self.word_mut(message) {
            word.answered_at.get_or_insert(if is_alone { AT_LAST } else { step });
        }
    }

    /// Its publisher will not say it again.
    pub(crate) fn is_done(&mut self, message: usize, step: u64) {
        if let Some(word) = self.word_mut(message) {
            word.done_at.get_or_insert(step);
        }
    }

    /// Its publisher has forgotten it.
    pub(crate) fn gives_up(&mut self, message: usize) {
        if let Some(word) = self.word_mut(message) {
            word.is_given_up = true;
        }
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    /// Whether what was found under a topic, or that nothing was, agrees with what had been answered
    /// at a time.
    pub(crate) fn allows(&self, topic: &str, found: Option<usize>, at: u64) -> Result<(), String> {
        let words = self.topics.get(topic).map_or(&[][..], Vec::as_slice);
        let last = |index: usize| !is_superseded(words, index, at);
        let mut indexes = 0..words.len();
        let fits = if let Some(message) = found {
            indexes.any(|index| words[index].message == message && last(index))
        } else {
            let nothing_yet = words.iter().all(|word| !word.is_answered(at));
            nothing_yet || indexes.any(|index| words[index].is_deletion && last(index))
        };
        if fits {
            return Ok(());
        }
        let possible = (0..words.len()).filter(|index| last(*index));
        let possible: Vec<usize> = possible.map(|index| words[index].message).collect();
        Err(format!("retained under {topic} is {found:?}, and may be one of {possible:?}"))
    }

    fn word_mut(&mut self, message: usize) -> Option<&mut Word> {
        let (topic, index) = self.places.get(&message)?;
        self.topics.get_mut(topic)?.get_mut(*index)
    }
}

/// Whether a word can no longer be the last, by what was answered before a time.
fn is_superseded(words: &[Word], index: usize, at: u64) -> bool {
    let word = &words[index];
    let mut others = words.iter().enumerate();
    others.any(|(later, other)| {
        let in_order = word.by == other.by && later > index && !word.is_given_up;
        let came_after = word.done_at.is_some_and(|done| done < other.said_at);
        other.is_answered(at) && (in_order || came_after)
    })
}

impl Word {
    fn is_answered(&self, before: u64) -> bool {
        self.answered_at.is_some_and(|at| at < before)
    }
}
