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
const TRIES_MAX: u32 = 3000;
/// What is left out shifts all chance that follows, so that what went wrong may not come about
/// again: each smaller history is tried with so many seeds of the machine's chance.
const CHANCES: u64 = 4;

/// Shrinks the history of a seed; `None` if nothing is wrong with it.
pub fn shrink(seed: u64, options: &Options) -> Option<Shrunk> {
    let mut history = History::of_seed(seed, options.rot_one_in);
    let mut violation = run_history(&history, options).err()?;
    let steps_before = history.steps.len();
    history.steps.truncate(violation.step + 1);
    // What comes out at the very end belongs to no step.
    if run_history(&history, options).is_ok() {
        history = History::of_seed(seed, options.rot_one_in);
    }
    let mut part = history.steps.len().div_ceil(2);
    let mut tries = 0;
    loop {
        let mut at = 0;
        while at < history.steps.len() && tries < TRIES_MAX {
            let upto = (at + part).min(history.steps.len());
            let without: Vec<Step> = [&history.steps[..at], &history.steps[upto..]].concat();
            let smaller = History {
                steps: without,
                ..history.clone()
            };
            let failed = (0..CHANCES).find_map(|chance| {
                tries += 1;
                let seed = history.seed + chance;
                let smaller = History {
                    seed,
                    ..smaller.clone()
                };
                let still = run_history(&smaller, options).err()?;
                (still.property == violation.property).then_some((smaller, still))
            });
            match failed {
                Some(failed) => (history, violation) = failed,
                None => at = upto,
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
