//! The task that frees the WAL: writes large outstanding parts of logs to their segments, carries
//! the small ones to the WAL's head, takes checkpoints, and so gives files back to the ring.
//!
//! One task a shard, one thing at a time, but for the segments of different logs, of which four are
//! written at once. A failed write or sync ends the process, as in the WAL.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{dir, fatal, yield_now};

use crate::checkpoint::format::Group;
use crate::checkpoint::reader;
use crate::error::StorageError;
use crate::ids::{Generation, TopicPartition};
use crate::log::{Log, PartitionRecord, Run};
use crate::segment::writer::{remove_segment, run_bytes, write_behind};
use crate::storage::Shared;
use crate::wal::file::{WalFile, WalName};
use crate::wal::format::ENTRY_HEADER_BYTES;
use crate::wal::gather::{CarryGroup, CarryItem, Span};
use crate::wal::ring::FREEING_PART;
use crate::wal::witness;

/// From this part of what appends may take of the WAL on, files are freed.
const FREE_FROM_PERCENT: u64 = 50;
/// From here on, without letting others run in between.
pub(crate) const HURRY_FROM_PERCENT: u64 = 75;
/// The most that carried runs are joined to.
const CARRY_BYTES_MAX: u64 = 64 << 10;
/// How much is handed to the WAL for carrying before it is waited for: it is memory.
const CARRY_ROUND_BYTES: u64 = 4 << 20;

/// How many logs are written at once: one waits for its sync while others copy and write.
pub(crate) const WRITERS: usize = 4;

/// How long the disk is left alone when it had no room.
const NO_SPACE_PAUSE: Duration = Duration::from_millis(500);

/// Runs until the shard stops. On a disk without room it waits for some: what it has to write is
/// in the WAL, which frees nothing meanwhile, and appends are refused.
pub(crate) async fn run(shared: Rc<Shared>) {
    loop {
        match work(&shared).await {
            Ok(()) | Err(StorageError::ShuttingDown) => return,
            Err(error) if error.is_no_space() => {
                if !shared.is_full() {
                    tracing::warn!(%error, "no room for what the WAL holds");
                }
                shared.set_full(true);
                if !crate::background::pause(&shared, NO_SPACE_PAUSE).await {
                    return;
                }
            }
            Err(error) => fatal(&format!("write-behind cannot go on: {error}")),
        }
    }
}

async fn work(shared: &Rc<Shared>) -> Result<(), StorageError> {
    while !shared.stopping.get() {
        let rung = shared.wal.behind.notified();
        trim(shared).await?;
        if shared.has_past.get() {
            Box::pin(retire_past(shared)).await?;
        }
        if shared.past_removable.get() {
            Box::pin(remove_past(shared)).await?;
        }
        write_large(shared).await?;
        let mut freed = false;
        if (shared.wal.used_percent() >= FREE_FROM_PERCENT || shared.wal.is_starved())
            && let Some(oldest) = shared.wal.oldest_file()
        {
            freed = Box::pin(free(shared, &oldest)).await?;
        }
        if freed {
            if shared.wal.used_percent() < HURRY_FROM_PERCENT {
                yield_now().await;
            }
            continue;
        }
        rung.await;
    }
    Ok(())
}

/// A log that is out of service is left alone; what else goes wrong is the disk.
fn tolerate<T: Default>(result: Result<T, StorageError>) -> Result<T, StorageError> {
    match result {
        Err(StorageError::OutOfService(damage)) => {
            tracing::error!(%damage, "left out of write-behind");
            Ok(T::default())
        }
        other => other,
    }
}

async fn write_log(shared: &Rc<Shared>, log: &Log) -> Result<u64, StorageError> {
    let _one = shared.writer().await;
    tolerate(write_behind(shared, log).await)
}

/// Writes the logs with much outstanding.
async fn write_large(shared: &Rc<Shared>) -> Result<(), StorageError> {
    let next = |busy: &BTreeSet<TopicPartition>| {
        let mut behind = shared.behind.borrow_mut();
        let next = behind.iter().find(|tp| !busy.contains(tp)).copied()?;
        behind.remove(&next);
        Some(next)
    };
    let failed = |tp| {
        shared.behind.borrow_mut().insert(tp);
    };
    write_logs(shared, next, failed).await
}

