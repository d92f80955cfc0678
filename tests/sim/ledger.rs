//! The ledger: what was promised to whom, and whether it was kept.
//!
//! A *life* is one connection of a client from its CONNECT to its end. A promise is checked when it is
//! made: at the moment a node answers a PUBLISH, every life that was subscribed before that
//! PUBLISH was sent, and still is, must have the message at its node.

use std::collections::{BTreeMap, BTreeSet};

use causeway_common::{qos::QoS, topic::Filter};

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) message: Option<usize>,
    pub(crate) step: u64,
    pub(crate) text: String,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) lives: Vec<Life>,
    pub(crate) messages: Vec<Said>,
}

#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) name: String,
    /// Whether connection and node are up, and so promises to it hold.
    pub(crate) is_whole: bool,
    /// Filters it holds by its own knowledge, and since which step.
    holds: BTreeMap<Filter, u64>,
    /// Filters it has ever asked for.
    asked: BTreeSet<Filter>,
    /// Messages that reached its node for it.
    had: BTreeSet<usize>,
    received: BTreeSet<usize>,
    /// The last message by publisher, topic, QoS of the publisher and of the delivery.
    last: BTreeMap<(usize, String, QoS, QoS), usize>,
    /// Its own messages that are not answered yet, oldest first.
    unanswered: Vec<usize>,
}

/// A message that a client has sent.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) by: usize,
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    at: u64,
}

impl Ledger {
    pub(crate) fn begin(&mut self, name: String) -> usize {
        self.lives.push(Life {
            name,
            is_whole: true,
            holds: BTreeMap::new(),
            asked: BTreeSet::new(),
            had: BTreeSet::new(),
            received: BTreeSet::new(),
            last: BTreeMap::new(),
            unanswered: Vec::new(),
        });
        self.lives.len() - 1
    }

    /// Connection or node is gone: nothing is promised to this life any more.
    pub(crate) fn end(&mut self, life: usize) {
        self.lives[life].is_whole = false;
    }

    pub(crate) fn asks(&mut self, life: usize, filter: &Filter) {
        self.lives[life].asked.insert(filter.clone());
    }

    pub(crate) fn holds(&mut self, life: usize, filter: &Filter, step: u64) {
        self.lives[life].holds.insert(filter.clone(), step);
    }

    pub(crate) fn lets_go(&mut self, life: usize, filter: &Filter) {
        self.lives[life].holds.remove(filter);
    }

    pub(crate) fn says(&mut self, by: usize, topic: &str, qos: QoS, step: u64) -> usize {
        let message = self.messages.len();
        self.messages.push(Said { by, topic: topic.to_owned(), qos, at: step });
        if qos.is_answered() {
            self.lives[by].unanswered.push(message);
        }
        message
    }

    /// A message has reached the node of a life, for it.
    pub(crate) fn reaches(&mut self, life: usize, message: usize) -> Result<(), String> {
        let said = &self.messages[message];
        let life = &mut self.lives[life];
        if !life.asked.iter().any(|filter| filter.matches(&said.topic)) {
            return Err(format!("{} did not ask for it", life.name));
        }
        if life.had.insert(message) { Ok(()) } else { Err(format!("{} has it twice", life.name)) }
    }

    /// A life has received a message.
    pub(crate) fn receives(&mut self, life: usize, message: usize, qos: QoS) -> Result<(), String> {
        let said = &self.messages[message];
        let life = &mut self.lives[life];
        life.received.insert(message);
        let stream = (said.by, said.topic.clone(), said.qos, qos);
        match life.last.insert(stream, message) {
            Some(last) if last >= message => {
                Err(format!("{} received it after #{last} of the same stream", life.name))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A node answers a message: who should have it by now and has not?
    pub(crate) fn answered(&mut self, message: usize) -> Result<(), String> {
        let said = &self.messages[message];
        let unanswered = &mut self.lives[said.by].unanswered;
        if unanswered.first() != Some(&message) {
            return Err(format!("answered before #{:?}", unanswered.first()));
        }
        unanswered.remove(0);
        match self.missing(message).next() {
            Some(life) => Err(format!("answered, and {} does not have it", life.name)),
            None => Ok(()),
        }
    }

    /// Everybody who was subscribed in time to a message and does not have it.
    fn missing(&self, message: usize) -> impl Iterator<Item = &Life> {
        let said = &self.messages[message];
        let wants = |life: &&Life| {
            let mut holds = life.holds.iter();
            holds.any(|(filter, since)| *since < said.at && filter.matches(&said.topic))
        };
        let whole = self.lives.iter().filter(|life| life.is_whole);
        whole.filter(wants).filter(move |life| !life.had.contains(&message))
    }

    /// What must hold when all is healed and nothing moves: from a message on everything has
    /// arrived, every answer has come, and whatever reached a node reached the client.
    pub(crate) fn settled(&self, healed_from: usize) -> Result<(), (Option<usize>, String)> {
        for life in self.lives.iter().filter(|life| life.is_whole) {
            if let Some(message) = life.unanswered.first() {
                let text = format!("{} waits for its answer", life.name);
                return Err((Some(*message), text));
            }
            if let Some(message) = life.had.difference(&life.received).next() {
                let text = format!("{} never received what its node has", life.name);
                return Err((Some(*message), text));
            }
        }
        for message in healed_from..self.messages.len() {
            if let Some(life) = self.missing(message).next() {
                let text = format!("said when all was healed, and {} misses it", life.name);
                return Err((Some(message), text));
            }
        }
        Ok(())
    }
}
