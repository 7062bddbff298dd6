//! Brokers on simulated machines: one property a test, over two shards or more.

mod compacting;
mod fetching;
mod group_batches;
mod group_memory;
mod group_snapshots;
mod groups;
mod groups_full_disk;
mod harness;
mod metadata;
mod producing;
mod recovery;
mod routing;
mod sessions;
