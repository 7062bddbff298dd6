//! Questions about offsets: ListOffsets, OffsetForLeaderEpoch, DeleteRecords, DescribeLogDirs.

mod answer;
mod ask;

use crate::BrokerError;
use crate::metadata::TopicTarget;
use std::sync::Arc;

/// ListOffsets of one partition.
#[derive(Clone, Copy, Debug)]
pub struct OffsetQuery {
    /// The topic, already looked up.
    pub topic: TopicTarget,
    /// The partition's index.
    pub partition: i32,
    /// The leader epoch that the caller knows, -1 for none.
    pub current_leader_epoch: i32,
    /// A time in ms, or -1 latest, -2 earliest, -3 maximal timestamp, -4 earliest local,
    /// -5 latest tiered, -6 earliest pending upload.
    pub timestamp: i64,
}

/// The answer to an [`OffsetQuery`]; -1 where Kafka says -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetFound {
    /// The timestamp found, -1 if there is none to tell.
    pub timestamp: i64,
    /// The offset, -1 for none.
    pub offset: i64,
    /// The leader epoch of that offset, -1 for none.
    pub leader_epoch: i32,
}

/// OffsetForLeaderEpoch of one partition.
#[derive(Clone, Copy, Debug)]
pub struct EpochQuery {
    /// The topic, already looked up.
    pub topic: TopicTarget,
    /// The partition's index.
    pub partition: i32,
    /// The leader epoch that the caller knows, -1 for none.
    pub current_leader_epoch: i32,
    /// The epoch asked about.
    pub leader_epoch: i32,
}

/// The answer to an [`EpochQuery`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch not above the one asked about, -1 for none.
    pub leader_epoch: i32,
    /// Where it ends, -1 for none.
    pub end_offset: i64,
}

/// DeleteRecords of one partition.
#[derive(Clone, Copy, Debug)]
pub struct DeleteRecords {
    /// The topic, already looked up.
    pub topic: TopicTarget,
    /// The partition's index.
    pub partition: i32,
    /// The new log start, -1 for the high watermark.
    pub offset: i64,
}

/// DescribeLogDirs: which partitions; `None` is all.
pub type LogDirQuery = Option<Vec<(Arc<str>, Vec<i32>)>>;

/// A topic's name, and (index, size in bytes) of its partitions.
pub type TopicSizes = (Arc<str>, Vec<(i32, i64)>);

/// The one log directory of this broker.
#[derive(Clone, Debug)]
pub struct LogDir {
    /// Its path.
    pub path: String,
    /// Size of its volume.
    pub total_bytes: i64,
    /// What is free on it.
    pub usable_bytes: i64,
    /// The partitions asked about that are there.
    pub topics: Vec<TopicSizes>,
}

/// The outcome of one DeleteRecords part: the new low watermark.
pub type LowWatermark = Result<i64, BrokerError>;

/// What a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset.
    ReadCommitted,
}

pub(crate) use answer::{
    answer_delete_records, answer_epoch_ends, answer_list_offsets, answer_log_sizes,
};
pub(crate) use ask::{ask_delete_records, ask_epoch_ends, ask_list_offsets, ask_log_dirs};
