//! Produce in each version against the codec.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    BrokerId, ProduceRequest as CodecRequest, TopicName, produce_response as codec,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::api::ApiKey;
use crate::error::{Problem, WireError};
use crate::primitives::{NodeEndpoint, TopicRef};
use crate::response::{Response, encode_response};
use crate::skim::{self, generate::body_of};
use crate::testing::{Numbers, header, mutate};

fn versions() -> impl Iterator<Item = i16> {
    ApiKey::Produce.row().served.iter()
}

/// What the codec decoded, in our types.
fn ours(version: i16, request: CodecRequest) -> ProduceRequest {
    let topics = request.topic_data.into_iter().map(|topic| ProduceTopic {
        topic: topic_ref(version, topic.name, topic.topic_id),
        partitions: topic
            .partition_data
            .into_iter()
            .map(|p| ProducePartition {
                index: p.index,
                records: p.records,
            })
            .collect(),
    });
    ProduceRequest {
        transactional_id: request.transactional_id.map(|id| id.0),
        acks: request.acks,
        timeout_ms: request.timeout_ms,
        topics: topics.collect(),
    }
}

fn topic_ref(version: i16, name: TopicName, id: Uuid) -> TopicRef {
    if version >= 13 {
        TopicRef::Id(id)
    } else {
        TopicRef::Name(name.0)
    }
}

fn by_codec(version: i16, mut body: Bytes) -> ProduceRequest {
    ours(version, CodecRequest::decode(&mut body, version).unwrap())
}

#[test]
fn requests_of_each_version_are_what_the_codec_decodes() {
    let mut numbers = Numbers(3);
    for version in versions() {
        for _ in 0..300 {
            let body = Bytes::from(body_of(ApiKey::Produce, version, &mut numbers));
            let request = ProduceRequest::decode(version, &body).unwrap();
            assert_eq!(request, by_codec(version, body), "version {version}");
        }
    }
}

#[test]
fn records_are_slices_of_the_frame_and_nothing_else_is() {
    for version in versions() {
        let records = Bytes::from(vec![7; 5000]);
        let partition = kafka_protocol::messages::produce_request::PartitionProduceData::default()
            .with_index(3)
            .with_records(Some(records.clone()));
        let mut topic = kafka_protocol::messages::produce_request::TopicProduceData::default()
            .with_partition_data(vec![partition]);
        if version < 13 {
            topic = topic.with_name(TopicName(StrBytes::from_static_str("topic")));
        }
        let mut body = BytesMut::new();
        CodecRequest::default()
            .with_acks(-1)
            .with_topic_data(vec![topic])
            .encode(&mut body, version)
            .unwrap();
        let body = body.freeze();
        let mut request = ProduceRequest::decode(version, &body).unwrap();
        let slice = request.topics[0].partitions[0].records.take().unwrap();
        assert_eq!(slice, records);
        assert!(body.as_ptr_range().contains(&slice.as_ptr()));
        drop(slice);
        assert!(
            body.is_unique(),
            "version {version}: the frame is held by something else"
        );
    }
}

#[test]
fn a_request_that_costs_too_much_is_refused() {
    let mut body = BytesMut::new();
    body.extend_from_slice(&[0xff, 0xff, 0, 1, 0, 0, 0, 0]);
    body.extend_from_slice(&1_000_000_u32.to_be_bytes());
    let error = ProduceRequest::decode(3, &body.clone().freeze()).unwrap_err();
    let problem = Problem::CountTooLarge {
        count: 1_000_000,
        least_bytes: 6,
        remaining: 0,
    };
    assert_eq!(error, WireError::Malformed { at: 12, problem });
}

fn endpoints() -> Vec<NodeEndpoint> {
    [None, Some(StrBytes::from_static_str("rack"))]
        .into_iter()
        .enumerate()
        .map(|(node_id, rack)| NodeEndpoint {
            node_id: node_id as i32,
            host: StrBytes::from_static_str("host.example"),
            port: 9092,
            rack,
        })
        .collect()
}

fn partition(index: i32) -> ProducePartitionResponse {
    let errors = (0..index).map(|batch_index| RecordError {
        batch_index,
        message: (batch_index > 0).then(|| StrBytes::from_static_str("too old")),
    });
    ProducePartitionResponse {
        index,
        error_code: 87 * (index as i16),
        base_offset: 1 << 40,
        log_append_time_ms: -1,
        log_start_offset: 17,
        record_errors: errors.collect(),
        error_message: (index > 1).then(|| StrBytes::from_string("m".repeat(300))),
        current_leader: (index > 0).then_some(CurrentLeader {
            leader_id: 5,
            leader_epoch: index,
        }),
    }
}

