//! The boundary between the facade and the engines inside it.
//!
//! The facade's types are enums over what an engine provides. An engine provides, by these
//! names (glommio in [`glommio`], our own in [`uring`], the simulated one in `crate::sim::engine`):
//!
//! - a shard handle (`Shard`, cheap `Clone`, !Send), kept in [`EngineHandle`] of the shard's
//!   context, with:
//!   - `sleep_until(&self, at_nanos: u64) -> Sleep`, a `Future<Output = ()> + Unpin`, which
//!     forgets its timer when dropped;
//!   - `spawn<F>(&self, name: &'static str, f: F) -> TaskHandle<F::Output>`: never runs `f`
//!     before it returns. The facade hands over a future that catches panics itself.
//!     `TaskHandle<T>` is `Future<Output = T> + Unpin`; dropping it cancels, `detach()` lets go;
//!   - `wake_after_io`, `may_look_on` and `poll`, see `crate::task`;
//! - clocks, randomness and `fatal`: [`host`]'s where there is a kernel (under `sim` its own;
//!   `fatal` ends the simulated process there, by unwinding with `crate::fatal::ProcessEnds`,
//!   which the facade's spawn lets pass through);
//! - `file::File` (`Clone`): `open(path, create_new, write)`, `try_lock`, `write`, `sync`,
//!   `write_durable`, `read`, `size`, `truncate`, `preallocate`, `close`. Classes, limits and
//!   counters are the facade's; alignment has been asserted;
//! - `dir::*`: the functions of [`crate::dir`] ([`names`] where there is a kernel);
//! - `net::{Listener, Accepted, Stream}`: as the facade's, `Accepted: Send`, closed when dropped;
//!   `Stream::write_vectored_all` gets the same slices.
//!
//! An engine makes a `ShardContext` for each of its shards (`ShardContext::new`) and keeps it
//! entered (`context::enter`) while that shard's code runs, dropping of futures included.
//! Wakers may be cloned, woken and dropped on any thread.

pub(crate) mod glommio;
pub(crate) mod here;
pub(crate) mod host;
pub(crate) mod memlock;
pub(crate) mod names;
pub(crate) mod probe;
pub(crate) mod sockets;
pub(crate) mod stall;
pub(crate) mod threads;
pub(crate) mod uring;

use std::sync::Arc;

use crate::buf::home::Home;

/// Whom a file may be read by that is made here: the group, and nobody else: records may be
/// private.
pub(crate) const FILE_MODE: u32 = 0o640;

/// The engine that the current shard runs on.
#[derive(Clone)]
pub(crate) enum EngineHandle {
    Glommio(glommio::Shard),
    Uring(uring::Shard),
    Sim(crate::sim::engine::Shard),
}

/// The home of the shard on this thread, if it is one with a kernel.
pub(crate) fn current_home() -> Option<Arc<Home>> {
    match &crate::context::try_current()?.engine {
        EngineHandle::Glommio(shard) => Some(Arc::clone(shard.home())),
        EngineHandle::Uring(shard) => Some(Arc::clone(shard.home())),
        EngineHandle::Sim(_) => None,
    }
}
