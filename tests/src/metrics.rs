//! What a service says of itself over HTTP: its metrics and its readiness.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// One scrape, in the order it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics(Vec<Series>);

#[derive(Clone, Debug, PartialEq)]
struct Series {
    name: String,
    labels: String,
    value: f64,
}

impl Metrics {
    /// Reads an exposition in Prometheus' text format.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(Series::parse).collect())
    }

    /// Whether a metric, over all its labels, is exactly this number.
    pub fn counts(&self, name: &str, count: u32) -> bool {
        (self.sum(name) - f64::from(count)).abs() < 0.5
    }

    /// The sum of all series of a name. Panics if there is none: a misspelt name is not zero.
    pub fn sum(&self, name: &str) -> f64 {
        self.sum_where(name, "")
    }

    /// The sum of those whose labels contain a text such as `reason="mailbox_full"`.
    pub fn sum_where(&self, name: &str, label: &str) -> f64 {
        let wanted = |series: &&Series| series.name == name && series.labels.contains(label);
        let mut values = self.0.iter().filter(wanted).map(|series| series.value);
        let first = values.next();
        let first = first.unwrap_or_else(|| panic!("no series {name} with {label:?}"));
        first + values.sum::<f64>()
    }
}

impl Series {
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        Some(Self {
            name: name.to_owned(),
            labels: labels.trim_end_matches('}').to_owned(),
            value: value.parse().ok()?,
        })
    }
}

/// GET on the loopback: the status and the body. Nothing while nobody answers.
pub async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_label() {
        let text = "# HELP a_total Things.\n# TYPE a_total counter\n\
                    a_total{reason=\"x\",qos=\"1\"} 3\na_total{reason=\"y\"} 4\nb 2.5\n";
        let metrics = Metrics::parse(text);
        assert!((metrics.sum("a_total") - 7.0).abs() < f64::EPSILON);
        assert!((metrics.sum_where("a_total", "reason=\"x\"") - 3.0).abs() < f64::EPSILON);
        assert!((metrics.sum("b") - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_misspelt_name_is_not_zero() {
        let metrics = Metrics::parse("b 2.5\n");
        assert!(std::panic::catch_unwind(|| metrics.sum("c")).is_err());
    }
}
