//! Fetch in each version against the codec.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    BrokerId, FetchRequest as CodecRequest, ProducerId, TopicName, fetch_response as codec,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::api::ApiKey;
use crate::primitives::{NodeEndpoint, TopicRef};
use crate::produce::CurrentLeader;
use crate::response::{Encoded, Response, encode_response};
use crate::skim::{self, generate::body_of};
use crate::testing::{Numbers, header, mutate};

fn versions() -> impl Iterator<Item = i16> {
    ApiKey::Fetch.row().served.iter()
}

fn topic_ref(version: i16, name: TopicName, id: Uuid) -> TopicRef {
    if version >= 13 {
        TopicRef::Id(id)
    } else {
        TopicRef::Name(name.0)
    }
}

/// What the codec decodes, in our types.
fn by_codec(version: i16, mut body: Bytes) -> FetchRequest {
    let request = CodecRequest::decode(&mut body, version).unwrap();
    let topics = request.topics.into_iter().map(|topic| FetchTopic {
        topic: topic_ref(version, topic.topic, topic.topic_id),
        partitions: topic
            .partitions
            .into_iter()
            .map(|p| FetchPartition {
                partition: p.partition,
                current_leader_epoch: p.current_leader_epoch,
                fetch_offset: p.fetch_offset,
                last_fetched_epoch: p.last_fetched_epoch,
                log_start_offset: p.log_start_offset,
                partition_max_bytes: p.partition_max_bytes,
            })
            .collect(),
    });
    let forgotten = request
        .forgotten_topics_data
        .into_iter()
        .map(|topic| ForgottenTopic {
            topic: topic_ref(version, topic.topic, topic.topic_id),
            partitions: topic.partitions,
        });
    let (replica_id, replica_epoch) = if version >= 15 {
        (
            request.replica_state.replica_id.0,
            request.replica_state.replica_epoch,
        )
    } else {
        (request.replica_id.0, -1)
    };
    FetchRequest {
        cluster_id: request.cluster_id,
        replica_id,
        replica_epoch,
        max_wait_ms: request.max_wait_ms,
        min_bytes: request.min_bytes,
        max_bytes: request.max_bytes,
        isolation_level: request.isolation_level,
        session_id: request.session_id,
        session_epoch: request.session_epoch,
        topics: topics.collect(),
        forgotten: forgotten.collect(),
        rack_id: request.rack_id,
    }
}

#[test]
fn requests_of_each_version_are_what_the_codec_decodes() {
    let mut numbers = Numbers(4);
    for version in versions() {
        for _ in 0..300 {
            let body = Bytes::from(body_of(ApiKey::Fetch, version, &mut numbers));
            let request = FetchRequest::decode(version, &body).unwrap();
            assert_eq!(request, by_codec(version, body), "version {version}");
        }
    }
}

/// Slices of records: of one allocation, so that a test can tell a slice from a copy.
fn records(index: i32) -> Vec<Bytes> {
    let batches = Bytes::from(vec![index as u8; 1000]);
    match index {
        0 => Vec::new(),
        1 => vec![Bytes::new()],
        2 => vec![batches],
        _ => vec![
            batches.slice(..10),
            Bytes::new(),
            batches.slice(10..700),
            batches.slice(700..),
        ],
    }
}

fn partition(index: i32) -> FetchPartitionResponse {
    let aborted = (0..i64::from(index)).map(|n| AbortedTransaction {
        producer_id: n,
        first_offset: n << 33,
    });
    FetchPartitionResponse {
        index,
        error_code: index as i16,
        high_watermark: 1 << 40,
        last_stable_offset: 1 << 39,
        log_start_offset: 99,
        aborted: (index != 1).then(|| aborted.collect()),
        preferred_read_replica: if index == 2 { 4 } else { -1 },
        records: records(index),
        diverging_epoch: (index % 2 == 1).then_some(DivergingEpoch {
            epoch: 3,
            end_offset: 88,
        }),
        current_leader: (index > 1).then_some(CurrentLeader {
            leader_id: 1,
            leader_epoch: 6,
        }),
    }
}

