//! What the facade dispatches to under `sim`; see `crate::engine` for what is asked of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::disk::Op;
use super::executor::{self, ShardKey};
use super::io::IoFuture;
use super::world::{ProcessId, Shared};
use crate::context;
use crate::engine::EngineHandle;
use crate::fatal::ProcessEnds;

pub(crate) mod dir;
pub(crate) mod file;
pub(crate) mod net;

/// A simulated shard's handle.
#[derive(Clone)]
pub(crate) struct Shard {
    pub(super) shared: Arc<Shared>,
    pub(super) key: ShardKey,
}

impl Shard {
    /// The shard that runs this code.
    ///
    /// # Panics
    /// Outside a simulated shard.
    pub(crate) fn current() -> Shard {
        context::with(|context| match &context.engine {
            EngineHandle::Sim(shard) => shard.clone(),
            _ => panic!("this shard is not simulated"),
        })
    }

    pub(super) fn process(&self) -> ProcessId {
        self.key.process
    }

    pub(crate) fn now_nanos(&self) -> u64 {
        self.shared.world(|world| world.now())
    }

    pub(crate) fn processor_nanos(&self) -> u64 {
        self.shared.world(|world| world.processor_nanos())
    }

    pub(crate) fn wall_clock_ms(&self) -> i64 {
        self.shared.world(|world| world.wall_clock_ms())
    }

    pub(crate) fn random_u64(&self) -> u64 {
        self.shared.world(|world| world.rng.programs.next_u64())
    }

    pub(crate) fn sleep_until(&self, at_nanos: u64) -> Sleep {
        Sleep {
            shared: Arc::clone(&self.shared),
            at: at_nanos,
            timer: None,
        }
    }

    pub(crate) fn spawn<F: Future + 'static>(
        &self,
        name: &'static str,
        future: F,
    ) -> TaskHandle<F::Output> {
        TaskHandle {
            task: executor::spawn(&self.shared, self.key, name, future),
        }
    }

    /// Unwinds to the simulation's loop, which then ends the process as a kill does.
    pub(crate) fn fatal(&self, reason: &str) -> ! {
        ProcessEnds::unwind(reason)
    }

    /// Begins a disk operation.
    pub(super) fn submit(&self, op: Op) -> IoFuture {
        let (id, is_cut) = self.shared.world(|world| {
            let id = world.io_submit(self.process(), op);
            (id, world.ios.cut.is_some())
        });
        let future = IoFuture::new(Arc::clone(&self.shared), id);
        if is_cut {
            // It ends at this very operation: the rest of the poll must not happen.
            ProcessEnds::unwind("cut at a chosen operation");
        }
        future
    }
}

/// Wakes its task at an instant.
pub(crate) struct Sleep {
    shared: Arc<Shared>,
    at: u64,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Sleep { shared, at, timer } = &mut *self;
        shared.world(|world| {
            if world.now() >= *at {
                if let Some(id) = timer.take() {
                    world.remove_timer(id);
                }
                return Poll::Ready(());
            }
            match *timer {
                Some(id) if world.update_timer(id, cx.waker()) => {}
                _ => *timer = Some(world.add_timer(*at, cx.waker().clone())),
            }
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer.take() {
            self.shared.world(|world| world.remove_timer(id));
        }
    }
}

pub(crate) struct TaskHandle<T> {
    task: executor::TaskHandle<T>,
}

impl<T> TaskHandle<T> {
    pub(crate) fn detach(self) {
        self.task.detach();
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.task).poll(cx)
    }
}
