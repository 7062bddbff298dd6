//! A shard's thread as a glommio executor.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use glommio::io::DmaFile;
use glommio::{CpuLocation, CpuSet, LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};
use rustix::io::Errno;

use super::{Shard, barrier};
use crate::boot::{BootError, Poll, RunConfig};
use crate::context::{self, ShardContext, ShardId};
use crate::engine::EngineHandle;
use crate::engine::probe::ProbeFile;
use crate::engine::threads::{ShardThread, ThreadEngine};
use crate::task::CatchPanic;

/// Memory registered with each ring, for reads of small sizes; larger ones come from the
/// allocator, as all writes do. The least that glommio takes.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// Longer than any process lives, and within what the clock can add.
const SPIN_FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// See [`ThreadEngine`].
pub(crate) enum Glommio {}

impl ThreadEngine for Glommio {
    /// One on each device.
    type Prepared = Vec<ProbeFile>;

    fn prepare(cfg: &RunConfig) -> Result<Vec<ProbeFile>, BootError> {
        let files = cfg.probe_dirs.iter().map(|dir| ProbeFile::make(dir));
        let files = files.collect::<Result<_, _>>()?;
        barrier::register();
        Ok(files)
    }

    fn live<F, Fut>(
        thread: &ShardThread,
        prepared: Arc<Vec<ProbeFile>>,
        main: F,
    ) -> Result<(), String>
    where
        F: Fn(ShardId) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let executor = make_executor(thread.cpu, thread.poll)?;
        let shard = Shard::here(thread.poll, thread.figures.work.adding());
        let engine = EngineHandle::Glommio(shard.clone());
        let figures = thread.figures.clone();
        let context = ShardContext::new(thread.id, thread.shard_count, engine, figures);
        let _entered = context::enter(context);
        // Should a panic come out of it, the kernel may still write to buffers that it owns.
        let executor = std::mem::ManuallyDrop::new(executor);
        let paths = prepared.iter().map(ProbeFile::path).collect();
        let result = executor.run(run(thread, shard.clone(), paths, main));
        drop(prepared);
        if result.is_ok() && shard.kernel_is_done() {
            drop(std::mem::ManuallyDrop::into_inner(executor));
        }
        shard.home().close();
        result
    }
}

/// The root of a shard's executor.
async fn run<F, Fut>(
    thread: &ShardThread,
    shard: Shard,
    probe_files: Vec<PathBuf>,
    main: F,
) -> Result<(), String>
where
    F: Fn(ShardId) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    for path in &probe_files {
        match DmaFile::open(path).await {
            Ok(file) => drop(file.close().await),
            Err(error) => {
                thread.fails(format!("opening {}: {error}", path.display()));
                return Ok(());
            }
        }
    }
    // Blocks the executor, which has nothing else to do yet.
    if !thread.stands() {
        return Ok(());
    }
    let hub = shard.begin();
    let id = thread.id;
    let main = CatchPanic::new("main", async move { main(id).await });
    let result = shard.spawn("main", main).await;
    shard.end(hub).await;
    result.map_err(|panicked| panicked.message)
}

fn make_executor(cpu: usize, poll: Poll) -> Result<LocalExecutor, String> {
    // `Placement::Fixed` reads the machine's topology from /sys, of which a container may show
    // only a part. A fence of one processor pins as well and reads nothing.
    let place = CpuLocation {
        cpu,
        core: 0,
        package: 0,
        numa_node: 0,
    };
    let builder = LocalExecutorBuilder::new(Placement::Fenced(CpuSet::from_iter([place])))
        .io_memory(IO_MEMORY_BYTES)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1));
    let builder = match poll {
        Poll::Park => builder,
        Poll::Adaptive { spin } => builder.spin_before_park(spin.min(SPIN_FOREVER)),
        Poll::Spin => builder.spin_before_park(SPIN_FOREVER),
    };
    builder.make().map_err(|error| {
        let error = io::Error::from(error);
        if error.raw_os_error() == Some(Errno::NOMEM.raw_os_error()) {
            BootError::LockedMemoryUsedUp.to_string()
        } else {
            error.to_string()
        }
    })
}
