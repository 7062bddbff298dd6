//! Segments: where a log's bytes are once they are written behind. Files hold batches byte for
//! byte and nothing else, under Kafka's names, so that Kafka's own tools read them.

pub(crate) mod cache;
pub(crate) mod index;
pub(crate) mod writer;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use self::index::MemIndex;
use crate::ids::TopicPartition;

/// One segment of a log.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) base: i64,
    /// Bytes appended to it, wherever they are.
    pub(crate) len: u64,
    pub(crate) max_timestamp: i64,
    /// When its first batch was appended, Unix ms.
    pub(crate) created_ms: i64,
    /// Nothing is appended to it any more.
    pub(crate) closed: bool,
    /// How many bytes of the file are durable: whole blocks, or all of a complete one.
    pub(crate) durable_len: u64,
    /// The index of what was appended by this process; the file has it once complete.
    pub(crate) index: Option<Rc<std::cell::RefCell<MemIndex>>>,
}

impl Segment {
    pub(crate) fn new(base: i64, created_ms: i64) -> Self {
        Self {
            base,
            len: 0,
            max_timestamp: -1,
            created_ms,
            closed: false,
            durable_len: 0,
            index: Some(Rc::default()),
        }
    }

    /// Its file holds all of it, durably.
    pub(crate) fn is_complete(&self) -> bool {
        self.closed && self.durable_len == self.len
    }
}

pub(crate) fn log_path(data_dir: &Path, tp: TopicPartition, base: i64) -> PathBuf {
    tp.directory(data_dir).join(format!("{base:020}.log"))
}

pub(crate) fn index_path(data_dir: &Path, tp: TopicPartition, base: i64) -> PathBuf {
    tp.directory(data_dir).join(format!("{base:020}.index"))
}
