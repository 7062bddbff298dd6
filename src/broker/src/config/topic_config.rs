//! What a topic lives by, parsed.

use super::BrokerSettings;
use std::collections::BTreeMap;

/// What a topic lives by: its overrides over the broker's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy` has `delete`: retention acts.
    pub delete: bool,
    /// `cleanup.policy` has `compact`: every record needs a key.
    pub compact: bool,
    /// `min.cleanable.dirty.ratio`, from 0 to 1.
    pub dirty_ratio_min: f64,
    /// How long a tombstone stays after the cleaning that first saw it, in ms.
    pub delete_retention_ms: i64,
    /// A segment with a younger record is not compacted, in ms.
    pub compaction_lag_min_ms: i64,
    /// After this a record is due to be compacted whatever the ratio, in ms.
    pub compaction_lag_max_ms: i64,
    /// Batches older than this may go; -1 never.
    pub retention_ms: i64,
    /// A partition larger than this loses its oldest segments; -1 never.
    pub retention_bytes: i64,
    /// A segment's size.
    pub segment_bytes: i32,
    /// A segment's age.
    pub segment_ms: i64,
    /// A batch's largest size; storage can hold one of it.
    pub max_message_bytes: i32,
    /// `LogAppendTime` instead of `CreateTime`.
    pub log_append_time: bool,
    /// How far behind the broker's time a record's may be, in ms.
    pub timestamp_before_max_ms: i64,
    /// How far before the broker's time a record's may be, in ms.
    pub timestamp_after_max_ms: i64,
    /// What batches are stored with.
    pub compression: Compression,
    /// acks=all and the high watermark do not wait for the disk's cache.
    pub write_caching: bool,
    /// With `write.caching`: synced after this time.
    pub flush_ms: i64,
    /// With `write.caching`: synced after this many bytes.
    pub flush_bytes: i64,
    /// `record.validation=full`: compressed batches are opened and every record is walked.
    pub validate_records: bool,
}

/// `compression.type` with its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As the producer sent it.
    Producer,
    /// Not compressed.
    Uncompressed,
    /// gzip; -1 is its default level.
    Gzip(i32),
    /// snappy.
    Snappy,
    /// lz4.
    Lz4(i32),
    /// zstd.
    Zstd(i32),
}

impl TopicConfig {
    /// Puts the overrides over the broker's settings. Both were checked when they were set.
    pub fn resolve(settings: &BrokerSettings, overrides: &BTreeMap<String, String>) -> Self {
        let resolver = Resolver {
            settings,
            overrides,
        };
        let level = |name| i32::try_from(resolver.number(name)).expect("the table's bounds fit");
        let compression = match resolver.text("compression.type").as_str() {
            "uncompressed" => Compression::Uncompressed,
            "gzip" => Compression::Gzip(level("compression.gzip.level")),
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4(level("compression.lz4.level")),
            "zstd" => Compression::Zstd(level("compression.zstd.level")),
            _ => Compression::Producer,
        };
        let policy = resolver.text("cleanup.policy");
        let has_policy = |wanted| policy.split(',').any(|word| word == wanted);
        Self {
            delete: has_policy("delete"),
            compact: has_policy("compact"),
            dirty_ratio_min: resolver
                .text("min.cleanable.dirty.ratio")
                .parse()
                .expect("checked when it was set"),
            delete_retention_ms: resolver.number("delete.retention.ms"),
            compaction_lag_min_ms: resolver.number("min.compaction.lag.ms"),
            compaction_lag_max_ms: resolver.number("max.compaction.lag.ms"),
            retention_ms: resolver.number("retention.ms"),
            retention_bytes: resolver.number("retention.bytes"),
            segment_bytes: i32::try_from(resolver.number("segment.bytes")).expect("an INT"),
            segment_ms: resolver.number("segment.ms"),
            max_message_bytes: i32::try_from(resolver.number("max.message.bytes"))
                .expect("an INT")
                .min(settings.batch_bytes_max),
            log_append_time: resolver.text("message.timestamp.type") == "LogAppendTime",
            timestamp_before_max_ms: resolver.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: resolver.number("message.timestamp.after.max.ms"),
            compression,
            write_caching: resolver.text("write.caching") == "true",
            flush_ms: resolver.number("flush.ms"),
            flush_bytes: resolver.number("flush.bytes"),
            validate_records: resolver.text("record.validation") == "full",
        }
    }
}

struct Resolver<'a> {
    settings: &'a BrokerSettings,
    overrides: &'a BTreeMap<String, String>,
}

impl Resolver<'_> {
    fn text(&self, name: &str) -> String {
        self.overrides
            .get(name)
            .cloned()
            .or_else(|| self.settings.topic_value(name))
            .expect("every topic configuration has a default")
    }

    fn number(&self, name: &str) -> i64 {
        self.text(name).parse().expect("checked when it was set")
    }
}
