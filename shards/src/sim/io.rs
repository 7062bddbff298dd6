//! Disk operations in flight: when each is carried out, and what becomes of those whose process
//! has ended.
//!
//! An operation takes effect at the instant of its completion, never before. When its process is
//! killed it is carried out later (perhaps during the next boot), or never; until then the kernel
//! holds its descriptor, and with it the flock. At a power cut it may take effect and then be
//! torn like any unsynced change.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::disk::{BLOCK_BYTES, IoKind, Op, Output, error};
use super::rng::Rng;
use super::world::{CLIENTS, Event, ProcessId, Shared, World};
use rustix::io::Errno;

/// How long the operations of a killed process may go on: less than the 5 s for which a start
/// waits for the lock.
const ORPHAN_DELAY_MAX: Duration = Duration::from_secs(4);

/// When a chosen operation is to end everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CutMoment {
    /// It has just been submitted: it may take effect, in part or not at all.
    Submitted,
    /// It has just taken effect, and nobody has been told yet.
    Completed,
}

/// What a chosen operation brings about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CutKind {
    /// The process that submitted it is killed.
    Kill,
    /// The power fails.
    PowerCut,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct CutPlan {
    pub(crate) nth: u64,
    pub(crate) moment: CutMoment,
    pub(crate) kind: CutKind,
}

/// Counts of disk operations by processes (not by clients).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct IoCounts {
    /// Operations begun that change the disk or make a change durable: what
    /// `Simulation::cut_at_io` counts. A `write_durable` counts twice.
    pub changes: u64,
    /// All operations begun.
    pub submitted: u64,
    /// All operations that took effect or failed.
    pub completed: u64,
    /// Writes begun.
    pub writes: u64,
    /// File syncs begun.
    pub syncs: u64,
    /// Reads begun.
    pub reads: u64,
}

#[derive(Debug)]
struct InFlight {
    op: Op,
    process: ProcessId,
    event: (u64, u64),
    waker: Option<Waker>,
    /// The error that it was chosen to fail with.
    fault: Option<Errno>,
    /// Its number among those that change the disk, if it does.
    nth: Option<u64>,
    /// Its process has ended.
    orphaned: bool,
    /// Nobody waits for it any more.
    forgotten: bool,
}

/// The operations in flight, and the results that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Ios {
    in_flight: BTreeMap<u64, InFlight>,
    done: BTreeMap<u64, io::Result<Output>>,
    next: u64,
    pub(crate) counts: IoCounts,
    pub(crate) plan: Option<CutPlan>,
    /// A plan's moment has come: whose operation it was.
    pub(crate) cut: Option<(ProcessId, CutKind)>,
}

fn is_aligned(op: &Op) -> bool {
    let block = BLOCK_BYTES as u64;
    match op {
        Op::Write { pos, data, .. } => {
            pos.is_multiple_of(block) && data.len().is_multiple_of(BLOCK_BYTES) && !data.is_empty()
        }
        Op::Read { pos, len, .. } => pos.is_multiple_of(block) && len.is_multiple_of(BLOCK_BYTES),
        _ => true,
    }
}

/// How long an operation takes: an SSD with a tail.
fn latency(op: &Op, rng: &mut Rng) -> Duration {
    let base_us = match op.kind() {
        IoKind::Write => rng.range(15..60),
        IoKind::Sync | IoKind::SyncDir => rng.range(40..160),
        IoKind::Read => rng.range(40..120),
        IoKind::RemoveDirAll | IoKind::CreateDirs => rng.range(50..400),
        _ => rng.range(5..60),
    };
    let transfer_ns = op.bytes() as u64 / 2;
    let tail_us = match rng.range(0..200) {
        0 => rng.range(1_000..8_000),
        1..10 => rng.range(100..1_000),
        _ => 0,
    };
    Duration::from_nanos((base_us + tail_us) * 1_000 + transfer_ns)
}

impl World {
    /// Begins an operation. Its completion is an event.
    pub(crate) fn io_submit(&mut self, process: ProcessId, op: Op) -> u64 {
        let id = self.ios.next;
        self.ios.next += 1;
        if !self.is_alive(process) {
            return id;
        }
        if !is_aligned(&op) {
            self.ios.done.insert(id, Err(error(Errno::INVAL)));
            return id;
        }
        if let Some(fd) = op.fd() {
            self.disk.begin(fd);
        }
        self.io_start(id, process, op, None);
        id
    }

