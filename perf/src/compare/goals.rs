//! What is compared with what: the sides, each measured once or twice a round, and the goals.

mod pairs;
mod sides;

use super::statistics::Goal;
use crate::suite::Work;

pub(crate) use pairs::pairs;
pub(crate) use sides::sides;

/// Something that is measured in every round.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) survives: &'static str,
    pub(crate) work: Work,
}

/// A figure of a side.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Figure {
    /// A percentile of one of its histograms, in microseconds.
    Part(&'static str, f64),
    /// A single figure.
    Fact(&'static str),
}

/// A line of the table of goals.
pub(crate) struct Pair {
    pub(crate) what: &'static str,
    pub(crate) side: &'static str,
    pub(crate) figure: Figure,
    /// What it is divided by; without it the goal is of the figure itself.
    pub(crate) over: Option<(&'static str, Figure)>,
    pub(crate) goal: Goal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_is_of_sides_that_are_measured() {
        let sides = sides();
        let has = |name: &str| sides.iter().any(|side| side.name == name);
        for pair in pairs() {
            assert!(
                has(pair.side) && pair.over.is_none_or(|(over, _)| has(over)),
                "{}",
                pair.what
            );
        }
        for side in &sides {
            let used = |pair: &Pair| {
                pair.side == side.name || pair.over.is_some_and(|(over, _)| over == side.name)
            };
            assert!(
                pairs().iter().any(used),
                "{} is measured for nothing",
                side.name
            );
        }
    }
}
