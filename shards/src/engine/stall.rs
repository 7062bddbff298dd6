//! Sees when one poll of a task holds its shard's loop for too long, and says whose it was.
//!
//! Every poll passes here, so the usual way costs two looks at the coarse clock, which the kernel
//! moves at its tick (4 ms with 250 a second): some nanoseconds each. The precise clock and the
//! thread's processor time are read once a tick at most, by the first poll that begins in it. A
//! poll that ended ticks later began after that: so it is known how long it took at most, and,
//! less one tick, at least.
//!
//! Invariant: no poll of more than [`HELD_MAX`] goes uncounted. One that is shorter by up to a
//! tick may be counted too, when others came before it in its tick.

use std::cell::Cell;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::counters::{Counter, count};
use crate::work::{self, Work};

/// How long a poll may hold the loop: everything else of the shard waits for its end, the
/// acknowledgements of other connections too.
const HELD_MAX: Duration = Duration::from_millis(10);

/// A stall is logged when the last one that was is this long ago. Others are counted, and told
/// with the next one.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What the first poll of a tick has seen.
#[derive(Clone, Copy, Default)]
struct Look {
    /// The coarse clock: which tick it was.
    coarse: Duration,
    /// The precise clock.
    at: Duration,
    /// The processor time that the thread has had.
    ran: Duration,
}

/// Watches over the polls of one shard.
#[derive(Default)]
pub(crate) struct StallWatch {
    first_of_tick: Cell<Look>,
    /// On the coarse clock; None before the first.
    logged_at: Cell<Option<Duration>>,
    /// Stalls since the last that was logged.
    unsaid: Cell<u64>,
    /// Where polls are added up, by a shard that looks on.
    work: Option<Work>,
    /// The poll that is being made has found nothing to do.
    looked_on: Cell<bool>,
}

fn coarse() -> Duration {
    read(ClockId::MonotonicCoarse)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // These clocks begin at zero and stay below the 18 quintillion that would not fit.
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    Duration::new(seconds, u32::try_from(nanos).unwrap_or(0))
}

impl StallWatch {
    /// With `work`, polls are added up there.
    pub(super) fn new(work: Option<Work>) -> StallWatch {
        StallWatch {
            work,
            ..StallWatch::default()
        }
    }

    /// Runs one poll of the task called `name`.
    pub(crate) fn watch<R>(&self, name: &'static str, poll: impl FnOnce() -> R) -> R {
        let began = coarse();
        if began != self.first_of_tick.get().coarse {
            self.look(began);
        }
        let polled = match &self.work {
            None => poll(),
            Some(work) => self.add_up(work, poll),
        };
        let ended = coarse();
        if ended != began {
            self.passed_a_tick(name, ended);
        }
        polled
    }

    fn add_up<R>(&self, work: &Work, poll: impl FnOnce() -> R) -> R {
        self.looked_on.set(false);
        let began = read(ClockId::Monotonic);
        let polled = poll();
        if !self.looked_on.get() {
            let took = read(ClockId::Monotonic).saturating_sub(began);
            work.add(crate::context::shard(), took);
        }
        polled
    }

    /// The poll that is being made has found nothing to do.
    pub(super) fn looked_on(&self) {
        self.looked_on.set(true);
    }

    #[cold]
    fn look(&self, coarse: Duration) {
        work::beat();
        self.first_of_tick.set(Look {
            coarse,
            at: read(ClockId::Monotonic),
            ran: read(ClockId::ThreadCPUTime),
        });
    }

    #[cold]
    fn passed_a_tick(&self, name: &'static str, ended: Duration) {
        let first = self.first_of_tick.get();
        let held_most = read(ClockId::Monotonic).saturating_sub(first.at);
        if held_most <= HELD_MAX {
            return;
        }
        count(Counter::LoopStalls);
        let logged_at = self.logged_at.get();
        if logged_at.is_some_and(|at| ended.saturating_sub(at) < LOG_INTERVAL) {
            return self.unsaid.set(self.unsaid.get() + 1);
        }
        self.logged_at.set(Some(ended));
        let ran = read(ClockId::ThreadCPUTime).saturating_sub(first.ran);
        tracing::warn!(
            task = name,
            shard = crate::context::shard().0,
            held_ms = millis(held_most),
            ran_ms = millis(ran),
            others_not_logged = self.unsaid.take(),
            "a task held its shard's loop; what it did not run itself, others took of the processor"
        );
    }
}

/// Milliseconds with one place behind the point.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}
