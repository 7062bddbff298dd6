//! What can be wrong with a batch, with the facts, and the kind of Kafka error each is.

use std::fmt;

use crate::codec::Codec;

/// At most this many bad records are described; the others are only counted.
pub const RECORD_PROBLEMS_MAX: usize = 64;

/// The kinds of Kafka error that a batch can earn. The broker maps each to one error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// CORRUPT_MESSAGE: the bytes are not what was sent, or not a batch at all. Clients try again.
    CorruptMessage,
    /// INVALID_RECORD: the bytes arrived as sent and break a rule. Clients give up.
    InvalidRecord,
    /// INVALID_TIMESTAMP: a timestamp lies outside what the topic accepts.
    InvalidTimestamp,
    /// MESSAGE_TOO_LARGE: the batch is larger than `max.message.bytes`.
    MessageTooLarge,
    /// UNSUPPORTED_COMPRESSION_TYPE: no such codec, or not in this version of Produce.
    UnsupportedCompressionType,
}

/// Why a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There is no batch.
    #[error("no record batch")]
    Empty,
    /// The bytes end inside the batch.
    #[error("the batch needs {need} bytes and {have} are there")]
    Truncated {
        /// Bytes present.
        have: usize,
        /// Bytes that the batch needs, as far as could be told.
        need: usize,
    },
    /// The batch's length field is impossible.
    #[error("the batch's length field says {length}")]
    LengthImpossible {
        /// What the field says.
        length: i32,
    },
    /// A message set of magic 0 or 1.
    #[error("magic {magic} is older than the record batch of magic 2")]
    OldMagic {
        /// The magic found.
        magic: i8,
    },
    /// A magic that no Kafka has written.
    #[error("unknown magic {magic}")]
    UnknownMagic {
        /// The magic found.
        magic: i8,
    },
    /// The checksum over attributes to end does not fit.
    #[error("stored crc {stored:#010x}, computed crc {computed:#010x}")]
    ChecksumMismatch {
        /// The header's.
        stored: u32,
        /// That of the bytes.
        computed: u32,
    },
    /// Bytes follow the batch where exactly one is allowed.
    #[error("{bytes} bytes follow the one allowed batch")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// The batch is larger than the topic accepts.
    #[error("the batch has {bytes} bytes, more than the {bytes_max} allowed")]
    TooLarge {
        /// The batch's bytes, header included.
        bytes: usize,
        /// The topic's `max.message.bytes`.
        bytes_max: usize,
    },
    /// The attributes name a codec that does not exist.
    #[error("unknown codec {id}")]
    UnknownCodec {
        /// The codec's id, 5 to 7.
        id: u8,
    },
    /// A codec that the caller's protocol version may not use.
    #[error("{codec} is not allowed in this version of Produce")]
    CodecNotAllowed {
        /// The codec.
        codec: Codec,
    },
    /// Attribute bits that mean nothing, or that a producer may not set.
    #[error("attributes {attributes:#06x} have bits that a producer may not set")]
    AttributesNotAllowed {
        /// All sixteen bits.
        attributes: u16,
    },
    /// A producer sent a control batch.
    #[error("producers may not write control records")]
    ControlBatch,
    /// A producer's batch must begin at offset 0; the broker gives the real one.
    #[error("the base offset should be 0 and is {base_offset}")]
    BaseOffsetNotZero {
        /// The header's base offset.
        base_offset: i64,
    },
    /// The record count is not positive, or does not agree with the last offset delta.
    #[error("{record_count} records with a last offset delta of {last_offset_delta}")]
    CountMismatch {
        /// The header's record count.
        record_count: i32,
        /// The header's last offset delta.
        last_offset_delta: i32,
    },
    /// Producer id, epoch and base sequence do not go together.
    #[error("producer id {producer_id}, epoch {producer_epoch}, base sequence {base_sequence}")]
    ProducerFields {
        /// The header's producer id.
        producer_id: i64,
        /// The header's producer epoch.
        producer_epoch: i16,
        /// The header's base sequence.
        base_sequence: i32,
    },
    /// A record's bytes make no sense.
    #[error("record {index}: {reason}")]
    MalformedRecord {
        /// The record's place in the batch, from 0.
        index: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// A record's offset delta is not its place in the batch.
    #[error("record {index} has offset delta {offset_delta}")]
    OffsetDelta {
        /// The record's place in the batch, from 0.
        index: u32,
        /// Its offset delta.
        offset_delta: i32,
    },
    /// Bytes remain after the last record.
    #[error("bytes remain after the {record_count} records of the batch")]
    BytesAfterRecords {
        /// The header's record count.
        record_count: u32,
    },
    /// The compressed bytes do not decompress.
    #[error("{codec}: {reason}")]
    Decompress {
        /// The batch's codec.
        codec: Codec,
        /// What the codec says.
        reason: Box<str>,
    },
    /// The records decompress to more than the limit.
    #[error("the records decompress to more than {bytes_max} bytes")]
    DecompressedTooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// One record is larger than what may be held in memory at once.
    #[error("record {index} has {bytes} bytes, more than the {bytes_max} allowed")]
    RecordTooLarge {
        /// The record's place in the batch, from 0.
        index: u32,
        /// Its bytes.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The rewritten batch does not fit a batch's length field.
    #[error("the rewritten batch would have {bytes} bytes")]
    RewrittenTooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// Records that break a rule of the topic, each with its place.
    #[error("{0}")]
    Records(RecordProblems),
}

impl RecordError {
    /// The kind of Kafka error this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            RecordError::LengthImpossible { .. }
            | RecordError::UnknownMagic { .. }
            | RecordError::ChecksumMismatch { .. } => ErrorKind::CorruptMessage,
            RecordError::TooLarge { .. } | RecordError::RewrittenTooLarge { .. } => {
                ErrorKind::MessageTooLarge
            }
            RecordError::UnknownCodec { .. } | RecordError::CodecNotAllowed { .. } => {
                ErrorKind::UnsupportedCompressionType
            }
            // Kafka finds no batch where one is not wholly there.
            RecordError::Empty
            | RecordError::Truncated { .. }
            | RecordError::OldMagic { .. }
            | RecordError::TrailingBytes { .. }
            | RecordError::AttributesNotAllowed { .. }
            | RecordError::ControlBatch
            | RecordError::BaseOffsetNotZero { .. }
            | RecordError::CountMismatch { .. }
            | RecordError::ProducerFields { .. }
            | RecordError::MalformedRecord { .. }
            | RecordError::OffsetDelta { .. }
            | RecordError::BytesAfterRecords { .. }
            | RecordError::Decompress { .. }
            | RecordError::DecompressedTooLarge { .. }
            | RecordError::RecordTooLarge { .. } => ErrorKind::InvalidRecord,
            RecordError::Records(problems) => problems.kind(),
        }
    }

    /// The records at fault, where the error is theirs: they become `record_errors` of the response.
    pub fn problems(&self) -> Option<&RecordProblems> {
        match self {
            RecordError::Records(problems) => Some(problems),
            _ => None,
        }
    }
}

