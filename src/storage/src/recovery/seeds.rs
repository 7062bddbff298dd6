//! What recovery hands to the shards, and what the shards tell each other while the past is
//! cleared away.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tailwater_shards::Shutdown;
use uuid::Uuid;

use super::replay::SeedLog;
use crate::checkpoint::format::Seal;
use crate::ids::{Generation, TopicPartition};
use crate::root::Root;
use crate::wal::StreamStart;
use crate::wal::file::WalName;

/// A WAL file of the past, for a shard that reads runs from it.
#[derive(Debug, Clone)]
pub(crate) struct OldFileInfo {
    pub(crate) name: WalName,
    pub(crate) bytes: u64,
    pub(crate) start_lsn: u64,
}

/// Counts the shards through the two steps that only all of them together can finish.
pub(crate) struct Handoff {
    shards: u16,
    started: AtomicU16,
    /// Every shard has a WAL file of its own, locked.
    pub(crate) all_started: Shutdown,
    retired: AtomicU16,
    /// No shard needs anything of past generations any more.
    pub(crate) all_retired: Shutdown,
}

impl Handoff {
    pub(crate) fn new(shards: u16) -> Arc<Self> {
        Arc::new(Self {
            shards,
            started: AtomicU16::new(0),
            all_started: Shutdown::new(),
            retired: AtomicU16::new(0),
            all_retired: Shutdown::new(),
        })
    }

    pub(crate) fn shards(&self) -> u16 {
        self.shards
    }

    pub(crate) fn started(&self) {
        if self.started.fetch_add(1, Ordering::AcqRel) + 1 == self.shards {
            self.all_started.trigger();
        }
    }

    pub(crate) fn retired(&self) {
        if self.retired.fetch_add(1, Ordering::AcqRel) + 1 == self.shards {
            self.all_retired.trigger();
        }
    }
}

/// What a shard starts with. Made on shard 0, sent to its shard, used there once.
pub struct ShardSeed {
    pub(crate) generation: Generation,
    pub(crate) cluster_id: Uuid,
    pub(crate) shard: u16,
    pub(crate) logs: Vec<(TopicPartition, SeedLog)>,
    pub(crate) old_files: Arc<Vec<OldFileInfo>>,
    /// There are WAL or checkpoint files of past generations to be cleared away.
    pub(crate) has_past: bool,
    pub(crate) stream: StreamStart,
    pub(crate) metadata_next: u64,
    /// The metadata is known from more than a snapshot of this generation.
    pub(crate) seals: Vec<Seal>,
    /// Shard 0: the root file that says that there is a WAL, if the one that is there does not.
    pub(crate) mark: Option<Root>,
    /// Shard 0: directories of topics and partitions that are no more.
    pub(crate) remove: Vec<PathBuf>,
    pub(crate) handoff: Arc<Handoff>,
}
