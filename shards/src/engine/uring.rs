//! Our own engine: an executor, a ring and a blocking thread for each shard.
//!
//! Owns everything that names io-uring. Must not know what the shards are for. Why it is built so:
//! docs/decisions/uring-engine.md.
//!
//! - [`queue`]: the tasks that are ready, and wakes from other threads;
//! - [`ring`]: the operations that the kernel has, and what they hold until it is done;
//! - [`timers`]: who is woken when;
//! - [`pass`]: the loop over the three;
//! - [`blocking`]: the thread for calls that have no other way;
//! - [`file`], [`net`]: what the facade's types are made of.
//!
//! Invariant: all of it but [`queue::Queue`] stays on the shard's thread.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::host;
use super::stall::StallWatch;

use crate::buf::home::Home;

mod blocking;
pub(crate) mod boot;
pub(crate) mod file;
pub(crate) mod net;
mod pass;
mod queue;
mod ring;
#[cfg(test)]
mod tests;
mod timers;

use blocking::Blocking;
use pass::Spinning;
use queue::Queue;
use ring::Ring;
use timers::{Timer, Timers};

/// The shard's handle.
#[derive(Clone)]
pub(crate) struct Shard {
    inner: Rc<Inner>,
}

struct Inner {
    queue: Arc<Queue>,
    /// A waker of each task that has not ended, to find them all at the shard's end.
    alive: RefCell<Slab<Waker>>,
    ring: Rc<Ring>,
    timers: Timers,
    /// Woken after the next look at the ring.
    after_look: RefCell<Vec<Waker>>,
    blocking: Rc<Blocking>,
    home: Arc<Home>,
    watch: StallWatch,
    /// What the shard does when it has nothing to do.
    poll: crate::Poll,
    spinning: Spinning,
    /// The kernel's workers run on this shard's processor too, and need it given to them.
    shares_with_workers: bool,
}

impl Shard {
    pub(crate) fn spawn<F: Future + 'static>(
        &self,
        name: &'static str,
        future: F,
    ) -> TaskHandle<F::Output> {
        let inner = &self.inner;
        let id = inner.alive.borrow_mut().insert(Waker::noop().clone());
        let alive = Alive {
            inner: Rc::clone(inner),
            id,
        };
        let queue = Arc::clone(&inner.queue);
        let (runnable, task) = async_task::Builder::new().metadata(name).spawn_local(
            move |_| Living { future, alive },
            move |runnable| queue.schedule(runnable),
        );
        inner.alive.borrow_mut()[id] = runnable.waker();
        runnable.schedule();
        TaskHandle { task }
    }

    pub(crate) fn sleep_until(&self, at_nanos: u64) -> Sleep {
        Sleep {
            shard: self.clone(),
            at_nanos,
            timer: None,
        }
    }

    /// Wakes the task after the next look at the ring.
    pub(crate) fn wake_after_io(&self, cx: &mut Context<'_>) {
        let mut waiting = self.inner.after_look.borrow_mut();
        waiting.push(cx.waker().clone());
    }

    pub(crate) fn poll(&self) -> crate::Poll {
        self.inner.poll
    }

    /// Whether a task may keep the shard from sleeping: not while one of the kernel's workers may
    /// need the processor.
    pub(crate) fn may_look_on(&self) -> bool {
        self.may_look_on_at(host::now_nanos())
    }

    /// The poll that is being made has found nothing to do.
    pub(crate) fn looked_on(&self) {
        self.inner.watch.looked_on();
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.inner.home
    }

    pub(crate) fn blocking(&self) -> &Rc<Blocking> {
        &self.inner.blocking
    }
}

/// A task's future. An async block around it would hold it twice: once as given, once as awaited.
struct Living<F> {
    /// Ends before it is taken off the list.
    future: F,
    #[expect(dead_code, reason = "dropping it is what it is for")]
    alive: Alive,
}

impl<F: Future> Future for Living<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned whenever this is: nothing moves it out, there is no `Unpin` or
        // `Drop` of ours that could.
        unsafe { self.map_unchecked_mut(|living| &mut living.future) }.poll(cx)
    }
}

/// Takes a task off the list of those alive, however it ends.
struct Alive {
    inner: Rc<Inner>,
    id: usize,
}

impl Drop for Alive {
    fn drop(&mut self) {
        let waker = self.inner.alive.borrow_mut().remove(self.id);
        drop(waker);
    }
}

/// See [`Shard::sleep_until`].
pub(crate) struct Sleep {
    shard: Shard,
    at_nanos: u64,
    /// None before the first poll that waits.
    timer: Option<Timer>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let timers = &this.shard.inner.timers;
        if host::now_nanos() >= this.at_nanos {
            if let Some(timer) = this.timer.take() {
                timers.forget(timer);
            }
            return Poll::Ready(());
        }
        match this.timer {
            Some(timer) => timers.renew(timer, cx.waker()),
            None => this.timer = Some(timers.set(this.at_nanos, cx.waker())),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.shard.inner.timers.forget(timer);
        }
    }
}

/// A spawned task. Dropping it cancels.
pub(crate) struct TaskHandle<T> {
    task: async_task::Task<T, &'static str>,
}

impl<T> TaskHandle<T> {
    pub(crate) fn detach(self) {
        self.task.detach();
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.get_mut().task).poll(cx)
    }
}
