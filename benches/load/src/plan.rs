//! What a run is asked for, and whom that takes: who publishes, who subscribes to what.
//!
//! It leaves to others: doing it ([`crate::run`], [`crate::logins`]).

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    client::Greeting,
    packet::{self, QoS, Stamp, Template},
    pool::Pool,
    process::Watched,
    stream::{Pace, Stream},
    traffic::{Role, Traffic},
};

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Each of `clients` publishers has a subscriber and a topic of its own
    Pair,
    /// One publisher, `clients` subscribers; each delivery counts
    FanOut,
    /// `clients` publishers, one subscriber
    FanIn,
    /// As pair, with the subscribers at `--subscribe-at`
    CrossNode,
    /// `clients` connections that do nothing: memory
    Idle,
    /// Logins, `clients` at a time: each connects, is let in, disconnects
    Connect,
}

/// A load on an MQTT 3.1.1 broker: one line for people, one of JSON
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Plan {
    /// Who talks to whom
    #[arg(value_enum)]
    pub scenario: Scenario,
    /// Where clients connect
    #[arg(long)]
    pub at: SocketAddr,
    /// Where subscribers connect instead
    #[arg(long)]
    pub subscribe_at: Option<SocketAddr>,
    /// A process whose CPU and memory count: `name=pid`, as often as there are
    #[arg(long = "pid")]
    pub watched: Vec<Watched>,
    /// How many: see the scenario
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: u32,
    /// 0, 1 or 2, of publishers and subscriptions
    #[arg(long, default_value = "0", value_parser = parse_qos)]
    pub qos: QoS,
    /// Bytes of a message, at least 16
    #[arg(long, default_value_t = 64, value_parser = parse_payload)]
    pub payload: usize,
    /// Closed loop: messages of a publisher on their way
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_000))]
    pub window: u32,
    /// Open loop instead: messages a second and publisher, due whatever became of those before
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
    /// Threads of the generator, for logins alone
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub threads: u32,
    /// Seconds under load before it is measured
    #[arg(long, default_value_t = 1)]
    pub warm_up: u64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Ends the measured phase earlier, after so many deliveries or logins
    #[arg(long, default_value_t = u64::MAX)]
    pub count_max: u64,
    /// TLS, trusting the authorities of this PEM file
    #[arg(long)]
    pub tls_ca: Option<PathBuf>,
    /// Durable sessions (clean session 0)
    #[arg(long)]
    pub durable: bool,
    /// How the run is called in its outcome
    #[arg(long, default_value = "")]
    pub label: String,
}

fn parse_qos(text: &str) -> Result<QoS, String> {
    let number: Option<u8> = text.parse().ok();
    number.and_then(|number| number.try_into().ok()).ok_or_else(|| "0, 1 or 2".to_owned())
}

fn parse_payload(text: &str) -> Result<usize, String> {
    let bytes: Option<usize> = text.parse().ok();
    let fitting = bytes.filter(|bytes| (Stamp::BYTES..=1 << 17).contains(bytes));
    fitting.ok_or_else(|| "16 to 131072".to_owned())
}

impl Plan {
    fn greeting(&self, number: usize, filter: Option<&str>) -> Greeting {
        let mut greeting = Greeting::default();
        let client_id = format!("load-{}-{number}", run_name());
        packet::connect(&client_id, !self.durable, &mut greeting.connect);
        greeting.subscribe = filter.map(|filter| {
            let mut bytes = Vec::new();
            packet::subscribe(filter, self.qos, &mut bytes);
            (bytes, self.qos)
        });
        greeting
    }

    /// Opens one more client that only logs in.
    pub fn open_idle(&self, pool: &mut Pool) -> Result<(), Failure> {
        pool.open(self.at, self.greeting(pool.len(), None))
    }

    /// Opens one that logs in again and again, under this name among all threads.
    pub fn open_named(&self, name: usize, pool: &mut Pool) -> Result<(), Failure> {
        pool.open(self.at, self.greeting(name, None))
    }

    /// Opens it again once it is gone.
    pub fn reopen(&self, (number, name): (usize, usize), pool: &mut Pool) -> Result<(), Failure> {
        pool.reopen(number, self.at, self.greeting(name, None))
    }

    /// Whom the scenario takes, subscribers before publishers.
    pub fn cast(&self) -> Vec<Part> {
        let subscriber = |first, streams, filter| Part::Subscriber { first, streams, filter };
        let name = run_name();
        let topic = |number| format!("load/{name}/{number}");
        let (subscribers, publishers): (Vec<_>, _) = match self.scenario {
            Scenario::Pair | Scenario::CrossNode => {
                ((0..self.clients).map(|n| subscriber(n, 1, topic(n))).collect(), self.clients)
            }
            Scenario::FanOut => {
                ((0..self.clients).map(|_| subscriber(0, 1, topic(0))).collect(), 1)
            }
            Scenario::FanIn => {
                (vec![subscriber(0, self.clients, format!("load/{name}/+"))], self.clients)
            }
            Scenario::Idle | Scenario::Connect => (Vec::new(), 0),
        };
        let publishers = (0..publishers).map(|n| Part::Publisher { topic: topic(n) });
        subscribers.into_iter().chain(publishers).collect()
    }

    /// Opens one of them as the next client.
    pub fn open(&self, part: &Part, pool: &mut Pool) -> Result<(), Failure> {
        let number = pool.len();
        match part {
            Part::Subscriber { filter, .. } => {
                let at = self.subscribe_at.unwrap_or(self.at);
                pool.open(at, self.greeting(number, Some(filter)))
            }
            Part::Publisher { .. } => pool.open(self.at, self.greeting(number, None)),
        }
    }

    /// The traffic between them.
    pub fn traffic(&self, cast: &[Part]) -> Result<Traffic, Failure> {
        let mut traffic = Traffic::new()?;
        let is_publisher = |part: &&Part| matches!(part, Part::Publisher { .. });
        let streams = u64::try_from(cast.iter().filter(is_publisher).count()).unwrap_or(1);
        let readers = if self.scenario == Scenario::FanOut { self.clients } else { 1 };
        let mut stream = 0;
        for (number, part) in cast.iter().enumerate() {
            match part {
                Part::Subscriber { first, streams, .. } => {
                    let next = (0..*streams).map(|_| 0).collect();
                    let first = usize::try_from(*first).unwrap_or(usize::MAX);
                    traffic.client(Role::Subscriber(first, next));
                }
                Part::Publisher { topic } => {
                    let pace = self.pace(stream, streams);
                    let template = Template::new(topic, self.qos, self.payload);
                    traffic.stream(number, Stream::new(pace, self.qos, readers), template);
                    traffic.client(Role::Publisher(usize::try_from(stream).unwrap_or(0)));
                    stream += 1;
                }
            }
        }
        Ok(traffic)
    }

    /// Publishers of an open loop take turns: their first messages are spread over one interval.
    fn pace(&self, stream: u64, streams: u64) -> Pace {
        let Some(rate) = self.rate else {
            return Pace::Window(self.window);
        };
        let interval_ns = 1_000_000_000 / u64::from(rate);
        Pace::Rate { first_ns: interval_ns * stream / streams, interval_ns }
    }
}

/// One client of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// It hears so many streams from the first on.
    Subscriber {
        /// The number of the first.
        first: u32,
        /// How many.
        streams: u32,
        /// What it subscribes to.
        filter: String,
    },
    /// It sends one.
    Publisher {
        /// Where to.
        topic: String,
    },
}

/// Two runs at a time, or one after the other on durable sessions, must not meet.
fn run_name() -> u32 {
    std::process::id()
}
