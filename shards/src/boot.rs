//! Starting the shards, and waiting for their end.
//!
//! Owns the order of a start: everything that can be refused is checked before any executor
//! exists and before anything on disk is altered; then all executors start; only when every
//! one of them stands does `main` begin on each.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::context::ShardId;
use crate::counters::Counters;
use crate::engine::glommio::boot::Glommio;
use crate::engine::threads;
use crate::engine::uring::boot::{Uring, probe_ring};
use crate::figures::Figures;

/// What the shards run on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Engine {
    /// Threads with io_uring, by the crate glommio.
    #[default]
    Glommio,
    /// Threads with io_uring, by an executor of our own.
    Uring,
    /// Simulated, seeded. Started by [`crate::sim::Simulation`], never by [`run`].
    Sim,
}

/// Whether this kernel's io_uring has what the engine `uring` needs. Where another thing is missing,
/// which [`run`] says, it is true.
pub fn has_uring() -> bool {
    !matches!(probe_ring(), Err(BootError::UringLacks { .. }))
}

/// What a shard does when it has nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Poll {
    /// Sleeps at once. Costs no processor, and a wake of some 10 to 30 us.
    #[default]
    Park,
    /// Looks on for `spin`, then sleeps. Costs up to that much processor for each sleep.
    Adaptive {
        /// How long to look on.
        spin: Duration,
    },
    /// Never sleeps. Costs a whole processor for each shard, always.
    Spin,
}

/// How to start the shards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunConfig {
    /// What they run on.
    pub engine: Engine,
    /// The processor of each shard: its length is the number of shards.
    pub cpus: Vec<usize>,
    /// What an idle shard does.
    pub poll: Poll,
    /// Existing directories, one on each device that files will be on. Boot refuses
    /// those without direct I/O, and leaves nothing in them.
    pub probe_dirs: Vec<PathBuf>,
}

impl RunConfig {
    /// One parked shard on each of `cpus`.
    pub fn new(cpus: Vec<usize>) -> RunConfig {
        RunConfig {
            engine: Engine::Glommio,
            cpus,
            poll: Poll::Park,
            probe_dirs: Vec::new(),
        }
    }
}

/// Why the shards could not be started. Each says in one sentence what is missing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// `cpus` is empty or has more than 65535 entries.
    #[error("the number of shards must be between 1 and 65535, not {0}")]
    ShardCount(usize),
    /// The simulated engine has no threads to start.
    #[error("the simulated engine is started by a simulation, not as a process")]
    SimEngine,
    /// The kernel does not say which processors there are.
    #[error("the processors that this process may use cannot be read: {0}")]
    Cpus(#[source] io::Error),
    /// A shard is to run on a processor that this process may not use.
    #[error("this process may not use processor {cpu}, only {usable:?}")]
    NoSuchCpu {
        /// The one asked for.
        cpu: usize,
        /// Those it may use.
        usable: Vec<usize>,
    },
    /// The kernel has no io_uring (ENOSYS), or a filter says so.
    #[error("this kernel has no io_uring: Linux 5.8 or newer, built with it, is needed")]
    NoIoUring,
    /// io_uring is there, but not for this process (EPERM).
    #[error(
        "this process is not permitted to use io_uring: a seccomp filter (a container's default \
         profile) or the sysctl kernel.io_uring_disabled forbids it"
    )]
    IoUringForbidden,
    /// Setting up a ring fails for another reason.
    #[error("setting up io_uring fails: {0}")]
    IoUringFails(#[source] io::Error),
    /// The kernel lacks operations that the engine uses.
    #[error("Linux {release} is too old: 5.8 or newer is needed")]
    KernelTooOld {
        /// As `uname -r` says it.
        release: String,
    },
    /// The kernel's io_uring lacks what the engine `uring` is built on.
    #[error(
        "the engine uring needs {missing}, which Linux {release} does not have: Linux 5.19 or newer \
         has it (6.1 or newer is better); the engine glommio needs less"
    )]
    UringLacks {
        /// A flag, a feature or an operation.
        missing: &'static str,
        /// As `uname -r` says it.
        release: String,
    },
    /// RLIMIT_MEMLOCK is too low and cannot be raised.
    #[error(
        "the limit of locked memory is {hard_bytes} bytes, and at least {needed_bytes} are \
         needed: raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=, --ulimit memlock=)"
    )]
    LockedMemory {
        /// The hard limit.
        hard_bytes: u64,
        /// The least that will do.
        needed_bytes: u64,
    },
    /// RLIMIT_MEMLOCK would do, but this user's processes have used it up (ENOMEM).
    #[error(
        "the locked memory that this user's processes may have together is used up: raise \
         RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=, --ulimit memlock=)"
    )]
    LockedMemoryUsedUp,
    /// A probe directory is missing, or no file can be made in it.
    #[error("the directory {} cannot be used: {source}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system has no direct I/O.
    #[error(
        "the file system of {} has no direct I/O (O_DIRECT), without which nothing written \
         there is known to be on the disk",
        dir.display()
    )]
    NoDirectIo {
        /// The directory.
        dir: PathBuf,
    },
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(#[source] io::Error),
    /// An executor could not be started.
    #[error("the executor of {shard} could not be started: {message}")]
    Executor {
        /// Whose.
        shard: ShardId,
        /// What it said.
        message: String,
    },
}

/// A shard ended by a panic of its main future, or never came up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{shard} failed: {message}")]
pub struct ShardPanicked {
    /// Which one.
    pub shard: ShardId,
    /// The panic's message.
    pub message: String,
}

/// The running shards.
#[derive(Debug)]
pub struct Running {
    inner: threads::Running,
}

impl Running {
    /// What the shards count by name, readable on any thread and after they have ended.
    pub fn counters(&self) -> Counters {
        self.inner.figures.counters.clone()
    }

    /// All that the shards write down, readable as the counters are.
    pub fn figures(&self) -> Figures {
        self.inner.figures.clone()
    }

    /// Waits for `main` to end on every shard. Returns at the first one that panics, while the
    /// others may still run: what is left is to end the process.
    pub fn join(self) -> Result<(), ShardPanicked> {
        self.inner.join()
    }
}

/// Starts one pinned executor for each of `cfg.cpus` and runs `main` on each.
///
/// Returns when all of them stand, or why they cannot; nothing is left running or altered then.
pub fn run<F, Fut>(cfg: RunConfig, main: F) -> Result<Running, BootError>
where
    F: Fn(ShardId) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    if cfg.cpus.is_empty() || cfg.cpus.len() > usize::from(u16::MAX) {
        return Err(BootError::ShardCount(cfg.cpus.len()));
    }
    crate::allocator::give_back_large();
    let inner = match cfg.engine {
        Engine::Glommio => threads::Running::start::<Glommio, _, _>(&cfg, main)?,
        Engine::Uring => threads::Running::start::<Uring, _, _>(&cfg, main)?,
        Engine::Sim => return Err(BootError::SimEngine),
    };
    Ok(Running { inner })
}
