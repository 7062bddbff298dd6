//! A produce request, versions 3-13.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use crate::error::WireError;
use crate::primitives::{Lengths, Reader, TopicRef, owned, topic};
use crate::skim::decoded_bytes_max;

/// A produce request. Nothing in it but `records` holds on to the frame: names are copied, so that
/// the frame is freed as soon as its records are in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct ProduceRequest {
    /// The transactional id, if the producer has one.
    pub transactional_id: Option<StrBytes>,
    /// 0, 1 or -1 (all); nothing has checked it.
    pub acks: i16,
    /// How long the client waits for the acknowledgement.
    pub timeout_ms: i32,
    /// What to append, in the order of the request.
    pub topics: Vec<ProduceTopic>,
}

/// The partitions of one topic. A topic may come more than once.
#[derive(Debug, Clone, PartialEq)]
pub struct ProduceTopic {
    /// By name up to version 12, by id from 13 on.
    pub topic: TopicRef,
    /// What to append to its partitions.
    pub partitions: Vec<ProducePartition>,
}

/// The records for one partition. A partition may come more than once.
#[derive(Debug, Clone, PartialEq)]
pub struct ProducePartition {
    /// The partition's number; nothing has checked it.
    pub index: i32,
    /// The batches: a slice of the frame.
    pub records: Option<Bytes>,
}

/// The first version that names topics by their ids.
pub(super) const TOPIC_IDS_FROM: i16 = 13;

impl ProduceRequest {
    /// Decodes a body of a version that is served.
    pub fn decode(version: i16, body: &Bytes) -> Result<ProduceRequest, WireError> {
        let lengths = Lengths::of(version >= 9);
        let tag_bytes = usize::from(lengths == Lengths::Compact);
        let by_id = version >= TOPIC_IDS_FROM;
        let topic_bytes_min = if by_id {
            16
        } else {
            lengths.string_bytes_min()
        } + lengths.array_bytes_min()
            + tag_bytes;
        let mut reader = Reader::new(body, decoded_bytes_max(body.len()));
        let transactional_id = reader.nullable_str(lengths)?.map(owned);
        let acks = reader.i16()?;
        let timeout_ms = reader.i32()?;
        let count = reader.count(lengths, topic_bytes_min, size_of::<ProduceTopic>())?;
        let mut topics = Vec::with_capacity(count);
        for _ in 0..count {
            let topic = topic(&mut reader, lengths, by_id, owned)?;
            reader.charge(topic.name().map_or(0, |name| name.len()))?;
            let partitions = partitions(&mut reader, lengths, tag_bytes, body)?;
            reader.skip_tagged(lengths)?;
            topics.push(ProduceTopic { topic, partitions });
        }
        reader.skip_tagged(lengths)?;
        Ok(ProduceRequest {
            transactional_id,
            acks,
            timeout_ms,
            topics,
        })
    }
}

fn partitions(
    reader: &mut Reader<'_>,
    lengths: Lengths,
    tag_bytes: usize,
    body: &Bytes,
) -> Result<Vec<ProducePartition>, WireError> {
    let partition_bytes_min = 4 + lengths.array_bytes_min() + tag_bytes;
    let count = reader.count(lengths, partition_bytes_min, size_of::<ProducePartition>())?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        let index = reader.i32()?;
        let records = reader
            .nullable_bytes(lengths)?
            .map(|records| body.slice_ref(records));
        reader.skip_tagged(lengths)?;
        partitions.push(ProducePartition { index, records });
    }
    Ok(partitions)
}
