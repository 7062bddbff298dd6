//! Runs a history: hands the clients their commands, disturbs the machine, starts it again.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use tailwater_shards::sim::{
    CutKind, CutMoment, EIO, ENOSPC, Ending, IoKind, Matching, Process, Simulation, StepKind,
};

use crate::clients::Client;
use crate::event::{Disturbance, Ended, Event};
use crate::facts::Facts;
use crate::history::{End, Failing, History, Moment, Operation, Restart, Slowed, What};
use crate::machine::{self, Boot, DATA, wake};
use crate::rot::{Rot, Rotten, Victim};
use crate::world::Shared;
use crate::{Options, Stats, Violation};

/// A disk without bounds.
const DISK_BYTES: u64 = 1 << 40;
/// Starts may fail so often in a row, each for a reason of its own.
const STARTS_MAX: u32 = 12;
/// How long a machine rests before something rots: an idle shard covers its last commit.
const REST: Duration = Duration::from_millis(200);
/// How long the load goes on before one of the last commits rots.
const LOAD: Duration = Duration::from_millis(8);
/// How long the clients may take to finish once nothing disturbs the machine.
const FINISH_MAX: Duration = Duration::from_secs(60);

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_RUNNING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Keeps the first panic of a history as its message, and prints none.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IS_RUNNING.get() {
                PANIC.with_borrow_mut(|first| {
                    first.get_or_insert_with(|| info.to_string());
                });
            } else {
                before(info);
            }
        }));
    });
}

/// Set: a property does not hold, and the history ends.
struct Broken;

struct Runner {
    sim: Simulation,
    shared: Rc<Shared>,
    process: Process,
    boot: Rc<RefCell<Rc<Boot>>>,
    next_shards: u16,
    /// Ends during the recoveries to come.
    again: VecDeque<(End, Moment)>,
    stats: Stats,
    told_to_stop: bool,
}

pub(crate) fn run(history: &History, options: &Options) -> Result<Stats, Violation> {
    keep_panics();
    let mut sim = Simulation::new(history.seed);
    let facts = Facts::new(sim.sure_disk(), sim.wall_clock_ms());
    let shared = Shared::new(history.seed, facts, Client::all(), options.print);
    for client in &shared.clients {
        client.join(&shared);
    }
    let (process, boot) = Boot::begin(&mut sim, history.shards, &shared);
    let mut runner = Runner {
        sim,
        shared: shared.clone(),
        process,
        boot: Rc::new(RefCell::new(boot)),
        next_shards: history.shards,
        again: VecDeque::new(),
        stats: Stats {
            shards: history.shards,
            ..Stats::default()
        },
        told_to_stop: false,
    };
    PANIC.with_borrow_mut(|panic| *panic = None);
    IS_RUNNING.set(true);
    let ran = catch_unwind(AssertUnwindSafe(|| runner.history(history)));
    IS_RUNNING.set(false);
    if ran.is_err() {
        let message = PANIC.with_borrow_mut(Option::take).unwrap_or_default();
        shared.violated("invariants", message);
    }
    let violation = shared.violation.borrow_mut().take();
    runner.stats.operations = shared.operations.get();
    runner.stats.ios = runner.sim.io_counts().submitted;
    runner.stats.trace = runner.sim.trace_hash();
    match violation {
        Some(violation) => Err(violation),
        None => Ok(runner.stats),
    }
}

impl Runner {
    fn history(&mut self, history: &History) {
        self.watch();
        let mut clients = BTreeSet::new();
        if self.stand().is_err() {
            return;
        }
        for (index, step) in history.steps.iter().enumerate() {
            self.shared.step.set(index);
            if let What::Client(client, _) = &step.what {
                clients.insert(*client);
            }
            let done = self.step(&step.what, Duration::from_micros(u64::from(step.then_us)));
            if done.is_err() {
                return;
            }
        }
        self.stats.clients = u16::try_from(clients.len()).expect("few");
        self.shared.step.set(history.steps.len());
        // Nothing is left to break what is not broken already.
        let _ = self.finish();
    }

    /// After each step of the machine the shard that was at work is looked at, and the properties.
    fn watch(&mut self) {
        let (shared, boot) = (self.shared.clone(), self.boot.clone());
        self.sim.on_step(move |step| {
            if let StepKind::Polled {
                process: Some(_),
                shard,
                ..
            } = step.kind
            {
                boot.borrow().check_invariants(shard.0);
            }
            shared.check(step.at.as_nanos());
        });
    }

    fn check(&self) -> Result<(), Broken> {
        self.shared.check(self.sim.now().as_nanos());
        if self.shared.violation.borrow().is_some() {
            Err(Broken)
        } else {
            Ok(())
        }
    }

