//! Answers, encoded for one vectored write.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;
use smallvec::{SmallVec, smallvec};

use crate::api::ApiKey;
use crate::error::WireError;
use crate::fetch::FetchResponse;
use crate::fit;
use crate::header::RequestHeader;
use crate::messages as m;
use crate::produce::ProduceResponse;

/// One answer, of any API that is served.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant is the API of its name")]
pub enum Response {
    Produce(ProduceResponse),
    Fetch(FetchResponse),
    ListOffsets(m::ListOffsetsResponse),
    Metadata(m::MetadataResponse),
    OffsetCommit(m::OffsetCommitResponse),
    OffsetFetch(m::OffsetFetchResponse),
    FindCoordinator(m::FindCoordinatorResponse),
    JoinGroup(m::JoinGroupResponse),
    Heartbeat(m::HeartbeatResponse),
    LeaveGroup(m::LeaveGroupResponse),
    SyncGroup(m::SyncGroupResponse),
    DescribeGroups(m::DescribeGroupsResponse),
    ListGroups(m::ListGroupsResponse),
    ApiVersions(m::ApiVersionsResponse),
    CreateTopics(m::CreateTopicsResponse),
    DeleteTopics(m::DeleteTopicsResponse),
    DeleteRecords(m::DeleteRecordsResponse),
    InitProducerId(m::InitProducerIdResponse),
    OffsetForLeaderEpoch(m::OffsetForLeaderEpochResponse),
    DescribeConfigs(m::DescribeConfigsResponse),
    AlterConfigs(m::AlterConfigsResponse),
    DescribeLogDirs(m::DescribeLogDirsResponse),
    CreatePartitions(m::CreatePartitionsResponse),
    DeleteGroups(m::DeleteGroupsResponse),
    IncrementalAlterConfigs(m::IncrementalAlterConfigsResponse),
    OffsetDelete(m::OffsetDeleteResponse),
    ConsumerGroupHeartbeat(m::ConsumerGroupHeartbeatResponse),
    ConsumerGroupDescribe(m::ConsumerGroupDescribeResponse),
    DescribeCluster(m::DescribeClusterResponse),
    DescribeTopicPartitions(m::DescribeTopicPartitionsResponse),
}

/// An answer as it goes to the socket: length, header and body, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// What to write. Records stand here as the slices that they were given as.
    pub pieces: SmallVec<[Bytes; 4]>,
    /// The sum of the pieces' lengths, the four bytes of the length included.
    pub total_bytes: usize,
}

impl Response {
    /// The API that this answers.
    pub fn api(&self) -> ApiKey {
        match self {
            Response::Produce(_) => ApiKey::Produce,
            Response::Fetch(_) => ApiKey::Fetch,
            Response::ListOffsets(_) => ApiKey::ListOffsets,
            Response::Metadata(_) => ApiKey::Metadata,
            Response::OffsetCommit(_) => ApiKey::OffsetCommit,
            Response::OffsetFetch(_) => ApiKey::OffsetFetch,
            Response::FindCoordinator(_) => ApiKey::FindCoordinator,
            Response::JoinGroup(_) => ApiKey::JoinGroup,
            Response::Heartbeat(_) => ApiKey::Heartbeat,
            Response::LeaveGroup(_) => ApiKey::LeaveGroup,
            Response::SyncGroup(_) => ApiKey::SyncGroup,
            Response::DescribeGroups(_) => ApiKey::DescribeGroups,
            Response::ListGroups(_) => ApiKey::ListGroups,
            Response::ApiVersions(_) => ApiKey::ApiVersions,
            Response::CreateTopics(_) => ApiKey::CreateTopics,
            Response::DeleteTopics(_) => ApiKey::DeleteTopics,
            Response::DeleteRecords(_) => ApiKey::DeleteRecords,
            Response::InitProducerId(_) => ApiKey::InitProducerId,
            Response::OffsetForLeaderEpoch(_) => ApiKey::OffsetForLeaderEpoch,
            Response::DescribeConfigs(_) => ApiKey::DescribeConfigs,
            Response::AlterConfigs(_) => ApiKey::AlterConfigs,
            Response::DescribeLogDirs(_) => ApiKey::DescribeLogDirs,
            Response::CreatePartitions(_) => ApiKey::CreatePartitions,
            Response::DeleteGroups(_) => ApiKey::DeleteGroups,
            Response::IncrementalAlterConfigs(_) => ApiKey::IncrementalAlterConfigs,
            Response::OffsetDelete(_) => ApiKey::OffsetDelete,
            Response::ConsumerGroupHeartbeat(_) => ApiKey::ConsumerGroupHeartbeat,
            Response::ConsumerGroupDescribe(_) => ApiKey::ConsumerGroupDescribe,
            Response::DescribeCluster(_) => ApiKey::DescribeCluster,
            Response::DescribeTopicPartitions(_) => ApiKey::DescribeTopicPartitions,
        }
    }
}

