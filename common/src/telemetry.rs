//! Logging: lines on stderr, filtered as `[log] filter` says.
//!
//! It leaves to others: what is logged, and metrics ([`mod@crate::metrics`]).

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::time::interval;
use tracing::warn;
use tracing_subscriber::{EnvFilter, filter::ParseError};

/// Sends this process's log to stderr. Only the first call has an effect: a process that runs
/// several services has one log.
pub fn init(filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(with_quiet(filter))?;
    let subscriber = tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // An error says that there is a log already.
    let _ = subscriber.try_init();
    Ok(())
}

/// The filter, and less of what any client can have said: the library warns of each that dials an IP
/// address. Whoever names the library himself has what he says.
fn with_quiet(filter: &str) -> String {
    if filter.contains("rustls") { filter.to_owned() } else { format!("{filter},rustls=error") }
}

/// Whether [`init`] would take this filter; for the check of a configuration.
pub fn valid_filter(filter: &str) -> bool {
    EnvFilter::try_new(filter).is_ok()
}

/// Says what is being counted, such as messages dropped, as long as it is polled: one line for each
/// reason and interval, however many they are.
pub async fn log_counts(
    what: &'static str,
    counters: impl Iterator<Item = (&'static str, &IntCounter)>,
) {
    let mut drops: Vec<_> = counters.map(|(reason, counter)| (reason, counter, 0)).collect();
    let mut ticks = interval(DROPS_INTERVAL);
    loop {
        ticks.tick().await;
        for (reason, counter, known) in &mut drops {
            let total = counter.get();
            if total > *known {
                warn!(reason, count = total - *known, "{what}");
                *known = total;
            }
        }
    }
}

/// Holds back what is said often: it is due once in 5 s.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether it is to be said now.
    pub fn is_due(&self) -> bool {
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|last| last.elapsed() >= DROPS_INTERVAL);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

const DROPS_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_often_is_held_back() {
        let seldom = Seldom::default();
        assert!(seldom.is_due() && !seldom.is_due());
    }

    #[test]
    fn every_filter_can_be_made_quieter() {
        for (filter, expected) in [
            ("info", "info,rustls=error"),
            ("warn,causeway_broker=debug", "warn,causeway_broker=debug,rustls=error"),
            ("info,rustls=trace", "info,rustls=trace"),
        ] {
            assert_eq!(with_quiet(filter), expected);
            assert!(valid_filter(expected));
        }
    }

    #[test]
    fn a_filter_is_a_level_or_directives() {
        for (filter, valid) in [
            ("info", true),
            ("warn,causeway_broker::link=debug", true),
            ("causeway_broker=loud", false),
            ("a=b=c", false),
        ] {
            assert_eq!(valid_filter(filter), valid, "{filter}");
        }
    }
}
