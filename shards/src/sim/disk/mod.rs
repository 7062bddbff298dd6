//! The model disk: files, names, descriptors and locks, and what each operation does to them.
//!
//! It knows no time and no tasks: `crate::sim::io` decides when an operation is carried out, or
//! that it never is. Everything here happens at one instant.

mod image;
mod names;
mod op;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::io::Errno;

pub(crate) use self::image::BLOCK_BYTES;
use self::image::FileImage;
pub(crate) use self::names::error;
use self::names::{Ino, Names, ROOT};
pub use self::op::IoKind;
pub(crate) use self::op::{Fd, Op, Output};
use super::rng::Rng;
use super::world::ProcessId;

/// How many names may be removed before what has become unreachable is looked for and forgotten;
/// with many files it is as many as there are, so that looking costs little a removal.
const GARBAGE_MAX: usize = 64;

/// Who performs what a dead process left in flight.
const ORPHANED: ProcessId = ProcessId::MAX;

#[derive(Debug)]
struct Descriptor {
    ino: Ino,
    owner: ProcessId,
    path: PathBuf,
    write: bool,
    /// Operations that the kernel still holds: the file stays open, and locked, until they end.
    in_flight: u32,
    closed: bool,
}

/// A file with what keeps it there.
#[derive(Debug, Default)]
struct File {
    image: FileImage,
    named: bool,
    descriptors: u32,
}

impl File {
    /// The space of a removed file is free once nothing has it open, durable or not.
    fn used_bytes(&self) -> u64 {
        if self.named || self.descriptors > 0 {
            self.image.allocated_bytes()
        } else {
            0
        }
    }
}

/// A disk and the file system on it.
#[derive(Debug)]
pub(crate) struct Disk {
    names: Names,
    files: BTreeMap<Ino, File>,
    descriptors: BTreeMap<Fd, Descriptor>,
    /// The descriptor that has each locked file's flock.
    locks: BTreeMap<Ino, Fd>,
    next_ino: Ino,
    next_fd: Fd,
    /// The number of the last change that was carried out. A sync covers up to what this was
    /// when it was submitted.
    seq: u64,
    capacity_bytes: u64,
    used_bytes: u64,
    garbage: usize,
}

impl Disk {
    pub(crate) fn new() -> Disk {
        Disk {
            names: Names::new(),
            files: BTreeMap::new(),
            descriptors: BTreeMap::new(),
            locks: BTreeMap::new(),
            next_ino: ROOT + 1,
            next_fd: 3,
            seq: 0,
            capacity_bytes: 1 << 40,
            used_bytes: 0,
            garbage: 0,
        }
    }

