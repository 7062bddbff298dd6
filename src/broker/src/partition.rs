//! A partition: a log with what the broker knows on top of it.
//!
//! Owns the high watermark, the last stable offset, the producers' states and who waits for new
//! records. It must not know sessions, connections or other partitions.
//!
//! What is acknowledged and what is visible are decided by [`acknowledged`] and [`visible`] alone:
//! the only places that replication will have to change.
//!
//! Invariants: log start <= last stable offset <= high watermark <= appended end; the high
//! watermark never falls.

use crate::BrokerError;
use crate::config::TopicConfig;
use crate::metadata::Topic;
use crate::producer_state::ProducerStates;
use bytes::Bytes;
use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use tailwater_shards::Marker;
use tailwater_shards::planted::{self, Planted};
use tailwater_storage::{
    AppendedEnd, Compaction, DurableEnd, Log, LogConfig, RecoveredProducers, StorageError,
    TopicPartition, WrittenEnd,
};

/// Below this offset records are visible to consumers. It never falls, and without `write.caching`
/// nothing below it can be taken back by a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HighWatermark(pub i64);

/// Below this offset no transaction is open. The high watermark, until there are transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LastStableOffset(pub i64);

/// How much of an acknowledgement a producer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acks {
    /// 0: none.
    None,
    /// 1.
    Leader,
    /// -1.
    All,
}

/// Which end of the log has to pass a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It survives the process.
    Written,
    /// It survives a power cut.
    Durable,
}

/// The ends of a log at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) appended: AppendedEnd,
    pub(crate) written: WrittenEnd,
    pub(crate) durable: DurableEnd,
}

/// The end that has to pass a batch before it is acknowledged; `None`: nothing is awaited.
///
/// | acks | without `write.caching` | with it |
/// |---|---|---|
/// | 0 | nothing | nothing |
/// | 1 | written | written |
/// | all | durable | written |
pub(crate) fn acknowledged(acks: Acks, write_caching: bool) -> Option<End> {
    match (acks, write_caching) {
        (Acks::None, _) => None,
        (Acks::Leader, _) if planted::is(Planted::AckOneBeforeWrite) => None,
        (Acks::Leader, _) | (Acks::All, true) => Some(End::Written),
        (Acks::All, false) => Some(End::Durable),
    }
}

/// What consumers may see: never more than acks=all would promise.
pub(crate) fn visible(ends: Ends, write_caching: bool) -> HighWatermark {
    match acknowledged(Acks::All, write_caching) {
        Some(End::Written) => HighWatermark(ends.written.0),
        Some(End::Durable) if planted::is(Planted::HighWatermarkFollowsWritten) => {
            HighWatermark(ends.written.0)
        }
        Some(End::Durable) if planted::is(Planted::HighWatermarkTooFar) => {
            HighWatermark(ends.appended.0.min(ends.durable.0 + 1))
        }
        Some(End::Durable) => HighWatermark(ends.durable.0),
        None => unreachable!("acks=all awaits an end"),
    }
}

/// Someone who waits for the high watermark, the log start or the partition's end to come.
struct Watcher {
    /// Which set of waits it belongs to: see [`Partition::watch`].
    set: u64,
    marker: Marker,
}

/// Whether anything may be appended or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Open,
    /// Its topic was deleted.
    Deleted,
    /// The broker stops.
    Stopping,
}

/// Below this many watchers nobody looks for dead ones.
const WATCHERS_SWEEP_MIN: usize = 8;

/// A partition on the shard that owns it.
pub(crate) struct Partition {
    tp: TopicPartition,
    log: Log,
    topic: RefCell<Arc<Topic>>,
    high_watermark: Cell<HighWatermark>,
    /// The log start that watchers know of.
    log_start_seen: Cell<i64>,
    /// Batches above the high watermark: end offset and bytes. As many as the log holds in flight.
    in_flight: RefCell<VecDeque<(i64, usize)>>,
    producers: RefCell<ProducerStates>,
    watchers: RefCell<Vec<Watcher>>,
    /// The number of watchers at which dead ones are looked for again.
    sweep_at: Cell<usize>,
    service: Cell<Service>,
}

impl Partition {
    /// Takes over a log that was just opened.
    pub(crate) fn open(log: Log, topic: Arc<Topic>, now_ms: i64) -> Result<Rc<Self>, BrokerError> {
        let tp = log.topic_partition();
        let mut recovered = log.recovered_producers();
        if planted::is(Planted::ProducersForgotten) {
            recovered = RecoveredProducers::default();
        }
        let snapshot = recovered.snapshot.as_ref().map(|(_, bytes)| &bytes[..]);
        let end = log.appended_end().0;
        let producers = ProducerStates::recover(snapshot, &recovered.batches, end, now_ms)?;
        let partition = Rc::new(Self {
            tp,
            high_watermark: Cell::new(HighWatermark(log.log_start())),
            log_start_seen: Cell::new(log.log_start()),
            log,
            topic: RefCell::new(topic),
            in_flight: RefCell::default(),
            producers: RefCell::new(producers),
            watchers: RefCell::default(),
            sweep_at: Cell::new(WATCHERS_SWEEP_MIN),
            service: Cell::new(Service::Open),
        });
        partition.advance();
        let weak = Rc::downgrade(&partition);
        partition.log.set_observer(Rc::new(move || observe(&weak)));
        let weak = Rc::downgrade(&partition);
        partition
            .log
            .set_producer_snapshot(Rc::new(move || snapshot_of(&weak)));
        let weak = Rc::downgrade(&partition);
        partition
            .log
            .set_last_batches(Rc::new(move || last_batches_of(&weak)));
        Ok(partition)
    }

