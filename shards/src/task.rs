//! Tasks of the current shard.
//!
//! Invariant: a panic never leaves the task it happened in. It is caught at the spawn, logged
//! with the task's name, counted, and handed to whoever awaits the task.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::context;
use crate::counters::{Counter, count};
use crate::engine::{EngineHandle, glommio, uring};
use crate::fatal::ProcessEnds;
use crate::sim::engine as sim;

/// The task ended by a panic, which has been logged and counted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("task {task} panicked: {message}")]
pub struct TaskPanicked {
    /// The name given to [`spawn`].
    pub task: &'static str,
    /// The panic's message, when it was a string.
    pub message: String,
}

/// A spawned task. Awaiting it yields its output; dropping it cancels the task at its next
/// await point; [`Task::detach`] lets it run on its own.
#[must_use = "dropping a task cancels it: await, keep or detach it"]
pub struct Task<T> {
    handle: Handle<T>,
    finished: Rc<Cell<bool>>,
}

enum Handle<T> {
    Glommio(glommio::TaskHandle<Result<T, TaskPanicked>>),
    Uring(uring::TaskHandle<Result<T, TaskPanicked>>),
    Sim(sim::TaskHandle<Result<T, TaskPanicked>>),
}

impl<T: 'static> Task<T> {
    /// Lets the task run to its end with nobody waiting for it.
    pub fn detach(self) {
        match self.handle {
            Handle::Glommio(handle) => handle.detach(),
            Handle::Uring(handle) => handle.detach(),
            Handle::Sim(handle) => handle.detach(),
        }
    }

    /// Whether the task has ended, by returning or by a panic.
    pub fn is_finished(&self) -> bool {
        self.finished.get()
    }
}

impl<T> Unpin for Task<T> {}

impl<T: 'static> Future for Task<T> {
    type Output = Result<T, TaskPanicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().handle {
            Handle::Glommio(handle) => Pin::new(handle).poll(cx),
            Handle::Uring(handle) => Pin::new(handle).poll(cx),
            Handle::Sim(handle) => Pin::new(handle).poll(cx),
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("finished", &self.finished.get())
            .finish_non_exhaustive()
    }
}

/// Starts `future` on the current shard. It is first polled after this returns. `name` is a
/// word or two for logs and metrics.
pub fn spawn<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + 'static,
{
    let finished = Rc::new(Cell::new(false));
    let caught = CatchPanic {
        name,
        future: Some(future),
        finished: Rc::clone(&finished),
    };
    let handle = context::with(|context| match &context.engine {
        EngineHandle::Glommio(shard) => Handle::Glommio(shard.spawn(name, caught)),
        EngineHandle::Uring(shard) => Handle::Uring(shard.spawn(name, caught)),
        EngineHandle::Sim(shard) => Handle::Sim(shard.spawn(name, caught)),
    });
    Task { handle, finished }
}

/// Lets every other ready task of this shard run, and what the kernel has done in the meantime
/// be seen, before going on. Long work without I/O calls this now and then.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        wake_after_io(cx);
        Poll::Pending
    })
    .await;
}

/// Wakes the task once the others have run and the engine has looked at its I/O: what a future
/// that has done enough for one poll does in place of waking itself.
pub(crate) fn wake_after_io(cx: &mut Context<'_>) {
    match context::try_current()
        .as_ref()
        .map(|context| &context.engine)
    {
        Some(EngineHandle::Glommio(shard)) => shard.wake_after_io(cx),
        Some(EngineHandle::Uring(shard)) => shard.wake_after_io(cx),
        Some(EngineHandle::Sim(_)) | None => cx.waker().wake_by_ref(),
    }
}

/// Whether a task that spins may go on: not where the kernel has something to do for this shard on
/// its own processor, which it gets when the shard sleeps.
pub(crate) fn may_look_on() -> bool {
    context::with(|context| match &context.engine {
        EngineHandle::Glommio(shard) => shard.may_look_on(),
        EngineHandle::Uring(shard) => shard.may_look_on(),
        EngineHandle::Sim(_) => true,
    })
}

/// The poll that is being made has found nothing to do: it is no work of the shard's.
pub(crate) fn looked_on() {
    context::with(|context| match &context.engine {
        EngineHandle::Glommio(shard) => shard.looked_on(),
        EngineHandle::Uring(shard) => shard.looked_on(),
        EngineHandle::Sim(_) => {}
    });
}

/// What this shard does when it has nothing to do. A simulated one has no time to lose.
pub(crate) fn idle_poll() -> crate::boot::Poll {
    context::with(|context| match &context.engine {
        EngineHandle::Glommio(shard) => shard.poll(),
        EngineHandle::Uring(shard) => shard.poll(),
        EngineHandle::Sim(_) => crate::boot::Poll::Park,
    })
}

/// Panics caught at a spawn of this shard since it began.
pub fn caught_panics() -> u64 {
    context::with(|context| context.caught_panics.get())
}

/// Polls `future` and turns a panic of it, or of its destructor, into an error.
pub(crate) struct CatchPanic<F> {
    name: &'static str,
    future: Option<F>,
    finished: Rc<Cell<bool>>,
}

impl<F> CatchPanic<F> {
    /// For an engine's own root futures, which nobody asks whether they are finished.
    pub(crate) fn new(name: &'static str, future: F) -> CatchPanic<F> {
        CatchPanic {
            name,
            future: Some(future),
            finished: Rc::default(),
        }
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, TaskPanicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is structurally pinned: it is never moved out of this place, only
        // dropped in it by `Option::take` below through `Pin::set`. `name` and `finished` are
        // never pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: `this.future` lies inside the pinned `self`, see above.
        let mut slot = unsafe { Pin::new_unchecked(&mut this.future) };
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let future = slot.as_mut().as_pin_mut();
            let polled = future.expect("not polled after its end").poll(cx);
            if polled.is_ready() {
                slot.set(None);
            }
            polled
        }));
        let output = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => {
                // What a panic left behind is dropped here, and a second panic with it.
                drop_caught(this.name, slot);
                Err(caught(this.name, payload))
            }
        };
        this.finished.set(true);
        Poll::Ready(output)
    }
}

impl<F> Drop for CatchPanic<F> {
    fn drop(&mut self) {
        // SAFETY: `self` is about to go and is not used after; `set` drops the pinned future in
        // place.
        let slot = unsafe { Pin::new_unchecked(&mut self.future) };
        // A cancelled task's destructors may panic too.
        drop_caught(self.name, slot);
        self.finished.set(true);
    }
}

/// Drops the future in its place; a panic of its destructors is logged and counted.
fn drop_caught<F>(name: &'static str, mut slot: Pin<&mut Option<F>>) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| slot.set(None))) {
        caught(name, payload);
    }
}

/// Logs and counts a caught panic; passes on the end of a simulated process.
pub(crate) fn caught(task: &'static str, payload: Box<dyn Any + Send>) -> TaskPanicked {
    if payload.is::<ProcessEnds>() {
        resume_unwind(payload);
    }
    let message = panic_message(&*payload);
    // A payload whose own destructor panics would take the executor with it.
    if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        std::mem::forget(second);
    }
    if let Some(context) = context::try_current() {
        context.caught_panics.set(context.caught_panics.get() + 1);
        count(Counter::TaskPanics);
        tracing::error!(task, shard = context.id.0, %message, "a task panicked");
    }
    TaskPanicked { task, message }
}

/// The words of a panic, as far as they are words.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(no message)".to_owned()
    }
}
