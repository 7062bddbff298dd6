//! One coordinator's machine over its partition of `__consumer_offsets`.
//!
//! Owns the machine, whether it serves, and who waits for its replies. It must not know
//! connections or other shards.
//!
//! A step is synchronous: the event goes in, the records that come out are appended as one batch,
//! and the replies may leave once all that was appended so far is durable: also those without
//! records of their own, which may tell what is not durable yet.
//!
//! Records are appended without waiting for room in the log: their order is fixed by the step.
//! What they take beyond the log's bound is bounded by the frames of the requests that they follow
//! from, which are charged until they are answered, and by what the machine may hold.
//!
//! While the disk is full nothing that may write is begun: it is refused, and what is due waits.
//!
//! When records cannot be appended all the same the machine is ahead of its log. It is thrown away, all who
//! wait are told that the coordinator is not available, and a machine is read from the log anew.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_group::{
    Coordinator, GroupError, Moment, Outcome, Record, Reply, ReplyTo, Request, SnapshotCursor,
    Topics,
};
use tailwater_record::{BatchBuilder, BatchHeader, NewRecord};
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{Counter, Instant, count, now, random_uuid, wall_clock_ms};
use tailwater_storage::{StorageError, Sync, Ticket};
use uuid::Uuid;

use super::memory::{GroupMemory, Share};
use super::waiting::{Settled, Slot, Waiting};
use crate::partition::Partition;

/// How many may wait for replies of one coordinator. One more is told that it is not available,
/// and comes again.
const WAITING_MAX: usize = 65_536;

/// What a record takes in a batch besides its key and value, at most: lengths, offset and time.
const RECORD_OVERHEAD_BYTES: usize = 40;

enum State {
    /// The log is being read: nothing is answered yet. `failed` if the last time it could not be.
    Loading {
        failed: bool,
    },
    Serving(Box<Coordinator>),
    /// The partition is gone from this shard, or the broker stops.
    Closed,
}

/// A coordinator on its partition.
pub(crate) struct Runtime {
    partition: Rc<Partition>,
    state: RefCell<State>,
    waiting: Waiting,
    /// Of the append that came last.
    appended: Cell<Option<Ticket>>,
    /// How many machines there were: a snapshot is of one.
    machines: Cell<u64>,
    snapshots: Snapshots,
    /// What the machine takes of the shard's memory.
    share: Share,
}

/// When a snapshot is due.
#[derive(Default)]
struct Snapshots {
    /// Bytes appended since the last one was begun.
    since: Cell<u64>,
    /// So many make the next one due.
    due: Cell<u64>,
    /// One is being made.
    is_made: Cell<bool>,
    /// What the load read: bytes of a snapshot, and of the log.
    #[cfg(test)]
    loaded: Cell<(u64, u64)>,
}

/// What is asked, and how it is gone on with.
pub(crate) enum Asked {
    /// The answer comes to this slot. The number is to be forgotten when nobody waits any more.
    Waits(u64, Rc<Slot>),
    /// Not now.
    Refused(GroupError),
}

impl Runtime {
    /// A coordinator that has yet to be loaded.
    pub(crate) fn new(partition: Rc<Partition>, memory: Rc<GroupMemory>) -> Rc<Self> {
        Rc::new(Self {
            partition,
            state: RefCell::new(State::Loading { failed: false }),
            waiting: Waiting::new(WAITING_MAX),
            appended: Cell::new(None),
            machines: Cell::new(0),
            snapshots: Snapshots::default(),
            share: Share::new(memory),
        })
    }

    pub(crate) fn partition(&self) -> &Rc<Partition> {
        &self.partition
    }

    /// The append that came last: what has to be durable before the log is read.
    pub(crate) fn appended(&self) -> Option<Ticket> {
        self.appended.get()
    }

    /// Whether the log is to be read.
    pub(crate) fn is_loading(&self) -> bool {
        matches!(&*self.state.borrow(), State::Loading { .. })
    }

