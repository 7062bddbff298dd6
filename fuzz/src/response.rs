//! Answers made of any bytes, and what kafka-protocol reads of them.

use bytes::Bytes;
use kafka_protocol::messages::{FetchResponse as CodecFetch, ProduceResponse as CodecProduce};
use kafka_protocol::protocol::Decodable;
use tailwater_wire::fetch::{
    AbortedTransaction, DivergingEpoch, FetchPartitionResponse, FetchResponse, FetchTopicResponse,
};
use tailwater_wire::produce::{
    CurrentLeader, ProducePartitionResponse, ProduceResponse, ProduceTopicResponse, RecordError,
};
use tailwater_wire::{NodeEndpoint, StrBytes, TopicRef};
use uuid::Uuid;

/// Takes fields off the front of any bytes; zeros when there are no more.
pub struct Feed<'a>(pub &'a [u8]);

impl Feed<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let count = self.0.len().min(N);
        let (taken, rest) = self.0.split_at(count);
        array[..count].copy_from_slice(taken);
        self.0 = rest;
        array
    }

    /// A byte.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    /// Two bytes.
    pub fn i16(&mut self) -> i16 {
        i16::from_le_bytes(self.array())
    }

    fn i32(&mut self) -> i32 {
        i32::from_le_bytes(self.array())
    }

    fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.array())
    }

    fn bytes(&mut self) -> Bytes {
        let count = usize::from(self.u8()).min(self.0.len());
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Bytes::copy_from_slice(taken)
    }

    fn string(&mut self) -> StrBytes {
        let bytes = self.bytes();
        StrBytes::from_string(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn few<T>(&mut self, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.u8() % 5;
        (0..count).map(|_| one(self)).collect()
    }

    fn maybe<T>(&mut self, one: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.u8() % 2 == 1).then(|| one(self))
    }

    fn topic(&mut self, by_id: bool) -> TopicRef {
        if by_id {
            TopicRef::Id(Uuid::from_bytes(self.array()))
        } else {
            TopicRef::Name(self.string())
        }
    }

    fn leader(&mut self) -> Option<CurrentLeader> {
        self.maybe(|feed| CurrentLeader {
            leader_id: feed.i32(),
            leader_epoch: feed.i32(),
        })
    }

    fn endpoints(&mut self) -> Vec<NodeEndpoint> {
        self.few(|feed| NodeEndpoint {
            node_id: feed.i32(),
            host: feed.string(),
            port: feed.i32(),
            rack: feed.maybe(Self::string),
        })
    }

    /// An answer to Produce in a version.
    pub fn produce(&mut self, version: i16) -> ProduceResponse {
        ProduceResponse {
            topics: self.few(|feed| ProduceTopicResponse {
                topic: feed.topic(version >= 13),
                partitions: feed.few(|feed| ProducePartitionResponse {
                    index: feed.i32(),
                    error_code: feed.i16(),
                    base_offset: feed.i64(),
                    log_append_time_ms: feed.i64(),
                    log_start_offset: feed.i64(),
                    record_errors: feed.few(|feed| RecordError {
                        batch_index: feed.i32(),
                        message: feed.maybe(Self::string),
                    }),
                    error_message: feed.maybe(Self::string),
                    current_leader: feed.leader(),
                }),
            }),
            throttle_time_ms: self.i32(),
            node_endpoints: self.endpoints(),
        }
    }

    /// An answer to Fetch in a version.
    pub fn fetch(&mut self, version: i16) -> FetchResponse {
        FetchResponse {
            throttle_time_ms: self.i32(),
            error_code: self.i16(),
            session_id: self.i32(),
            topics: self.few(|feed| FetchTopicResponse {
                topic: feed.topic(version >= 13),
                partitions: feed.few(Self::fetched),
            }),
            node_endpoints: self.endpoints(),
        }
    }

    fn fetched(&mut self) -> FetchPartitionResponse {
        FetchPartitionResponse {
            index: self.i32(),
            error_code: self.i16(),
            high_watermark: self.i64(),
            last_stable_offset: self.i64(),
            log_start_offset: self.i64(),
            aborted: self.maybe(|feed| {
                feed.few(|feed| AbortedTransaction {
                    producer_id: feed.i64(),
                    first_offset: feed.i64(),
                })
            }),
            preferred_read_replica: self.i32(),
            records: self.few(Self::bytes),
            diverging_epoch: self.maybe(|feed| DivergingEpoch {
                epoch: feed.i32(),
                end_offset: feed.i64(),
            }),
            current_leader: self.leader(),
        }
    }
}

