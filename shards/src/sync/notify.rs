//! A bell: tasks wait for it, others of the same shard ring it.
//!
//! Invariant: a wake is never lost. A notified waiter that is dropped before it is polled
//! passes a `notify_one` on to the next.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Lets tasks of one shard wait for a word from others of it.
///
/// `notify_one` with nobody waiting leaves one permit, which the next waiter takes at once;
/// further ones coalesce with it. `notify_all` wakes those who wait now and leaves nothing.
#[derive(Default)]
pub struct Notify {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    permit: bool,
    waiters: VecDeque<Rc<RefCell<Waiter>>>,
}

#[derive(Default)]
struct Waiter {
    woken: Woken,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Woken {
    #[default]
    No,
    ByOne,
    ByAll,
}

impl Notify {
    /// A bell that has not rung.
    pub fn new() -> Notify {
        Notify::default()
    }

    /// Waits for the next notification. One that comes after this call, and before the first
    /// poll, counts: look at the condition between the two.
    pub fn notified(&self) -> Notified<'_> {
        let waiter = Rc::new(RefCell::new(Waiter::default()));
        let mut state = self.state.borrow_mut();
        if std::mem::take(&mut state.permit) {
            waiter.borrow_mut().woken = Woken::ByOne;
        } else {
            state.waiters.push_back(Rc::clone(&waiter));
        }
        Notified {
            notify: self,
            waiter,
            done: false,
        }
    }

    /// Wakes the one who has waited longest, or leaves a permit.
    pub fn notify_one(&self) {
        let waiter = {
            let mut state = self.state.borrow_mut();
            let waiter = state.waiters.pop_front();
            state.permit |= waiter.is_none();
            waiter
        };
        if let Some(waiter) = waiter {
            wake(&waiter, Woken::ByOne);
        }
    }

    /// Wakes all who wait now.
    pub fn notify_all(&self) {
        let waiters = std::mem::take(&mut self.state.borrow_mut().waiters);
        for waiter in waiters {
            wake(&waiter, Woken::ByAll);
        }
    }

    /// How many wait now.
    pub fn waiters(&self) -> usize {
        self.state.borrow().waiters.len()
    }
}

fn wake(waiter: &RefCell<Waiter>, how: Woken) {
    let waker = {
        let mut waiter = waiter.borrow_mut();
        waiter.woken = how;
        waiter.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify")
            .field("waiters", &self.waiters())
            .finish_non_exhaustive()
    }
}

/// The wait of one task, from [`Notify::notified`].
#[must_use = "a wait does nothing unless awaited"]
pub struct Notified<'a> {
    notify: &'a Notify,
    waiter: Rc<RefCell<Waiter>>,
    done: bool,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut waiter = self.waiter.borrow_mut();
            if waiter.woken == Woken::No {
                waiter.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.done = true;
        Poll::Ready(())
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let woken = self.waiter.borrow().woken;
        match woken {
            Woken::No => {
                let mut state = self.notify.state.borrow_mut();
                state.waiters.retain(|w| !Rc::ptr_eq(w, &self.waiter));
            }
            Woken::ByOne => self.notify.notify_one(),
            Woken::ByAll => {}
        }
    }
}
