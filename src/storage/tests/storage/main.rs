//! Storage under the simulator: one property a file, one harness for all.
//!
//! A model outside the simulated machine remembers what was appended and what was acknowledged.
//! After each start it is compared with what the logs hold.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::large_futures,
    clippy::print_stderr,
    reason = "tests"
)]

mod checks;
mod compaction;
mod compaction_edges;
mod compaction_model;
mod corruption;
mod crashes;
mod failed_sync;
mod full_disk;
mod group_commit;
mod harness;
mod lifetimes;
mod memory;
mod metadata;
mod planted;
mod reads;
mod real;
mod rot;
mod solo;
mod starts;
mod witness;
