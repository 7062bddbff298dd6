//! A produce answer, versions 3-13.

use bytes::{BufMut, BytesMut};
use kafka_protocol::protocol::StrBytes;

use super::request::TOPIC_IDS_FROM;
use crate::header::RequestHeader;
use crate::primitives::{
    Lengths, NodeEndpoint, TopicRef, Write, put_current_leader, put_node_endpoints,
};

/// A produce answer. What a version cannot carry is left out of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProduceResponse {
    /// The topics, as the request named them.
    pub topics: Vec<ProduceTopicResponse>,
    /// How long the client was throttled.
    pub throttle_time_ms: i32,
    /// Where the brokers named in `current_leader` are (from version 10 on).
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// One topic of a produce answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ProduceTopicResponse {
    /// As the request named it: by name up to version 12, by id from 13 on.
    pub topic: TopicRef,
    /// What became of each partition.
    pub partitions: Vec<ProducePartitionResponse>,
}

/// What became of one partition's records.
#[derive(Debug, Clone, PartialEq)]
pub struct ProducePartitionResponse {
    /// The partition's number.
    pub index: i32,
    /// Kafka's error code, 0 for none.
    pub error_code: i16,
    /// The offset of the first record, -1 with an error.
    pub base_offset: i64,
    /// The time of the append under LogAppendTime, -1 otherwise.
    pub log_append_time_ms: i64,
    /// The log start offset (from version 5 on), -1 if unknown.
    pub log_start_offset: i64,
    /// The records that were refused (from version 8 on).
    pub record_errors: Vec<RecordError>,
    /// Why all of the batch was refused (from version 8 on).
    pub error_message: Option<StrBytes>,
    /// Who leads the partition instead (from version 10 on).
    pub current_leader: Option<CurrentLeader>,
}

impl ProducePartitionResponse {
    /// The answer for a partition whose records were refused with `error_code`.
    pub fn refused(index: i32, error_code: i16) -> Self {
        ProducePartitionResponse {
            index,
            error_code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        }
    }
}

/// A record that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Which record of the batch.
    pub batch_index: i32,
    /// Why.
    pub message: Option<StrBytes>,
}

/// A partition's leader as the broker knows it (KIP-951).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentLeader {
    /// The leader's id, -1 if unknown.
    pub leader_id: i32,
    /// Its epoch, -1 if unknown.
    pub leader_epoch: i32,
}

/// Room that a partition's fixed fields and tags take at most.
const PARTITION_BYTES: usize = 64;

impl ProduceResponse {
    /// The length (yet to be set), the header and the body.
    pub(crate) fn encode(&self, header: &RequestHeader) -> BytesMut {
        let mut buffer = BytesMut::with_capacity(self.bytes_hint());
        header.begin_answer(&mut buffer);
        let version = header.version;
        let lengths = Lengths::of(version >= 9);
        buffer.put_count(lengths, self.topics.len());
        for topic in &self.topics {
            buffer.put_topic(lengths, version >= TOPIC_IDS_FROM, &topic.topic);
            buffer.put_count(lengths, topic.partitions.len());
            for partition in &topic.partitions {
                partition.put(&mut buffer, version, lengths);
            }
            buffer.put_no_tags(lengths);
        }
        buffer.put_i32(self.throttle_time_ms);
        if version >= 10 && !self.node_endpoints.is_empty() {
            buffer.put_varint(1);
            put_node_endpoints(&mut buffer, &self.node_endpoints);
        } else {
            buffer.put_no_tags(lengths);
        }
        buffer
    }

    /// About what the answer takes: only a hint, the buffer grows if messages are long.
    fn bytes_hint(&self) -> usize {
        let topics = self.topics.iter().map(|topic| {
            32 + topic.topic.name().map_or(0, |name| name.len())
                + topic.partitions.len() * PARTITION_BYTES
        });
        32 + self.node_endpoints.len() * PARTITION_BYTES + topics.sum::<usize>()
    }
}

impl ProducePartitionResponse {
    fn put(&self, buffer: &mut BytesMut, version: i16, lengths: Lengths) {
        buffer.put_i32(self.index);
        buffer.put_i16(self.error_code);
        buffer.put_i64(self.base_offset);
        buffer.put_i64(self.log_append_time_ms);
        if version >= 5 {
            buffer.put_i64(self.log_start_offset);
        }
        if version >= 8 {
            buffer.put_count(lengths, self.record_errors.len());
            for error in &self.record_errors {
                buffer.put_i32(error.batch_index);
                buffer.put_nullable_str(lengths, error.message.as_deref());
                buffer.put_no_tags(lengths);
            }
            buffer.put_nullable_str(lengths, self.error_message.as_deref());
        }
        match self.current_leader {
            Some(leader) if version >= 10 => {
                buffer.put_varint(1);
                put_current_leader(buffer, 0, leader);
            }
            _ => buffer.put_no_tags(lengths),
        }
    }
}