    fn io_start(&mut self, id: u64, process: ProcessId, op: Op, waker: Option<Waker>) {
        let now = self.now();
        self.trace.step(2, now, id);
        self.trace.word(op.kind() as u64);
        let path = self.disk.path_of(&op);
        let effect = self.faults.effect(op.kind(), &path);
        let delay = latency(&op, &mut self.rng.disk) + effect.delay;
        let event = self.after(delay, Event::Io(id));
        let nth = self.io_count(process, &op);
        let in_flight = InFlight {
            op,
            process,
            event,
            waker,
            fault: effect.errno,
            nth,
            orphaned: false,
            forgotten: false,
        };
        self.ios.in_flight.insert(id, in_flight);
        self.io_cut_if_planned(process, nth, CutMoment::Submitted);
    }

    fn io_count(&mut self, process: ProcessId, op: &Op) -> Option<u64> {
        if process == CLIENTS {
            return None;
        }
        let counts = &mut self.ios.counts;
        counts.submitted += 1;
        match op.kind() {
            IoKind::Write => counts.writes += 1,
            IoKind::Sync => counts.syncs += 1,
            IoKind::Read => counts.reads += 1,
            _ => {}
        }
        op.changes_the_disk().then(|| {
            counts.changes += 1;
            counts.changes
        })
    }

    fn io_cut_if_planned(&mut self, process: ProcessId, nth: Option<u64>, moment: CutMoment) {
        if let (Some(nth), Some(plan)) = (nth, self.ios.plan)
            && plan.nth == nth
            && plan.moment == moment
        {
            self.ios.plan = None;
            self.ios.cut = Some((process, plan.kind));
        }
    }

    /// The instant at which an operation takes effect.
    pub(crate) fn io_completes(&mut self, id: u64) {
        let in_flight = self
            .ios
            .in_flight
            .remove(&id)
            .expect("its event comes once");
        let InFlight {
            op,
            process,
            waker,
            fault,
            nth,
            orphaned,
            forgotten,
            ..
        } = in_flight;
        let now = self.now();
        self.trace.step(3, now, id);
        if orphaned {
            self.disk.perform_orphaned(&op, &mut self.rng.disk);
            self.io_release(&op);
            return;
        }
        if process != CLIENTS {
            self.ios.counts.completed += 1;
        }
        let result = self.io_perform(&op, process, fault);
        self.io_trace(&op, &result);
        if let (
            Op::Write {
                fd,
                then_sync: true,
                ..
            },
            Ok(_),
        ) = (&op, &result)
        {
            let covers = self.disk.seq();
            let only = self.faults.durable_write_covers_itself_only;
            let fd = *fd;
            self.io_cut_if_planned(process, nth, CutMoment::Completed);
            if self.ios.cut.is_none() {
                self.io_start(id, process, Op::Sync { fd, covers, only }, waker);
                if let Some(sync) = self.ios.in_flight.get_mut(&id) {
                    sync.forgotten = forgotten;
                }
            } else {
                self.io_release(&op);
            }
            return;
        }
        self.io_release(&op);
        self.io_cut_if_planned(process, nth, CutMoment::Completed);
        if forgotten {
            self.io_discard(result);
        } else {
            self.ios.done.insert(id, result);
        }
        if let Some(waker) = waker {
            self.wake(waker);
        }
    }

    fn io_perform(
        &mut self,
        op: &Op,
        process: ProcessId,
        fault: Option<Errno>,
    ) -> io::Result<Output> {
        match (op, fault) {
            (Op::Sync { fd, covers, .. }, Some(errno)) => {
                self.disk.abandon(*fd, *covers);
                Err(error(errno))
            }
            (
                Op::Write {
                    fd,
                    pos,
                    data,
                    then_sync,
                },
                Some(errno),
            ) => {
                // Some of it may have been written before the error.
                let blocks = data.len() / BLOCK_BYTES;
                let written = self.rng.disk.index(blocks + 1) * BLOCK_BYTES;
                if written > 0 {
                    let data = data.slice(..written);
                    let part = Op::Write {
                        fd: *fd,
                        pos: *pos,
                        data,
                        then_sync: *then_sync,
                    };
                    drop(self.disk.perform(&part, process));
                }
                Err(error(errno))
            }
            (_, Some(errno)) => Err(error(errno)),
            (Op::Sync { .. } | Op::SyncDir { .. }, None) if self.faults.sync_is_a_lie => {
                Ok(Output::Done)
            }
            (op, None) => self.disk.perform(op, process),
        }
    }

