//! All state of a simulation but its tasks: clock, events, disk, network, processes.
//!
//! It is shared as `Arc<Shared>` behind mutexes which nobody ever waits for (there is one
//! thread), because wakers and accepted sockets must be `Send`. Rules: no foreign code runs while
//! the world is locked; wakers are collected and woken after it. The ready queues have a mutex of
//! their own, so that a waker may be used whoever holds the world.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::disk::Disk;
use super::executor::Ready;
use super::faults::FaultRules;
use super::io::Ios;
use super::net::Net;
use super::rng::Rng;
use super::trace::Trace;

/// A boot of a process, counted from 1. 0 is the pseudo process that client tasks run in.
pub(crate) type ProcessId = u32;

/// The pseudo process of client tasks.
pub(crate) const CLIENTS: ProcessId = 0;

/// 2026-01-01T00:00:00Z: what the wall clock says when a simulation begins.
const WALL_CLOCK_START_MS: i64 = 1_767_225_600_000;

/// What happens at an instant.
#[derive(Debug)]
pub(crate) enum Event {
    Timer(u64),
    /// The disk operation of this number is carried out.
    Io(u64),
    Net(super::net::NetEvent),
}

/// Why a process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// `main` returned on every shard.
    Returned,
    /// By `Simulation::kill`, or a kill at a chosen operation.
    Killed,
    /// The power failed.
    PowerCut,
    /// It called `fatal`, with this reason.
    Fatal(String),
    /// `main` panicked on a shard.
    Panicked(String),
}

#[derive(Debug, Default)]
pub(crate) struct ProcessState {
    pub(crate) ending: Option<Ending>,
}

pub(crate) struct World {
    clock: u64,
    /// What of it passed while others had the processor.
    preempted: u64,
    wall_offset_ms: i64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    timers: BTreeMap<u64, Timer>,
    next_timer: u64,
    to_wake: Vec<Waker>,
    pub(crate) processes: BTreeMap<ProcessId, ProcessState>,
    pub(crate) disk: Disk,
    pub(crate) ios: Ios,
    pub(crate) faults: FaultRules,
    pub(crate) net: Net,
    pub(crate) trace: Trace,
    pub(crate) rng: Streams,
}

/// The generators of the parts of the world.
pub(crate) struct Streams {
    pub(crate) disk: Rng,
    pub(crate) net: Rng,
    /// What the programs draw.
    pub(crate) programs: Rng,
}

