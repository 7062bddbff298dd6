//! Files: O_DIRECT, through the ring; what the ring cannot do, on the blocking thread.

use std::cell::Cell;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};
use rustix::fs::FlockOperation;

use super::Shard;
use super::blocking::Blocking;
use super::ring::{Holds, Ring, answer};
use crate::buf::{BLOCK_BYTES, DmaBuf, SharedBuf};
use crate::engine::{FILE_MODE, names};

/// How often an operation is begun again that the kernel broke off without doing it (EINTR,
/// EAGAIN). Then its error is the answer.
const TRIES: u32 = 16;

#[derive(Clone)]
pub(crate) struct File {
    file: Rc<OpenFile>,
    ring: Rc<Ring>,
}

/// A descriptor, closed on the blocking thread when nobody has it any more, the kernel included.
pub(super) struct OpenFile {
    /// Some until dropped.
    fd: Cell<Option<OwnedFd>>,
    number: i32,
    blocking: Rc<Blocking>,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            self.blocking.drop_there(fd);
        }
    }
}

impl File {
    pub(crate) async fn open(
        shard: &Shard,
        path: &Path,
        create_new: bool,
        write: bool,
    ) -> io::Result<File> {
        let mut path = CString::new(path.as_os_str().as_bytes())?;
        let access = if write { libc::O_RDWR } else { libc::O_RDONLY };
        let create = if create_new {
            libc::O_CREAT | libc::O_EXCL
        } else {
            0
        };
        let flags = access | create | libc::O_DIRECT | libc::O_CLOEXEC;
        let ring = Rc::clone(&shard.inner.ring);
        let blocking = Rc::clone(&shard.inner.blocking);
        let mut tries = 0;
        let result = loop {
            let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr());
            let open = open.flags(flags).mode(FILE_MODE).build();
            let (result, holds) = ring.begin(open, Holds::Open(path)).end().await;
            tries += 1;
            if tries == TRIES || !is_broken_off(result) {
                break result;
            }
            let Holds::Open(again) = holds else {
                unreachable!("an open holds its path");
            };
            path = again;
        };
        answer(result)?;
        // SAFETY: the kernel has just made this descriptor, and told nobody else of it.
        let fd = unsafe { OwnedFd::from_raw_fd(result) };
        let file = Rc::new(OpenFile {
            fd: Cell::new(Some(fd)),
            number: result,
            blocking,
        });
        Ok(File { file, ring })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self.file` is there, which `self` borrows.
        unsafe { BorrowedFd::borrow_raw(self.file.number) }
    }

    fn uring_fd(&self) -> Fd {
        Fd(self.fd().as_raw_fd())
    }

    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(self.fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Runs an operation, anew while the kernel breaks it off.
    async fn run(
        &self,
        entry: impl Fn(&mut Holds) -> squeue::Entry,
        mut holds: Holds,
    ) -> (io::Result<usize>, Holds) {
        let mut tries = 0;
        loop {
            let begun = entry(&mut holds);
            let result;
            (result, holds) = self.ring.begin(begun, holds).end().await;
            tries += 1;
            if tries == TRIES || !is_broken_off(result) {
                return (answer(result), holds);
            }
        }
    }

    pub(crate) async fn write(&self, pos: u64, buf: &SharedBuf) -> io::Result<()> {
        let fd = self.uring_fd();
        let (data, len) = (buf.as_ptr(), ring_len(buf.len())?);
        let entry = move |_: &mut Holds| opcode::Write::new(fd, data, len).offset(pos).build();
        let holds = Holds::Write(Rc::clone(&self.file), buf.clone());
        let written = self.run(entry, holds).await.0?;
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
        let fd = self.uring_fd();
        let entry = move |_: &mut Holds| {
            let fsync = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC);
            fsync.build()
        };
        let synced = self.run(entry, Holds::Sync(Rc::clone(&self.file))).await;
        synced.0.map(drop)
    }

    /// One after the other. Linked in the ring, the sync could run before the write in the one case
    /// that the kernel takes the first and has no memory for the second: see the decision.
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
        if let Some(home) = crate::engine::current_home() {
            home.free();
        }
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
        let fd = self.uring_fd();
        let count = ring_len(len)?;
        let entry = move |holds: &mut Holds| {
            let Holds::Read(_, buffer) = holds else {
                unreachable!("a read holds what it reads into");
            };
            let read = opcode::Read::new(fd, buffer.as_mut_ptr(), count);
            read.offset(pos).build()
        };
        let buffer = glommio::allocate_dma_buffer_global(len);
        let holds = Holds::Read(Rc::clone(&self.file), buffer);
        let (read, holds) = self.run(entry, holds).await;
        let read = read?;
        let Holds::Read(_, buffer) = holds else {
            unreachable!("a read holds what it reads into");
        };
        // The kernel has filled that much.
        Ok(DmaBuf::filled(buffer, read).map_or_else(Bytes::new, |buf| buf.freeze().bytes()))
    }

    pub(crate) async fn size(&self) -> io::Result<u64> {
        // Of an open file this is answered from memory.
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
        drop(self.file);
        // The descriptor is closed on that thread, before this.
        if let Err(error) = names::off_loop(|| Ok(())).await {
            tracing::warn!(%error, "closing a file failed");
        }
    }
}

/// The kernel did not do it, and says to begin again.
fn is_broken_off(result: i32) -> bool {
    [-libc::EINTR, -libc::EAGAIN].contains(&result)
}

/// A length as the ring takes it.
fn ring_len(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput.into())
}
