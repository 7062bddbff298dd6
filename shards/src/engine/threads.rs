//! The shards' threads: how they start together, and how they end.
//!
//! What an engine does on them is a [`ThreadEngine`]'s.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::{memlock, probe};
use crate::boot::{BootError, Poll, RunConfig, ShardPanicked};
use crate::context::ShardId;
use crate::figures::Figures;
use crate::task::panic_message;

/// An engine whose shards are threads.
pub(crate) trait ThreadEngine: 'static {
    /// What all of them need for their start.
    type Prepared: Send + Sync;

    /// Everything that can be refused before there is a thread.
    fn prepare(cfg: &RunConfig) -> Result<Self::Prepared, BootError>;

    /// A shard's whole life, on its thread, whose context it enters. Says through `thread` that
    /// the shard stands, then waits for the others, then runs `main`. An error is of `main`.
    fn live<F, Fut>(
        thread: &ShardThread,
        prepared: Arc<Self::Prepared>,
        main: F,
    ) -> Result<(), String>
    where
        F: Fn(ShardId) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static;
}

/// The running threads.
#[derive(Debug)]
pub(crate) struct Running {
    threads: Vec<JoinHandle<()>>,
    ends: Receiver<Result<(), ShardPanicked>>,
    pub(crate) figures: Figures,
}

impl Running {
    pub(crate) fn start<E, F, Fut>(cfg: &RunConfig, main: F) -> Result<Running, BootError>
    where
        E: ThreadEngine,
        F: Fn(ShardId) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        check(cfg)?;
        let prepared = Arc::new(E::prepare(cfg)?);
        let gate = Arc::new(Gate::default());
        let (started_tx, started) = channel();
        let (end_tx, ends) = channel();
        let mut threads = Vec::with_capacity(cfg.cpus.len());
        let mut refused = None;
        let shard_count = u16::try_from(cfg.cpus.len()).expect("checked by `run`");
        let figures = Figures::new(shard_count, cfg.poll);
        for (index, &cpu) in cfg.cpus.iter().enumerate() {
            let id = ShardId(u16::try_from(index).expect("checked by `run`"));
            let shard = ShardThread {
                id,
                shard_count,
                figures: figures.clone(),
                cpu,
                poll: cfg.poll,
                started: Started::new(id, started_tx.clone()),
                gate: Arc::clone(&gate),
            };
            let (main, end) = (main.clone(), end_tx.clone());
            let prepared = Arc::clone(&prepared);
            let spawned = thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || shard.live::<E, F, Fut>(prepared, main, &end));
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
                figures,
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

/// What can be refused of any engine.
fn check(cfg: &RunConfig) -> Result<(), BootError> {
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
    Ok(())
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
pub(crate) struct ShardThread {
    pub(crate) id: ShardId,
    pub(crate) shard_count: u16,
    pub(crate) figures: Figures,
    pub(crate) cpu: usize,
    pub(crate) poll: Poll,
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
    /// The shard stands. Blocks until all do; false if one does not, and this one is to end.
    pub(crate) fn stands(&self) -> bool {
        self.started.say(Ok(()));
        self.gate.wait()
    }

    /// The shard does not stand, for this reason. Once said that it does, this changes nothing.
    pub(crate) fn fails(&self, why: String) {
        self.started.say(Err(why));
    }

    /// The thread's whole life. Says once whether it started, and once how it ended.
    fn live<E, F, Fut>(
        self,
        prepared: Arc<E::Prepared>,
        main: F,
        end: &Sender<Result<(), ShardPanicked>>,
    ) where
        E: ThreadEngine,
        F: Fn(ShardId) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let _keeps = crate::allocator::keep_buffers();
        let work = self.figures.work.clone();
        work.begin(self.id);
        let lived = catch_unwind(AssertUnwindSafe(|| E::live(&self, prepared, main)));
        let result = match lived {
            Ok(result) => result,
            Err(payload) => Err(panic_message(&*payload)),
        };
        if let Err(message) = &result {
            self.fails(message.clone());
        }
        let shard = self.id;
        work.end(shard);
        // Nobody listens when another shard failed first.
        drop(end.send(result.map_err(|message| ShardPanicked { shard, message })));
    }
}
