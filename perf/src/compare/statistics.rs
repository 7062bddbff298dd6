//! A ratio of medians, how sure it is, and what the same thing measured twice differs by.

use crate::frames::Noise;
use crate::report::median;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 4000;
/// Both ends of the interval that holds 95 of 100 resamples.
const INTERVAL: (f64, f64) = (0.025, 0.975);

/// The ratio of two medians over rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    /// The 95% confidence interval, by bootstrap over rounds.
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// The least and the greatest ratio of a single round.
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) rounds: usize,
}

/// With fewer rounds nothing is said of a goal.
pub(crate) const ROUNDS_MIN: usize = 10;

/// `a` over `b`, one value of each a round. A round's pair stays together when rounds are resampled:
/// what disturbed both counts once. None without rounds.
pub(crate) fn ratio(a: &[f64], b: &[f64]) -> Option<Ratio> {
    assert_eq!(a.len(), b.len(), "one of each a round");
    if a.is_empty() {
        return None;
    }
    let mut noise = Noise::new(a.len() as u64);
    let mut resampled: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let rounds: Vec<usize> = (0..a.len())
                .map(|_| (noise.next() % a.len() as u64) as usize)
                .collect();
            let of =
                |side: &[f64]| median(&rounds.iter().map(|round| side[*round]).collect::<Vec<_>>());
            of(a) / of(b)
        })
        .collect();
    resampled.sort_by(f64::total_cmp);
    let at = |part: f64| resampled[((RESAMPLES - 1) as f64 * part).round() as usize];
    let single = || a.iter().zip(b).map(|(a, b)| a / b);
    Some(Ratio {
        median: median(a) / median(b),
        low: at(INTERVAL.0),
        high: at(INTERVAL.1),
        least: single().fold(f64::INFINITY, f64::min),
        most: single().fold(f64::NEG_INFINITY, f64::max),
        rounds: a.len(),
    })
}

/// What a goal asks of a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    /// In words; `undecided` when the interval holds the goal.
    pub(crate) fn verdict(self, ratio: &Ratio) -> &'static str {
        let (surely, surely_not) = match self {
            Goal::AtMost(most) => (ratio.high <= most, ratio.low > most),
            Goal::AtLeast(least) => (ratio.low >= least, ratio.high < least),
        };
        match (surely, surely_not) {
            _ if ratio.rounds < ROUNDS_MIN => "too few rounds",
            (true, _) => "met",
            (_, true) => "not met",
            _ => "undecided",
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Goal::AtMost(most) => write!(f, "at most {most}"),
            Goal::AtLeast(least) => write!(f, "at least {least}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_true_ratio_and_narrows_with_rounds() {
        let mut noise = Noise::new(9);
        let mut some = |centre: f64, count: usize| -> Vec<f64> {
            (0..count)
                .map(|_| centre * (0.9 + (noise.next() % 2000) as f64 / 10_000.0))
                .collect()
        };
        let (few_a, few_b) = (some(150.0, 6), some(100.0, 6));
        let (many_a, many_b) = (some(150.0, 60), some(100.0, 60));
        let (few, many) = (
            ratio(&few_a, &few_b).unwrap(),
            ratio(&many_a, &many_b).unwrap(),
        );
        assert!(many.low <= 1.5 && 1.5 <= many.high, "{many:?}");
        assert!(
            many.high - many.low < few.high - few.low,
            "{few:?} {many:?}"
        );
        assert!(many.least < many.low && many.high < many.most);
        assert_eq!(
            ratio(&few_a, &few_b),
            Some(few),
            "the same rounds give the same interval"
        );
    }

    #[test]
    fn the_same_twice_is_one_and_nothing_is_none() {
        let same = ratio(&[3.0, 4.0, 5.0], &[3.0, 4.0, 5.0]).unwrap();
        assert_eq!((same.median, same.low, same.high), (1.0, 1.0, 1.0));
        assert_eq!(ratio(&[], &[]), None);
    }

    #[test]
    fn a_goal_within_the_interval_is_undecided() {
        let found = Ratio {
            median: 1.2,
            low: 1.1,
            high: 1.4,
            least: 1.0,
            most: 1.6,
            rounds: ROUNDS_MIN,
        };
        assert_eq!(Goal::AtMost(1.5).verdict(&found), "met");
        assert_eq!(Goal::AtMost(1.3).verdict(&found), "undecided");
        assert_eq!(Goal::AtMost(1.0).verdict(&found), "not met");
        assert_eq!(Goal::AtLeast(2.0).verdict(&found), "not met");
        assert_eq!(Goal::AtLeast(1.0).verdict(&found), "met");
        let few = Ratio {
            rounds: ROUNDS_MIN - 1,
            ..found
        };
        assert_eq!(Goal::AtLeast(1.0).verdict(&few), "too few rounds");
    }
}