/// Writes the logs that `next` names, none of those that it is told are being written; so many at
/// once as there may be. What `failed` is told of is still to be written. The first failure is
/// returned when all that was begun has ended.
async fn write_logs(
    shared: &Rc<Shared>,
    mut next: impl FnMut(&BTreeSet<TopicPartition>) -> Option<TopicPartition>,
    failed: impl Fn(TopicPartition),
) -> Result<(), StorageError> {
    let (mut busy, mut writes) = (BTreeSet::new(), FuturesUnordered::new());
    let mut result = Ok(());
    loop {
        while result.is_ok() && !shared.stopping.get() && busy.len() < WRITERS {
            let Some(tp) = next(&busy) else { break };
            let log = shared.logs.borrow().get(&tp).cloned();
            if let Some(log) = log {
                busy.insert(tp);
                writes.push(async move { (tp, write_log(shared, &log).await) });
            }
        }
        let Some((tp, written)) = writes.next().await else {
            return result;
        };
        busy.remove(&tp);
        if let Err(error) = written {
            failed(tp);
            result = result.and(Err(error));
        }
    }
}

/// Removes the segments below log starts that have become durable.
async fn trim(shared: &Rc<Shared>) -> Result<(), StorageError> {
    let wanted = std::mem::take(&mut *shared.trim_wanted.borrow_mut());
    for tp in wanted {
        let log = shared.logs.borrow().get(&tp).cloned();
        let Some(log) = log else { continue };
        let _alone = shared.no_writers().await;
        for name in log.trim() {
            remove_segment(shared, &log, name).await?;
        }
    }
    Ok(())
}

/// Frees the oldest WAL file: nothing of it is needed once this checkpoint is durable. `false`:
/// not yet.
async fn free(shared: &Rc<Shared>, oldest: &Rc<WalFile>) -> Result<bool, StorageError> {
    if !shared.wal.settle(oldest) {
        return Ok(false);
    }
    if !covers_metadata(shared, oldest.metadata_end.get()) {
        return Ok(false);
    }
    let logs: Vec<Log> = {
        let all = shared.logs.borrow();
        oldest
            .noted()
            .iter()
            .filter_map(|tp| all.get(tp).cloned())
            .collect()
    };
    let is_oldest = |file: &WalFile| std::ptr::eq(file, Rc::as_ptr(oldest));
    Box::pin(clear(shared, &logs, false, is_oldest)).await?;
    if needs(&logs, is_oldest) {
        return Ok(false);
    }
    let replay_lsn = shared.wal.replay_lsn_without_oldest();
    Box::pin(checkpoint(shared, Some(replay_lsn), false)).await?;
    shared.wal.free_oldest();
    Ok(true)
}

/// Whether metadata entries below this number are, or can be, in a snapshot.
fn covers_metadata(shared: &Shared, end: u64) -> bool {
    let metadata = shared.metadata.borrow();
    end == 0 || metadata.snapshot.is_some() || metadata.covered.is_some_and(|had| had >= end)
}

fn needs(logs: &[Log], is_old: impl Fn(&WalFile) -> bool) -> bool {
    logs.iter()
        .any(|log| !log.is_dropped() && log.health().is_ok() && log.has_runs_in(&is_old))
}

/// Writes or carries what only these files have. Large parts are written to their segments, small
/// ones carried, but no more of these than what freeing may take of the ring: logs beyond that
/// have their segments closed and completed, or `and_no_more` leaves them for another time once
/// something was carried. So each call clears something.
async fn clear(
    shared: &Rc<Shared>,
    logs: &[Log],
    and_no_more: bool,
    is_old: impl Fn(&WalFile) -> bool,
) -> Result<(), StorageError> {
    // If freeing has eaten into its reserve, it carries only what it cannot write.
    let carry_max = match shared.wal.has_reserve() {
        true => shared.wal.file_bytes() / FREEING_PART,
        false => 0,
    };
    let mut large = logs.iter().filter(|log| {
        log.outstanding() >= shared.config.carry_below_bytes && log.has_runs_in(&is_old)
    });
    let next = |_: &BTreeSet<TopicPartition>| large.next().map(Log::topic_partition);
    write_logs(shared, next, |_| {}).await?;
    let (mut carried, mut round) = (0, Round::default());
    for log in logs {
        if shared.stopping.get() {
            return Err(StorageError::ShuttingDown);
        }
        if log.is_dropped() || log.health().is_err() || !log.has_runs_in(&is_old) {
            continue;
        }
        if carried >= carry_max {
            // Where nothing may be carried, it would be left for ever.
            if and_no_more && carried > 0 {
                break;
            }
            log.close_active();
        }
        let outstanding = log.outstanding();
        if outstanding >= shared.config.carry_below_bytes || log.has_closed_outstanding() {
            write_log(shared, log).await?;
        }
        for runs in log.runs_only_in(&is_old, CARRY_BYTES_MAX) {
            let bytes = runs.iter().map(|run| u64::from(run.len)).sum::<u64>();
            let bytes = bytes + ENTRY_HEADER_BYTES as u64;
            carried += bytes;
            round.bytes += bytes;
            let item = tolerate(carry_item(log, &runs, &round.group).await)?;
            round.items.extend(item);
        }
        if round.bytes >= CARRY_ROUND_BYTES {
            std::mem::take(&mut round).carry(shared).await;
        }
    }
    round.carry(shared).await;
    Ok(())
}

