//! The ledger: what was promised to whom, and whether it was kept.
//!
//! A *life* is one connection of a client from its CONNECT to its end or, if its session is durable,
//! one session over all its connections. A promise to a clean session is checked when it is made: at
//! the moment a node answers a PUBLISH, every life that was subscribed before that PUBLISH was sent,
//! and still is, must have the message at its node. What is promised to a durable one is *owed*:
//! it must have been received when all has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use causeway_common::{link::Origin, qos::QoS, topic::Filter};

use crate::{retained::Retaining, wills::Wills};

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
    pub(crate) retaining: Retaining,
    pub(crate) wills: Wills,
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
    received: BTreeMap<usize, Receipt>,
    /// How often its client was told that it has no session, and had known one.
    losses: u32,
    /// What another node has of its session may come behind what was said since.
    comes_behind: bool,
    /// The last message by publisher, topic, QoS of the publisher and of the delivery.
    last: BTreeMap<(usize, String, QoS, QoS), usize>,
    /// Its own messages that are not answered yet, oldest first.
    unanswered: Vec<usize>,
    /// Filters whose SUBACK is to come, with the step of the SUBSCRIBE.
    looking: BTreeMap<Filter, u64>,
    /// What its node has found for it among what is retained, and at which step.
    found: Vec<(u64, usize)>,
}

#[derive(Clone, Copy, Debug)]
struct Receipt {
    /// The least that it came with.
    qos: QoS,
    /// How often the client had lost its session when it came last.
    losses: u32,
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
    /// Its publisher was told that its session is gone, before this was answered: it has said it anew.
    is_given_up: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Named,
    /// It is empty: nothing tells whose it is, so nobody knows who has it.
    Nameless,
    /// It is said when its connection has ended, by whoever finds that.
    Will,
}

