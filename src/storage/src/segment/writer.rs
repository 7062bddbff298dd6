//! Write-behind of one log: durable bytes of its tail go to its segments' files, in whole blocks
//! and large writes. A closed segment is completed: its last block is written padded, the file
//! cut to its exact length, its index written. No block is ever written twice with acknowledged
//! bytes in it.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{DmaBuf, File, IoClass, OpenOptions, SharedBuf, dir, now, sleep};

use super::{SegmentName, index_path, log_path};
use crate::config::BLOCK;
use crate::error::{Corrupt, StorageError};
use crate::fields::blocks;
use crate::log::{Log, Run, WriteBehind};
use crate::storage::Shared;

/// One write to a segment is at most this long.
const WRITE_BYTES_MAX: u64 = 1 << 20;
/// Space is reserved in steps of at most this.
const PREALLOCATE_BYTES: u64 = 16 << 20;
/// Deletion cuts a file shorter by this much at a time, so that no single cut takes long.
const SHORTEN_BYTES: u64 = 64 << 20;

/// How often a directory that vanishes while it is made is made again.
const CREATE_AGAIN: u32 = 16;

const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Writes all whole durable blocks of the log, and the rest of closed segments. Returns the bytes
/// written.
pub(crate) async fn write_behind(shared: &Rc<Shared>, log: &Log) -> Result<u64, StorageError> {
    let mut written = 0;
    while let Some(next) = log.next_write_behind() {
        let wrote = write_segment(shared, log, &next).await?;
        if wrote == 0 && !next.completes {
            break;
        }
        written += wrote;
    }
    Ok(written)
}

async fn write_segment(
    shared: &Rc<Shared>,
    log: &Log,
    next: &WriteBehind,
) -> Result<u64, StorageError> {
    let tp = log.topic_partition();
    let name = SegmentName::appended(next.base);
    let path = log_path(&shared.config.data_dir, tp, name);
    let file = match open(shared, &path, next.from == 0).await {
        Err(error) if next.from > 0 && error.is_not_found() => {
            return gone(shared, log, path, next).await;
        }
        other => other?,
    };
    cut_remains(&file, &path, next.from).await?;
    if !next.completes {
        let ahead = (next.upto / PREALLOCATE_BYTES + 1) * PREALLOCATE_BYTES;
        let step = ahead.min(next.segment_bytes_max).next_multiple_of(BLOCK);
        // Only a hint: without it the file grows write by write.
        let small = next.from == 0 && next.upto < PREALLOCATE_BYTES / 16;
        let due = next.from == 0 || next.from / PREALLOCATE_BYTES != next.upto / PREALLOCATE_BYTES;
        let more = step.saturating_sub(next.upto);
        if due && !small && shared.disk_room.take_ahead(more) {
            drop(file.preallocate(step).await);
        }
    }
    let mut at = next.from;
    while at < next.upto {
        let end = next.upto.min(at + WRITE_BYTES_MAX);
        let Some(buf) = collect(log, next.base, at, end).await? else {
            file.close().await;
            return Ok(0);
        };
        file.write(IoClass::WriteBehind, at, &buf.freeze())
            .await
            .map_err(StorageError::io("cannot write", &path))?;
        at = end;
    }
    if next.completes {
        let mut exact = next.upto;
        if planted::is(Planted::RecordLostAtRoll) {
            exact -= exact % BLOCK;
        }
        file.truncate(exact)
            .await
            .map_err(StorageError::io("cannot cut", &path))?;
    }
    if !planted::is(Planted::SegmentNotSynced) {
        file.sync(IoClass::WriteBehind)
            .await
            .map_err(StorageError::unsynced(&path))?;
    }
    file.close().await;
    if next.completes {
        write_index(shared, log, next).await?;
    }
    log.written_behind(next);
    Ok(next.upto - next.from)
}

