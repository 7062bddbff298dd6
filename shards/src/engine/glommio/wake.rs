//! Wakers that may be cloned, woken and dropped on any thread.
//!
//! glommio's own may not: one that is dropped elsewhere touches its task after it has given up
//! its reference to it, and a task has room for 32,767 of them. So the future of each task
//! gets a waker of ours, which holds the glommio waker and uses it on the home thread only; a
//! wake from elsewhere goes into the shard's inbox, and the hub (one task a shard) passes it on.
//!
//! Invariants:
//! - a [`TaskWaker`]'s inner waker is touched on its home thread only, and is gone before the
//!   future that put it there is;
//! - a wake from elsewhere is in the inbox until the hub has seen it; the hub is woken when the
//!   inbox stops being empty.

use std::cell::{RefCell, UnsafeCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::engine::here::ThreadMark;
use crate::engine::stall::StallWatch;

/// Where wakes from other threads arrive.
pub(super) struct Hub {
    home: ThreadMark,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    /// Bounded by the number of tasks: each is here at most once.
    woken: Vec<Arc<TaskWaker>>,
    /// glommio's waker of the hub task; None before it runs and after the shard has ended.
    hub: Option<Waker>,
}

impl Hub {
    /// For the shard on this thread.
    pub(super) fn here() -> Arc<Hub> {
        Arc::new(Hub {
            home: ThreadMark::of_this_thread(),
            inbox: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        // Nothing under the lock leaves the inbox half changed.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_from_elsewhere(&self, task: Arc<TaskWaker>) {
        let mut inbox = self.lock();
        let was_empty = inbox.woken.is_empty();
        inbox.woken.push(task);
        if was_empty && let Some(hub) = &inbox.hub {
            // By reference and under the lock: the last reference is never dropped here.
            hub.wake_by_ref();
        }
    }
}

/// The waker of one task.
pub(super) struct TaskWaker {
    hub: Arc<Hub>,
    /// Whether it is in the inbox.
    queued: AtomicBool,
    state: UnsafeCell<State>,
}

#[derive(Default)]
struct State {
    /// glommio's, while the task's future is there and has been polled.
    inner: Option<Waker>,
    /// The shard ends: the future is to be dropped at the next poll.
    cancelled: bool,
}

// SAFETY: `state` is reached only through `with_state`, which checks that it runs on the home
// thread. When the last reference is dropped elsewhere, `state.inner` is None: `WithWaker`, which
// puts it there, holds a reference and takes it out when it is dropped at home.
unsafe impl Send for TaskWaker {}
// SAFETY: as for Send.
unsafe impl Sync for TaskWaker {}

impl TaskWaker {
    fn is_home(&self) -> bool {
        self.hub.home.is_here()
    }

    /// `f` must not wake, poll or drop anything that comes back here.
    fn with_state<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        assert!(self.is_home(), "a task's state stays on its thread");
        // SAFETY: only the home thread gets here, and `f` does not come back here, so this is
        // the only reference.
        let state = unsafe { &mut *self.state.get() };
        f(state)
    }

    /// Passes a wake on to glommio.
    fn wake_at_home(&self) {
        // The clone keeps the waker alive whatever waking does to this task.
        let inner = self.with_state(|state| state.inner.clone());
        if let Some(inner) = inner {
            inner.wake();
        }
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_home() {
            self.wake_at_home();
        } else if !self.queued.swap(true, Ordering::AcqRel) {
            self.hub.wake_from_elsewhere(Arc::clone(self));
        }
    }
}

/// The live tasks of a shard. Clones are the same table.
#[derive(Clone)]
pub(super) struct Tasks {
    hub: Arc<Hub>,
    table: Rc<RefCell<Table>>,
    watch: Rc<StallWatch>,
}

#[derive(Default)]
struct Table {
    live: Vec<Option<Arc<TaskWaker>>>,
    free: Vec<usize>,
}

impl Tasks {
    pub(super) fn new(hub: Arc<Hub>, work: Option<crate::work::Work>) -> Tasks {
        Tasks {
            hub,
            table: Rc::default(),
            watch: Rc::new(StallWatch::new(work)),
        }
    }

    /// The poll that is being made has found nothing to do.
    pub(super) fn looked_on(&self) {
        self.watch.looked_on();
    }

    /// The hub: passes on what other threads wake. Never ends.
    pub(super) fn serve(&self) -> impl Future<Output = ()> + 'static {
        let hub = Arc::clone(&self.hub);
        let mut batch = Vec::new();
        std::future::poll_fn(move |cx| {
            let old = {
                let mut inbox = hub.lock();
                std::mem::swap(&mut batch, &mut inbox.woken);
                // Kept as it is when it is the same one: it is, from the second time on.
                match &inbox.hub {
                    Some(known) if known.will_wake(cx.waker()) => None,
                    _ => inbox.hub.replace(cx.waker().clone()),
                }
            };
            drop(old);
            for task in batch.drain(..) {
                // Before the wake: what is woken from elsewhere after this comes again.
                task.queued.store(false, Ordering::Release);
                task.wake_at_home();
            }
            Poll::Pending
        })
    }

    /// Tells every task to drop its future, and says how many there are.
    pub(super) fn cancel_all(&self) -> usize {
        let live: Vec<_> = self.table.borrow().live.iter().flatten().cloned().collect();
        for task in &live {
            task.with_state(|state| state.cancelled = true);
            task.wake_at_home();
        }
        live.len()
    }

    /// Forgets the hub's waker. Wakes from elsewhere come to nothing from here on.
    pub(super) fn close(&self) {
        let (hub, woken) = {
            let mut inbox = self.hub.lock();
            (inbox.hub.take(), std::mem::take(&mut inbox.woken))
        };
        drop(hub);
        drop(woken);
    }

    fn add(&self, task: &Arc<TaskWaker>) -> usize {
        let mut table = self.table.borrow_mut();
        let task = Some(Arc::clone(task));
        if let Some(index) = table.free.pop() {
            table.live[index] = task;
            return index;
        }
        table.live.push(task);
        table.live.len() - 1
    }

    fn remove(&self, index: usize) {
        let task = {
            let mut table = self.table.borrow_mut();
            table.free.push(index);
            table.live[index].take()
        };
        assert!(task.is_some(), "a task leaves the table once");
    }
}

/// A future polled with a waker of ours, and watched for holding the loop.
pub(super) struct WithWaker<F> {
    name: &'static str,
    future: Option<F>,
    task: Arc<TaskWaker>,
    waker: Waker,
    place: Place,
}

/// A task's entry in the table.
struct Place {
    tasks: Tasks,
    /// None when it has left.
    index: Option<usize>,
}

impl Place {
    fn leave(&mut self) {
        if let Some(index) = self.index.take() {
            self.tasks.remove(index);
        }
    }
}

impl<F> WithWaker<F> {
    pub(super) fn new(tasks: &Tasks, name: &'static str, future: F) -> WithWaker<F> {
        let task = Arc::new(TaskWaker {
            hub: Arc::clone(&tasks.hub),
            queued: AtomicBool::new(false),
            state: UnsafeCell::default(),
        });
        WithWaker {
            name,
            future: Some(future),
            waker: Waker::from(Arc::clone(&task)),
            place: Place {
                index: Some(tasks.add(&task)),
                tasks: tasks.clone(),
            },
            task,
        }
    }

    /// The future is gone, or about to go: nothing is left to wake.
    fn let_go(task: &TaskWaker, place: &mut Place) {
        let inner = task.with_state(|state| state.inner.take());
        drop(inner);
        place.leave();
    }
}

impl<F: Future> Future for WithWaker<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is structurally pinned: it is dropped in place by `Pin::set`, never
        // moved. The other fields are never pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: `this.future` lies inside the pinned `self`, see above.
        let mut slot = unsafe { Pin::new_unchecked(&mut this.future) };
        let (cancelled, old) = this.task.with_state(|state| match &state.inner {
            Some(inner) if inner.will_wake(cx.waker()) => (state.cancelled, None),
            _ => (state.cancelled, state.inner.replace(cx.waker().clone())),
        });
        drop(old);
        if cancelled {
            slot.set(None);
            Self::let_go(&this.task, &mut this.place);
            return Poll::Pending;
        }
        let future = slot
            .as_mut()
            .as_pin_mut()
            .expect("not polled after its end");
        let cx = &mut Context::from_waker(&this.waker);
        let watch = &this.place.tasks.watch;
        let polled = watch.watch(this.name, || future.poll(cx));
        if polled.is_ready() {
            slot.set(None);
            Self::let_go(&this.task, &mut this.place);
        }
        polled
    }
}

impl<F> Drop for WithWaker<F> {
    fn drop(&mut self) {
        // SAFETY: `self` is about to go and is not used after; a pinned value may be dropped in
        // place, which is what `set` does.
        let mut slot = unsafe { Pin::new_unchecked(&mut self.future) };
        slot.set(None);
        Self::let_go(&self.task, &mut self.place);
    }
}
