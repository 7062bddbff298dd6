//! The engine of production: a glommio executor pinned to each shard's processor.
//!
//! Owns everything that names glommio, but for the buffers it writes from. Must not know what
//! the shards are for.
//!
//! What glommio 0.9 asks of us, and where it is met:
//! - a panic ends its executor: every spawn catches (facade), and so does the shard's thread;
//! - `spawn_local` would run the task inside the call: tasks go through the queue instead;
//! - its wakers may not be dropped on other threads while the task's handle goes away: tasks
//!   get wakers of ours ([`wake`]);
//! - at its end it neither drops its tasks nor waits for the kernel: [`Shard::end`] does;
//! - it parks with work to do when its preempt timer is 1 ms or less: it stays at 100 ms;
//! - while tasks are ready it looks at files and sockets only as often as that timer fires. A
//!   task that yields by waking itself would hold up all I/O for 100 ms: [`NextPass`].

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use glommio::TaskQueueHandle;
use glommio::timer::Timer;

use super::host;
use crate::buf::home::Home;

mod barrier;
pub(crate) mod boot;
pub(crate) mod file;
pub(crate) mod net;
pub(crate) mod wake;

use wake::{Hub, Tasks, WithWaker};

/// How long the end of a shard waits for calls on its blocking thread that were given up.
const BLOCKING_END_MAX: Duration = Duration::from_millis(100);

/// A glommio shard's handle.
#[derive(Clone)]
pub(crate) struct Shard {
    inner: Rc<Inner>,
}

struct Inner {
    tasks: Tasks,
    next_pass: NextPass,
    home: Arc<Home>,
    /// What the shard does when it has nothing to do.
    poll: crate::boot::Poll,
    /// File operations whose future was dropped before the kernel was done. Their buffers
    /// belong to the executor until it is.
    abandoned: Cell<u64>,
    /// File operations in flight.
    in_flight: Cell<u64>,
}

impl Shard {
    /// For the thread that this is called on.
    /// With `work`, polls are added up there.
    fn here(poll: crate::boot::Poll, work: Option<crate::work::Work>) -> Shard {
        host::begin();
        Shard {
            inner: Rc::new(Inner {
                tasks: Tasks::new(Hub::here(), work),
                next_pass: NextPass::default(),
                home: Home::here(),
                poll,
                abandoned: Cell::new(0),
                in_flight: Cell::new(0),
            }),
        }
    }

    /// The shard that this code runs on.
    fn current() -> Shard {
        match crate::context::with(|context| context.engine.clone()) {
            super::EngineHandle::Glommio(shard) => shard,
            _ => unreachable!("dispatched to the wrong engine"),
        }
    }

    pub(crate) fn sleep_until(&self, at_nanos: u64) -> Sleep {
        let left = at_nanos.saturating_sub(host::now_nanos());
        Sleep {
            timer: (left > 0).then(|| Timer::new(Duration::from_nanos(left))),
        }
    }

