//! The WAL files of the past: found, locked, synced, and each put in its place in its stream.
//! Nothing is altered.
#![deny(clippy::indexing_slicing)]

use std::path::PathBuf;

use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{File, IoClass, OpenOptions, dir};
use uuid::Uuid;

use super::enter::{Held, lock};
use super::past::Checkpoints;
use super::scan::OldWal;
use crate::config::{BLOCK, StorageConfig};
use crate::error::StorageError;
use crate::file_header::{FileHeader, HeaderProblem, Kind};
use crate::ids::Generation;
use crate::patience::Patience;
use crate::root::Root;
use crate::wal::file::{WalFileHeader, WalName};
use crate::wal::format::{COMMIT_HEADER_BYTES, CommitHeader};
use crate::wal::reader::OldFile;

/// Finds, locks and syncs the WAL files of the past, and reads their headers only then. Without
/// somebody to hold them, they are only read.
pub(super) async fn open_wals(
    config: &StorageConfig,
    root: &Root,
    retired_below: Generation,
    held: Option<&mut Held>,
) -> Result<(Vec<OldWal>, Vec<Headless>), StorageError> {
    // A read proves nothing durable: what is read after this sync is.
    let syncs = held.is_some() && !planted::is(Planted::TailServedBeforeSync);
    let found = find_files(config, root, retired_below, held).await?;
    for (_, path, file) in found.iter().filter(|_| syncs) {
        let synced = file.sync(IoClass::Maintenance).await;
        synced.map_err(StorageError::io("cannot sync", path))?;
    }
    let mut wals: Vec<OldWal> = Vec::new();
    let (mut headless, mut unplaced) = (Vec::new(), Vec::new());
    for (name, path, file) in found {
        let old = match open_old(root.cluster_id, name, path, file).await? {
            Opened::Whole(old) => old,
            Opened::Headless(file) => {
                headless.push(file);
                continue;
            }
            Opened::Unused(path) => {
                unplaced.push((name, path));
                continue;
            }
        };
        match wals.last_mut() {
            Some(wal) if wal.generation == name.generation && wal.shard == name.shard => {
                wal.files.push(old);
            }
            _ => wals.push(OldWal {
                generation: name.generation,
                shard: name.shard,
                files: vec![old],
                unplaced: Vec::new(),
            }),
        }
    }
    for (name, path) in unplaced {
        let is_own =
            |wal: &&mut OldWal| (wal.generation, wal.shard) == (name.generation, name.shard);
        if let Some(wal) = wals.iter_mut().find(is_own) {
            wal.unplaced.push(path);
        }
    }
    if root.has_wal && wals.is_empty() {
        let what = "it holds no WAL of this data directory, which has had one".to_owned();
        return Err(StorageError::Foreign {
            path: config.wal_path(),
            what,
        });
    }
    for wal in &mut wals {
        wal.files.sort_by_key(|file| file.start_lsn);
    }
    Ok((wals, headless))
}

/// Opens the WAL files of the generations that count, and locks them if there is somebody to hold
/// them; by name, and so by generation and shard.
async fn find_files(
    config: &StorageConfig,
    root: &Root,
    retired_below: Generation,
    mut held: Option<&mut Held>,
) -> Result<Vec<(WalName, PathBuf, File)>, StorageError> {
    let wal_dir = config.wal_path();
    let mut found = Vec::new();
    let exists = dir::exists(&wal_dir).await;
    if !exists.map_err(StorageError::io("cannot look for", &wal_dir))? {
        return Ok(found);
    }
    let entries = dir::list(&wal_dir).await;
    let entries = entries.map_err(StorageError::io("cannot list", &wal_dir))?;
    for entry in entries {
        let Some(name) = WalName::parse(&entry.name) else {
            continue;
        };
        if name.generation < retired_below || name.generation > root.generation {
            continue;
        }
        let path = wal_dir.join(&entry.name);
        let options = OpenOptions {
            create_new: false,
            write: held.is_some(),
        };
        let file = File::open(&path, options)
            .await
            .map_err(StorageError::io("cannot open", &path))?;
        if let Some(held) = &mut held {
            lock(&file, &path, config.lock_wait_ms).await?;
            held.past.push(file.clone());
        }
        found.push((name, path, file));
    }
    Ok(found)
}

/// A WAL file that was in use, and whose place in the stream cannot be read.
pub(super) struct Headless {
    name: WalName,
    path: PathBuf,
    /// As the first commit that can be read has it.
    end_lsn: u64,
}

enum Opened {
    Whole(OldFile),
    Headless(Headless),
    Unused(PathBuf),
}

