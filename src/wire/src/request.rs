//! A request's body, decoded.

use bytes::Bytes;
use kafka_protocol::protocol::Decodable;

use crate::api::ApiKey;
use crate::error::WireError;
use crate::fetch::FetchRequest;
use crate::header::RequestHeader;
use crate::messages as m;
use crate::offsets;
use crate::produce::ProduceRequest;
use crate::skim;

/// One request, of any API that is served.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant is the API of its name")]
pub enum Request {
    Produce(ProduceRequest),
    Fetch(FetchRequest),
    ListOffsets(m::ListOffsetsRequest),
    Metadata(m::MetadataRequest),
    OffsetCommit(m::OffsetCommitRequest),
    OffsetFetch(m::OffsetFetchRequest),
    FindCoordinator(m::FindCoordinatorRequest),
    JoinGroup(m::JoinGroupRequest),
    Heartbeat(m::HeartbeatRequest),
    LeaveGroup(m::LeaveGroupRequest),
    SyncGroup(m::SyncGroupRequest),
    DescribeGroups(m::DescribeGroupsRequest),
    ListGroups(m::ListGroupsRequest),
    ApiVersions(m::ApiVersionsRequest),
    /// ApiVersions in a version that is not served: to be answered with
    /// [`api_versions::unsupported_response`](crate::api_versions::unsupported_response).
    UnsupportedApiVersions,
    CreateTopics(m::CreateTopicsRequest),
    DeleteTopics(m::DeleteTopicsRequest),
    DeleteRecords(m::DeleteRecordsRequest),
    InitProducerId(m::InitProducerIdRequest),
    OffsetForLeaderEpoch(m::OffsetForLeaderEpochRequest),
    DescribeConfigs(m::DescribeConfigsRequest),
    AlterConfigs(m::AlterConfigsRequest),
    DescribeLogDirs(m::DescribeLogDirsRequest),
    CreatePartitions(m::CreatePartitionsRequest),
    DeleteGroups(m::DeleteGroupsRequest),
    IncrementalAlterConfigs(m::IncrementalAlterConfigsRequest),
    OffsetDelete(m::OffsetDeleteRequest),
    ConsumerGroupHeartbeat(m::ConsumerGroupHeartbeatRequest),
    ConsumerGroupDescribe(m::ConsumerGroupDescribeRequest),
    DescribeCluster(m::DescribeClusterRequest),
    DescribeTopicPartitions(m::DescribeTopicPartitionsRequest),
}

impl Request {
    /// Decodes a body, which is all of it and nothing more.
    ///
    /// An error means that the connection is to be closed.
    pub fn decode(header: &RequestHeader, body: Bytes) -> Result<Request, WireError> {
        let version = header.version;
        if !header.api.row().served.contains(version) {
            return match header.api {
                ApiKey::ApiVersions => Ok(Request::UnsupportedApiVersions),
                api => Err(WireError::UnsupportedVersion { api, version }),
            };
        }
        Ok(match header.api {
            ApiKey::Produce => Request::Produce(ProduceRequest::decode(version, &body)?),
            ApiKey::Fetch => Request::Fetch(FetchRequest::decode(version, &body)?),
            ApiKey::ListOffsets => Request::ListOffsets(by_codec(header, body)?),
            ApiKey::Metadata => Request::Metadata(by_codec(header, body)?),
            ApiKey::OffsetCommit => Request::OffsetCommit(offsets::offset_commit(header, body)?),
            ApiKey::OffsetFetch => Request::OffsetFetch(offsets::offset_fetch(header, body)?),
            ApiKey::FindCoordinator => Request::FindCoordinator(by_codec(header, body)?),
            ApiKey::JoinGroup => Request::JoinGroup(by_codec(header, body)?),
            ApiKey::Heartbeat => Request::Heartbeat(by_codec(header, body)?),
            ApiKey::LeaveGroup => Request::LeaveGroup(by_codec(header, body)?),
            ApiKey::SyncGroup => Request::SyncGroup(by_codec(header, body)?),
            ApiKey::DescribeGroups => Request::DescribeGroups(by_codec(header, body)?),
            ApiKey::ListGroups => Request::ListGroups(by_codec(header, body)?),
            ApiKey::ApiVersions => Request::ApiVersions(by_codec(header, body)?),
            ApiKey::CreateTopics => Request::CreateTopics(by_codec(header, body)?),
            ApiKey::DeleteTopics => Request::DeleteTopics(by_codec(header, body)?),
            ApiKey::DeleteRecords => Request::DeleteRecords(by_codec(header, body)?),
            ApiKey::InitProducerId => Request::InitProducerId(by_codec(header, body)?),
            ApiKey::OffsetForLeaderEpoch => Request::OffsetForLeaderEpoch(by_codec(header, body)?),
            ApiKey::DescribeConfigs => Request::DescribeConfigs(by_codec(header, body)?),
            ApiKey::AlterConfigs => Request::AlterConfigs(by_codec(header, body)?),
            ApiKey::DescribeLogDirs => Request::DescribeLogDirs(by_codec(header, body)?),
            ApiKey::CreatePartitions => Request::CreatePartitions(by_codec(header, body)?),
            ApiKey::DeleteGroups => Request::DeleteGroups(by_codec(header, body)?),
            ApiKey::IncrementalAlterConfigs => {
                Request::IncrementalAlterConfigs(by_codec(header, body)?)
            }
            ApiKey::OffsetDelete => Request::OffsetDelete(by_codec(header, body)?),
            ApiKey::ConsumerGroupHeartbeat => {
                Request::ConsumerGroupHeartbeat(by_codec(header, body)?)
            }
            ApiKey::ConsumerGroupDescribe => {
                Request::ConsumerGroupDescribe(by_codec(header, body)?)
            }
            ApiKey::DescribeCluster => Request::DescribeCluster(by_codec(header, body)?),
            ApiKey::DescribeTopicPartitions => {
                Request::DescribeTopicPartitions(by_codec(header, body)?)
            }
        })
    }
}

/// Skims, then lets kafka-protocol decode: it allocates what a count asks for, so that no body may
/// reach it unskimmed.
pub(crate) fn by_codec<T: Decodable>(header: &RequestHeader, body: Bytes) -> Result<T, WireError> {
    let mut body = skim::check(header.api, header.version, body)?;
    T::decode(&mut body, header.version).map_err(|error| WireError::Decode {
        api: header.api,
        version: header.version,
        reason: error.to_string(),
    })
}