/// Runs to be carried, handed over together: one by one, as they come from the disk, each would
/// make a commit of its own, and its block many times what the ring keeps for carrying.
#[derive(Default)]
struct Round {
    group: Rc<CarryGroup>,
    items: Vec<CarryItem>,
    bytes: u64,
}

impl Round {
    async fn carry(self, shared: &Shared) {
        shared.wal.push_carries(self.items);
        self.group.finished().await;
    }
}

/// The runs as one, to be logged again.
async fn carry_item(
    log: &Log,
    runs: &[Run],
    group: &Rc<CarryGroup>,
) -> Result<Option<CarryItem>, StorageError> {
    let mut pieces = Vec::with_capacity(runs.len());
    for run in runs {
        let Some(bytes) = run_bytes(log, run).await? else {
            return Ok(None);
        };
        pieces.push(bytes);
    }
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
        return Ok(None);
    };
    let span = Span {
        end: last.span.end,
        max_timestamp: runs
            .iter()
            .map(|run| run.span.max_timestamp)
            .max()
            .unwrap_or(-1),
        ..first.span
    };
    Ok(Some(CarryItem {
        log: log.clone(),
        span,
        pieces,
        group: Rc::clone(group),
    }))
}

/// Takes a checkpoint of what has changed. With `replay_lsn`, the WAL below it is free when this
/// returns: it has to be then, for what this may take of the ring. Otherwise replay begins where
/// it did, and `false` says that no checkpoint was taken because appends wait for a free file.
pub(crate) async fn checkpoint(
    shared: &Rc<Shared>,
    replay_lsn: Option<u64>,
    retire: bool,
) -> Result<bool, StorageError> {
    let _one = shared.checkpointing.acquire(1).await;
    let taken = shared.checkpoints.borrow_mut().take();
    // It is gone only when shutdown has cancelled a checkpoint half way: the WAL has it all.
    let Some(mut writer) = taken else {
        return Err(StorageError::ShuttingDown);
    };
    let result = write_checkpoint(shared, &mut writer, replay_lsn, retire).await;
    *shared.checkpoints.borrow_mut() = Some(writer);
    result
}

async fn write_checkpoint(
    shared: &Rc<Shared>,
    writer: &mut crate::checkpoint::writer::CheckpointWriter,
    replay_lsn: Option<u64>,
    retire: bool,
) -> Result<bool, StorageError> {
    if replay_lsn.is_none() && !shared.wal.durable_unless_starved().await? {
        return Ok(false);
    }
    let full = writer.needs_full();
    let changed = std::mem::take(&mut *shared.changed.borrow_mut());
    let dropped = std::mem::take(&mut *shared.dropped.borrow_mut());
    let mut group = Group {
        partitions: dropped
            .iter()
            .map(|tp| PartitionRecord::dropped(*tp))
            .collect(),
        ..Group::default()
    };
    {
        let logs = shared.logs.borrow();
        for log in changed.iter().filter_map(|tp| logs.get(tp)) {
            log.clear_changed();
        }
        let named: Vec<&Log> = if full {
            logs.values().collect()
        } else {
            changed.iter().filter_map(|tp| logs.get(tp)).collect()
        };
        group.partitions.extend(named.into_iter().map(Log::record));
    }
    if full {
        let buried = shared.tombstones.borrow();
        let buried = buried.iter().map(|(tp, _)| PartitionRecord::dropped(*tp));
        group.partitions.extend(buried);
    }
    let metadata_upto = take_metadata(shared, &mut group, full);
    // What the records and the snapshots speak of has to be durable before they count.
    let durable = match replay_lsn {
        Some(_) => shared.wal.drain().await.map(|()| true)?,
        None => shared.wal.durable_unless_starved().await?,
    };
    if !durable {
        still_changed(shared, &changed, dropped);
        return Ok(false);
    }
    let wal_end = shared.wal.end_lsn();
    group.replay_lsn = replay_lsn.unwrap_or_else(|| shared.wal.replay_lsn());
    group.durable_lsn = shared.wal.durable_lsn();
    group.retired_below = if retire {
        shared.generation
    } else {
        shared.retired_below.get()
    };
    if shared.wal.shard == 0 && !retire {
        group.seals.clone_from(&shared.seals.borrow());
    }
    if let Err(error) = writer.write(&group, full).await {
        still_changed(shared, &changed, dropped);
        return Err(error);
    }
    bury(shared, dropped, &group, wal_end);
    shared.wal.set_checkpoint(writer.number());
    shared.retired_below.set(group.retired_below);
    if let Some(upto) = metadata_upto {
        shared.metadata.borrow_mut().covered = Some(upto);
    }
    Ok(true)
}

