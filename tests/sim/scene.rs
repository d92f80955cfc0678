//! What all parts of the simulated cluster share: the clock, what will happen, the network, the
//! directory, the ledger, the trace.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    rc::Rc,
    time::{Duration, Instant},
};

use causeway_common::{
    directory::memory::MemoryDirectory, id::PacketId, link::Frame, packet::Packet,
};

use crate::{
    Fault,
    clock::Clock,
    directory::Diary,
    ledger::{Ledger, Violation},
    net::{Chance, End, Item, Wire},
};

pub(crate) type WireId = u32;

/// Something that will happen. Numbers after the index of a process are its life: what was meant
/// for one life does not happen to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// Something arrives at an end of a client's connection.
    Client(End, WireId),
    /// Something arrives at an end of a link.
    Link(End, WireId),
    /// The task of a connection looks into its mailbox.
    WakeClient(WireId),
    /// The task at an end of a link looks into its mailbox.
    WakeLink(End, WireId),
    /// So many batches of a node are durable.
    Synced(usize, u64, u64),
    /// A node looks at the time.
    Tick(usize, u64),
    /// A bridge asks the directory.
    Poll(usize, u64),
    /// A bridge dials a node.
    Dial(usize, u64, usize),
    StartNode(usize),
    /// From now on nobody may wait for a node that was killed.
    Forgotten(usize),
    StartBridge(usize),
    /// A client without connection tries to get one.
    Knock(usize),
    /// A client says or subscribes to something.
    Act(usize),
    /// Something breaks.
    Chaos,
}

/// How the network behaves in one run.
#[derive(Debug)]
pub(crate) struct Weather {
    pub(crate) delay_max_us: u64,
    /// One in so many pieces is late.
    pub(crate) late_one_in: u64,
    /// How long after the break of a connection an end may notice, at most.
    pub(crate) end_delay_max_us: u64,
    /// How long the store takes.
    pub(crate) sync_delay_max_us: u64,
    /// How long what is said to durable sessions of a node that is gone waits for it.
    pub(crate) home_grace: Duration,
}

impl Weather {
    pub(crate) fn home_grace_us(&self) -> u64 {
        u64::try_from(self.home_grace.as_micros()).unwrap_or(u64::MAX)
    }
}

pub(crate) struct Scene {
    clock: Rc<Clock>,
    /// What the clock has been told.
    told_us: u64,
    base: Instant,
    pub(crate) now_us: u64,
    pub(crate) step: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    last_wire: WireId,
    pub(crate) chance: Chance,
    pub(crate) weather: Weather,
    pub(crate) clients: BTreeMap<WireId, Wire<Packet>>,
    pub(crate) links: BTreeMap<WireId, Wire<Frame>>,
    pub(crate) directory: MemoryDirectory,
    /// What nodes have done with wills there.
    pub(crate) diary: Diary,
    pub(crate) ledger: Ledger,
    /// Messages without a payload, by the connection and the identifier that they were sent with.
    pub(crate) nameless: BTreeMap<(WireId, PacketId), usize>,
    pub(crate) fault: Option<Fault>,
    /// Messages answered in this step.
    pub(crate) answered: Vec<usize>,
    /// Clients that got their CONNACK in this step, and since when they have connected.
    pub(crate) let_in: Vec<(usize, u64)>,
    pub(crate) violation: Option<Violation>,
    pub(crate) trace: Option<Vec<Line>>,
}

/// One line of the trace, and the message it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) message: Option<usize>,
    pub(crate) text: String,
}

