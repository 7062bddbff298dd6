//! Group coordinators: one for each partition of `__consumer_offsets`, on the shard that owns it.
//!
//! Owns the coordinators of a shard, their timer, and the way of a request to the coordinator of
//! its group. What groups are is the state machine's (`tailwater-group`): here it gets its time,
//! its log and its askers.

mod ask;
mod load;
mod memory;
mod offsets_topic;
mod partition_of;
mod runtime;
mod snapshot;
mod topics;
mod waiting;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tailwater_group::ListGroups;
use tailwater_shards::sync::Notify;
use tailwater_shards::{now, spawn, timeout, yield_now};
use tailwater_storage::Storage;

use crate::broker::Inner;
use crate::metadata::{Change, OFFSETS_TOPIC, Publication, Topic};
use memory::GroupMemory;
use runtime::{Runtime, since_start};
use waiting::Waiting;

pub(crate) use ask::{
    GroupAnswer, GroupAsk, ParkedAsk, answer_groups, answer_list, answer_parked, ask, ask_parked,
    coordinator_of, forget, list, settle,
};
pub(crate) use offsets_topic::{ensure_offsets_topic, offsets_topic};
#[cfg(test)]
pub(crate) use partition_of::partition_of;

/// How many of a shard's connections may wait for coordinators of other shards: more than a shard
/// can have connections.
const PARKED_MAX: usize = 1 << 20;

/// How long the timer sleeps when nothing is due.
const NOTHING_DUE: Duration = Duration::from_secs(3600);

/// How long it sleeps while nothing can be written, however late something is.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// The coordinators of a shard.
pub(crate) struct Groups {
    runtimes: RefCell<BTreeMap<i32, Rc<Runtime>>>,
    /// What all of them may take.
    pub(crate) memory: Rc<GroupMemory>,
    /// What connections of this shard wait for from coordinators of others, by number.
    parked: Waiting,
    /// Those of other shards that wait for coordinators here.
    remote: RefCell<ask::RemoteWaits>,
    /// When the timer looks next.
    armed: Cell<Duration>,
    /// Rung when something may be due earlier than the timer knows.
    earlier: Notify,
}

impl Groups {
    pub(crate) fn new(storage: Storage) -> Self {
        Self {
            runtimes: RefCell::default(),
            memory: GroupMemory::new(storage),
            parked: Waiting::new(PARKED_MAX),
            remote: RefCell::default(),
            armed: Cell::new(Duration::ZERO),
            earlier: Notify::new(),
        }
    }

    /// The coordinator on that partition, if this shard has it.
    pub(crate) fn find(&self, partition: i32) -> Option<Rc<Runtime>> {
        self.runtimes.borrow().get(&partition).cloned()
    }

    /// All of them, in the order of their partitions.
    fn all(&self) -> Vec<Rc<Runtime>> {
        self.runtimes.borrow().values().cloned().collect()
    }

    /// Has the timer look again if that coordinator has something due before it would.
    fn rearm(broker: &Inner, runtime: &Runtime) {
        let groups = &broker.groups;
        if runtime
            .deadline()
            .is_some_and(|due| due < groups.armed.get())
        {
            groups.earlier.notify_one();
        }
    }

    /// How many machines its coordinators have had: one more with each load.
    #[cfg(test)]
    pub(crate) fn machines(&self) -> u64 {
        self.all().iter().map(|runtime| runtime.machine()).sum()
    }

    /// How many wait here, and for coordinators of other shards.
    #[cfg(test)]
    pub(crate) fn waits(&self) -> usize {
        let here = self
            .all()
            .iter()
            .map(|runtime| runtime.waits())
            .sum::<usize>();
        here + self.parked.len() + self.remote.borrow().len()
    }

    /// Panics if what must hold does not.
    pub(crate) fn check_invariants(&self) {
        let mut bytes = 0;
        for runtime in self.all() {
            bytes += runtime.check_invariants();
        }
        assert_eq!(bytes, self.memory.bytes(), "memory of groups");
    }
}

/// Starts the coordinators of a broker that has just opened its partitions.
pub(crate) fn start(broker: &Rc<Inner>) {
    if let Some(topic) = broker.image().topic(OFFSETS_TOPIC) {
        open(broker, topic);
    }
    let weak = Rc::downgrade(broker);
    spawn("group timers", async move {
        while let Some(broker) = weak.upgrade() {
            let due = tick(&broker).await;
            let rung = broker.clone();
            drop(broker);
            // The timer keeps the broker alive while it sleeps, as its connections do.
            let _ = timeout(due, rung.groups.earlier.notified()).await;
            if rung.is_stopping() {
                return;
            }
        }
    })
    .detach();
}

/// Takes notice of what changed in the metadata.
pub(crate) fn take_over(broker: &Rc<Inner>, publication: &Publication, before: Option<&Topic>) {
    let now = publication.image.topic(OFFSETS_TOPIC);
    if let Some(before) = before
        && now.is_none_or(|now| now.id != before.id)
    {
        for runtime in broker.groups.runtimes.take().into_values() {
            runtime.close();
        }
    }
    if let Some(topic) = now {
        open(broker, topic);
    }
    let mut changes = publication.changes.iter();
    if changes.any(|change| matches!(change, Change::DeleteTopic { .. })) {
        for runtime in broker.groups.all() {
            let sound = runtime.topics_deleted(&*publication.image);
            follow(broker, &runtime, sound);
        }
    }
}

/// The broker stops: nobody is answered any more.
pub(crate) fn stop(broker: &Inner) {
    for runtime in broker.groups.all() {
        runtime.close();
    }
    broker.groups.earlier.notify_one();
}

/// Opens the coordinators of the partitions that this shard owns.
fn open(broker: &Rc<Inner>, topic: &Topic) {
    for tp in broker.own_partitions(topic) {
        if broker.groups.find(tp.partition).is_some() {
            continue;
        }
        let partition = broker.partitions.borrow().find(tp);
        if let Ok(partition) = partition {
            let runtime = Runtime::new(partition, broker.groups.memory.clone());
            let mut runtimes = broker.groups.runtimes.borrow_mut();
            runtimes.insert(tp.partition, runtime.clone());
            spawn("group load", load::load(broker.clone(), runtime)).detach();
        }
    }
}

/// What comes after each step: the timer, and a new load when the step failed.
fn follow(broker: &Rc<Inner>, runtime: &Rc<Runtime>, sound: bool) {
    if sound {
        Groups::rearm(broker, runtime);
        snapshot::begin_if_due(runtime);
    } else {
        spawn("group load", load::load(broker.clone(), runtime.clone())).detach();
    }
}

/// Does what is due on all coordinators of the shard; how long until the next is.
async fn tick(broker: &Rc<Inner>) -> Duration {
    for runtime in broker.groups.all() {
        if !runtime.is_due() {
            continue;
        }
        if !runtime.tick(&*broker.image()) {
            follow(broker, &runtime, false);
        }
        // A walk is due at once with its next step, and so may be another coordinator: the shard
        // looks around in between.
        yield_now().await;
    }
    let all = broker.groups.all();
    let next = all.iter().filter_map(|runtime| runtime.deadline()).min();
    let at = since_start(now());
    let mut wait = next.map_or(NOTHING_DUE, |due| due.saturating_sub(at));
    if broker.groups.memory.is_disk_full() {
        wait = wait.max(FULL_PAUSE);
    }
    broker.groups.armed.set(at + wait);
    wait
}

/// What all coordinators of a shard are asked.
fn list_request(filters: &ListGroups) -> tailwater_group::Request {
    tailwater_group::Request::List(filters.clone())
}
