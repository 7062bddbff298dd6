//! What can be asked of the disk, and what comes back.

use std::path::{Path, PathBuf};

use bytes::Bytes;

/// A descriptor's number, never used twice in a simulation.
pub(crate) type Fd = u64;

/// A kind of disk operation, to choose which ones a fault or a cut is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum IoKind {
    /// `File::open`, also when it creates.
    Open,
    /// `File::write`, and the first half of `File::write_durable`.
    Write,
    /// `File::sync`, and the second half of `File::write_durable`.
    Sync,
    /// `File::read`.
    Read,
    /// `File::size`.
    Size,
    /// `File::truncate`.
    Truncate,
    /// `File::preallocate`.
    Preallocate,
    /// `dir::create_all`.
    CreateDirs,
    /// `dir::list`.
    List,
    /// `dir::rename`.
    Rename,
    /// `dir::remove_file`.
    RemoveFile,
    /// `dir::remove_dir`.
    RemoveDir,
    /// `dir::remove_dir_all`.
    RemoveDirAll,
    /// `dir::sync`.
    SyncDir,
    /// `dir::exists`.
    Exists,
    /// `dir::free_bytes`.
    Free,
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Open {
        path: PathBuf,
        create_new: bool,
        write: bool,
    },
    /// `then_sync`: is followed by a sync of the file before it counts as done.
    Write {
        fd: Fd,
        pos: u64,
        data: Bytes,
        then_sync: bool,
    },
    /// `covers`: the disk's sequence number when it was submitted; `only`: covers the change of
    /// just that number.
    Sync {
        fd: Fd,
        covers: u64,
        only: bool,
    },
    Read {
        fd: Fd,
        pos: u64,
        len: usize,
    },
    Size {
        fd: Fd,
    },
    Truncate {
        fd: Fd,
        bytes: u64,
    },
    Preallocate {
        fd: Fd,
        bytes: u64,
    },
    CreateAll {
        path: PathBuf,
    },
    List {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    RemoveFile {
        path: PathBuf,
    },
    RemoveDir {
        path: PathBuf,
    },
    RemoveDirAll {
        path: PathBuf,
    },
    SyncDir {
        path: PathBuf,
        covers: u64,
    },
    Exists {
        path: PathBuf,
    },
    Free {
        path: PathBuf,
    },
}

/// What an operation answers.
#[derive(Debug)]
pub(crate) enum Output {
    Done,
    Fd(Fd),
    Bytes(Bytes),
    Number(u64),
    Flag(bool),
    /// Names, each with whether it is a directory.
    Entries(Vec<(String, bool)>),
    /// Free and total bytes.
    Space(u64, u64),
}

impl Op {
    pub(crate) fn kind(&self) -> IoKind {
        match self {
            Op::Open { .. } => IoKind::Open,
            Op::Write { .. } => IoKind::Write,
            Op::Sync { .. } => IoKind::Sync,
            Op::Read { .. } => IoKind::Read,
            Op::Size { .. } => IoKind::Size,
            Op::Truncate { .. } => IoKind::Truncate,
            Op::Preallocate { .. } => IoKind::Preallocate,
            Op::CreateAll { .. } => IoKind::CreateDirs,
            Op::List { .. } => IoKind::List,
            Op::Rename { .. } => IoKind::Rename,
            Op::RemoveFile { .. } => IoKind::RemoveFile,
            Op::RemoveDir { .. } => IoKind::RemoveDir,
            Op::RemoveDirAll { .. } => IoKind::RemoveDirAll,
            Op::SyncDir { .. } => IoKind::SyncDir,
            Op::Exists { .. } => IoKind::Exists,
            Op::Free { .. } => IoKind::Free,
        }
    }

    pub(crate) fn fd(&self) -> Option<Fd> {
        match self {
            Op::Write { fd, .. }
            | Op::Sync { fd, .. }
            | Op::Read { fd, .. }
            | Op::Size { fd }
            | Op::Truncate { fd, .. }
            | Op::Preallocate { fd, .. } => Some(*fd),
            _ => None,
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Op::Open { path, .. }
            | Op::CreateAll { path }
            | Op::List { path }
            | Op::RemoveFile { path }
            | Op::RemoveDir { path }
            | Op::RemoveDirAll { path }
            | Op::SyncDir { path, .. }
            | Op::Exists { path }
            | Op::Free { path } => Some(path),
            Op::Rename { from, .. } => Some(from),
            _ => None,
        }
    }

    /// Whether the disk differs after it, so that it matters if it lands after its process's end.
    pub(crate) fn changes_the_disk(&self) -> bool {
        match self.kind() {
            IoKind::Open => matches!(
                self,
                Op::Open {
                    create_new: true,
                    ..
                }
            ),
            IoKind::Write
            | IoKind::Sync
            | IoKind::Truncate
            | IoKind::Preallocate
            | IoKind::CreateDirs
            | IoKind::Rename
            | IoKind::RemoveFile
            | IoKind::RemoveDir
            | IoKind::RemoveDirAll
            | IoKind::SyncDir => true,
            IoKind::Read | IoKind::Size | IoKind::List | IoKind::Exists | IoKind::Free => false,
        }
    }

    /// How many bytes move, for the time it takes and the trace.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Op::Write { data, .. } => data.len(),
            Op::Read { len, .. } => *len,
            _ => 0,
        }
    }
}
