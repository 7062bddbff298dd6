//! The mesh under loom, as part of the ordinary workspace test.
//!
//! [`mesh`] includes the files of `shards/src/mesh` as they are, beside a `sync` that puts loom's
//! atomics, cells and `Arc` in the place of the standard ones. [`shard`] stands in for the rest of
//! `tailwater-shards`: an executor of one loom thread. The models are in `mesh/models`.
//!
//! `LOOM_MAX_PREEMPTIONS=n` looks deeper than the models' own bound (and takes much longer);
//! `LOOM_LOG=trace` with `LOOM_LOCATION=1` tells how a failing interleaving went.
#![cfg(test)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the included files offer more than the models call"
)]

mod mesh;
mod shard;

use shard::{Instant, Poll, ShardId, Task, now, run_shard, shard, spawn, task};
