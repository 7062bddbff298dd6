//! Files by glommio's `DmaFile`: O_DIRECT, through the ring.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::rc::Rc;

use bytes::Bytes;
use glommio::io::{DmaFile, OpenOptions, ReadResult};
use rustix::fs::FlockOperation;

use super::Shard;
use crate::buf::home::{HomeRef, Payload};
use crate::buf::{BLOCK_BYTES, SharedBuf};
use crate::engine::{FILE_MODE, names};

#[derive(Clone)]
pub(crate) struct File {
    file: Rc<DmaFile>,
    shard: Shard,
}

impl File {
    pub(crate) async fn open(path: &Path, create_new: bool, write: bool) -> io::Result<File> {
        let shard = Shard::current();
        let in_flight = shard.in_flight();
        let opened = OpenOptions::new()
            .read(true)
            .write(write)
            .create_new(create_new)
            .mode(FILE_MODE)
            .dma_open(path)
            .await;
        in_flight.landed();
        let file = Rc::new(opened?);
        Ok(File { file, shard })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self.file` is there, which `self` borrows.
        unsafe { BorrowedFd::borrow_raw(self.file.as_raw_fd()) }
    }

    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(self.fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(crate) async fn write(&self, pos: u64, buf: &SharedBuf) -> io::Result<()> {
        let source = buf.write_source();
        let in_flight = self.shard.in_flight();
        let written = self.file.write_rc_at(source, pos).await;
        in_flight.landed();
        let written = written?;
        if written != buf.len() {
            // A direct write stops short when the disk is full within it.
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{written} of {} bytes written at {pos}", buf.len()),
            ));
        }
        Ok(())
    }

    pub(crate) async fn sync(&self) -> io::Result<()> {
        let in_flight = self.shard.in_flight();
        let synced = self.file.fdatasync().await;
        in_flight.landed();
        Ok(synced?)
    }

    /// Two operations one after the other: glommio has neither links nor flags for a write.
    pub(crate) async fn write_durable(
        &self,
        pos: u64,
        buf: &SharedBuf,
        written: impl FnOnce(),
    ) -> io::Result<()> {
        self.write(pos, buf).await?;
        written();
        self.sync().await
    }

    pub(crate) async fn read(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        self.shard.home().free();
        let first = self.read_once(pos, len).await?;
        if first.len() == len || first.is_empty() || !first.len().is_multiple_of(BLOCK_BYTES) {
            return Ok(first);
        }
        // Short at a block's end: the end of the file, or a read that the kernel split.
        let mut whole = Vec::with_capacity(len);
        whole.extend_from_slice(&first);
        while whole.len() < len && whole.len().is_multiple_of(BLOCK_BYTES) {
            let next = self
                .read_once(pos + whole.len() as u64, len - whole.len())
                .await?;
            if next.is_empty() {
                break;
            }
            whole.extend_from_slice(&next);
        }
        if whole.len() == first.len() {
            return Ok(first);
        }
        Ok(Bytes::from(whole))
    }

    async fn read_once(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        let in_flight = self.shard.in_flight();
        let result = self.file.read_at_aligned(pos, len).await;
        in_flight.landed();
        Ok(ReadBytes::lend(result?))
    }

    pub(crate) async fn size(&self) -> io::Result<u64> {
        // Of an open file this is answered from memory. (glommio asks by path, which a rename
        // changes.)
        let stat = rustix::fs::fstat(self.fd())?;
        u64::try_from(stat.st_size).map_err(io::Error::other)
    }

    pub(crate) async fn truncate(&self, len: u64) -> io::Result<()> {
        // Its own descriptor: when this future and the file are dropped before the blocking
        // thread comes to it, the number may belong to another file.
        let fd = rustix::io::fcntl_dupfd_cloexec(self.fd(), 0)?;
        names::off_loop(move || Ok(rustix::fs::ftruncate(fd, len)?)).await
    }

    pub(crate) async fn preallocate(&self, len: u64) -> io::Result<()> {
        let fd = rustix::io::fcntl_dupfd_cloexec(self.fd(), 0)?;
        let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
        names::off_loop(move || Ok(rustix::fs::fallocate(fd, flags, 0, len)?)).await
    }

    pub(crate) async fn close(self) {
        if let Err(error) = self.file.close_rc().await {
            // All that matters was synced before; the descriptor is gone either way.
            tracing::warn!(%error, "closing a file failed");
        }
    }
}

/// The bytes of a read, lent out without a copy.
struct ReadBytes {
    data: NonNull<[u8]>,
    /// Some until dropped.
    result: Option<ReadResult>,
    home: HomeRef,
}

// SAFETY: `data` is memory that nobody writes any more, which `result` keeps alive. `result`
// itself is touched by `drop` only, which hands it home from elsewhere.
unsafe impl Send for ReadBytes {}

impl ReadBytes {
    fn lend(result: ReadResult) -> Bytes {
        if result.is_empty() {
            return Bytes::new();
        }
        let home = HomeRef::current();
        home.lend(&result);
        Bytes::from_owner(ReadBytes {
            data: NonNull::from(&*result),
            result: Some(result),
            home,
        })
    }
}

impl AsRef<[u8]> for ReadBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `data` points into the buffer that `self.result` holds; the kernel is done
        // with it and nobody else can write to it.
        unsafe { self.data.as_ref() }
    }
}

impl Drop for ReadBytes {
    fn drop(&mut self) {
        if let Some(result) = self.result.take() {
            self.home.give_back(Payload::Read(result));
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}
