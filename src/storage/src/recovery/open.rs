//! The first steps of a start: the directory is ours, nobody else is in it, and the WAL files of
//! the past are locked and synced. Nothing is altered but for the lock file.
#![deny(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{DmaBuf, File, IoClass, OpenOptions, dir, now, sleep};
use uuid::Uuid;

use super::Checkpoints;
use super::scan::OldWal;
use crate::checkpoint::reader;
use crate::config::{BLOCK, StorageConfig};
use crate::error::StorageError;
use crate::file_header::{FileHeader, HeaderProblem, Kind};
use crate::ids::Generation;
use crate::patience::Patience;
use crate::root::{self, LOCK_NAME, Root};
use crate::wal::file::{WalFileHeader, WalName};
use crate::wal::format::{COMMIT_HEADER_BYTES, CommitHeader};
use crate::wal::reader::OldFile;

const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Files that stay locked while the start goes on.
pub(super) struct Held {
    pub(super) lock: File,
    /// WALs and checkpoints of the past.
    pub(super) past: Vec<File>,
}

/// Takes the lock file's lock, for as long as the process lives.
pub(super) async fn lock_directory(config: &StorageConfig) -> Result<File, StorageError> {
    let data_dir = &config.data_dir;
    create_durably(data_dir).await?;
    let path = data_dir.join(LOCK_NAME);
    let file = match File::open(
        &path,
        OpenOptions {
            create_new: true,
            write: true,
        },
    )
    .await
    {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            File::open(
                &path,
                OpenOptions {
                    create_new: false,
                    write: true,
                },
            )
            .await
        }
        other => other,
    };
    let file = file.map_err(StorageError::io("cannot open", &path))?;
    lock(&file, &path, config.lock_wait_ms).await?;
    if file
        .size()
        .await
        .map_err(StorageError::io("cannot measure", &path))?
        < BLOCK
    {
        let block = DmaBuf::zeroed(tailwater_shards::BLOCK_BYTES).freeze();
        let written = file.write(IoClass::Maintenance, 0, &block).await;
        written.map_err(StorageError::io("cannot write", &path))?;
    }
    Ok(file)
}

/// Makes a directory and those above it that are missing, with their names durable.
pub(super) async fn create_durably(path: &Path) -> Result<(), StorageError> {
    dir::create_all(path)
        .await
        .map_err(StorageError::io("cannot create", path))?;
    // A start that was interrupted may have made a directory and not its name durable, so those
    // above are synced whoever made them; far above they may not be ours to sync.
    for (index, made) in path.ancestors().enumerate() {
        let Some(parent) = made.parent() else { break };
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        match dir::sync(parent).await {
            Err(error) if index == 0 => return Err(StorageError::io("cannot sync", parent)(error)),
            Err(_) => break,
            Ok(()) => {}
        }
    }
    Ok(())
}

/// A killed process keeps its locks until its last writes have landed, so a while is waited.
async fn lock(file: &File, path: &Path, wait_ms: u64) -> Result<(), StorageError> {
    let until = now() + Duration::from_millis(wait_ms);
    loop {
        if file
            .try_lock()
            .map_err(StorageError::io("cannot lock", path))?
        {
            return Ok(());
        }
        if now() >= until {
            return Err(StorageError::Locked { path: path.into() });
        }
        sleep(LOCK_RETRY).await;
    }
}

/// Locks and syncs the checkpoints of the past: what a killed process had still on its way to them
/// has landed then, and what is read from them next is durable.
pub(super) async fn lock_checkpoints(
    config: &StorageConfig,
    held: &mut Held,
) -> Result<(), StorageError> {
    for path in reader::list(&config.data_dir)
        .await?
        .into_values()
        .flatten()
    {
        let options = OpenOptions {
            create_new: false,
            write: true,
        };
        let file = File::open(&path, options)
            .await
            .map_err(StorageError::io("cannot open", &path))?;
        lock(&file, &path, config.lock_wait_ms).await?;
        file.sync(IoClass::Maintenance)
            .await
            .map_err(StorageError::io("cannot sync", &path))?;
        held.past.push(file);
    }
    Ok(())
}

