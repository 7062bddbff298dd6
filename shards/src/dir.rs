//! Directories and names. None of this blocks the shard's loop.
//!
//! Invariant: a change of names (creation, rename, removal) is durable only after [`sync`] of
//! the directory that holds them.

use std::io;
use std::path::Path;

use crate::context;
use crate::engine::{EngineHandle, names};
use crate::sim::engine::dir as sim;

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// The name, without its directory.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_dir: bool,
}

macro_rules! dispatch {
    ($function:ident($($argument:expr),*)) => {
        match context::current().engine {
            EngineHandle::Glommio(_) | EngineHandle::Uring(_) => {
                names::$function($($argument),*).await
            }
            EngineHandle::Sim(_) => sim::$function($($argument),*).await,
        }
    };
}

/// Makes the directory and those above it that are missing.
pub async fn create_all(path: &Path) -> io::Result<()> {
    dispatch!(create_all(path))
}

/// What is in the directory, sorted by name. A name that is not UTF-8 is `InvalidData`: none
/// of ours are.
pub async fn list(path: &Path) -> io::Result<Vec<Entry>> {
    dispatch!(list(path))
}

/// Gives `from` the name `to`, in place of a file that had it.
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    dispatch!(rename(from, to))
}

/// Removes the file.
pub async fn remove_file(path: &Path) -> io::Result<()> {
    dispatch!(remove_file(path))
}

/// Removes the directory if nothing is in it; else `DirectoryNotEmpty`.
pub async fn remove_dir(path: &Path) -> io::Result<()> {
    dispatch!(remove_dir(path))
}

/// Removes the directory and all in it.
pub async fn remove_dir_all(path: &Path) -> io::Result<()> {
    dispatch!(remove_dir_all(path))
}

/// Makes the names in the directory durable (fsync of the directory).
pub async fn sync(path: &Path) -> io::Result<()> {
    dispatch!(sync(path))
}

/// Whether there is a file or directory of this name.
pub async fn exists(path: &Path) -> io::Result<bool> {
    dispatch!(exists(path))
}

/// Bytes free to this process, and bytes in all, of the file system that holds `path`.
pub async fn free_bytes(path: &Path) -> io::Result<(u64, u64)> {
    dispatch!(free_bytes(path))
}
