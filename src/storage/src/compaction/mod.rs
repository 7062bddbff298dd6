//! Compaction: for logs with `cleanup.policy=compact`, all but the newest record of each key goes.
//!
//! One task a shard, one log at a time, in the maintenance class. It reads segments that are closed
//! and complete, makes new files of them under names of their own, and puts those in their place in
//! one synchronous step ([`Log::replace`]); a checkpoint then says so durably, and only after it, and
//! when nobody reads them any more, the old files go. It knows keys by their hashes, as many at once
//! as its part of the shard's memory holds, and goes over a log in as many passes as that takes.
//!
//! Invariants: no file of a log is ever written twice; a log's offsets and their order never change;
//! a new file is durable before a log has it, and a checkpoint without the old one is durable before
//! that goes. So a process may end anywhere here: what the last checkpoint names is there and whole,
//! and everything else is an orphan, which the first look after a start removes.
//! (docs/decisions/compaction.md)

mod filter;
mod new_segment;
mod offset_map;
mod pass;
mod reader;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{dir, fatal, wall_clock_ms, yield_now};

use crate::background::pause;
use crate::error::{Corrupt, StorageError};
use crate::ids::TopicPartition;
use crate::log::{Doomed, Log};
use crate::segment::SegmentName;
use crate::segment::writer::remove_segment;
use crate::storage::Shared;

/// After so many bytes of records others have their turn: a fraction of a millisecond, whatever the
/// codec.
const STEP_BYTES: usize = 16 << 10;
/// Logs looked at without a turn of the others.
const LOGS_AT_ONCE: usize = 64;
/// How long cleaning waits where appends wait for the disk, or a reader for its end.
const WAIT: Duration = Duration::from_millis(10);

/// Why a log is not cleaned further.
#[derive(Debug)]
enum Halt {
    /// The shard stops, the log was dropped, or it has changed under the cleaning.
    Stopped,
    /// The disk has no room for the new file beside the old ones.
    NoRoom,
    /// A segment is rotten: it is left as it is, for a reader to find.
    Damaged(Corrupt),
    /// What was being made was no log's yet: it is given up.
    Failed(StorageError),
}

impl From<StorageError> for Halt {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::ShuttingDown => Halt::Stopped,
            StorageError::OutOfService(damage) => Halt::Damaged(damage),
            error if error.is_no_space() => Halt::NoRoom,
            error => Halt::Failed(error),
        }
    }
}

/// Gives the others their turn, often enough.
struct Pace<'a> {
    shared: &'a Shared,
    log: &'a Log,
    spent: usize,
}

impl Pace<'_> {
    async fn spend(&mut self, bytes: usize) -> Result<(), Halt> {
        self.spent += bytes;
        if self.spent >= STEP_BYTES {
            self.spent = 0;
            yield_now().await;
            self.check()?;
        }
        Ok(())
    }

    /// Between batches: appends that wait for the disk come first.
    async fn rest(&mut self) -> Result<(), Halt> {
        self.check()?;
        while self.shared.wal.is_starved() && pause(self.shared, WAIT).await {}
        self.check()
    }

    fn check(&self) -> Result<(), Halt> {
        let ends = self.shared.stopping.get() || self.log.is_dropped();
        if ends { Err(Halt::Stopped) } else { Ok(()) }
    }
}

/// The files that wait for a checkpoint without them, with their logs.
#[derive(Default)]
struct Old {
    files: Vec<(Log, Doomed)>,
    bytes: u64,
}

/// Runs until the shard stops.
pub(crate) async fn run(shared: Rc<Shared>) {
    let interval = Duration::from_millis(shared.config.cleaner_interval_ms.max(1));
    let mut old = Old::default();
    while pause(&shared, interval).await {
        settle(&shared, &mut old).await;
        sweep_all(&shared).await;
        for tp in due(&shared).await {
            let log = shared.logs.borrow().get(&tp).cloned();
            let Some(log) = log.filter(|_| !shared.stopping.get()) else {
                continue;
            };
            let cleaned = Box::pin(clean(&shared, &log, &mut old)).await;
            settle(&shared, &mut old).await;
            tell(&log, cleaned);
        }
    }
}

/// Says what became of a log, if there is something to say.
fn tell(log: &Log, cleaned: Result<(), Halt>) {
    let tp = log.topic_partition();
    match cleaned {
        Ok(()) | Err(Halt::Stopped) => {}
        Err(Halt::NoRoom) => {
            tracing::warn!(partition = %tp, "no room on the disk to compact a log");
        }
        Err(Halt::Damaged(damage)) => {
            tracing::error!(partition = %tp, %damage, "a log cannot be compacted");
            log.never_clean();
        }
        Err(Halt::Failed(error)) => {
            tracing::error!(partition = %tp, %error, "compaction of a log failed");
        }
    }
}