    /// What a sync that is submitted now will cover.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    pub(crate) fn set_capacity(&mut self, bytes: u64) {
        self.capacity_bytes = bytes;
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    fn free(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes)
    }

    /// The path that an operation is about, as it was given or opened.
    pub(crate) fn path_of(&self, op: &Op) -> PathBuf {
        match (op.path(), op.fd()) {
            (Some(path), _) => path.to_owned(),
            (None, Some(fd)) => self
                .descriptors
                .get(&fd)
                .map(|d| d.path.clone())
                .unwrap_or_default(),
            (None, None) => PathBuf::new(),
        }
    }

    /// Carries an operation of `process` out.
    pub(crate) fn perform(&mut self, op: &Op, process: ProcessId) -> io::Result<Output> {
        match op {
            Op::Open {
                path,
                create_new,
                write,
            } => self.open(path, *create_new, *write, process),
            Op::Write { fd, pos, data, .. } => self.write(*fd, *pos, data),
            Op::Sync { fd, covers, only } => {
                let file = self.file(*fd)?;
                if *only {
                    file.sync_only(*covers)
                } else {
                    file.sync(*covers)
                }
                Ok(Output::Done)
            }
            Op::Read { fd, pos, len } => {
                let read = self.file(*fd)?.read(*pos, *len);
                let bytes = read.ok_or_else(|| error(Errno::IO))?;
                Ok(Output::Bytes(Bytes::from(bytes)))
            }
            Op::Size { fd } => Ok(Output::Number(self.file(*fd)?.bytes())),
            Op::Truncate { fd, bytes } => {
                self.change(*fd, |file, seq| file.truncate(seq, *bytes))?;
                Ok(Output::Done)
            }
            Op::Preallocate { fd, bytes } => self.preallocate(*fd, *bytes),
            Op::CreateAll { path } => self.create_all(path),
            Op::List { path } => self.list(path),
            Op::Rename { from, to } => self.rename(from, to),
            Op::RemoveFile { path } => self.remove_file(path),
            Op::RemoveDir { path } => self.remove_dir(path),
            Op::RemoveDirAll { path } => self.remove_dir_all(path, usize::MAX),
            Op::SyncDir { path, covers } => {
                let ino = self.names.resolve(path)?;
                if !self.names.is_dir(ino) {
                    return Err(error(Errno::NOTDIR));
                }
                self.names.sync(ino, *covers);
                Ok(Output::Done)
            }
            Op::Exists { path } => Ok(Output::Flag(self.names.resolve(path).is_ok())),
            Op::Free { .. } => Ok(Output::Space(self.free(), self.capacity_bytes)),
        }
    }

    /// What is left of an operation that died with its process: a removal may get part of the way.
    pub(crate) fn perform_orphaned(&mut self, op: &Op, rng: &mut Rng) {
        let ended = match op {
            Op::RemoveDirAll { path } => {
                let names_max = usize::try_from(rng.range(0..8)).expect("small");
                self.remove_dir_all(path, names_max)
            }
            other => self.perform(other, ORPHANED),
        };
        // Nobody is left to hear how it went.
        if let Ok(Output::Fd(fd)) = ended {
            self.close(fd);
        }
    }

    fn open(
        &mut self,
        path: &Path,
        create_new: bool,
        write: bool,
        owner: ProcessId,
    ) -> io::Result<Output> {
        let (dir, name) = self.names.parent(path)?;
        let ino = match (self.names.resolve(path), create_new) {
            (Ok(_), true) => return Err(error(Errno::EXIST)),
            (Ok(ino), false) if self.names.is_dir(ino) => return Err(error(Errno::ISDIR)),
            (Ok(ino), false) => ino,
            (Err(_), true) => {
                let ino = self.new_ino();
                let seq = self.next_seq();
                self.names.link(seq, dir, &name, ino, false);
                self.files.insert(
                    ino,
                    File {
                        named: true,
                        ..File::default()
                    },
                );
                ino
            }
            (Err(missing), false) => return Err(missing),
        };
        self.files
            .get_mut(&ino)
            .expect("found or made above")
            .descriptors += 1;
        let fd = self.next_fd;
        self.next_fd += 1;
        let path = path.to_owned();
        self.descriptors.insert(
            fd,
            Descriptor {
                ino,
                owner,
                path,
                write,
                in_flight: 0,
                closed: false,
            },
        );
        Ok(Output::Fd(fd))
    }

    fn new_ino(&mut self) -> Ino {
        let ino = self.next_ino;
        self.next_ino += 1;
        ino
    }

    fn file(&mut self, fd: Fd) -> io::Result<&mut FileImage> {
        let descriptor = self
            .descriptors
            .get(&fd)
            .ok_or_else(|| error(Errno::BADF))?;
        Ok(&mut self
            .files
            .get_mut(&descriptor.ino)
            .expect("an open file is kept")
            .image)
    }

    /// Applies one numbered change to a file and accounts for the space it takes or frees.
    fn change(&mut self, fd: Fd, apply: impl FnOnce(&mut FileImage, u64)) -> io::Result<()> {
        if !self
            .descriptors
            .get(&fd)
            .is_some_and(|descriptor| descriptor.write)
        {
            return Err(error(Errno::BADF));
        }
        let seq = self.next_seq();
        let file = self.file(fd)?;
        let before = file.allocated_bytes();
        apply(file, seq);
        let after = file.allocated_bytes();
        self.used_bytes = self.used_bytes + after - before;
        Ok(())
    }

    fn write(&mut self, fd: Fd, pos: u64, data: &[u8]) -> io::Result<Output> {
        let missing = self.file(fd)?.missing_bytes(pos, data.len() as u64);
        if missing > self.free() {
            return Err(error(Errno::NOSPC));
        }
        self.change(fd, |file, seq| file.write(seq, pos, data))?;
        Ok(Output::Done)
    }

    fn preallocate(&mut self, fd: Fd, bytes: u64) -> io::Result<Output> {
        if self.file(fd)?.missing_bytes(0, bytes) > self.free() {
            return Err(error(Errno::NOSPC));
        }
        self.change(fd, |file, _| file.preallocate(bytes))?;
        Ok(Output::Done)
    }

    fn create_all(&mut self, path: &Path) -> io::Result<Output> {
        let mut so_far = PathBuf::new();
        for component in path.components() {
            so_far.push(component);
            match self.names.resolve(&so_far) {
                Ok(ino) if self.names.is_dir(ino) => {}
                Ok(_) => return Err(error(Errno::NOTDIR)),
                Err(_) => {
                    let (dir, name) = self.names.parent(&so_far)?;
                    let ino = self.new_ino();
                    let seq = self.next_seq();
                    self.names.link(seq, dir, &name, ino, true);
                }
            }
        }
        Ok(Output::Done)
    }

    fn list(&self, path: &Path) -> io::Result<Output> {
        let dir = self.names.resolve(path)?;
        let entries = self.names.list(dir)?.into_iter();
        Ok(Output::Entries(
            entries
                .map(|(name, ino)| (name, self.names.is_dir(ino)))
                .collect(),
        ))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<Output> {
        let seq = self.next_seq();
        if let Some(replaced) = self.names.rename(seq, from, to)? {
            self.lost_its_name(replaced);
        }
        Ok(Output::Done)
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<Output> {
        let (dir, name) = self.names.parent(path)?;
        if self.names.is_dir(self.names.resolve(path)?) {
            return Err(error(Errno::ISDIR));
        }
        let seq = self.next_seq();
        let ino = self.names.unlink(seq, dir, &name)?;
        self.lost_its_name(ino);
        Ok(Output::Done)
    }

    fn remove_dir(&mut self, path: &Path) -> io::Result<Output> {
        let empty = self.names.list(self.names.resolve(path)?)?.is_empty();
        if !empty {
            return Err(error(Errno::NOTEMPTY));
        }
        self.remove_dir_all(path, 1)
    }

    /// Removes a tree name by name from its leaves, and stops after `names_max` of them.
    fn remove_dir_all(&mut self, path: &Path, names_max: usize) -> io::Result<Output> {
        let (dir, name) = self.names.parent(path)?;
        let top = self.names.resolve(path)?;
        if !self.names.is_dir(top) {
            return Err(error(Errno::NOTDIR));
        }
        let mut leaves_first = Vec::new();
        let mut open = vec![(dir, name, top)];
        while let Some((parent, name, ino)) = open.pop() {
            if self.names.is_dir(ino) {
                let children = self.names.list(ino)?.into_iter();
                open.extend(children.map(|(name, child)| (ino, name, child)));
            }
            leaves_first.push((parent, name));
        }
        for (parent, name) in leaves_first.into_iter().rev().take(names_max) {
            let seq = self.next_seq();
            let ino = self.names.unlink(seq, parent, &name)?;
            self.lost_its_name(ino);
        }
        Ok(Output::Done)
    }

    /// Takes the flock for a descriptor: false if another one has it.
    pub(crate) fn try_lock(&mut self, fd: Fd) -> io::Result<bool> {
        let descriptor = self
            .descriptors
            .get(&fd)
            .ok_or_else(|| error(Errno::BADF))?;
        Ok(*self.locks.entry(descriptor.ino).or_insert(fd) == fd)
    }

    /// The kernel takes or returns its hold on the descriptor of an operation.
    pub(crate) fn begin(&mut self, fd: Fd) {
        if let Some(descriptor) = self.descriptors.get_mut(&fd) {
            descriptor.in_flight += 1;
        }
    }

    pub(crate) fn end(&mut self, fd: Fd) {
        if let Some(descriptor) = self.descriptors.get_mut(&fd) {
            descriptor.in_flight -= 1;
            self.close_if_unused(fd);
        }
    }

    pub(crate) fn close(&mut self, fd: Fd) {
        if let Some(descriptor) = self.descriptors.get_mut(&fd) {
            descriptor.closed = true;
            self.close_if_unused(fd);
        }
    }

    /// All descriptors of a process that ends; each as soon as nothing of it is in flight.
    pub(crate) fn close_all(&mut self, owner: ProcessId) {
        let mine = self
            .descriptors
            .iter()
            .filter(|(_, descriptor)| descriptor.owner == owner);
        let fds: Vec<Fd> = mine.map(|(fd, _)| *fd).collect();
        for fd in fds {
            self.close(fd);
        }
    }

    fn close_if_unused(&mut self, fd: Fd) {
        let ino = match self.descriptors.get(&fd) {
            Some(descriptor) if descriptor.closed && descriptor.in_flight == 0 => descriptor.ino,
            _ => return,
        };
        self.descriptors.remove(&fd);
        if self.locks.get(&ino) == Some(&fd) {
            self.locks.remove(&ino);
        }
        self.update(ino, |file| file.descriptors -= 1);
    }

    fn lost_its_name(&mut self, ino: Ino) {
        self.update(ino, |file| file.named = false);
        self.garbage += 1;
        if self.garbage > GARBAGE_MAX.max(self.files.len()) {
            self.collect_garbage();
        }
    }

    /// Changes what keeps a file there, and accounts for its space. Directories take none.
    fn update(&mut self, ino: Ino, change: impl FnOnce(&mut File)) {
        if let Some(file) = self.files.get_mut(&ino) {
            self.used_bytes -= file.used_bytes();
            change(file);
            self.used_bytes += file.used_bytes();
        }
    }

    fn collect_garbage(&mut self) {
        let mut kept = self.names.reachable();
        kept.extend(self.descriptors.values().map(|descriptor| descriptor.ino));
        self.files.retain(|ino, _| kept.contains(ino));
        self.names.retain(&kept);
        self.garbage = 0;
    }

    /// The power fails. What was in flight has been carried out or dropped before.
    pub(crate) fn cut(&mut self, rng: &mut Rng) {
        self.descriptors.clear();
        self.locks.clear();
        self.names.cut(rng);
        let named = self.names.named();
        for (ino, file) in &mut self.files {
            file.image.cut(rng);
            file.descriptors = 0;
            file.named = named.contains(ino);
        }
        self.collect_garbage();
        self.used_bytes = self.files.values().map(File::used_bytes).sum();
    }

    /// Looks at a file from outside, as with the machine off. None if it is not there.
    pub(crate) fn inspect<R>(
        &mut self,
        path: &Path,
        look: impl FnOnce(&mut FileImage) -> R,
    ) -> Option<R> {
        let ino = self.names.resolve(path).ok()?;
        self.files.get_mut(&ino).map(|file| look(&mut file.image))
    }

    /// Whether `look` takes any run of bytes that a power cut now could not take.
    pub(crate) fn any_sure_run(&self, mut look: impl FnMut(&[u8]) -> bool) -> bool {
        let sure = self.names.sure_files().into_iter();
        let mut files = sure.filter_map(|ino| self.files.get(&ino));
        files.any(|file| file.image.sure_runs().iter().any(|run| look(run)))
    }

    /// Whether a power cut now would change nothing.
    pub(crate) fn is_synced(&self) -> bool {
        self.names.is_synced() && self.files.values().all(|file| file.image.is_synced())
    }

    /// Of a failed sync: what it covered is not durable and never will be for sure.
    pub(crate) fn abandon(&mut self, fd: Fd, covers: u64) {
        if let Ok(file) = self.file(fd) {
            file.abandon(covers);
        }
    }
}
