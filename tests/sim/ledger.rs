//! The ledger: what was promised to whom, and whether it was kept.
//!
//! A *life* is one connection of a client from its CONNECT to its end or, if its session is durable,
//! one session over all its connections. A promise to a clean session is checked when it is made: at
//! the moment a node answers a PUBLISH, every life that was subscribed before that PUBLISH was sent,
//! and still is, must have the message at its node. What is promised to a durable one is *owed*:
//! it must have been received when all has come to rest.

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
    is_durable: bool,
    /// Whether promises to it hold: for a clean one, while connection and node are up.
    is_whole: bool,
    /// Filters it holds by its own knowledge, with the QoS granted, and since which step.
    holds: BTreeMap<Filter, (u64, QoS)>,
    /// Filters it has ever asked for.
    asked: BTreeSet<Filter>,
    /// Messages that reached its node for it.
    had: BTreeSet<usize>,
    /// Messages that were answered while its durable session held a filter that matches.
    owed: BTreeSet<usize>,
    /// With the least QoS each came with.
    received: BTreeMap<usize, QoS>,
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
    /// Its publisher has sent it again.
    is_repeated: bool,
}

type Unkept = (Option<usize>, String);

impl Ledger {
    pub(crate) fn begin(&mut self, name: String, is_durable: bool) -> usize {
        self.lives.push(Life {
            name,
            is_durable,
            is_whole: true,
            holds: BTreeMap::new(),
            asked: BTreeSet::new(),
            had: BTreeSet::new(),
            owed: BTreeSet::new(),
            received: BTreeMap::new(),
            last: BTreeMap::new(),
            unanswered: Vec::new(),
        });
        self.lives.len() - 1
    }

    /// Connection or node is gone: nothing is promised to a clean life any more.
    pub(crate) fn end(&mut self, life: usize) {
        let life = &mut self.lives[life];
        life.is_whole &= life.is_durable;
    }

    /// The client wants its durable session no more.
    pub(crate) fn forget(&mut self, life: usize) {
        self.lives[life].is_whole = false;
    }

    pub(crate) fn asks(&mut self, life: usize, filter: &Filter) {
        self.lives[life].asked.insert(filter.clone());
    }

    pub(crate) fn holds(&mut self, life: usize, filter: &Filter, qos: QoS, step: u64) {
        let held = self.lives[life].holds.entry(filter.clone()).or_insert((step, qos));
        held.1 = qos;
    }

    /// Its node is gone, and nobody else knows of filters but those that the directory does: a bridge
    /// that starts meanwhile does not wait for the others.
    pub(crate) fn doubts(&mut self, life: usize, known: &[Filter]) {
        for (filter, held) in &mut self.lives[life].holds {
            if !known.contains(filter) {
                held.0 = u64::MAX;
            }
        }
    }

    /// Its node is back.
    pub(crate) fn is_sure(&mut self, life: usize, step: u64) {
        for held in self.lives[life].holds.values_mut() {
            held.0 = held.0.min(step);
        }
    }

    pub(crate) fn lets_go(&mut self, life: usize, filter: &Filter) {
        self.lives[life].holds.remove(filter);
    }

    pub(crate) fn says(&mut self, by: usize, topic: &str, qos: QoS, step: u64) -> usize {
        let message = self.messages.len();
        let is_repeated = false;
        self.messages.push(Said { by, topic: topic.to_owned(), qos, at: step, is_repeated });
        if qos.is_answered() {
            self.lives[by].unanswered.push(message);
        }
        message
    }

    pub(crate) fn repeats(&mut self, message: usize) {
        self.messages[message].is_repeated = true;
    }

    /// A message has reached the node of a life, for it.
    pub(crate) fn reaches(&mut self, life: usize, message: usize) -> Result<(), String> {
        let said = &self.messages[message];
        let life = &mut self.lives[life];
        if !life.asked.iter().any(|filter| filter.matches(&said.topic)) {
            return Err(format!("{} did not ask for it", life.name));
        }
        let may_repeat = life.is_durable || (said.is_repeated && said.qos == QoS::AtLeastOnce);
        if life.had.insert(message) || may_repeat {
            return Ok(());
        }
        Err(format!("{} has it twice", life.name))
    }

