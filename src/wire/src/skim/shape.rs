//! The shapes of messages, and what their elements take on the wire and in memory.

use std::collections::BTreeMap;

use crate::api::ApiKey;
use crate::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
use crate::messages as m;
use crate::primitives::Lengths;
use crate::produce::{ProducePartition, ProduceTopic};

/// How a field lies on the wire.
#[derive(Debug)]
pub(super) enum Shape {
    /// So many bytes, whatever they are.
    Fixed(usize),
    /// A string.
    Str { lengths: Lengths, nullable: bool },
    /// Bytes.
    Bytes { lengths: Lengths, nullable: bool },
    /// A count, then elements.
    Array(Box<Array>),
    /// Fields in a row.
    Struct(Struct),
}

/// A count, then elements.
#[derive(Debug)]
pub(super) struct Array {
    pub(super) lengths: Lengths,
    pub(super) nullable: bool,
    pub(super) element: Shape,
    /// The least that an element takes on the wire: never zero.
    pub(super) element_bytes_min: usize,
    /// What an element takes in the vector that it is decoded into.
    pub(super) element_bytes: usize,
}

/// Fields in a row.
#[derive(Debug)]
pub(super) struct Struct {
    /// Whether a presence marker comes before.
    pub(super) nullable: bool,
    /// Neighbours of fixed size are one.
    pub(super) fields: Box<[Shape]>,
    /// The tagged fields that are known; none if the message has no tagged fields at all.
    pub(super) tagged: Option<Box<[(u32, Shape)]>>,
}

impl Shape {
    /// The least that it takes on the wire.
    pub(super) fn bytes_min(&self) -> usize {
        match self {
            Shape::Fixed(bytes) => *bytes,
            Shape::Str { lengths, .. } => lengths.string_bytes_min(),
            Shape::Bytes { lengths, .. } => lengths.array_bytes_min(),
            Shape::Array(array) => array.lengths.array_bytes_min(),
            Shape::Struct(Struct { nullable: true, .. }) => 1,
            Shape::Struct(fields) => {
                let tags = usize::from(fields.tagged.is_some());
                fields.fields.iter().map(Shape::bytes_min).sum::<usize>() + tags
            }
        }
    }

    /// The bytes that it takes on the wire, if they are always as many.
    pub(super) fn bytes_fixed(&self) -> Option<usize> {
        match self {
            Shape::Fixed(bytes) => Some(*bytes),
            Shape::Struct(Struct {
                nullable: false,
                fields,
                tagged: None,
            }) => fields.iter().map(Shape::bytes_fixed).sum(),
            _ => None,
        }
    }
}

/// The shapes of all requests that are served.
#[derive(Debug, Default)]
pub(super) struct Table {
    shapes: Vec<Shape>,
    rows: BTreeMap<(ApiKey, i16), usize>,
}

impl Table {
    pub(super) fn shape(&self, api: ApiKey, version: i16) -> Option<&Shape> {
        self.shapes.get(*self.rows.get(&(api, version))?)
    }

    /// Adds a shape; false if one of the versions has one already.
    pub(super) fn insert(
        &mut self,
        api: ApiKey,
        versions: std::ops::RangeInclusive<i16>,
        shape: Shape,
    ) -> bool {
        let index = self.shapes.len();
        self.shapes.push(shape);
        let mut fresh = true;
        for version in versions {
            fresh &= self.rows.insert((api, version), index).is_none();
        }
        fresh
    }

    /// The APIs and versions that have a shape.
    #[cfg(test)]
    pub(super) fn rows(&self) -> impl Iterator<Item = (ApiKey, i16)> {
        self.rows.keys().copied()
    }
}

