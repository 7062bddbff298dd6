//! Makes a failing history small: leaves out as many steps as it can while the same property
//! still does not hold.

use crate::history::{History, Step};
use crate::{Options, Violation, run_history};

/// A failing history from which no step can be left out.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The history.
    pub history: History,
    /// How it fails.
    pub violation: Violation,
    /// How many steps it had.
    pub steps_before: usize,
}

/// How many histories are tried at most.
const TRIES_MAX: u32 = 600;

/// Shrinks the history of a seed; `None` if nothing is wrong with it.
pub fn shrink(seed: u64, options: &Options) -> Option<Shrunk> {
    let mut history = History::of_seed(seed);
    let mut violation = run_history(&history, options).err()?;
    let steps_before = history.steps.len();
    history.steps.truncate(violation.step + 1);
    let mut part = history.steps.len().div_ceil(2);
    let mut tries = 0;
    loop {
        let mut at = 0;
        while at < history.steps.len() && tries < TRIES_MAX {
            tries += 1;
            let upto = (at + part).min(history.steps.len());
            let without: Vec<Step> = [&history.steps[..at], &history.steps[upto..]].concat();
            let smaller = History {
                steps: without,
                ..history.clone()
            };
            match run_history(&smaller, options) {
                Err(still) if still.property == violation.property => {
                    history = smaller;
                    violation = still;
                }
                _ => at = upto,
            }
        }
        if part == 1 || tries >= TRIES_MAX {
            break;
        }
        part = part.div_ceil(2);
    }
    Some(Shrunk {
        history,
        violation,
        steps_before,
    })
}
