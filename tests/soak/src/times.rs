//! Many durations, and what is said of them.

use std::time::Duration;

/// Durations of one kind.
#[derive(Debug, Default, Clone)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that this part of them does not exceed, in milliseconds.
    fn ms(sorted: &[Duration], part: f64) -> f64 {
        let at = (sorted.len() as f64 * part) as usize;
        let at = at.min(sorted.len().saturating_sub(1));
        sorted
            .get(at)
            .map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }

    /// p50, p99, p99.9 and the longest, in milliseconds.
    pub(crate) fn spread(&self) -> [f64; 4] {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        [0.5, 0.99, 0.999, 1.0].map(|part| Self::ms(&sorted, part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_a_thousand() {
        let mut times = Times::default();
        for ms in (1..=1000).rev() {
            times.push(Duration::from_millis(ms));
        }
        assert_eq!(
            times.spread().map(f64::round),
            [501.0, 991.0, 1000.0, 1000.0]
        );
    }
}
