//! What the scans of all WALs and the checkpoints come to: the metadata, the seals, and for each
//! partition its log as it was.
//!
//! Plain state, no I/O. Runs are put together by offset, whatever file, shard or generation they
//! come from; the copies that carrying made are dropped by offset.
#![deny(clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use tailwater_record::batches;

use super::scan::{LostRange, Sink};
use crate::error::{Corrupt, StorageError};
use crate::ids::TopicPartition;
use crate::log::{BatchSummary, Epochs, PartitionRecord, RecoveredProducers, SegmentRecord};
use crate::wal::format::{EntryHeader, EntryKind};
use crate::wal::gather::Span;
use crate::wal::witness::{Row, Testimony};

/// A run in a WAL file of the past.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeedRun {
    pub(crate) span: Span,
    pub(crate) len: u32,
    /// Which of the files of the past, and where in it.
    pub(crate) file: usize,
    pub(crate) position: u64,
}

/// A log as it was. May be sent to its shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeedLog {
    pub(crate) log_start: i64,
    pub(crate) end: i64,
    pub(crate) segments: Vec<SegmentRecord>,
    pub(crate) runs: Vec<SeedRun>,
    pub(crate) epochs: Epochs,
    pub(crate) producers: RecoveredProducers,
    pub(crate) damage: Option<Corrupt>,
    /// Compaction has seen every record below.
    pub(crate) cleaned_upto: i64,
    /// Compaction has taken something away.
    pub(crate) has_gaps: bool,
    /// Damage to copies of what the log has elsewhere.
    pub(crate) noticed: Vec<Corrupt>,
}

/// What is known of one partition.
#[derive(Default)]
pub(crate) struct Partition {
    pub(crate) record: Option<PartitionRecord>,
    runs: Vec<SeedRun>,
    /// Epochs that begin inside runs, and batches of idempotent producers.
    epochs: Vec<(i32, i64)>,
    summaries: Vec<BatchSummary>,
    log_start: i64,
    lost: Vec<(i64, i64, Corrupt)>,
    /// Where it ended at least, as a witness says, and what is lost of its WAL.
    ended: Option<(i64, Option<Corrupt>)>,
}

#[derive(Default)]
pub(crate) struct Replay {
    pub(crate) partitions: BTreeMap<TopicPartition, Partition>,
    /// Partitions that are no more: what the WALs still have of them is none of a log.
    pub(crate) dropped: BTreeSet<TopicPartition>,
    pub(crate) metadata: BTreeMap<u64, Bytes>,
    pub(crate) metadata_snapshot: Option<(u64, Bytes)>,
    /// Metadata entries whose headers hold and whose bodies do not, by number.
    lost_metadata: BTreeMap<u64, Corrupt>,
    /// What nobody can read of the WALs.
    unread: Vec<Unread>,
    /// One more than the highest number of a metadata entry met so far.
    metadata_met: u64,
    /// Damage that cost nothing.
    pub(crate) noticed: Vec<Corrupt>,
    pub(crate) lost_unknown: Vec<Corrupt>,
    /// What is lost of the WAL at hand, by LSN.
    lost_ranges: Vec<LostRange>,
    /// Metadata entries below this number had been durable; where the last one may have been.
    metadata_end: (u64, Option<Corrupt>),
    /// What to name when records are missing of which nothing else is known: a file and a position.
    pub(crate) missing_in: Option<(PathBuf, u64)>,
    /// What is added to a file's index: the files of all WALs are numbered through.
    pub(crate) file_base: usize,
    /// The WAL at hand is of the shard that metadata live on.
    pub(crate) has_metadata: bool,
}

/// Commits that nobody can read.
struct Unread {
    /// The file among those of all WALs, if it is there, and the position in it.
    file: Option<usize>,
    position: u64,
    /// The number of the metadata entry that was to come next, if metadata may be among it.
    metadata: Option<u64>,
    damage: Corrupt,
}

/// Records that are missing: up to where, and where the runs before and behind lie.
struct Gap {
    until: i64,
    before: Option<(usize, u64)>,
    behind: (usize, u64),
}

impl Unread {
    fn lies_in(&self, gap: &Gap) -> bool {
        let place = self.file.map(|file| (file, self.position));
        let follows = |place| gap.before.is_none_or(|before| before < place);
        place.is_none_or(|place| follows(place) && place < gap.behind)
    }
}