/// Encodes the answer to the request of `header`, whose API it must be an answer of.
///
/// What a version cannot carry is left out, as far as handlers set it without looking at the
/// version; an error means that some other field does not fit: a mistake of ours.
pub fn encode_response(header: &RequestHeader, response: Response) -> Result<Encoded, WireError> {
    assert_eq!(header.api, response.api(), "an answer to another API");
    match fit::fit(header.version, response) {
        Response::Produce(response) => Ok(Encoded::one(response.encode(header))),
        Response::Fetch(response) => response.encode(header),
        Response::ListOffsets(response) => by_codec(header, &response),
        Response::Metadata(response) => by_codec(header, &response),
        Response::OffsetCommit(response) => by_codec(header, &response),
        Response::OffsetFetch(response) => by_codec(header, &response),
        Response::FindCoordinator(response) => by_codec(header, &response),
        Response::JoinGroup(response) => by_codec(header, &response),
        Response::Heartbeat(response) => by_codec(header, &response),
        Response::LeaveGroup(response) => by_codec(header, &response),
        Response::SyncGroup(response) => by_codec(header, &response),
        Response::DescribeGroups(response) => by_codec(header, &response),
        Response::ListGroups(response) => by_codec(header, &response),
        Response::ApiVersions(response) => by_codec(header, &response),
        Response::CreateTopics(response) => by_codec(header, &response),
        Response::DeleteTopics(response) => by_codec(header, &response),
        Response::DeleteRecords(response) => by_codec(header, &response),
        Response::InitProducerId(response) => by_codec(header, &response),
        Response::OffsetForLeaderEpoch(response) => by_codec(header, &response),
        Response::DescribeConfigs(response) => by_codec(header, &response),
        Response::AlterConfigs(response) => by_codec(header, &response),
        Response::DescribeLogDirs(response) => by_codec(header, &response),
        Response::CreatePartitions(response) => by_codec(header, &response),
        Response::DeleteGroups(response) => by_codec(header, &response),
        Response::IncrementalAlterConfigs(response) => by_codec(header, &response),
        Response::OffsetDelete(response) => by_codec(header, &response),
        Response::ConsumerGroupHeartbeat(response) => by_codec(header, &response),
        Response::ConsumerGroupDescribe(response) => by_codec(header, &response),
        Response::DescribeCluster(response) => by_codec(header, &response),
        Response::DescribeTopicPartitions(response) => by_codec(header, &response),
    }
}

fn by_codec<T: Encodable>(header: &RequestHeader, response: &T) -> Result<Encoded, WireError> {
    let error = |error: &dyn std::fmt::Display| WireError::Encode {
        api: header.api,
        version: header.version,
        reason: error.to_string(),
    };
    let body_bytes = response
        .compute_size(header.version)
        .map_err(|e| error(&e))?;
    let mut buffer = BytesMut::with_capacity(HEADER_BYTES_MAX + body_bytes);
    header.begin_answer(&mut buffer);
    response
        .encode(&mut buffer, header.version)
        .map_err(|e| error(&e))?;
    Ok(Encoded::one(buffer))
}

/// Length, correlation id, no tags.
const HEADER_BYTES_MAX: usize = 9;

/// Sets the length at the front of an answer of `total_bytes`, the length included.
pub(crate) fn set_length(buffer: &mut BytesMut, total_bytes: usize) {
    let length = i32::try_from(total_bytes - 4).expect("an answer's length fits 31 bits");
    buffer
        .first_chunk_mut::<4>()
        .expect("an answer begins with its length")
        .copy_from_slice(&length.to_be_bytes());
}