impl Scene {
    pub(crate) fn new(clock: Rc<Clock>, seed: u64, fault: Option<Fault>, traced: bool) -> Self {
        let mut chance = Chance::new(seed);
        let weather = Weather {
            delay_max_us: chance.one_of([500, 3_000, 20_000]),
            late_one_in: chance.between(5, 50),
            end_delay_max_us: chance.one_of([2_000, 50_000, 2_000_000]),
            sync_delay_max_us: chance.one_of([2_000, 20_000, 300_000]),
            home_grace: Duration::from_secs(chance.one_of([60, 60, 3, 1])),
        };
        let weather = match fault.filter(|fault| fault.is_of_store()) {
            Some(Fault::LetterEarly | Fault::DeliverEarly | Fault::ForgetEarly) => {
                Weather { sync_delay_max_us: 3_000_000, ..weather }
            }
            Some(_) => Weather { sync_delay_max_us: 400_000, ..weather },
            None => weather,
        };
        Self {
            clock,
            told_us: 0,
            base: tokio::time::Instant::now().into_std(),
            now_us: 0,
            step: 0,
            queue: BinaryHeap::new(),
            scheduled: 0,
            last_wire: 0,
            chance,
            weather,
            clients: BTreeMap::new(),
            links: BTreeMap::new(),
            directory: MemoryDirectory::starting_at(Duration::from_secs(WALL_SECS)),
            diary: Diary::default(),
            ledger: Ledger::default(),
            nameless: BTreeMap::new(),
            fault,
            answered: Vec::new(),
            let_in: Vec::new(),
            violation: None,
            trace: traced.then(Vec::new),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.base + Duration::from_micros(self.now_us)
    }

    /// The time of day.
    pub(crate) fn wall_secs(&self) -> u64 {
        WALL_SECS + self.now_us / SECOND_US
    }

    /// Lets something happen after a while.
    pub(crate) fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us + delay_us, event);
    }

    pub(crate) fn at(&mut self, time_us: u64, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse((time_us, self.scheduled, event)));
    }

    /// The next thing that happens, if it does before a time; the clock is set to it.
    pub(crate) fn next(&mut self, until_us: u64) -> Option<Event> {
        let Reverse((time_us, _, _)) = self.queue.peek()?;
        if *time_us > until_us {
            self.now_us = until_us;
            return None;
        }
        let Reverse((time_us, _, event)) = self.queue.pop()?;
        self.now_us = time_us;
        self.step += 1;
        Some(event)
    }

    /// Lets the tasks of nodes do what they can at this time.
    pub(crate) fn run_tasks(&mut self) {
        let passed = Duration::from_micros(self.now_us - self.told_us);
        self.told_us = self.now_us;
        self.clock.advance(passed);
        let news = std::mem::take(&mut *self.diary.lock());
        for news in news {
            self.note(None, || format!("directory: {news:?}"));
            self.ledger.wills.hears(self.now_us, news);
        }
    }

    /// Notes a line of the trace, if there is one.
    pub(crate) fn note(&mut self, message: Option<usize>, text: impl FnOnce() -> String) {
        let (step, millis) = (self.step, self.now_us / 1000);
        if let Some(trace) = &mut self.trace {
            let text = format!("{step:>6} {millis:>6} ms  {}", text());
            trace.push(Line { message, text });
        }
    }

    /// Whether a node may be down for longer than anybody waits for it.
    pub(crate) fn forgets(&self) -> bool {
        self.weather.home_grace < Duration::from_mins(1)
    }

    /// A promise is broken. The first one counts.
    pub(crate) fn fail(&mut self, message: Option<usize>, text: String) {
        if self.violation.is_none() {
            let step = self.step;
            self.violation = Some(Violation { message, step, text });
        }
    }

    fn delay_us(&mut self) -> u64 {
        if self.chance.one_in(self.weather.late_one_in) {
            return self.chance.below(self.weather.delay_max_us * 20);
        }
        self.chance.between(50, self.weather.delay_max_us)
    }

    /// How long a task takes until it looks into its mailbox.
    pub(crate) fn wake_delay_us(&mut self) -> u64 {
        let longest = if self.chance.one_in(20) { 30_000 } else { 300 };
        self.chance.below(longest)
    }

    /// How long what is written takes to become durable.
    pub(crate) fn sync_delay_us(&mut self) -> u64 {
        self.chance.between(100, self.weather.sync_delay_max_us)
    }

    pub(crate) fn dial_client(&mut self, node: usize, client: usize) -> WireId {
        self.last_wire += 1;
        self.clients.insert(self.last_wire, Wire::new(node, client));
        self.last_wire
    }

    pub(crate) fn dial_link(&mut self, node: usize, bridge: usize) -> WireId {
        self.last_wire += 1;
        self.links.insert(self.last_wire, Wire::new(node, bridge));
        self.last_wire
    }

    pub(crate) fn send_packet(&mut self, to: End, id: WireId, item: Item<Packet>) {
        let due = self.now_us + self.delay_us();
        let wire = self.clients.get_mut(&id);
        if let Some(due) = wire.and_then(|wire| wire.to(to).put(due, item)) {
            self.at(due, Event::Client(to, id));
        }
    }

    pub(crate) fn send_frame(&mut self, to: End, id: WireId, item: Item<Frame>) {
        let due = self.now_us + self.delay_us();
        let wire = self.links.get_mut(&id);
        if let Some(due) = wire.and_then(|wire| wire.to(to).put(due, item)) {
            self.at(due, Event::Link(to, id));
        }
    }

    /// One end of a client's connection is gone: the other notices when it has read what is left.
    pub(crate) fn leave_client(&mut self, end: End, id: WireId) {
        let (kept, delay_us) = self.remains();
        let Some(wire) = self.clients.get_mut(&id) else {
            return;
        };
        wire.to(end).close();
        let kept = kept % (wire.to(end.other()).len() + 1);
        let due = wire.to(end.other()).end(kept, self.now_us + delay_us);
        if let Some(due) = due {
            self.at(due, Event::Client(end.other(), id));
        }
    }

    /// One end of a link is gone.
    pub(crate) fn leave_link(&mut self, end: End, id: WireId) {
        let (kept, delay_us) = self.remains();
        let Some(wire) = self.links.get_mut(&id) else {
            return;
        };
        wire.to(end).close();
        let kept = kept % (wire.to(end.other()).len() + 1);
        let due = wire.to(end.other()).end(kept, self.now_us + delay_us);
        if let Some(due) = due {
            self.at(due, Event::Link(end.other(), id));
        }
    }

    /// A client's connection breaks between its ends.
    pub(crate) fn cut_client(&mut self, id: WireId) {
        for end in [End::Node, End::Peer] {
            let (kept, delay_us) = self.remains();
            let Some(wire) = self.clients.get_mut(&id) else {
                return;
            };
            let kept = kept % (wire.to(end).len() + 1);
            if let Some(due) = wire.to(end).end(kept, self.now_us + delay_us) {
                self.at(due, Event::Client(end, id));
            }
        }
    }

    /// A link breaks between its ends.
    pub(crate) fn cut_link(&mut self, id: WireId) {
        for end in [End::Node, End::Peer] {
            let (kept, delay_us) = self.remains();
            let Some(wire) = self.links.get_mut(&id) else {
                return;
            };
            let kept = kept % (wire.to(end).len() + 1);
            if let Some(due) = wire.to(end).end(kept, self.now_us + delay_us) {
                self.at(due, Event::Link(end, id));
            }
        }
    }

    /// A link passes nothing on for a while.
    pub(crate) fn stall_link(&mut self, id: WireId, for_us: u64) {
        let until = self.now_us + for_us;
        if let Some(wire) = self.links.get_mut(&id) {
            wire.to_node.stall(until);
            wire.to_peer.stall(until);
            self.at(until, Event::Link(End::Node, id));
            self.at(until, Event::Link(End::Peer, id));
        }
    }

    /// How much of what is on its way arrives nevertheless, and how late the end is noticed.
    fn remains(&mut self) -> (usize, u64) {
        let kept = usize::try_from(self.chance.below(1 << 20)).unwrap_or_default();
        (kept, self.chance.between(100, self.weather.end_delay_max_us))
    }
}

pub(crate) const SECOND_US: u64 = 1_000_000;
/// When every run begins.
const WALL_SECS: u64 = 1_700_000_000;
pub(crate) const LEASE_US: u64 = 6 * SECOND_US;
/// A lease that was renewed at an interval has at least so much left at any time.
pub(crate) const LEASE_LEFT_US: u64 = 3_500_000;
pub(crate) const LEASE: Duration = Duration::from_micros(LEASE_US);
