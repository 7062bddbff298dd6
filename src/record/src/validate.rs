//! What a produced batch must satisfy before it is appended, as Kafka's `LogValidator` has it.
//!
//! Where we are stricter than Kafka, we refuse with INVALID_RECORD what no stock client sends and other
//! readers would trip over: bytes after the one batch, unknown attribute bits, a delete horizon, offset
//! deltas that do not count from 0, varints with lost bits, lengths below -1, a timestamp type of
//! LogAppendTime.

use crate::codec::{Codec, Compression, Decompressor, Limits};
use crate::crc::computed_crc;
use crate::error::{ProblemKind, RecordError, RecordProblem, RecordProblems};
use crate::header::{BatchHeader, NO_TIMESTAMP, TimestampType};
use crate::stream::{expect_end, payload, skim_record};
use crate::workspace::Workspace;

/// How far the check goes: the topic's `record.validation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Walk {
    /// Every record, through the codec.
    #[default]
    Records,
    /// The header and the checksum only: `record.validation=header`. Keys are not required then, and of
    /// the timestamps only the header's are looked at.
    HeaderOnly,
}

/// What a topic and a request demand of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationRules {
    /// How far to look.
    pub walk: Walk,
    /// `max.message.bytes`: the whole batch, header included.
    pub batch_bytes_max: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`, not negative.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`, not negative.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`; `None` is `producer`.
    pub compression: Option<Compression>,
    /// Every record needs a key: the topic is compacted.
    pub key_required: bool,
    /// Produce from version 7 on.
    pub zstd_allowed: bool,
    /// What decompression may cost.
    pub limits: Limits,
}

impl Default for ValidationRules {
    /// Kafka's defaults for a topic.
    fn default() -> ValidationRules {
        ValidationRules {
            walk: Walk::Records,
            batch_bytes_max: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: None,
            key_required: false,
            zstd_allowed: true,
            limits: Limits::default(),
        }
    }
}

/// What [`crate::rewrite`] has to do before the batch may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing: the bytes are appended as they came.
    None,
    /// The greatest timestamp or the timestamp type changes, and the checksum.
    Header,
    /// The records are packed anew with the topic's codec.
    Recompress,
}

/// A batch that may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validated {
    /// Its header as it came. Whether a transactional batch is welcome is the broker's to judge.
    pub header: BatchHeader,
    /// How many records it has: at least one.
    pub record_count: u32,
    /// The greatest timestamp it will have when appended: under LogAppendTime, now.
    pub max_timestamp: i64,
    /// The offset delta of the first record that has it; `None` if no record has a timestamp, or it
    /// was not looked for.
    pub offset_delta_of_max_timestamp: Option<u32>,
    /// What has to change first.
    pub rewrite: Rewrite,
}

/// Checks `bytes`, all that a produce request holds for one partition, at `now_ms` (Unix ms).
///
/// Time is bounded by the bytes and [`Limits::decompressed_bytes_max`], memory by the workspace's.
///
/// # Errors
/// The first rule broken by the batch, or `Records` with all records that break one.
pub fn validate(
    bytes: &[u8],
    rules: &ValidationRules,
    now_ms: i64,
    workspace: &mut Workspace,
) -> Result<Validated, RecordError> {
    let header = check_frame(bytes, rules)?;
    let record_count = check_header(&header)?;
    let timestamps = TimestampRange::new(rules, now_ms);
    let found = match rules.walk {
        Walk::Records => walk(bytes, &header, record_count, rules, &timestamps, workspace)?,
        Walk::HeaderOnly => look(&header, &timestamps)?,
    };
    let (max_timestamp, offset_delta_of_max_timestamp) = match rules.timestamp_type {
        TimestampType::CreateTime => found,
        TimestampType::LogAppendTime => (now_ms, Some(0)),
    };
    let recompress = rules
        .compression
        .is_some_and(|compression| compression.codec() != header.codec());
    let patch = rules.timestamp_type == TimestampType::LogAppendTime
        || header.max_timestamp != max_timestamp;
    let rewrite = match (recompress, patch) {
        (true, _) => Rewrite::Recompress,
        (false, true) => Rewrite::Header,
        (false, false) => Rewrite::None,
    };
    Ok(Validated {
        header,
        record_count,
        max_timestamp,
        offset_delta_of_max_timestamp,
        rewrite,
    })
}

/// The outside: one whole batch of this magic, not too large, its bytes as sent. In Kafka's order, so
/// that a batch with several faults earns the same error.
fn check_frame(bytes: &[u8], rules: &ValidationRules) -> Result<BatchHeader, RecordError> {
    let header = BatchHeader::parse(bytes)?;
    let need = header.total_bytes();
    let Some(trailing) = bytes.len().checked_sub(need) else {
        return Err(RecordError::Truncated {
            have: bytes.len(),
            need,
        });
    };
    if header.codec() == Codec::Zstd && !rules.zstd_allowed {
        return Err(RecordError::CodecNotAllowed { codec: Codec::Zstd });
    }
    if trailing > 0 {
        return Err(RecordError::TrailingBytes { bytes: trailing });
    }
    if header.base_offset != 0 {
        return Err(RecordError::BaseOffsetNotZero {
            base_offset: header.base_offset,
        });
    }
    if need > rules.batch_bytes_max {
        return Err(RecordError::TooLarge {
            bytes: need,
            bytes_max: rules.batch_bytes_max,
        });
    }
    let computed = computed_crc(bytes).expect("a parsed batch is no shorter than its header");
    if computed != header.crc {
        return Err(RecordError::ChecksumMismatch {
            stored: header.crc,
            computed,
        });
    }
    Ok(header)
}

/// The header's fields among themselves. Returns the record count.
fn check_header(header: &BatchHeader) -> Result<u32, RecordError> {
    let attributes = header.attributes;
    if attributes.has_unknown_bits() || attributes.has_delete_horizon() {
        return Err(RecordError::AttributesNotAllowed {
            attributes: attributes.bits(),
        });
    }
    let mismatch = RecordError::CountMismatch {
        record_count: header.record_count,
        last_offset_delta: header.last_offset_delta,
    };
    if header.record_count <= 0 || header.last_offset_delta != header.record_count - 1 {
        return Err(mismatch);
    }
    if attributes.is_control() {
        return Err(RecordError::ControlBatch);
    }
    if header.has_producer_id() && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return Err(RecordError::ProducerFields {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        });
    }
    u32::try_from(header.record_count).map_err(|_| mismatch)
}

/// Which timestamps a topic accepts at one instant.
struct TimestampRange {
    topic_type: TimestampType,
    earliest: i64,
    latest: i64,
}

impl TimestampRange {
    fn new(rules: &ValidationRules, now_ms: i64) -> TimestampRange {
        TimestampRange {
            topic_type: rules.timestamp_type,
            earliest: now_ms.saturating_sub(rules.timestamp_before_max_ms),
            latest: now_ms.saturating_add(rules.timestamp_after_max_ms),
        }
    }

    /// Kafka looks at timestamps only where it keeps them, and never at "none".
    #[inline]
    fn problem(&self, batch_type: TimestampType, timestamp: i64) -> Option<ProblemKind> {
        if batch_type == TimestampType::LogAppendTime {
            return Some(ProblemKind::TimestampTypeNotAllowed);
        }
        let kept = self.topic_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP;
        let accepted = (self.earliest..=self.latest).contains(&timestamp);
        (kept && !accepted).then_some(ProblemKind::TimestampOutOfRange {
            timestamp,
            earliest: self.earliest,
            latest: self.latest,
        })
    }
}

/// The greatest timestamp and the first record that has it.
type MaxTimestamp = (i64, Option<u32>);

/// Every record.
fn walk(
    batch: &[u8],
    header: &BatchHeader,
    record_count: u32,
    rules: &ValidationRules,
    timestamps: &TimestampRange,
    workspace: &mut Workspace,
) -> Result<MaxTimestamp, RecordError> {
    let batch_type = header.attributes.timestamp_type();
    let mut bytes = Decompressor::new(
        header.codec(),
        payload(batch, header)?,
        &rules.limits,
        workspace,
    )?;
    let mut problems = RecordProblems::default();
    let mut max = (NO_TIMESTAMP, None);
    for index in 0..record_count {
        let record = skim_record(&mut bytes, index)?;
        if i64::from(record.offset_delta) != i64::from(index) {
            return Err(RecordError::OffsetDelta {
                index,
                offset_delta: record.offset_delta,
            });
        }
        let timestamp = header
            .base_timestamp
            .checked_add(record.timestamp_delta)
            .ok_or(RecordError::MalformedRecord {
                index,
                reason: "its timestamp overflows",
            })?;
        let problem = if rules.key_required && !record.has_key {
            Some(ProblemKind::KeyMissing)
        } else {
            timestamps.problem(batch_type, timestamp)
        };
        if let Some(kind) = problem {
            problems.push(RecordProblem {
                batch_index: index,
                kind,
            });
        }
        if timestamp > max.0 {
            max = (timestamp, Some(index));
        }
    }
    expect_end(&mut bytes, record_count)?;
    if problems.is_empty() {
        Ok(max)
    } else {
        Err(RecordError::Records(problems))
    }
}

/// The header's word for it: the first record's timestamp and the greatest must be acceptable.
fn look(header: &BatchHeader, timestamps: &TimestampRange) -> Result<MaxTimestamp, RecordError> {
    let batch_type = header.attributes.timestamp_type();
    let mut problems = RecordProblems::default();
    let kinds =
        [header.base_timestamp, header.max_timestamp].map(|at| timestamps.problem(batch_type, at));
    if let Some(kind) = kinds.into_iter().flatten().next() {
        problems.push(RecordProblem {
            batch_index: 0,
            kind,
        });
        return Err(RecordError::Records(problems));
    }
    Ok((header.max_timestamp, None))
}

#[cfg(test)]
mod tests;
