//! One partition's log: its segments, its tail, its epochs and its ends.
//!
//! Owns the order of one partition's batches and where each of them is. Knows nothing of high
//! watermarks: a caller says up to which offset it wants to read. Appends and everything that
//! moves an end are synchronous; only reads of what memory no longer has await.
//!
//! Invariants: log start <= durable end <= written end <= appended end; every byte between the
//! start of the first segment and the appended end is in a segment's durable part, in the tail, or
//! on its way into a commit.

mod append;
mod behind;
mod cold;
mod compact;
mod epochs;
mod read;
mod record;
mod retention;
mod tail;
mod timestamps;
mod types;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use bytes::Bytes;

pub(crate) use self::behind::WriteBehind;
pub(crate) use self::compact::{CleanSource, Doomed};
pub(crate) use self::epochs::Epochs;
pub(crate) use self::record::{PartitionRecord, SegmentRecord};
pub(crate) use self::tail::{Place, Run, Tail};
pub use self::types::{Appended, BatchSummary, Read, RecoveredProducers, Sync, TimestampHit};
use crate::config::LogConfig;
use crate::error::{Corrupt, StorageError};
use crate::ids::TopicPartition;
use crate::offsets::{AppendedEnd, DurableEnd, WrittenEnd};
use crate::segment::Segment;
use crate::storage::Shared;
use crate::wal::Ticket;
use crate::wal::commit::PlannedEntry;
use crate::wal::format::{EntryHeader, EntryKind};
use crate::wal::gather::{Item, Span};

/// A partition's log. Cloning gives another handle to the same log.
#[derive(Clone)]
pub struct Log {
    inner: Rc<Inner>,
}

struct Inner {
    tp: TopicPartition,
    shared: Weak<Shared>,
    config: RefCell<LogConfig>,
    appended: Cell<i64>,
    written: Cell<i64>,
    durable: Cell<i64>,
    log_start: Cell<i64>,
    /// The log start that a durable WAL entry has: nothing above it may be unlinked.
    durable_log_start: Cell<i64>,
    leader_epoch: Cell<i32>,
    /// Durable bytes that no segment holds.
    outstanding: Cell<u64>,
    cached_unsynced: Cell<u64>,
    /// Compaction has seen every record below.
    cleaned_upto: Cell<i64>,
    /// Compaction has taken something away: only then may offsets be missing.
    has_gaps: Cell<bool>,
    /// It is known to have been compacted in this process's life or before: a cleaning may have left
    /// something behind.
    was_compacted: Cell<bool>,
    /// Files that no segment is were looked for and removed.
    swept: Cell<bool>,
    /// A segment is rotten: compaction leaves the log alone.
    uncleanable: Cell<bool>,
    entry_in_plan: Cell<usize>,
    /// It is in the set of those changed since the last checkpoint.
    changed: Cell<bool>,
    dropped: Cell<bool>,
    /// A caller has opened it, not only recovery.
    opened: Cell<bool>,
    state: RefCell<State>,
    observer: RefCell<Option<Rc<dyn Fn()>>>,
    producers: RefCell<Producers>,
    damage: RefCell<Option<Box<Corrupt>>>,
}

struct State {
    segments: VecDeque<Segment>,
    tail: Tail,
    epochs: Epochs,
    /// The tickets of what is not durable yet: (end offset, ticket), one for each commit.
    tickets: VecDeque<(i64, Ticket)>,
}

#[derive(Default)]
struct Producers {
    recovered: RecoveredProducers,
    snapshot: Option<Rc<dyn Fn() -> Bytes>>,
    last_batches: Option<compact::LastBatches>,
}

/// A run that a commit has taken.
pub(crate) struct NewRun<'a> {
    pub(crate) header: &'a EntryHeader,
    pub(crate) place: Place,
    pub(crate) lsn: u64,
    pub(crate) mem: Bytes,
}

/// What recovery found of a log.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) log_start: i64,
    pub(crate) end: i64,
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) runs: Vec<Run>,
    pub(crate) epochs: Epochs,
    pub(crate) producers: RecoveredProducers,
    pub(crate) damage: Option<Corrupt>,
    pub(crate) cleaned_upto: i64,
    pub(crate) has_gaps: bool,
}

