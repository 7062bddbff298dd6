//! How a class of operations is slowed down: after each it rests, for as long as its share says.
//!
//! With a share of a quarter a class is at work for a quarter of the time: an operation that took a
//! millisecond is followed by a rest of three, in which none of the class begins. Of several at once
//! each brings its part of the rest. So the share holds for who reads one block after the other as for
//! who asks for many together, which a bound on those in flight would not.

use std::cell::Cell;
use std::time::Duration;

use super::FULL_SHARE;
use crate::time::{Instant, now, sleep};

/// No operation brings more of a rest.
const REST_MAX: Duration = Duration::from_millis(100);

/// However many bring one, it ends this soon.
const RESTS_MAX: Duration = Duration::from_millis(250);

/// So often whoever rests looks whether it still has to: its share may have been raised.
const LOOK: Duration = Duration::from_millis(10);

/// One class's.
#[derive(Default)]
pub(super) struct Pace {
    /// Operations of the class that the engine has.
    running: Cell<u32>,
    rest_until: Cell<Option<Instant>>,
}

/// An operation that is followed by a rest.
pub(crate) struct Paced<'a> {
    pace: &'a Pace,
    share: u32,
    began: Instant,
    beside: u32,
}

impl Pace {
    /// Waits until the class has rested, and begins an operation at that share; not at all with all of
    /// it. `share` is asked again and again.
    pub(super) async fn begin(&self, share: impl Fn() -> u32) -> Option<Paced<'_>> {
        loop {
            let has = share();
            if has >= FULL_SHARE {
                return None;
            }
            let left = self.rest_until.get().map(|until| until - now());
            match left.filter(|left| !left.is_zero()) {
                Some(left) => sleep(left.min(LOOK)).await,
                None => {
                    self.running.set(self.running.get() + 1);
                    return Some(Paced {
                        pace: self,
                        share: has,
                        began: now(),
                        beside: self.running.get(),
                    });
                }
            }
        }
    }
}

impl Drop for Paced<'_> {
    fn drop(&mut self) {
        let pace = self.pace;
        // It may have begun with few and ended with many beside it, or the other way round.
        let beside = self.beside.max(pace.running.get());
        pace.running.set(pace.running.get() - 1);
        if !crate::in_shard() {
            // The shard has ended, and what it had begun is dropped.
            return;
        }
        let ended = now();
        let rest = rest_after(ended - self.began, self.share, beside);
        let from = pace
            .rest_until
            .get()
            .map_or(ended, |until| until.max(ended));
        pace.rest_until
            .set(Some((from + rest).min(ended + RESTS_MAX)));
    }
}

/// For how long nothing of a class begins after an operation that took so long.
fn rest_after(took: Duration, share: u32, beside: u32) -> Duration {
    let share = share.clamp(1, FULL_SHARE);
    let rest = took * (FULL_SHARE - share) / share / beside.max(1);
    rest.min(REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_part_of_the_time_that_a_class_is_at_work() {
        let ms = Duration::from_millis;
        assert_eq!(rest_after(ms(1), 1000, 1), ms(0));
        assert_eq!(rest_after(ms(1), 500, 1), ms(1));
        assert_eq!(rest_after(ms(1), 250, 1), ms(3));
        assert_eq!(rest_after(ms(1), 250, 3), ms(1));
        assert_eq!(rest_after(ms(50), 10, 1), REST_MAX);
        assert_eq!(rest_after(ms(1), 0, 0), REST_MAX);
    }
}
