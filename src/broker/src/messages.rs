//! What brokers of different shards ask each other: one message a request and owner.

use crate::BrokerError;
use crate::fetch::{FetchOutcome, FetchRequest, ReadOutcome, ReadRequest};
use crate::metadata::{ControllerReply, ControllerRequest, Publication};
use crate::offsets::{EpochEnd, EpochQuery, Isolation, OffsetFound, OffsetQuery};
use crate::produce::{AppendRequest, PartOutcome};
use std::sync::Arc;
use tailwater_storage::TopicPartition;

/// A request of one shard's broker to another's. The server only makes the mesh that carries it.
#[derive(Debug)]
#[allow(private_interfaces, reason = "only this crate makes and reads them")]
pub enum ShardRequest {
    /// Append batches; answered as `acks` says.
    Append(AppendRequest),
    /// Read partitions, and watch them first if asked to.
    Read(ReadRequest),
    /// Watch these partitions no more; the number is that of the set of watches.
    Unwatch(u64, Vec<TopicPartition>),
    /// A fetch whose session lives on the shard asked.
    Fetch(Box<FetchRequest>),
    /// Look up offsets.
    ListOffsets(Isolation, Vec<(TopicPartition, OffsetQuery)>),
    /// Look up where epochs end.
    EpochEnds(Vec<(TopicPartition, EpochQuery)>),
    /// Move log starts up.
    DeleteRecords(Vec<(TopicPartition, i64)>),
    /// How many bytes partitions hold.
    LogSizes(Vec<TopicPartition>),
    /// Of shard 0 only: decide over metadata.
    Control(Box<ControllerRequest>),
    /// Of shard 0 only, by it: here is the metadata of now.
    Publish(Arc<Publication>),
}

/// The reply to a [`ShardRequest`].
#[derive(Debug)]
#[allow(private_interfaces, reason = "only this crate makes and reads them")]
pub enum ShardReply {
    /// To `Append`: an outcome for each part.
    Appended(Vec<PartOutcome>),
    /// To `Read`: an outcome for each part.
    Read(Vec<ReadOutcome>),
    /// To `Fetch`.
    Fetched(Box<FetchOutcome>),
    /// To `ListOffsets`.
    Offsets(Vec<Result<OffsetFound, BrokerError>>),
    /// To `EpochEnds`.
    EpochEnds(Vec<Result<EpochEnd, BrokerError>>),
    /// To `DeleteRecords`.
    LowWatermarks(Vec<Result<i64, BrokerError>>),
    /// To `LogSizes`; -1 for a partition that is not here.
    LogSizes(Vec<i64>),
    /// To `Control`.
    Controlled(Box<ControllerReply>),
    /// To `Publish` and `Unwatch`.
    Done,
    /// The shard's broker has stopped.
    Gone,
}