/// What a structure in an array takes in memory, by the path of the array's name.
///
/// A size for each path rather than a guess from the fields: the codec's structures hold the fields
/// of all versions, with a map for tagged fields in each.
pub(super) fn element_bytes(api: ApiKey, path: &str) -> Option<usize> {
    Some(match (api, path) {
        (ApiKey::Produce, "topic_data") => size_of::<ProduceTopic>(),
        (ApiKey::Produce, "topic_data.partition_data") => size_of::<ProducePartition>(),
        (ApiKey::Fetch, "topics") => size_of::<FetchTopic>(),
        (ApiKey::Fetch, "topics.partitions") => size_of::<FetchPartition>(),
        (ApiKey::Fetch, "forgotten_topics_data") => size_of::<ForgottenTopic>(),
        (ApiKey::ListOffsets, "topics") => size_of::<m::list_offsets_request::ListOffsetsTopic>(),
        (ApiKey::ListOffsets, "topics.partitions") => {
            size_of::<m::list_offsets_request::ListOffsetsPartition>()
        }
        (ApiKey::Metadata, "topics") => size_of::<m::metadata_request::MetadataRequestTopic>(),
        (ApiKey::CreateTopics, "topics") => size_of::<m::create_topics_request::CreatableTopic>(),
        (ApiKey::CreateTopics, "topics.assignments") => {
            size_of::<m::create_topics_request::CreatableReplicaAssignment>()
        }
        (ApiKey::CreateTopics, "topics.configs") => {
            size_of::<m::create_topics_request::CreatableTopicConfig>()
        }
        (ApiKey::DeleteTopics, "topics") => size_of::<m::delete_topics_request::DeleteTopicState>(),
        (ApiKey::DeleteRecords, "topics") => {
            size_of::<m::delete_records_request::DeleteRecordsTopic>()
        }
        (ApiKey::DeleteRecords, "topics.partitions") => {
            size_of::<m::delete_records_request::DeleteRecordsPartition>()
        }
        (ApiKey::OffsetForLeaderEpoch, "topics") => {
            size_of::<m::offset_for_leader_epoch_request::OffsetForLeaderTopic>()
        }
        (ApiKey::OffsetForLeaderEpoch, "topics.partitions") => {
            size_of::<m::offset_for_leader_epoch_request::OffsetForLeaderPartition>()
        }
        (ApiKey::DescribeConfigs, "resources") => {
            size_of::<m::describe_configs_request::DescribeConfigsResource>()
        }
        (ApiKey::AlterConfigs, "resources") => {
            size_of::<m::alter_configs_request::AlterConfigsResource>()
        }
        (ApiKey::AlterConfigs, "resources.configs") => {
            size_of::<m::alter_configs_request::AlterableConfig>()
        }
        (ApiKey::DescribeLogDirs, "topics") => {
            size_of::<m::describe_log_dirs_request::DescribableLogDirTopic>()
        }
        (ApiKey::CreatePartitions, "topics") => {
            size_of::<m::create_partitions_request::CreatePartitionsTopic>()
        }
        (ApiKey::CreatePartitions, "topics.assignments") => {
            size_of::<m::create_partitions_request::CreatePartitionsAssignment>()
        }
        (ApiKey::IncrementalAlterConfigs, "resources") => {
            size_of::<m::incremental_alter_configs_request::AlterConfigsResource>()
        }
        (ApiKey::IncrementalAlterConfigs, "resources.configs") => {
            size_of::<m::incremental_alter_configs_request::AlterableConfig>()
        }
        (ApiKey::DescribeTopicPartitions, "topics") => {
            size_of::<m::describe_topic_partitions_request::TopicRequest>()
        }
        _ => return group_element_bytes(api, path),
    })
}

/// The same for the APIs of groups.
fn group_element_bytes(api: ApiKey, path: &str) -> Option<usize> {
    Some(match (api, path) {
        (ApiKey::OffsetCommit, "topics") => {
            size_of::<m::offset_commit_request::OffsetCommitRequestTopic>()
        }
        (ApiKey::OffsetCommit, "topics.partitions") => {
            size_of::<m::offset_commit_request::OffsetCommitRequestPartition>()
        }
        (ApiKey::JoinGroup, "protocols") => {
            size_of::<m::join_group_request::JoinGroupRequestProtocol>()
        }
        (ApiKey::LeaveGroup, "members") => size_of::<m::leave_group_request::MemberIdentity>(),
        (ApiKey::SyncGroup, "assignments") => {
            size_of::<m::sync_group_request::SyncGroupRequestAssignment>()
        }
        (ApiKey::OffsetDelete, "topics") => {
            size_of::<m::offset_delete_request::OffsetDeleteRequestTopic>()
        }
        (ApiKey::OffsetDelete, "topics.partitions") => {
            size_of::<m::offset_delete_request::OffsetDeleteRequestPartition>()
        }
        (ApiKey::ConsumerGroupHeartbeat, "topic_partitions") => {
            size_of::<m::consumer_group_heartbeat_request::TopicPartitions>()
        }
        (ApiKey::OffsetFetch, "topics") => {
            size_of::<m::offset_fetch_request::OffsetFetchRequestTopic>()
        }
        (ApiKey::OffsetFetch, "groups") => {
            size_of::<m::offset_fetch_request::OffsetFetchRequestGroup>()
        }
        (ApiKey::OffsetFetch, "groups.topics") => {
            size_of::<m::offset_fetch_request::OffsetFetchRequestTopics>()
        }
        _ => return None,
    })
}