fn response(version: i16, topics: usize, partitions: i32, endpoints: usize) -> FetchResponse {
    let topic = if version >= 13 {
        TopicRef::Id(Uuid::from_u128(77))
    } else {
        TopicRef::Name(StrBytes::from_static_str("a-topic"))
    };
    let endpoint = NodeEndpoint {
        node_id: 1,
        host: StrBytes::from_static_str("host"),
        port: 9092,
        rack: (endpoints > 1).then(|| StrBytes::from_static_str("rack")),
    };
    FetchResponse {
        throttle_time_ms: 5,
        error_code: 0,
        session_id: if version >= 7 { 123 } else { 0 },
        topics: vec![
            FetchTopicResponse {
                topic,
                partitions: (0..partitions).map(partition).collect()
            };
            topics
        ],
        node_endpoints: vec![endpoint; endpoints],
    }
}

fn codec_partition(version: i16, p: &FetchPartitionResponse) -> codec::PartitionData {
    let aborted = p.aborted.as_ref().map(|aborted| {
        let transaction = |a: &AbortedTransaction| {
            codec::AbortedTransaction::default()
                .with_producer_id(ProducerId(a.producer_id))
                .with_first_offset(a.first_offset)
        };
        aborted.iter().map(transaction).collect()
    });
    let mut out = codec::PartitionData::default()
        .with_partition_index(p.index)
        .with_error_code(p.error_code)
        .with_high_watermark(p.high_watermark)
        .with_last_stable_offset(p.last_stable_offset)
        .with_aborted_transactions(aborted)
        .with_records(Some(Bytes::from(p.records.concat())));
    if version >= 5 {
        out = out.with_log_start_offset(p.log_start_offset);
    }
    if version >= 11 {
        out = out.with_preferred_read_replica(BrokerId(p.preferred_read_replica));
    }
    if let (true, Some(diverging)) = (version >= 12, p.diverging_epoch) {
        out = out.with_diverging_epoch(
            codec::EpochEndOffset::default()
                .with_epoch(diverging.epoch)
                .with_end_offset(diverging.end_offset),
        );
    }
    if let (true, Some(leader)) = (version >= 12, p.current_leader) {
        out = out.with_current_leader(
            codec::LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(leader.leader_id))
                .with_leader_epoch(leader.leader_epoch),
        );
    }
    out
}

fn codec_response(version: i16, response: &FetchResponse) -> codec::FetchResponse {
    let topics = response.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| codec_partition(version, p));
        let out = codec::FetchableTopicResponse::default().with_partitions(partitions.collect());
        match &topic.topic {
            TopicRef::Name(name) => out.with_topic(TopicName(name.clone())),
            TopicRef::Id(id) => out.with_topic_id(*id),
        }
    });
    let endpoints = response
        .node_endpoints
        .iter()
        .filter(|_| version >= 16)
        .map(|endpoint| {
            codec::NodeEndpoint::default()
                .with_node_id(BrokerId(endpoint.node_id))
                .with_host(endpoint.host.clone())
                .with_port(endpoint.port)
                .with_rack(endpoint.rack.clone())
        });
    codec::FetchResponse::default()
        .with_throttle_time_ms(response.throttle_time_ms)
        .with_error_code(response.error_code)
        .with_session_id(response.session_id)
        .with_responses(topics.collect())
        .with_node_endpoints(endpoints.collect())
}

fn encode(version: i16, response: FetchResponse) -> Encoded {
    encode_response(&header(ApiKey::Fetch, version), Response::Fetch(response)).unwrap()
}

