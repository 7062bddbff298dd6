//! Files, read and written past the page cache.
//!
//! Owns classes, limits, counters and the checks of alignment; how an operation is done is the
//! engine's. Invariant: a write is all or an error. What an error means (for the WAL: the end
//! of the process) is for those above to say.

use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;

use crate::buf::{BLOCK_BYTES, SharedBuf};
use crate::context::{self, ShardContext};
use crate::engine::EngineHandle;
use crate::engine::glommio::file as glommio;
use crate::engine::uring::file as uring;
use crate::io_class::{ClassStats, IoClass};
use crate::sim::engine::file as sim;

/// How to open a file. It can always be read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OpenOptions {
    /// Make the file; fails with `AlreadyExists` if there is one. Implies `write`. The
    /// directory entry is durable only after [`crate::dir::sync`] of its directory.
    pub create_new: bool,
    /// Open for writing too.
    pub write: bool,
}

/// An open file of the current shard. Clones share the descriptor, which is closed when the
/// last one is gone.
///
/// Operations are unordered among each other, unless one is awaited before the next begins. A
/// dropped future leaves its operation to happen or not.
#[derive(Clone)]
pub struct File {
    inner: Inner,
    context: Rc<ShardContext>,
}

#[derive(Clone)]
enum Inner {
    Glommio(glommio::File),
    Uring(uring::File),
    Sim(sim::File),
}

macro_rules! dispatch {
    ($self:expr, $file:ident => $call:expr) => {
        match &$self.inner {
            Inner::Glommio($file) => $call,
            Inner::Uring($file) => $call,
            Inner::Sim($file) => $call,
        }
    };
}

impl File {
    /// Opens or makes the file at `path`.
    pub async fn open(path: &Path, options: OpenOptions) -> io::Result<File> {
        let context = context::current();
        let OpenOptions { create_new, write } = options;
        let write = write || create_new;
        let inner = match &context.engine {
            EngineHandle::Glommio(_) => {
                Inner::Glommio(glommio::File::open(path, create_new, write).await?)
            }
            EngineHandle::Uring(shard) => {
                Inner::Uring(uring::File::open(shard, path, create_new, write).await?)
            }
            EngineHandle::Sim(_) => Inner::Sim(sim::File::open(path, create_new, write).await?),
        };
        Ok(File { inner, context })
    }

    /// Takes the exclusive advisory lock (flock) on this very descriptor, if nobody has it. It
    /// is held until the descriptor is closed and all that was written through it has landed.
    pub fn try_lock(&self) -> io::Result<bool> {
        dispatch!(self, file => file.try_lock())
    }

    /// Writes the whole buffer at `pos`. Both are multiples of [`BLOCK_BYTES`]. Written is not
    /// durable.
    pub async fn write(&self, class: IoClass, pos: u64, buf: &SharedBuf) -> io::Result<()> {
        assert_aligned(pos, buf.len());
        let _admitted = self.context.io.admit(class).await;
        let result = dispatch!(self, file => file.write(pos, buf).await);
        self.count(class, |stats| count_write(stats, &result, buf.len()));
        result
    }

    /// Makes durable (fdatasync) what had been written before this began: writes still in
    /// flight now are not covered.
    pub async fn sync(&self, class: IoClass) -> io::Result<()> {
        let _admitted = self.context.io.admit(class).await;
        let result = dispatch!(self, file => file.sync().await);
        self.count(class, |stats| stats.syncs += 1);
        result
    }

    /// Writes the whole buffer at `pos` and makes it durable, in the way that the engine does
    /// best. Covers also what had been written before this began, as [`File::sync`] does.
    pub async fn write_durable(&self, class: IoClass, pos: u64, buf: &SharedBuf) -> io::Result<()> {
        self.write_durable_noting(class, pos, buf, || ()).await
    }

    /// As [`File::write_durable`], and calls `written` when the write has ended and its sync has
    /// not; where the engine cannot tell them apart, when both have.
    pub async fn write_durable_noting(
        &self,
        class: IoClass,
        pos: u64,
        buf: &SharedBuf,
        written: impl FnOnce(),
    ) -> io::Result<()> {
        assert_aligned(pos, buf.len());
        let _admitted = self.context.io.admit(class).await;
        let result = dispatch!(self, file => file.write_durable(pos, buf, written).await);
        self.count(class, |stats| {
            count_write(stats, &result, buf.len());
            stats.syncs += 1;
        });
        result
    }

    /// Reads `len` bytes at `pos`, both multiples of [`BLOCK_BYTES`]; fewer only at the end of
    /// the file.
    pub async fn read(&self, class: IoClass, pos: u64, len: usize) -> io::Result<Bytes> {
        assert_aligned(pos, len);
        let _admitted = self.context.io.admit(class).await;
        let result = dispatch!(self, file => file.read(pos, len).await);
        self.count(class, |stats| {
            stats.reads += 1;
            stats.bytes_read += result.as_ref().map_or(0, |bytes| bytes.len() as u64);
        });
        result
    }

    /// The length in bytes.
    pub async fn size(&self) -> io::Result<u64> {
        dispatch!(self, file => file.size().await)
    }

    /// Cuts the file off, or extends it by a hole, so that it is `len` bytes long.
    pub async fn truncate(&self, len: u64) -> io::Result<()> {
        dispatch!(self, file => file.truncate(len).await)
    }

    /// Reserves space for the first `len` bytes; the file's length stays as it is. The space
    /// is unwritten: it reads as nothing, and writing to it costs more than overwriting.
    pub async fn preallocate(&self, len: u64) -> io::Result<()> {
        dispatch!(self, file => file.preallocate(len).await)
    }

    /// Closes this clone. Dropping does the same without waiting for it.
    pub async fn close(self) {
        match self.inner {
            Inner::Glommio(file) => file.close().await,
            Inner::Uring(file) => file.close().await,
            Inner::Sim(file) => file.close().await,
        }
    }

    fn count(&self, class: IoClass, change: impl FnOnce(&mut ClassStats)) {
        self.context.io.count(class, change);
    }
}

fn count_write(stats: &mut ClassStats, result: &io::Result<()>, len: usize) {
    stats.writes += 1;
    stats.bytes_written += if result.is_ok() { len as u64 } else { 0 };
}

fn assert_aligned(pos: u64, len: usize) {
    assert!(
        pos.is_multiple_of(BLOCK_BYTES as u64) && len.is_multiple_of(BLOCK_BYTES) && len > 0,
        "direct I/O of {len} bytes at {pos}"
    );
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").finish_non_exhaustive()
    }
}
