//! The simulation itself: its loop, and the lives of processes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use super::client::ClientTask;
use super::engine::Shard;
use super::executor::{self, ShardKey};
use super::io::CutKind;
use super::world::{CLIENTS, Ending, ProcessId, ProcessState, Shared};
use crate::context::{self, ShardContext, ShardId};
use crate::engine::EngineHandle;
use crate::fatal::ProcessEnds;
use crate::figures::Figures;
use crate::task::{CatchPanic, TaskPanicked, panic_message};
use crate::time::Instant;

/// Polls without any event after which the clock moves on by a microsecond, so that a loop which
/// looks at the clock and yields comes to its end.
const POLLS_AN_INSTANT_MAX: u32 = 1000;

/// One boot of a simulated process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Process(pub(super) ProcessId);

impl Process {
    /// Its number: boots are counted from 1.
    pub fn id(self) -> u32 {
        self.0
    }
}

/// What a step was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    /// A task was polled; `process` is None for a client's.
    Polled {
        /// Whose task.
        process: Option<Process>,
        /// On which shard.
        shard: ShardId,
        /// The name given to `spawn`.
        task: &'static str,
    },
    /// A timer fired, a disk operation took effect, or bytes arrived.
    Event,
}

/// A step that has just been made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// When.
    pub at: Instant,
    /// What.
    pub kind: StepKind,
}

/// The ends of `main`, left by the tasks for the loop.
type EndedMains = Rc<RefCell<Vec<(ShardKey, Result<(), TaskPanicked>)>>>;

type OnStep = Box<dyn FnMut(&Step)>;

/// A machine with its processes, its clients and its disk. See the module.
pub struct Simulation {
    pub(super) shared: Arc<Shared>,
    contexts: BTreeMap<ShardKey, Rc<ShardContext>>,
    /// The shards of each live process whose `main` has not returned.
    mains: BTreeMap<ProcessId, BTreeSet<u16>>,
    ended_mains: EndedMains,
    next_process: ProcessId,
    on_step: Option<OnStep>,
    polls_this_instant: u32,
    panics_expected: bool,
    panics: u64,
}

impl Simulation {
    /// A machine with an empty disk. Everything that happens on it follows from `seed`.
    pub fn new(seed: u64) -> Simulation {
        let shared = Shared::new(seed);
        let key = ShardKey {
            process: CLIENTS,
            shard: 0,
        };
        let mut simulation = Simulation {
            shared,
            contexts: BTreeMap::new(),
            mains: BTreeMap::new(),
            ended_mains: EndedMains::default(),
            next_process: CLIENTS + 1,
            on_step: None,
            polls_this_instant: 0,
            panics_expected: false,
            panics: 0,
        };
        simulation.add_shard(key, 1, Figures::new(1, crate::Poll::Park));
        simulation
    }

    fn add_shard(&mut self, key: ShardKey, shards: u16, figures: Figures) {
        let engine = EngineHandle::Sim(Shard {
            shared: Arc::clone(&self.shared),
            key,
        });
        let context = ShardContext::new(ShardId(key.shard), shards, engine, figures);
        self.contexts.insert(key, context);
    }