    /// Why nothing can be asked now, if so.
    pub(crate) fn refusal(&self) -> Option<GroupError> {
        match &*self.state.borrow() {
            State::Loading { failed: false } => Some(GroupError::CoordinatorLoadInProgress),
            State::Serving(_) => None,
            // As Kafka answers for a partition whose load has failed: clients look for the
            // coordinator again, and lists of groups go on without it.
            State::Loading { failed: true } | State::Closed => Some(GroupError::NotCoordinator),
        }
    }

    /// Takes over a machine that has all records of the log, and serves. `read` tells how many
    /// bytes its snapshot had, and how many of the log were read after it.
    pub(crate) fn serve(
        &self,
        machine: Coordinator,
        read: (u64, u64),
        topics: &dyn Topics,
    ) -> bool {
        assert!(self.is_loading(), "a machine is loaded once");
        let (snapshot, log) = read;
        self.machines.set(self.machines.get() + 1);
        let least = machine.config().snapshot_bytes_min;
        self.snapshots.due.set(snapshot.max(least));
        self.snapshots.since.set(log);
        #[cfg(test)]
        self.snapshots.loaded.set(read);
        *self.state.borrow_mut() = State::Serving(Box::new(machine));
        self.step(|machine, moment| machine.loaded(moment, topics))
    }

    /// The log could not be read. It is tried again; until then nothing is answered.
    pub(super) fn note_failed_load(&self) {
        count(Counter::FailedGroupLoads);
        self.share.set(0);
        if let State::Loading { failed } = &mut *self.state.borrow_mut() {
            *failed = true;
        }
    }

    /// Begins the sessions of some groups of a machine that has been read; whether there are more.
    pub(super) fn begin_sessions(&self, machine: &mut Coordinator, topics: &dyn Topics) -> bool {
        machine.begin_sessions(&moment(self.share.memory()), topics)
    }

    /// A machine that is being loaded takes so much.
    pub(super) fn note_loading(&self, bytes: u64) {
        if self.is_loading() {
            self.share.set(bytes);
        }
    }

    /// Ends: who waits is told to look for another coordinator.
    pub(crate) fn close(&self) {
        *self.state.borrow_mut() = State::Closed;
        self.share.set(0);
        self.waiting.refuse_all(&GroupError::NotCoordinator);
    }

    /// Asks. False in the second place: the machine was thrown away and has to be loaded anew.
    pub(crate) fn ask(&self, request: Request, topics: &dyn Topics) -> (Asked, bool) {
        if let Some(refusal) = self.refusal() {
            return (Asked::Refused(refusal), true);
        }
        if request.may_write() && self.share.memory().is_disk_full() {
            return (Asked::Refused(GroupError::CoordinatorNotAvailable), true);
        }
        let Some((number, slot)) = self.waiting.begin() else {
            return (Asked::Refused(GroupError::CoordinatorNotAvailable), true);
        };
        let begun = Begun(&self.waiting, number);
        let sound =
            self.step(|machine, moment| machine.handle(moment, topics, ReplyTo(number), request));
        std::mem::forget(begun);
        (Asked::Waits(number, slot), sound)
    }