/// Whether kafka-protocol reads this answer's body as what was said.
pub fn check_produce(said: &ProduceResponse, mut body: Bytes, version: i16) {
    let read = CodecProduce::decode(&mut body, version).expect("a client can read it");
    assert!(body.is_empty(), "nothing follows");
    assert_eq!(read.throttle_time_ms, said.throttle_time_ms);
    assert_eq!(read.responses.len(), said.topics.len());
    for (read, said) in read.responses.iter().zip(&said.topics) {
        match &said.topic {
            TopicRef::Name(name) => assert_eq!(&read.name.0, name),
            TopicRef::Id(id) => assert_eq!(read.topic_id, *id),
        }
        assert_eq!(read.partition_responses.len(), said.partitions.len());
        for (read, said) in read.partition_responses.iter().zip(&said.partitions) {
            assert_eq!((read.index, read.error_code), (said.index, said.error_code));
            assert_eq!(read.base_offset, said.base_offset);
            assert_eq!(read.log_append_time_ms, said.log_append_time_ms);
            if version >= 5 {
                assert_eq!(read.log_start_offset, said.log_start_offset);
            }
            if version >= 8 {
                assert_eq!(read.error_message, said.error_message);
                let errors = read.record_errors.iter();
                let errors = errors.map(|e| (e.batch_index, &e.batch_index_error_message));
                let expected = said.record_errors.iter();
                assert!(errors.eq(expected.map(|e| (e.batch_index, &e.message))));
            }
            if let (10.., Some(leader)) = (version, said.current_leader) {
                assert_eq!(read.current_leader.leader_id.0, leader.leader_id);
                assert_eq!(read.current_leader.leader_epoch, leader.leader_epoch);
            }
        }
    }
    if version >= 10 {
        let ids = read.node_endpoints.iter().map(|node| node.node_id.0);
        assert!(ids.eq(said.node_endpoints.iter().map(|node| node.node_id)));
    }
}

/// Whether kafka-protocol reads this answer's body as what was said.
pub fn check_fetch(said: &FetchResponse, mut body: Bytes, version: i16) {
    let read = CodecFetch::decode(&mut body, version).expect("a client can read it");
    assert!(body.is_empty(), "nothing follows");
    assert_eq!(read.throttle_time_ms, said.throttle_time_ms);
    if version >= 7 {
        assert_eq!(
            (read.error_code, read.session_id),
            (said.error_code, said.session_id)
        );
    }
    assert_eq!(read.responses.len(), said.topics.len());
    for (read, said) in read.responses.iter().zip(&said.topics) {
        match &said.topic {
            TopicRef::Name(name) => assert_eq!(&read.topic.0, name),
            TopicRef::Id(id) => assert_eq!(read.topic_id, *id),
        }
        assert_eq!(read.partitions.len(), said.partitions.len());
        for (read, said) in read.partitions.iter().zip(&said.partitions) {
            assert_eq!(
                (read.partition_index, read.error_code),
                (said.index, said.error_code)
            );
            assert_eq!(read.high_watermark, said.high_watermark);
            assert_eq!(read.last_stable_offset, said.last_stable_offset);
            let records = said.records.concat();
            assert_eq!(read.records.clone().unwrap_or_default(), records);
            let aborted = read.aborted_transactions.as_ref().map(|all| {
                let all = all.iter().map(|one| (one.producer_id.0, one.first_offset));
                all.collect::<Vec<_>>()
            });
            let expected = said.aborted.as_ref().map(|all| {
                let all = all.iter().map(|one| (one.producer_id, one.first_offset));
                all.collect::<Vec<_>>()
            });
            assert_eq!(aborted, expected);
            if let (12.., Some(diverging)) = (version, said.diverging_epoch) {
                assert_eq!(read.diverging_epoch.epoch, diverging.epoch);
                assert_eq!(read.diverging_epoch.end_offset, diverging.end_offset);
            }
        }
    }
}