/// Checks that the WAL directory is the one that the root file knows.
pub(super) async fn check_wal_dir(config: &StorageConfig, root: &Root) -> Result<(), StorageError> {
    let wal_dir = config.wal_path();
    let foreign = |what: &str| {
        Err(StorageError::Foreign {
            path: wal_dir.clone(),
            what: what.to_owned(),
        })
    };
    let exists = dir::exists(&wal_dir).await;
    let exists = exists.map_err(StorageError::io("cannot look for", &wal_dir))?;
    match (&config.wal_dir, root.wal_dir_id.is_nil()) {
        (None, false) => foreign("the WAL of this data directory is in a directory of its own"),
        (Some(_), true) => foreign("the WAL of this data directory is inside it"),
        // It was made before the root file.
        _ if !exists => foreign("the WAL directory is missing"),
        (None, true) => Ok(()),
        (Some(_), false) => match root::load_wal_dir_id(&wal_dir).await? {
            Some(id) if id == root.wal_dir_id => Ok(()),
            Some(_) => foreign("the WAL directory belongs to another data directory"),
            None => foreign("this is not the WAL directory of this data directory"),
        },
    }
}

/// Finds, locks and syncs the WAL files of the past, and reads their headers only then. Without
/// somebody to hold them, they are only read.
pub(super) async fn open_wals(
    config: &StorageConfig,
    root: &Root,
    retired_below: Generation,
    mut held: Option<&mut Held>,
) -> Result<(Vec<OldWal>, Vec<Headless>), StorageError> {
    let wal_dir = config.wal_path();
    let mut found: Vec<(WalName, PathBuf, File)> = Vec::new();
    let exists = dir::exists(&wal_dir).await;
    if exists.map_err(StorageError::io("cannot look for", &wal_dir))? {
        let entries = dir::list(&wal_dir)
            .await
            .map_err(StorageError::io("cannot list", &wal_dir))?;
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
    }
    // A read proves nothing durable: what is read after this sync is.
    let syncs = held.is_some() && !planted::is(Planted::TailServedBeforeSync);
    for (_, path, file) in found.iter().filter(|_| syncs) {
        let synced = file.sync(IoClass::Maintenance).await;
        synced.map_err(StorageError::io("cannot sync", path))?;
    }
    let mut wals: Vec<OldWal> = Vec::new();
    let mut headless = Vec::new();
    for (name, path, file) in found {
        let old = match open_old(root.cluster_id, name, path, file).await? {
            Opened::Whole(old) => old,
            Opened::Headless(file) => {
                headless.push(file);
                continue;
            }
            Opened::Unused => continue,
        };
        match wals.last_mut() {
            Some(wal) if wal.generation == name.generation && wal.shard == name.shard => {
                wal.files.push(old);
            }
            _ => wals.push(OldWal {
                generation: name.generation,
                shard: name.shard,
                files: vec![old],
            }),
        }
    }
    if root.has_wal && wals.is_empty() {
        let what = "it holds no WAL of this data directory, which has had one".to_owned();
        return Err(StorageError::Foreign {
            path: wal_dir,
            what,
        });
    }
    for wal in &mut wals {
        wal.files.sort_by_key(|file| file.start_lsn);
    }
    Ok((wals, headless))
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
    Unused,
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
        return Ok(Opened::Unused);
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
            return Ok(Opened::Unused);
        }
        return Ok(find_commit(OldFile::new(name, path, 0, bytes, bytes, file)).await);
    };
    let is_own = first.generation == name.generation && first.shard == name.shard;
    if !is_own || first.lsn.checked_add(bytes).is_none() {
        return Ok(Opened::Unused);
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
    Opened::Unused
}