/// Refuses a start that would take the WAL's end for its middle: what lies in such a file may have
/// been acknowledged, and nothing behind it may tell. Below a seal everything had been durable, so
/// that what is missing there is named as any other damage.
pub(super) fn refuse_headless(
    headless: &[Headless],
    checkpoints: &Checkpoints,
) -> Result<(), StorageError> {
    for file in headless {
        let key = (file.name.generation, file.name.shard);
        let known = checkpoints.known.get(&key).copied().unwrap_or_default();
        if checkpoints.seal_of(&key).is_none() && file.end_lsn > known.from_lsn {
            let what = "neither its header nor its first commit can be read, and others follow";
            return Err(StorageError::corrupt(&file.path, 0, what));
        }
    }
    Ok(())
}

/// A WAL file with a valid header, or with a commit that tells what the header said. Without
/// either it was being made when the process ended, or is damaged: then a hole in the stream will
/// tell.
async fn open_old(
    cluster_id: Uuid,
    name: WalName,
    path: PathBuf,
    file: File,
) -> Result<Opened, StorageError> {
    let mut patience = Patience::default();
    let block = patience.read(&file, &path, 0, tailwater_shards::BLOCK_BYTES);
    let block = block.await;
    let is_readable = block.is_ok();
    let header = match FileHeader::decode(Kind::Wal, &path, &block.unwrap_or_default()) {
        Ok(header) => header,
        Err(HeaderProblem::Refused(error)) => return Err(error),
        Err(HeaderProblem::Invalid(what)) => {
            return without_header(name, path, file, what, is_readable).await;
        }
    };
    if header.cluster_id != cluster_id || header.generation != name.generation {
        let what = "it belongs to another data directory or generation".to_owned();
        return Err(StorageError::Foreign { path, what });
    }
    let own = WalFileHeader::decode(&header.body);
    let own = own.filter(|own| {
        let ends = own.start_lsn.checked_add(own.bytes).is_some();
        own.shard == name.shard && own.seq == name.seq && own.bytes > BLOCK && ends
    });
    let Some(own) = own else {
        return Ok(Opened::Unused(path));
    };
    let size = file.size().await;
    let size = size.map_err(StorageError::io("cannot measure", &path))?;
    let old = OldFile::new(name, path, own.start_lsn, own.bytes, size, file);
    Ok(Opened::Whole(old))
}

/// A WAL file whose header does not hold, by its first commit. If it was being recycled, that is
/// an old one, and the file lies below what is replayed.
async fn without_header(
    name: WalName,
    path: PathBuf,
    file: File,
    what: &'static str,
    is_readable: bool,
) -> Result<Opened, StorageError> {
    let size = file.size().await;
    let size = size.map_err(StorageError::io("cannot measure", &path))?;
    let bytes = size / BLOCK * BLOCK;
    let len = tailwater_shards::BLOCK_BYTES;
    let mut patience = Patience::default();
    let block = patience.read(&file, &path, BLOCK, len).await;
    let is_readable = is_readable && block.is_ok();
    let Some((first, _)) = CommitHeader::decode(&block.unwrap_or_default()) else {
        // A copy that counts is of a WAL with a seal.
        if is_readable || name.is_copy() || bytes <= BLOCK {
            return Ok(Opened::Unused(path));
        }
        return Ok(find_commit(OldFile::new(name, path, 0, bytes, bytes, file)).await);
    };
    let is_own = first.generation == name.generation && first.shard == name.shard;
    if !is_own || first.lsn.checked_add(bytes).is_none() {
        return Ok(Opened::Unused(path));
    }
    let mut old = OldFile::new(name, path, first.lsn, bytes, bytes, file);
    old.header_damage = Some(what);
    Ok(Opened::Whole(old))
}

/// Whether there is any commit in a file. One that was being made has none, however it was torn; in
/// one that was being recycled the first commit of its life before still holds.
async fn find_commit(mut old: OldFile) -> Opened {
    let mut at = 0;
    while at < old.search_end() {
        let block = old.at(BLOCK + at, COMMIT_HEADER_BYTES).await;
        let found = block.and_then(|block| CommitHeader::decode(&block));
        let own = found.filter(|(found, _)| {
            found.generation == old.name.generation && found.shard == old.name.shard
        });
        let start_lsn = own.and_then(|(found, _)| found.lsn.checked_sub(at));
        if let Some(start_lsn) = start_lsn {
            return Opened::Headless(Headless {
                end_lsn: start_lsn.saturating_add(old.bytes - BLOCK),
                name: old.name,
                path: old.path,
            });
        }
        at += BLOCK;
    }
    Opened::Unused(old.path)
}
