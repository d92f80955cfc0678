//! The wills: one a connection, each with a number of its own, so that it is known whose came and how
//! often.
//!
//! ```text
//!   CONNECT ──► lives ──► ends by DISCONNECT, and a node has read that ──► must not come
//!                  └────► ends otherwise ──► must come once, to all who had asked for it before
//! ```
//!
//! What excuses a will is seen on the way to the directory ([`crate::directory`]): who has taken it out,
//! and whether the answer came back.

use std::collections::{BTreeMap, BTreeSet};

use causeway_common::{id::Incarnation, id::NodeId, link::Origin, qos::QoS};

/// What a process has done with a will in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It stands there.
    Entered(usize),
    /// The process of this life has it alone for a while, and will publish it.
    Held(usize, u64),
    /// The process of this life has taken it out.
    Taken(usize, u64, How),
    /// The process that has taken it out does not know.
    Lost(usize),
    /// It could not be taken out, and is published nevertheless.
    Left(usize),
}

/// On what occasion a will is taken out.
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
    /// Its client has said DISCONNECT.
    said_farewell: bool,
    /// The process that has read that.
    farewell_heard_by: Option<u64>,
    /// It has stood in the directory.
    is_entered: bool,
    /// Who holds it in the directory, and since when.
    held: Option<(u64, u64)>,
    taken: Option<Taken>,
    /// Whoever had to publish it may be gone before it could.
    may_be_lost: bool,
    /// It was published, and left in the directory.
    may_come_twice: bool,
    /// As which messages it came.
    came_as: BTreeSet<(NodeId, Incarnation, u64)>,
}

/// A will that is not in the directory any more.
#[derive(Clone, Copy, Debug)]
struct Taken {
    by: u64,
    how: How,
    at_us: u64,
    /// Of a dead node's: it had arrived everywhere before that.
    in_time: bool,
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
                said_farewell: false,
                farewell_heard_by: None,
                is_entered: false,
                held: None,
                taken: None,
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
            will.farewell_heard_by = Some(by).filter(|_| will.taken.is_none());
        }
    }

    /// Its connection is about to end, or has ended.
    pub(crate) fn ends(&mut self, will: Option<usize>, step: u64) {
        if let Some(will) = self.find(will) {
            will.ended_at.get_or_insert(step);
        }
    }

    /// Its node is gone, or serves nobody for a while: whatever the directory does not have is lost.
    pub(crate) fn loses_node(&mut self, will: Option<usize>, step: u64) {
        self.ends(will, step);
        if let Some(will) = self.find(will) {
            will.may_be_lost |= !will.is_entered;
        }
    }

    /// A process is gone, or what it had on its way is: what it has taken out since a time may be
    /// lost with it.
    pub(crate) fn loses_taker(&mut self, life: u64, since_us: u64) {
        for will in self.wills.values_mut() {
            let is_taker =
                |taken: Taken| taken.by == life && taken.at_us >= since_us && !taken.in_time;
            will.may_be_lost |= will.taken.is_some_and(is_taker);
            // Published perhaps, and still there for the next.
            let is_held = will.held.is_some_and(|(by, _)| by == life) && will.taken.is_none();
            will.may_come_twice |= is_held;
        }
    }

    pub(crate) fn hears(&mut self, now_us: u64, news: News) {
        match news {
            News::Entered(will) => {
                if let Some(will) = self.find(Some(will)) {
                    will.is_entered = true;
                }
            }
            News::Taken(will, by, how) => {
                if let Some(will) = self.find(Some(will)) {
                    let held_us = will.held.map(|(_, since_us)| now_us - since_us);
                    let in_time = how == How::Death && held_us.is_some_and(|us| us < PATIENCE_US);
                    will.taken = Some(Taken { by, how, at_us: now_us, in_time });
                }
            }
            News::Held(will, by) => {
                if let Some(will) = self.find(Some(will)) {
                    will.held = Some((by, now_us));
                }
            }
            News::Lost(will) => {
                if let Some(will) = self.find(Some(will)) {
                    will.may_be_lost = true;
                }
            }
            News::Left(will) => {
                if let Some(will) = self.find(Some(will)) {
                    will.may_come_twice = true;
                }
            }
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
        let taken = will.taken.filter(|taken| taken.how != How::Death);
        let by_hearer = taken.is_some_and(|taken| Some(taken.by) == will.farewell_heard_by);
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

    /// Wills that must have come to everybody who had asked before, since their client is in again, on a
    /// connection that began then: number, topic, since when.
    pub(crate) fn before(
        &self,
        client: usize,
        began_us: u64,
    ) -> impl Iterator<Item = (usize, &str, u64)> {
        let is_said = move |taken: Taken| match taken.how {
            How::Death => taken.in_time,
            How::Claim => taken.at_us >= began_us,
            // Its node publishes it, and nobody waits.
            How::End => false,
        };
        let of = move |number: &usize| {
            let will = self.wills.get(number);
            will.is_some_and(|will| will.client == Some(client) && will.taken.is_some_and(is_said))
        };
        self.due().filter(move |(number, ..)| of(number))
    }

    fn find(&mut self, will: Option<usize>) -> Option<&mut Will> {
        self.wills.get_mut(&will?)
    }
}

/// For so long whoever holds a will waits for it to arrive, at least.
const PATIENCE_US: u64 = 1_800_000;