impl Log {
    pub(crate) fn new(tp: TopicPartition, shared: Weak<Shared>, found: Found) -> Self {
        let mut tail = Tail::default();
        let mut outstanding = 0;
        for run in found.runs {
            outstanding += u64::from(run.len);
            run.place.file.note(tp);
            tail.push(run);
        }
        let state = State {
            segments: found.segments,
            tail,
            epochs: found.epochs,
            tickets: VecDeque::new(),
        };
        let epoch = state.epochs.latest().unwrap_or(-1);
        Self {
            inner: Rc::new(Inner {
                tp,
                shared,
                config: RefCell::default(),
                appended: Cell::new(found.end),
                written: Cell::new(found.end),
                durable: Cell::new(found.end),
                log_start: Cell::new(found.log_start),
                durable_log_start: Cell::new(found.log_start),
                leader_epoch: Cell::new(epoch),
                outstanding: Cell::new(outstanding),
                cached_unsynced: Cell::new(0),
                cleaned_upto: Cell::new(found.cleaned_upto),
                has_gaps: Cell::new(found.has_gaps),
                was_compacted: Cell::new(false),
                swept: Cell::new(false),
                uncleanable: Cell::new(false),
                entry_in_plan: Cell::new(usize::MAX),
                changed: Cell::new(false),
                dropped: Cell::new(false),
                opened: Cell::new(false),
                state: RefCell::new(state),
                observer: RefCell::new(None),
                producers: RefCell::new(Producers {
                    recovered: found.producers,
                    ..Producers::default()
                }),
                damage: RefCell::new(found.damage.map(Box::new)),
            }),
        }
    }

    /// The partition whose log this is.
    #[must_use]
    pub fn topic_partition(&self) -> TopicPartition {
        self.inner.tp
    }

    pub(crate) fn open(&self, config: LogConfig, leader_epoch: i32) {
        self.configure(config);
        self.inner.opened.set(true);
        if leader_epoch > self.inner.leader_epoch.get() {
            self.inner.leader_epoch.set(leader_epoch);
            let end = self.inner.appended.get();
            self.inner
                .state
                .borrow_mut()
                .epochs
                .begin(leader_epoch, end);
        }
    }

    /// Takes the topic's new configuration; it holds from the next append on.
    pub fn configure(&self, config: LogConfig) {
        let before = self.inner.config.replace(config);
        self.inner.was_compacted.set(
            self.inner.was_compacted.get() || self.inner.has_gaps.get() || before.compact.is_some(),
        );
        if self.wants_sweep()
            && let Ok(shared) = self.shared()
        {
            shared.compacts();
        }
    }

    pub(crate) fn shared(&self) -> Result<Rc<Shared>, StorageError> {
        self.inner
            .shared
            .upgrade()
            .ok_or(StorageError::ShuttingDown)
    }

    /// The next offset to be given: Kafka's log end offset.
    #[must_use]
    pub fn appended_end(&self) -> AppendedEnd {
        AppendedEnd(self.inner.appended.get())
    }

    /// Below it, every byte survives the process.
    #[must_use]
    pub fn written_end(&self) -> WrittenEnd {
        WrittenEnd(self.inner.written.get())
    }

    /// Below it, every byte survives a power cut.
    #[must_use]
    pub fn durable_end(&self) -> DurableEnd {
        DurableEnd(self.inner.durable.get())
    }

    /// The log start offset: nothing below is read any more.
    #[must_use]
    pub fn log_start(&self) -> i64 {
        self.inner.log_start.get()
    }

    /// The ticket of the append that holds the offset, while it is not durable. What is durable
    /// or not appended has none.
    #[must_use]
    pub fn ticket_of(&self, offset: i64) -> Option<Ticket> {
        let state = self.inner.state.borrow();
        let index = state.tickets.partition_point(|(end, _)| *end <= offset);
        let pending = offset >= self.inner.durable.get();
        state
            .tickets
            .get(index)
            .filter(|_| pending)
            .map(|(_, ticket)| *ticket)
    }

    /// Calls `observer` after the written end, the durable end or the log start has moved, and
    /// when the log is taken out of service. It must not block; it may append and read.
    pub fn set_observer(&self, observer: Rc<dyn Fn()>) {
        *self.inner.observer.borrow_mut() = Some(observer);
    }

