//! Metrics as struct fields: [`metrics!`] makes a struct whose fields are counted on directly, and
//! whose doc comments are the help texts.
//!
//! Labelled metrics are resolved once, when the struct is made, and so are exposed as 0 before
//! their first use: [`labels!`] makes a struct with one counter for each value of a label, and
//! [`PerQoS`] is the same for the levels of service. It leaves to others: which metrics there are.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

use crate::qos::QoS;

/// What a field of a [`metrics!`] struct can be.
pub trait Metric: Sized {
    /// Makes and registers it. `labels` is empty or holds the one label.
    fn register(registry: &Registry, opts: Opts, labels: &[&str]) -> Result<Self>;
}

/// Implements [`Metric`] for the library's own kinds.
macro_rules! kinds {
    ($($kind:ty: |$opts:ident, $labels:ident| $make:expr;)+) => {$(
        impl Metric for $kind {
            fn register(registry: &Registry, $opts: Opts, $labels: &[&str]) -> Result<Self> {
                let metric = $make?;
                registry.register(Box::new(metric.clone()))?;
                Ok(metric)
            }
        }
    )+};
}

kinds! {
    IntCounter: |opts, _labels| IntCounter::with_opts(opts);
    IntGauge: |opts, _labels| IntGauge::with_opts(opts);
    IntCounterVec: |opts, labels| IntCounterVec::new(opts, labels);
    IntGaugeVec: |opts, labels| IntGaugeVec::new(opts, labels);
    Histogram: |opts, _labels| Histogram::with_opts(seconds(opts));
    HistogramVec: |opts, labels| HistogramVec::new(seconds(opts), labels);
}

/// Buckets from 100 µs, a message's way between two processes of one machine, to 10 s, which is
/// longer than any time limit.
fn seconds(opts: Opts) -> HistogramOpts {
    let buckets = [0.0001, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1];
    let long = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    HistogramOpts::from(opts).buckets([&buckets[..], &long].concat())
}

/// One counter for each level of service, labelled `0`, `1`, `2`.
#[derive(Clone, Debug)]
pub struct PerQoS {
    zero: IntCounter,
    one: IntCounter,
    two: IntCounter,
}

impl PerQoS {
    /// The counter of one level.
    pub fn at(&self, qos: QoS) -> &IntCounter {
        match qos {
            QoS::AtMostOnce => &self.zero,
            QoS::AtLeastOnce => &self.one,
            QoS::ExactlyOnce => &self.two,
        }
    }
}

impl Metric for PerQoS {
    fn register(registry: &Registry, opts: Opts, labels: &[&str]) -> Result<Self> {
        let counters = IntCounterVec::register(registry, opts, labels)?;
        Ok(Self {
            zero: counters.with_label_values(&["0"]),
            one: counters.with_label_values(&["1"]),
            two: counters.with_label_values(&["2"]),
        })
    }
}

/// Makes a struct with one counter for each value of a label.
#[macro_export]
macro_rules! labels {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident {
        $($(#[$value_attribute:meta])* $value:ident),+ $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug)]
        $visibility struct $name {
            $($(#[$value_attribute])* pub $value: $crate::metrics::prometheus::IntCounter,)+
        }

        impl $crate::metrics::Metric for $name {
            fn register(
                registry: &$crate::metrics::prometheus::Registry,
                opts: $crate::metrics::prometheus::Opts,
                labels: &[&str],
            ) -> $crate::metrics::prometheus::Result<Self> {
                use $crate::metrics::prometheus::IntCounterVec;
                let counters = IntCounterVec::register(registry, opts, labels)?;
                Ok(Self { $($value: counters.with_label_values(&[$crate::metrics::word(stringify!($value))]),)+ })
            }
        }

        impl $name {
            /// Every value of the label with its counter.
            $visibility fn iter(
                &self,
            ) -> impl Iterator<Item = (&'static str, &$crate::metrics::prometheus::IntCounter)> {
                [$(($crate::metrics::word(stringify!($value)), &self.$value)),+].into_iter()
            }
        }
    };
}

/// A word as it is shown: without the mark of one that is a keyword too.
pub fn word(written: &'static str) -> &'static str {
    written.trim_start_matches("r#")
}

/// Makes a struct of metrics, and `fn register(&Registry) -> prometheus::Result<Self>` for it. A
/// field is `name: Kind = "exposed_name"`, followed by `by "label"` where it has one; its doc
/// comment is its help text.
#[macro_export]
macro_rules! metrics {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident {
        $($(#[doc = $help:literal])+ $field:ident: $kind:ty = $exposed:literal $(by $label:literal)?),+
        $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug)]
        $visibility struct $name {
            $($(#[doc = $help])+ pub $field: $kind,)+
        }

        impl $name {
            fn register(
                registry: &$crate::metrics::prometheus::Registry,
            ) -> $crate::metrics::prometheus::Result<Self> {
                use $crate::metrics::{Metric, prometheus::Opts};
                Ok(Self {$(
                    $field: <$kind as Metric>::register(
                        registry,
                        Opts::new($exposed, concat!($($help),+).trim()),
                        &[$($label)?],
                    )?,
                )+})
            }
        }
    };
}

pub use prometheus;
pub use {labels, metrics};

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    metrics! {
        /// A mill.
        struct Mill {
            /// Sacks of flour,
            /// full ones.
            sacks: IntCounter = "sacks_total",
            /// Stones by what became of them.
            stones: Stones = "stones_total" by "fate",
            /// Turns.
            turns: PerQoS = "turns_total" by "qos",
        }
    }

    labels! {
        struct Stones { worn, broken }
    }

    #[test]
    fn everything_is_exposed_before_its_first_use_with_its_doc_comment_as_help() {
        let registry = Registry::new();
        let mill = Mill::register(&registry).unwrap();
        mill.sacks.inc();
        mill.stones.broken.inc_by(2);
        mill.turns.at(QoS::ExactlyOnce).inc();
        let stones = mill.stones.iter().map(|(fate, count)| (fate, count.get()));
        assert!(stones.eq([("worn", 0), ("broken", 2)]));
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert_eq!(
            text,
            "# HELP sacks_total Sacks of flour, full ones.\n\
             # TYPE sacks_total counter\n\
             sacks_total 1\n\
             # HELP stones_total Stones by what became of them.\n\
             # TYPE stones_total counter\n\
             stones_total{fate=\"broken\"} 2\n\
             stones_total{fate=\"worn\"} 0\n\
             # HELP turns_total Turns.\n\
             # TYPE turns_total counter\n\
             turns_total{qos=\"0\"} 0\n\
             turns_total{qos=\"1\"} 0\n\
             turns_total{qos=\"2\"} 1\n"
        );
    }

    #[test]
    fn a_name_that_is_taken_is_an_error() {
        let registry = Registry::new();
        let _first = Mill::register(&registry).unwrap();
        assert!(Mill::register(&registry).is_err());
    }
}