/// How many places are named beside the first where one of several must have held what is lost.
const PLACES_MAX: usize = 4;

/// Other places that may have held what is lost, as many as are named.
fn or_others<'a>(places: impl Iterator<Item = &'a Corrupt>) -> String {
    let places: Vec<&Corrupt> = places.collect();
    let named = places.iter().take(PLACES_MAX);
    let named = named.map(|at| format!(", or at byte {} of {}", at.position, at.file.display()));
    let more = places.len().saturating_sub(PLACES_MAX);
    let more = (more > 0).then(|| format!(", or at one of {more} places more"));
    named.chain(more).collect()
}

/// What there is to do about lost metadata, and why nothing else is done.
const METADATA_REMEDY: &str = "nobody can tell what they said, and topics may be among it, so the \
                               start is refused and nothing is altered; put back the file as it was \
                               before the damage, or the whole data directory from a copy";

impl Sink for Replay {
    fn entry(&mut self, header: &EntryHeader, body: &[u8], file: usize, position: u64) {
        if self.dropped.contains(&header.tp) {
            return;
        }
        match header.kind {
            EntryKind::Run | EntryKind::Carry => {
                let file = self.file_base + file;
                self.partitions
                    .entry(header.tp)
                    .or_default()
                    .add(header, body, file, position);
            }
            EntryKind::LogStart => {
                let partition = self.partitions.entry(header.tp).or_default();
                partition.log_start = partition.log_start.max(header.base);
            }
            EntryKind::Metadata => {
                let number = self.meet_metadata(header);
                self.metadata.insert(number, Bytes::copy_from_slice(body));
            }
            EntryKind::Seal => {}
        }
    }

    fn lost(&mut self, header: &EntryHeader, damage: &Corrupt) {
        if self.dropped.contains(&header.tp) {
            return;
        }
        match header.kind {
            EntryKind::Run | EntryKind::Carry => {
                let partition = self.partitions.entry(header.tp).or_default();
                partition
                    .lost
                    .push((header.base, header.end, damage.clone()));
            }
            EntryKind::Metadata => {
                let number = self.meet_metadata(header);
                self.lost_metadata.insert(number, damage.clone());
            }
            EntryKind::LogStart | EntryKind::Seal => self.lost_unknown.push(damage.clone()),
        }
    }

    fn noticed(&mut self, damage: Corrupt) {
        self.noticed.push(damage);
    }

    fn lost_range(&mut self, lost: LostRange) {
        let next = self.metadata_met.max(self.metadata_from());
        self.unread.push(Unread {
            file: lost.file.map(|file| self.file_base + file),
            position: lost.damage.position,
            metadata: self.has_metadata.then_some(next),
            damage: lost.damage.clone(),
        });
        let list = match lost.accounted {
            true => &mut self.noticed,
            false => &mut self.lost_unknown,
        };
        list.push(lost.damage.clone());
        self.lost_ranges.push(lost);
    }
}

impl Partition {
    fn add(&mut self, header: &EntryHeader, body: &[u8], file: usize, position: u64) {
        let below = self.record.as_ref().map_or(0, |record| record.tail_offset);
        if header.end <= below {
            return;
        }
        let mut last_epoch = None;
        let mut next = header.base;
        for batch in batches(body) {
            let Ok(batch) = batch else { break };
            let batch = batch.header;
            if batch.base_offset != next || batch.last_offset_delta < 0 {
                break;
            }
            next = batch.next_offset();
            if last_epoch != Some(batch.partition_leader_epoch) {
                last_epoch = Some(batch.partition_leader_epoch);
                self.epochs
                    .push((batch.partition_leader_epoch, batch.base_offset));
            }
            if batch.has_producer_id() {
                self.summaries.push(BatchSummary {
                    base_offset: batch.base_offset,
                    last_offset: batch.last_offset(),
                    producer_id: batch.producer_id,
                    producer_epoch: batch.producer_epoch,
                    base_sequence: batch.base_sequence,
                    last_sequence: batch.last_sequence(),
                    max_timestamp: batch.max_timestamp,
                });
            }
        }
        let span = Span {
            base: header.base,
            end: header.end,
            segment: header.segment,
            position: header.position,
            max_timestamp: header.max_timestamp,
        };
        // A body under a right checksum that does not hold the batches it names was never ours.
        if next != header.end || header.base < 0 || header.segment > header.base {
            let what = "a run does not hold the batches that it names".to_owned();
            let damage = Corrupt {
                file: format!("WAL file {file}").into(),
                position,
                what,
            };
            self.lost.push((header.base, header.end, damage));
            return;
        }
        self.runs.push(SeedRun {
            span,
            len: header.body_len,
            file,
            position,
        });
    }