    pub(crate) fn observe(&self) {
        let observer = self.inner.observer.borrow().clone();
        if let Some(observer) = observer {
            observer();
        }
    }

    /// Bytes of all records between the start of the first segment and the appended end.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inner
            .state
            .borrow()
            .segments
            .iter()
            .map(|segment| segment.len)
            .sum()
    }

    /// The current leader epoch; -1 before any.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.inner.leader_epoch.get()
    }

    /// The epoch of the record at the offset.
    #[must_use]
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        self.inner.state.borrow().epochs.at(offset)
    }

    /// What OffsetForLeaderEpoch answers: the largest epoch not above the one asked for, and its
    /// end offset, `upto` for the latest. `None`: undefined.
    #[must_use]
    pub fn epoch_end(&self, epoch: i32, upto: i64) -> Option<(i32, i64)> {
        self.inner.state.borrow().epochs.end_of(epoch, upto)
    }

    /// The producer state that the start found. Replay it, then set the snapshot function.
    #[must_use]
    pub fn recovered_producers(&self) -> RecoveredProducers {
        self.inner.producers.borrow().recovered.clone()
    }

    /// Gives the function that checkpoints call for the producer state as of the appended end.
    /// What the start found is forgotten: the function knows it now.
    pub fn set_producer_snapshot(&self, snapshot: Rc<dyn Fn() -> Bytes>) {
        let mut producers = self.inner.producers.borrow_mut();
        producers.snapshot = Some(snapshot);
        producers.recovered = RecoveredProducers::default();
    }

    /// Whether the log is in service.
    ///
    /// # Errors
    /// The damage for which it was taken out.
    pub fn health(&self) -> Result<(), Corrupt> {
        match self.inner.damage.borrow().as_deref() {
            None => Ok(()),
            Some(damage) => Err(damage.clone()),
        }
    }

    /// Takes the log out of service, for good: the next checkpoint keeps why.
    pub(crate) fn take_out_of_service(&self, damage: Corrupt) {
        tailwater_shards::count(tailwater_shards::Counter::CorruptPartitions);
        tracing::error!(partition = %self.inner.tp, %damage, "log out of service");
        *self.inner.damage.borrow_mut() = Some(Box::new(damage));
        self.mark_changed();
        self.observe();
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.inner.dropped.get()
    }

    pub(crate) fn set_dropped(&self) {
        self.inner.dropped.set(true);
    }

    pub(crate) fn outstanding(&self) -> u64 {
        self.inner.outstanding.get()
    }

    fn add_outstanding(&self, bytes: u64) {
        self.inner
            .outstanding
            .set(self.inner.outstanding.get() + bytes);
    }

    fn sub_outstanding(&self, bytes: u64) {
        self.inner
            .outstanding
            .set(self.inner.outstanding.get().saturating_sub(bytes));
    }

    /// The next checkpoint has to say something new of this log.
    pub(crate) fn mark_changed(&self) {
        if !self.inner.changed.replace(true)
            && let Some(shared) = self.inner.shared.upgrade()
        {
            shared.changed.borrow_mut().push(self.inner.tp);
        }
    }

    pub(crate) fn clear_changed(&self) {
        self.inner.changed.set(false);
    }

    // What the WAL tells a log.

    /// The run in the plan that the span continues, if there is one.
    pub(crate) fn entry_in_plan(&self, entries: &[PlannedEntry], span: &Span) -> Option<usize> {
        let index = self.inner.entry_in_plan.get();
        let header = &entries.get(index)?.header;
        let continues = header.kind == EntryKind::Run
            && header.tp == self.inner.tp
            && header.end == span.base
            && header.segment == span.segment;
        continues.then_some(index)
    }

    pub(crate) fn set_entry_in_plan(&self, index: usize) {
        self.inner.entry_in_plan.set(index);
    }

    pub(crate) fn place_run(&self, run: NewRun<'_>) {
        let header = run.header;
        let run = Run {
            span: Span {
                base: header.base,
                end: header.end,
                segment: header.segment,
                position: header.position,
                max_timestamp: header.max_timestamp,
            },
            len: header.body_len,
            place: run.place,
            lsn: run.lsn,
            mem: Some(run.mem),
            in_segment: false,
        };
        self.inner.state.borrow_mut().tail.push(run);
    }

    pub(crate) fn set_written(&self, end: i64) {
        assert!(end >= self.inner.written.get() && end <= self.inner.appended.get());
        self.inner.written.set(end);
    }

    pub(crate) fn set_durable(&self, end: i64, bytes: u64, ticket: Ticket) {
        assert!(end >= self.inner.durable.get() && end <= self.inner.written.get());
        self.inner.durable.set(end);
        self.inner.cached_unsynced.set(0);
        self.add_outstanding(bytes);
        {
            let mut state = self.inner.state.borrow_mut();
            while state.tickets.front().is_some_and(|(_, had)| *had <= ticket) {
                state.tickets.pop_front();
            }
            if state.tickets.is_empty() && state.tickets.capacity() > 8 {
                state.tickets.shrink_to(0);
            }
        }
        if let Some(shared) = self.inner.shared.upgrade()
            && self.outstanding() >= shared.config.write_behind_bytes
        {
            shared.behind.borrow_mut().insert(self.inner.tp);
        }
    }

    pub(crate) fn set_durable_log_start(&self, offset: i64) {
        let before = self.inner.durable_log_start.get();
        self.inner.durable_log_start.set(before.max(offset));
        if let Some(shared) = self.inner.shared.upgrade() {
            shared.trim_wanted.borrow_mut().insert(self.inner.tp);
        }
    }

    pub(crate) fn carried(&self, span: &Span, place: Place, lsn: u64, mem: Bytes) {
        self.inner
            .state
            .borrow_mut()
            .tail
            .carried(span, place, lsn, mem);
    }

    pub(crate) fn forget_memory(&self, base: i64, lsn: u64) {
        self.inner.state.borrow_mut().tail.forget_memory(base, lsn);
    }

    /// Moves the log start offset up. It holds at once for reads; wait for the ticket to be
    /// durable before answering for it. An offset at or below the log start changes nothing.
    ///
    /// # Errors
    /// An offset above the appended end, a log that is dropped or out of service, no room.
    pub fn advance_log_start(&self, offset: i64) -> Result<Ticket, StorageError> {
        let shared = self.shared()?;
        let log_start = self.inner.log_start.get();
        let end = self.inner.appended.get();
        if self.is_dropped() {
            return Err(StorageError::Dropped);
        }
        self.health().map_err(StorageError::OutOfService)?;
        if offset > end || offset < 0 {
            return Err(StorageError::OffsetOutOfRange {
                offset,
                log_start,
                end,
            });
        }
        if offset <= log_start {
            return Ok(shared.wal.last_ticket());
        }
        let ticket = shared.wal.push(
            Item::LogStart {
                log: self.clone(),
                offset,
            },
            None,
        );
        self.inner.log_start.set(offset);
        self.inner.state.borrow_mut().epochs.trim_start(offset);
        self.mark_changed();
        self.observe();
        Ok(ticket)
    }

    /// Asserts what must hold of a log at any time.
    pub fn check_invariants(&self) {
        let inner = &self.inner;
        assert!(inner.log_start.get() <= inner.appended.get());
        assert!(inner.durable.get() <= inner.written.get());
        assert!(inner.written.get() <= inner.appended.get());
        let state = inner.state.borrow();
        state.tail.check_invariants();
        let bases: Vec<_> = state.segments.iter().map(|segment| segment.base).collect();
        assert!(
            bases.is_sorted(),
            "segments are in the order of their base offsets"
        );
        let open = state
            .segments
            .iter()
            .rev()
            .skip(1)
            .find(|segment| !segment.closed);
        assert!(open.is_none(), "only the last segment is appended to");
        for segment in &state.segments {
            assert!(segment.durable_len <= segment.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_log_takes_far_less_than_four_kilobytes() {
        // With one segment, one epoch, and its places in the shard's maps.
        let log = size_of::<Inner>() + 2 * size_of::<usize>();
        let segment = 4 * size_of::<Segment>();
        let maps = 4 * size_of::<(TopicPartition, Log)>();
        assert!(
            log + segment + maps < 2048,
            "{} bytes",
            log + segment + maps
        );
    }
}
