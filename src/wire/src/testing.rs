//! What the tests of this crate share: a generator of bodies from shapes, and the codec's encoder.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;

use crate::api::ApiKey;
use crate::header::RequestHeader;
use crate::request::Request;

/// A small generator of numbers, so that a failing case is one seed.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// The next number (splitmix64).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Each API and version that is served.
pub(crate) fn rows() -> impl Iterator<Item = (ApiKey, i16)> {
    ApiKey::ALL
        .iter()
        .flat_map(|api| api.row().served.iter().map(move |version| (*api, version)))
}

/// A header for tests.
pub(crate) fn header(api: ApiKey, version: i16) -> RequestHeader {
    RequestHeader {
        api,
        version,
        correlation_id: 7,
    }
}

/// Some of `body`'s bytes changed, cut, doubled or replaced by large counts.
pub(crate) fn mutate(body: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(body.len() + 1);
        match numbers.below(7) {
            0 => body.truncate(at),
            1 => body.insert(at, numbers.next() as u8),
            2 => {
                let piece = body[at..].to_vec();
                body.splice(at..at, piece);
            }
            3 => {
                let count = [
                    [0x7f, 0xff, 0xff, 0xff],
                    [0xff; 4],
                    [0x80, 0, 0, 0],
                    [0, 1, 0, 0],
                ];
                let count = count[numbers.below(4)];
                body.splice(at..(at + 4).min(body.len()), count);
            }
            4 => {
                body.splice(at..(at + 1).min(body.len()), [0xff, 0xff, 0xff, 0xff, 0x0f]);
            }
            5 => {
                body.splice(at..at, [1, 99, 3, 1, 2, 3]);
            }
            _ => {
                if let Some(byte) = body.get_mut(at) {
                    *byte = numbers.next() as u8;
                }
            }
        }
    }
}

/// The body of a request as the codec encodes it; none for what it has no type of.
pub(crate) fn encode_by_codec(request: &Request, version: i16) -> Option<Bytes> {
    fn encoded<T: Encodable>(message: &T, version: i16) -> Option<Bytes> {
        let mut buffer = BytesMut::new();
        message.encode(&mut buffer, version).unwrap();
        Some(buffer.freeze())
    }
    match request {
        Request::Produce(_) | Request::Fetch(_) | Request::UnsupportedApiVersions => None,
        Request::ListOffsets(request) => encoded(request, version),
        Request::Metadata(request) => {
            // Below version 4 topics are always created, and the codec insists that we know.
            let allow = request.allow_auto_topic_creation || version < 4;
            encoded(
                &request.clone().with_allow_auto_topic_creation(allow),
                version,
            )
        }
        Request::OffsetCommit(request) if version < 10 => encoded(request, version),
        Request::OffsetCommit(_) => None,
        Request::OffsetFetch(request) if version < 10 => encoded(request, version),
        Request::OffsetFetch(_) => None,
        Request::FindCoordinator(request) => encoded(request, version),
        Request::JoinGroup(request) => encoded(request, version),
        Request::Heartbeat(request) => encoded(request, version),
        Request::LeaveGroup(request) => encoded(request, version),
        Request::SyncGroup(request) => encoded(request, version),
        Request::DescribeGroups(request) => encoded(request, version),
        Request::ListGroups(request) => encoded(request, version),
        Request::ApiVersions(request) => encoded(request, version),
        Request::CreateTopics(request) => encoded(request, version),
        Request::DeleteTopics(request) => encoded(request, version),
        Request::DeleteRecords(request) => encoded(request, version),
        Request::InitProducerId(request) => encoded(request, version),
        Request::OffsetForLeaderEpoch(request) => encoded(request, version),
        Request::DescribeConfigs(request) => encoded(request, version),
        Request::AlterConfigs(request) => encoded(request, version),
        Request::DescribeLogDirs(request) => encoded(request, version),
        Request::CreatePartitions(request) => encoded(request, version),
        Request::IncrementalAlterConfigs(request) => encoded(request, version),
        Request::DeleteGroups(request) => encoded(request, version),
        Request::OffsetDelete(request) => encoded(request, version),
        Request::ConsumerGroupHeartbeat(request) => encoded(request, version),
        Request::ConsumerGroupDescribe(request) => encoded(request, version),
        Request::DescribeCluster(request) => encoded(request, version),
        Request::DescribeTopicPartitions(request) => encoded(request, version),
    }
}