    /// Forgets one that has gone before its answer came.
    pub(crate) fn forget(&self, number: u64) {
        if self.waiting.forget(number)
            && let State::Serving(machine) = &mut *self.state.borrow_mut()
        {
            machine.cancel(ReplyTo(number));
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match &*self.state.borrow() {
            State::Serving(machine) => machine.next_deadline(),
            State::Loading { .. } | State::Closed => None,
        }
    }

    /// Whether something is due: nothing, as long as nothing can be written.
    pub(crate) fn is_due(&self) -> bool {
        let now = since_start(now());
        let is_late = self.deadline().is_some_and(|deadline| deadline <= now);
        is_late && !self.share.memory().is_disk_full()
    }

    /// Does what is due by now. False: the machine has to be loaded anew.
    pub(crate) fn tick(&self, topics: &dyn Topics) -> bool {
        self.step(|machine, moment| machine.tick(moment, topics))
    }

    /// Tells of topics that were deleted. False: the machine has to be loaded anew.
    pub(crate) fn topics_deleted(&self, topics: &dyn Topics) -> bool {
        self.step(|machine, moment| machine.topics_deleted(moment, topics))
    }

    /// One step; false if its records could not be appended.
    fn step(&self, event: impl FnOnce(&mut Coordinator, &Moment) -> Outcome) -> bool {
        let outcome = {
            let mut state = self.state.borrow_mut();
            let State::Serving(machine) = &mut *state else {
                return true;
            };
            let outcome = event(machine, &moment(self.share.memory()));
            self.share.set(machine.bytes());
            outcome
        };
        if !outcome.records.is_empty()
            && let Err(error) = self.append_all(&outcome.records)
        {
            self.throw_away(&error, outcome.replies);
            return false;
        }
        let early = planted::is(Planted::GroupAnsweredEarly);
        let durable = self.appended.get().filter(|_| !early);
        for (to, reply) in outcome.replies {
            self.share.memory().note(&reply);
            let answer = Ok(mistaken(reply));
            self.waiting.settle(to.0, Settled { answer, durable });
        }
        true
    }

    /// One step's records: one batch, or several where one would be longer than the log takes. What
    /// one request has written always fits one; what comes together in a step that removes much, or
    /// at one moment for many groups, belongs together no more than what several steps write.
    fn append_all(&self, records: &[Record]) -> Result<(), StorageError> {
        let max = match &*self.state.borrow() {
            State::Serving(machine) => machine.config().batch_bytes_max.saturating_mul(2),
            State::Loading { .. } | State::Closed => u64::MAX,
        };
        let mut rest = records;
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(fitting(rest, max));
            self.append(batch)?;
            rest = others;
        }
        Ok(())
    }

    fn append(&self, records: &[Record]) -> Result<(), StorageError> {
        let records = written(records);
        if records.is_empty() {
            return Ok(());
        }
        let batch = batch_of(&records);
        let header = BatchHeader::parse(&batch).expect("it was just built");
        let bytes = batch.len();
        if let Err(error) = self.partition.check_in_service() {
            tracing::debug!(partition = %self.partition.name(), %error, "not in service");
            return Err(StorageError::ShuttingDown);
        }
        let appended = self.partition.log().append(batch, &header, Sync::Durable)?;
        self.partition.appended(appended.last_offset + 1, bytes);
        self.appended.set(Some(appended.ticket));
        let since = self.snapshots.since.get() + bytes as u64;
        self.snapshots.since.set(since);
        Ok(())
    }

    /// The machine is ahead of its log.
    fn throw_away(&self, error: &StorageError, replies: Vec<(ReplyTo, Reply)>) {
        let partition = self.partition.name();
        tracing::warn!(partition, %error, "records of groups cannot be written: they are read anew");
        *self.state.borrow_mut() = State::Loading { failed: false };
        self.share.set(0);
        // A request that can never be written must not come again and again.
        let refusal = match error {
            StorageError::BatchTooLarge { .. } => GroupError::RecordsTooLarge,
            _ => GroupError::CoordinatorNotAvailable,
        };
        for (to, _) in replies {
            let answer = Err(refusal.clone());
            let settled = Settled {
                answer,
                durable: None,
            };
            self.waiting.settle(to.0, settled);
        }
        self.waiting
            .refuse_all(&GroupError::CoordinatorNotAvailable);
    }

    /// Which machine it is: another one begins anew.
    pub(super) fn machine(&self) -> u64 {
        self.machines.get()
    }

    /// Bytes appended since the last snapshot was begun.
    pub(super) fn since_snapshot(&self) -> u64 {
        self.snapshots.since.get()
    }

    /// Whether a snapshot is due and none is being made. If so, the caller makes it.
    pub(super) fn begin_snapshot(&self) -> bool {
        let snapshots = &self.snapshots;
        let serves = matches!(&*self.state.borrow(), State::Serving(_));
        serves && snapshots.since.get() >= snapshots.due.get() && !snapshots.is_made.replace(true)
    }

