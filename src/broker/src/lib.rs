//! The broker: partitions, producers, topics and their configurations, fetches.
//!
//! Owns what Kafka's rules say about produce, fetch, offsets and metadata, on top of the logs of
//! `storage` and the shards' mesh. It never names the wire protocol: requests come in and outcomes
//! go out as plain data, in the order of the request, and every refusal is a [`BrokerError`] that
//! knows Kafka's code and sentence for itself. Gateways for other protocols call this crate too.
//!
//! One [`Broker`] lives on each shard. Any of them answers any request: what another shard owns is
//! asked of it with one message a request. With shard-direct routing a shard is a broker of its own to
//! clients, and [`Broker::direct`] answers for that shard alone.

mod admin;
mod broker;
mod codec;
pub mod config;
mod error;
pub mod error_code;
pub mod fetch;
mod group;
mod messages;
pub mod metadata;
mod nodes;
pub mod offsets;
mod partition;
mod partition_table;
pub mod produce;
mod producer_ids;
mod producer_state;
mod reach;
mod serve;
#[cfg(test)]
mod tests;

pub use broker::{Broker, BrokerConfig, BrokerMesh, BrokerMeshEnds, BrokerSeed, broker_mesh};
pub use config::BrokerSettings;
pub use error::{BrokerError, code_of};
pub use messages::{ShardReply, ShardRequest};
pub use nodes::{Nodes, SHARD_IDS, ShardConfigs};
pub use partition::{HighWatermark, LastStableOffset};
pub use produce::ProduceReply;
