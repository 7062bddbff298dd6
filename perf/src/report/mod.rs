//! What a run has found, for people: one HTML page that needs no network, and its charts as SVG files.

mod chart;
mod page;

use std::fs;

use crate::machine::Machine;
use crate::store::{self, Configuration, Merged, Record, Store};
use crate::times::{QUANTILES, Times};

pub(crate) use chart::{Axis, Chart, Line};
pub(crate) use page::{Page, escape};

/// The suites, in the report's order, and what they ask.
const SUITES: [(&str, &str); 17] = [
    (
        "reference",
        "What disk, loopback and client do by themselves",
    ),
    ("wait", "One client in a closed loop"),
    ("rate", "Latency against rate"),
    ("acks", "acks 0, 1 and all"),
    ("size", "Sizes of records"),
    ("partitions", "Numbers of partitions"),
    ("connections", "Numbers of connections"),
    ("batched", "Large batches"),
    ("keys", "Keys: small batches"),
    ("tail", "Readers at the tail"),
    ("consume", "One reader, nothing else"),
    ("backfill", "Old data read beside a steady producer"),
    ("backlog", "A backlog drained while producing"),
    (
        "rolls",
        "Segments roll, the log is recycled, retention deletes",
    ),
    (
        "placement",
        "On the disk's interrupt core and off it, client sleeping and spinning",
    ),
    (
        "shards",
        "Sixteen shards on one device against one (correctness and contention, not speed)",
    ),
    ("restart", "Restart after kill -9"),
];
/// Beside them.
const KAFKA: (&str, &str) = ("kafka", "Apache Kafka on the same machine, in the same run");

/// One line about one row, while a run goes on.
pub(crate) fn line(record: &Record) -> anyhow::Result<String> {
    if let Some(reason) = &record.absent {
        return Ok(format!("absent: {reason}"));
    }
    let mut words = Vec::new();
    for (name, text) in &record.histograms {
        let times = Times::decode(text)?;
        words.push(format!("{name} us {}", percentiles(&times)));
    }
    words.extend(
        record
            .facts
            .iter()
            .map(|(name, value)| format!("{name} {}", number(*value))),
    );
    Ok(words.join("; "))
}

/// `50.1 / 99.9 / 150`: p50, p99, p99.9 in microseconds.
pub(crate) fn percentiles(times: &Times) -> String {
    let cell = |part| number(times.us(part));
    format!("{} / {} / {}", cell(0.5), cell(0.99), cell(0.999))
}

/// Three significant digits or whole.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => thousands(value),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v > 0.0 => format!("{value:.2}"),
        _ => "0".to_owned(),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The middle one; of an even number the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (count, half) if count % 2 == 1 => sorted[half],
        (_, half) => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// Writes `report.html` and the charts beside the rows.
pub(crate) fn write(
    store: &Store,
    configuration: &Configuration,
    machine: &Machine,
) -> anyhow::Result<()> {
    let rows = store::merge(&store.records()?)?;
    let mut page = Page::new("What was measured");
    page.facts(&[
        ("machine", machine.line()),
        (
            "suite",
            format!(
                "{}, {} rounds of {} ms a row",
                configuration.suite, configuration.rounds, configuration.slice_ms
            ),
        ),
        (
            "against",
            format!("{} ({})", configuration.against, configuration.kind),
        ),
        (
            "cores",
            format!(
                "broker {}, client {:?}",
                configuration.broker_cpu, configuration.client_cpus
            ),
        ),
        (
            "generator",
            format!("tailwater-perf {}", env!("CARGO_PKG_VERSION")),
        ),
    ]);
    page.text(
        "Times are microseconds from when a request was meant to be sent. Rounds are merged as histograms; \
         a figure that is not a time is the median of the rounds, with their range. While a row is measured, \
         all other brokers that the run has started stand still (SIGSTOP), and what they have written is on \
         the disk; Kafka is given a longer broker.session.timeout.ms for that, and is otherwise as it comes.",
    );
    for (suite, title) in SUITES.iter().chain([&KAFKA]) {
        let of: Vec<&Merged> = rows.iter().filter(|row| row.suite == *suite).collect();
        if of.is_empty() {
            continue;
        }
        page.heading(title);
        if let Some(chart) = chart_of(suite, title, &of) {
            let svg = chart.svg();
            fs::write(store.dir().join(format!("{suite}.svg")), &svg)?;
            page.chart(&svg);
        }
        page.table(&HEAD, &of.iter().map(|row| cells(row)).collect::<Vec<_>>());
    }
    let path = store.dir().join("report.html");
    fs::write(&path, page.end())?;
    println!("{}", path.display());
    Ok(())
}

/// The columns of [`cells`].
pub(crate) const HEAD: [&str; 11] = [
    "",
    "an acknowledgement survives",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "p99.99",
    "max",
    "requests",
    "send delay p50 / p99 / p99.9; produce to consume",
    "figures",
];

