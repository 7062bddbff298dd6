//! Kafka's wire protocol: frames, the API table, requests decoded, answers encoded.
//!
//! Owns the bytes between a socket and a handler. Must not know what an API does, which topics
//! exist or what an error code means: it carries `i16`s. No I/O, no clock, no state.
//!
//! The way of a request: [`frame::parse_length`] checks a frame's length, [`RequestFrame::decode`]
//! reads the header, [`Request::decode`] skims the body (so that nothing is allocated on a claim alone) and
//! decodes it; a handler makes a [`Response`], and [`encode_response`] turns it into pieces for one
//! vectored write.
//!
//! Invariants: decoding allocates at most [`skim::decoded_bytes_max`] of a body's length; record
//! bytes are never copied, neither on the way in nor on the way out.
//!
//! Where Kafka's own reader is lenient, so is this one (bytes after a message, negative lengths for
//! null, invalid UTF-8): an answer, not a closed connection, is what a 4.3.0 broker gives.

#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

pub mod api;
pub mod api_versions;
pub mod error;
pub mod fetch;
mod fit;
pub mod frame;
pub mod header;
mod offsets;
mod primitives;
pub mod produce;
pub mod request;
pub mod response;
pub mod skim;

#[cfg(test)]
mod testing;

pub use api::ApiKey;
pub use error::{Problem, WireError};
pub use header::{RequestFrame, RequestHeader};
pub use primitives::{NodeEndpoint, TopicRef};
pub use request::Request;
pub use response::{Encoded, Response, encode_response};

pub use kafka_protocol::protocol::StrBytes;

/// The messages of all APIs but Produce and Fetch, as kafka-protocol has them (their structs are
/// non-exhaustive: build them from `default()` with `with_*`).
pub mod messages {
    pub use kafka_protocol::messages::{
        AlterConfigsRequest, AlterConfigsResponse, ApiVersionsRequest, ApiVersionsResponse,
        CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
        CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest,
        DeleteTopicsResponse, DescribeClusterRequest, DescribeClusterResponse,
        DescribeConfigsRequest, DescribeConfigsResponse, DescribeLogDirsRequest,
        DescribeLogDirsResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
        IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, InitProducerIdRequest,
        InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest,
        MetadataResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    };
    pub use kafka_protocol::messages::{
        BrokerId, ProducerId, TopicName, TransactionalId, alter_configs_request,
        alter_configs_response, create_partitions_request, create_partitions_response,
        create_topics_request, create_topics_response, delete_records_request,
        delete_records_response, delete_topics_request, delete_topics_response,
        describe_cluster_request, describe_cluster_response, describe_configs_request,
        describe_configs_response, describe_log_dirs_request, describe_log_dirs_response,
        describe_topic_partitions_request, describe_topic_partitions_response,
        incremental_alter_configs_request, incremental_alter_configs_response,
        init_producer_id_request, init_producer_id_response, list_offsets_request,
        list_offsets_response, metadata_request, metadata_response,
        offset_for_leader_epoch_request, offset_for_leader_epoch_response,
    };
    pub use kafka_protocol::messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
        ConsumerGroupHeartbeatResponse, DeleteGroupsRequest, DeleteGroupsResponse,
        DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest,
        FindCoordinatorResponse, GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
        JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest,
        ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest,
        OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest,
        SyncGroupResponse, api_versions_response, consumer_group_describe_request,
        consumer_group_describe_response, consumer_group_heartbeat_request,
        consumer_group_heartbeat_response, delete_groups_request, delete_groups_response,
        describe_groups_request, describe_groups_response, find_coordinator_request,
        find_coordinator_response, heartbeat_request, heartbeat_response, join_group_request,
        join_group_response, leave_group_request, leave_group_response, list_groups_request,
        list_groups_response, offset_commit_request, offset_commit_response, offset_delete_request,
        offset_delete_response, offset_fetch_request, offset_fetch_response, sync_group_request,
        sync_group_response,
    };
}
