//! The disk as a mounted file system. Every request goes to it: the kernel caches nothing.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};

use super::names::Slot;
use super::{Disk, ROOT};
use crate::failure::{Failure, fail};

const BLOCK_BYTES: u32 = 4096;
/// A sync takes this long, so that there is always something on its way when the power fails.
const SYNC_TIME: Duration = Duration::from_micros(300);

type Shared = Arc<Mutex<Disk>>;

/// Syncs on their way: inode, what they cover, whom to answer. One after the other.
type Syncs = Sender<(u64, u64, ReplyEmpty)>;

struct Served {
    disk: Shared,
    /// How often the power had failed when this was mounted.
    cuts: u64,
    syncs: Syncs,
}

/// A disk that is mounted until this is dropped.
pub(crate) struct Mount {
    session: Option<BackgroundSession>,
}

impl Mount {
    pub(crate) fn new(disk: &Shared, at: &Path) -> Result<Self, Failure> {
        let (syncs, asked) = channel::<(u64, u64, ReplyEmpty)>();
        let (theirs, cuts) = (Arc::clone(disk), lock(disk).cuts);
        std::thread::spawn(move || {
            for (inode, number, reply) in asked {
                std::thread::sleep(SYNC_TIME);
                let mut disk = lock(&theirs);
                if disk.cuts != cuts {
                    reply.error(Errno::EIO);
                    continue;
                }
                disk.sync(inode, number);
                drop(disk);
                reply.ok();
            }
        });
        let served = Served {
            disk: Arc::clone(disk),
            cuts,
            syncs,
        };
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("powercut".to_owned()),
            MountOption::DefaultPermissions,
        ];
        match fuser::spawn_mount(served, at, &config) {
            Ok(session) => Ok(Self {
                session: Some(session),
            }),
            Err(error) => fail(format!(
                "no file system of ours can be mounted at {}: {error}. It takes /dev/fuse \
                 (`modprobe fuse`; in a container `--device /dev/fuse --cap-add SYS_ADMIN`) and root",
                at.display()
            )),
        }
    }

    /// Takes it away at once. Whoever still has a file of it open, as the kernel may have for a
    /// killed process, reaches the disk no more once `Disk::cut` has been called.
    pub(crate) fn unmount(mut self, at: &Path) -> Result<(), Failure> {
        rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH).map_err(io::Error::from)?;
        // Its thread ends with the last such file.
        drop(self.session.take());
        Ok(())
    }
}

fn lock(disk: &Shared) -> MutexGuard<'_, Disk> {
    disk.lock().expect("no holder panics")
}

fn slot(parent: INodeNo, name: &OsStr) -> Slot {
    (parent.0, name.to_owned())
}

fn attr(disk: &Disk, inode: u64) -> Option<FileAttr> {
    let held = disk.inodes.get(&inode)?;
    let size = held.content.as_ref().map_or(0, |c| c.now.len()) as u64;
    Some(FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: match held.content {
            Some(_) => FileType::RegularFile,
            None => FileType::Directory,
        },
        perm: held.mode,
        nlink: 1,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    })
}

