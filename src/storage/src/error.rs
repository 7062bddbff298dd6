//! What can go wrong in storage, with the facts that a reader of the log line needs.

use std::io;
use std::path::PathBuf;

/// Damage found in a file: where it is and what did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {position}: {what}", file.display())]
pub struct Corrupt {
    /// The damaged file.
    pub file: PathBuf,
    /// The byte position in it.
    pub position: u64,
    /// What did not hold.
    pub what: String,
}

/// Why storage could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// An operation on a file failed.
    #[error("{} {}: {source}", doing, path.display())]
    Io {
        /// What was being done, as "cannot read".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process writes the same WAL.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The locked file.
        path: PathBuf,
    },
    /// The data directory is not one of ours, or not this node's.
    #[error("{}: {what}", path.display())]
    Foreign {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        what: String,
    },
    /// A file needs a feature that this version does not know.
    #[error("{} needs the unknown feature bit {bit} (file format {version})", path.display())]
    UnknownFeature {
        /// The file.
        path: PathBuf,
        /// The lowest unknown incompatible bit.
        bit: u32,
        /// The file's format version.
        version: u16,
    },
    /// A file that everything else depends on is damaged.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The metadata in the log cannot be understood; the sentence is its reader's.
    #[error("{0}")]
    MetadataUnreadable(String),
    /// Less free space than the reserve: nothing is appended until some is freed.
    #[error("the disk has less free space than the reserve")]
    DiskFull,
    /// A batch that no WAL file could hold.
    #[error("a batch of {bytes} bytes is larger than the {limit} that the log can take")]
    BatchTooLarge {
        /// The batch's size.
        bytes: usize,
        /// The most that fits.
        limit: usize,
    },
    /// This log is out of service since damage was found in it.
    #[error("the log is out of service: {0}")]
    OutOfService(Corrupt),
    /// The log was dropped.
    #[error("the log was deleted")]
    Dropped,
    /// The offset lies outside the log.
    #[error("offset {offset} is outside {log_start}..={end}")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: i64,
        /// The log start offset.
        log_start: i64,
        /// The end of what may be asked for.
        end: i64,
    },
    /// The shard is going down.
    #[error("the shard is shutting down")]
    ShuttingDown,
}

impl StorageError {
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    /// A sync that failed: whatever the reason, what it was to make durable may be gone.
    pub(crate) fn unsynced(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let failed = Self::io("cannot sync", path);
        move |source| failed(io::Error::other(source))
    }

    /// A file that is in the way could not be removed: whatever the reason, what makes another in its
    /// place must not go on.
    pub(crate) fn unmade(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let failed = Self::io("cannot remove", path);
        move |source| failed(io::Error::other(source))
    }

    /// Whether a write found no space. What it was to write is elsewhere still, and it can be done
    /// again once there is some.
    pub(crate) fn is_no_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// Whether a file is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    pub(crate) fn corrupt(
        file: impl Into<PathBuf>,
        position: u64,
        what: impl Into<String>,
    ) -> Self {
        Self::Corrupt(Corrupt {
            file: file.into(),
            position,
            what: what.into(),
        })
    }
}

/// Why a read could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Below the log start offset or above the end.
    #[error("offset {offset} is outside {log_start}..={end}")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: i64,
        /// The log start offset.
        log_start: i64,
        /// The end of what may be read.
        end: i64,
    },
    /// Damage was found; the log is out of service from here on.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The log was dropped.
    #[error("the log was deleted")]
    Dropped,
    /// The file could not be read.
    #[error("cannot read {}: {what}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        what: String,
    },
}