    pub(crate) fn tp(&self) -> TopicPartition {
        self.tp
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Kafka's spelling: `topic-partition`.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.topic.borrow().name, self.tp.partition)
    }

    pub(crate) fn write_caching(&self) -> bool {
        let topic = self.topic.borrow();
        // What the broker writes itself is never taken back.
        topic.config.write_caching && !topic.is_internal()
    }

    pub(crate) fn producers(&self) -> RefMut<'_, ProducerStates> {
        self.producers.borrow_mut()
    }

    pub(crate) fn high_watermark(&self) -> HighWatermark {
        self.high_watermark.get()
    }

    /// The high watermark, until there are transactions.
    pub(crate) fn last_stable_offset(&self) -> LastStableOffset {
        LastStableOffset(self.high_watermark.get().0)
    }

    pub(crate) fn log_start(&self) -> i64 {
        self.log.log_start()
    }

    pub(crate) fn ends(&self) -> Ends {
        Ends {
            appended: self.log.appended_end(),
            written: self.log.written_end(),
            durable: self.log.durable_end(),
        }
    }

    /// Whether everything below that offset has passed that end.
    pub(crate) fn has_passed(&self, end: End, offset: i64) -> bool {
        match end {
            End::Written => self.log.written_end().0 >= offset,
            End::Durable => self.log.durable_end().0 >= offset,
        }
    }

    /// Says why nothing can be done with it, if so.
    pub(crate) fn check_in_service(&self) -> Result<(), BrokerError> {
        match self.service.get() {
            Service::Open => {}
            Service::Deleted => return Err(BrokerError::UnknownTopicOrPartition),
            Service::Stopping => return Err(BrokerError::ShuttingDown),
        }
        self.log.health().map_err(|corrupt| BrokerError::Storage {
            detail: corrupt.to_string(),
        })
    }

    /// Compares the caller's leader epoch (-1: it knows none) with ours.
    pub(crate) fn check_epoch(&self, got: i32) -> Result<(), BrokerError> {
        let current = self.log.leader_epoch();
        if got < 0 || got == current {
            Ok(())
        } else if got < current {
            Err(BrokerError::FencedLeaderEpoch { got, current })
        } else {
            Err(BrokerError::UnknownLeaderEpoch { got, current })
        }
    }

    /// Counts a batch just appended, whose bytes become visible once the high watermark has
    /// passed its end.
    pub(crate) fn appended(&self, end_offset: i64, bytes: usize) {
        self.in_flight.borrow_mut().push_back((end_offset, bytes));
    }

    /// Takes over changed configurations.
    pub(crate) fn configure(&self, topic: Arc<Topic>) {
        assert_eq!(topic.id, self.tp.topic, "a partition stays with its topic");
        self.log.configure(log_config(&topic));
        self.topic.replace(topic);
        self.advance();
    }

    /// Adds a watcher. `set` is the set of waits that the marker is of: in a standing one, a
    /// partition is watched once, so what it had before is replaced.
    pub(crate) fn watch(&self, set: u64, marker: Marker, standing: bool) {
        let mut watchers = self.watchers.borrow_mut();
        if standing {
            watchers.retain(|watcher| watcher.set != set && !watcher.marker.is_dead());
        } else if watchers.len() >= self.sweep_at.get() {
            watchers.retain(|watcher| !watcher.marker.is_dead());
            self.sweep_at
                .set((watchers.len() * 2).max(WATCHERS_SWEEP_MIN));
        }
        watchers.push(Watcher { set, marker });
    }

    /// Removes what that set watches.
    pub(crate) fn unwatch(&self, set: u64) {
        self.watchers
            .borrow_mut()
            .retain(|watcher| watcher.set != set && !watcher.marker.is_dead());
    }

    /// Its topic was deleted: nothing is appended or read from here on, and who waits is told.
    pub(crate) fn delete(&self) {
        self.end_service(Service::Deleted);
    }

    /// The broker stops: nothing is appended or read from here on, and who waits is told.
    pub(crate) fn stop(&self) {
        self.end_service(Service::Stopping);
    }

    fn end_service(&self, service: Service) {
        self.service.set(service);
        for watcher in self.watchers.take() {
            watcher.marker.mark_urgent();
        }
    }

    /// Looks where the log is now: moves the high watermark and tells who waits for it.
    pub(crate) fn advance(&self) {
        if self.service.get() != Service::Open {
            return;
        }
        if self.log.health().is_err() {
            self.mark_all(|marker| marker.mark_urgent());
            return;
        }
        let log_start = self.log.log_start();
        let seen = visible(self.ends(), self.write_caching()).0.max(log_start);
        let moved = seen > self.high_watermark.get().0;
        let trimmed = log_start != self.log_start_seen.replace(log_start);
        if moved {
            self.high_watermark.set(HighWatermark(seen));
        }
        let bytes = self.take_visible(self.high_watermark.get());
        let tells = moved && !planted::is(Planted::FetchNotWoken);
        if tells || trimmed {
            self.mark_all(|marker| marker.mark(bytes));
        }
    }

    /// The bytes that have become visible since the last time.
    fn take_visible(&self, high_watermark: HighWatermark) -> u64 {
        let mut in_flight = self.in_flight.borrow_mut();
        let mut bytes = 0;
        while let Some((end, size)) = in_flight.front()
            && *end <= high_watermark.0
        {
            bytes += *size as u64;
            in_flight.pop_front();
        }
        bytes
    }

    fn mark_all(&self, mark: impl Fn(&Marker) -> bool) {
        for watcher in self.watchers.borrow().iter() {
            mark(&watcher.marker);
        }
    }

    /// Panics if what must hold does not.
    pub(crate) fn check_invariants(&self) {
        let ends = self.ends();
        assert!(
            self.log_start() <= self.high_watermark().0,
            "{}: log start <= high watermark",
            self.tp
        );
        assert!(
            self.last_stable_offset().0 <= self.high_watermark().0,
            "{}: LSO <= high watermark",
            self.tp
        );
        assert!(
            self.high_watermark().0 <= ends.appended.0,
            "{}: high watermark <= appended end",
            self.tp
        );
        assert!(
            ends.durable.0 <= ends.written.0,
            "{}: durable <= written",
            self.tp
        );
        assert!(
            ends.written.0 <= ends.appended.0,
            "{}: written <= appended",
            self.tp
        );
        let in_flight = self.in_flight.borrow();
        assert!(
            in_flight
                .iter()
                .zip(in_flight.iter().skip(1))
                .all(|(a, b)| a.0 < b.0),
            "{}: batches in flight are in order",
            self.tp
        );
        self.producers.borrow().check_invariants(ends.appended.0);
    }
}

