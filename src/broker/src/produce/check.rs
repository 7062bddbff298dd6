//! The checks of a produced batch that need no partition: on the shard that has the connection.

use super::ProduceRefusal;
use crate::BrokerError;
use crate::config::{Compression, TopicConfig};
use crate::metadata::Topic;
use bytes::Bytes;
use tailwater_record::{
    BatchHeader, Codec, Compression as RecordCompression, ErrorKind, Limits, RecordError, Rewrite,
    TimestampType, ValidationRules, Walk, Workspace, rewrite, validate,
};

/// A batch that may be appended.
#[derive(Debug)]
pub(crate) struct Checked {
    /// One whole batch.
    pub(crate) batch: Bytes,
    pub(crate) header: BatchHeader,
    /// The broker's time if the topic says `LogAppendTime`, else -1.
    pub(crate) log_append_time_ms: i64,
}

/// Why a batch was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: ProduceRefusal,
    /// Kafka tells the log start with it: it does for what it finds once it has the partition.
    pub(crate) tells_log_start: bool,
    /// Kafka finds it in the request, before it looks at acks.
    pub(crate) before_acks: bool,
}

/// What Kafka finds wrong with a batch before it looks at the request's acks.
pub(crate) fn refusal_before_acks(
    records: Option<&Bytes>,
    topic: &Topic,
    partition: i32,
    zstd_allowed: bool,
    workspace: &mut Workspace,
) -> Option<ProduceRefusal> {
    let rules = ValidationRules {
        walk: Walk::HeaderOnly,
        ..rules(&topic.config, zstd_allowed)
    };
    let batch = records.cloned().unwrap_or_default();
    let error = validate(&batch, &rules, 0, workspace).err()?;
    let refused = refusal(&error, topic, partition, &rules);
    refused.before_acks.then_some(refused.refusal)
}

/// Checks what a request has for one partition, and rewrites it where the topic asks for that.
pub(crate) fn check(
    records: Option<&Bytes>,
    topic: &Topic,
    partition: i32,
    zstd_allowed: bool,
    now_ms: i64,
    workspace: &mut Workspace,
) -> Result<Checked, Refused> {
    let rules = rules(&topic.config, zstd_allowed);
    let batch = records.cloned().unwrap_or_default();
    let refuse = |error: &RecordError| refusal(error, topic, partition, &rules);
    let validated = validate(&batch, &rules, now_ms, workspace).map_err(|error| refuse(&error))?;
    if validated.header.attributes.is_transactional() {
        let sentence = "Transactions are not available on this broker.".to_owned();
        return Err(Refused {
            refusal: BrokerError::InvalidTxnState(sentence).into(),
            tells_log_start: true,
            before_acks: false,
        });
    }
    let log_append_time_ms = if topic.config.log_append_time {
        now_ms
    } else {
        -1
    };
    if validated.rewrite == Rewrite::None {
        return Ok(Checked {
            batch,
            header: validated.header,
            log_append_time_ms,
        });
    }
    let rewritten =
        rewrite(&batch, &validated, &rules, workspace).map_err(|error| refuse(&error))?;
    Ok(Checked {
        batch: rewritten.batch,
        header: rewritten.header,
        log_append_time_ms,
    })
}

fn rules(config: &TopicConfig, zstd_allowed: bool) -> ValidationRules {
    ValidationRules {
        // Compaction has to know every key: what it cannot read it would keep for ever.
        walk: if config.validate_records || config.compact {
            Walk::Records
        } else {
            Walk::HeaderOnly
        },
        batch_bytes_max: usize::try_from(config.max_message_bytes).expect("its least value is 0"),
        timestamp_type: match config.log_append_time {
            true => TimestampType::LogAppendTime,
            false => TimestampType::CreateTime,
        },
        timestamp_before_max_ms: config.timestamp_before_max_ms,
        timestamp_after_max_ms: config.timestamp_after_max_ms,
        compression: compression(config.compression),
        key_required: config.compact,
        zstd_allowed,
        limits: Limits::default(),
    }
}

/// `None`: as the producer sent it.
fn compression(wanted: Compression) -> Option<RecordCompression> {
    let (codec, level) = match wanted {
        Compression::Producer => return None,
        Compression::Uncompressed => (Codec::None, 0),
        Compression::Gzip(level) => (Codec::Gzip, level),
        Compression::Snappy => (Codec::Snappy, 0),
        Compression::Lz4(level) => (Codec::Lz4, level),
        Compression::Zstd(level) => (Codec::Zstd, level),
    };
    // A level that the table of configurations allows and the codec does not is taken as none.
    Some(
        RecordCompression::with_level(codec, level)
            .unwrap_or_else(|_| RecordCompression::of(codec)),
    )
}

fn refusal(error: &RecordError, topic: &Topic, partition: i32, rules: &ValidationRules) -> Refused {
    let name = || format!("{}-{partition}", topic.name);
    let sentence = error.to_string();
    let (mut message, mut record_errors) = (None, Vec::new());
    let problem = match error.kind() {
        ErrorKind::CorruptMessage => BrokerError::CorruptMessage(sentence),
        ErrorKind::UnsupportedCompressionType => BrokerError::UnsupportedCompressionType(sentence),
        ErrorKind::MessageTooLarge => BrokerError::MessageTooLarge {
            topic: topic.name.to_string(),
            partition,
            bytes: too_large_bytes(error),
            limit: rules.batch_bytes_max,
        },
        ErrorKind::InvalidTimestamp => BrokerError::InvalidTimestamp(sentence),
        ErrorKind::InvalidRecord => BrokerError::InvalidRecord(sentence),
    };
    if let Some(problems) = error.problems() {
        let name = name();
        message = Some(problems.message(&name));
        let described = problems.described().iter();
        record_errors = described
            .map(|problem| {
                let index = i32::try_from(problem.batch_index).unwrap_or(i32::MAX);
                (index, Some(problem.message(&name)))
            })
            .collect();
    }
    let before_acks = matches!(
        error,
        RecordError::Empty
            | RecordError::Truncated { .. }
            | RecordError::OldMagic { .. }
            | RecordError::TrailingBytes { .. }
            | RecordError::CodecNotAllowed { .. }
    );
    let tells_log_start = !before_acks
        && matches!(
            problem,
            BrokerError::InvalidTimestamp(_) | BrokerError::InvalidRecord(_)
        );
    Refused {
        refusal: ProduceRefusal {
            error: problem,
            message,
            record_errors,
            log_start_offset: -1,
        },
        tells_log_start,
        before_acks,
    }
}

fn too_large_bytes(error: &RecordError) -> usize {
    match error {
        RecordError::TooLarge { bytes, .. } | RecordError::RewrittenTooLarge { bytes } => *bytes,
        _ => 0,
    }
}
