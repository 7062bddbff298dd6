//! Starting shards for a test.

use std::future::Future;
use std::path::Path;

use tailwater_shards::{self as shards, DmaBuf, Poll, RunConfig, ShardId, ShardPanicked};
use tempfile::TempDir;

/// `count` shards, on as many processors as there are.
pub(crate) fn config(count: usize) -> RunConfig {
    let usable = shards::usable_cpus().unwrap();
    let mut config = RunConfig::new(usable.into_iter().cycle().take(count).collect());
    config.engine = super::ENGINE;
    config
}

/// Runs `main` on each of `count` parked shards, to its end.
pub(crate) fn on_shards<F, Fut>(count: usize, main: F) -> Result<(), ShardPanicked>
where
    F: Fn(ShardId) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    shards::run(config(count), main).unwrap().join()
}

/// As [`on_shards`], with files in `dir`.
pub(crate) fn on_shards_with_files<F, Fut>(
    count: usize,
    dir: &Path,
    main: F,
) -> Result<(), ShardPanicked>
where
    F: Fn(ShardId) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let mut config = config(count);
    config.probe_dirs = vec![dir.to_owned()];
    shards::run(config, main).unwrap().join()
}

/// As [`on_shards`], polling as told.
pub(crate) fn on_polling_shards<F, Fut>(
    count: usize,
    poll: Poll,
    main: F,
) -> Result<(), ShardPanicked>
where
    F: Fn(ShardId) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let mut config = config(count);
    config.poll = poll;
    shards::run(config, main).unwrap().join()
}

/// A directory on the disk that the build is on: it has direct I/O.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// `len` bytes that differ from block to block.
pub(crate) fn filled(len: usize, seed: u8) -> DmaBuf {
    let mut buf = DmaBuf::zeroed(len);
    for (index, byte) in buf.iter_mut().enumerate() {
        *byte = seed
            .wrapping_add((index % 251) as u8)
            .wrapping_add((index >> 12) as u8);
    }
    buf
}
