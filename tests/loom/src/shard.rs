//! What the mesh asks of a shard, on one loom thread: who am I, and run this task.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::task::Poll as Polled;
use std::time::Duration;

/// As `tailwater_shards::ShardId`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ShardId(pub u16);

impl std::fmt::Display for ShardId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shard {}", self.0)
    }
}

/// As `tailwater_shards::Poll`.
#[derive(Clone, Copy)]
pub(crate) enum Poll {
    Park,
    Adaptive { spin: Duration },
    Spin,
}

pub(crate) type Instant = Duration;

/// There is no time in a model.
pub(crate) fn now() -> Instant {
    Duration::ZERO
}

/// Dropping it does not cancel: tasks end with their shard.
pub(crate) struct Task<T>(PhantomData<T>);

impl<T> Task<T> {
    pub(crate) fn detach(self) {}
}

type Running = Pin<Box<dyn Future<Output = ()>>>;

loom::thread_local! {
    static SHARD: Cell<Option<ShardId>> = Cell::new(None);
    static SPAWNED: RefCell<Vec<Running>> = RefCell::new(Vec::new());
}

pub(crate) fn shard() -> ShardId {
    SHARD.with(Cell::get).expect("on a shard")
}

pub(crate) fn spawn<T: 'static>(
    _name: &'static str,
    future: impl Future<Output = T> + 'static,
) -> Task<T> {
    let future = async move { drop(future.await) };
    SPAWNED.with(|spawned| spawned.borrow_mut().push(Box::pin(future)));
    Task(PhantomData)
}

/// Runs `main` and what it spawns until `main` ends; the tasks still there are dropped then.
pub(crate) fn run_shard<T>(id: ShardId, main: impl Future<Output = T>) -> T {
    SHARD.with(|shard| shard.set(Some(id)));
    let mut main = pin!(main);
    let mut tasks: Vec<Running> = Vec::new();
    loom::future::block_on(poll_fn(move |cx| {
        if let Polled::Ready(output) = main.as_mut().poll(cx) {
            return Polled::Ready(output);
        }
        loop {
            SPAWNED.with(|spawned| tasks.append(&mut spawned.borrow_mut()));
            tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
            if SPAWNED.with(|spawned| spawned.borrow().is_empty()) {
                return main.as_mut().poll(cx);
            }
        }
    }))
}

pub(crate) mod task {
    //! As `tailwater_shards::task`, as far as the mesh names it.

    use std::any::Any;
    use std::task::Context;

    /// A handler's panic is a failed model.
    pub(crate) fn caught(_task: &'static str, payload: Box<dyn Any + Send>) -> Box<dyn Any> {
        std::panic::resume_unwind(payload)
    }

    /// The models are of sleep and wake.
    pub(crate) fn idle_poll() -> super::Poll {
        super::Poll::Park
    }

    pub(crate) fn may_look_on() -> bool {
        true
    }

    /// Nobody adds up the work of a model.
    pub(crate) fn looked_on() {}

    pub(crate) fn wake_after_io(cx: &mut Context<'_>) {
        cx.waker().wake_by_ref();
    }
}
