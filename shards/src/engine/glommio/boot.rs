//! The shards' threads: how they start together, and how they end.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use glommio::io::DmaFile;
use glommio::{CpuLocation, CpuSet, LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};
use rustix::io::Errno;

use super::{Shard, barrier, memlock, probe};
use crate::boot::{BootError, Poll, RunConfig, ShardPanicked};
use crate::context::{self, ShardContext, ShardId};
use crate::counters::Counters;
use crate::engine::EngineHandle;
use crate::task::{CatchPanic, panic_message};

/// Memory registered with each ring, for reads of small sizes; larger ones come from the
/// allocator, as all writes do. The least that glommio takes.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// Longer than any process lives, and within what the clock can add.
const SPIN_FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// The running threads.
#[derive(Debug)]
pub(crate) struct Running {
    threads: Vec<JoinHandle<()>>,
    ends: Receiver<Result<(), ShardPanicked>>,
    pub(crate) counters: Counters,
}

impl Running {
    pub(crate) fn start<F, Fut>(cfg: &RunConfig, main: F) -> Result<Running, BootError>
    where
        F: Fn(ShardId) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let probe_files = check(cfg)?;
        barrier::register();
        let gate = Arc::new(Gate::default());
        let (started_tx, started) = channel();
        let (end_tx, ends) = channel();
        let mut threads = Vec::with_capacity(cfg.cpus.len());
        let mut refused = None;
        let shard_count = u16::try_from(cfg.cpus.len()).expect("checked by `run`");
        let counters = Counters::new(shard_count);
        for (index, &cpu) in cfg.cpus.iter().enumerate() {
            let index = u16::try_from(index).expect("checked by `run`");
            let shard = ShardThread {
                id: ShardId(index),
                shard_count,
                counters: counters.clone(),
                cpu,
                poll: cfg.poll,
                probe_files: probe_files.iter().map(probe::ProbeFile::path).collect(),
                started: Started::new(ShardId(index), started_tx.clone()),
                gate: Arc::clone(&gate),
            };
            let main = main.clone();
            let end_tx = end_tx.clone();
            let spawned = thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || shard.live(main, &end_tx));
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    refused = Some(BootError::Thread(error));
                    break;
                }
            }
        }
        drop(started_tx);
        for _ in 0..threads.len() {
            // Every thread says one thing, whatever happens to it.
            if let Ok(Err(error)) = started.recv() {
                refused.get_or_insert(error);
            }
        }
        let Some(error) = refused else {
            gate.decide(true);
            return Ok(Running {
                threads,
                ends,
                counters,
            });
        };
        gate.decide(false);
        for thread in threads {
            drop(thread.join());
        }
        Err(error)
    }

    pub(crate) fn join(self) -> Result<(), ShardPanicked> {
        for _ in 0..self.threads.len() {
            self.ends.recv().expect("every thread says how it ended")?;
        }
        for thread in self.threads {
            drop(thread.join());
        }
        Ok(())
    }
}

/// Everything that can be refused without starting, then the probe files.
fn check(cfg: &RunConfig) -> Result<Vec<probe::ProbeFile>, BootError> {
    let usable = crate::cpus::usable_cpus().map_err(BootError::Cpus)?;
    for &cpu in &cfg.cpus {
        if !usable.contains(&cpu) {
            return Err(BootError::NoSuchCpu { cpu, usable });
        }
    }
    memlock::ensure(cfg.cpus.len())?;
    probe::kernel()?;
    for dir in &cfg.probe_dirs {
        probe::direct_io(dir)?;
    }
    let files = cfg.probe_dirs.iter().map(|dir| probe::ProbeFile::make(dir));
    files.collect()
}

/// Holds the shards back until all of them stand.
#[derive(Default)]
struct Gate {
    go: Mutex<Option<bool>>,
    decided: Condvar,
}

impl Gate {
    fn decide(&self, go: bool) {
        *self.go.lock().unwrap_or_else(PoisonError::into_inner) = Some(go);
        self.decided.notify_all();
    }

    fn wait(&self) -> bool {
        let go = self.go.lock().unwrap_or_else(PoisonError::into_inner);
        let go = self.decided.wait_while(go, |go| go.is_none());
        go.unwrap_or_else(PoisonError::into_inner)
            .expect("waited until decided")
    }
}

/// What one thread needs to become a shard.
struct ShardThread {
    id: ShardId,
    shard_count: u16,
    counters: Counters,
    cpu: usize,
    poll: Poll,
    probe_files: Vec<PathBuf>,
    started: Started,
    gate: Arc<Gate>,
}

/// Says once whether a shard stands: at the latest when its thread ends.
struct Started {
    shard: ShardId,
    sender: Cell<Option<Sender<Result<(), BootError>>>>,
}

impl Started {
    fn new(shard: ShardId, sender: Sender<Result<(), BootError>>) -> Started {
        let sender = Cell::new(Some(sender));
        Started { shard, sender }
    }

    fn say(&self, how: Result<(), String>) {
        if let Some(sender) = self.sender.take() {
            let shard = self.shard;
            // Nobody listens when the start has already failed.
            drop(sender.send(how.map_err(|message| BootError::Executor { shard, message })));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.say(Err("it ended before it stood".to_owned()));
    }
}

impl ShardThread {
    /// The thread's whole life. Says once whether it started, and if the shards went ahead,
    /// once how it ended.
    fn live<F, Fut>(self, main: F, end: &Sender<Result<(), ShardPanicked>>)
    where
        F: Fn(ShardId) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let id = self.id;
        let made = catch_unwind(AssertUnwindSafe(|| make_executor(self.cpu, self.poll)));
        let executor = match made {
            Ok(Ok(executor)) => executor,
            Ok(Err(message)) => return self.started.say(Err(message)),
            Err(payload) => return self.started.say(Err(panic_message(&*payload))),
        };
        let shard = Shard::here(self.poll);
        let engine = EngineHandle::Glommio(shard.clone());
        let counters = self.counters.clone();
        let context = ShardContext::new(id, self.shard_count, engine, counters);
        let _entered = context::enter(context);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            executor.run(run(&self, shard.clone(), main))
        }));
        let result = match ran {
            Ok(result) => result,
            Err(payload) => Err(panic_message(&*payload)),
        };
        self.started
            .say(Err("its executor ended before it stood".to_owned()));
        if result.is_ok() && shard.kernel_is_done() {
            drop(executor);
        } else {
            // The kernel may still write to buffers that it owns.
            std::mem::forget(executor);
        }
        shard.home().close();
        // Nobody listens when another shard failed first.
        drop(end.send(result.map_err(|message| ShardPanicked { shard: id, message })));
    }
}

/// The root of a shard's executor.
async fn run<F, Fut>(thread: &ShardThread, shard: Shard, main: F) -> Result<(), String>
where
    F: Fn(ShardId) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    for path in &thread.probe_files {
        match DmaFile::open(path).await {
            Ok(file) => drop(file.close().await),
            Err(error) => {
                let said = format!("opening {}: {error}", path.display());
                thread.started.say(Err(said));
                return Ok(());
            }
        }
    }
    thread.started.say(Ok(()));
    // Blocks the executor, which has nothing else to do yet.
    if !thread.gate.wait() {
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
