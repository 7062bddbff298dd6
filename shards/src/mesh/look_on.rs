//! What the drain task of a spinning shard does in place of sleeping.
//!
//! It stays among the shard's ready tasks, and each of them has its turn between two looks. That is
//! many times cheaper than sleep and wake, for both sides: nobody has to be woken, and the engine
//! makes no pass over its files and sockets in between. So that those wait no longer than for a few
//! microseconds, each [`LOOKS`] looks make room for such a pass, which itself takes about as long.

use std::task::Context;
use std::time::Duration;

use crate::{Instant, Poll, now, task};

/// Looks in a row without a pass of the engine.
const LOOKS: u32 = 64;

/// See the module.
pub(super) struct LookOn {
    poll: Poll,
    /// Looks since the engine's last pass that we know of.
    looks: u32,
    /// Something came since the last look that found nothing.
    has_had_some: bool,
    /// With `Poll::Adaptive`: when to sleep. None while nothing has come since it slept.
    until: Option<Instant>,
}

impl LookOn {
    /// As the current shard polls.
    pub(super) fn here() -> LookOn {
        LookOn {
            poll: task::idle_poll(),
            looks: 0,
            has_had_some: false,
            until: None,
        }
    }

    /// Messages came.
    pub(super) fn had_some(&mut self) {
        self.has_had_some = true;
    }

    /// Nothing came. True if the task is woken for another look; false if it is to sleep.
    pub(super) fn again(&mut self, cx: &mut Context<'_>) -> bool {
        let poll = self.poll;
        match poll {
            Poll::Park => return false,
            Poll::Adaptive { spin } if !self.is_time_left(spin) => return false,
            Poll::Adaptive { .. } | Poll::Spin => {}
        }
        self.looks += 1;
        if self.looks < LOOKS {
            cx.waker().wake_by_ref();
        } else {
            self.looks = 0;
            if !task::may_look_on() {
                return false;
            }
            task::wake_after_io(cx);
        }
        true
    }

    fn is_time_left(&mut self, spin: Duration) -> bool {
        if std::mem::take(&mut self.has_had_some) {
            self.until = Some(now() + spin);
        }
        // The clock is looked at once a pass.
        if self.looks == 0 && self.until.is_some_and(|until| now() >= until) {
            self.until = None;
        }
        self.until.is_some()
    }
}
