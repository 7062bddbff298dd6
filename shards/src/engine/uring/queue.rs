//! The tasks that are ready, and how other threads add to them.
//!
//! On the shard's own thread a task is put into the local queue, without a lock. From elsewhere it
//! goes into the inbox, then the shard's bell is rung: the cell of the mesh that never loses a wake
//! and costs one fence and one load while the shard is awake. Only when it sleeps does the bell
//! write to the eventfd that the ring polls.
//!
//! Invariants: the local queue is touched on the home thread only; a task is run, and its future
//! dropped, on the home thread only: what is woken after the shard's end is forgotten.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use rustix::event::{EventfdFlags, eventfd};

use crate::engine::here::ThreadMark;
use crate::mesh::WakeCell;

/// A task that is to be polled; its name is kept beside it.
pub(super) type Runnable = async_task::Runnable<&'static str>;

/// See the module.
pub(super) struct Queue {
    home: ThreadMark,
    local: UnsafeCell<Local>,
    /// None after the shard's end. Each task is in it at most once.
    inbox: Mutex<Option<Vec<Runnable>>>,
    /// The inbox may hold something: a look without the lock.
    has_mail: AtomicBool,
    bell: WakeCell,
}

#[derive(Default)]
struct Local {
    ready: VecDeque<Runnable>,
    is_closed: bool,
}

// SAFETY: `local` is reached through `with_local` only, which checks that it runs on the home
// thread, and is emptied there by `close`. The rest may be used on any thread.
unsafe impl Send for Queue {}
// SAFETY: as for Send.
unsafe impl Sync for Queue {}

impl Queue {
    /// For the shard on this thread.
    pub(super) fn here() -> Arc<Queue> {
        Arc::new(Queue {
            home: ThreadMark::of_this_thread(),
            local: UnsafeCell::default(),
            inbox: Mutex::new(Some(Vec::new())),
            has_mail: AtomicBool::new(false),
            bell: WakeCell::new(),
        })
    }

    /// `f` must not run, wake or drop a task.
    fn with_local<R>(&self, f: impl FnOnce(&mut Local) -> R) -> R {
        assert!(self.home.is_here(), "the ready tasks stay on their thread");
        // SAFETY: only the home thread gets here, and `f` does not come back here, so this is the
        // only reference.
        let local = unsafe { &mut *self.local.get() };
        f(local)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Runnable>>> {
        // Nothing under the lock leaves the inbox half changed.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the task polled, from any thread.
    pub(super) fn schedule(&self, runnable: Runnable) {
        if self.home.is_here() {
            let left = self.with_local(|local| {
                if local.is_closed {
                    return Some(runnable);
                }
                local.ready.push_back(runnable);
                None
            });
            std::mem::forget(left);
            return;
        }
        {
            let mut inbox = self.lock();
            let Some(inbox) = inbox.as_mut() else {
                // Dropping it here would drop its future on a thread that is not its own.
                std::mem::forget(runnable);
                return;
            };
            inbox.push(runnable);
            self.has_mail.store(true, Ordering::Release);
        }
        self.bell.ring();
    }

    pub(super) fn pop(&self) -> Option<Runnable> {
        self.with_local(|local| local.ready.pop_front())
    }

    /// How many are ready here.
    pub(super) fn len(&self) -> usize {
        self.with_local(|local| local.ready.len())
    }

    pub(super) fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Acquire)
    }

    /// Moves what other threads have woken to the ready tasks.
    pub(super) fn take_mail(&self) {
        if !self.has_mail() {
            return;
        }
        let mail = {
            let mut inbox = self.lock();
            self.has_mail.store(false, Ordering::Release);
            inbox.as_mut().map(std::mem::take)
        };
        self.with_local(|local| local.ready.extend(mail.into_iter().flatten()));
    }

    /// The shard is about to sleep: `bell` is rung by whoever wakes a task of it from now on. True
    /// if nothing has come meanwhile.
    pub(super) fn falls_asleep(&self, bell: &Waker) -> bool {
        assert!(self.home.is_here(), "a shard sleeps on its own thread");
        // SAFETY: the home thread is the one sleeper.
        unsafe { self.bell.announce(bell) };
        !self.has_mail()
    }

    /// The shard is awake, for whatever reason.
    pub(super) fn wakes_up(&self) {
        assert!(self.home.is_here(), "a shard wakes on its own thread");
        // SAFETY: the home thread is the one sleeper.
        unsafe { self.bell.rise() };
    }

    /// Takes no more tasks; gives back those that are ready, to be dropped.
    pub(super) fn close(&self) -> Vec<Runnable> {
        let mail = self.lock().take();
        // SAFETY: the home thread, which `with_local` checks next, is the one sleeper.
        let bell = unsafe { self.bell.retire() };
        drop(bell);
        let mut left: Vec<_> = self.with_local(|local| {
            local.is_closed = true;
            local.ready.drain(..).collect()
        });
        left.extend(mail.into_iter().flatten());
        left
    }
}

/// Wakes a shard that sleeps in its ring.
pub(super) struct Bell {
    eventfd: OwnedFd,
}

impl Bell {
    pub(super) fn new() -> io::Result<Arc<Bell>> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let eventfd = eventfd(0, flags)?;
        Ok(Arc::new(Bell { eventfd }))
    }

    pub(super) fn eventfd(&self) -> &OwnedFd {
        &self.eventfd
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Nobody reads the count: the poll in the ring hears each write. It overflows after more
        // rings than a process lives.
        let written = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
        assert_eq!(written, Ok(8), "a shard cannot be woken");
    }
}
