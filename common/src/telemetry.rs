//! Logging: lines on stderr, filtered as `[log] filter` says. What others may choose, such as topics and
//! client ids, cannot begin a line or steer a terminal.
//!
//! It leaves to others: what is logged, and metrics ([`mod@crate::metrics`]).

use std::{
    fmt,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::time::interval;
use tracing::{Subscriber, warn};
use tracing_subscriber::{
    EnvFilter,
    field::RecordFields,
    filter::ParseError,
    fmt::{
        FormatFields, MakeWriter,
        format::{DefaultFields, Writer},
    },
    util::SubscriberInitExt as _,
};

/// Sends this process's log to stderr. Only the first call has an effect: a process that runs
/// several services has one log.
pub fn init(filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(with_quiet(filter))?;
    let log = log_to(io::stderr, filter, io::stderr().is_terminal());
    // An error says that there is a log already.
    let _ = log.try_init();
    Ok(())
}

fn log_to<W>(writer: W, filter: EnvFilter, is_terminal: bool) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .fmt_fields(PlainFields)
        .compact()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(is_terminal)
        .finish()
}

/// Fields as usual, with everything escaped that is not seen as itself: line breaks, control characters
/// and marks that turn the direction of a text.
struct PlainFields;

impl<'w> FormatFields<'w> for PlainFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        text.chars().try_for_each(|c| match c {
            // A text in quotes has been escaped already.
            ' '..='~' => writer.write_char(c),
            _ => write!(writer, "{}", c.escape_debug()),
        })
    }
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
    use std::sync::Arc;

    use tracing::{info, info_span, subscriber::with_default};

    use super::*;

    /// Where a test's log goes.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_can_write_a_line_of_the_log_by_a_name() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = log_to(move || writer.clone(), EnvFilter::new("info"), false);
        let name = "a\nb\r\u{7f}\u{85}\u{1b}[2J\u{202e}\u{2028}\"温\\";
        with_default(log, || {
            let span = info_span!("client", id = name, at = %name, later = tracing::field::Empty);
            span.record("later", name);
            span.in_scope(|| info!(topic = %name, user = ?name, "denied"));
        });
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(['\u{202e}', '\u{2028}']), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
        let raw = r#"a\nb\r\u{7f}\u{85}\u{1b}[2J\u{202e}\u{2028}"温\"#;
        let quoted = r#""a\nb\r\u{7f}\u{85}\u{1b}[2J\u{202e}\u{2028}\"温\\""#;
        for part in [
            format!("denied topic={raw} user={quoted}"),
            format!("id={quoted} at={raw} later={quoted}"),
        ] {
            assert!(line.contains(&part), "{part} in {line}");
        }
    }

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
