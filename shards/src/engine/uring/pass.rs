//! The loop: run what is ready, look at the ring and the timers, and rest when there is nothing.
//!
//! One pass polls each task that was ready when it began, once. A look costs some loads while the
//! kernel has nothing to say and nothing is to be submitted: it is entered only then, and when the
//! shard goes to sleep. So a pass ends with a look, always, and no task waits for more than the
//! polls of one pass.

use std::cell::Cell;
use std::time::Duration;

use super::Shard;
use crate::boot::Poll;
use crate::engine::host;

/// No sleep is longer: an instant may lie further ahead than the kernel can count.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// Looks of a resting shard between two looks at the clock.
const LOOKS_A_CLOCK: u32 = 16;

/// What a shard that polls adaptively knows of its traffic.
#[derive(Default)]
pub(super) struct Spinning {
    /// How long it was idle of late before something came, in nanoseconds: a mean in which the
    /// latest counts an eighth.
    usual_gap_nanos: Cell<u64>,
}

impl Spinning {
    /// How long to look on before sleeping: `spin` at most, and not at all while things come more
    /// seldom than that, for then it would be in vain.
    pub(super) fn budget(&self, spin: Duration) -> u64 {
        let spin = u64::try_from(spin.as_nanos()).unwrap_or(u64::MAX);
        if self.usual_gap_nanos.get() > spin {
            0
        } else {
            spin
        }
    }

    /// Something came after that long.
    pub(super) fn came_after(&self, gap_nanos: u64, spin: Duration) {
        // One long pause says little of what follows it: a few short ones make up for it.
        let most = u64::try_from(spin.as_nanos()).unwrap_or(u64::MAX / 16);
        let gap = gap_nanos.min(most.saturating_mul(4));
        let mean = self.usual_gap_nanos.get();
        self.usual_gap_nanos.set(mean - mean / 8 + gap / 8);
    }
}

impl Shard {
    /// Runs the loop until `is_over`.
    pub(super) fn run_until(&self, is_over: impl Fn() -> bool) {
        loop {
            self.run_ready();
            // Before the rest: nothing may come any more that would end it.
            if is_over() {
                return;
            }
            self.inner.queue.take_mail();
            if self.inner.queue.len() == 0 && self.inner.after_look.borrow().is_empty() {
                self.rest();
            } else {
                self.look();
            }
        }
    }

    fn run_ready(&self) {
        let inner = &self.inner;
        for _ in 0..inner.queue.len() {
            let Some(runnable) = inner.queue.pop() else {
                break;
            };
            let name = *runnable.metadata();
            inner.watch.watch(name, || runnable.run());
        }
    }

    /// Sees what the kernel has done, and gives it what there is to do. Does not wait.
    fn look(&self) {
        let inner = &self.inner;
        if inner.ring.needs_the_kernel() {
            inner.ring.enter_without_waiting();
        }
        self.gather();
    }

    /// Takes what has come, wakes whom it concerns.
    fn gather(&self) {
        let inner = &self.inner;
        inner.ring.reap();
        self.fire_timers();
        let woken = inner.after_look.take();
        for waker in woken {
            waker.wake();
        }
    }

    fn fire_timers(&self) {
        let timers = &self.inner.timers;
        if timers.next_nanos().is_some() {
            timers.fire(host::now_nanos());
        }
    }

    fn has_something(&self) -> bool {
        self.inner.queue.len() > 0 || self.inner.queue.has_mail()
    }

    /// No task is ready: looks on, or sleeps, until something comes.
    fn rest(&self) {
        match self.inner.poll {
            Poll::Park => self.sleep(),
            Poll::Spin => {
                if !self.look_on(None) {
                    self.sleep();
                }
            }
            Poll::Adaptive { spin } => {
                let began = host::now_nanos();
                let budget = self.inner.spinning.budget(spin);
                if budget == 0 || !self.look_on(Some(began.saturating_add(budget))) {
                    self.sleep();
                }
                let gap = host::now_nanos().saturating_sub(began);
                self.inner.spinning.came_after(gap, spin);
            }
        }
    }

    /// False while one of the kernel's workers may need this processor, which it has no other than:
    /// beside a thread that looks on it would wait for some milliseconds, yields or not.
    pub(super) fn may_look_on_at(&self, now_nanos: u64) -> bool {
        !(self.inner.shares_with_workers && self.inner.ring.needs_a_worker(now_nanos))
    }

    /// Looks until something has come; false if the shard is to sleep before that: it is `until`,
    /// or a worker needs the processor.
    fn look_on(&self, until: Option<u64>) -> bool {
        let inner = &self.inner;
        let mut looks = 0;
        loop {
            if inner.ring.needs_the_kernel() {
                inner.ring.enter_without_waiting();
            }
            inner.ring.reap();
            if looks % LOOKS_A_CLOCK == 0 {
                let now = host::now_nanos();
                inner.timers.fire(now);
                let is_over = until.is_some_and(|until| now >= until);
                if !self.has_something() && (is_over || !self.may_look_on_at(now)) {
                    return false;
                }
            }
            if self.has_something() {
                return true;
            }
            looks += 1;
            std::hint::spin_loop();
        }
    }

    /// Sleeps in the kernel until something comes, or a timer is due.
    fn sleep(&self) {
        let inner = &self.inner;
        let until = inner.timers.next_nanos();
        // An instant may lie further ahead than the kernel can count.
        let timeout = until.map(|at| Duration::from_nanos(at.saturating_sub(host::now_nanos())));
        let timeout = timeout.map(|left| left.min(SLEEP_MAX));
        if timeout == Some(Duration::ZERO) || inner.ring.has_completions() {
            return self.look();
        }
        if !inner.queue.falls_asleep(inner.ring.bell()) {
            inner.queue.wakes_up();
            return self.look();
        }
        inner.ring.enter_and_wait(timeout);
        inner.queue.wakes_up();
        self.gather();
    }

    /// Ends all tasks, then waits, not for long, for what the kernel has of theirs. False if it
    /// keeps some: then nothing it may write to is freed.
    pub(super) fn end(&self) -> bool {
        let inner = &self.inner;
        // Dropping a future may spawn another task; after this many rounds that is on purpose.
        for _ in 0..64 {
            let wakers: Vec<_> = {
                let alive = inner.alive.borrow();
                alive.iter().map(|(_, waker)| waker.clone()).collect()
            };
            if wakers.is_empty() {
                break;
            }
            wakers.iter().for_each(std::task::Waker::wake_by_ref);
            drop(wakers);
            inner.queue.take_mail();
            while let Some(runnable) = inner.queue.pop() {
                // Drops its future, and with it whatever it holds.
                drop(runnable);
            }
        }
        let is_done = inner.ring.drain();
        inner.blocking.end();
        for runnable in inner.queue.close() {
            drop(runnable);
        }
        inner.home.free();
        inner.home.close();
        is_done
    }
}