    /// A snapshot of `bytes` is there, with what had been `covered` when it was begun; or there is
    /// none, and it is tried again when there is as much again to cover.
    pub(super) fn end_snapshot(&self, covered: u64, bytes: Option<u64>) {
        let Snapshots { since, due, .. } = &self.snapshots;
        self.snapshots.is_made.set(false);
        let State::Serving(machine) = &*self.state.borrow() else {
            return;
        };
        let least = machine.config().snapshot_bytes_min;
        match bytes {
            Some(bytes) => {
                since.set(since.get().saturating_sub(covered));
                due.set(bytes.max(least));
            }
            None => due.set(since.get() + least),
        }
    }

    /// Some of a machine's records, and where to go on; none if it is not that machine any more.
    pub(super) fn snapshot_after(
        &self,
        machine: u64,
        after: Option<&SnapshotCursor>,
        bytes: usize,
    ) -> Option<(Vec<Record>, Option<SnapshotCursor>)> {
        match &*self.state.borrow() {
            State::Serving(serving) if self.machine() == machine => {
                Some(serving.snapshot_after(after, bytes))
            }
            _ => None,
        }
    }

    /// What the load read: bytes of a snapshot, and of the log.
    #[cfg(test)]
    pub(crate) fn loaded(&self) -> (u64, u64) {
        self.snapshots.loaded.get()
    }

    /// How many wait for its replies.
    #[cfg(test)]
    pub(crate) fn waits(&self) -> usize {
        self.waiting.len()
    }

    /// Panics if what must hold does not. Gives the memory that it takes.
    pub(crate) fn check_invariants(&self) -> u64 {
        if let State::Serving(machine) = &*self.state.borrow() {
            machine.check_invariants();
            assert_eq!(machine.bytes(), self.share.bytes());
        }
        self.share.bytes()
    }
}

/// What is written of a step's records: all.
fn written(records: &[Record]) -> Cow<'_, [Record]> {
    if !planted::is(Planted::GroupEpochNotWritten) {
        return Cow::Borrowed(records);
    }
    // Keys of committed offsets begin with 0 or 1.
    let is_offset = |record: &&Record| record.key.get(1).is_some_and(|kind| *kind < 2);
    Cow::Owned(records.iter().filter(is_offset).cloned().collect())
}

/// The reply, unless a mistake is planted.
fn mistaken(reply: Reply) -> Reply {
    match reply {
        Reply::Committed(results) if planted::is(Planted::LateCommitAnswered) => {
            let taken = |result| match result {
                Err(GroupError::IllegalGeneration) => Ok(()),
                result => result,
            };
            Reply::Committed(results.into_iter().map(taken).collect())
        }
        reply => reply,
    }
}

/// Records as one batch.
pub(super) fn batch_of(records: &[Record]) -> Bytes {
    let timestamp = wall_clock_ms();
    let mut builder = BatchBuilder::new();
    for record in records {
        builder.push(NewRecord {
            timestamp,
            key: Some(&record.key),
            value: record.value.as_deref(),
            headers: &[],
        });
    }
    builder.build()
}

/// How many of the records have no more bytes than `max` in a batch: one at least.
fn fitting(records: &[Record], max: u64) -> usize {
    let mut bytes = 0;
    let fits = records.iter().take_while(|record| {
        bytes += (record.bytes() + RECORD_OVERHEAD_BYTES) as u64;
        bytes <= max
    });
    fits.count().max(1)
}

/// The clock of the machines' deadlines.
pub(crate) fn since_start(at: Instant) -> Duration {
    Duration::from_nanos(at.as_nanos())
}

fn moment(memory: &GroupMemory) -> Moment {
    Moment {
        room: memory.room(),
        is_full: memory.is_disk_full(),
        now: since_start(now()),
        wall_ms: wall_clock_ms(),
        fresh: Uuid::from_bytes(random_uuid()),
    }
}

/// A place of one that asks, given back should its step panic.
struct Begun<'a>(&'a Waiting, u64);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.forget(self.1);
    }
}
