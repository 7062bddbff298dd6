//! One word to every shard: stop.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A switch that is thrown once and seen by all shards. Clones are the same switch.
#[derive(Clone, Default)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    triggered: AtomicBool,
    waiters: Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    next_id: u64,
    /// In the order in which they came, so that a simulated run is the same each time. Bounded
    /// by the number of tasks that wait.
    wakers: Vec<(u64, Waker)>,
}

impl Shutdown {
    /// One that has not been triggered.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// Throws the switch, from any thread. Further calls do nothing.
    pub fn trigger(&self) {
        if self.inner.triggered.swap(true, Ordering::SeqCst) {
            return;
        }
        let wakers = std::mem::take(&mut self.inner.lock().wakers);
        for (_, waker) in wakers {
            waker.wake();
        }
    }

    /// Whether it has been triggered.
    pub fn is_triggered(&self) -> bool {
        self.inner.triggered.load(Ordering::SeqCst)
    }

    /// Returns when it is triggered, at once if it has been.
    pub async fn triggered(&self) {
        let mut place = Place {
            inner: &self.inner,
            id: None,
        };
        std::future::poll_fn(move |cx| {
            if self.is_triggered() {
                return Poll::Ready(());
            }
            place.register(cx.waker());
            // Again, as the switch may have been thrown before we were in the list.
            if self.is_triggered() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Waiters> {
        // Nothing under the lock leaves the list half changed.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A waiter's place in the list, given up when it stops waiting.
struct Place<'a> {
    inner: &'a Inner,
    id: Option<u64>,
}

impl Place<'_> {
    fn register(&mut self, waker: &Waker) {
        let mut waiters = self.inner.lock();
        if let Some(id) = self.id
            && let Some((_, held)) = waiters.wakers.iter_mut().find(|(held, _)| *held == id)
        {
            held.clone_from(waker);
            return;
        }
        let id = waiters.next_id;
        waiters.next_id += 1;
        waiters.wakers.push((id, waker.clone()));
        self.id = Some(id);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.inner.lock().wakers.retain(|(held, _)| *held != id);
        }
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("triggered", &self.is_triggered())
            .finish_non_exhaustive()
    }
}
