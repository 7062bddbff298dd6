//! What brokers of different shards ask each other: one message a request and owner.

use crate::BrokerError;
use crate::fetch::{FetchOutcome, FetchRequest, ReadOutcome, ReadRequest};
use crate::group::{GroupAnswer, GroupAsk, ParkedAsk};
use crate::metadata::{ControllerReply, ControllerRequest, Publication};
use crate::offsets::{EpochEnd, EpochQuery, Isolation, OffsetFound, OffsetQuery};
use crate::produce::{AppendReply, AppendRequest};
use std::sync::Arc;
use tailwater_group::{GroupError, ListGroups, Listed};
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
    /// Ask coordinators of groups.
    Groups(Vec<GroupAsk>),
    /// Ask a coordinator what may wait for long: answered at once, the reply comes by itself.
    ParkGroup(Box<ParkedAsk>),
    /// The asker of that `ParkGroup` has gone.
    ForgetGroup(u64),
    /// The reply to that `ParkGroup`.
    GroupReply(Box<(u64, GroupAnswer)>),
    /// List groups.
    ListGroups(Box<ListGroups>),
    /// Of shard 0 only: decide over metadata.
    Control(Box<ControllerRequest>),
    /// Of shard 0 only, by it: here is the metadata of now.
    Publish(Arc<Publication>),
}

impl ShardRequest {
    /// Whether it asks, for a client, for what the other shard owns: records, offsets, sizes or
    /// groups. What only follows from such a request, and all about metadata, is not.
    pub(crate) fn is_of_client(&self) -> bool {
        match self {
            Self::Append(_)
            | Self::Read(_)
            | Self::Fetch(_)
            | Self::ListOffsets(..)
            | Self::EpochEnds(_)
            | Self::DeleteRecords(_)
            | Self::LogSizes(_)
            | Self::Groups(_)
            | Self::ParkGroup(_)
            | Self::ListGroups(_) => true,
            Self::Unwatch(..)
            | Self::ForgetGroup(_)
            | Self::GroupReply(_)
            | Self::Control(_)
            | Self::Publish(_) => false,
        }
    }
}

/// The reply to a [`ShardRequest`].
#[derive(Debug)]
#[allow(private_interfaces, reason = "only this crate makes and reads them")]
pub enum ShardReply {
    /// To `Append`: an outcome for each part, and when.
    Appended(AppendReply),
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
    /// To `Groups`: an answer for each ask.
    Groups(Vec<GroupAnswer>),
    /// To `ListGroups`.
    GroupsListed(Result<Vec<Listed>, GroupError>),
    /// To `Control`.
    Controlled(Box<ControllerReply>),
    /// To `Publish`, `Unwatch`, `ParkGroup`, `ForgetGroup` and `GroupReply`.
    Done,
    /// The shard's broker has stopped.
    Gone,
}