    fn io_trace(&mut self, op: &Op, result: &io::Result<Output>) {
        if let Op::Write { pos, data, .. } = op {
            self.trace.word(*pos);
            self.trace.bytes(data);
        }
        match result {
            Ok(Output::Bytes(bytes)) => self.trace.bytes(bytes),
            Ok(_) => {}
            Err(failed) => self
                .trace
                .word(failed.raw_os_error().unwrap_or(-1).unsigned_abs().into()),
        }
    }

    fn io_release(&mut self, op: &Op) {
        if let Some(fd) = op.fd() {
            self.disk.end(fd);
        }
    }

    /// Takes the result of an operation, or leaves the waker for it.
    pub(crate) fn io_poll(&mut self, id: u64, waker: &Waker) -> Poll<io::Result<Output>> {
        if let Some(result) = self.ios.done.remove(&id) {
            return Poll::Ready(result);
        }
        // Not found: it belonged to a process that has ended, and is never heard of again.
        if let Some(in_flight) = self.ios.in_flight.get_mut(&id) {
            in_flight.waker = Some(waker.clone());
        }
        Poll::Pending
    }

    /// Nobody waits for it any more. It goes on all the same; what it opens is closed.
    pub(crate) fn io_forget(&mut self, id: u64) {
        if let Some(in_flight) = self.ios.in_flight.get_mut(&id) {
            in_flight.waker = None;
            in_flight.forgotten = true;
        }
        if let Some(result) = self.ios.done.remove(&id) {
            self.io_discard(result);
        }
    }

    fn io_discard(&mut self, result: io::Result<Output>) {
        if let Ok(Output::Fd(fd)) = result {
            self.disk.close(fd);
        }
    }

    /// Decides for each operation of a process that ends whether it lands later or never.
    pub(crate) fn io_process_ends(&mut self, process: ProcessId) {
        let mine = |in_flight: &InFlight| in_flight.process == process && !in_flight.orphaned;
        let all = self.ios.in_flight.iter();
        let ids: Vec<u64> = all.filter(|(_, io)| mine(io)).map(|(id, _)| *id).collect();
        for id in ids {
            let mut in_flight = self.ios.in_flight.remove(&id).expect("listed above");
            self.cancel(in_flight.event);
            in_flight.waker = None;
            in_flight.orphaned = true;
            let lands = in_flight.op.changes_the_disk() && self.rng.disk.coin();
            if lands && in_flight.op.fd().is_none() {
                // A change of names is a system call: it ends before its process lets go of its
                // descriptors, and with them of its locks.
                self.disk
                    .perform_orphaned(&in_flight.op, &mut self.rng.disk);
                self.io_release(&in_flight.op);
            } else if lands {
                let delay = orphan_delay(&mut self.rng.disk);
                in_flight.event = self.after(delay, Event::Io(id));
                self.ios.in_flight.insert(id, in_flight);
            } else {
                self.io_release(&in_flight.op);
            }
        }
        self.disk.close_all(process);
    }

    /// Whatever is in flight takes effect now or never, in any order; then the disk is cut.
    pub(crate) fn io_power_cut(&mut self) {
        let mut left: Vec<InFlight> = std::mem::take(&mut self.ios.in_flight)
            .into_values()
            .collect();
        while !left.is_empty() {
            let at = self.rng.disk.index(left.len());
            let in_flight = left.swap_remove(at);
            self.cancel(in_flight.event);
            if in_flight.op.changes_the_disk() && self.rng.disk.coin() {
                self.disk
                    .perform_orphaned(&in_flight.op, &mut self.rng.disk);
            }
        }
    }
}

/// Mostly soon, at times as late as can be.
fn orphan_delay(rng: &mut Rng) -> Duration {
    let max = u64::try_from(ORPHAN_DELAY_MAX.as_nanos()).expect("seconds");
    match rng.range(0..4) {
        0 => Duration::from_nanos(rng.range(0..max)),
        _ => Duration::from_nanos(rng.range(0..max / 1000)),
    }
}

/// A disk operation that a task waits for. Dropped, it leaves the operation to happen.
pub(crate) struct IoFuture {
    shared: Arc<Shared>,
    id: u64,
    finished: bool,
}

impl IoFuture {
    pub(crate) fn new(shared: Arc<Shared>, id: u64) -> IoFuture {
        IoFuture {
            shared,
            id,
            finished: false,
        }
    }
}

impl Future for IoFuture {
    type Output = io::Result<Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self
            .shared
            .world(|world| world.io_poll(self.id, cx.waker()));
        self.finished |= polled.is_ready();
        polled
    }
}

impl Drop for IoFuture {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.world(|world| world.io_forget(self.id));
        }
    }
}
