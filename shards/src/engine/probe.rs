//! What can be refused before any executor starts: the kernel, and the directories.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::io_uring::{io_uring_params, io_uring_setup};

use crate::boot::BootError;
use crate::buf::{BLOCK_BYTES, DmaBuf};

/// The name a probe file has for a moment where files without names cannot be made.
const PROBE_NAME: &str = ".probe";

/// glommio's own minimum.
const KERNEL_MIN: (u32, u32) = (5, 8);

/// Whether this process may have rings.
pub(crate) fn kernel() -> Result<(), BootError> {
    let mut params = io_uring_params::default();
    // SAFETY: `params` is valid and zeroed but for what the call sets; no memory is mapped.
    let ring = unsafe { io_uring_setup(8, &mut params) };
    match ring {
        Ok(ring) => drop::<OwnedFd>(ring),
        Err(Errno::NOSYS) => return Err(BootError::NoIoUring),
        Err(Errno::PERM | Errno::ACCESS) => return Err(BootError::IoUringForbidden),
        Err(Errno::NOMEM) => return Err(BootError::LockedMemoryUsedUp),
        Err(errno) => return Err(BootError::IoUringFails(errno.into())),
    }
    kernel_release(&release())
}

/// The kernel's release as `uname -r` says it; empty where it cannot be read.
pub(crate) fn release() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// glommio ends the process when it meets a kernel that is too old; we say so instead. A
/// release that cannot be read is let through.
fn kernel_release(release: &str) -> Result<(), BootError> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    let version = numbers.next().zip(numbers.next());
    match version {
        Some(version) if version < KERNEL_MIN => Err(BootError::KernelTooOld {
            release: release.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Whether files in `dir` can be opened for direct I/O. Leaves nothing behind.
pub(crate) fn direct_io(dir: &Path) -> Result<(), BootError> {
    let fails = |source: io::Error| BootError::Directory {
        dir: dir.to_owned(),
        source,
    };
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::DIRECT;
    let unnamed = rustix::fs::open(dir, flags | OFlags::TMPFILE, Mode::RUSR | Mode::WUSR);
    match unnamed {
        Ok(file) => {
            drop(file);
            Ok(())
        }
        Err(Errno::INVAL) => Err(no_direct_io(dir)),
        // No unnamed files here (FUSE, NFS): one with a name, then.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => named_direct_io(dir).map_err(fails)?,
        Err(errno) => Err(fails(errno.into())),
    }
}

/// The same with a file that never has a name: `Unsupported` where there are none.
pub(crate) fn unnamed_direct_io(dir: &Path) -> io::Result<bool> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::DIRECT | OFlags::TMPFILE;
    match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            drop::<OwnedFd>(file);
            Ok(true)
        }
        Err(Errno::INVAL) => Ok(false),
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => Err(io::ErrorKind::Unsupported.into()),
        Err(errno) => Err(errno.into()),
    }
}

fn named_direct_io(dir: &Path) -> io::Result<Result<(), BootError>> {
    let path = dir.join(format!("{PROBE_NAME}-{}", std::process::id()));
    let plain = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)?;
    drop(plain);
    let direct = rustix::fs::open(
        &path,
        OFlags::RDWR | OFlags::CLOEXEC | OFlags::DIRECT,
        Mode::empty(),
    );
    fs::remove_file(&path)?;
    match direct {
        Ok(_) => Ok(Ok(())),
        Err(Errno::INVAL) => Ok(Err(no_direct_io(dir))),
        Err(errno) => Err(errno.into()),
    }
}

fn no_direct_io(dir: &Path) -> BootError {
    BootError::NoDirectIo {
        dir: dir.to_owned(),
    }
}

/// The file that each executor opens first on each directory's device, so that glommio's probe
/// of polled I/O reads a block: with an empty file it would believe in it, and later operations
/// would fail with EOPNOTSUPP. It has no name, so that a directory which is refused later has
/// not been altered, and it goes with its descriptor. It is written directly: a block that is only
/// in the page cache is first written out by a worker of the kernel when it is read directly, for
/// which the worker needs the very processor that the executor polls on meanwhile.
#[derive(Debug)]
pub(crate) struct ProbeFile(OwnedFd);

impl ProbeFile {
    /// Makes one on the device of `dir`.
    pub(crate) fn make(dir: &Path) -> Result<Self, BootError> {
        let fails = |source: io::Error| BootError::Directory {
            dir: dir.to_owned(),
            source,
        };
        let file = unnamed(dir).map_err(fails)?;
        let mut file = fs::File::from(file);
        let block = DmaBuf::zeroed(BLOCK_BYTES);
        io::Write::write_all(&mut file, &block).map_err(fails)?;
        Ok(Self(file.into()))
    }

    /// The path it can be opened by as long as it lives.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// A file of `dir`'s file system without a name, for direct I/O.
fn unnamed(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::DIRECT;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(dir, flags | OFlags::TMPFILE, mode) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            let path = dir.join(format!("{PROBE_NAME}-{}", std::process::id()));
            let file = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
            fs::remove_file(&path)?;
            Ok(file)
        }
        opened => Ok(opened?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_refused_by_name_and_new_ones_are_not() {
        let said = kernel_release("5.4.0-42-generic").unwrap_err().to_string();
        assert!(said.contains("5.4.0-42-generic"), "{said}");
        assert!(kernel_release("4.19.1").is_err());
        for release in ["5.8.0", "5.10.0-rc1+", "6.1", "10.0.0", "", "weird"] {
            assert!(kernel_release(release).is_ok(), "{release}");
        }
    }
}
