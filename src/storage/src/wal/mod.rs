//! The write-ahead log of a shard: one for all its partitions.
//!
//! Owns the order of appends, the commits and how far they have come, the ring of files and the
//! tail cache (whose memory is that of the commits). Knows a log as somebody to be told: where a
//! run lies, that an end has moved. Segments and checkpoints are not its business.
//!
//! The way of a byte: [`gather`] holds it in its request's frame, [`commit`] copies it once into
//! the commit, [`flusher`] writes and syncs, [`progress`] moves the ends.

mod cache;
pub(crate) mod commit;
pub(crate) mod file;
mod flusher;
pub(crate) mod format;
pub(crate) mod gather;
mod keeper;
mod progress;
pub(crate) mod reader;
pub(crate) mod ring;
mod times;
pub(crate) mod witness;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::sync::Notify;
use tailwater_shards::{Instant, now};
use uuid::Uuid;

use self::cache::TailCache;
use self::file::{WalFile, WalName};
use self::gather::{CarryItem, Gather, Item};
use self::progress::Progress;
use self::ring::Ring;
pub use self::times::CommitTimes;
use self::times::Times;
use self::witness::Witness;
use crate::config::StorageConfig;
use crate::error::StorageError;
use crate::ids::Generation;

/// The number of a commit: what an append waits for. Tickets of one shard are ordered as its
/// appends are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// Where the stream of a WAL stands before its first commit of this process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StreamStart {
    pub(crate) next_seq: u64,
    pub(crate) next_lsn: u64,
    /// The commit before, if there is one.
    pub(crate) before: Option<(u64, u32)>,
    pub(crate) durable_lsn: u64,
}

/// A shard's WAL.
pub(crate) struct Wal {
    pub(crate) generation: Generation,
    pub(crate) shard: u16,
    cluster_id: Uuid,
    dir: PathBuf,
    commit_bytes_max: usize,
    commits_in_flight_max: usize,
    pub(crate) pending_bytes_max: usize,
    idle_cover: Duration,
    witness_interval: Duration,
    body_bytes_max: usize,
    gather: RefCell<Gather>,
    progress: RefCell<Progress>,
    times: Times,
    ring: RefCell<Ring>,
    tail_cache: RefCell<TailCache>,
    witness: Witness,
    chain: Cell<ChainState>,
    /// The number of the checkpoint that counts, which every commit names: so a start can tell a
    /// checkpoint that was torn when it was written from one that has rotted since.
    checkpoint: Cell<u64>,
    in_flight: Cell<usize>,
    /// Carries and lists take turns when both wait.
    carried_last: Cell<bool>,
    cached_due: Cell<Option<Instant>>,
    metadata_next: Cell<u64>,
    /// A checkpoint waits for what was appended up to this ticket.
    drain_upto: Cell<u64>,
    /// Up to this ticket nothing waits for a new file on a disk that has no room for one:
    /// metadata and log starts, since they delete, and what came before them.
    through_upto: Cell<u64>,
    /// What was gathered finds no place in the ring.
    starved: Cell<bool>,
    stopping: Cell<bool>,
    stopped: Cell<bool>,
    room_waits: Cell<u64>,
    /// For the flusher: something was gathered, a slot or a file is free, or it shall stop.
    work: Notify,
    /// For the ring's keeper.
    keep: Notify,
    /// For those who wait for room.
    room: Notify,
    /// For the timer of write-cached bytes.
    cached: Notify,
    /// For write-behind: a file is full, or runs have become durable.
    pub(crate) behind: Notify,
    /// For shutdown: the flusher has ended.
    ended: Notify,
    /// For those who must not wait for a file to be freed.
    starving: Notify,
}

#[derive(Debug, Clone, Copy)]
struct ChainState {
    before: Option<(u64, u32)>,
    /// The end of the last commit that somebody may wait for.
    last_end_lsn: u64,
    /// The `durable_lsn` of the last commit built.
    told_durable_lsn: u64,
    told_checkpoint: u64,
    last_completes: u64,
}

