//! Going over one log: a pass learns the newest offsets of as many keys as the map holds, from where
//! the last one ended, and then goes over all segments from the log's first to there.

use std::rc::Rc;

use tailwater_record::Limits;
use tailwater_shards::{random_u64, wall_clock_ms};

use super::filter::{Fate, Filter};
use super::new_segment::NewSegment;
use super::offset_map::OffsetMap;
use super::reader::SegmentReader;
use super::{Halt, Old, Pace, settle};
use crate::log::{CleanSource, Log};
use crate::segment::SegmentName;
use crate::storage::Shared;

/// Old files of this size together are removed before more is made.
const OLD_BYTES_MAX: u64 = 64 << 20;
/// Segments that were cleaned together are no longer than this, whatever `segment.bytes`.
const GROUP_BYTES_MAX: u64 = i32::MAX as u64;

/// One record that is decompressed may have this much, however little memory there is.
const RECORD_BYTES_MIN: usize = 4 << 20;
/// And this much, however much there is.
const RECORD_BYTES_MAX: usize = 64 << 20;
/// A window that most compressors stay below: 8 MiB.
const WINDOW_LOG_MIN: u32 = 23;

/// A part of the shard's memory, lent by the read cache while a log is cleaned: for the map, and for
/// one record that is decompressed.
struct Loan<'a> {
    shared: &'a Shared,
    bytes: usize,
}

impl<'a> Loan<'a> {
    fn take(shared: &'a Shared) -> Self {
        let bytes = shared.cache.lend(shared.config.cleaner_bytes());
        shared.cleaner_bytes.set(bytes);
        Self { shared, bytes }
    }

    /// For one record, put together.
    fn record_bytes(&self) -> usize {
        (self.bytes / 2).min(RECORD_BYTES_MAX)
    }

    fn map_bytes(&self) -> usize {
        self.bytes - self.record_bytes()
    }

