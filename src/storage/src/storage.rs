//! One shard's storage: its WAL, its logs, and what works for them in the background.
//!
//! Everything here belongs to one shard and is used from its tasks alone.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_shards::sync::{Notify, Permit, Semaphore};
use tailwater_shards::{Task, dir, now, spawn, timeout};
use uuid::Uuid;

use crate::checkpoint::format::Seal;
use crate::checkpoint::writer::CheckpointWriter;
use crate::config::{LogConfig, StorageConfig};
use crate::disk_room::DiskRoom;
use crate::error::StorageError;
use crate::ids::{Generation, TopicPartition};
use crate::log::{Found, Log, Place, Run, SegmentRecord};
use crate::recovery::{Handoff, SeedLog, ShardSeed};
use crate::segment::Segment;
use crate::segment::cache::ReadCache;
use crate::wal::file::WalFile;
use crate::wal::{CommitTimes, Ticket, Wal};
use crate::write_behind::WRITERS;

/// How long each step of a clean shutdown may take; what is not done by then the WAL has.
const SHUTDOWN_STEP: Duration = Duration::from_millis(200);
/// How long writing the segments' tails may take.
const SHUTDOWN_TAILS: Duration = Duration::from_millis(400);

/// What a shard's logs and background tasks share.
pub(crate) struct Shared {
    pub(crate) config: StorageConfig,
    pub(crate) generation: Generation,
    pub(crate) cluster_id: Uuid,
    pub(crate) wal: Rc<Wal>,
    pub(crate) cache: ReadCache,
    pub(crate) logs: RefCell<BTreeMap<TopicPartition, Log>>,
    /// Less free space than the reserve: [`Shared::set_full`].
    full: Cell<bool>,
    /// What appends may take until the free space is looked at again.
    pub(crate) disk_room: DiskRoom,
    /// Logs with enough outstanding to be written.
    pub(crate) behind: RefCell<BTreeSet<TopicPartition>>,
    /// Logs whose log start has durably moved: segments below it may go.
    pub(crate) trim_wanted: RefCell<BTreeSet<TopicPartition>>,
    /// Logs changed since the last checkpoint, each once.
    pub(crate) changed: RefCell<Vec<TopicPartition>>,
    /// Logs dropped since the last checkpoint.
    pub(crate) dropped: RefCell<Vec<TopicPartition>>,
    /// Logs dropped before it whose runs may still be in the WAL, each with where it ended then:
    /// every full checkpoint names them until the WAL below is free. A log takes part once, so
    /// they are fewer than the runs that the WAL has room for.
    pub(crate) tombstones: RefCell<Vec<(TopicPartition, u64)>>,
    pub(crate) metadata: RefCell<Metadata>,
    pub(crate) checkpoints: RefCell<Option<CheckpointWriter>>,
    pub(crate) seals: RefCell<Vec<Seal>>,
    pub(crate) retired_below: Cell<Generation>,
    /// WAL or checkpoint files of past generations are still needed.
    pub(crate) has_past: Cell<bool>,
    /// Every shard is independent of the past: its files may go.
    pub(crate) past_removable: Cell<bool>,
    pub(crate) handoff: Arc<Handoff>,
    /// Held while a checkpoint is taken: one at a time.
    pub(crate) checkpointing: Semaphore,
    /// One for each log whose segments are written at once.
    writers: Semaphore,
    /// Held while compaction makes or writes a file.
    pub(crate) cleaning: Semaphore,
    /// What compaction has of the shard's memory at the moment.
    pub(crate) cleaner_bytes: Cell<usize>,
    /// Compaction's task, from the first log on that is compacted.
    compaction: RefCell<Option<Task<()>>>,
    pub(crate) stopping: Cell<bool>,
    pub(crate) stop: Notify,
}

impl Shared {
    /// Lets one log's segments be written, when what must be alone has ended.
    pub(crate) async fn writer(&self) -> Permit {
        self.writers.acquire(1).await
    }

    /// Waits until no segment is being written, and has none begun meanwhile.
    pub(crate) async fn no_writers(&self) -> Permit {
        self.writers.acquire(WRITERS as u64).await
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.get()
    }

    /// There is a log to be compacted.
    pub(crate) fn compacts(self: &Rc<Self>) {
        let mut task = self.compaction.borrow_mut();
        if task.is_none() && !self.stopping.get() {
            *task = Some(spawn("compaction", crate::compaction::run(Rc::clone(self))));
        }
    }

