//! Many durations, and what is said of them.

use std::time::Duration;

/// Durations of one kind, in nanoseconds.
#[derive(Clone, Default)]
pub struct Times(Vec<u64>);

impl Times {
    pub fn push(&mut self, took: Duration) {
        self.0
            .push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn extend(&mut self, other: Times) {
        self.0.extend(other.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that `part` of them do not exceed, in microseconds.
    pub fn us(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() as f64 * part) as usize;
        sorted
            .get(at.min(sorted.len().saturating_sub(1)))
            .map_or(f64::NAN, |ns| *ns as f64 / 1e3)
    }

    pub fn ms(&self, part: f64) -> f64 {
        self.us(part) / 1e3
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A table in Markdown, so that it can be put into a document as it is.
pub struct Table {
    columns: usize,
}

impl Table {
    pub fn new(columns: &[&str]) -> Self {
        println!("\n| {} |", columns.join(" | "));
        println!("|{}", "---|".repeat(columns.len()));
        Self {
            columns: columns.len(),
        }
    }

    pub fn row(&self, cells: &[String]) {
        assert_eq!(cells.len(), self.columns, "a cell for each column");
        println!("| {} |", cells.join(" | "));
    }
}

/// `50.1 / 99.9 / 150`, rounded as far as it means something.
pub fn percentiles(times: &Times) -> String {
    let cell = |part| number(times.us(part));
    format!("{} / {} / {}", cell(0.5), cell(0.99), cell(0.999))
}

/// Three significant digits or whole.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000.0 => thousands(value),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
