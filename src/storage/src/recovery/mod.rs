//! From what a start finds on the disk to what the shards start with.

use std::collections::BTreeMap;

use bytes::Bytes;
use uuid::Uuid;

use crate::config::StorageConfig;
use crate::error::{Corrupt, StorageError};
use crate::ids::{Generation, TopicPartition};

/// The metadata that a start found: the last snapshot and the entries after it, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataReplay {
    /// What the snapshot function gave last, if it ever did.
    pub snapshot: Option<Bytes>,
    /// What was appended after it.
    pub entries: Vec<Bytes>,
}

/// What recovery has to know of a live topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicEra {
    /// How many partitions it has; entries of others are dropped.
    pub partitions: i32,
}

/// What a shard starts with. Made on shard 0, sent to its shard, used there once.
pub struct ShardSeed {
}

/// What a start found, for its one short block of output and for tests.
#[derive(Debug, Clone, Default)]
pub struct RecoveryReport {
    /// No root file was there: this is a new data directory.
    pub new_directory: bool,
    /// Partitions with a recovered log.
    pub partitions: usize,
    /// Commits read from WAL files.
    pub commits: u64,
    /// Bytes of records that no segment held yet.
    pub replayed_bytes: u64,
    /// WALs of past generations that ended in a torn commit.
    pub torn_tails: usize,
    /// Damage to what had been acknowledged.
    pub damage: Vec<Corrupt>,
    /// The partitions taken out of service for it.
    pub out_of_service: Vec<TopicPartition>,
    /// Damage whose partitions could not be told: a partition whose last records were there, and
    /// nothing after them, may have lost them unnoticed.
    pub unknown_losses: bool,
}

/// What a start found.
pub struct Recovered {
    /// This start's generation.
    pub generation: Generation,
    /// The data directory's cluster id.
    pub cluster_id: Uuid,
    /// The metadata.
    pub metadata: MetadataReplay,
    /// One for each shard, in order.
    pub seeds: Vec<ShardSeed>,
    /// What there is to tell.
    pub report: RecoveryReport,
}

/// Phase one of a start, on shard 0, before anything is served.
///
/// # Errors
/// Another process on the directory, a foreign, missing or damaged root, and failed I/O. Nothing
/// is altered before locks and checks have passed.
pub async fn recover(
    config: &StorageConfig,
    node_id: i32,
    shards: u16,
    known_topics: impl FnOnce(&MetadataReplay) -> BTreeMap<Uuid, TopicEra>,
) -> Result<Recovered, StorageError> {
    let _ = (config, node_id, shards, known_topics);
    unimplemented!()
}