    /// Appends are refused, or taken again. Who waits for room to append learns it at once, and
    /// what was taken before does not wait for a WAL file that may not come.
    pub(crate) fn set_full(&self, full: bool) {
        self.full.set(full);
        if full {
            self.wal.let_through();
        }
    }
}

/// Shard 0's metadata, as far as checkpoints care.
#[derive(Default)]
pub(crate) struct Metadata {
    pub(crate) snapshot: Option<Rc<dyn Fn() -> Bytes>>,
    /// The last snapshot of this generation covers the entries below this number.
    pub(crate) covered: Option<u64>,
}

/// How much the write-ahead log needs its files freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// There is room.
    Low,
    /// Three quarters of what appends may take is in use, or they wait for a file already.
    High,
    /// The shard stops: what is left is to be written soon.
    Stopping,
}

/// One shard's storage. Cloning gives another handle.
#[derive(Clone)]
pub struct Storage {
    shared: Rc<Shared>,
    tasks: Rc<RefCell<Vec<Task<()>>>>,
}

impl Storage {
    /// Phase two of a start, on every shard: takes the shard's seed and begins its WAL.
    ///
    /// # Errors
    /// Failed I/O.
    pub async fn start(seed: ShardSeed, config: &StorageConfig) -> Result<Self, StorageError> {
        let ShardSeed {
            generation,
            cluster_id,
            shard,
            ..
        } = seed;
        let (stream, metadata_next) = (seed.stream, seed.metadata_next);
        let wal = Wal::start(config, cluster_id, generation, shard, stream, metadata_next).await?;
        // Before anything is served: an empty WAL directory is a new one up to here only.
        if let Some(root) = seed.mark {
            root.store(&config.data_dir).await?;
        }
        seed.handoff.started();
        let checkpoints = CheckpointWriter::new(&config.data_dir, cluster_id, generation, shard);
        let shared = Rc::new(Shared {
            config: config.clone(),
            generation,
            cluster_id,
            wal,
            cache: ReadCache::new(config.read_cache_bytes()),
            logs: RefCell::default(),
            full: Cell::new(false),
            disk_room: DiskRoom::new(seed.handoff.shards()),
            behind: RefCell::default(),
            trim_wanted: RefCell::default(),
            changed: RefCell::default(),
            dropped: RefCell::default(),
            tombstones: RefCell::default(),
            metadata: RefCell::default(),
            checkpoints: RefCell::new(Some(checkpoints)),
            seals: RefCell::new(seed.seals),
            retired_below: Cell::new(Generation(0)),
            has_past: Cell::new(seed.has_past),
            past_removable: Cell::new(false),
            handoff: seed.handoff,
            checkpointing: Semaphore::new(1),
            writers: Semaphore::new(WRITERS as u64),
            cleaning: Semaphore::new(1),
            cleaner_bytes: Cell::new(0),
            compaction: RefCell::default(),
            stopping: Cell::new(false),
            stop: Notify::new(),
        });
        let old: Vec<_> = seed
            .old_files
            .iter()
            .map(|file| WalFile::old(&config.wal_path(), file.name, file.bytes, file.start_lsn))
            .collect();
        for (tp, log) in seed.logs {
            let log = Log::new(tp, Rc::downgrade(&shared), found(log, &old));
            log.mark_changed();
            if log.log_start() > 0 {
                shared.trim_wanted.borrow_mut().insert(tp);
            }
            shared.logs.borrow_mut().insert(tp, log);
        }
        let storage = Self {
            shared: Rc::clone(&shared),
            tasks: Rc::default(),
        };
        storage.spawn_tasks(seed.remove);
        Ok(storage)
    }

    fn spawn_tasks(&self, remove: Vec<std::path::PathBuf>) {
        let shared = || Rc::clone(&self.shared);
        let mut tasks = self.tasks.borrow_mut();
        tasks.push(spawn("write-behind", crate::write_behind::run(shared())));
        tasks.push(spawn("retention", crate::background::retain(shared())));
        tasks.push(spawn("disk-watch", crate::background::watch_disk(shared())));
        if !remove.is_empty() {
            spawn(
                "remove-unknown",
                crate::background::remove_directories(remove),
            )
            .detach();
        }
    }

