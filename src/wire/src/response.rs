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
    IncrementalAlterConfigs(m::IncrementalAlterConfigsResponse),
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
            Response::IncrementalAlterConfigs(_) => ApiKey::IncrementalAlterConfigs,
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
        Response::Fetch(response) => Ok(response.encode(header)),
        Response::ListOffsets(response) => by_codec(header, &response),
        Response::Metadata(response) => by_codec(header, &response),
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
        Response::IncrementalAlterConfigs(response) => by_codec(header, &response),
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