    /// A life has received a message, as a new one.
    pub(crate) fn receives(&mut self, life: usize, message: usize, qos: QoS) -> Result<(), String> {
        let said = &self.messages[message];
        let life = &mut self.lives[life];
        let before = life.received.get(&message).copied();
        life.received.insert(message, before.map_or(qos, |before| before.min(qos)));
        match before {
            Some(QoS::ExactlyOnce) if qos == QoS::ExactlyOnce => {
                return Err(format!("{} received it twice", life.name));
            }
            // It came again, as QoS 1 may, and where it stands says nothing.
            Some(_) => return Ok(()),
            None => {}
        }
        let stream = (said.by, said.topic.clone(), said.qos, qos);
        let last = life.last.entry(stream).or_insert(message);
        if message >= *last {
            *last = message;
            return Ok(());
        }
        // Whoever subscribed between the two may get only the repetition of the earlier one.
        if said.is_repeated && said.qos == QoS::AtLeastOnce {
            return Ok(());
        }
        Err(format!("{} received it after #{last} of the same stream", life.name))
    }

    /// A node answers a message: who should have it by now and has not?
    pub(crate) fn answered(&mut self, message: usize) -> Result<(), String> {
        let (by, qos) = (self.messages[message].by, self.messages[message].qos);
        let publisher = &mut self.lives[by];
        let waiting = publisher.unanswered.iter().position(|waiting| *waiting == message);
        let Some(waiting) = waiting else {
            // Answered before, and the answer was lost; or late, on an old connection.
            return if publisher.is_durable { Ok(()) } else { Err("answered twice".to_owned()) };
        };
        // Whoever comes back repeats, and what it repeats may be known: then QoS 2 is ahead.
        let (is_durable, messages) = (publisher.is_durable, &self.messages);
        let mut earlier = publisher.unanswered[..waiting].iter();
        if let Some(other) = earlier.find(|other| !is_durable || messages[**other].qos == qos) {
            return Err(format!("answered before #{other}"));
        }
        publisher.unanswered.remove(waiting);
        if let Some(life) = self.missing(message).next() {
            return Err(format!("answered, and {} does not have it", life.name));
        }
        let said = &self.messages[message];
        for life in self.lives.iter_mut().filter(|life| life.is_durable && life.wants(said)) {
            life.owed.insert(message);
        }
        Ok(())
    }

    /// Every clean life that was subscribed in time to a message and does not have it.
    fn missing(&self, message: usize) -> impl Iterator<Item = &Life> {
        let said = &self.messages[message];
        let clean = self.lives.iter().filter(|life| !life.is_durable);
        clean.filter(move |life| life.wants(said) && !life.had.contains(&message))
    }

    /// What must hold when all is healed and nothing moves: from a message on everything has
    /// arrived, every answer has come, and whatever reached a node reached the client.
    pub(crate) fn settled(&self, healed_from: usize) -> Result<(), Unkept> {
        self.lives.iter().filter(|life| life.is_whole).try_for_each(Life::settled)?;
        for message in healed_from..self.messages.len() {
            if let Some(life) = self.missing(message).next() {
                let text = format!("said when all was healed, and {} misses it", life.name);
                return Err((Some(message), text));
            }
        }
        Ok(())
    }
}

impl Life {
    /// Whether it was subscribed in time, so that it must get this.
    fn wants(&self, said: &Said) -> bool {
        let least = if self.is_durable { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let mut holds = self.holds.iter();
        self.is_whole
            && holds.any(|(filter, (since, qos))| {
                *since < said.at && *qos >= least && filter.matches(&said.topic)
            })
    }

    fn settled(&self) -> Result<(), Unkept> {
        let missing = |message: Option<&usize>, what: &str| match message {
            Some(message) => Err((Some(*message), format!("{} {what}", self.name))),
            None => Ok(()),
        };
        let is_new = |message: &&usize| !self.received.contains_key(message);
        missing(self.unanswered.first(), "waits for its answer")?;
        missing(self.owed.iter().find(is_new), "never received what was promised")?;
        if self.is_durable {
            return Ok(());
        }
        missing(self.had.iter().find(is_new), "never received what its node has")
    }
}