impl Said {
    fn new((by, topic, qos): (usize, String, QoS), at: u64, kind: Kind) -> Self {
        Self { by, topic, qos, at, is_repeated: false, is_given_up: false, kind }
    }
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
            losses: 0,
            comes_behind: false,
            last: BTreeMap::new(),
            unanswered: Vec::new(),
            looking: BTreeMap::new(),
            found: Vec::new(),
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
        if held.0 == u64::MAX || held.1 != qos {
            *held = (step, qos);
        }
    }

    /// The QoS that a filter was granted last.
    pub(crate) fn granted(&self, life: usize, filter: &Filter) -> Option<QoS> {
        self.lives[life].holds.get(filter).map(|(_, qos)| *qos)
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

    /// Its client is told that it has no session, and begins anew. What is left of the old one comes
    /// when its node is back: then what was said before may come again, and out of order.
    pub(crate) fn loses_session(&mut self, life: usize) {
        let life = &mut self.lives[life];
        life.losses += 1;
    }

    /// Its client is let in for the first time, and is told that it has no session, while one may wait
    /// elsewhere: what waits there comes behind. Nothing has been received that might come again.
    pub(crate) fn finds_session_late(&mut self, life: usize) {
        self.lives[life].comes_behind = true;
    }

    /// A client has forgotten a message that was not answered: nothing is promised of it, but that it
    /// does not come twice.
    pub(crate) fn gives_up(&mut self, message: usize) {
        let publisher = &mut self.lives[self.messages[message].by];
        publisher.unanswered.retain(|waiting| *waiting != message);
        self.messages[message].is_given_up = true;
        self.retaining.gives_up(message);
    }

    pub(crate) fn lets_go(&mut self, life: usize, filter: &Filter) {
        self.lives[life].holds.remove(filter);
    }

    pub(crate) fn says(&mut self, by: usize, topic: &str, qos: QoS, step: u64) -> usize {
        let message = self.messages.len();
        let topic = topic.to_owned();
        self.messages.push(Said::new((by, topic, qos), step, Kind::Named));
        if qos.is_answered() {
            self.lives[by].unanswered.push(message);
        }
        message
    }

    /// A message that was said last is to be retained.
    pub(crate) fn retains(&mut self, message: usize, is_deletion: bool, step: u64) {
        let said = &mut self.messages[message];
        if is_deletion {
            said.kind = Kind::Nameless;
        }
        let Said { by, topic, .. } = &*said;
        self.retaining.says((*by, message), topic, is_deletion, step);
    }

    /// A connection is about to have a will. Returns its number and its topic.
    pub(crate) fn will(&mut self, by: usize, client: Option<usize>, qos: QoS) -> (usize, String) {
        let message = self.messages.len();
        let topic = format!("w/{message}");
        self.wills.says(message, client, &topic, qos);
        self.messages.push(Said::new((by, topic.clone(), qos), 0, Kind::Will));
        (message, topic)
    }

    /// SUBSCRIBE is sent: what is retained there is to be found.
    pub(crate) fn looks(&mut self, life: usize, filter: &Filter, step: u64) {
        self.lives[life].looking.insert(filter.clone(), step);
    }

    /// Its node has found something retained for a new subscription.
    pub(crate) fn finds(&mut self, life: usize, message: usize, step: u64) -> Result<(), String> {
        let topic = &self.messages[message].topic;
        let life = &mut self.lives[life];
        if !life.asked.iter().any(|filter| filter.matches(topic)) {
            return Err(format!("{} did not ask for it", life.name));
        }
        life.found.push((step, message));
        let asked = life.looking.iter().filter(|(filter, _)| filter.matches(topic));
        // What a durable session has found may have been a while in its line.
        match asked.map(|(_, since)| *since).min().filter(|_| !life.is_durable) {
            Some(since) => self.retaining.allows(topic, Some(message), since),
            None => Ok(()),
        }
    }

    /// SUBACK has come: what is retained is there, at least what was before the SUBSCRIBE.
    pub(crate) fn has_looked(&mut self, life: usize, filter: &Filter) -> Result<(), String> {
        let Some(since) = self.lives[life].looking.remove(filter) else {
            return Ok(());
        };
        let life = &self.lives[life];
        for topic in self.retaining.topics().filter(|topic| filter.matches(topic)) {
            let found = life
                .found
                .iter()
                .filter(|(at, message)| *at >= since && self.messages[*message].topic == topic);
            let mut found = found.map(|(_, message)| Some(*message)).chain([None]);
            let allows = |found| self.retaining.allows(topic, found, since).is_ok();
            if !found.any(allows) {
                let nothing = self.retaining.allows(topic, None, since);
                return nothing.map_err(|text| format!("{} subscribed, and {text}", life.name));
            }
        }
        Ok(())
    }

    /// Its connection has ended: no SUBACK will come.
    pub(crate) fn looks_no_more(&mut self, life: usize) {
        self.lives[life].looking.clear();
    }

    pub(crate) fn repeats(&mut self, message: usize) {
        self.messages[message].is_repeated = true;
    }

    /// A message has reached the node of a life, for it.
    pub(crate) fn reaches(
        &mut self,
        life: usize,
        message: usize,
        origin: Option<&Origin>,
    ) -> Result<(), String> {
        self.wills.comes(message, origin)?;
        let said = &self.messages[message];
        let comes_again = self.wills.may_come_twice(message);
        let life = &mut self.lives[life];
        if !life.asked.iter().any(|filter| filter.matches(&said.topic)) {
            return Err(format!("{} did not ask for it", life.name));
        }
        let may_repeat =
            comes_again || life.is_durable || (said.is_repeated && said.qos == QoS::AtLeastOnce);
        if life.had.insert(message) || may_repeat {
            return Ok(());
        }
        Err(format!("{} has it twice", life.name))
    }

    /// A life has received a message, as a new one.
    pub(crate) fn receives(&mut self, life: usize, message: usize, qos: QoS) -> Result<(), String> {
        let said = &self.messages[message];
        let comes_again = self.wills.may_come_twice(message);
        let life = &mut self.lives[life];
        let before = life.received.get(&message).copied();
        let lowest = before.map_or(qos, |before| before.qos.min(qos));
        life.received.insert(message, Receipt { qos: lowest, losses: life.losses });
        if let Some(before) = before {
            let is_twice = lowest == QoS::ExactlyOnce && before.losses == life.losses;
            return if is_twice && !comes_again {
                Err(format!("{} received it twice", life.name))
            } else {
                Ok(()) // it came again, as QoS 1 may, and where it stands says nothing
            };
        }
        if said.kind == Kind::Will {
            return Ok(()); // whoever finds that its connection has ended
        }
        let stream = (said.by, said.topic.clone(), said.qos, qos);
        let last = life.last.entry(stream).or_insert(message);
        if message >= *last {
            *last = message;
            return Ok(());
        }
        // What waited for its old home comes when that is back, behind what was said since.
        if life.losses > 0 || life.comes_behind {
            return Ok(());
        }
        // It may be with a node that is down, and come when that is back, behind what took its place.
        if said.is_given_up {
            return Ok(());
        }
        // What is retained goes to every node and is repeated, also at QoS 0: a copy that is late may find a
        // client that has moved there.
        if said.qos == QoS::AtMostOnce && life.is_durable && said.topic.as_str().starts_with("r/") {
            return Ok(());
        }
        // Whoever subscribed between the two may get only the repetition of the earlier one.
        if said.is_repeated && said.qos == QoS::AtLeastOnce {
            return Ok(());
        }
        Err(format!("{} received it after #{last} of the same stream", life.name))
    }

    /// A node answers a message, perhaps the only one that is open: who should have it by now and has not?
    pub(crate) fn answered(
        &mut self,
        message: usize,
        step: u64,
        is_alone: bool,
    ) -> Result<(), String> {
        self.retaining.answered(message, step, is_alone);
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
        if !publisher.is_durable {
            self.retaining.is_done(message, step); // it says nothing twice
        }
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

    /// A client has its CONNACK, on a connection that began then, and now it is so late: the wills of its connections before have
    /// reached the nodes of all who had asked for them.
    pub(crate) fn let_in(&self, client: usize, times_us: (u64, u64)) -> Result<(), Unkept> {
        for (will, topic, ended_at) in self.wills.before(client, times_us) {
            let clean = self.lives.iter().filter(|life| !life.is_durable && life.is_whole);
            let mut asked = clean.filter(|life| life.has_asked_for(topic, ended_at));
            if let Some(life) = asked.find(|life| !life.had.contains(&will)) {
                let text = format!("client-{client} is let in before its will is at {}", life.name);
                return Err((Some(will), text));
            }
        }
        Ok(())
    }

    /// What must hold when all is healed and nothing moves: from a message on everything has
    /// arrived, every answer has come, and whatever reached a node reached the client.
    pub(crate) fn settled(&self, healed_from: usize) -> Result<(), Unkept> {
        self.lives.iter().filter(|life| life.is_whole).try_for_each(Life::settled)?;
        for (will, topic, ended_at) in self.wills.due() {
            let waits = |life: &&Life| life.waits_for_will(will, topic, ended_at);
            if let Some(life) = self.lives.iter().find(waits) {
                return Err((Some(will), format!("{} never received this will", life.name)));
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

impl Life {
    /// Whether it was subscribed in time, so that it must get this.
    fn wants(&self, said: &Said) -> bool {
        let least = if self.is_durable { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let mut holds = self.holds.iter();
        self.is_whole
            && said.kind == Kind::Named
            && holds.any(|(filter, (since, qos))| {
                *since < said.at && *qos >= least && filter.matches(&said.topic)
            })
    }

    /// Whether it had asked for a will before the connection ended, and has not got it.
    fn waits_for_will(&self, will: usize, topic: &str, ended_at: u64) -> bool {
        let waits = self.is_whole && self.is_durable && self.has_asked_for(topic, ended_at);
        waits && !self.received.contains_key(&will)
    }

    fn has_asked_for(&self, topic: &str, before: u64) -> bool {
        let mut holds = self.holds.iter();
        holds.any(|(filter, (since, qos))| {
            *since < before && qos.is_answered() && filter.matches(topic)
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
