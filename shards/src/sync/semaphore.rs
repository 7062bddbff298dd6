//! Counted permits, given out in the order in which they were asked for, or to who asks for least.
//!
//! Invariant: permits free + permits held + permits granted and not yet taken = the total.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Bounds what is in use at once, within one shard. Clones share their permits.
///
/// Of [`Semaphore::new`], first come, first served: a large request at the head holds back small
/// ones behind it, so none starves. Of [`Semaphore::smallest_first`], small ones go before.
#[derive(Clone)]
pub struct Semaphore {
    inner: Rc<Inner>,
}

/// Of a semaphore that serves the smallest first: the oldest request goes before all others once
/// this many times what it asks for has been given past it.
const PASSED_TIMES_MAX: u64 = 8;

struct Inner {
    smallest_first: bool,
    total: Cell<u64>,
    free: Cell<u64>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

struct Waiter {
    wanted: u64,
    /// Permits given to younger requests while this was the oldest.
    passed: Cell<u64>,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Semaphore {
    /// One with `permits` free.
    pub fn new(permits: u64) -> Semaphore {
        Semaphore::with(permits, false)
    }

    /// One with `permits` free that serves who asks for least, of those who ask for about as much
    /// (less than twice) the first. The oldest that waits goes next when eight times as much as it
    /// wants has been given past it: so nobody starves, and those who ask for much have a ninth of
    /// it at least.
    pub fn smallest_first(permits: u64) -> Semaphore {
        Semaphore::with(permits, true)
    }

    fn with(permits: u64, smallest_first: bool) -> Semaphore {
        Semaphore {
            inner: Rc::new(Inner {
                smallest_first,
                total: Cell::new(permits),
                free: Cell::new(permits),
                waiters: RefCell::default(),
            }),
        }
    }

    /// Waits for `wanted` permits together. More than there are in all waits for as long as
    /// it takes until everything is free, and then holds everything: it is never stuck.
    pub fn acquire(&self, wanted: u64) -> Acquire {
        Acquire {
            inner: Rc::clone(&self.inner),
            wanted: wanted.min(self.inner.total.get()),
            waiter: None,
        }
    }

    /// Takes `wanted` permits if they are free now and nobody waits before.
    pub fn try_acquire(&self, wanted: u64) -> Option<Permit> {
        let free = self.inner.free.get();
        if !self.inner.waiters.borrow().is_empty() || free < wanted {
            return None;
        }
        self.inner.free.set(free - wanted);
        Some(Permit {
            inner: Rc::clone(&self.inner),
            count: wanted,
        })
    }

    /// Permits there are in all.
    pub fn total(&self) -> u64 {
        self.inner.total.get()
    }

    /// Permits that nobody holds.
    pub fn available(&self) -> u64 {
        self.inner.free.get()
    }

    /// How many requests wait.
    pub fn waiters(&self) -> usize {
        self.inner.waiters.borrow().len()
    }
}

impl Inner {
    fn release(&self, count: u64) {
        self.free.set(self.free.get() + count);
        assert!(
            self.free.get() <= self.total.get(),
            "a permit came back twice"
        );
        self.grant();
    }

    /// Gives what is free to those who wait, in order.
    fn grant(&self) {
        loop {
            let waker = {
                let mut waiters = self.waiters.borrow_mut();
                let Some(index) = self.next(&waiters) else {
                    return;
                };
                let next = &waiters[index];
                if next.wanted > self.free.get() {
                    return;
                }
                self.free.set(self.free.get() - next.wanted);
                next.granted.set(true);
                if index > 0 {
                    let oldest = &waiters[0];
                    oldest.passed.set(oldest.passed.get() + next.wanted);
                }
                let waker = next.waker.take();
                waiters.remove(index);
                waker
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Inner {
    /// Whose turn it is.
    fn next(&self, waiters: &VecDeque<Rc<Waiter>>) -> Option<usize> {
        let oldest = waiters.front()?;
        let was_passed = oldest.passed.get() >= oldest.wanted.saturating_mul(PASSED_TIMES_MAX);
        if !self.smallest_first || was_passed {
            return Some(0);
        }
        // The first of the smallest: `min_by_key` keeps it.
        let class = |(_, waiter): &(usize, &Rc<Waiter>)| waiter.wanted.checked_ilog2();
        let smallest = waiters.iter().enumerate().min_by_key(class);
        smallest.map(|(index, _)| index)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("total", &self.inner.total.get())
            .field("free", &self.inner.free.get())
            .field("waiters", &self.waiters())
            .finish()
    }
}

/// A wait for permits, from [`Semaphore::acquire`]. It takes its place in the line at its first
/// poll, and leaves it when dropped.
#[must_use = "a wait does nothing unless awaited"]
pub struct Acquire {
    inner: Rc<Inner>,
    wanted: u64,
    waiter: Option<Rc<Waiter>>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        if let Some(waiter) = &self.waiter {
            if !waiter.granted.get() {
                waiter.waker.replace(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            self.waiter = None;
        } else {
            let free = self.inner.free.get();
            if free < self.wanted || !self.inner.waiters.borrow().is_empty() {
                let waiter = Rc::new(Waiter {
                    wanted: self.wanted,
                    passed: Cell::new(0),
                    granted: Cell::new(false),
                    waker: RefCell::default(),
                });
                self.inner
                    .waiters
                    .borrow_mut()
                    .push_back(Rc::clone(&waiter));
                // It may go before all who wait.
                self.inner.grant();
                if !waiter.granted.get() {
                    waiter.waker.replace(Some(cx.waker().clone()));
                    self.waiter = Some(waiter);
                    return Poll::Pending;
                }
            } else {
                self.inner.free.set(free - self.wanted);
            }
        }
        Poll::Ready(Permit {
            inner: Rc::clone(&self.inner),
            count: self.wanted,
        })
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        if waiter.granted.get() {
            self.inner.release(waiter.wanted);
        } else {
            let mut waiters = self.inner.waiters.borrow_mut();
            waiters.retain(|w| !Rc::ptr_eq(w, &waiter));
            drop(waiters);
            // Those behind it may fit now.
            self.inner.grant();
        }
    }
}

/// Permits held; they go back when this is dropped.
#[must_use = "the permits go back when this is dropped"]
pub struct Permit {
    inner: Rc<Inner>,
    count: u64,
}

impl Permit {
    /// How many permits this holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Gives back all but `keep` of them now.
    pub fn shrink_to(&mut self, keep: u64) {
        let back = self.count.saturating_sub(keep);
        self.count -= back;
        self.inner.release(back);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.release(self.count);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
