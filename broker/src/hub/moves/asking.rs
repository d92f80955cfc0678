//! A letter is written until it is answered, and an answer is withheld until it can be true.

use std::time::{Duration, Instant};

use causeway_common::id::{NodeId, PacketId, SessionId};

use super::{Letter, Stamp, letter::Body};
use crate::hub::{Hub, LinkId};

/// The letter of a departure that is not answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) letter: Letter,
    at: Instant,
    attempt: u32,
}

/// An answer that is not given while a client that came back waits to be let in.
#[derive(Debug)]
pub(super) struct Withheld {
    pub(super) session: SessionId,
    until: Instant,
    waiting: Vec<(LinkId, PacketId)>,
}

impl Hub {
    pub(super) fn ask(&mut self, session: SessionId, body: Body) {
        let letter = Letter { session, stamp: self.next_stamp(), body };
        let at = self.moves.now;
        let Some(departure) = self.moves.departures.get_mut(&session) else {
            return;
        };
        let to = departure.to.member.node.clone();
        self.send_letter(&to, &letter, 0);
        if let Some(departure) = self.moves.departures.get_mut(&session) {
            departure.asked = Some(Asked { letter, at, attempt: 0 });
        }
    }

    /// Nobody there shall wait for more. What is on its way comes too late.
    pub(super) fn say_no_more(&mut self, session: SessionId, to: &NodeId) {
        let letter = Letter { session, stamp: self.next_stamp(), body: Body::End };
        self.send_letter(to, &letter, 0);
    }

    pub(super) fn next_stamp(&mut self) -> Stamp {
        self.moves.last_number += 1;
        Stamp { incarnation: self.me.incarnation, number: self.moves.last_number }
    }

    /// Answers when the client is in here, or after a while.
    pub(in crate::hub) fn withhold(
        &mut self,
        session: SessionId,
        waiting: impl IntoIterator<Item = (LinkId, PacketId)>,
    ) {
        let until = self.moves.now + WITHHELD_FOR;
        let waiting = waiting.into_iter().collect();
        self.moves.withheld.push(Withheld { session, until, waiting });
    }

    /// The client is in here: nodes that it had gone to before may know.
    pub(super) fn tell_withheld(&mut self, is_over: impl Fn(&Withheld) -> bool) {
        let over: Vec<Withheld> = self.moves.withheld.extract_if(.., |it| is_over(it)).collect();
        self.tell_closed(over.into_iter().flat_map(|withheld| withheld.waiting));
    }

    pub(in crate::hub) fn tell_closed(
        &self,
        waiting: impl IntoIterator<Item = (LinkId, PacketId)>,
    ) {
        for (link, id) in waiting {
            self.links.acknowledge(link, id);
        }
    }

    pub(super) fn tick_departures(&mut self) {
        self.step_all();
        let now = self.moves.now;
        self.tell_withheld(|withheld| withheld.until <= now);
        let mut again = Vec::new();
        for departure in self.moves.departures.values_mut() {
            let Some(asked) = &mut departure.asked else {
                continue;
            };
            let pause = ASK_AGAIN.saturating_mul(1 << asked.attempt.min(5));
            if asked.at + pause > now {
                continue;
            }
            (asked.at, asked.attempt) = (now, asked.attempt.saturating_add(1));
            again.push((departure.to.member.node.clone(), asked.letter.clone(), asked.attempt));
        }
        for (to, letter, attempt) in again {
            self.send_letter(&to, &letter, attempt);
        }
    }

    /// Bridges have come or gone: what may have been lost with them is said again.
    pub(in crate::hub) fn ask_again(&mut self) {
        let asked = self.moves.departures.values().filter_map(|departure| {
            let asked = departure.asked.as_ref()?;
            Some((departure.to.member.node.clone(), asked.letter.clone()))
        });
        let asked: Vec<(NodeId, Letter)> = asked.collect();
        for (to, letter) in asked {
            self.send_letter(&to, &letter, 0);
        }
        self.step_all();
    }
}

/// Doubled each time, up to 32 times.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// By then the node that the client had gone to has heard that it came back.
const WITHHELD_FOR: Duration = Duration::from_secs(10);