impl Wal {
    /// Makes the first file of this start on this shard and begins its stream.
    pub(crate) async fn start(
        config: &StorageConfig,
        cluster_id: Uuid,
        generation: Generation,
        shard: u16,
        start: StreamStart,
        metadata_next: u64,
    ) -> Result<Rc<Self>, StorageError> {
        let dir = config.wal_path();
        let name = WalName {
            generation,
            shard,
            seq: start.next_seq,
        };
        let key = (generation, shard);
        let witness = Witness::new(&dir, cluster_id, key, start.durable_lsn);
        let first = first_file(config, cluster_id, name, start.next_lsn).await?;
        let ring = Ring::new(config, first);
        let body_bytes_max = config.batch_bytes_max();
        let wal = Rc::new(Self {
            generation,
            shard,
            cluster_id,
            dir,
            commit_bytes_max: config.commit_bytes_max.min(body_bytes_max),
            commits_in_flight_max: config.commits_in_flight_max.max(1),
            // What waits has to fit the file that is kept for draining it.
            pending_bytes_max: config
                .pending_bytes_max
                .min(body_bytes_max / file::usize_of(ring::FREEING_PART))
                .max(1),
            idle_cover: Duration::from_millis(config.idle_cover_ms),
            witness_interval: Duration::from_millis(config.witness_interval_ms),
            body_bytes_max,
            gather: RefCell::default(),
            progress: RefCell::new(Progress::from_lsn(start.durable_lsn)),
            times: Times::default(),
            ring: RefCell::new(ring),
            tail_cache: RefCell::new(TailCache::new(config.tail_cache_bytes())),
            witness,
            chain: Cell::new(ChainState {
                before: start.before,
                last_end_lsn: start.durable_lsn,
                told_durable_lsn: 0,
                told_checkpoint: 0,
                last_completes: 0,
            }),
            checkpoint: Cell::new(0),
            in_flight: Cell::new(0),
            carried_last: Cell::new(false),
            cached_due: Cell::new(None),
            metadata_next: Cell::new(metadata_next),
            drain_upto: Cell::new(0),
            through_upto: Cell::new(0),
            starved: Cell::new(false),
            stopping: Cell::new(false),
            stopped: Cell::new(false),
            room_waits: Cell::new(0),
            work: Notify::new(),
            keep: Notify::new(),
            room: Notify::new(),
            cached: Notify::new(),
            behind: Notify::new(),
            ended: Notify::new(),
            starving: Notify::new(),
        });
        wal.spawn_tasks();
        Ok(wal)
    }

    /// The largest batch that an append may bring.
    pub(crate) fn body_bytes_max(&self) -> usize {
        self.body_bytes_max
    }

    /// Fixes an item's place in the order. `cached` gives the time that the item may stay
    /// unsynced; without one, its commit is synced at once.
    pub(crate) fn push(&self, item: Item, cached: Option<Duration>) -> Ticket {
        let urgent = cached.is_none();
        let may_delete = matches!(item, Item::Metadata { .. } | Item::LogStart { .. });
        let seq = self
            .gather
            .borrow_mut()
            .push(item, urgent, self.commit_bytes_max);
        if let Some(delay) = cached
            && !planted::is(Planted::CachedNeverFlushed)
        {
            let due = now() + delay;
            if self.cached_due.get().is_none_or(|earlier| due < earlier) {
                self.cached_due.set(Some(due));
                self.cached.notify_one();
            }
        }
        if may_delete {
            self.through_upto.set(seq);
        }
        self.work.notify_one();
        Ticket(seq)
    }

    pub(crate) fn push_metadata(&self, body: Bytes) -> Ticket {
        let number = self.metadata_next.get();
        self.metadata_next.set(number + 1);
        self.push(Item::Metadata { number, body }, None)
    }

    /// The number that the next metadata entry will have.
    pub(crate) fn metadata_next(&self) -> u64 {
        self.metadata_next.get()
    }

    pub(crate) fn push_carries(&self, items: Vec<CarryItem>) {
        let mut gather = self.gather.borrow_mut();
        items.into_iter().for_each(|item| gather.push_carry(item));
        drop(gather);
        self.work.notify_one();
    }

    /// The ticket of everything appended so far.
    pub(crate) fn last_ticket(&self) -> Ticket {
        Ticket(self.gather.borrow().last_seq())
    }

    /// Where the last commit built ends.
    pub(crate) fn end_lsn(&self) -> u64 {
        self.ring.borrow().end_lsn()
    }

    /// A checkpoint counts now: what it says of the WAL may be used.
    pub(crate) fn set_checkpoint(&self, number: u64) {
        self.checkpoint.set(number);
        self.work.notify_one();
    }

    /// Everything that begins below is durable.
    pub(crate) fn durable_lsn(&self) -> u64 {
        self.progress.borrow().durable_lsn
    }