    fn step(&mut self, what: &What, then: Duration) -> Result<(), Broken> {
        match what {
            What::Client(client, command) => {
                self.shared.clients[usize::from(*client)].push(command.clone());
            }
            What::ClockJumps { seconds } => {
                self.tell_clock();
                self.sim.jump_wall_clock(i64::from(*seconds) * 1000);
            }
            What::Slow(slowed) => self.slow(*slowed),
            What::Fails(failing) => self.fail(*failing),
            What::DiskFills { left_kib } => {
                let left = u64::from(*left_kib) << 10;
                self.sim
                    .faults()
                    .disk_bytes(self.sim.disk_used_bytes() + left);
                self.shared.tell(Event::Disturbed(Disturbance::Full(true)));
            }
            What::DiskFreed => self.free_disk(),
            What::Reconnects(client) => {
                self.shared.clients[usize::from(*client)].disconnected();
                self.boot.borrow().call_for_connections();
            }
            What::Ends(restart) => return self.restart(restart),
        }
        self.tell_clock();
        if !then.is_zero() {
            self.sim.run_for(then);
        }
        self.stay_up()
    }

    fn tell_clock(&self) {
        let wall_ms = self.sim.wall_clock_ms();
        self.shared.tell(Event::Clock { wall_ms });
    }

    fn free_disk(&self) {
        self.sim.faults().disk_bytes(DISK_BYTES);
        self.shared.tell(Event::Disturbed(Disturbance::Full(false)));
    }

    fn slow(&self, slowed: Slowed) {
        let delay = Duration::from_millis(u64::from(slowed.ms));
        let matching = Matching::kind(kind(slowed.operation));
        self.sim
            .faults()
            .slow(matching, u64::from(slowed.times), delay);
        let until = self.sim.now() + delay * u32::from(slowed.times) * 4;
        let until_ns = until.as_nanos();
        self.shared
            .tell(Event::Disturbed(Disturbance::Slow { until_ns }));
    }

    fn fail(&self, failing: Failing) {
        let errno = if failing.full { ENOSPC } else { EIO };
        let matching = Matching::kind(kind(failing.operation)).on(DATA);
        for nth in 0..failing.times {
            let nth = u64::from(failing.skip + nth);
            self.sim.faults().fail(matching.clone(), nth, errno);
        }
        self.shared.tell(Event::Disturbed(Disturbance::Failing));
    }

    /// Ends the process at rest, and starts it again on what has rotted meanwhile. At rest, since of
    /// a last commit that nothing behind it proves to have been durable nobody can tell rot from a
    /// torn write. Or under load, and of the last commits one rots that others behind it prove.
    fn restart_rotten(&mut self, restart: &Restart, rot: Rot) -> Result<(), Broken> {
        if rot.victim == Victim::LastCommits {
            self.calm();
            self.sim.run_for(LOAD);
            self.stay_up()?;
        } else {
            self.settle()?;
            for _ in 0..2 {
                self.sim.run_for(REST);
                self.stay_up()?;
            }
        }
        self.next_shards = restart.shards;
        self.again.clear();
        match restart.end {
            End::PowerCut => self.sim.power_cut(),
            End::Stop | End::Kill => self.sim.kill(self.process),
        }
        self.note_end();
        self.sim.run_until_idle();
        if let Some(rotten) = Rotten::choose(&mut self.sim, rot) {
            self.shared.tell(Event::Rotted(rotten));
        }
        self.check()?;
        self.begin();
        self.stand()
    }

    /// A start was refused for what has rotted: nothing was altered, so that it can be made good.
    fn heal(&mut self) -> Result<(), Broken> {
        let rotten = self.shared.facts.borrow().rot.last().cloned();
        rotten
            .expect("a start is refused for something")
            .heal(&self.sim);
        self.shared.tell(Event::Healed);
        self.check()
    }

    fn restart(&mut self, restart: &Restart) -> Result<(), Broken> {
        if let Some(rot) = restart.rot {
            return self.restart_rotten(restart, rot);
        }
        self.next_shards = restart.shards;
        self.again = restart.again.iter().copied().collect();
        match (restart.end, restart.moment) {
            (End::Stop, _) => {
                self.told_to_stop = true;
                self.boot.borrow().stop();
                self.sim.run_until_ended(self.process);
            }
            (End::Kill, Moment::Now) => self.sim.kill(self.process),
            (End::PowerCut, Moment::Now) => self.sim.power_cut(),
            (end, moment) => self.plan(end, moment),
        }
        self.stay_up()
    }