fn topic_of(version: i16) -> TopicRef {
    if version >= 13 {
        TopicRef::Id(Uuid::from_u128(0x1234_5678))
    } else {
        TopicRef::Name(StrBytes::from_static_str("a-topic"))
    }
}

/// The answer in the codec's types, without what `version` lacks.
fn codec_response(version: i16, response: &ProduceResponse) -> codec::ProduceResponse {
    let partition = |p: &ProducePartitionResponse| {
        let mut out = codec::PartitionProduceResponse::default()
            .with_index(p.index)
            .with_error_code(p.error_code)
            .with_base_offset(p.base_offset)
            .with_log_append_time_ms(p.log_append_time_ms);
        if version >= 5 {
            out = out.with_log_start_offset(p.log_start_offset);
        }
        if version >= 8 {
            let errors = p.record_errors.iter().map(|error| {
                codec::BatchIndexAndErrorMessage::default()
                    .with_batch_index(error.batch_index)
                    .with_batch_index_error_message(error.message.clone())
            });
            out = out
                .with_record_errors(errors.collect())
                .with_error_message(p.error_message.clone());
        }
        if let (true, Some(leader)) = (version >= 10, p.current_leader) {
            out = out.with_current_leader(
                codec::LeaderIdAndEpoch::default()
                    .with_leader_id(BrokerId(leader.leader_id))
                    .with_leader_epoch(leader.leader_epoch),
            );
        }
        out
    };
    let topics = response.topics.iter().map(|topic| {
        let out = codec::TopicProduceResponse::default()
            .with_partition_responses(topic.partitions.iter().map(partition).collect());
        match &topic.topic {
            TopicRef::Name(name) => out.with_name(TopicName(name.clone())),
            TopicRef::Id(id) => out.with_topic_id(*id),
        }
    });
    let endpoints = response
        .node_endpoints
        .iter()
        .filter(|_| version >= 10)
        .map(|endpoint| {
            codec::NodeEndpoint::default()
                .with_node_id(BrokerId(endpoint.node_id))
                .with_host(endpoint.host.clone())
                .with_port(endpoint.port)
                .with_rack(endpoint.rack.clone())
        });
    codec::ProduceResponse::default()
        .with_responses(topics.collect())
        .with_throttle_time_ms(response.throttle_time_ms)
        .with_node_endpoints(endpoints.collect())
}

#[test]
fn answers_of_each_version_are_byte_for_byte_what_the_codec_encodes() {
    for version in versions() {
        for (topics, partitions, with_endpoints) in [(0, 0, false), (1, 1, false), (2, 4, true)] {
            let topic = ProduceTopicResponse {
                topic: topic_of(version),
                partitions: (0..partitions).map(partition).collect(),
            };
            let response = ProduceResponse {
                topics: vec![topic; topics],
                throttle_time_ms: 12,
                node_endpoints: if with_endpoints {
                    endpoints()
                } else {
                    Vec::new()
                },
            };
            let header = header(ApiKey::Produce, version);
            let encoded = encode_response(&header, Response::Produce(response.clone())).unwrap();
            let [bytes] = encoded.pieces.as_slice() else {
                panic!("one piece")
            };
            assert_eq!(encoded.total_bytes, bytes.len());
            assert_eq!(bytes[..4], (bytes.len() as u32 - 4).to_be_bytes());
            assert_eq!(bytes[4..8], [0, 0, 0, 7]);
            let header_bytes = if version >= 9 { 9 } else { 8 };

            let expected = codec_response(version, &response);
            let mut by_codec = BytesMut::new();
            expected.encode(&mut by_codec, version).unwrap();
            assert_eq!(bytes[header_bytes..], by_codec, "version {version}");
            let mut body = bytes.slice(header_bytes..);
            assert_eq!(
                codec::ProduceResponse::decode(&mut body, version).unwrap(),
                expected
            );
            assert!(body.is_empty());
        }
    }
}

proptest! {
    #[test]
    fn mutated_requests_are_refused_exactly_when_the_shape_refuses_them(seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        for version in versions() {
            let mut body = body_of(ApiKey::Produce, version, &mut numbers);
            mutate(&mut body, &mut numbers);
            let body = Bytes::from(body);
            match (ProduceRequest::decode(version, &body), skim::check(ApiKey::Produce, version, body)) {
                (Ok(request), Ok(plain)) => prop_assert_eq!(request, by_codec(version, plain)),
                (Err(_), Err(_)) => {}
                (ours, shape) => prop_assert!(false, "version {version}: {ours:?} but {shape:?}"),
            }
        }
    }
}