/// A segment that was written to is not there: its log is out of service, unless it was dropped, or
/// the segment has gone with its records: a process before this one had removed it.
async fn gone(
    shared: &Shared,
    log: &Log,
    path: PathBuf,
    next: &WriteBehind,
) -> Result<u64, StorageError> {
    let mut is_trimmed = log.is_dropped();
    for name in log.trim() {
        is_trimmed |= name.base == next.base;
        remove_segment(shared, log, name).await?;
    }
    if is_trimmed {
        return Ok(0);
    }
    let position = next.from;
    let damage = Corrupt {
        file: path,
        position,
        what: "a segment that was written to is gone".to_owned(),
    };
    log.take_out_of_service(damage.clone());
    Err(StorageError::OutOfService(damage))
}

/// What a process before this one had written and no checkpoint counts is cut off before it is
/// written again. If its sync had failed, no later one covers that the file had grown: written over
/// in place, durable bytes could lie beyond the file's durable end.
async fn cut_remains(file: &File, path: &Path, from: u64) -> Result<(), StorageError> {
    let size = file
        .size()
        .await
        .map_err(StorageError::io("cannot look at", path))?;
    if size > from {
        file.truncate(from)
            .await
            .map_err(StorageError::io("cannot cut", path))?;
    }
    Ok(())
}

/// The bytes `at..end` of the segment from the tail's runs, padded to a block. `None` if the log
/// was trimmed or dropped meanwhile.
async fn collect(log: &Log, base: i64, at: u64, end: u64) -> Result<Option<DmaBuf>, StorageError> {
    let len = usize::try_from(end - at).expect("bounded by a write's length");
    let mut buf = DmaBuf::zeroed(blocks(len));
    let mut filled = 0;
    while filled < len {
        let position = at + filled as u64;
        let Some(run) = log.run_at_position(base, position) else {
            return Ok(None);
        };
        let Some(mem) = run_bytes(log, &run).await? else {
            if log.is_dropped() {
                return Ok(None);
            }
            continue;
        };
        let skip = usize::try_from(position - run.span.position).expect("inside a run");
        let take = (mem.len() - skip).min(len - filled);
        buf[filled..filled + take].copy_from_slice(&mem[skip..skip + take]);
        filled += take;
    }
    Ok(Some(buf))
}

/// A run's bytes, from memory or the WAL. `None`: it has moved, look again.
pub(crate) async fn run_bytes(log: &Log, run: &Run) -> Result<Option<Bytes>, StorageError> {
    if let Some(mem) = &run.mem {
        return Ok(Some(mem.clone()));
    }
    match log.read_run(run).await {
        Ok(bytes) => Ok(bytes),
        Err(crate::error::ReadError::Corrupt(damage)) => Err(StorageError::OutOfService(damage)),
        Err(_) if log.is_dropped() => Ok(None),
        Err(error) => Err(StorageError::Io {
            doing: "cannot read a run for its segment:",
            path: run.place.file.path.clone(),
            source: std::io::Error::other(error.to_string()),
        }),
    }
}

/// Opens a segment's file for writing, or makes it if it is `fresh`, and locks it.
pub(crate) async fn open(shared: &Shared, path: &Path, fresh: bool) -> Result<File, StorageError> {
    let existing = OpenOptions {
        create_new: false,
        write: true,
    };
    let parent = path
        .parent()
        .expect("a segment lies in its partition's directory");
    let file = match File::open(path, existing).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && fresh => {
            create_all(parent)
                .await
                .map_err(StorageError::io("cannot create", parent))?;
            let new = OpenOptions {
                create_new: true,
                write: true,
            };
            File::open(path, new).await
        }
        other => other,
    };
    let file = file.map_err(StorageError::io("cannot open", path))?;
    lock(shared, &file, path).await?;
    if fresh && !planted::is(Planted::SegmentDirectoryNotSynced) {
        // Also when the file is there: who made it may have been killed before this.
        sync_upwards(parent, &shared.config.data_dir).await?;
    }
    Ok(file)
}