/// Remembers the logs dropped as long as their runs may be read again, and forgets the others.
fn bury(shared: &Shared, dropped: Vec<TopicPartition>, group: &Group, wal_end: u64) {
    let mut tombstones = shared.tombstones.borrow_mut();
    tombstones.extend(dropped.into_iter().map(|tp| (tp, wal_end)));
    let has_past = shared.has_past.get();
    tombstones.retain(|(_, end)| has_past || *end > group.replay_lsn);
}

/// The checkpoint that was to say so was not taken: the next one has to.
fn still_changed(shared: &Shared, changed: &[TopicPartition], dropped: Vec<TopicPartition>) {
    let logs = shared.logs.borrow();
    let known = changed.iter().filter_map(|tp| logs.get(tp));
    known.for_each(Log::mark_changed);
    shared.dropped.borrow_mut().extend(dropped);
}

/// Puts a metadata snapshot into the group if there is something new to say.
fn take_metadata(shared: &Shared, group: &mut Group, full: bool) -> Option<u64> {
    let (snapshot, covered) = {
        let metadata = shared.metadata.borrow();
        (metadata.snapshot.clone()?, metadata.covered)
    };
    let upto = shared.wal.metadata_next() + u64::from(planted::is(Planted::SnapshotSkipsMetadata));
    if !full && covered == Some(upto) {
        return None;
    }
    group.metadata = Some((upto, snapshot()));
    Some(upto)
}

/// Makes this shard independent of past generations' files, and with the last shard removes them.
async fn retire_past(shared: &Rc<Shared>) -> Result<(), StorageError> {
    if shared.wal.shard == 0 && shared.metadata.borrow().snapshot.is_none() {
        // The metadata is in the past's WAL until a snapshot can be taken.
        return Ok(());
    }
    let current = shared.generation;
    let is_old = |file: &WalFile| file.name.generation < current;
    let logs: Vec<Log> = shared.logs.borrow().values().cloned().collect();
    if shared.wal.is_starved() || shared.wal.used_percent() >= FREE_FROM_PERCENT {
        // Carrying takes room: some is made first.
        return Ok(());
    }
    Box::pin(clear(shared, &logs, true, is_old)).await?;
    if needs(&logs, is_old) {
        shared.wal.behind.notify_one();
        return Ok(());
    }
    if !Box::pin(checkpoint(shared, None, false)).await? {
        return Ok(());
    }
    shared.has_past.set(false);
    shared.handoff.retired();
    if shared.wal.shard == 0 {
        let shared = Rc::clone(shared);
        tailwater_shards::spawn("retire-past", async move {
            shared.handoff.all_retired.triggered().await;
            shared.past_removable.set(true);
            shared.wal.behind.notify_one();
        })
        .detach();
    }
    Ok(())
}

/// First a durable checkpoint says that nothing below this generation is needed; then the files
/// go, in any order.
async fn remove_past(shared: &Rc<Shared>) -> Result<(), StorageError> {
    if !Box::pin(checkpoint(shared, None, true)).await? {
        return Ok(());
    }
    shared.past_removable.set(false);
    shared.seals.borrow_mut().clear();
    let wal_dir = shared.config.wal_path();
    let entries = dir::list(&wal_dir)
        .await
        .map_err(StorageError::io("cannot list", &wal_dir))?;
    let mut old: Vec<_> = entries
        .iter()
        .filter(|entry| {
            let file = WalName::parse(&entry.name).map(|name| name.generation);
            let generation = file.or_else(|| Some(witness::parse_name(&entry.name)?.0));
            generation.is_some_and(|generation| generation < shared.generation)
        })
        .map(|entry| wal_dir.join(&entry.name))
        .collect();
    let is_past = |generation: &Generation| *generation < shared.generation;
    for ((generation, _), paths) in reader::list(&shared.config.data_dir).await? {
        if is_past(&generation) {
            old.extend(paths);
        }
    }
    for path in old {
        dir::remove_file(&path)
            .await
            .map_err(StorageError::io("cannot remove", &path))?;
    }
    Ok(())
}