#[test]
fn answers_of_each_version_are_byte_for_byte_what_the_codec_encodes() {
    for version in versions() {
        for (topics, partitions, endpoints) in [(0, 0, 0), (1, 1, 1), (1, 3, 0), (2, 5, 2)] {
            let response = response(version, topics, partitions, endpoints);
            let expected = codec_response(version, &response);
            let encoded = encode(version, response);
            let bytes = Bytes::from(encoded.pieces.concat());
            assert_eq!(encoded.total_bytes, bytes.len());
            assert_eq!(bytes[..4], (bytes.len() as u32 - 4).to_be_bytes());
            let header_bytes = if version >= 12 { 9 } else { 8 };

            let mut by_codec = BytesMut::new();
            expected.encode(&mut by_codec, version).unwrap();
            assert_eq!(bytes[header_bytes..], by_codec, "version {version}");
            let mut body = bytes.slice(header_bytes..);
            assert_eq!(
                codec::FetchResponse::decode(&mut body, version).unwrap(),
                expected
            );
            assert!(body.is_empty());
        }
    }
}

#[test]
fn records_leave_as_the_slices_that_they_were_given_as() {
    for version in versions() {
        let response = response(version, 2, 5, 1);
        let given: Vec<_> = response
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .flat_map(|partition| &partition.records)
            .filter(|slice| !slice.is_empty())
            .map(|slice| (slice.as_ptr(), slice.len()))
            .collect();
        let encoded = encode(version, response);
        let mut pieces = encoded
            .pieces
            .iter()
            .map(|piece| (piece.as_ptr(), piece.len()));
        assert!(
            given
                .iter()
                .all(|slice| pieces.any(|piece| piece == *slice)),
            "version {version}"
        );
        assert!(encoded.pieces.iter().all(|piece| !piece.is_empty()));
    }
}

#[test]
fn encoding_allocates_for_all_but_the_records() {
    let mut response = response(17, 1, 1, 0);
    response.topics[0].partitions[0].records = vec![Bytes::from(vec![1; 8 << 20])];
    let info = allocation_counter::measure(|| {
        let encoded = encode(17, std::mem::take(&mut response));
        assert_eq!(encoded.pieces.len(), 3);
    });
    assert!(info.bytes_total < 1024, "{info:?}");
}

#[test]
fn more_records_than_a_length_can_say_are_an_error() {
    let mut response = response(17, 1, 1, 0);
    let slice = Bytes::from(vec![0; 1 << 20]);
    response.topics[0].partitions[0].records = vec![slice.clone(); RECORD_BYTES_MAX >> 20];
    assert_eq!(
        encode(17, response.clone()).total_bytes >> 20,
        RECORD_BYTES_MAX >> 20
    );
    response.topics[0].partitions[0].records.push(slice);
    assert!(encode_response(&header(ApiKey::Fetch, 17), Response::Fetch(response)).is_err());
}

#[test]
#[should_panic(expected = "a topic is named as the request named it")]
fn a_topic_by_name_in_a_version_of_ids_is_a_mistake() {
    encode(13, response(12, 1, 1, 0));
}

#[test]
fn a_count_of_partitions_that_cannot_fit_is_refused() {
    for version in versions() {
        let mut body = BytesMut::new();
        body.put_bytes(0, 200);
        let zeros = body.freeze();
        assert!(
            FetchRequest::decode(version, &zeros).is_ok() || version >= 12,
            "version {version}"
        );
        assert!(FetchRequest::decode(version, &Bytes::from_static(&[0x7f; 60])).is_err());
    }
}

proptest! {
    #[test]
    fn mutated_requests_are_refused_exactly_when_the_shape_refuses_them(seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        for version in versions() {
            let mut body = body_of(ApiKey::Fetch, version, &mut numbers);
            mutate(&mut body, &mut numbers);
            let body = Bytes::from(body);
            match (FetchRequest::decode(version, &body), skim::check(ApiKey::Fetch, version, body)) {
                (Ok(request), Ok(plain)) => prop_assert_eq!(request, by_codec(version, plain)),
                (Err(_), Err(_)) => {}
                (ours, shape) => prop_assert!(false, "version {version}: {ours:?} but {shape:?}"),
            }
        }
    }
}
