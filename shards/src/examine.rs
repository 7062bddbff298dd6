//! What a machine offers, looked at without starting a shard and without altering anything.

use std::io;
use std::path::Path;

use crate::boot::{BootError, Engine};
use crate::engine::uring::boot::probe_ring;
use crate::engine::{memlock, probe};

/// The bytes of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// All of them.
    pub total_bytes: u64,
    /// Those that this process may still take.
    pub free_bytes: u64,
}

/// Whether this process may have rings, and these do what `engine` needs.
pub fn probe_engine(engine: Engine) -> Result<(), BootError> {
    match engine {
        Engine::Glommio => probe::kernel(),
        Engine::Uring => probe::kernel().and_then(|()| probe_ring()),
        Engine::Sim => Err(BootError::SimEngine),
    }
}

/// Whether a file in `dir` can be opened for direct I/O; the file never has a name. `Unsupported` where
/// that cannot be told without one.
pub fn probe_direct_io(dir: &Path) -> io::Result<bool> {
    probe::unnamed_direct_io(dir)
}

/// The file system that `path` is on.
pub fn space_of(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Space {
        total_bytes: stat.f_frsize.saturating_mul(stat.f_blocks),
        free_bytes: stat.f_frsize.saturating_mul(stat.f_bavail),
    })
}

/// How much RLIMIT_MEMLOCK has to allow for that many shards.
pub fn locked_bytes_needed(shards: usize) -> u64 {
    memlock::needed_bytes(shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_leaves_nothing_behind() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        // Either is an answer; on FUSE or NFS there is none.
        match probe_direct_io(dir.path()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let space = space_of(dir.path()).unwrap();
        assert!(space.free_bytes <= space.total_bytes && space.total_bytes > 0);
        assert!(space_of(&dir.path().join("missing")).is_err());
        assert!(matches!(
            probe_engine(Engine::Sim),
            Err(BootError::SimEngine)
        ));
    }
}
