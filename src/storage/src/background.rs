//! What a shard does for its logs now and then: retention, the disk's reserve, removing
//! directories.

use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tailwater_shards::{dir, timeout, wall_clock_ms, yield_now};

use crate::log::Log;
use crate::segment::writer::shorten;
use crate::storage::{Shared, free_bytes};

/// How often the free space is looked at, and besides when half of what was left has been used.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// A disk that was full takes appends again from this room on.
const LEAST_ROOM_BYTES: u64 = 64 << 10;

/// Sleeps, or returns `false` at once when the shard stops.
pub(crate) async fn pause(shared: &Shared, duration: Duration) -> bool {
    if shared.stopping.get() {
        return false;
    }
    let _ = timeout(duration, shared.stop.notified()).await;
    !shared.stopping.get()
}

/// Applies `retention.ms` and `retention.bytes`, whole segments at a time.
pub(crate) async fn retain(shared: Rc<Shared>) {
    let interval = Duration::from_millis(shared.config.retention_interval_ms.max(1));
    while pause(&shared, interval).await {
        let logs: Vec<_> = shared.logs.borrow().values().cloned().collect();
        for log in logs {
            let from = log.retained_from(wall_clock_ms());
            if from > log.log_start() {
                // A log that is out of service keeps what it has.
                drop(log.advance_log_start(from));
                yield_now().await;
            }
        }
    }
}

/// Refuses appends before the disk is full, and takes them again when there is room.
pub(crate) async fn watch_disk(shared: Rc<Shared>) {
    let mut was_full = false;
    loop {
        if let Some(free) = free_bytes(&shared.config).await {
            let reserve = shared.config.disk_reserve_bytes;
            // Without room for another WAL file, appends would wait for one and not be refused.
            let short = free < reserve + shared.wal.file_bytes();
            let outstanding = shared.logs.borrow().values().map(Log::outstanding).sum();
            shared
                .disk_room
                .looked(free.saturating_sub(reserve), outstanding);
            let stays = shared.is_full() && shared.disk_room.left() < LEAST_ROOM_BYTES;
            let full = free < reserve || (short && shared.wal.is_starved()) || stays;
            if full != was_full {
                tracing::warn!(full, free, reserve, "free space against the disk's reserve");
            }
            was_full = full;
            shared.set_full(full);
            shared.wal.set_growth_stopped(short);
        }
        let look = pin!(shared.disk_room.look.notified());
        let paused = pin!(pause(&shared, WATCH_INTERVAL));
        if let Either::Left((false, _)) = select(paused, look).await {
            break;
        }
    }
}

/// Removes directories, large files in them step by step.
pub(crate) async fn remove_directories(paths: Vec<PathBuf>) {
    for path in paths {
        let mut pending = vec![path.clone()];
        while let Some(next) = pending.pop() {
            for entry in dir::list(&next).await.unwrap_or_default() {
                let child = next.join(&entry.name);
                if entry.is_dir {
                    pending.push(child);
                } else {
                    shorten(&child).await;
                }
            }
        }
        match dir::remove_dir_all(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %path.display(), "cannot remove");
            }
            _ => {}
        }
        // The topic's directory goes with its last partition. Others may still be written, by
        // shards that do not know of the deletion yet: it goes only while it is empty.
        if let Some(parent) = path.parent() {
            let is_topic = parent
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| uuid::Uuid::try_parse(name).is_ok());
            if is_topic {
                drop(dir::remove_dir(parent).await);
            }
        }
    }
}
