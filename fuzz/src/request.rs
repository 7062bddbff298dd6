//! Requests: from any bytes to a frame of an API and version that are served, and back.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;
use tailwater_wire::{ApiKey, Request, RequestHeader};

/// Each API and version that is served.
pub fn rows() -> impl Iterator<Item = (ApiKey, i16)> {
    ApiKey::ALL
        .iter()
        .flat_map(|api| api.row().served.iter().map(move |version| (*api, version)))
}

/// The API and version that the first four bytes name; if they name none, one that they pick.
pub fn row(key: [u8; 2], version: [u8; 2]) -> (ApiKey, i16) {
    let (key, version) = (i16::from_be_bytes(key), i16::from_be_bytes(version));
    let api = ApiKey::from_key(key).unwrap_or_else(|| {
        let index = usize::from(key.unsigned_abs()) % ApiKey::ALL.len();
        ApiKey::ALL[index]
    });
    let served = api.row().served;
    let versions = served.max - served.min + 1;
    let version = if served.contains(version) {
        version
    } else {
        served.min + version.rem_euclid(versions)
    };
    (api, version)
}

/// The body of a request as kafka-protocol writes it; none for what it has no type of, or cannot
/// express.
pub fn encoded(request: &Request, version: i16) -> Option<Bytes> {
    fn by_codec<T: Encodable>(message: &T, version: i16) -> Option<Bytes> {
        let mut buffer = BytesMut::new();
        message.encode(&mut buffer, version).ok()?;
        Some(buffer.freeze())
    }
    match request {
        Request::Produce(_) | Request::Fetch(_) | Request::UnsupportedApiVersions => None,
        Request::ListOffsets(request) => by_codec(request, version),
        Request::Metadata(request) => by_codec(request, version),
        Request::OffsetCommit(request) => by_codec(request, version),
        Request::OffsetFetch(request) => by_codec(request, version),
        Request::FindCoordinator(request) => by_codec(request, version),
        Request::JoinGroup(request) => by_codec(request, version),
        Request::Heartbeat(request) => by_codec(request, version),
        Request::LeaveGroup(request) => by_codec(request, version),
        Request::SyncGroup(request) => by_codec(request, version),
        Request::DescribeGroups(request) => by_codec(request, version),
        Request::ListGroups(request) => by_codec(request, version),
        Request::DeleteGroups(request) => by_codec(request, version),
        Request::OffsetDelete(request) => by_codec(request, version),
        Request::ConsumerGroupHeartbeat(request) => by_codec(request, version),
        Request::ConsumerGroupDescribe(request) => by_codec(request, version),
        Request::ApiVersions(request) => by_codec(request, version),
        Request::CreateTopics(request) => by_codec(request, version),
        Request::DeleteTopics(request) => by_codec(request, version),
        Request::DeleteRecords(request) => by_codec(request, version),
        Request::InitProducerId(request) => by_codec(request, version),
        Request::OffsetForLeaderEpoch(request) => by_codec(request, version),
        Request::DescribeConfigs(request) => by_codec(request, version),
        Request::AlterConfigs(request) => by_codec(request, version),
        Request::DescribeLogDirs(request) => by_codec(request, version),
        Request::CreatePartitions(request) => by_codec(request, version),
        Request::IncrementalAlterConfigs(request) => by_codec(request, version),
        Request::DescribeCluster(request) => by_codec(request, version),
        Request::DescribeTopicPartitions(request) => by_codec(request, version),
    }
}

/// A header for a body.
pub fn header((api, version): (ApiKey, i16)) -> RequestHeader {
    RequestHeader {
        api,
        version,
        correlation_id: 7,
    }
}
