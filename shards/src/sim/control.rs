//! What a test does with a simulation: run it, end processes, look at it.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::client::ClientTask;
use super::engine::Shard;
use super::faults::Faults;
use super::io::{CutKind, CutMoment, CutPlan, IoCounts};
use super::net::Network;
use super::simulation::{Process, Simulation};
use super::sure::SureDisk;
use super::world::Ending;
use crate::time::Instant;

/// How long `run_until` and its kin go on, in virtual time, before they say that it never comes.
const RUN_MAX: Duration = Duration::from_secs(3600);

/// The code that runs takes so long, in which nothing else happens. Without it none takes any time.
///
/// # Panics
/// Outside a simulated shard or client task.
pub fn work_for(time: Duration) {
    let shared = Shard::current().shared;
    shared.world(|world| world.pass(time, Duration::ZERO));
}

/// Others take the processor for so long from the code that runs.
///
/// # Panics
/// Outside a simulated shard or client task.
pub fn preempt_for(time: Duration) {
    let shared = Shard::current().shared;
    shared.world(|world| world.pass(Duration::ZERO, time));
}

impl Simulation {
    /// The seed of all chance.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// The monotonic clock.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.shared.world(|world| world.now()))
    }

    /// What the wall clock says, in Unix milliseconds.
    pub fn wall_clock_ms(&self) -> i64 {
        self.shared.world(|world| world.wall_clock_ms())
    }

    /// Sets the wall clock ahead, or back if negative. The monotonic clock does not notice.
    pub fn jump_wall_clock(&mut self, by_ms: i64) {
        self.shared.world(|world| world.jump_wall_clock(by_ms));
    }

    /// Runs until nothing is ready and nothing is under way on the disk or the network; timers
    /// may be left. Gives up after an hour of virtual time, as all of these do.
    pub fn run_until_idle(&mut self) {
        let end = (self.now() + RUN_MAX).as_nanos();
        loop {
            let is_busy =
                self.shared.ready().has_ready() || self.shared.world(|world| world.is_under_way());
            if !is_busy {
                return;
            }
            if !self.step(end) {
                self.never("the simulation became idle");
            }
        }
    }

    /// Runs for `duration` of virtual time.
    pub fn run_for(&mut self, duration: Duration) {
        let end = (self.now() + duration).as_nanos();
        while self.now().as_nanos() < end && self.step(end) {}
        self.shared.world(|world| world.advance_to(end));
    }

    /// Runs until `done` says so, asked before each step.
    pub fn run_until(&mut self, mut done: impl FnMut() -> bool) {
        let end = (self.now() + RUN_MAX).as_nanos();
        while !done() {
            if self.now().as_nanos() >= end || !self.step(end) {
                self.never("what the test waits for came true");
            }
        }
    }

    /// Runs until the task has returned, and gives its output.
    pub fn run_until_done<T>(&mut self, task: &ClientTask<T>) -> T {
        let end = (self.now() + RUN_MAX).as_nanos();
        loop {
            if let Some(output) = task.take() {
                return output;
            }
            if self.now().as_nanos() >= end || !self.step(end) {
                self.never(&format!("client task {} returned", task.name()));
            }
        }
    }

    /// Runs `future` as a client task to its end.
    pub fn run<F: Future + 'static>(&mut self, future: F) -> F::Output {
        let task = self.spawn("run", future);
        self.run_until_done(&task)
    }

    /// Runs until the process has ended, and says how.
    pub fn run_until_ended(&mut self, process: Process) -> Ending {
        let end = (self.now() + RUN_MAX).as_nanos();
        loop {
            if let Some(ending) = self.ending(process) {
                return ending;
            }
            if self.now().as_nanos() >= end || !self.step(end) {
                self.never(&format!("process {} ended", process.id()));
            }
        }
    }

    fn never(&self, what: &str) -> ! {
        let alive = self.shared.ready().alive();
        self.fail(&format!(
            "it never came that {what}. Tasks: {}",
            alive.join(", ")
        ))
    }

    /// How the process ended; None while it runs.
    pub fn ending(&self, process: Process) -> Option<Ending> {
        self.shared.world(|world| {
            world
                .processes
                .get(&process.id())
                .and_then(|p| p.ending.clone())
        })
    }

    /// Whether the process has not ended.
    pub fn is_running(&self, process: Process) -> bool {
        self.ending(process).is_none()
    }

    /// kill -9: completed writes stay; those in flight land later, also during the next boot, or
    /// never, and hold the process's locks until then. Sockets are closed by the kernel.
    pub fn kill(&mut self, process: Process) {
        self.end(process.id(), Ending::Killed);
    }

    /// The power fails: all processes end, and what no sync has covered is lost, torn or kept.
    /// Clients go on, and see their connections reset some seconds later.
    pub fn power_cut(&mut self) {
        let processes = self.live_processes();
        // All of them are dead to the world before any of their futures is dropped.
        self.shared.world(|world| {
            for process in &processes {
                world.process_ends(*process, Ending::PowerCut);
            }
            world.disk_loses_power();
        });
        for process in processes {
            self.end(process, Ending::PowerCut);
        }
    }

    /// Ends everything at the `nth` operation, counted from 1 and from now, that changes the
    /// disk or syncs: see [`IoCounts::changes`]. At its submission the submitting task goes no
    /// further.
    pub fn cut_at_io(&mut self, nth: u64, moment: CutMoment, kind: CutKind) {
        assert!(nth > 0, "operations are counted from 1");
        self.shared.world(|world| {
            let nth = world.ios.counts.changes + nth;
            world.ios.plan = Some(CutPlan { nth, moment, kind });
        });
    }

    /// Plants faults.
    pub fn faults(&self) -> Faults {
        Faults::new(self.shared.clone())
    }

    /// What a power cut could not take, at whatever moment it is asked.
    pub fn sure_disk(&self) -> SureDisk {
        SureDisk::new(self.shared.clone())
    }

    /// Splits the network, and sets its delays.
    pub fn network(&self) -> Network {
        Network::new(self.shared.clone())
    }

    /// A hash over every step so far and the bytes it moved.
    pub fn trace_hash(&self) -> u64 {
        self.shared.world(|world| world.trace.hash())
    }

    /// How many steps have been traced.
    pub fn trace_steps(&self) -> u64 {
        self.shared.world(|world| world.trace.steps())
    }

    /// Disk operations of all processes so far.
    pub fn io_counts(&self) -> IoCounts {
        self.shared.world(|world| world.ios.counts)
    }

    /// Whether a power cut now would change nothing on the disk.
    pub fn disk_is_synced(&self) -> bool {
        self.shared.world(|world| world.disk.is_synced())
    }

    /// Bytes that the files take.
    pub fn disk_used_bytes(&self) -> u64 {
        self.shared.world(|world| world.disk.used_bytes())
    }

    /// A file's bytes as any process would see them now.
    pub fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = self.shared.world(|world| {
            world.disk.inspect(path, |file| {
                let len = usize::try_from(file.bytes()).expect("it fits in memory");
                file.read(0, len)
            })
        });
        let bytes = read.ok_or(io::ErrorKind::NotFound)?;
        bytes.ok_or_else(|| io::Error::from_raw_os_error(super::faults::EIO))
    }
}
