//! A fetch answer, versions 4-18, as pieces: small ones that we make, and records as they are.

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use super::request::TOPIC_IDS_FROM;
use crate::error::WireError;
use crate::header::RequestHeader;
use crate::primitives::{
    Lengths, NodeEndpoint, TopicRef, Write, put_current_leader, put_node_endpoints,
};
use crate::produce::CurrentLeader;
use crate::response::{Encoded, set_length};

/// A fetch answer. What a version cannot carry is left out of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FetchResponse {
    /// How long the client was throttled.
    pub throttle_time_ms: i32,
    /// Kafka's error code for all of the request (from version 7 on), 0 for none.
    pub error_code: i16,
    /// The fetch session, 0 for none (from version 7 on).
    pub session_id: i32,
    /// The topics.
    pub topics: Vec<FetchTopicResponse>,
    /// Where the brokers named in `current_leader` are (from version 16 on).
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// One topic of a fetch answer.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchTopicResponse {
    /// By name up to version 12, by id from 13 on.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<FetchPartitionResponse>,
}

/// What was fetched of one partition.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchPartitionResponse {
    /// The partition's number.
    pub index: i32,
    /// Kafka's error code, 0 for none.
    pub error_code: i16,
    /// The high watermark, -1 if unknown.
    pub high_watermark: i64,
    /// The last stable offset, -1 if unknown.
    pub last_stable_offset: i64,
    /// The log start offset (from version 5 on), -1 if unknown.
    pub log_start_offset: i64,
    /// The transactions that a read_committed consumer is to drop; `None` is null. A 4.3.0 broker
    /// says null under read_uncommitted and when a read fails, and an empty list under
    /// read_committed and for a topic that it does not have.
    pub aborted: Option<Vec<AbortedTransaction>>,
    /// Where to read instead (from version 11 on), -1 for here.
    pub preferred_read_replica: i32,
    /// The records, as the slices that they are; they are never copied.
    pub records: Vec<Bytes>,
    /// Where the caller's log left ours (from version 12 on).
    pub diverging_epoch: Option<DivergingEpoch>,
    /// Who leads the partition instead (from version 12 on).
    pub current_leader: Option<CurrentLeader>,
}

impl FetchPartitionResponse {
    /// The answer for a partition that cannot be read.
    pub fn refused(index: i32, error_code: i16) -> Self {
        FetchPartitionResponse {
            index,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted: None,
            preferred_read_replica: -1,
            records: Vec::new(),
            diverging_epoch: None,
            current_leader: None,
        }
    }
}

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: i64,
    /// Its first record here.
    pub first_offset: i64,
}

/// The largest epoch at or below the caller's, and where it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DivergingEpoch {
    /// The epoch.
    pub epoch: i32,
    /// Its end offset.
    pub end_offset: i64,
}

/// What one answer can hold of records: a length on the wire has 31 bits, and this leaves room for
/// the rest. More is an error; the broker's own limits are far below.
pub const RECORD_BYTES_MAX: usize = 1 << 30;

/// Room that a partition's fixed fields and tags take at most.
const PARTITION_BYTES: usize = 112;

impl FetchResponse {
    /// Length, header and body, in pieces. All that is not records is written into one buffer,
    /// which is cut where records come between.
    pub(crate) fn encode(self, header: &RequestHeader) -> Result<Encoded, WireError> {
        let version = header.version;
        self.check_record_bytes(header)?;
        let lengths = Lengths::of(version >= 12);
        let mut out = Pieces::new(&self);
        header.begin_answer(&mut out.buffer);
        out.buffer.put_i32(self.throttle_time_ms);
        if version >= 7 {
            out.buffer.put_i16(self.error_code);
            out.buffer.put_i32(self.session_id);
        }
        out.buffer.put_count(lengths, self.topics.len());
        for topic in self.topics {
            out.buffer
                .put_topic(lengths, version >= TOPIC_IDS_FROM, &topic.topic);
            out.buffer.put_count(lengths, topic.partitions.len());
            for partition in topic.partitions {
                partition.put(&mut out, version, lengths);
            }
            out.buffer.put_no_tags(lengths);
        }
        if version >= 16 && !self.node_endpoints.is_empty() {
            out.buffer.put_varint(1);
            put_node_endpoints(&mut out.buffer, &self.node_endpoints);
        } else {
            out.buffer.put_no_tags(lengths);
        }
        Ok(out.finish())
    }

