//! Many durations: an HdrHistogram of nanoseconds.
//!
//! Histograms are merged; percentiles are only ever read from a merged one, never averaged.

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// What every row tells, as parts of one.
pub(crate) const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

/// The longest time that is told from a longer one: an hour.
const HIGHEST_NS: u64 = 3_600_000_000_000;
/// A value is known to one part in a thousand.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Durations of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, HIGHEST_NS, SIGNIFICANT_DIGITS);
        Self(histogram.expect("the bounds are in order"))
    }
}

impl Times {
    /// One more. What is longer than an hour counts as an hour.
    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// So many more, all of them that long.
    pub(crate) fn record_many(&mut self, ns: u64, count: u64) {
        self.0.saturating_record_n(ns, count);
    }

    /// All of the other's, too.
    pub(crate) fn merge(&mut self, other: &Times) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// The time that `part` of them do not exceed, in nanoseconds; 0 if there are none.
    pub(crate) fn ns(&self, part: f64) -> u64 {
        if self.len() == 0 {
            return 0;
        }
        self.0.value_at_quantile(part)
    }

    /// The same in microseconds.
    pub(crate) fn us(&self, part: f64) -> f64 {
        self.ns(part) as f64 / 1e3
    }

    /// The longest, in microseconds.
    pub(crate) fn max_us(&self) -> f64 {
        self.0.max() as f64 / 1e3
    }

    /// How many took at least so long (to a part in a thousand).
    #[cfg(test)]
    pub(crate) fn count_from(&self, ns: u64) -> u64 {
        self.0.count_between(ns, HIGHEST_NS)
    }

    /// In HdrHistogram's format V2, compressed, in base64: what its own tools read.
    pub(crate) fn encode(&self) -> anyhow::Result<String> {
        let mut bytes = Vec::new();
        let serialized = V2DeflateSerializer::new().serialize(&self.0, &mut bytes);
        serialized.map_err(|error| anyhow::anyhow!("a histogram: {error:?}"))?;
        Ok(STANDARD.encode(bytes))
    }

    /// What [`Times::encode`] made.
    pub(crate) fn decode(text: &str) -> anyhow::Result<Self> {
        let bytes = STANDARD.decode(text).context("not base64")?;
        let mut found = Self::default();
        match Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice()) {
            Ok(read) => found.0.add(&read).context("not one of ours")?,
            Err(error) => bail!("not a histogram: {error:?}"),
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(seed: u64, count: u64) -> Vec<u64> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 33
        };
        (0..count)
            .map(|_| 1000 + next() % (1 << (next() % 30)))
            .collect()
    }

    fn times(values: &[u64]) -> Times {
        let mut times = Times::default();
        values.iter().for_each(|ns| times.record(*ns));
        times
    }

    #[test]
    fn percentiles_of_merged_histograms_are_those_of_the_union() {
        let (few_slow, many_fast) = (some(1, 200), some(2, 20_000));
        let mut merged = times(&few_slow);
        merged.merge(&times(&many_fast));
        let mut union = [few_slow, many_fast].concat();
        assert_eq!(merged, times(&union));
        union.sort_unstable();
        for (name, part) in QUANTILES {
            let at = ((union.len() as f64 * part).ceil() as usize).max(1) - 1;
            let (exact, told) = (union[at] as f64, merged.ns(part) as f64);
            assert!(
                (told / exact - 1.0).abs() < 0.002,
                "{name}: {told} for {exact}"
            );
        }
    }

    #[test]
    fn a_histogram_is_read_back_as_it_was_written() {
        let written = times(&some(3, 5000));
        let read = Times::decode(&written.encode().unwrap()).unwrap();
        assert_eq!(read, written);
        assert_eq!(
            Times::decode(&Times::default().encode().unwrap())
                .unwrap()
                .len(),
            0
        );
        assert!(Times::decode("bm90IGEgaGlzdG9ncmFt").is_err());
        assert!(Times::decode("!").is_err());
    }
}
