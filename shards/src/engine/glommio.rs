//! The engine of production: a glommio executor pinned to each shard's processor.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::boot::{BootError, RunConfig, ShardPanicked};
use crate::buf::home::Home;
use crate::context::ShardId;

pub(crate) mod dir;
pub(crate) mod file;
pub(crate) mod net;

/// A glommio shard's handle.
#[derive(Clone)]
pub(crate) struct Shard {}

impl Shard {
    pub(crate) fn now_nanos(&self) -> u64 {
        unimplemented!()
    }
    pub(crate) fn wall_clock_ms(&self) -> i64 {
        unimplemented!()
    }
    pub(crate) fn random_u64(&self) -> u64 {
        unimplemented!()
    }
    pub(crate) fn sleep_until(&self, _at_nanos: u64) -> Sleep {
        unimplemented!()
    }
    pub(crate) fn spawn<F: Future + 'static>(
        &self,
        _name: &'static str,
        _future: F,
    ) -> TaskHandle<F::Output> {
        unimplemented!()
    }
    pub(crate) fn fatal(&self, _reason: &str) -> ! {
        unimplemented!()
    }
}

/// The home of the shard on this thread, if it is one of ours.
pub(crate) fn current_home() -> Option<Arc<Home>> {
    None
}

pub(crate) struct Sleep {}

impl Future for Sleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        unimplemented!()
    }
}

pub(crate) struct TaskHandle<T>(std::marker::PhantomData<fn() -> T>);

impl<T> TaskHandle<T> {
    pub(crate) fn detach(self) {}
}

impl<T> Future for TaskHandle<T> {
    type Output = T;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<T> {
        unimplemented!()
    }
}

#[derive(Debug)]
pub(crate) struct Running {}

impl Running {
    pub(crate) fn start<F, Fut>(_cfg: &RunConfig, _main: F) -> Result<Running, BootError>
    where
        F: Fn(ShardId) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        unimplemented!()
    }
    pub(crate) fn join(self) -> Result<(), ShardPanicked> {
        unimplemented!()
    }
}
