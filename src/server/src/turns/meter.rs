//! What has been worked in a turn, where the clock alone does not tell it.
//!
//! A thread that is preempted does not work while time passes, for milliseconds at a time. The
//! kernel counts what it worked, but to ask costs ten times what the clock does: so that is asked
//! once a window, and by turns that seem long.

use super::state::nanos;
use super::usage::Nanos;
use crate::limits::TURN_METERED_MIN;

/// What a shard's thread has worked in a window of turns.
#[derive(Clone, Copy, Default)]
pub(super) struct Meter {
    /// When the window was opened.
    window: Option<Nanos>,
    /// What the thread had worked when the first turn of it began.
    before: Nanos,
    /// What the turns of it have cost together.
    turns: Nanos,
}

impl Meter {
    /// A turn begins in the window that was opened then. `worked` says what the thread has worked.
    pub(super) fn begin(&mut self, window: Nanos, worked: impl FnOnce() -> Nanos) {
        if self.window != Some(window) {
            *self = Self {
                window: Some(window),
                before: worked(),
                turns: 0,
            };
        }
    }

    /// What has been worked in a turn that began `passed` ago: not more than the thread has in all
    /// of the window, less what its other turns cost. What other tasks did in between counts too.
    pub(super) fn worked(&self, passed: Nanos, worked: impl FnOnce() -> Nanos) -> Nanos {
        if passed <= nanos(TURN_METERED_MIN) {
            return passed;
        }
        let in_window = worked().saturating_sub(self.before);
        passed.min(in_window.saturating_sub(self.turns))
    }

    /// A turn has cost so much.
    pub(super) fn end(&mut self, cost: Nanos) {
        self.turns = self.turns.saturating_add(cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Nanos = 1000;

    #[test]
    fn the_kernel_is_asked_once_a_window_and_by_turns_that_seem_long() {
        let mut meter = Meter::default();
        meter.begin(7, || 1000 * US);
        assert_eq!(meter.worked(90 * US, || panic!("it is short")), 90 * US);
        meter.end(90 * US);
        meter.begin(7, || panic!("it was asked in this window"));
        // Preempted for 4 ms of which it worked 30 us.
        assert_eq!(meter.worked(4030 * US, || 1120 * US), 30 * US);
        // Not preempted.
        assert_eq!(meter.worked(300 * US, || 1390 * US), 300 * US);
        meter.end(300 * US);
        meter.begin(8, || 5000 * US);
        assert_eq!(meter.worked(200 * US, || 5150 * US), 150 * US);
        // Short turns before it were preempted, unseen: it is not charged for less than nothing.
        meter.end(500 * US);
        assert_eq!(meter.worked(200 * US, || 5150 * US), 0);
    }
}
