//! What a topic lives by, parsed.

use super::BrokerSettings;
use std::collections::BTreeMap;

/// What a topic lives by: its overrides over the broker's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// Batches older than this may go; -1 never.
    pub retention_ms: i64,
    /// A partition larger than this loses its oldest segments; -1 never.
    pub retention_bytes: i64,
    /// A segment's size.
    pub segment_bytes: i32,
    /// A segment's age.
    pub segment_ms: i64,
    /// A batch's largest size.
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
    /// Puts the overrides over the broker's settings. Both have been checked when they were set.
    pub fn resolve(_settings: &BrokerSettings, _overrides: &BTreeMap<String, String>) -> Self {
        unimplemented!()
    }
}
