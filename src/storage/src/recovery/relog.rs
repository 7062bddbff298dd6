//! Writes anew what of a past WAL nothing says had been durable.
//!
//! What a start finds at the end of a WAL had been written, and whether it had been synced nobody
//! knows. A sync that failed may have ended the process: then what was written can still be read,
//! but it may be on no disk, and another sync may succeed and bring it to none. So before anything
//! is served, the end of the WAL is copied, block by block, to a file of its own beside the one it
//! lies in, and synced there: not in place, where a power cut could take blocks that had been
//! acknowledged.
//!
//! Invariants: a copy counts once its WAL is sealed, and then in place of what it was made from;
//! a WAL is sealed once its copies are durable; a copy of a WAL that no seal knows may be torn and
//! is removed before another is made.
#![deny(clippy::indexing_slicing)]

use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{DmaBuf, File, IoClass, OpenOptions, dir};
use uuid::Uuid;

use super::enter::Held;
use super::past::{Checkpoints, Past};
use super::scan::OldWal;
use super::{OldFileInfo, SeedLog};
use crate::config::{BLOCK, StorageConfig};
use crate::error::StorageError;
use crate::ids::TopicPartition;
use crate::patience::Patience;
use crate::wal::file::{WalFileHeader, WalName, usize_of};
use crate::wal::reader::OldFile;

/// How much is copied at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// The end of a WAL that nothing says had been durable, and that has something in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unproven {
    /// The index of the WAL, and of its first file among the files of the past.
    pub(super) wal: usize,
    pub(super) file_base: usize,
    pub(super) from_lsn: u64,
    pub(super) end_lsn: u64,
}

/// Where a part of a file has been copied to.
struct Copied {
    file: usize,
    position: u64,
    to: usize,
}

/// Of a WAL that is sealed the copies count, of any other only the originals.
pub(super) fn settle(wal: &mut OldWal, is_sealed: bool) {
    let all = std::mem::take(&mut wal.files);
    let (copies, mut files): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|file| file.name.is_copy());
    if is_sealed {
        for copy in copies {
            let original = files.iter_mut().find(|file| file.name.copy() == copy.name);
            if let Some(original) = original {
                original.bytes = BLOCK + copy.start_lsn.saturating_sub(original.start_lsn);
            }
            files.push(copy);
        }
        files.retain(|file| file.bytes > BLOCK);
        files.sort_by_key(|file| file.start_lsn);
    }
    wal.files = files;
}

/// Copies the unproven ends, durably, and lets the logs read what is in them from the copies.
pub(super) async fn relog(
    config: &StorageConfig,
    cluster_id: Uuid,
    wals: &[OldWal],
    checkpoints: &Checkpoints,
    past: &mut Past,
    logs: &mut [(TopicPartition, SeedLog)],
    held: &mut Held,
) -> Result<(), StorageError> {
    if planted::is(Planted::TailServedBeforeSync) {
        return Ok(());
    }
    let removed = remove_unsealed(config, checkpoints).await?;
    let mut copies = Vec::new();
    for end in std::mem::take(&mut past.unproven) {
        let files = wals.get(end.wal).map_or(&[][..], |wal| &wal.files);
        for (index, file) in files.iter().enumerate() {
            let from = end.from_lsn.max(file.start_lsn);
            let upto = end.end_lsn.min(file.end_lsn());
            if from >= upto {
                continue;
            }
            held.past
                .push(copy(config, cluster_id, file, from, upto).await?);
            copies.push(Copied {
                file: end.file_base + index,
                position: file.position_of(from),
                to: past.files.len(),
            });
            past.files.push(OldFileInfo {
                name: file.name.copy(),
                bytes: BLOCK + (file.end_lsn() - from),
                start_lsn: from,
            });
        }
    }
    if removed || !copies.is_empty() {
        let wal_dir = config.wal_path();
        dir::sync(&wal_dir)
            .await
            .map_err(StorageError::io("cannot sync", &wal_dir))?;
    }
    for run in logs.iter_mut().flat_map(|(_, log)| &mut log.runs) {
        let copied = copies
            .iter()
            .find(|copied| copied.file == run.file && copied.position <= run.position);
        if let Some(copied) = copied {
            run.file = copied.to;
            run.position = run.position - copied.position + BLOCK;
        }
    }
    Ok(())
}

/// Removes what a start that did not get so far as to seal has copied.
async fn remove_unsealed(
    config: &StorageConfig,
    checkpoints: &Checkpoints,
) -> Result<bool, StorageError> {
    let wal_dir = config.wal_path();
    let entries = dir::list(&wal_dir)
        .await
        .map_err(StorageError::io("cannot list", &wal_dir))?;
    let mut removed = false;
    for entry in entries {
        let Some(name) = WalName::parse(&entry.name).filter(WalName::is_copy) else {
            continue;
        };
        let wal = (name.generation, name.shard);
        if checkpoints.seal_of(&wal).is_some() || name.generation < checkpoints.retired_below {
            continue;
        }
        let path = wal_dir.join(&entry.name);
        dir::remove_file(&path)
            .await
            .map_err(StorageError::io("cannot remove", &path))?;
        removed = true;
    }
    Ok(removed)
}

/// Copies a part of a file to one of its own, which covers the LSNs up to where the file ends, so
/// that the WAL goes on after it as it did. The copy is durable, its name not yet.
async fn copy(
    config: &StorageConfig,
    cluster_id: Uuid,
    file: &OldFile,
    from: u64,
    upto: u64,
) -> Result<File, StorageError> {
    let name = file.name.copy();
    let path = config.wal_path().join(name.file_name());
    let failed = |doing| StorageError::io(doing, &path);
    let options = OpenOptions {
        create_new: true,
        write: true,
    };
    let to = File::open(&path, options)
        .await
        .map_err(failed("cannot create"))?;
    if !to.try_lock().map_err(failed("cannot lock"))? {
        return Err(StorageError::Locked { path });
    }
    let bytes = BLOCK + (file.end_lsn() - from);
    // As much as is there to be searched: a header may claim more than any disk has.
    let there = BLOCK + (file.search_end().max(upto) - from);
    to.truncate(there).await.map_err(failed("cannot size"))?;
    let mut patience = Patience::default();
    let mut at = from;
    while at < upto {
        let len = usize_of(PIECE_BYTES.min(upto - at));
        let read = patience.read(&file.file, &file.path, file.position_of(at), len);
        let read = read
            .await
            .map_err(StorageError::io("cannot read", &file.path))?;
        if read.len() < len {
            let what = "the file ends before its last commit";
            return Err(StorageError::corrupt(
                &file.path,
                file.position_of(at),
                what,
            ));
        }
        let mut piece = DmaBuf::zeroed(len);
        piece.copy_from_slice(read.split_at(len).0);
        to.write(IoClass::Maintenance, BLOCK + (at - from), &piece.freeze())
            .await
            .map_err(failed("cannot write"))?;
        at += len as u64;
    }
    let header = WalFileHeader {
        shard: name.shard,
        seq: name.seq,
        start_lsn: from,
        bytes,
    };
    let block = header.encode(cluster_id, name.generation).freeze();
    to.write(IoClass::Maintenance, 0, &block)
        .await
        .map_err(failed("cannot write"))?;
    to.sync(IoClass::Maintenance)
        .await
        .map_err(failed("cannot sync"))?;
    Ok(to)
}
