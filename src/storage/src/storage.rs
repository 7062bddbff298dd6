//! One shard's storage.

use std::rc::Rc;

use bytes::Bytes;

use crate::config::{LogConfig, StorageConfig};
use crate::error::StorageError;
use crate::ids::TopicPartition;
use crate::log::Log;
use crate::recovery::ShardSeed;
use crate::wal::Ticket;

/// One shard's storage: its WAL, its logs and what works for them in the background. Cloning
/// gives another handle.
#[derive(Clone)]
pub struct Storage {
    inner: Rc<()>,
}

#[allow(missing_docs, unused_variables, clippy::unused_async)]
impl Storage {
    pub async fn start(seed: ShardSeed, config: &StorageConfig) -> Result<Self, StorageError> { unimplemented!() }
    pub fn open_log(&self, tp: TopicPartition, config: LogConfig, leader_epoch: i32) -> Result<Log, StorageError> { unimplemented!() }
    pub fn recovered_logs(&self) -> Vec<TopicPartition> { unimplemented!() }
    pub async fn drop_log(&self, tp: TopicPartition) { unimplemented!() }
    pub fn append_metadata(&self, entry: Bytes) -> Ticket { unimplemented!() }
    pub fn set_metadata_snapshot(&self, snapshot: Rc<dyn Fn() -> Bytes>) { unimplemented!() }
    pub async fn written(&self, ticket: Ticket) -> Result<(), StorageError> { unimplemented!() }
    pub async fn durable(&self, ticket: Ticket) -> Result<(), StorageError> { unimplemented!() }
    /// Waits until there is room for appends: the bytes that no commit has taken are below their
    /// bound. Await it before appending; it returns at once but when the WAL is full or slow.
    pub async fn room(&self) { unimplemented!() }
    pub fn is_full(&self) -> bool { unimplemented!() }
    pub async fn shutdown(&self) { unimplemented!() }
    pub fn check_invariants(&self) { unimplemented!() }
}
