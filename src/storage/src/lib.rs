//! Storage: the write-ahead log of each shard, its segments, checkpoints and recovery.
//!
//! It owns every file of a data directory. It knows batches by their headers only, and nothing of
//! topics' names, clients or high watermarks. A start has two phases: [`recover`] on shard 0 reads
//! what is there and makes this start's generation durable; [`Storage::start`] on each shard takes
//! its seed. An append fixes the order synchronously and gives a [`Ticket`]; what is written and
//! what is durable is waited for separately.
//!
//! Invariants: a byte that was acknowledged as durable is never rewritten in place, only copied
//! elsewhere and then freed; nothing is served before the past generations' WALs are sealed.

mod background;
mod checkpoint;
mod compaction;
mod config;
mod disk_room;
mod error;
mod fields;
mod file_header;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod ids;
mod log;
mod offsets;
mod patience;
mod recovery;
mod root;
mod segment;
mod snapshot;
mod storage;
mod verify;
mod wal;
mod write_behind;

pub use config::{Compaction, LogConfig, StorageConfig};
pub use error::{Corrupt, ReadError, StorageError};
pub use ids::{Generation, TopicPartition, owner};
pub use log::{Appended, BatchSummary, Log, Read, RecoveredProducers, Sync, TimestampHit};
pub use offsets::{AppendedEnd, DurableEnd, WrittenEnd};
pub use recovery::{MetadataReplay, Recovered, RecoveryReport, ShardSeed, TopicEra, recover};
pub use snapshot::{SnapshotReader, SnapshotWriter};
pub use storage::{Pressure, Storage};
pub use verify::{VerifyReport, verify, verify_known};
pub use wal::{CommitTimes, Ticket};