impl Encoded {
    /// An answer in one piece, whose length is yet to be set.
    fn one(mut buffer: BytesMut) -> Encoded {
        let total_bytes = buffer.len();
        set_length(&mut buffer, total_bytes);
        Encoded {
            pieces: smallvec![buffer.freeze()],
            total_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Decodable;

    use super::*;
    use crate::testing::{header, rows};

    /// An empty answer of each API.
    fn empty(api: ApiKey) -> Response {
        match api {
            ApiKey::Produce => Response::Produce(Default::default()),
            ApiKey::Fetch => Response::Fetch(Default::default()),
            ApiKey::ListOffsets => Response::ListOffsets(Default::default()),
            ApiKey::Metadata => Response::Metadata(Default::default()),
            ApiKey::OffsetCommit => Response::OffsetCommit(Default::default()),
            ApiKey::OffsetFetch => Response::OffsetFetch(Default::default()),
            ApiKey::FindCoordinator => Response::FindCoordinator(Default::default()),
            ApiKey::JoinGroup => Response::JoinGroup(Default::default()),
            ApiKey::Heartbeat => Response::Heartbeat(Default::default()),
            ApiKey::LeaveGroup => Response::LeaveGroup(Default::default()),
            ApiKey::SyncGroup => Response::SyncGroup(Default::default()),
            ApiKey::DescribeGroups => Response::DescribeGroups(Default::default()),
            ApiKey::ListGroups => Response::ListGroups(Default::default()),
            ApiKey::ApiVersions => Response::ApiVersions(Default::default()),
            ApiKey::CreateTopics => Response::CreateTopics(Default::default()),
            ApiKey::DeleteTopics => Response::DeleteTopics(Default::default()),
            ApiKey::DeleteRecords => Response::DeleteRecords(Default::default()),
            ApiKey::InitProducerId => Response::InitProducerId(Default::default()),
            ApiKey::OffsetForLeaderEpoch => Response::OffsetForLeaderEpoch(Default::default()),
            ApiKey::DescribeConfigs => Response::DescribeConfigs(Default::default()),
            ApiKey::AlterConfigs => Response::AlterConfigs(Default::default()),
            ApiKey::DescribeLogDirs => Response::DescribeLogDirs(Default::default()),
            ApiKey::CreatePartitions => Response::CreatePartitions(Default::default()),
            ApiKey::DeleteGroups => Response::DeleteGroups(Default::default()),
            ApiKey::IncrementalAlterConfigs => {
                Response::IncrementalAlterConfigs(Default::default())
            }
            ApiKey::OffsetDelete => Response::OffsetDelete(Default::default()),
            ApiKey::ConsumerGroupHeartbeat => Response::ConsumerGroupHeartbeat(Default::default()),
            ApiKey::ConsumerGroupDescribe => Response::ConsumerGroupDescribe(Default::default()),
            ApiKey::DescribeCluster => Response::DescribeCluster(Default::default()),
            ApiKey::DescribeTopicPartitions => {
                Response::DescribeTopicPartitions(Default::default())
            }
        }
    }

    fn encoded_body(api: ApiKey, version: i16, response: Response) -> Bytes {
        let encoded = encode_response(&header(api, version), response).unwrap();
        let bytes = Bytes::from(encoded.pieces.concat());
        assert_eq!(encoded.total_bytes, bytes.len());
        assert_eq!(bytes[..4], (bytes.len() as u32 - 4).to_be_bytes());
        assert_eq!(bytes[4..8], [0, 0, 0, 7]);
        let tags = usize::from(api.response_header_is_flexible(version));
        assert!(bytes[8..8 + tags].iter().all(|byte| *byte == 0));
        bytes.slice(8 + tags..)
    }

    #[test]
    fn each_api_and_version_can_be_answered() {
        for (api, version) in rows() {
            assert_eq!(empty(api).api(), api);
            assert!(!encoded_body(api, version, empty(api)).is_empty());
        }
    }

    #[test]
    #[should_panic(expected = "an answer to another API")]
    fn an_answer_to_another_api_is_a_mistake() {
        let _ = encode_response(&header(ApiKey::Fetch, 4), empty(ApiKey::Produce));
    }

    #[test]
    fn handlers_need_not_know_which_version_has_which_field() {
        let partition = m::list_offsets_response::ListOffsetsPartitionResponse::default()
            .with_offset(5)
            .with_leader_epoch(3);
        let topic = m::list_offsets_response::ListOffsetsTopicResponse::default()
            .with_partitions(vec![partition]);
        let list_offsets = m::ListOffsetsResponse::default().with_topics(vec![topic]);
        for version in ApiKey::ListOffsets.row().served.iter() {
            let response = Response::ListOffsets(list_offsets.clone());
            let mut body = encoded_body(ApiKey::ListOffsets, version, response);
            let decoded = m::ListOffsetsResponse::decode(&mut body, version).unwrap();
            let expected = if version < 4 { -1 } else { 3 };
            assert_eq!(decoded.topics[0].partitions[0].leader_epoch, expected);
        }

        let topic = m::metadata_response::MetadataResponseTopic::default()
            .with_name(Some(m::TopicName(
                kafka_protocol::protocol::StrBytes::from_static_str("t"),
            )))
            .with_topic_id(uuid::Uuid::from_u128(1))
            .with_topic_authorized_operations(8);
        let metadata = m::MetadataResponse::default()
            .with_topics(vec![topic])
            .with_throttle_time_ms(1)
            .with_cluster_id(Some(kafka_protocol::protocol::StrBytes::from_static_str(
                "c",
            )))
            .with_cluster_authorized_operations(8);
        for version in ApiKey::Metadata.row().served.iter() {
            let mut body = encoded_body(
                ApiKey::Metadata,
                version,
                Response::Metadata(metadata.clone()),
            );
            let decoded = m::MetadataResponse::decode(&mut body, version).unwrap();
            assert_eq!(
                decoded.cluster_authorized_operations == 8,
                (8..=10).contains(&version)
            );
            assert_eq!(
                decoded.topics[0].topic_authorized_operations == 8,
                version >= 8
            );
        }

        let broker =
            m::describe_cluster_response::DescribeClusterBroker::default().with_is_fenced(true);
        let cluster = m::DescribeClusterResponse::default()
            .with_brokers(vec![broker])
            .with_endpoint_type(2);
        for version in ApiKey::DescribeCluster.row().served.iter() {
            let mut body = encoded_body(
                ApiKey::DescribeCluster,
                version,
                Response::DescribeCluster(cluster.clone()),
            );
            let decoded = m::DescribeClusterResponse::decode(&mut body, version).unwrap();
            assert_eq!(decoded.endpoint_type, if version >= 1 { 2 } else { 1 });
            assert_eq!(decoded.brokers[0].is_fenced, version >= 2);
        }
    }
}