/// A row of the table.
pub(crate) fn cells(row: &Merged) -> Vec<String> {
    let mut cells = vec![row.title.clone(), row.survives.clone()];
    match row.histograms.get("latency") {
        Some(times) => {
            cells.extend(QUANTILES.map(|(_, part)| number(times.us(part))));
            cells.extend([number(times.max_us()), times.len().to_string()]);
        }
        None => cells.extend(std::iter::repeat_n(String::new(), 7)),
    }
    let others = row.histograms.iter().filter(|(name, _)| *name != "latency");
    cells.push(
        others
            .map(|(name, times)| format!("{name} {}", percentiles(times)))
            .collect::<Vec<_>>()
            .join("; "),
    );
    let mut figures: Vec<String> = row
        .facts
        .iter()
        .map(|(name, values)| format!("{name} {}", range(values)))
        .collect();
    if let Some(reason) = &row.absent {
        let which = if row.rounds == 0 {
            "absent"
        } else {
            "absent in some rounds"
        };
        figures.push(format!("{which}: {reason}"));
    }
    cells.push(figures.join("; "));
    cells
}

/// The median and, where there is one, the range.
fn range(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match number(least) == number(most) {
        true => number(least),
        false => format!(
            "{} ({} to {})",
            number(median(values)),
            number(least),
            number(most)
        ),
    }
}

/// Latency against rate where there are rates, else the percentiles of each row.
fn chart_of(suite: &str, title: &str, rows: &[&Merged]) -> Option<Chart> {
    if suite == "rate" {
        return rates(title, rows);
    }
    let lines: Vec<Line> = rows
        .iter()
        .filter_map(|row| {
            let times = row
                .histograms
                .get("latency")
                .or_else(|| row.histograms.get("produce to consume"))?;
            let points = QUANTILES
                .iter()
                .enumerate()
                .map(|(at, (_, part))| (at as f64, times.us(*part)));
            let last = (QUANTILES.len() as f64, times.max_us());
            Some(Line {
                name: row.title.clone(),
                points: points.chain([last]).collect(),
            })
        })
        .collect();
    let names = QUANTILES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(["max".to_owned()]);
    let x = Axis::Names(names.collect());
    (!lines.is_empty()).then(|| Chart {
        title: title.to_owned(),
        unit: "us",
        x_title: String::new(),
        x,
        lines,
    })
}

fn rates(title: &str, rows: &[&Merged]) -> Option<Chart> {
    let line = |(name, part): (&str, f64)| {
        let points = rows.iter().filter_map(|row| {
            let rate: f64 = row.id.rsplit('-').next()?.parse().ok()?;
            Some((rate, row.histograms.get("latency")?.us(part)))
        });
        Line {
            name: name.to_owned(),
            points: points.collect(),
        }
    };
    let lines: Vec<Line> = QUANTILES
        .into_iter()
        .map(line)
        .filter(|line| !line.points.is_empty())
        .collect();
    let x_title = "records a second".to_owned();
    (!lines.is_empty()).then(|| Chart {
        title: title.to_owned(),
        unit: "us",
        x_title,
        x: Axis::Logarithmic,
        lines,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::suite::{self, Extent, Kind};

    #[test]
    fn every_suite_has_its_place_in_the_report() {
        for row in suite::rows(Extent::Full, Kind::Tailwater, true) {
            assert!(
                SUITES
                    .iter()
                    .chain([&KAFKA])
                    .any(|(suite, _)| *suite == row.suite),
                "{}",
                row.suite
            );
        }
    }

    #[test]
    fn the_page_needs_no_network_and_names_what_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::describe(dir.path()).unwrap();
        let configuration = Configuration {
            suite: "quick".into(),
            against: "<here>".into(),
            build: String::new(),
            generator: String::new(),
            kind: "other".into(),
            broker_cpu: 0,
            client_cpus: vec![1],
            rounds: 1,
            slice_ms: 1,
        };
        let (store, _) = Store::open(dir.path(), &configuration, &machine).unwrap();
        let mut times = Times::default();
        (1..=1000).for_each(|ns| times.record(ns * 1000));
        let record = |id: &str, suite: &str, absent: Option<&str>| Record {
            id: id.into(),
            suite: suite.into(),
            title: id.into(),
            survives: "power loss".into(),
            round: 0,
            work: String::new(),
            absent: absent.map(str::to_owned),
            facts: BTreeMap::from([("records/s".to_owned(), 1234.5)]),
            histograms: match absent {
                None => BTreeMap::from([("latency".to_owned(), times.encode().unwrap())]),
                Some(_) => BTreeMap::new(),
            },
            load_before: String::new(),
        };
        store.put(&record("rate-001000", "rate", None)).unwrap();
        store
            .put(&record(
                "reference-redis",
                "reference",
                Some("no redis-server"),
            ))
            .unwrap();
        write(&store, &configuration, &machine).unwrap();
        let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
        assert!(page.contains("no redis-server") && page.contains("power loss"));
        assert!(page.contains("&lt;here&gt;") && page.contains("<svg"));
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside} would reach out");
        }
        assert!(dir.path().join("rate.svg").exists());
        assert!(
            page.contains("990") || page.contains("991"),
            "p99 of 1 to 1000 us"
        );
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        assert_eq!(
            [0.0, 1.234, 56.78, 999.4, 1_234_567.0].map(number),
            ["0", "1.23", "56.8", "999", "1,234,567"]
        );
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
    }
}