    /// Starts a process of `shards` shards and runs `main` on each. Nothing runs before the
    /// simulation does. A shard's other tasks are dropped when its `main` returns; the process
    /// ends when all have.
    pub fn boot<F, Fut>(&mut self, shards: u16, main: F) -> Process
    where
        F: Fn(ShardId) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        assert!(shards > 0, "a process has at least one shard");
        let process = self.next_process;
        self.next_process += 1;
        self.shared
            .world(|world| world.processes.insert(process, ProcessState::default()));
        self.mains.insert(process, (0..shards).collect());
        let main = Rc::new(main);
        let figures = Figures::new(shards, crate::Poll::Park);
        for shard in 0..shards {
            let key = ShardKey { process, shard };
            self.add_shard(key, shards, figures.clone());
            let ended = Rc::clone(&self.ended_mains);
            let main = Rc::clone(&main);
            // `main` itself is called on its shard too.
            let body = CatchPanic::new("main", async move { main(ShardId(shard)).await });
            let body = async move {
                let result = body.await;
                ended.borrow_mut().push((key, result));
            };
            executor::spawn(&self.shared, key, "main", body).detach();
        }
        Process(process)
    }

    /// Starts a task outside any process. The facade's functions work in it as on a shard.
    pub fn spawn<F>(&mut self, name: &'static str, future: F) -> ClientTask<F::Output>
    where
        F: Future + 'static,
    {
        let output = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&output);
        let key = ShardKey {
            process: CLIENTS,
            shard: 0,
        };
        let body = async move {
            let value = future.await;
            *slot.borrow_mut() = Some(value);
        };
        executor::spawn(&self.shared, key, name, body).detach();
        ClientTask { name, output }
    }

    /// Calls `check` after each step, outside any shard. A model checks its invariants there.
    pub fn on_step(&mut self, check: impl FnMut(&Step) + 'static) {
        self.on_step = Some(Box::new(check));
    }

    /// From now on a panic in a process's task is only counted. Otherwise it surfaces.
    pub fn expect_panics(&mut self) {
        self.panics_expected = true;
    }

    /// Panics of tasks and of `main` that were expected.
    pub fn panics(&self) -> u64 {
        self.panics
    }

    /// Makes one step, if there is something to do up to `horizon`, a clock's reading.
    pub(super) fn step(&mut self, horizon: u64) -> bool {
        let (now, next) = self
            .shared
            .world(|world| (world.now(), world.next_event_at()));
        let is_due = next.is_some_and(|at| at <= now);
        let has_ready = self.shared.ready().has_ready();
        let kind = if is_due && (!has_ready || self.shared.ready().coin()) {
            self.event()
        } else if has_ready {
            self.poll()
        } else if next.is_some_and(|at| at <= horizon) {
            self.event()
        } else {
            return false;
        };
        self.settle();
        if let Some(check) = &mut self.on_step {
            let at = Instant::from_nanos(self.shared.world(|world| world.now()));
            check(&Step { at, kind });
        }
        true
    }

    fn event(&mut self) -> StepKind {
        self.polls_this_instant = 0;
        self.shared.world(|world| world.next_event());
        StepKind::Event
    }

    fn poll(&mut self) -> StepKind {
        let (key, runnable) = self.shared.ready().next().expect("there is a ready task");
        let task = *runnable.metadata();
        self.polls_this_instant += 1;
        let whom = (u64::from(key.process) << 48) | (u64::from(key.shard) << 32) | task.id;
        let moves_on = self.polls_this_instant > POLLS_AN_INSTANT_MAX;
        self.shared.world(|world| {
            let now = world.now();
            world.trace.step(1, now, whom);
            if moves_on {
                world.advance_to(now + 1000);
            }
        });
        if moves_on {
            self.polls_this_instant = 0;
        }
        let context = Rc::clone(self.contexts.get(&key).expect("a live shard has a context"));
        let caught_before = context.caught_panics.get();
        let polled = {
            let _entered = context::enter(Rc::clone(&context));
            catch_unwind(AssertUnwindSafe(|| runnable.run()))
        };
        if let Err(payload) = polled {
            self.task_unwound(key, task.name, &*payload);
        }
        if context.caught_panics.get() > caught_before {
            self.count_panic(key, task.name, "(the message stands above)");
        }
        let process = (key.process != CLIENTS).then_some(Process(key.process));
        StepKind::Polled {
            process,
            shard: ShardId(key.shard),
            task: task.name,
        }
    }

    /// A poll ended by unwinding: a process that ends on purpose, or a client's panic.
    fn task_unwound(
        &mut self,
        key: ShardKey,
        task: &'static str,
        payload: &(dyn std::any::Any + Send),
    ) {
        let Some(ends) = payload.downcast_ref::<ProcessEnds>() else {
            self.surface(key, task, &panic_message(payload));
        };
        if self.shared.world(|world| world.ios.cut.is_some()) {
            return;
        }
        if key.process == CLIENTS {
            self.surface(key, task, &format!("fatal: {}", ends.reason));
        }
        self.end(key.process, Ending::Fatal(ends.reason.clone()));
    }

    fn count_panic(&mut self, key: ShardKey, task: &'static str, message: &str) {
        if key.process == CLIENTS || !self.panics_expected {
            self.surface(key, task, message);
        }
        self.panics += 1;
    }

    /// A panic that the test shall see, with the seed that brings it back.
    fn surface(&self, key: ShardKey, task: &'static str, message: &str) -> ! {
        let ShardKey { process, shard } = key;
        let whose = if process == CLIENTS {
            "client".to_owned()
        } else {
            format!("process {process}, shard {shard}")
        };
        self.fail(&format!("task {task} ({whose}) panicked: {message}"))
    }

    /// Ends the test, saying when and by which seed.
    pub(super) fn fail(&self, message: &str) -> ! {
        let seed = self.shared.seed;
        let now = self.shared.world(|world| world.now());
        panic!("simulation of seed {seed} at {now} ns: {message}")
    }

    /// What a step has left to be done outside of tasks.
    fn settle(&mut self) {
        if let Some((process, kind)) = self.shared.world(|world| world.ios.cut.take()) {
            match kind {
                CutKind::Kill => self.end(process, Ending::Killed),
                CutKind::PowerCut => self.power_cut(),
            }
        }
        let ended = std::mem::take(&mut *self.ended_mains.borrow_mut());
        for (key, result) in ended {
            self.main_ended(key, result);
        }
    }

    fn main_ended(&mut self, key: ShardKey, result: Result<(), TaskPanicked>) {
        let Some(left) = self.mains.get_mut(&key.process) else {
            return;
        };
        match result {
            Ok(()) => {
                left.remove(&key.shard);
                if left.is_empty() {
                    self.end(key.process, Ending::Returned);
                } else {
                    self.drop_tasks(key);
                }
            }
            Err(panicked) => self.end(key.process, Ending::Panicked(panicked.message)),
        }
    }

    /// Ends a process: first for the world, so that its last futures do nothing any more when
    /// they are dropped, then for its tasks.
    pub(super) fn end(&mut self, process: ProcessId, ending: Ending) {
        if self.mains.remove(&process).is_none() {
            return;
        }
        self.shared
            .world(|world| world.process_ends(process, ending));
        let first = ShardKey { process, shard: 0 };
        let last = ShardKey {
            process,
            shard: u16::MAX,
        };
        let keys: Vec<ShardKey> = self
            .contexts
            .range(first..=last)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.drop_tasks(key);
            self.contexts.remove(&key);
        }
    }

    pub(super) fn live_processes(&self) -> Vec<ProcessId> {
        self.mains.keys().copied().collect()
    }

    /// Drops all futures of a shard with its context set, and whatever they spawn by that.
    fn drop_tasks(&mut self, key: ShardKey) {
        let Some(context) = self.contexts.get(&key) else {
            return;
        };
        let _entered = context::enter(Rc::clone(context));
        loop {
            let wakers = self.shared.ready().wakers(key);
            for waker in wakers {
                waker.wake();
            }
            let ready = self.shared.ready().take_ready(key);
            if ready.is_empty() {
                break;
            }
            for runnable in ready {
                // A panic of a destructor cannot be anyone's any more: it is only counted.
                let dropped = catch_unwind(AssertUnwindSafe(move || drop(runnable)));
                self.panics += u64::from(dropped.is_err());
            }
        }
        self.shared.ready().forget_shard(key);
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report_seed(self.shared.seed);
        }
        for process in self.live_processes() {
            self.end(process, Ending::Killed);
        }
        self.drop_tasks(ShardKey {
            process: CLIENTS,
            shard: 0,
        });
    }
}

#[allow(
    clippy::print_stderr,
    reason = "the one line that brings a failed test back"
)]
fn report_seed(seed: u64) {
    eprintln!("the simulation's seed was {seed}");
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.shared.seed)
            .finish_non_exhaustive()
    }
}
