//! Segments: where a log's bytes are once they are written behind. Files hold batches byte for
//! byte and nothing else, under Kafka's names, so that Kafka's own tools read them.

pub(crate) mod cache;
pub(crate) mod index;
pub(crate) mod writer;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use self::index::MemIndex;
use crate::ids::TopicPartition;

/// A segment's file among those of its partition: each cleaning gives what it made of a segment a
/// version of its own, so that no file is ever written anew while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    pub(crate) base: i64,
    /// 0 as appended.
    pub(crate) version: u32,
}

impl SegmentName {
    /// That of a segment as it is appended to.
    pub(crate) fn appended(base: i64) -> Self {
        Self { base, version: 0 }
    }

    /// Whether a batch with this offset may come where `next` is the least that can: cleaning leaves
    /// gaps, and never changes the order.
    pub(crate) fn follows(self, next: i64, base_offset: i64) -> bool {
        match self.version {
            0 => base_offset == next,
            _ => base_offset >= next,
        }
    }

    /// Reads a file's name; `None` for one that is no segment's.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let stem = name
            .strip_suffix(".log")
            .or_else(|| name.strip_suffix(".index"))?;
        let (base, version) = stem.split_once('.').unwrap_or((stem, "0"));
        let parsed = Self {
            base: base.parse().ok()?,
            version: version.parse().ok()?,
        };
        (parsed.stem() == stem).then_some(parsed)
    }

    /// Kafka takes the base offset from what is before the first point.
    pub(crate) fn stem(self) -> String {
        match self.version {
            0 => format!("{:020}", self.base),
            version => format!("{:020}.{version}", self.base),
        }
    }
}

/// Held by whoever reads a segment's file: as long as somebody does, it is not removed.
pub(crate) type Lease = Rc<()>;

/// One segment of a log.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) base: i64,
    /// How often it was cleaned. Of a segment that never was, the batches follow each other without
    /// a gap.
    pub(crate) version: u32,
    pub(crate) lease: Lease,
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
            version: 0,
            lease: Lease::default(),
            len: 0,
            max_timestamp: -1,
            created_ms,
            closed: false,
            durable_len: 0,
            index: Some(Rc::default()),
        }
    }

    pub(crate) fn name(&self) -> SegmentName {
        SegmentName {
            base: self.base,
            version: self.version,
        }
    }

    /// Its file holds all of it, durably.
    pub(crate) fn is_complete(&self) -> bool {
        self.closed && self.durable_len == self.len
    }
}

pub(crate) fn log_path(data_dir: &Path, tp: TopicPartition, name: SegmentName) -> PathBuf {
    tp.directory(data_dir).join(format!("{}.log", name.stem()))
}

pub(crate) fn index_path(data_dir: &Path, tp: TopicPartition, name: SegmentName) -> PathBuf {
    tp.directory(data_dir)
        .join(format!("{}.index", name.stem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_as_it_was_written_and_no_other_is_one() {
        for (base, version) in [(0, 0), (17, 0), (17, 3), (i64::MAX, u32::MAX)] {
            let name = SegmentName { base, version };
            for kind in ["log", "index"] {
                let file = format!("{}.{kind}", name.stem());
                assert_eq!(SegmentName::parse(&file), Some(name));
                let before_first_point = file.split('.').next().unwrap();
                assert_eq!(before_first_point.parse(), Ok(base), "as Kafka reads it");
            }
        }
        for foreign in ["1.log", "00000000000000000017.0.log", "x.index", "lock"] {
            assert_eq!(SegmentName::parse(foreign), None, "{foreign}");
        }
    }
}