    fn plan(&mut self, end: End, moment: Moment) {
        let kind = if end == End::PowerCut {
            CutKind::PowerCut
        } else {
            CutKind::Kill
        };
        match moment {
            Moment::Now => self.sim.cut_at_io(1, CutMoment::Submitted, kind),
            Moment::Submitted(nth) => {
                self.sim
                    .cut_at_io(u64::from(nth), CutMoment::Submitted, kind)
            }
            Moment::Completed(nth) => {
                self.sim
                    .cut_at_io(u64::from(nth), CutMoment::Completed, kind)
            }
        }
    }

    /// Starts the process again if it has ended.
    fn stay_up(&mut self) -> Result<(), Broken> {
        self.check()?;
        if self.sim.is_running(self.process) {
            return Ok(());
        }
        self.note_end();
        self.begin();
        self.stand()
    }

    fn note_end(&mut self) {
        let ending = self.sim.ending(self.process);
        if matches!(ending, Some(Ending::Killed | Ending::PowerCut)) {
            self.stats.cuts += 1;
        }
        let how = match ending {
            Some(Ending::Returned) if self.told_to_stop => Ended::Stopped,
            Some(Ending::PowerCut) => Ended::PowerCut,
            Some(Ending::Fatal(reason)) => Ended::Fatal(reason),
            _ => Ended::Killed,
        };
        self.told_to_stop = false;
        self.shared.tell(Event::Ended { how });
        if !self.sim.faults().errors_left() {
            let calmed = Disturbance::FailsNoMore;
            self.shared.tell(Event::Disturbed(calmed));
        }
    }

    fn begin(&mut self) {
        let (process, boot) = Boot::begin(&mut self.sim, self.next_shards, &self.shared);
        self.process = process;
        self.boot.replace(boot);
    }

    /// Runs until the process serves, starting it again as often as it is ended on the way.
    fn stand(&mut self) -> Result<(), Broken> {
        for attempt in 0..STARTS_MAX {
            if let Some((end, moment)) = self.again.pop_front() {
                self.plan(end, moment);
            }
            if attempt + 3 > STARTS_MAX {
                self.calm();
            }
            let until = self.sim.now() + FINISH_MAX;
            while !self.boot.borrow().is_open.get() && self.sim.is_running(self.process) {
                if self.sim.now() >= until {
                    self.shared
                        .violated("starts", "a start never comes to its end".to_owned());
                }
                self.sim.run_for(Duration::from_micros(500));
                self.check()?;
            }
            if self.sim.is_running(self.process) {
                self.stats.recoveries += 1;
                let doubts = self.shared.facts.borrow().unknown_losses;
                self.stats.doubts += u64::from(doubts);
                wake(&self.shared.clients);
                return Ok(());
            }
            self.note_end();
            self.check()?;
            if self.shared.facts.borrow().refused_for_rot {
                self.heal()?;
            }
            self.begin();
        }
        self.shared.violated(
            "starts",
            "it does not start, however often it is tried".to_owned(),
        );
        Err(Broken)
    }

    /// Ends all faults.
    fn calm(&mut self) {
        self.sim.faults().clear();
        self.free_disk();
    }

    /// Lets the clients come to their end undisturbed, cuts the power once more and looks at
    /// everything: through the broker, and at the files with the machine off.
    fn finish(&mut self) -> Result<(), Broken> {
        self.settle()?;
        self.sim.power_cut();
        self.stay_up()?;
        self.sim.kill(self.process);
        self.sim.run_until_idle();
        let problems = self.sim.run(machine::verify());
        self.shared.tell(Event::Verified { problems });
        self.check()
    }

    /// Ends all faults and lets the clients come to their end.
    fn settle(&mut self) -> Result<(), Broken> {
        self.calm();
        // A plan that has not come true is forgotten with the next one.
        self.stay_up()?;
        let until = self.sim.now() + FINISH_MAX;
        while !self.shared.clients.iter().all(|client| client.is_idle()) {
            if self.sim.now() >= until {
                let waits = self
                    .shared
                    .clients
                    .iter()
                    .filter(|client| !client.is_idle());
                let waits: Vec<String> = waits.map(|client| client.waits_for()).collect();
                let waits = waits.join("; ");
                self.shared.tell(Event::Unanswered { waits });
                return self.check();
            }
            self.sim.run_for(Duration::from_millis(2));
            self.stay_up()?;
        }
        Ok(())
    }
}

fn kind(operation: Operation) -> IoKind {
    match operation {
        Operation::Read => IoKind::Read,
        Operation::Write => IoKind::Write,
        Operation::Sync => IoKind::Sync,
        Operation::SyncDir => IoKind::SyncDir,
    }
}