    pub(crate) fn spawn<F: Future + 'static>(
        &self,
        name: &'static str,
        future: F,
    ) -> TaskHandle<F::Output> {
        let future = WithWaker::new(&self.inner.tasks, name, future);
        let task = glommio::spawn_local_into(future, TaskQueueHandle::default())
            .expect("the default queue is always there");
        TaskHandle { task: Some(task) }
    }

    /// Wakes the task after the executor has next looked at its rings.
    pub(crate) fn wake_after_io(&self, cx: &mut Context<'_>) {
        self.inner.next_pass.wake(cx);
    }

    pub(crate) fn poll(&self) -> crate::boot::Poll {
        self.inner.poll
    }

    /// Lets the kernel's worker run that a file operation of ours waits for: syncs always go to
    /// one, writes sometimes. It is bound to this processor too, and a thread that spins on would
    /// keep it from running until its slice of some milliseconds is used up.
    pub(crate) fn may_look_on(&self) -> bool {
        if self.inner.in_flight.get() > 0 {
            rustix::thread::sched_yield();
        }
        true
    }

    /// The poll that is being made has found nothing to do.
    pub(crate) fn looked_on(&self) {
        self.inner.tasks.looked_on();
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.inner.home
    }

    /// Starts what runs beside the shard's own tasks.
    fn begin(&self) -> TaskHandle<()> {
        // Not a task of the table: it wakes the others, with a waker of glommio's own, which
        // other threads may use as it never goes away before the table is empty.
        let hub = glommio::spawn_local_into(self.inner.tasks.serve(), TaskQueueHandle::default())
            .expect("the default queue is always there");
        let home = Arc::clone(&self.inner.home);
        self.spawn("home", async move {
            loop {
                std::future::poll_fn(|cx| home.poll_due(cx)).await;
                home.free();
            }
        })
        .detach();
        TaskHandle { task: Some(hub) }
    }

    /// Drops every task's future, and gives the kernel time to let go of what they began.
    async fn end(&self, hub: TaskHandle<()>) {
        // Dropping a future may spawn another task; after this many rounds that is on purpose.
        for _ in 0..64 {
            if self.inner.tasks.cancel_all() == 0 {
                break;
            }
            crate::task::yield_now().await;
        }
        self.end_blocking_calls().await;
        self.inner.next_pass.end();
        self.inner.tasks.close();
        drop(hub);
        // Cancellations go to the kernel in the next round of the executor.
        Timer::new(Duration::from_millis(1)).await;
        self.inner.home.free();
    }

    /// Waits for the blocking thread, which panics when it has nobody to answer to. It takes its
    /// calls in order: when the last one is done, so are those that were given up. A call that
    /// hangs is not waited for; the executor then stays to hear of it.
    async fn end_blocking_calls(&self) {
        let last = super::names::off_loop(|| Ok(()));
        if crate::time::timeout(BLOCKING_END_MAX, last).await.is_err() {
            self.inner.abandoned.set(self.inner.abandoned.get() + 1);
        }
    }

    /// Whether the executor may be dropped: the kernel holds none of its buffers, and the
    /// blocking thread has answered.
    fn kernel_is_done(&self) -> bool {
        self.inner.abandoned.get() == 0
    }

    /// Watches over one file operation, see [`InFlight`].
    fn in_flight(&self) -> InFlight {
        let count = &self.inner.in_flight;
        count.set(count.get() + 1);
        InFlight {
            shard: self.clone(),
            landed: false,
        }
    }
}

/// Wakes tasks at the executor's next pass over its rings.
///
/// glommio has no such call, but this is what one end of its shared channels does while the
/// other is not there: it asks again at each pass. So a channel whose other end never comes.
#[derive(Default)]
struct NextPass {
    /// Made at the first use, as it needs the executor to run.
    waits: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
}

impl NextPass {
    fn wake(&self, cx: &mut Context<'_>) {
        let mut waits = self.waits.borrow_mut();
        let waits = waits.get_or_insert_with(|| {
            let (other_end, end) = glommio::channels::shared_channel::new_bounded::<()>(1);
            Box::pin(async move {
                let _other_end = other_end;
                drop(end.connect().await);
            })
        });
        let polled = waits.as_mut().poll(cx);
        assert!(polled.is_pending(), "the other end never comes");
    }

    /// Before the executor goes.
    fn end(&self) {
        self.waits.take();
    }
}

/// Counts a file operation as abandoned unless it is said to have landed. A ring that is
/// closed lets go of its buffers at some later time, which nothing tells us; so an executor
/// with an abandoned operation is never dropped.
struct InFlight {
    shard: Shard,
    landed: bool,
}

impl InFlight {
    fn landed(mut self) {
        self.landed = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let count = &self.shard.inner.in_flight;
        count.set(count.get() - 1);
        if !self.landed {
            let abandoned = &self.shard.inner.abandoned;
            abandoned.set(abandoned.get() + 1);
        }
    }
}

pub(crate) struct Sleep {
    /// None: nothing to wait for.
    timer: Option<Timer>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Some(timer) = &mut this.timer {
            ready!(Pin::new(timer).poll(cx));
            this.timer = None;
        }
        Poll::Ready(())
    }
}

pub(crate) struct TaskHandle<T> {
    /// None only while it is taken apart.
    task: Option<glommio::Task<T>>,
}

impl<T> TaskHandle<T> {
    pub(crate) fn detach(mut self) {
        if let Some(task) = self.task.take() {
            drop(task.detach());
        }
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let task = self.get_mut().task.as_mut().expect("there until detached");
        Pin::new(task).poll(cx)
    }
}