/// Makes a partition's directory. With a partition that was dropped, the topic's directory may go
/// between the making of the two; so often in a row it cannot be a partition that was dropped.
pub(crate) async fn create_all(directory: &Path) -> std::io::Result<()> {
    let mut tries = 0;
    loop {
        match dir::create_all(directory).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && tries < CREATE_AGAIN => {
                tries += 1;
            }
            other => return other,
        }
    }
}

/// A segment's file is locked while it is written. A killed process's writes keep their lock until
/// they have landed: a padded last block that landed later would lie over what was appended since.
async fn lock(shared: &Shared, file: &File, path: &Path) -> Result<(), StorageError> {
    let until = now() + Duration::from_millis(shared.config.lock_wait_ms);
    while !file
        .try_lock()
        .map_err(StorageError::io("cannot lock", path))?
    {
        if now() >= until {
            return Err(StorageError::Locked { path: path.into() });
        }
        sleep(LOCK_RETRY).await;
    }
    Ok(())
}

/// Makes the names from `from` up to the data directory durable.
pub(crate) async fn sync_upwards(from: &Path, data_dir: &Path) -> Result<(), StorageError> {
    for path in from.ancestors() {
        dir::sync(path)
            .await
            .map_err(StorageError::unsynced(path))?;
        if path == data_dir {
            break;
        }
    }
    Ok(())
}

/// Writes the index of a segment that is complete, if memory has all of it. It is durable before
/// the segment counts as complete: an index of a complete segment is missing, and then rebuilt
/// when it is needed, or whole.
async fn write_index(shared: &Shared, log: &Log, next: &WriteBehind) -> Result<(), StorageError> {
    let Some(index) = &next.index else {
        return Ok(());
    };
    let tp = log.topic_partition();
    let path = index_path(
        &shared.config.data_dir,
        tp,
        SegmentName::appended(next.base),
    );
    let whole = index.borrow().is_whole();
    if !whole {
        return remove_torn_index(&path).await;
    }
    let buf = index
        .borrow()
        .encode(shared.cluster_id, shared.generation, next.base, next.upto);
    write_small(&path, &buf, IoClass::WriteBehind)
        .await
        .map_err(StorageError::io("cannot write", &path))
}

/// Writes a file of one write durably, in place of what it held.
pub(crate) async fn write_small(
    path: &Path,
    buf: &SharedBuf,
    class: IoClass,
) -> std::io::Result<()> {
    let options = |create_new| OpenOptions {
        create_new,
        write: true,
    };
    let file = match File::open(path, options(true)).await {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            File::open(path, options(false)).await?
        }
        other => other?,
    };
    file.write_durable(class, 0, buf).await?;
    file.close().await;
    Ok(())
}

/// An earlier start may have ended while it wrote this index.
async fn remove_torn_index(path: &Path) -> Result<(), StorageError> {
    match dir::remove_file(path).await {
        Ok(()) => {
            let parent = path.parent().expect("it is in a partition's directory");
            dir::sync(parent)
                .await
                .map_err(StorageError::io("cannot sync", parent))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StorageError::io("cannot remove", path)(error)),
    }
}

/// Removes a segment's files, the log step by step.
pub(crate) async fn remove_segment(
    shared: &Shared,
    log: &Log,
    name: SegmentName,
) -> Result<(), StorageError> {
    let tp = log.topic_partition();
    shared.cache.forget(tp, Some(name));
    let path = log_path(&shared.config.data_dir, tp, name);
    shorten(&path).await;
    for path in [path, index_path(&shared.config.data_dir, tp, name)] {
        match dir::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::io("cannot remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Cuts a file that is to be removed shorter and shorter. What fails here, the removal does.
pub(crate) async fn shorten(path: &Path) {
    let options = OpenOptions {
        create_new: false,
        write: true,
    };
    let Ok(file) = File::open(path, options).await else {
        return;
    };
    if let Ok(mut size) = file.size().await {
        while size > SHORTEN_BYTES {
            size -= SHORTEN_BYTES;
            if file.truncate(size).await.is_err() {
                break;
            }
        }
    }
    file.close().await;
}
