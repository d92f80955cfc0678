//! The table: medians with their spread, and ratios to mosquitto within each round.

use std::fmt::Write as _;

use causeway_load::outcome::{Figures, Outcome, Percentiles};

use crate::{broker::Broker, scene::Scene};

/// One run of a scene on a broker.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// From 0.
    pub(crate) round: u32,
    pub(crate) scene: &'a Scene,
    pub(crate) broker: Broker,
    /// Or why there is none.
    pub(crate) outcome: Result<Outcome, String>,
}

/// All scenes and brokers, as Markdown.
pub(crate) fn table(scenes: &[&Scene], brokers: &[Broker], runs: &[Run<'_>]) -> String {
    let mut text = HEAD.to_owned();
    for scene in scenes {
        for broker in brokers.iter().filter(|broker| broker.plays(scene)) {
            row(&mut text, scene, *broker, runs);
        }
    }
    text.push_str(NOTES);
    text
}

const HEAD: &str = "
| scenario | broker | CPU to mosquitto's | CPU µs | rate to mosquitto's | a second | \
p50 / p99 / p99.9 µs | lost | failed |
|---|---|---|---|---|---|---|---|---|
";

const NOTES: &str = "
Medians (smallest to largest). CPU: processor time of the broker's processes for one delivery or \
login, and its ratio to mosquitto's in the same round; idle: bytes of resident memory a connection. \
Only ratios mean anything on another machine or at another hour.
";

fn row(text: &mut String, scene: &Scene, broker: Broker, runs: &[Run<'_>]) {
    let of = |broker| runs.iter().filter(move |run| run.scene == scene && run.broker == broker);
    let outcomes: Vec<_> = of(broker).filter_map(|run| run.outcome.as_ref().ok()).collect();
    let failed = of(broker).count() - outcomes.len();
    let ratios = |value: fn(&Outcome) -> f64| {
        of(broker).filter_map(move |run| {
            let mut others = of(Broker::Mosquitto).filter(|other| other.round == run.round);
            let other = value(others.find_map(|other| other.outcome.as_ref().ok())?);
            let own = value(run.outcome.as_ref().ok()?);
            (other > 0.0).then(|| own / other)
        })
    };
    let over = |value: fn(&Outcome) -> f64| outcomes.iter().map(move |outcome| value(outcome));
    let percentile = |value: fn(&Percentiles) -> f64| {
        let values = outcomes.iter().filter_map(|outcome| percentiles(outcome)).map(value);
        Spread::of(values).map_or("-".to_owned(), |spread| format!("{:.0}", spread.median))
    };
    let lost: u64 = outcomes.iter().map(|outcome| lost(outcome)).sum();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "| {} | {} | {} | {} | {} | {} | {} / {} / {} | {lost} | {failed} |",
        scene.name,
        broker.name(),
        spread(ratios(cost), 3),
        spread(over(cost), 2),
        spread(ratios(|outcome| outcome.per_second), 2),
        spread(over(|outcome| outcome.per_second), 0),
        percentile(|all| all.p50_us),
        percentile(|all| all.p99_us),
        percentile(|all| all.p999_us),
    );
}

/// What a scene costs: processor time, or memory.
fn cost(outcome: &Outcome) -> f64 {
    match outcome.figures {
        Figures::Messages(_) | Figures::Connect { .. } => outcome.cpu_us(),
        Figures::Idle { bytes_per_connection, .. } => {
            u32::try_from(bytes_per_connection).map_or(f64::INFINITY, f64::from)
        }
    }
}

fn percentiles(outcome: &Outcome) -> Option<&Percentiles> {
    match &outcome.figures {
        Figures::Messages(messages) => Some(&messages.latency),
        Figures::Connect { latency, .. } => Some(latency),
        Figures::Idle { .. } => None,
    }
}

fn lost(outcome: &Outcome) -> u64 {
    match &outcome.figures {
        Figures::Messages(messages) => messages.lost,
        Figures::Connect { .. } | Figures::Idle { .. } => 0,
    }
}

fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let Some(Spread { median, least, most }) = Spread::of(values) else {
        return "-".to_owned();
    };
    format!("{median:.digits$} ({least:.digits$}-{most:.digits$})")
}

/// Where values lie.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        let median = f64::midpoint(lower, upper);
        Some(Self { median, least: *values.first()?, most: *values.last()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_stands_in_the_middle() {
        let of = |values: &[f64]| Spread::of(values.iter().copied()).map(|spread| spread.median);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(spread([1.0, 3.0].into_iter(), 1), "2.0 (1.0-3.0)");
    }
}