    /// What decompressing may take. A batch that would take more is left as it is.
    fn limits(&self) -> Limits {
        let record_bytes_max = self.record_bytes().max(RECORD_BYTES_MIN);
        let unlimited = Limits::default();
        let window = record_bytes_max.ilog2().max(WINDOW_LOG_MIN);
        Limits {
            record_bytes_max,
            zstd_window_log_max: window.min(unlimited.zstd_window_log_max),
            ..unlimited
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.shared.cleaner_bytes.set(0);
        self.shared.cache.take_back(self.bytes);
    }
}

/// Cleans what can be cleaned of a log.
pub(super) async fn clean(shared: &Rc<Shared>, log: &Log, old: &mut Old) -> Result<(), Halt> {
    let loan = Loan::take(shared);
    loop {
        let now_ms = wall_clock_ms();
        let Some(compaction) = log.compaction() else {
            return Ok(());
        };
        let sources = log.clean_sources(now_ms);
        let first_dirty = log.first_dirty();
        let upto = sources.last().map_or(0, |last| last.end);
        if upto <= first_dirty {
            return Ok(());
        }
        let mut pace = Pace {
            shared,
            log,
            spent: 0,
        };
        // No more keys than records: an upper bound where cleaning has left gaps.
        let keys_max = u64::try_from(upto - first_dirty).expect("above it");
        let secret = [random_u64(), random_u64()];
        let map = OffsetMap::new(loan.map_bytes(), keys_max, secret);
        let retention_ms = compaction.delete_retention_ms;
        let mut filter = Filter::new(map, loan.limits(), now_ms, retention_ms);
        // Boxed, as below: with all of it in one function, rustc 1.95.0 (LLVM 22.1) wrote over the lowest
        // byte of the exception's address where an unwinding enters (`mov %r14b,%al`), and a release build
        // of the simulator crashed when a killed shard unwound through it.
        Box::pin(learn(&mut filter, &sources, first_dirty, &mut pace)).await?;
        assert!(filter.covered_upto > first_dirty, "every pass gets on");
        filter.last_batches = log.last_batches();
        for group in groups(sources, filter.covered_upto, log.segment_bytes()) {
            let bytes: u64 = group.iter().map(|source| source.len).sum();
            Box::pin(clean_group(shared, group, &mut filter, &mut pace, old)).await?;
            old.bytes += bytes;
            if old.bytes >= OLD_BYTES_MAX {
                settle(shared, old).await;
            }
        }
        log.set_cleaned(filter.covered_upto);
    }
}

/// Fills the map from `first_dirty` on, and notes how far it got.
async fn learn(
    filter: &mut Filter,
    sources: &[CleanSource],
    first_dirty: i64,
    pace: &mut Pace<'_>,
) -> Result<(), Halt> {
    for source in sources.iter().filter(|source| source.end > first_dirty) {
        let mut reader = SegmentReader::open(pace.shared, pace.log, source).await?;
        while let Some((header, batch)) = reader.next().await? {
            pace.rest().await?;
            if header.next_offset() <= first_dirty {
                continue;
            }
            if let Some(unfit) = filter.note(&header, batch, first_dirty, pace).await? {
                filter.covered_upto = unfit;
                reader.close().await;
                return Ok(());
            }
        }
        reader.close().await;
        filter.covered_upto = source.end;
    }
    Ok(())
}

/// Segments that become one: those that follow each other, as many as one may hold.
fn groups(sources: Vec<CleanSource>, upto: i64, segment_bytes: u64) -> Vec<Vec<CleanSource>> {
    let bytes_max = segment_bytes.min(GROUP_BYTES_MAX);
    let mut groups: Vec<Vec<CleanSource>> = Vec::new();
    let mut bytes = 0;
    for source in sources {
        if source.name.base >= upto {
            break;
        }
        let joins = groups.last().is_some_and(|group| {
            let first = group
                .first()
                .map_or(source.name.base, |first| first.name.base);
            bytes + source.len <= bytes_max && source.end - first <= i64::from(i32::MAX)
        });
        bytes = if joins { bytes } else { 0 } + source.len;
        match groups.last_mut().filter(|_| joins) {
            Some(group) => group.push(source),
            None => groups.push(vec![source]),
        }
    }
    groups
}

/// Makes one segment of a group and puts it in its place.
async fn clean_group(
    shared: &Rc<Shared>,
    group: Vec<CleanSource>,
    filter: &mut Filter,
    pace: &mut Pace<'_>,
    old: &mut Old,
) -> Result<(), Halt> {
    let Some(first) = group.first() else {
        return Ok(());
    };
    // The new file is no longer than the old ones, which go later.
    let bytes = group.iter().map(|source| source.len).sum();
    if shared.is_full() || !shared.disk_room.take(bytes) {
        return Err(Halt::NoRoom);
    }
    let Some(version) = first.name.version.checked_add(1) else {
        return Err(Halt::Stopped);
    };
    let name = SegmentName {
        base: first.name.base,
        version,
    };
    let log = pace.log;
    let mut new = NewSegment::new(shared, log, name);
    let made = match fill(&mut new, &group, filter, pace).await {
        Ok(()) => new.finish(&group).await,
        Err(halt) => Err(halt),
    };
    let made = match made {
        Ok(made) => made,
        Err(halt) => {
            new.abandon().await;
            return Err(halt);
        }
    };
    let one = shared.no_writers().await;
    let replaced = log.replace(&group, made);
    drop(one);
    match replaced {
        Some(doomed) => {
            old.files
                .extend(doomed.into_iter().map(|doomed| (log.clone(), doomed)));
            Ok(())
        }
        None => {
            new.abandon().await;
            Err(Halt::Stopped)
        }
    }
}

/// Puts what stays of the group into the new segment.
async fn fill(
    new: &mut NewSegment<'_>,
    group: &[CleanSource],
    filter: &mut Filter,
    pace: &mut Pace<'_>,
) -> Result<(), Halt> {
    for source in group {
        let mut reader = SegmentReader::open(pace.shared, pace.log, source).await?;
        while let Some((header, batch)) = reader.next().await? {
            pace.rest().await?;
            match filter.apply(&header, batch, pace).await? {
                Fate::Stays => new.push(&header, batch).await?,
                Fate::Goes => {}
                Fate::Emptied(header, batch) => new.push(&header, &batch).await?,
                Fate::Rewritten(header) => new.push(&header, &filter.out).await?,
            }
            pace.spend(batch_cost(&header)).await?;
        }
        reader.close().await;
    }
    Ok(())
}

/// Copying and checking a batch costs far less than looking at its records.
fn batch_cost(header: &tailwater_record::BatchHeader) -> usize {
    header.total_bytes() / 16
}