    /// The log of a partition, recovered or new. A new one costs nothing on the disk until its
    /// segment is first written.
    ///
    /// # Errors
    /// [`StorageError::ShuttingDown`].
    pub fn open_log(
        &self,
        tp: TopicPartition,
        config: LogConfig,
        leader_epoch: i32,
    ) -> Result<Log, StorageError> {
        if self.shared.stopping.get() {
            return Err(StorageError::ShuttingDown);
        }
        let weak: Weak<Shared> = Rc::downgrade(&self.shared);
        let log = self
            .shared
            .logs
            .borrow_mut()
            .entry(tp)
            .or_insert_with(|| Log::new(tp, weak, Found::default()))
            .clone();
        log.open(config, leader_epoch);
        Ok(log)
    }

    /// The partitions of this shard that the start found a log of.
    #[must_use]
    pub fn recovered_logs(&self) -> Vec<TopicPartition> {
        self.shared.logs.borrow().keys().copied().collect()
    }

    /// Stops a log and removes its files in the background. Call it once the deletion is durable
    /// in the metadata. Appends and reads that come later fail; when this returns nothing of the
    /// log is being written any more.
    pub async fn drop_log(&self, tp: TopicPartition) {
        let Some(log) = self.shared.logs.borrow_mut().remove(&tp) else {
            return;
        };
        log.set_dropped();
        self.shared.dropped.borrow_mut().push(tp);
        log.observe();
        let writing = self.shared.no_writers().await;
        drop(writing);
        let cleaning = self.shared.cleaning.acquire(1).await;
        drop(cleaning);
        self.shared.cache.forget(tp, None);
        let path = tp.directory(&self.shared.config.data_dir);
        spawn(
            "remove-log",
            crate::background::remove_directories(vec![path]),
        )
        .detach();
    }

    /// Appends an entry of the cluster's metadata. Shard 0 only.
    #[must_use]
    pub fn append_metadata(&self, entry: Bytes) -> Ticket {
        assert_eq!(self.shared.wal.shard, 0, "metadata lives on shard 0");
        self.shared.wal.push_metadata(entry)
    }

    /// Gives the function that checkpoints call for the metadata as of all entries appended.
    /// Until it is given, no WAL file with metadata in it is freed.
    pub fn set_metadata_snapshot(&self, snapshot: Rc<dyn Fn() -> Bytes>) {
        self.shared.metadata.borrow_mut().snapshot = Some(snapshot);
        self.shared.wal.behind.notify_one();
    }

    /// Waits until the commit and all before it are written: what `acks=1` waits for.
    ///
    /// # Errors
    /// Only when the shard goes down.
    pub async fn written(&self, ticket: Ticket) -> Result<(), StorageError> {
        self.shared.wal.written(ticket).await
    }

    /// Waits until the commit and all before it are durable. What was write-cached is synced now.
    ///
    /// # Errors
    /// Only when the shard goes down.
    pub async fn durable(&self, ticket: Ticket) -> Result<(), StorageError> {
        self.shared.wal.durable(ticket).await
    }

    /// When the commit that held the ticket was built, written and durable; of one of long ago
    /// nothing is known.
    #[must_use]
    pub fn commit_times(&self, ticket: Ticket) -> CommitTimes {
        self.shared.wal.times_of(ticket)
    }

    /// Waits until there is room for appends: the bytes that no commit has taken are below their
    /// bound. Await it before appending; it returns at once but when the WAL is full or slow. On a
    /// full disk it does not wait: appends are refused.
    pub async fn room(&self) {
        self.shared.wal.has_room(|| self.shared.is_full()).await;
    }

    /// How often [`Self::room`] had to wait.
    #[must_use]
    pub fn room_waits(&self) -> u64 {
        self.shared.wal.room_waits()
    }

    /// Less free space than the reserve: appends are refused, reads and deletions go on.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    /// Takes a checkpoint now. `false`: appends wait for a WAL file to be freed, which comes first.
    ///
    /// # Errors
    /// Failed I/O, or the shard going down.
    pub async fn checkpoint_now(&self) -> Result<bool, StorageError> {
        crate::write_behind::checkpoint(&self.shared, None, false).await
    }