/// One record that breaks a rule of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordProblem {
    /// The record's place in the batch, from 0: `batch_index` of the response.
    pub batch_index: u32,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

/// What is wrong with one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// A compacted topic's record has no key.
    KeyMissing,
    /// The timestamp lies outside `[earliest, latest]`.
    TimestampOutOfRange {
        /// The record's timestamp.
        timestamp: i64,
        /// The least accepted: now less `message.timestamp.before.max.ms`.
        earliest: i64,
        /// The greatest accepted: now plus `message.timestamp.after.max.ms`.
        latest: i64,
    },
    /// The batch claims that the broker gave it its timestamp.
    TimestampTypeNotAllowed,
}

impl RecordProblem {
    /// The sentence that Kafka puts into `batch_index_error_message`. `partition` is Kafka's spelling of
    /// the partition, as in `orders-3`.
    pub fn message(&self, partition: &str) -> String {
        match self.kind {
            ProblemKind::KeyMissing => {
                format!(
                    "Compacted topic cannot accept message without key in topic partition {partition}"
                )
            }
            ProblemKind::TimestampOutOfRange {
                timestamp,
                earliest,
                latest,
            } => format!(
                "Timestamp {timestamp} of message with offset {} is out of range. \
                 The timestamp should be within [{earliest}, {latest}]",
                self.batch_index
            ),
            ProblemKind::TimestampTypeNotAllowed => format!(
                "Invalid timestamp type in message with offset {}. \
                 Producer should not set timestamp type to LogAppendTime.",
                self.batch_index
            ),
        }
    }
}

/// All records of a batch that break a rule: the first [`RECORD_PROBLEMS_MAX`] described, all counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordProblems {
    described: Vec<RecordProblem>,
    count: u32,
    timestamps: bool,
}

impl RecordProblems {
    pub(crate) fn push(&mut self, problem: RecordProblem) {
        self.count = self.count.saturating_add(1);
        self.timestamps |= match problem.kind {
            ProblemKind::KeyMissing => false,
            ProblemKind::TimestampOutOfRange { .. } | ProblemKind::TimestampTypeNotAllowed => true,
        };
        if self.described.len() < RECORD_PROBLEMS_MAX {
            self.described.push(problem);
        }
    }

    /// The first problems, by place in the batch.
    pub fn described(&self) -> &[RecordProblem] {
        &self.described
    }

    /// How many records are at fault, described or not.
    pub fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One bad timestamp makes the batch's error INVALID_TIMESTAMP, as in Kafka.
    pub fn kind(&self) -> ErrorKind {
        if self.timestamps {
            ErrorKind::InvalidTimestamp
        } else {
            ErrorKind::InvalidRecord
        }
    }

    /// The sentence that Kafka puts into the partition's `error_message`.
    pub fn message(&self, partition: &str) -> String {
        if self.timestamps {
            return "One or more records have been rejected due to invalid timestamp".into();
        }
        let first: Vec<String> = self
            .described
            .iter()
            .take(3)
            .map(|problem| {
                format!(
                    "RecordError(batchIndex={}, message='{}')",
                    problem.batch_index,
                    problem.message(partition)
                )
            })
            .collect();
        format!(
            "One or more records have been rejected due to {} record errors in total, \
             and only showing the first three errors at most: [{}]",
            self.count,
            first.join(", ")
        )
    }
}

impl fmt::Display for RecordProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records break a rule of the topic", self.count)
    }
}