    fn check_record_bytes(&self, header: &RequestHeader) -> Result<(), WireError> {
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        let record_bytes: usize = partitions.flat_map(|p| &p.records).map(Bytes::len).sum();
        if record_bytes <= RECORD_BYTES_MAX {
            return Ok(());
        }
        Err(WireError::Encode {
            api: header.api,
            version: header.version,
            reason: format!("{record_bytes} bytes of records exceed {RECORD_BYTES_MAX}"),
        })
    }

    /// About what all but the records take: only a hint.
    fn bytes_hint(&self) -> usize {
        let topics = self.topics.iter().map(|topic| {
            let aborted = topic
                .partitions
                .iter()
                .flat_map(|p| &p.aborted)
                .map(Vec::len)
                .sum::<usize>();
            32 + topic.topic.name().map_or(0, |name| name.len())
                + topic.partitions.len() * PARTITION_BYTES
                + aborted * (size_of::<AbortedTransaction>() + 1)
        });
        64 + self.node_endpoints.len() * PARTITION_BYTES + topics.sum::<usize>()
    }
}

impl FetchPartitionResponse {
    fn put(self, out: &mut Pieces, version: i16, lengths: Lengths) {
        let buffer = &mut out.buffer;
        buffer.put_i32(self.index);
        buffer.put_i16(self.error_code);
        buffer.put_i64(self.high_watermark);
        buffer.put_i64(self.last_stable_offset);
        if version >= 5 {
            buffer.put_i64(self.log_start_offset);
        }
        match &self.aborted {
            None => buffer.put_null_array(lengths),
            Some(aborted) => {
                buffer.put_count(lengths, aborted.len());
                for transaction in aborted {
                    buffer.put_i64(transaction.producer_id);
                    buffer.put_i64(transaction.first_offset);
                    buffer.put_no_tags(lengths);
                }
            }
        }
        if version >= 11 {
            buffer.put_i32(self.preferred_read_replica);
        }
        buffer.put_count(lengths, self.records.iter().map(Bytes::len).sum());
        out.put_records(self.records);
        if version >= 12 {
            put_tags(&mut out.buffer, self.diverging_epoch, self.current_leader);
        }
    }
}

fn put_tags(
    buffer: &mut BytesMut,
    diverging: Option<DivergingEpoch>,
    leader: Option<CurrentLeader>,
) {
    buffer.put_varint(u32::from(diverging.is_some()) + u32::from(leader.is_some()));
    if let Some(diverging) = diverging {
        // Tag 0, thirteen bytes: epoch, offset, no tags of its own.
        buffer.put_varint(0);
        buffer.put_varint(13);
        buffer.put_i32(diverging.epoch);
        buffer.put_i64(diverging.end_offset);
        buffer.put_varint(0);
    }
    if let Some(leader) = leader {
        put_current_leader(buffer, 1, leader);
    }
}

/// One buffer for all that is written, and the places in it where records come between.
struct Pieces {
    buffer: BytesMut,
    records: Vec<(usize, Bytes)>,
    record_bytes: usize,
}

impl Pieces {
    fn new(response: &FetchResponse) -> Pieces {
        let slices = response
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|p| p.records.len());
        Pieces {
            buffer: BytesMut::with_capacity(response.bytes_hint()),
            records: Vec::with_capacity(slices.sum()),
            record_bytes: 0,
        }
    }

    fn put_records(&mut self, records: Vec<Bytes>) {
        for slice in records {
            if !slice.is_empty() {
                self.record_bytes += slice.len();
                self.records.push((self.buffer.len(), slice));
            }
        }
    }

    fn finish(mut self) -> Encoded {
        let total_bytes = self.buffer.len() + self.record_bytes;
        set_length(&mut self.buffer, total_bytes);
        let mut rest = self.buffer.freeze();
        let mut pieces = SmallVec::with_capacity(2 * self.records.len() + 1);
        let mut cut = 0;
        for (at, slice) in self.records {
            if at > cut {
                pieces.push(rest.split_to(at - cut));
                cut = at;
            }
            pieces.push(slice);
        }
        if !rest.is_empty() {
            pieces.push(rest);
        }
        Encoded {
            pieces,
            total_bytes,
        }
    }
}