impl Served {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    /// The disk, unless its power has failed since this was mounted.
    fn powered(&self) -> Option<MutexGuard<'_, Disk>> {
        let disk = self.disk();
        (disk.cuts == self.cuts).then_some(disk)
    }

    fn entry(disk: &Disk, inode: Option<u64>, reply: ReplyEntry) {
        match inode.and_then(|inode| attr(disk, inode)) {
            Some(attr) => reply.entry(&Duration::ZERO, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn synced(&self, inode: INodeNo, reply: ReplyEmpty) {
        let asked = self.powered().and_then(|mut disk| disk.ask_sync(inode.0));
        let Some(number) = asked else {
            return reply.error(Errno::EIO);
        };
        if let Err(unsent) = self.syncs.send((inode.0, number, reply)) {
            unsent.0.2.error(Errno::EIO);
        }
    }
}

fn done(found: Option<u64>, reply: ReplyEmpty) {
    match found {
        Some(_) => reply.ok(),
        None => reply.error(Errno::ENOENT),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = self.disk();
        Self::entry(&disk, disk.find(&slot(parent, name)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attr(&self.disk(), ino.0) {
            Some(attr) => reply.attr(&Duration::ZERO, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let Some(mut disk) = self.powered() else {
            return reply.error(Errno::EIO);
        };
        let number = disk.arrive();
        if let (Some(size), Some(content)) = (size, disk.content(ino.0)) {
            content.resize(number, usize::try_from(size).expect("64 bits"));
        }
        match attr(&disk, ino.0) {
            Some(attr) => reply.attr(&Duration::ZERO, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let Some(mut disk) = self.powered() else {
            return reply.error(Errno::EIO);
        };
        let made = disk.make(slot(parent, name), mode, true);
        Self::entry(&disk, Some(made), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(
            self.powered()
                .and_then(|mut disk| disk.unlink(slot(parent, name))),
            reply,
        );
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let Some(mut disk) = self.powered() else {
            return reply.error(Errno::EIO);
        };
        let slot = slot(parent, name);
        let inode = disk.find(&slot);
        if inode.is_some_and(|inode| disk.children(inode).next().is_some()) {
            return reply.error(Errno::ENOTEMPTY);
        }
        done(disk.unlink(slot), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (slot(parent, name), slot(newparent, newname));
        done(
            self.powered().and_then(|mut disk| disk.rename(from, to)),
            reply,
        );
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let Some(mut disk) = self.powered() else {
            return reply.error(Errno::EIO);
        };
        let slot = slot(parent, name);
        let inode = disk.find(&slot);
        let inode = inode.unwrap_or_else(|| disk.make(slot, mode, false));
        match attr(&disk, inode) {
            Some(attr) => {
                reply.created(&Duration::ZERO, &attr, Generation(0), FileHandle(0), DIRECT)
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), DIRECT);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut disk = self.disk();
        let Some(content) = disk.content(ino.0) else {
            return reply.error(Errno::ENOENT);
        };
        let from = usize::try_from(offset)
            .expect("64 bits")
            .min(content.now.len());
        let end = (from + size as usize).min(content.now.len());
        reply.data(&content.now[from..end]);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let at = usize::try_from(offset).expect("64 bits");
        match self
            .powered()
            .and_then(|mut disk| disk.write(ino.0, at, data))
        {
            Some(true) => reply.written(u32::try_from(data.len()).expect("at most 16 MiB")),
            Some(false) => reply.error(Errno::ENOSPC),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.synced(ino, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.synced(ino, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let disk = self.disk();
        let dots = [(OsStr::new("."), ino.0), (OsStr::new(".."), ROOT)];
        let all = dots.into_iter().chain(disk.children(ino.0));
        for (at, (name, inode)) in all.enumerate().skip(usize::try_from(offset).expect("few")) {
            let file = disk.inodes.get(&inode).is_some_and(|i| i.content.is_some());
            let kind = match file {
                true => FileType::RegularFile,
                false => FileType::Directory,
            };
            if reply.add(INodeNo(inode), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let disk = self.disk();
        let blocks = disk.capacity_bytes / u64::from(BLOCK_BYTES);
        let free = disk.free_bytes() / u64::from(BLOCK_BYTES);
        drop(disk);
        reply.statfs(
            blocks,
            free,
            free,
            1 << 20,
            1 << 20,
            BLOCK_BYTES,
            255,
            BLOCK_BYTES,
        );
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        // Space is always there; sizes stay, as KEEP_SIZE asks.
        reply.ok();
    }
}

/// Nothing is cached, and writes to one file go side by side.
const DIRECT: FopenFlags =
    FopenFlags::FOPEN_DIRECT_IO.union(FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_that_is_impossible_says_what_it_takes() {
        let disk = Arc::new(Mutex::new(Disk::new(None)));
        let Err(Failure(said)) = Mount::new(&disk, Path::new("/nowhere/to/be/found")) else {
            panic!("mounted");
        };
        assert!(said.contains("modprobe fuse"), "{said}");
    }
}