    /// A witness says where the log ended at least, and with what it may have been lost.
    fn ended(&mut self, row: &Row, lost: Option<&Corrupt>) {
        self.log_start = self.log_start.max(row.log_start);
        if self.ended.as_ref().is_none_or(|(end, _)| *end < row.end) {
            self.ended = Some((row.end, lost.cloned()));
        }
    }

    /// The log that checkpoint and runs come to.
    pub(crate) fn assemble(mut self, tp: TopicPartition, now_ms: i64, replay: &Replay) -> SeedLog {
        let record = self.record.take();
        let mut log = SeedLog::default();
        let mut expected_end = 0;
        let mut epochs = Vec::new();
        if let Some(record) = record {
            log.log_start = record.log_start;
            log.end = record.tail_offset;
            log.segments = record.segments;
            log.producers = record.producers;
            log.damage = record.damage;
            log.cleaned_upto = record.cleaned_upto;
            log.has_gaps = record.has_gaps;
            expected_end = record.end;
            epochs = record.epochs;
        }
        // By offset; of two copies the longer first, of equal ones the newer, which lies in the
        // file that is freed last.
        self.runs.sort_by_key(|run| {
            (
                run.span.base,
                std::cmp::Reverse(run.span.end),
                std::cmp::Reverse(run.file),
            )
        });
        let gap = self.join(&mut log, now_ms);
        self.take_epochs_and_producers(&mut log, epochs);
        if log.damage.is_none() {
            log.damage = self.damage(tp, &log, gap, expected_end, replay);
        }
        if log.damage.is_none() && !length_fits(&log) {
            let (file, position) = replay.missing_in();
            log.damage = Some(Corrupt {
                file,
                position,
                what: format!("the last segment of {tp} has not the length of its records"),
            });
        }
        let elsewhere = self.lost.drain(..).filter(|(_, end, _)| *end <= log.end);
        log.noticed = elsewhere.map(|(_, _, damage)| damage).collect();
        log.log_start = log.log_start.max(self.log_start).min(log.end);
        log.epochs.trim_start(log.log_start);
        // Nothing is left of it, and its file may be removed: what comes next begins another.
        if log.log_start == log.end
            && let Some(last) = log.segments.last_mut()
        {
            last.closed = true;
        }
        log
    }

    /// Puts run after run to the end of the log; returns where a gap is.
    fn join(&self, log: &mut SeedLog, now_ms: i64) -> Option<Gap> {
        let gap = |log: &SeedLog, run: &SeedRun| {
            let before = log.runs.last();
            Some(Gap {
                until: run.span.base,
                before: before.map(|before| (before.file, before.position)),
                behind: (run.file, run.position),
            })
        };
        for run in &self.runs {
            if run.span.end <= log.end {
                continue;
            }
            if run.span.base > log.end {
                return gap(log, run);
            }
            // Carrying joins runs and never divides them: what a longer copy holds, it replaces.
            while log
                .runs
                .last()
                .is_some_and(|last| last.span.base >= run.span.base)
            {
                log.runs.pop();
            }
            if log
                .runs
                .last()
                .is_some_and(|last| last.span.end != run.span.base)
            {
                return gap(log, run);
            }
            if !fits_segments(log, run) {
                return gap(log, run);
            }
            extend_segments(log, run, now_ms);
            log.runs.push(*run);
            log.end = run.span.end;
        }
        None
    }