struct Timer {
    at: (u64, u64),
    waker: Waker,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            clock: 0,
            preempted: 0,
            wall_offset_ms: 0,
            events: BTreeMap::new(),
            next_event: 0,
            timers: BTreeMap::new(),
            next_timer: 0,
            to_wake: Vec::new(),
            processes: BTreeMap::from([(CLIENTS, ProcessState::default())]),
            disk: Disk::new(),
            ios: Ios::default(),
            faults: FaultRules::default(),
            net: Net::default(),
            trace: Trace::default(),
            rng: Streams {
                disk: Rng::new(seed, 1),
                net: Rng::new(seed, 2),
                programs: Rng::new(seed, 3),
            },
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock
    }

    pub(crate) fn advance_to(&mut self, at: u64) {
        self.clock = self.clock.max(at);
    }

    /// As if all that runs had the processor from the beginning, but when it was taken from it.
    pub(crate) fn processor_nanos(&self) -> u64 {
        self.clock - self.preempted
    }

    /// The code that runs has passed so much time, of which it had no processor for `preempted`.
    pub(crate) fn pass(&mut self, worked: Duration, preempted: Duration) {
        let [worked, preempted] =
            [worked, preempted].map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4));
        self.clock += worked + preempted;
        self.preempted += preempted;
    }

    pub(crate) fn wall_clock_ms(&self) -> i64 {
        let since = i64::try_from(self.clock / 1_000_000).expect("292 million years");
        WALL_CLOCK_START_MS + since + self.wall_offset_ms
    }

    pub(crate) fn jump_wall_clock(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }

    /// Lets `event` happen after `delay`. Events of one instant happen in the order of this call.
    pub(crate) fn after(&mut self, delay: Duration, event: Event) -> (u64, u64) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.at(self.clock.saturating_add(nanos), event)
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) -> (u64, u64) {
        let key = (at.max(self.clock), self.next_event);
        self.next_event += 1;
        self.events.insert(key, event);
        key
    }

    pub(crate) fn cancel(&mut self, key: (u64, u64)) {
        self.events.remove(&key);
    }

    pub(crate) fn next_event_at(&self) -> Option<u64> {
        self.events.first_key_value().map(|(key, _)| key.0)
    }

    /// Whether anything but timers is still to come.
    pub(crate) fn is_under_way(&self) -> bool {
        self.events.len() > self.timers.len()
    }

    /// Moves the clock to the next event and lets it happen. False if there is none.
    pub(crate) fn next_event(&mut self) -> bool {
        let Some((key, event)) = self.events.pop_first() else {
            return false;
        };
        self.advance_to(key.0);
        match event {
            Event::Timer(id) => {
                self.trace.step(4, self.clock, id);
                if let Some(timer) = self.timers.remove(&id) {
                    self.wake(timer.waker);
                }
            }
            Event::Io(id) => self.io_completes(id),
            Event::Net(event) => self.net_happens(event),
        }
        true
    }

    pub(crate) fn wake(&mut self, waker: Waker) {
        self.to_wake.push(waker);
    }

    pub(crate) fn is_alive(&self, process: ProcessId) -> bool {
        self.processes
            .get(&process)
            .is_some_and(|state| state.ending.is_none())
    }

    pub(crate) fn add_timer(&mut self, at: u64, waker: Waker) -> u64 {
        let id = self.next_timer;
        self.next_timer += 1;
        let at = self.at(at, Event::Timer(id));
        self.timers.insert(id, Timer { at, waker });
        id
    }

    /// The waker that a timer which has not fired shall wake. False if it has fired.
    pub(crate) fn update_timer(&mut self, id: u64, waker: &Waker) -> bool {
        match self.timers.get_mut(&id) {
            Some(timer) => {
                timer.waker.clone_from(waker);
                true
            }
            None => false,
        }
    }

    pub(crate) fn remove_timer(&mut self, id: u64) {
        if let Some(timer) = self.timers.remove(&id) {
            self.cancel(timer.at);
        }
    }

    /// Everything of the process that lies in the world ends; its tasks are the executor's.
    pub(crate) fn process_ends(&mut self, process: ProcessId, ending: Ending) {
        let power_fails = ending == Ending::PowerCut;
        let state = self
            .processes
            .get_mut(&process)
            .expect("a process that was booted");
        if state.ending.is_some() {
            return;
        }
        self.trace.step(5, self.clock, u64::from(process));
        state.ending = Some(ending);
        self.io_process_ends(process);
        self.net_process_ends(process, power_fails);
    }

    /// What the disk holds after the power has failed. All processes have ended.
    pub(crate) fn disk_loses_power(&mut self) {
        self.io_power_cut();
        self.disk.cut(&mut self.rng.disk);
        self.trace.step(6, self.clock, self.disk.used_bytes());
    }
}

pub(crate) struct Shared {
    pub(crate) seed: u64,
    world: Mutex<World>,
    ready: Mutex<Ready>,
}

impl Shared {
    pub(crate) fn new(seed: u64) -> Arc<Shared> {
        Arc::new(Shared {
            seed,
            world: Mutex::new(World::new(seed)),
            ready: Mutex::new(Ready::new(Rng::new(seed, 0))),
        })
    }

    /// Acts on the world, then wakes what that has made ready.
    pub(crate) fn world<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut world);
        let to_wake = std::mem::take(&mut world.to_wake);
        drop(world);
        for waker in to_wake {
            waker.wake();
        }
        result
    }

    pub(crate) fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
