//! What an operator may choose about storage, and what a topic may choose about its logs.
//!
//! Every limit names its unit. What happens at each limit stands beside the code that meets it.

use std::path::{Path, PathBuf};

/// 4 KiB: every direct write and read is aligned to it, and it is the least a commit can be.
pub(crate) const BLOCK: u64 = 4096;

/// How many files of the usual size a WAL's ring has at least, besides the first.
pub(crate) const WAL_FILES_MIN: u64 = 7;

/// What holds for the whole data directory.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// Where the root file, the checkpoints and the segments live.
    pub data_dir: PathBuf,
    /// A directory of its own for the WAL (often a device of its own); `None`: `<data_dir>/wal`.
    pub wal_dir: Option<PathBuf>,
    /// The most that one shard's WAL files may take together. At three quarters of it write-behind
    /// hurries; when it is full, appends wait.
    pub wal_bytes: u64,
    /// The size of the first WAL file of a start, zero-filled before anything is served.
    pub wal_first_file_bytes: u64,
    /// The size of every other WAL file, zero-filled in the background.
    pub wal_file_bytes: u64,
    /// A commit is closed when it holds this much. A single larger batch makes a commit of its own.
    pub commit_bytes_max: usize,
    /// How many commits may be on their way to the disk at once.
    pub commits_in_flight_max: usize,
    /// Appended bytes that no commit has taken yet; above it [`crate::Storage::room`] waits.
    pub pending_bytes_max: usize,
    /// Below this much free space, appends are refused with [`crate::StorageError::DiskFull`].
    pub disk_reserve_bytes: u64,
    /// Memory of one shard for the tail cache and the read cache together.
    pub memory_bytes: usize,
    /// A partition with this much outstanding is written to its segment in the background.
    pub write_behind_bytes: u64,
    /// To free a WAL file: partitions with at least this much are written, smaller ones carried.
    pub carry_below_bytes: u64,
    /// How often retention looks at the logs.
    pub retention_interval_ms: u64,
    /// How often logs are looked at for cleaning.
    pub cleaner_interval_ms: u64,
    /// How long an idle flusher waits before it covers its last commit with an empty one.
    pub idle_cover_ms: u64,
    /// How often it is said beside a busy WAL how far it is durable and where its logs end.
    pub witness_interval_ms: u64,
    /// How long recovery waits for another process's locks before it gives up.
    pub lock_wait_ms: u64,
}

impl StorageConfig {
    /// The defaults for a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            wal_dir: None,
            wal_bytes: 512 << 20,
            wal_first_file_bytes: 8 << 20,
            wal_file_bytes: 64 << 20,
            commit_bytes_max: 512 << 10,
            commits_in_flight_max: 2,
            pending_bytes_max: 8 << 20,
            disk_reserve_bytes: 256 << 20,
            memory_bytes: 64 << 20,
            write_behind_bytes: 1 << 20,
            carry_below_bytes: 64 << 10,
            retention_interval_ms: 60_000,
            cleaner_interval_ms: 15_000,
            idle_cover_ms: 20,
            witness_interval_ms: 1_000,
            lock_wait_ms: 5_000,
        }
    }

    /// The directory of the WAL files.
    #[must_use]
    pub fn wal_path(&self) -> PathBuf {
        wal_path(&self.data_dir, self.wal_dir.as_deref())
    }

    /// The largest batch that can be appended: it shares one WAL file with the headers round it.
    /// Append answers a larger one with [`crate::StorageError::BatchTooLarge`].
    #[must_use]
    pub fn batch_bytes_max(&self) -> usize {
        usize::try_from(self.wal_ring_file_bytes() - 4 * BLOCK).unwrap_or(usize::MAX)
    }

    /// The size of the first WAL file of a start.
    pub(crate) fn wal_first_bytes(&self) -> u64 {
        self.wal_first_file_bytes.max(2 * BLOCK)
    }

    /// The size of every other WAL file: as many as a ring needs fit beside the first.
    pub(crate) fn wal_ring_file_bytes(&self) -> u64 {
        let rest = self.wal_bytes.saturating_sub(self.wal_first_bytes());
        (self.wal_file_bytes.min(rest / WAL_FILES_MIN) / BLOCK * BLOCK).max(8 * BLOCK)
    }

    /// The read cache's share of the shard's memory.
    pub(crate) fn read_cache_bytes(&self) -> usize {
        self.memory_bytes / 4
    }

    /// What compaction may have of the read cache's share while it cleans a log.
    pub(crate) fn cleaner_bytes(&self) -> usize {
        self.read_cache_bytes() / 2
    }

    /// The tail cache's share of the shard's memory.
    pub(crate) fn tail_cache_bytes(&self) -> usize {
        self.memory_bytes - self.read_cache_bytes()
    }
}

pub(crate) fn wal_path(data_dir: &Path, wal_dir: Option<&Path>) -> PathBuf {
    wal_dir.map_or_else(|| data_dir.join("wal"), Path::to_path_buf)
}

/// What holds for one log: its topic's configuration, in Kafka's names and units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is closed before it would grow larger.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is closed when it is older, at the next append.
    pub segment_ms: i64,
    /// `cleanup.policy` has `delete`: retention acts.
    pub delete: bool,
    /// `cleanup.policy` has `compact`.
    pub compact: Option<Compaction>,
    /// `retention.ms` by the segment's largest timestamp; negative: for ever.
    pub retention_ms: i64,
    /// `retention.bytes` of the log; negative: no limit.
    pub retention_bytes: i64,
    /// `flush.ms`: how long write-cached bytes may stay unsynced.
    pub flush_ms: u64,
    /// `flush.bytes`: how many write-cached bytes may stay unsynced.
    pub flush_bytes: u64,
}

/// How a compacted topic's logs are cleaned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    /// `min.cleanable.dirty.ratio` in millionths: how much of what could be cleaned has to be dirty.
    pub dirty_ratio_min: u32,
    /// `delete.retention.ms`: how long a tombstone stays after the cleaning that first saw it.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: younger segments are left alone.
    pub lag_min_ms: i64,
    /// `max.compaction.lag.ms`: a log with an older dirty segment is cleaned whatever its ratio, and
    /// a segment is closed when it is older, at the next append.
    pub lag_max_ms: i64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            dirty_ratio_min: 500_000,
            delete_retention_ms: 24 * 3600 * 1000,
            lag_min_ms: 0,
            lag_max_ms: i64::MAX,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            delete: true,
            compact: None,
            retention_ms: 7 * 24 * 3600 * 1000,
            retention_bytes: -1,
            flush_ms: 100,
            flush_bytes: 262_144,
        }
    }
}
