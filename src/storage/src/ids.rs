//! Names of things that outlive a process: partitions by topic id, and generations.

use std::fmt;
use std::path::{Path, PathBuf};

use tailwater_shards::ShardId;
use uuid::Uuid;

/// A partition, named by its topic's id: never by a name, which may be given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's id.
    pub topic: Uuid,
    /// The partition's index in it.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    #[must_use]
    pub const fn new(topic: Uuid, partition: i32) -> Self {
        Self { topic, partition }
    }

    /// The partition's directory under the data directory.
    pub(crate) fn directory(&self, data_dir: &Path) -> PathBuf {
        data_dir
            .join(self.topic.as_hyphenated().to_string())
            .join(self.partition.to_string())
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic.as_hyphenated(), self.partition)
    }
}

/// A counter of starts, durable before anything else happens in a start. The first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which shard owns a partition: a topic's partitions are dealt round the shards from a place
/// that its id decides. Pure, so that every shard and every start of the same size agree.
#[must_use]
pub fn owner(tp: TopicPartition, shards: u16) -> ShardId {
    assert!(shards > 0, "a broker has at least one shard");
    let (high, low) = tp.topic.as_u64_pair();
    // The bits of a random UUID are mixed already; the multiplication serves ids made by hand.
    let hash = (high ^ low.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let index = hash.wrapping_add(u64::from(tp.partition.unsigned_abs())) % u64::from(shards);
    ShardId(u16::try_from(index).expect("a remainder of a u16 fits"))
}
