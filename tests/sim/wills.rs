//! The wills: one a connection, each with a number of its own, so that it is known whose came and how
//! often.
//!
//! ```text
//!   CONNECT ──► lives ──► ends by DISCONNECT, and a node has read that ──► must not come
//!                  └────► ends otherwise ──► must come once, to all who had asked for it before
//! ```
//!
//! What excuses a will is seen on the way to the directory ([`crate::directory`]): who holds it, who has settled
//! it, and whether the answer came back.

use std::collections::{BTreeMap, BTreeSet};

use causeway_common::{id::Incarnation, id::NodeId, link::Origin, qos::QoS};

/// What a process has done with a will in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It stands there.
    Entered(usize),
    /// The process of this life has it alone for a while, and will publish it.
    Held(usize, u64, How),
    /// The process of this life has published it, and nobody owes it any more.
    Settled(usize, u64),
    /// The process that holds it does not know.
    Lost(usize),
    /// It is published, though it may be owed still.
    Left(usize),
}

/// On what occasion a will is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Its connection has ended.
    End,
    /// Its client has come again.
    Claim,
    /// Its node is dead.
    Death,
}

/// Every will of a run, by its number as a message.
#[derive(Debug, Default)]
pub(crate) struct Wills {
    wills: BTreeMap<usize, Will>,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Will {
    /// Whose connections wait for it, if their client id stays.
    client: Option<usize>,
    topic: String,
    qos: QoS,
    /// Its client has got its CONNACK.
    is_in: bool,
    /// The first sign that its connection ends, other than by DISCONNECT.
    ended_at: Option<u64>,
    /// The process that has ended its connection, other than for DISCONNECT, and when.
    ended_on: Option<(u64, u64)>,
    /// Its client has said DISCONNECT.
    said_farewell: bool,
    /// The process that has read that.
    farewell_heard_by: Option<u64>,
    /// It has stood in the directory.
    is_entered: bool,
    /// Who held it last.
    held: Option<Held>,
    /// Whoever had to publish it may be gone before it could.
    may_be_lost: bool,
    /// It was published, and left in the directory.
    may_come_twice: bool,
    /// As which messages it came.
    came_as: BTreeSet<(NodeId, Incarnation, u64)>,
}

/// A will in somebody's hands.
#[derive(Clone, Copy, Debug)]
struct Held {
    by: u64,
    how: How,
    since_us: u64,
    settled_us: Option<u64>,
}

impl Held {
    /// Whether it has arrived everywhere, if it is settled: longer than this nobody waits for that.
    fn in_time(self, now_us: u64) -> bool {
        self.settled_us.unwrap_or(now_us) - self.since_us < PATIENCE_US
    }
}

impl Wills {
    pub(crate) fn says(&mut self, message: usize, client: Option<usize>, topic: &str, qos: QoS) {
        self.wills.insert(
            message,
            Will {
                client,
                topic: topic.to_owned(),
                qos,
                is_in: false,
                ended_at: None,
                ended_on: None,
                said_farewell: false,
                farewell_heard_by: None,
                is_entered: false,
                held: None,
                may_be_lost: false,
                may_come_twice: false,
                came_as: BTreeSet::new(),
            },
        );
    }

    pub(crate) fn is_in(&mut self, will: Option<usize>) {
        if let Some(will) = self.find(will) {
            will.is_in = true;
        }
    }

    /// Its client says DISCONNECT.
    pub(crate) fn farewell(&mut self, will: Option<usize>) {
        if let Some(will) = self.find(will) {
            will.said_farewell = true;
        }
    }

    /// A node has read DISCONNECT.
    pub(crate) fn farewell_heard(&mut self, will: Option<usize>, by: u64) {
        if let Some(will) = self.find(will) {
            will.farewell_heard_by = Some(by).filter(|_| will.held.is_none());
        }
    }

    /// Its connection is about to end, or has ended.
    pub(crate) fn ends(&mut self, will: Option<usize>, step: u64) {
        if let Some(will) = self.find(will) {
            will.ended_at.get_or_insert(step);
        }
    }

    /// A process, now, has ended its connection.
    pub(crate) fn ends_on(&mut self, will: Option<usize>, (life, now_us): (u64, u64)) {
        if let Some(will) = self.find(will) {
            will.ended_on = Some((life, now_us));
        }
    }

    /// Its node is gone, or serves nobody for a while: whatever the directory does not have is lost.
    pub(crate) fn loses_node(&mut self, will: Option<usize>, step: u64) {
        self.ends(will, step);
        if let Some(will) = self.find(will) {
            will.may_be_lost |= !will.is_entered;
        }
    }

