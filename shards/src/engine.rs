//! The boundary between the facade and the engines inside it.
//!
//! The facade's types are enums over what an engine provides. An engine provides, by these
//! names (glommio in [`glommio`], the simulated one in `crate::sim::engine`):
//!
//! - a shard handle (`Shard`, cheap `Clone`, !Send), kept in [`EngineHandle`] of the shard's
//!   context, with:
//!   - `now_nanos(&self) -> u64`, monotonic; `wall_clock_ms(&self) -> i64`;
//!     `random_u64(&self) -> u64`;
//!   - `sleep_until(&self, at_nanos: u64) -> Sleep`, a `Future<Output = ()> + Unpin`, which
//!     forgets its timer when dropped;
//!   - `spawn<F>(&self, name: &'static str, f: F) -> TaskHandle<F::Output>`: never runs `f`
//!     before it returns. The facade hands over a future that catches panics itself.
//!     `TaskHandle<T>` is `Future<Output = T> + Unpin`; dropping it cancels, `detach()` lets go;
//!   - `fatal(&self, reason: &str) -> !`: ends the process (under `sim` the simulated one, by
//!     unwinding with `crate::fatal::ProcessEnds`, which the facade's spawn lets pass through);
//! - `file::File` (`Clone`): `open(path, create_new, write)`, `try_lock`, `write`, `sync`,
//!   `write_durable`, `read`, `size`, `truncate`, `preallocate`, `close`. Classes, limits and
//!   counters are the facade's; alignment has been asserted;
//! - `dir::*`: the functions of [`crate::dir`];
//! - `net::{Listener, Accepted, Stream}`: as the facade's, `Accepted: Send`, closed when dropped;
//!   `Stream::write_vectored_all` gets the same slices.
//!
//! An engine makes a `ShardContext` for each of its shards (`ShardContext::new`) and keeps it
//! entered (`context::enter`) while that shard's code runs, dropping of futures included.
//! Wakers may be cloned, woken and dropped on any thread.

pub(crate) mod glommio;

/// The engine that the current shard runs on.
#[derive(Clone)]
pub(crate) enum EngineHandle {
    Glommio(glommio::Shard),
    Sim(crate::sim::engine::Shard),
}
