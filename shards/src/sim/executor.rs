//! Tasks: which are ready, which runs next, and how they are dropped when their process ends.
//!
//! The next shard is drawn by the seed among those with a ready task. Within a shard a task that
//! became ready may overtake up to `OVERTAKEN_MAX` others, so no order but that of a task's own
//! steps can be relied on; one that yields runs after all that are ready then, as `yield_now`
//! promises.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::task::Waker;

use async_task::{Builder, Runnable, ScheduleInfo, WithInfo};

use super::rng::Rng;
use super::world::{ProcessId, Shared};

/// How many ready tasks of its shard a task may overtake.
const OVERTAKEN_MAX: u64 = 4;

/// A shard of one boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ShardKey {
    pub(crate) process: ProcessId,
    pub(crate) shard: u16,
}

/// What is known of each task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskMeta {
    pub(crate) id: u64,
    pub(crate) name: &'static str,
}

pub(crate) type TaskHandle<T> = async_task::Task<T, TaskMeta>;

#[derive(Default)]
struct ShardQueue {
    ready: BTreeMap<(u64, u64), Runnable<TaskMeta>>,
    /// A waker of each task that has not ended, to find them all when the process ends.
    alive: BTreeMap<u64, (&'static str, Waker)>,
}

/// The ready tasks of all shards.
pub(crate) struct Ready {
    queues: BTreeMap<ShardKey, ShardQueue>,
    rng: Rng,
    next_task: u64,
    next_place: u64,
}

impl Ready {
    pub(crate) fn new(rng: Rng) -> Ready {
        Ready {
            queues: BTreeMap::new(),
            rng,
            next_task: 0,
            next_place: 0,
        }
    }

    fn push(&mut self, key: ShardKey, runnable: Runnable<TaskMeta>, yielded: bool) {
        let place = self.next_place;
        self.next_place += 1;
        let later = if yielded {
            OVERTAKEN_MAX
        } else {
            self.rng.range(0..OVERTAKEN_MAX + 1)
        };
        self.queues
            .entry(key)
            .or_default()
            .ready
            .insert((place + later, place), runnable);
    }

    /// Draws the next task to run.
    pub(crate) fn next(&mut self) -> Option<(ShardKey, Runnable<TaskMeta>)> {
        let waiting = self
            .queues
            .values()
            .filter(|queue| !queue.ready.is_empty())
            .count();
        if waiting == 0 {
            return None;
        }
        let nth = if waiting == 1 {
            0
        } else {
            self.rng.index(waiting)
        };
        let mut candidates = self
            .queues
            .iter_mut()
            .filter(|(_, queue)| !queue.ready.is_empty());
        let (key, queue) = candidates.nth(nth).expect("below their number");
        let (_, runnable) = queue.ready.pop_first().expect("not empty");
        Some((*key, runnable))
    }

    pub(crate) fn has_ready(&self) -> bool {
        self.queues.values().any(|queue| !queue.ready.is_empty())
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.rng.coin()
    }

    /// Wakers of all tasks of a shard, each of which puts its task into the ready queue.
    pub(crate) fn wakers(&self, key: ShardKey) -> Vec<Waker> {
        let queue = self.queues.get(&key);
        queue
            .map(|queue| {
                queue
                    .alive
                    .values()
                    .map(|(_, waker)| waker.clone())
                    .collect()
            })
            .unwrap_or_default()
    }

    /// Takes the ready tasks of a shard, to drop them.
    pub(crate) fn take_ready(&mut self, key: ShardKey) -> Vec<Runnable<TaskMeta>> {
        let queue = self.queues.get_mut(&key);
        queue
            .map(|queue| std::mem::take(&mut queue.ready).into_values().collect())
            .unwrap_or_default()
    }

    pub(crate) fn forget_shard(&mut self, key: ShardKey) {
        let queue = self.queues.remove(&key);
        assert!(queue.is_none_or(|queue| queue.ready.is_empty() && queue.alive.is_empty()));
    }

    /// The names of all tasks that have not ended, for messages.
    pub(crate) fn alive(&self) -> Vec<String> {
        let of_shard = |(key, queue): (&ShardKey, &ShardQueue)| {
            let ShardKey { process, shard } = *key;
            let names = queue.alive.values().map(|(name, _)| *name);
            names
                .map(|name| format!("{name} (process {process}, shard {shard})"))
                .collect::<Vec<_>>()
        };
        self.queues.iter().flat_map(of_shard).collect()
    }
}

/// Takes a task off the list of those alive, however it ends.
struct Registered {
    shared: Arc<Shared>,
    key: ShardKey,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let waker = {
            let mut ready = self.shared.ready();
            ready
                .queues
                .get_mut(&self.key)
                .and_then(|queue| queue.alive.remove(&self.id))
        };
        drop(waker);
    }
}

/// Makes a task and puts it into the ready queue.
pub(crate) fn spawn<F>(
    shared: &Arc<Shared>,
    key: ShardKey,
    name: &'static str,
    future: F,
) -> TaskHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let id = {
        let mut ready = shared.ready();
        ready.next_task += 1;
        ready.next_task
    };
    let registered = Registered {
        shared: Arc::clone(shared),
        key,
        id,
    };
    let to = Arc::clone(shared);
    let schedule = WithInfo(move |runnable: Runnable<TaskMeta>, info: ScheduleInfo| {
        to.ready().push(key, runnable, info.woken_while_running);
    });
    let with_registration = move |_: &TaskMeta| async move {
        let _registered = registered;
        future.await
    };
    let (runnable, task) = Builder::new()
        .metadata(TaskMeta { id, name })
        .spawn_local(with_registration, schedule);
    let waker = runnable.waker();
    shared
        .ready()
        .queues
        .entry(key)
        .or_default()
        .alive
        .insert(id, (name, waker));
    runnable.schedule();
    task
}