    fn take_epochs_and_producers(&mut self, log: &mut SeedLog, known: Vec<(i32, i64)>) {
        let end = log.end;
        log.epochs = Epochs::from_entries(known);
        self.epochs.sort_by_key(|(epoch, start)| (*start, *epoch));
        for (epoch, start) in self.epochs.iter().filter(|(_, start)| *start < end) {
            log.epochs.begin(*epoch, *start);
        }
        let upto = log.producers.snapshot.as_ref().map_or(0, |(upto, _)| *upto);
        let mut batches = std::mem::take(&mut log.producers.batches);
        let new = self.summaries.drain(..);
        batches.extend(new.filter(|batch| batch.base_offset >= upto && batch.last_offset < end));
        batches.sort_by_key(|batch| batch.base_offset);
        batches.dedup_by_key(|batch| batch.base_offset);
        log.producers.batches = batches;
    }

    /// What acknowledged records are missing, if any are, and where they had been as far as anything
    /// tells.
    fn damage(
        &self,
        tp: TopicPartition,
        log: &SeedLog,
        gap: Option<Gap>,
        expected_end: i64,
        replay: &Replay,
    ) -> Option<Corrupt> {
        let named = self.lost.iter().find(|(_, end, _)| *end > log.end);
        if let Some((_, _, damage)) = named {
            return Some(damage.clone());
        }
        let ended = self.ended.as_ref();
        let expected_end = expected_end.max(ended.map_or(0, |(end, _)| *end));
        let at_the_end = || Gap {
            until: expected_end,
            before: log.runs.last().map(|last| (last.file, last.position)),
            behind: (usize::MAX, u64::MAX),
        };
        let is_between = gap.is_some();
        let is_short = log.end < expected_end;
        let gap = gap.or_else(|| is_short.then(at_the_end))?;
        let until = gap.until;
        let mut unread = replay.unread_about(&gap).into_iter();
        // The witness knows by LSN where the last records were.
        let witnessed = ended.and_then(|(_, lost)| lost.as_ref());
        let (lost, others) = match witnessed {
            Some(lost) if !is_between => (Some(lost), String::new()),
            _ => (unread.next().or(witnessed), or_others(unread)),
        };
        let place = lost.map(|lost| (lost.file.clone(), lost.position));
        let (file, position) = place.unwrap_or_else(|| replay.missing_in());
        let end = log.end;
        Some(Corrupt {
            file,
            position,
            what: format!(
                "records {end}..{until} of {tp} that had been durable are missing here{others}"
            ),
        })
    }
}

/// Whether the last segment ends where the records do: a checkpoint that says otherwise was not
/// ours, whatever its checksum.
fn length_fits(log: &SeedLog) -> bool {
    log.segments.last().is_none_or(|last| {
        let run = log.runs.last();
        let run = run.filter(|run| run.span.segment == last.base);
        last.len
            == run.map_or(last.durable_len, |run| {
                run.span.position + u64::from(run.len)
            })
    })
}

/// Whether the run lies where the log ends.
fn fits_segments(log: &SeedLog, run: &SeedRun) -> bool {
    let Some(last) = log
        .segments
        .iter()
        .find(|segment| segment.base == run.span.segment)
    else {
        let newest = log
            .segments
            .last()
            .is_none_or(|last| last.base < run.span.segment);
        let at_start = run.span.position == 0 && run.span.base == run.span.segment;
        return newest && at_start;
    };
    match log.runs.last() {
        Some(before) if before.span.segment == run.span.segment => {
            before.span.position + u64::from(before.len) == run.span.position
        }
        // The first run outstanding begins where the segment's durable part ends, or before.
        _ => run.span.position <= last.durable_len,
    }
}

fn extend_segments(log: &mut SeedLog, run: &SeedRun, now_ms: i64) {
    let end = run.span.position + u64::from(run.len);
    let found = log
        .segments
        .iter_mut()
        .find(|segment| segment.base == run.span.segment);
    if let Some(segment) = found {
        segment.len = segment.len.max(end);
        segment.max_timestamp = segment.max_timestamp.max(run.span.max_timestamp);
        return;
    }
    if let Some(last) = log.segments.last_mut() {
        last.closed = true;
    }
    log.segments.push(SegmentRecord {
        base: run.span.segment,
        durable_len: 0,
        len: end,
        max_timestamp: run.span.max_timestamp,
        created_ms: now_ms,
        closed: false,
        version: 0,
    });
}