    /// A process is gone, or what it had on its way is: what it has settled since a time, though it had not
    /// arrived, may be lost with it.
    pub(crate) fn loses_taker(&mut self, life: u64, since_us: u64) {
        let told = |(by, at_us): (u64, u64)| by == life && at_us >= since_us;
        // What the directory has not heard of, its node alone publishes.
        let alone = self.wills.values_mut().filter(|will| !will.is_entered);
        for will in alone {
            will.may_be_lost |= will.ended_on.is_some_and(told);
        }
        let held = self.wills.values_mut().filter_map(|will| Some((will.held?, will)));
        for (held, will) in held.filter(|(held, _)| held.by == life) {
            match held.settled_us {
                Some(at_us) => will.may_be_lost |= at_us >= since_us && !held.in_time(at_us),
                // Published perhaps, and still there for the next.
                None => will.may_come_twice = true,
            }
        }
    }

    pub(crate) fn hears(&mut self, now_us: u64, news: News) {
        let (News::Entered(number)
        | News::Held(number, ..)
        | News::Settled(number, _)
        | News::Lost(number)
        | News::Left(number)) = news;
        let Some(will) = self.find(Some(number)) else { return };
        match news {
            News::Entered(_) => will.is_entered = true,
            News::Held(_, by, how) => {
                will.held = Some(Held { by, how, since_us: now_us, settled_us: None });
            }
            News::Settled(_, by) => {
                if let Some(held) = will.held.as_mut().filter(|held| held.by == by) {
                    held.settled_us.get_or_insert(now_us);
                }
            }
            News::Lost(_) => will.may_be_lost = true,
            News::Left(_) => will.may_come_twice = true,
        }
    }

    /// A will comes to somebody, as a message of the cluster.
    pub(crate) fn comes(&mut self, will: usize, origin: Option<&Origin>) -> Result<(), String> {
        let Some(will) = self.wills.get_mut(&will) else {
            return Ok(());
        };
        if will.ended_at.is_none() && !will.said_farewell {
            return Err("the will of a connection that lives".to_owned());
        }
        let held = will.held.filter(|held| held.how != How::Death);
        let by_hearer = held.is_some_and(|held| Some(held.by) == will.farewell_heard_by);
        // One that the directory kept without its node knowing has nobody who could make it void.
        if by_hearer && !will.may_come_twice {
            return Err("a will in spite of DISCONNECT".to_owned());
        }
        if let Some(Origin { node, incarnation, sequence }) = origin {
            will.came_as.insert((node.clone(), *incarnation, *sequence));
        }
        if will.came_as.len() > 1 && !will.may_come_twice {
            return Err(format!("a will came as {:?}", will.came_as));
        }
        Ok(())
    }

    /// Whether a message is a will that was published without the directory.
    pub(crate) fn may_come_twice(&self, message: usize) -> bool {
        self.wills.get(&message).is_some_and(|will| will.may_come_twice)
    }

    /// Wills that must have come to everybody who had asked before: number, topic, since when.
    pub(crate) fn due(&self) -> impl Iterator<Item = (usize, &str, u64)> {
        self.wills.iter().filter_map(|(number, will)| {
            let must = will.is_in && !will.said_farewell && !will.may_be_lost;
            let ended_at = will.ended_at.filter(|_| must && will.qos.is_answered())?;
            Some((*number, will.topic.as_str(), ended_at))
        })
    }

    /// Wills that must have come to everybody who had asked before, since their client is in again now, on a
    /// connection that began then: number, topic, since when.
    pub(crate) fn before(
        &self,
        client: usize,
        (began_us, now_us): (u64, u64),
    ) -> impl Iterator<Item = (usize, &str, u64)> {
        // A login without the directory does not wait for what others hold.
        let is_awaited = move |held: Held| {
            let is_own = held.how == How::Claim && held.since_us >= began_us;
            (held.settled_us.is_some() || is_own) && held.in_time(now_us)
        };
        let of = move |number: &usize| {
            let will = self.wills.get(number);
            will.is_some_and(|will| {
                will.client == Some(client) && will.held.is_some_and(is_awaited)
            })
        };
        self.due().filter(move |(number, ..)| of(number))
    }

    fn find(&mut self, will: Option<usize>) -> Option<&mut Will> {
        self.wills.get_mut(&will?)
    }
}

/// For so long whoever holds a will waits for it to arrive, at least.
const PATIENCE_US: u64 = 1_800_000;
