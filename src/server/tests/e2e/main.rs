//! The whole server under simulation: its own listener, connections, broker and storage, and
//! clients that speak Kafka's protocol over the simulated network.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod admin;
mod batch_sizes;
mod client;
mod cluster;
mod groups;
mod hostile;
mod lifecycle;
mod limits;
mod produce_and_fetch;
mod requests;
mod shard_direct;
