//! One partition's log.

mod types;

use std::rc::Rc;

use bytes::Bytes;
use tailwater_record::BatchHeader;

pub use types::{Appended, BatchSummary, Read, RecoveredProducers, Sync, TimestampHit};

use crate::config::LogConfig;
use crate::error::{Corrupt, ReadError, StorageError};
use crate::ids::TopicPartition;
use crate::offsets::{AppendedEnd, DurableEnd, WrittenEnd};
use crate::wal::Ticket;

/// A partition's log. Cloning gives another handle to the same log.
#[derive(Clone)]
pub struct Log {
    inner: Rc<()>,
}

#[allow(missing_docs, unused_variables, clippy::unused_async)]
impl Log {
    pub fn topic_partition(&self) -> TopicPartition { unimplemented!() }
    pub fn append(&self, batch: Bytes, header: &BatchHeader, sync: Sync) -> Result<Appended, StorageError> { unimplemented!() }
    pub fn appended_end(&self) -> AppendedEnd { unimplemented!() }
    pub fn written_end(&self) -> WrittenEnd { unimplemented!() }
    pub fn durable_end(&self) -> DurableEnd { unimplemented!() }
    pub fn log_start(&self) -> i64 { unimplemented!() }
    pub fn ticket_of(&self, offset: i64) -> Option<Ticket> { unimplemented!() }
    pub fn set_observer(&self, observer: Rc<dyn Fn()>) { unimplemented!() }
    pub async fn read(&self, from: i64, upto: i64, max_bytes: usize, at_least_one: bool) -> Result<Read, ReadError> { unimplemented!() }
    pub fn try_read(&self, from: i64, upto: i64, max_bytes: usize, at_least_one: bool) -> Option<Result<Read, ReadError>> { unimplemented!() }
    pub async fn offset_for_timestamp(&self, timestamp: i64, upto: i64) -> Result<Option<TimestampHit>, ReadError> { unimplemented!() }
    pub async fn max_timestamp(&self, upto: i64) -> Result<Option<TimestampHit>, ReadError> { unimplemented!() }
    pub fn epoch_end(&self, epoch: i32, upto: i64) -> Option<(i32, i64)> { unimplemented!() }
    pub fn leader_epoch(&self) -> i32 { unimplemented!() }
    pub fn epoch_at(&self, offset: i64) -> Option<i32> { unimplemented!() }
    pub fn advance_log_start(&self, offset: i64) -> Result<Ticket, StorageError> { unimplemented!() }
    pub fn bytes(&self) -> u64 { unimplemented!() }
    pub fn configure(&self, config: LogConfig) { unimplemented!() }
    pub fn recovered_producers(&self) -> RecoveredProducers { unimplemented!() }
    pub fn set_producer_snapshot(&self, snapshot: Rc<dyn Fn() -> Bytes>) { unimplemented!() }
    pub fn health(&self) -> Result<(), Corrupt> { unimplemented!() }
    pub fn check_invariants(&self) { unimplemented!() }
}
