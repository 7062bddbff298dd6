//! Fetch: sessions, reads over all owners, parking until there is enough.

mod interest;
mod look;
mod memory;
mod read;
mod session;
mod wait;

use crate::BrokerError;
use crate::metadata::TopicKey;
use crate::offsets::Isolation;
use bytes::Bytes;
use std::time::Duration;

/// A Fetch request of a consumer.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// How long to wait for `min_bytes`.
    pub max_wait: Duration,
    /// Answer once this many bytes are there, over all partitions.
    pub min_bytes: i32,
    /// Stop after this many bytes, but for the first batch.
    pub max_bytes: i32,
    /// What may be seen.
    pub isolation: Isolation,
    /// 0: none. KIP-227.
    pub session_id: i32,
    /// 0: a new full session; -1: no session (and end `session_id`); else the next expected.
    pub session_epoch: i32,
    /// The version names topics by id (13 and above).
    pub uses_topic_ids: bool,
    /// The partitions wanted, or those that changed since the session's last request.
    pub partitions: Vec<FetchPartition>,
    /// Partitions to take out of the session.
    pub forgotten: Vec<(TopicKey, i32)>,
}

/// One partition of a Fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// The topic as the request names it.
    pub topic: TopicKey,
    /// The partition's index.
    pub partition: i32,
    /// The leader epoch that the caller knows, -1 for none.
    pub current_leader_epoch: i32,
    /// The first offset wanted.
    pub fetch_offset: i64,
    /// The epoch of the last record that the caller has, -1 for none: asks for divergence checks.
    pub last_fetched_epoch: i32,
    /// Stop after this many bytes of this partition, but for the answer's first batch.
    pub max_bytes: i32,
}

/// The answer to a Fetch request.
#[derive(Debug, Default)]
pub struct FetchOutcome {
    /// Set: the whole request failed, and nothing else matters.
    pub error: Option<BrokerError>,
    /// 0 for no session.
    pub session_id: i32,
    /// In the order of the request; of an incremental fetch only those with something to say.
    pub partitions: Vec<FetchedPartition>,
}

/// What was read of one partition.
#[derive(Debug)]
pub struct FetchedPartition {
    /// As the request named it.
    pub topic: TopicKey,
    /// The partition's index.
    pub partition: i32,
    /// Set: nothing was read.
    pub error: Option<BrokerError>,
    /// -1 when not known.
    pub high_watermark: i64,
    /// -1 when not known.
    pub last_stable_offset: i64,
    /// -1 when not known.
    pub log_start_offset: i64,
    /// The caller's log diverges from ours: our (epoch, end offset) for its `last_fetched_epoch`.
    pub diverging_epoch: Option<(i32, i64)>,
    /// The partition's leader epoch, when an epoch error makes it worth telling.
    pub leader_epoch: Option<i32>,
    /// Whole batches, as slices to be sent one after the other, never copied.
    pub records: Vec<Bytes>,
}

impl FetchedPartition {
    /// The bytes of its records.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

pub use memory::{FETCH_BYTES_FREE, HeldReply, Queued, ReplyMemory};
pub(crate) use read::{ReadOutcome, ReadRequest, read, read_refusal, visible_end};
pub(crate) use session::SessionCache;
pub(crate) use wait::{fetch, fetch_within};
