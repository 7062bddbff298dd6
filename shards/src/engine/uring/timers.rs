//! Who is woken when. The loop sleeps until the first of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::task::Waker;

/// A timer that is set: when, and which of those at that time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Timer {
    at_nanos: u64,
    number: u64,
}

/// The timers of a shard; as many as there are futures that wait for one.
#[derive(Default)]
pub(super) struct Timers {
    set: RefCell<BTreeMap<Timer, Waker>>,
    next_number: Cell<u64>,
}

impl Timers {
    pub(super) fn set(&self, at_nanos: u64, waker: &Waker) -> Timer {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let timer = Timer { at_nanos, number };
        self.set.borrow_mut().insert(timer, waker.clone());
        timer
    }

    /// The timer now wakes that one; set anew if it has fired.
    pub(super) fn renew(&self, timer: Timer, waker: &Waker) {
        let mut set = self.set.borrow_mut();
        let old = match set.get_mut(&timer) {
            Some(held) if held.will_wake(waker) => None,
            Some(held) => Some(std::mem::replace(held, waker.clone())),
            None => set.insert(timer, waker.clone()),
        };
        drop(set);
        drop(old);
    }

    pub(super) fn forget(&self, timer: Timer) {
        let waker = self.set.borrow_mut().remove(&timer);
        drop(waker);
    }

    /// When the first one fires.
    pub(super) fn next_nanos(&self) -> Option<u64> {
        let set = self.set.borrow();
        set.first_key_value().map(|(timer, _)| timer.at_nanos)
    }

    /// Wakes all whose time has come.
    pub(super) fn fire(&self, now_nanos: u64) {
        while self.next_nanos().is_some_and(|at| at <= now_nanos) {
            let first = self.set.borrow_mut().pop_first();
            if let Some((_, waker)) = first {
                waker.wake();
            }
        }
    }
}
