//! Where a shard says that it sleeps, and where others wake it, once.
//!
//! One **sleeper** (a task, always on one thread) and any number of **ringers** (any thread).
//! A ringer first makes public what it has to say (a message in a ring, a bit in a set), then
//! calls [`WakeCell::ring`]: it costs one fence and one load while the sleeper is awake.
//! The sleeper looks for work, finds none, calls [`WakeCell::announce`], **looks once more**, and
//! only then returns `Poll::Pending`.
//!
//! Why no wake is lost: between the ringer's publishing and its look at the state stands a
//! `SeqCst` fence, and one stands between the sleeper's announcement and its second look. One of
//! the two fences is first. If it is the ringer's, the sleeper's second look finds the work; if it
//! is the sleeper's, the ringer finds the announcement (or that another ringer has, and is about
//! to wake the sleeper, which then looks anew).
//!
//! The waker stays in the cell and is woken by reference: an unchanged one is not cloned again at
//! each sleep, and it is dropped on the sleeper's own thread.

use std::task::Waker;

use super::sync::{AtomicUsize, Ordering, UnsafeCell, fence, relax};

/// The sleeper runs, or will run without us. The waker's slot is the sleeper's.
const AWAKE: usize = 0;
/// The sleeper waits to be woken. Nobody writes to the slot.
const ASLEEP: usize = 1;
/// One ringer is waking the sleeper, and reads the slot.
const WAKING: usize = 2;
/// See the module.
pub(crate) struct WakeCell {
    state: AtomicUsize,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: who may touch `waker`, and how, is settled by `state`; `Waker` is `Send + Sync`.
unsafe impl Sync for WakeCell {}

impl WakeCell {
    pub(crate) fn new() -> WakeCell {
        WakeCell {
            state: AtomicUsize::new(AWAKE),
            waker: UnsafeCell::new(None),
        }
    }

    /// Wakes the sleeper if it sleeps. True if it was this call that did.
    pub(crate) fn ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.ring_after_fence()
    }

    /// [`ring`](Self::ring) for a caller that has had a `SeqCst` fence since it published.
    pub(crate) fn ring_after_fence(&self) -> bool {
        // A look before the exchange: the cell's line stays shared while the sleeper is awake.
        if self.state.load(Ordering::Relaxed) != ASLEEP
            || self
                .state
                .compare_exchange(ASLEEP, WAKING, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return false;
        }
        self.waker.with(|waker| {
            // SAFETY: while `WAKING`, nobody writes to the slot; its writer's `Release` of `ASLEEP`
            // was acquired by the exchange above.
            let waker = unsafe { &*waker };
            if let Some(waker) = waker {
                waker.wake_by_ref();
            }
        });
        self.state.store(AWAKE, Ordering::Release);
        true
    }

    /// Makes sure that `waker` is woken by whoever publishes from now on. The caller looks for
    /// work once more after this, and sleeps if there is none.
    ///
    /// # Safety
    /// Only the one sleeper calls this, from one thread at a time.
    pub(crate) unsafe fn announce(&self, waker: &Waker) {
        // SAFETY: passed on to our caller.
        unsafe { self.rise() };
        if self.state.load(Ordering::Acquire) != AWAKE {
            // A ringer is at work, and may have woken us already: that we run may be its doing. Its
            // last instruction is missing, unless the kernel has put it to sleep just there.
            relax();
            if self.state.load(Ordering::Acquire) != AWAKE {
                // Not worth blocking the shard's other tasks for: try again after them.
                waker.wake_by_ref();
                return;
            }
        }
        // SAFETY: while `AWAKE`, the slot is the sleeper's, which is our caller.
        self.waker
            .with_mut(|slot| store(unsafe { &mut *slot }, waker));
        // A plain store: from `AWAKE` nobody else moves the state.
        self.state.store(ASLEEP, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Takes an announcement back: the sleeper runs, for whatever reason, and will look for work.
    ///
    /// # Safety
    /// Only the one sleeper calls this, from one thread at a time.
    pub(crate) unsafe fn rise(&self) {
        if self.state.load(Ordering::Relaxed) == ASLEEP {
            // If a ringer was faster, it wakes us once for nothing.
            let _ =
                self.state
                    .compare_exchange(ASLEEP, AWAKE, Ordering::Acquire, Ordering::Relaxed);
        }
    }

    /// Gives the last waker back, to be dropped on the sleeper's thread, and sleeps no more. Waits
    /// for a ringer that is waking it right now, at most for as long as one wake takes.
    ///
    /// # Safety
    /// Only the one sleeper calls this, from one thread at a time.
    pub(crate) unsafe fn retire(&self) -> Option<Waker> {
        loop {
            // SAFETY: passed on to our caller.
            unsafe { self.rise() };
            if self.state.load(Ordering::Acquire) == AWAKE {
                break;
            }
            relax();
        }
        // SAFETY: while `AWAKE`, the slot is the sleeper's, which is our caller.
        self.waker.with_mut(|slot| unsafe { (*slot).take() })
    }
}

fn store(slot: &mut Option<Waker>, waker: &Waker) {
    if !slot.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}