fn observe(partition: &Weak<Partition>) {
    if let Some(partition) = partition.upgrade() {
        partition.advance();
    }
}

fn snapshot_of(partition: &Weak<Partition>) -> Bytes {
    partition.upgrade().map_or_else(Bytes::new, |partition| {
        partition.producers.borrow().snapshot()
    })
}

/// None once the partition is gone: nobody knows its producers then.
fn last_batches_of(partition: &Weak<Partition>) -> Option<BTreeMap<i64, i64>> {
    let partition = partition.upgrade()?;
    let last_batches = partition.producers.borrow().last_batches();
    Some(last_batches)
}

/// What storage has to know of a topic's configuration.
pub(crate) fn log_config(topic: &Topic) -> LogConfig {
    let config = &topic.config;
    LogConfig {
        segment_bytes: u64::try_from(config.segment_bytes).expect("its least value is positive"),
        segment_ms: config.segment_ms,
        delete: config.delete,
        compact: config.compact.then(|| compaction(config)),
        retention_ms: config.retention_ms,
        retention_bytes: config.retention_bytes,
        flush_ms: u64::try_from(config.flush_ms).expect("its least value is 0"),
        flush_bytes: u64::try_from(config.flush_bytes).expect("its least value is positive"),
    }
}

fn compaction(config: &TopicConfig) -> Compaction {
    Compaction {
        // A part of the whole: the table has 0 to 1.
        dirty_ratio_min: (config.dirty_ratio_min * 1e6).round() as u32,
        delete_retention_ms: config.delete_retention_ms,
        lag_min_ms: config.compaction_lag_min_ms,
        lag_max_ms: config.compaction_lag_max_ms,
    }
}

/// What a client is told when storage refuses.
pub(crate) fn storage_refusal(error: &StorageError) -> BrokerError {
    match error {
        StorageError::Dropped => BrokerError::UnknownTopicOrPartition,
        StorageError::ShuttingDown => BrokerError::ShuttingDown,
        StorageError::OffsetOutOfRange {
            offset,
            log_start,
            end,
        } => BrokerError::OffsetOutOfRange {
            offset: *offset,
            log_start: *log_start,
            end: *end,
        },
        StorageError::BatchTooLarge { .. } => BrokerError::BatchTooLarge(error.to_string()),
        StorageError::Io { .. }
        | StorageError::Locked { .. }
        | StorageError::Foreign { .. }
        | StorageError::UnknownFeature { .. }
        | StorageError::Corrupt(_)
        | StorageError::MetadataUnreadable(_)
        | StorageError::DiskFull
        | StorageError::OutOfService(_) => BrokerError::Storage {
            detail: error.to_string(),
        },
    }
}
