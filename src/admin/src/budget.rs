//! What is left of an hour's error budget.
//!
//! Of the acknowledgements of the last hour one in a thousand may be late. Kept are the sums as they were
//! at the begin of each of the last minutes, [`MINUTES`] at most.

use std::collections::VecDeque;
use std::time::Duration;

use tailwater_shards::Acknowledged;

/// What the budget is of.
const MINUTES: usize = 60;

const MINUTE: Duration = Duration::from_secs(60);

/// Of so many one may be late.
const ONE_IN: f64 = 1000.0;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// When each was taken, from the begin, and the sums then.
    begun: VecDeque<(Duration, Acknowledged)>,
}

impl Budget {
    /// What is left, of 1, when the sums are `now` at `at`; below 0 when more was spent.
    pub(crate) fn remaining(&mut self, at: Duration, now: Acknowledged) -> f64 {
        let last = self.begun.back().map(|(then, _)| *then);
        if last.is_none_or(|then| at >= then + MINUTE) {
            self.begun.push_back((at, now));
        }
        while self.begun.len() > MINUTES {
            self.begun.pop_front();
        }
        let then = self.begun.front().map_or(now, |(_, sums)| *sums);
        let (all, late) = (now.all - then.all, now.late - then.late);
        match all {
            0 => 1.0,
            all => 1.0 - late as f64 * ONE_IN / all as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(all: u64, late: u64) -> Acknowledged {
        Acknowledged { all, late }
    }

    #[test]
    fn late_acknowledgements_spend_it_and_an_hour_later_it_is_whole_again() {
        let mut budget = Budget::default();
        let minute = |count: u32| MINUTE * count;
        assert_eq!(budget.remaining(minute(0), sums(0, 0)), 1.0, "nobody asked");
        assert_eq!(budget.remaining(minute(1), sums(10_000, 0)), 1.0);
        assert_eq!(budget.remaining(minute(2), sums(20_000, 5)), 0.75);
        assert_eq!(budget.remaining(minute(3), sums(20_000, 40)), -1.0);
        for past in 4..62 {
            let all = 20_000 + u64::from(past) * 1000;
            assert!(
                budget.remaining(minute(past), sums(all, 40)) < 1.0,
                "{past}"
            );
        }
        assert_eq!(budget.remaining(minute(63), sums(90_000, 40)), 1.0);
        assert_eq!(budget.begun.len(), MINUTES);
    }
}