    /// Makes everything durable, writes the segments' tails exactly as far as time allows, takes a
    /// checkpoint and ends the WAL. Bounded: about a second at worst. Appends fail from its begin.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        if shared.stopping.replace(true) {
            return;
        }
        shared.stop.notify_all();
        shared.wal.behind.notify_all();
        let mut tasks: VecDeque<_> = self.tasks.borrow_mut().drain(..).collect();
        tasks.extend(shared.compaction.borrow_mut().take());
        for task in tasks {
            // What does not end by itself is cancelled: it leaves nothing half said.
            drop(timeout(SHUTDOWN_STEP, task).await);
        }
        drop(timeout(SHUTDOWN_STEP, shared.wal.drain()).await);
        let _ = timeout(SHUTDOWN_TAILS, self.write_tails()).await;
        let checkpoint = crate::write_behind::checkpoint(shared, None, false);
        if let Ok(Err(error)) = timeout(SHUTDOWN_STEP, Box::pin(checkpoint)).await {
            tracing::warn!(%error, "no checkpoint at shutdown: the next start replays more");
        }
        let _ = timeout(SHUTDOWN_STEP, shared.wal.shutdown()).await;
        shared.cache.clear();
    }

    /// Closes active segments and writes them to their exact length.
    async fn write_tails(&self) {
        let until = now() + SHUTDOWN_TAILS;
        let logs: Vec<_> = self.shared.logs.borrow().values().cloned().collect();
        for log in logs.into_iter().filter(|log| log.outstanding() > 0) {
            if now() >= until {
                break;
            }
            log.close_active();
            if let Err(error) = crate::segment::writer::write_behind(&self.shared, &log).await {
                tracing::warn!(%error, "a segment's tail stays in the WAL");
                break;
            }
        }
    }

    /// Has the tail cache do without so many bytes of its share, which others hold; never without
    /// more than half of it.
    pub fn lend(&self, bytes: usize) {
        self.shared.wal.lend_tail_cache(bytes);
    }

    /// Bytes in the tail cache, the read cache and compaction's map.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.shared.wal.cached_bytes()
            + self.shared.cache.held_bytes()
            + self.shared.cleaner_bytes.get()
    }

    /// The most of these: the shard's memory, and commits that the disk has not taken yet.
    #[must_use]
    pub fn cached_bytes_max(&self) -> usize {
        self.shared.config.memory_bytes + self.shared.wal.unwritten_bytes_max()
    }

    /// Appended bytes that no commit has taken yet.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.shared.wal.pending_bytes()
    }

    /// Where [`Self::room`] begins to wait; who was let in before may go beyond it once.
    #[must_use]
    pub fn pending_bytes_max(&self) -> usize {
        self.shared.wal.pending_bytes_max
    }

    /// How much its log needs the background to go on.
    pub fn pressure(&self) -> Pressure {
        let wal = &self.shared.wal;
        if self.shared.stopping.get() {
            Pressure::Stopping
        } else if wal.is_starved() || wal.used_percent() >= crate::write_behind::HURRY_FROM_PERCENT
        {
            Pressure::High
        } else {
            Pressure::Low
        }
    }

    /// Asserts what must hold of the shard's storage at any time.
    pub fn check_invariants(&self) {
        self.shared.wal.check_invariants();
        for log in self.shared.logs.borrow().values() {
            log.check_invariants();
        }
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage")
            .field("wal", &self.shared.wal)
            .field("has_past", &self.shared.has_past.get())
            .field("behind", &self.shared.behind.borrow().len())
            .finish()
    }
}

/// A recovered log with its runs' places in files of the past.
fn found(seed: SeedLog, old: &[Rc<WalFile>]) -> Found {
    let runs = seed.runs.into_iter().map(|run| Run {
        span: run.span,
        len: run.len,
        place: Place {
            file: Rc::clone(&old[run.file]),
            position: run.position,
        },
        lsn: u64::MAX,
        mem: None,
        in_segment: false,
    });
    Found {
        log_start: seed.log_start,
        end: seed.end,
        segments: seed.segments.iter().map(segment).collect(),
        runs: runs.collect(),
        epochs: seed.epochs,
        producers: seed.producers,
        damage: seed.damage,
        cleaned_upto: seed.cleaned_upto,
        has_gaps: seed.has_gaps,
    }
}

fn segment(record: &SegmentRecord) -> Segment {
    let mut segment = Segment::new(record.base, record.created_ms);
    segment.version = record.version;
    segment.len = record.len;
    segment.max_timestamp = record.max_timestamp;
    segment.closed = record.closed;
    segment.durable_len = record.durable_len;
    if segment.is_complete() {
        segment.index = None;
    }
    segment
}

/// Free space of the data directory's file system and of the WAL's, the smaller.
pub(crate) async fn free_bytes(config: &StorageConfig) -> Option<u64> {
    let data = dir::free_bytes(&config.data_dir).await.ok()?.0;
    let wal = match &config.wal_dir {
        Some(wal_dir) => dir::free_bytes(wal_dir).await.ok()?.0,
        None => data,
    };
    Some(data.min(wal))
}
