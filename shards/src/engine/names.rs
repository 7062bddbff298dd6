//! Directories and names, on the shard's one blocking thread: a slow call delays other calls of
//! this kind, never the shard's loop.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::EngineHandle;
use crate::context;
use crate::dir::Entry;
use crate::task::panic_message;

/// Runs `call` on the blocking thread. Calls of one shard run in order. When the future is
/// dropped, the call still runs.
pub(crate) async fn off_loop<R: Send + 'static>(
    call: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    // A panic would end the thread, and every later call would hang.
    let guarded = move || catch_unwind(AssertUnwindSafe(call));
    let engine = context::with(|context| context.engine.clone());
    let called = match engine {
        EngineHandle::Glommio(_) => glommio::executor().spawn_blocking(guarded).await,
        EngineHandle::Uring(shard) => shard.blocking().call(guarded).await?,
        EngineHandle::Sim(_) => unreachable!("a simulated disk has no thread"),
    };
    match called {
        Ok(result) => result,
        Err(payload) => Err(io::Error::other(panic_message(&*payload))),
    }
}

pub(crate) async fn create_all(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    off_loop(move || fs::create_dir_all(path)).await
}

pub(crate) async fn list(path: &Path) -> io::Result<Vec<Entry>> {
    let path = path.to_owned();
    off_loop(move || {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name().into_string().map_err(|name| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the file name {name:?} is not UTF-8"),
                )
            })?;
            let is_dir = entry.file_type()?.is_dir();
            entries.push(Entry { name, is_dir });
        }
        entries.sort();
        Ok(entries)
    })
    .await
}

pub(crate) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (from.to_owned(), to.to_owned());
    off_loop(move || fs::rename(from, to)).await
}

pub(crate) async fn remove_file(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    off_loop(move || fs::remove_file(path)).await
}

pub(crate) async fn remove_dir(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    off_loop(move || fs::remove_dir(path)).await
}

pub(crate) async fn remove_dir_all(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    off_loop(move || fs::remove_dir_all(path)).await
}

pub(crate) async fn sync(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    off_loop(move || fs::File::open(path)?.sync_all()).await
}

pub(crate) async fn exists(path: &Path) -> io::Result<bool> {
    let path = path.to_owned();
    off_loop(move || fs::exists(path)).await
}

pub(crate) async fn free_bytes(path: &Path) -> io::Result<(u64, u64)> {
    let path = path.to_owned();
    off_loop(move || {
        let stat = rustix::fs::statvfs(path)?;
        // Counts are in fragments; `bavail` leaves out what is kept for root.
        Ok((
            stat.f_bavail.saturating_mul(stat.f_frsize),
            stat.f_blocks.saturating_mul(stat.f_frsize),
        ))
    })
    .await
}