impl Replay {
    /// Compares what the WAL has said, which was walked just now, with what its witness says. What
    /// lies below the LSN the checkpoint knows.
    pub(crate) fn compare(&mut self, witness: Option<&Testimony>, from_lsn: u64) {
        let lost = std::mem::take(&mut self.lost_ranges);
        let Some(witness) = witness else { return };
        let last = lost.last().map(|lost| &lost.damage);
        for row in witness.rows.iter().filter(|row| row.lsn >= from_lsn) {
            if self.dropped.contains(&row.tp) {
                continue;
            }
            // The last range that begins at or before it holds it, if any does.
            let own = lost.iter().rev().find(|lost| lost.from <= row.lsn);
            let own = own.map(|lost| &lost.damage).or(last);
            self.partitions.entry(row.tp).or_default().ended(row, own);
        }
        if witness.metadata_end > self.metadata_end.0 {
            self.metadata_end = (witness.metadata_end, last.cloned());
        }
    }

    /// What nobody can read of the WALs, which may have held the missing records: first what lies
    /// between the runs round them, then all else, as carrying logs old records behind newer ones.
    fn unread_about(&self, gap: &Gap) -> Vec<&Corrupt> {
        let mut unread: Vec<&Unread> = self.unread.iter().collect();
        unread.sort_by_key(|unread| !unread.lies_in(gap));
        unread.iter().map(|unread| &unread.damage).collect()
    }

    /// What to name when something is missing of which nothing else is known.
    fn missing_in(&self) -> (PathBuf, u64) {
        self.missing_in.clone().unwrap_or_else(|| ("WAL".into(), 0))
    }

    /// The number of the first metadata entry that no snapshot has.
    fn metadata_from(&self) -> u64 {
        self.metadata_snapshot.as_ref().map_or(0, |(upto, _)| *upto)
    }

    /// The number of the metadata entry.
    fn meet_metadata(&mut self, header: &EntryHeader) -> u64 {
        let number = u64::try_from(header.base).unwrap_or(0);
        self.metadata_met = self.metadata_met.max(number.saturating_add(1));
        number
    }

    /// The metadata entries after the snapshot, in order, and the number of the next one.
    pub(crate) fn metadata_entries(&self) -> Result<(Vec<Bytes>, u64), StorageError> {
        let mut next = self.metadata_from();
        let mut entries = Vec::new();
        for (number, body) in self.metadata.range(next..) {
            if *number != next {
                return Err(self.metadata_lost(next, *number));
            }
            entries.push(body.clone());
            next += 1;
        }
        let lost = self.lost_metadata.last_key_value();
        let lost_upto = lost.map_or(0, |(number, _)| number.saturating_add(1));
        let upto = self.metadata_end.0.max(lost_upto);
        match next < upto {
            true => Err(self.metadata_lost(next, upto)),
            false => Ok((entries, next)),
        }
    }

    /// Names where metadata entries were that are nowhere else: themselves, if their headers hold, or
    /// what cannot be read between the entries before and behind them.
    fn metadata_lost(&self, from: u64, upto: u64) -> StorageError {
        let own = self.lost_metadata.range(from..upto).map(|(_, lost)| lost);
        let mut places: Vec<&Corrupt> = own.collect();
        if (places.len() as u64) < upto - from {
            let is_between = |next| (from..upto).contains(&next);
            let unread = self.unread.iter();
            let unread = unread.filter(|unread| unread.metadata.is_some_and(is_between));
            places.extend(unread.map(|unread| &unread.damage));
        }
        let place = places.first().copied();
        let place = place.or(self.metadata_end.1.as_ref());
        let place = place.or(self.lost_unknown.first());
        let place = place.map(|place| (place.file.clone(), place.position));
        let (file, position) = place.unwrap_or_else(|| self.missing_in());
        let others = or_others(places.into_iter().skip(1));
        let what = format!(
            "metadata entries {from}..{upto} that had been durable are lost here{others}: \
             {METADATA_REMEDY}"
        );
        StorageError::corrupt(file, position, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_places_some_are_named_and_the_others_counted() {
        let at = |position| Corrupt {
            file: "a.wal".into(),
            position,
            what: String::new(),
        };
        let places: Vec<Corrupt> = (1..8).map(at).collect();
        let named = ", or at byte 1 of a.wal, or at byte 2 of a.wal, or at byte 3 of a.wal, or at byte \
                     4 of a.wal";
        assert_eq!(or_others(places.iter().take(4)), named);
        let all = or_others(places.iter());
        assert_eq!(all, format!("{named}, or at one of 3 places more"));
    }
}
