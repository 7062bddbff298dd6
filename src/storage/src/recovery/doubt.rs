//! Checkpoints that do not hold: torn when they were written, or rotten since.
//!
//! Every commit names the checkpoint that was durable when it was built, and a checkpoint that
//! counted may have freed WAL files or the generations before its own. So a group that nothing
//! speaks of was torn, and the WAL has what it would have said. One that something speaks of is
//! damaged: it is named, and the start is refused if what it freed is gone, for then nobody can tell
//! what else it said, not even which topics there are.
#![deny(clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::RecoveryReport;
use super::past::Checkpoints;
use super::replay::Replay;
use super::scan::OldWal;
use crate::checkpoint::reader::Doubtful;
use crate::checkpoint::writer::{directory, file_name, slot};
use crate::error::{Corrupt, StorageError};
use crate::ids::Generation;

type Key = (Generation, u16);

/// Tells torn from rotten, once all WALs have been walked.
pub(super) fn judge(
    data_dir: &Path,
    wals: &[OldWal],
    checkpoints: &Checkpoints,
    replay: &mut Replay,
    report: &mut RecoveryReport,
) -> Result<(), StorageError> {
    let doubtful = checkpoints.doubtful.iter().map(|d| (d.generation, d.shard));
    let testified = checkpoints.testified.keys().copied();
    let keys: BTreeSet<Key> = doubtful.chain(testified).collect();
    for key in keys
        .into_iter()
        .filter(|key| key.0 >= checkpoints.retired_below)
    {
        let read = checkpoints.read.get(&key).copied().unwrap_or_default();
        let testified = checkpoints.testified.get(&key).copied().unwrap_or_default();
        let is_doubtful = |d: &&Doubtful| (d.generation, d.shard) == key;
        let is_rotten = testified > read;
        if !is_rotten && !checkpoints.doubtful.iter().any(|d| is_doubtful(&d)) {
            continue;
        }
        let (file, position) = place(data_dir, checkpoints, key, testified);
        let is_needed = has_freed(wals, checkpoints, key) || is_past_gone(wals, checkpoints, key);
        let what = "a checkpoint that had been durable is damaged";
        if is_needed {
            return Err(StorageError::corrupt(file, position, what));
        }
        if is_rotten {
            // A run of the past may have gone to its segment, which the damaged group said.
            replay.missing_in = Some((file.clone(), position));
            report.damage.push(Corrupt {
                file,
                position,
                what: format!("{what}, but nothing that it freed is gone"),
            });
        }
    }
    // Nothing of the past is retired before each shard has a checkpoint of its own.
    let retired = checkpoints.retired_below;
    let lacks = |wal: &&OldWal| {
        let key = (wal.generation, wal.shard);
        wal.generation == retired && !checkpoints.read.contains_key(&key)
    };
    if let Some(wal) = wals.iter().find(lacks).filter(|_| retired.0 > 0) {
        let (file, position) = place(data_dir, checkpoints, (retired, wal.shard), 0);
        let what = "a checkpoint that had been durable is damaged or missing";
        return Err(StorageError::corrupt(file, position, what));
    }
    Ok(())
}

/// The files of checkpoints that do not hold, torn or rotten, and where in them.
pub(super) fn suspects(data_dir: &Path, checkpoints: &Checkpoints) -> Vec<(PathBuf, u64)> {
    let doubtful = checkpoints.doubtful.iter();
    let doubtful = doubtful.map(|d| (d.path.clone(), d.position));
    let unread = checkpoints.testified.iter().filter(|(key, testified)| {
        checkpoints.read.get(key).copied().unwrap_or_default() < **testified
    });
    let unread = unread.map(|(key, number)| place(data_dir, checkpoints, *key, *number));
    let all: BTreeSet<(PathBuf, u64)> = unread.chain(doubtful).collect();
    all.into_iter().collect()
}

/// Where the checkpoint of this number is, or ought to be.
fn place(data_dir: &Path, checkpoints: &Checkpoints, key: Key, number: u64) -> (PathBuf, u64) {
    let counter = (number >> 32).max(1);
    let expected = directory(data_dir).join(file_name(key.0, key.1, slot(counter)));
    let mut of_key = checkpoints
        .doubtful
        .iter()
        .filter(|d| (d.generation, d.shard) == key);
    let exact = of_key.clone().find(|d| d.path == expected);
    match exact.or_else(|| of_key.next()) {
        Some(found) => (found.path.clone(), found.position),
        None => (expected, 0),
    }
}

fn from_lsn(checkpoints: &Checkpoints, key: Key) -> u64 {
    checkpoints
        .known
        .get(&key)
        .map_or(0, |known| known.from_lsn)
}

/// Whether a WAL file is gone that the checkpoint which was read still needs. Files are made and
/// used again in the order of their LSNs, so a hole is a file that a later checkpoint has freed.
fn has_freed(wals: &[OldWal], checkpoints: &Checkpoints, key: Key) -> bool {
    let own = wals.iter().find(|wal| (wal.generation, wal.shard) == key);
    let mut at = from_lsn(checkpoints, key);
    for file in own.map_or(&[][..], |wal| wal.files.as_slice()) {
        if file.start_lsn > at {
            return true;
        }
        at = at.max(file.end_lsn());
    }
    false
}

/// Whether a WAL of an earlier generation is gone that the checkpoints which were read still need.
fn is_past_gone(wals: &[OldWal], checkpoints: &Checkpoints, key: Key) -> bool {
    checkpoints.seals.iter().any(|(sealed, end)| {
        let has_wal = wals
            .iter()
            .any(|wal| (wal.generation, wal.shard) == *sealed);
        sealed.0 < key.0
            && sealed.0 >= checkpoints.retired_below
            && *end > from_lsn(checkpoints, *sealed)
            && !has_wal
    })
}