/// Looks for orphans where nobody has yet: a process that ended in the midst of a cleaning may have
/// left them, whatever the log's configuration is today.
async fn sweep_all(shared: &Rc<Shared>) {
    let logs: Vec<Log> = shared.logs.borrow().values().cloned().collect();
    for some in logs.chunks(LOGS_AT_ONCE) {
        for log in some {
            if log.wants_sweep() && log.take_unswept() && !shared.stopping.get() {
                tell(log, sweep(shared, log).await);
            }
        }
        yield_now().await;
    }
}

/// The logs that are to be cleaned now, the dirtiest first.
async fn due(shared: &Shared) -> Vec<TopicPartition> {
    let logs: Vec<Log> = shared.logs.borrow().values().cloned().collect();
    let now_ms = wall_clock_ms();
    let mut due = Vec::new();
    for some in logs.chunks(LOGS_AT_ONCE) {
        for log in some {
            if let Some(dirt) = log.dirt(now_ms).filter(|dirt| dirt.due) {
                due.push((std::cmp::Reverse(dirt.ratio), log.topic_partition()));
            }
        }
        yield_now().await;
    }
    due.sort_unstable();
    due.into_iter().map(|(_, tp)| tp).collect()
}

async fn clean(shared: &Rc<Shared>, log: &Log, old: &mut Old) -> Result<(), Halt> {
    if log.take_unswept() {
        sweep(shared, log).await?;
    }
    write_closed(shared, log).await?;
    pass::clean(shared, log, old).await
}

/// Only what is wholly in its file can be cleaned. A failure here is one of write-behind.
async fn write_closed(shared: &Rc<Shared>, log: &Log) -> Result<(), Halt> {
    let _one = shared.no_writers().await;
    if log.is_dropped() || !log.has_closed_outstanding() {
        return Ok(());
    }
    match crate::segment::writer::write_behind(shared, log).await {
        Ok(_) => Ok(()),
        Err(error) => match Halt::from(error) {
            Halt::Failed(error) => fatal(&format!("write-behind cannot go on: {error}")),
            halt => Err(halt),
        },
    }
}

/// Removes files that are no segment's: what an earlier process was making or had not removed yet.
/// Where a segment lacks its own file nothing is touched: its records may be in one of those.
async fn sweep(shared: &Shared, log: &Log) -> Result<(), Halt> {
    let directory = log.topic_partition().directory(&shared.config.data_dir);
    let with_file = log.names_with_file();
    let Ok(entries) = dir::list(&directory).await else {
        return Ok(());
    };
    let there: BTreeSet<&str> = entries.iter().map(|entry| &*entry.name).collect();
    for name in with_file {
        let file = format!("{}.log", name.stem());
        if !there.contains(&*file) && log.has_segment(name) && !log.is_dropped() {
            return Err(Halt::Damaged(Corrupt {
                file: directory.join(file),
                position: 0,
                what: "a segment's file is gone".to_owned(),
            }));
        }
    }
    for entry in entries {
        let Some(name) = SegmentName::parse(&entry.name) else {
            continue;
        };
        // A segment is in its log's list before its file is made.
        if !log.has_segment(name) && !log.is_dropped() {
            drop(dir::remove_file(&directory.join(&entry.name)).await);
        }
    }
    Ok(())
}

/// Takes a checkpoint without the old files, and removes them. What cannot be done now is done later;
/// or by the sweep of the next start, when this process ends before.
async fn settle(shared: &Rc<Shared>, old: &mut Old) {
    if old.files.is_empty() || shared.stopping.get() {
        return;
    }
    if !planted::is(Planted::OldSegmentUnlinkedFirst) {
        match Box::pin(crate::write_behind::checkpoint(shared, None, false)).await {
            Ok(true) => {}
            // Appends wait for a WAL file, or there is no room for it: another time.
            Ok(false) | Err(StorageError::ShuttingDown) => return,
            Err(error) if error.is_no_space() => return,
            Err(error) => fatal(&format!("compaction cannot take a checkpoint: {error}")),
        }
    }
    for (log, doomed) in std::mem::take(old).files {
        while Rc::strong_count(&doomed.lease) > 1 {
            if !pause(shared, WAIT).await {
                return;
            }
        }
        if log.is_dropped() {
            continue;
        }
        if let Err(error) = remove_segment(shared, &log, doomed.name).await {
            tracing::warn!(%error, "a segment that was compacted stays until the next start");
        }
    }
}