    /// Until the commit and all before it are written.
    pub(crate) async fn written(&self, ticket: Ticket) -> Result<(), StorageError> {
        self.wait(ticket, false).await
    }

    /// Until the commit and all before it are durable. What was write-cached is synced for it.
    pub(crate) async fn durable(&self, ticket: Ticket) -> Result<(), StorageError> {
        self.want_durable(ticket);
        self.wait(ticket, true).await
    }

    /// When the commit that held the ticket came how far.
    pub(crate) fn times_of(&self, ticket: Ticket) -> CommitTimes {
        self.times.of(ticket.0)
    }

    async fn wait(&self, ticket: Ticket, durable: bool) -> Result<(), StorageError> {
        let mut waiting = Waiting {
            wal: self,
            ticket: ticket.0,
            durable,
            id: None,
        };
        poll_fn(|context| {
            let mut progress = self.progress.borrow_mut();
            let reached = if durable {
                progress.durable_ticket
            } else {
                progress.written_ticket
            };
            if reached >= ticket.0 {
                return Poll::Ready(Ok(()));
            }
            if self.stopped.get() {
                return Poll::Ready(Err(StorageError::ShuttingDown));
            }
            let waiters = if durable {
                &mut progress.durable_waiters
            } else {
                &mut progress.written_waiters
            };
            waiting.id = Some(waiters.register(ticket.0, waiting.id, context.waker()));
            Poll::Pending
        })
        .await
    }

    /// Waits until what no commit has taken is below its bound, or appends are refused anyway.
    /// Counts how often it had to.
    pub(crate) async fn has_room(&self, refused: impl Fn() -> bool) {
        let is_full = || self.gather.borrow().bytes() >= self.pending_bytes_max && !refused();
        if !is_full() {
            return;
        }
        self.room_waits.set(self.room_waits.get() + 1);
        loop {
            let freed = self.room.notified();
            if !is_full() || self.stopped.get() {
                return;
            }
            freed.await;
        }
    }

    pub(crate) fn room_waits(&self) -> u64 {
        self.room_waits.get()
    }

