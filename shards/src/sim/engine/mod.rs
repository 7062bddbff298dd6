//! What the facade dispatches to under `sim`; see `crate::engine` for what is asked of it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pub(crate) mod dir;
pub(crate) mod file;
pub(crate) mod net;

/// A simulated shard's handle.
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
