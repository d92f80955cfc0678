//! What a run found, for people and for programs.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    packet::QoS,
    plan::{Plan, Scenario},
    process::{Usage, Watched},
};

/// Everything a run found, and what was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// What the run was called.
    pub label: String,
    /// Who talked to whom.
    pub scenario: Scenario,
    /// How many.
    pub clients: u32,
    /// Of publishers and subscriptions.
    pub qos: QoS,
    /// Bytes of a message.
    pub payload_bytes: usize,
    /// Messages of a publisher on their way; nothing in an open loop.
    pub window: Option<u32>,
    /// Messages a second and publisher, in an open loop.
    pub rate: Option<u32>,
    /// Whether over TLS.
    pub tls: bool,
    /// Whether with durable sessions.
    pub durable: bool,
    /// How long the measured phase was.
    pub seconds: f64,
    /// Deliveries or logins a second.
    pub per_second: f64,
    /// What the watched processes used in it.
    pub processes: Vec<Cost>,
    /// Processor time of the generator for one delivery or login: near `1e6 / per_second` means
    /// that it, and not the broker, was the limit.
    pub generator_cpu_us: f64,
    /// What was counted.
    pub figures: Figures,
}

/// What was counted, by kind of scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figures {
    /// Of a scenario with messages.
    Messages(Messages),
    /// Of connections that do nothing.
    Idle {
        /// How many.
        connections: u32,
        /// Resident memory of all watched processes, for one.
        bytes_per_connection: u64,
    },
    /// Of logins.
    Connect {
        /// How many.
        logins: u64,
        /// From the beginning of the TCP connection to CONNACK.
        latency: Percentiles,
    },
}

/// What was counted of messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Messages {
    /// Sent in the measured phase.
    pub sent: u64,
    /// Delivered in it; a message counts once for each subscriber.
    pub delivered: u64,
    /// From when a message was due (in a closed loop: sent) until it was heard.
    pub latency: Percentiles,
    /// From when a message was due until the generator sent it: its own share of the latency.
    pub sender_late: Percentiles,
    /// Deliveries that never were, in the whole run.
    pub lost: u64,
    /// Deliveries behind a later one of their stream, or a second time, in the whole run.
    pub disordered: u64,
    /// Messages whose publisher went on without knowing of their end.
    pub given_up: u64,
}

/// Of times in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Percentiles {
    /// The median.
    pub p50_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl From<&Histogram<u64>> for Percentiles {
    fn from(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        let max_us = micros(histogram.max());
        Self { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999), max_us }
    }
}

/// What one process used in the measured phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// What it is called.
    pub name: String,
    /// Its number.
    pub pid: u32,
    /// Processor time.
    pub cpu_seconds: f64,
    /// Processor time for one delivery or login; 0 if there was none.
    pub cpu_us: f64,
    /// Resident memory when the phase began.
    pub rss_begin_kib: u64,
    /// Resident memory when it ended.
    pub rss_end_kib: u64,
}

/// What processes had used when the measured phase began.
#[derive(Debug)]
pub struct Meter(Vec<(Watched, Usage)>);

impl Meter {
    /// Reads all of them, and the generator's own.
    pub fn start(watched: &[Watched]) -> Result<Self, Failure> {
        let own = Watched { name: GENERATOR.into(), pid: std::process::id() };
        let all = watched.iter().cloned().chain([own]);
        let read = |watched: Watched| Usage::of(watched.pid).map(|usage| (watched, usage));
        all.map(read).collect::<Result<_, _>>().map(Self)
    }

    /// What they used since, by so many deliveries or logins. The generator is the last.
    pub fn stop(self, count: u64) -> Result<Vec<Cost>, Failure> {
        let cost = |(Watched { name, pid }, begin): (Watched, Usage)| {
            let end = Usage::of(pid)?;
            let cpu_seconds = end.cpu.saturating_sub(begin.cpu).as_secs_f64();
            let cpu_us = if count == 0 { 0.0 } else { cpu_seconds * 1e6 / float(count) };
            let (rss_begin_kib, rss_end_kib) = (begin.rss_kib, end.rss_kib);
            Ok(Cost { name, pid, cpu_seconds, cpu_us, rss_begin_kib, rss_end_kib })
        };
        self.0.into_iter().map(cost).collect()
    }
}

impl Outcome {
    /// Of a plan whose measured phase took so long and had so many deliveries or logins.
    pub fn new(
        plan: &Plan,
        taken: Duration,
        count: u64,
        mut processes: Vec<Cost>,
        figures: Figures,
    ) -> Self {
        let generator = processes.pop();
        let seconds = taken.as_secs_f64();
        Self {
            label: plan.label.clone(),
            scenario: plan.scenario,
            clients: plan.clients,
            qos: plan.qos,
            payload_bytes: plan.payload,
            window: plan.rate.is_none().then_some(plan.window),
            rate: plan.rate,
            tls: plan.tls_ca.is_some(),
            durable: plan.durable,
            seconds,
            per_second: float(count) / seconds,
            processes,
            generator_cpu_us: generator.map_or(0.0, |cost| cost.cpu_us),
            figures,
        }
    }

    /// Processor time of all watched processes for one delivery or login.
    pub fn cpu_us(&self) -> f64 {
        self.processes.iter().map(|cost| cost.cpu_us).sum()
    }

    /// Whether something is missing that the QoS promised.
    pub fn breaks_promises(&self) -> bool {
        match &self.figures {
            Figures::Messages(messages) => self.qos > QoS::AtMostOnce && messages.lost > 0,
            Figures::Idle { .. } | Figures::Connect { .. } => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, scenario, clients, qos, per_second, seconds, .. } = self;
        let label = if label.is_empty() { String::new() } else { format!("{label}: ") };
        write!(f, "{label}{scenario:?} {clients}, QoS {}, {seconds:.1} s: ", u8::from(*qos))?;
        match &self.figures {
            Figures::Messages(m) => write!(
                f,
                "{} messages, {per_second:.0}/s, {}, lost {}, disordered {}",
                m.delivered, m.latency, m.lost, m.disordered
            )?,
            Figures::Idle { bytes_per_connection, .. } => {
                write!(f, "{bytes_per_connection} bytes a connection")?;
            }
            Figures::Connect { logins, latency } => {
                write!(f, "{logins} logins, {per_second:.0}/s, {latency}")?;
            }
        }
        for cost in &self.processes {
            let Cost { name, cpu_us, cpu_seconds, rss_end_kib, .. } = cost;
            write!(f, "; {name}: {cpu_us:.2} us CPU each ({cpu_seconds:.2} s), {rss_end_kib} KiB")?;
        }
        write!(f, "; generator: {:.2} us", self.generator_cpu_us)
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_us, p99_us, p999_us, max_us } = self;
        write!(f, "p50 {p50_us:.0} p99 {p99_us:.0} p99.9 {p999_us:.0} max {max_us:.0} us")
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people have fewer digits")]
fn float(count: u64) -> f64 {
    count as f64
}

fn micros(nanos: u64) -> f64 {
    float(nanos) / 1e3
}

const GENERATOR: &str = "generator";