    /// The usual size of a WAL file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.ring.borrow().file_bytes
    }

    /// Whether freeing has the files that appends leave for it.
    pub(crate) fn has_reserve(&self) -> bool {
        self.ring.borrow().spare() >= ring::KEEP_FOR_FREEING
    }

    pub(crate) fn used_percent(&self) -> u64 {
        self.ring.borrow().used_percent()
    }

    pub(crate) fn oldest_file(&self) -> Option<Rc<WalFile>> {
        self.ring.borrow().oldest()
    }

    pub(crate) fn replay_lsn(&self) -> u64 {
        self.ring.borrow().replay_lsn()
    }

    pub(crate) fn replay_lsn_without_oldest(&self) -> u64 {
        self.ring.borrow().replay_lsn_without_oldest()
    }

    /// The oldest file's content is elsewhere, durably, and a durable checkpoint says so.
    pub(crate) fn free_oldest(&self) {
        self.ring.borrow_mut().free_oldest();
        self.keep.notify_one();
        self.work.notify_one();
    }

    /// Appends are refused from now on, and those taken before may use what is kept for deletions.
    pub(crate) fn let_through(&self) {
        self.through_upto.set(self.last_ticket().0);
        self.room.notify_all();
        self.work.notify_one();
    }

    /// Makes everything appended so far durable, for a checkpoint: it may take space of the ring
    /// that appends may not.
    pub(crate) async fn drain(&self) -> Result<(), StorageError> {
        let ticket = self.last_ticket();
        self.drain_upto.set(self.drain_upto.get().max(ticket.0));
        self.work.notify_one();
        self.durable(ticket).await
    }

    /// Waits until everything appended so far is durable; `false` if appends wait for a file to
    /// be freed before that: then only whoever frees one can go on.
    pub(crate) async fn durable_unless_starved(&self) -> Result<bool, StorageError> {
        let mut durable = std::pin::pin!(self.durable(self.last_ticket()));
        loop {
            let starving = self.starving.notified();
            if self.starved.get() {
                return Ok(false);
            }
            let starving = std::pin::pin!(starving);
            match futures_util::future::select(durable.as_mut(), starving).await {
                futures_util::future::Either::Left((result, _)) => return result.map(|()| true),
                futures_util::future::Either::Right(_) => {}
            }
        }
    }

    /// Whether appends wait for a file to be freed.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.get()
    }

    /// Whether all commits in the file are durable. If not, what was write-cached is synced now.
    pub(crate) fn settle(&self, file: &Rc<WalFile>) -> bool {
        let settled = self.progress.borrow().is_settled_in(file);
        if !settled {
            self.sync_everything();
        }
        settled
    }

    /// The disk's reserve allows or forbids new files.
    pub(crate) fn set_growth_stopped(&self, stopped: bool) {
        self.ring.borrow_mut().set_growth_stopped(stopped);
        self.keep.notify_one();
        self.work.notify_one();
    }

    /// Takes what waits, makes it durable and ends. Nothing may be appended any more.
    pub(crate) async fn shutdown(&self) {
        self.stopping.set(true);
        self.gather.borrow_mut().make_urgent(u64::MAX);
        self.work.notify_one();
        self.sync_everything();
        while !self.stopped.get() {
            let ended = self.ended.notified();
            if self.stopped.get() {
                break;
            }
            ended.await;
        }
        self.keep.notify_one();
        self.cached.notify_one();
        self.behind.notify_all();
        let files: Vec<_> = self.ring.borrow().files().cloned().collect();
        for file in files {
            file.close().await;
        }
        self.witness.close().await;
        self.tail_cache.borrow_mut().clear();
        self.gather.borrow_mut().clear();
        let wakers = self.progress.borrow_mut().clear();
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// How much of the tail cache's share others have now.
    pub(crate) fn lend_tail_cache(&self, bytes: usize) {
        // It shrinks with the next commit, which is what makes it grow.
        self.tail_cache.borrow_mut().lend(bytes);
    }

    /// What the commits whose records are kept take of memory.
    pub(crate) fn cached_bytes(&self) -> usize {
        self.tail_cache.borrow().bytes()
    }

    /// Bytes that no commit has taken.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.gather.borrow().bytes()
    }

    /// When the commits behind one that takes long hold this much, no other follows them.
    pub(crate) fn ahead_bytes_max(&self) -> usize {
        2 * self.commits_in_flight_max * self.commit_bytes_max
    }

    /// The most that commits cost the tail cache which are not written: the last one may take a
    /// whole file.
    pub(crate) fn unwritten_bytes_max(&self) -> usize {
        let last = file::usize_of(self.ring.borrow().file_bytes);
        cache::cost_max(self.ahead_bytes_max()) + cache::cost_of_one(last)
    }

    pub(crate) fn check_invariants(&self) {
        self.progress.borrow().check_invariants();
        self.ring.borrow().check_invariants();
        self.tail_cache.borrow().check_invariants();
        assert!(self.in_flight.get() <= self.commits_in_flight_max);
    }
}

/// On a disk without room the first file may be as small as this: commits of deletions fit.
const FIRST_FILE_BYTES_MIN: u64 = 64 << 10;

/// The first file of a start, as large as it should be or as the disk has room for: on a full disk
/// nothing is appended, but what is there is read and deleted.
async fn first_file(
    config: &StorageConfig,
    cluster_id: Uuid,
    name: WalName,
    start_lsn: u64,
) -> Result<Rc<WalFile>, StorageError> {
    let dir = config.wal_path();
    let mut bytes = config.wal_first_bytes();
    loop {
        match WalFile::create(&dir, name, cluster_id, bytes, start_lsn).await {
            Err(error) if error.is_no_space() && bytes > FIRST_FILE_BYTES_MIN => {
                tracing::warn!(%error, bytes, "no room for the first WAL file: it is made smaller");
                bytes = (bytes / 2).next_multiple_of(crate::config::BLOCK);
                bytes = bytes.max(FIRST_FILE_BYTES_MIN);
            }
            made => return made,
        }
    }
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("ring", &self.ring.borrow())
            .field("gathered_bytes", &self.gather.borrow().bytes())
            .field("last_ticket", &self.last_ticket())
            .field("progress", &self.progress.borrow())
            .field("in_flight", &self.in_flight.get())
            .field("drain_upto", &self.drain_upto.get())
            .field("starved", &self.starved.get())
            .field("cached_due", &self.cached_due.get())
            .finish()
    }
}

/// Takes the waker back when the waiting future is dropped.
struct Waiting<'a> {
    wal: &'a Wal,
    ticket: u64,
    durable: bool,
    id: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let mut progress = self.wal.progress.borrow_mut();
            if self.durable {
                progress.durable_waiters.forget(self.ticket, id);
            } else {
                progress.written_waiters.forget(self.ticket, id);
            }
        }
    }
}
