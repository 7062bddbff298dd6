//! Shards: one pinned executor a core, and all that touches the outside world.
//!
//! Owns executors, timers, tasks, sockets, direct-I/O files, the mesh between shards, and the
//! simulator. Must not know Kafka, records, storage or the broker: nothing of ours lies below.
//! It is the only crate that names an engine (`glommio`, `uring`, `sim`), a socket call or a clock.
//!
//! Everything above uses the concrete types here, which dispatch by an enum to the engine
//! inside. The free functions ([`now`], [`spawn`], [`shard`], ...) act on the current shard,
//! the one thread-local of the code base: under `sim` it is set around
//! each poll, else once for a shard's thread. Outside a shard they panic.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this crate is where clocks, threads, sockets and std::fs are wrapped"
)]

mod acknowledgements;
mod allocator;
mod boot;
mod buf;
mod context;
mod counters;
mod cpus;
pub mod dir;
mod engine;
mod examine;
mod fatal;
mod figures;
mod file;
mod io_class;
mod latency;
mod mesh;
mod net;
mod nice;
mod open_files;
pub mod planted;
mod shutdown;
pub mod sim;
pub mod sync;
mod task;
mod time;
mod work;

pub use acknowledgements::{Acknowledged, Acknowledgements, record_acknowledgement};
pub use allocator::Recycling;
pub use boot::{BootError, Engine, Poll, RunConfig, Running, ShardPanicked, has_uring, run};
pub use buf::{BLOCK_BYTES, DmaBuf, Pack, Packed, SharedBuf, allocation_of, footprint};
pub use context::{ShardId, in_shard, shard, shard_count};
pub use counters::{Counter, Counters, count, count_many, counters};
pub use cpus::{default_shards, usable_cpus};
pub use examine::{Space, locked_bytes_needed, probe_direct_io, probe_engine, space_of};
pub use fatal::fatal;
pub use figures::{Figures, figures};
pub use file::{File, OpenOptions};
pub use io_class::{ClassStats, FULL_SHARE, IoClass, IoStats, io_stats, set_background_share};
pub use latency::{
    AtPercentile, Histogram, KINDS_MAX, Latencies, STAGES, Snapshot, Stage, StageTimes,
    record_latency,
};
pub use mesh::*;
pub use net::{Accepted, Listener, Stream};
pub use nice::give_way_to_shards;
pub use open_files::raise_open_files;
pub use shutdown::Shutdown;
pub use task::{Task, TaskPanicked, caught_panics, spawn, yield_now};
pub use time::{
    Elapsed, Instant, now, processor_time, random_u64, random_uuid, sleep, sleep_until, timeout,
    wall_clock_ms,
};
pub use work::Work;
