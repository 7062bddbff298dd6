//! The witness: a small file beside a shard's WAL that says, far from the WAL's own blocks, how far
//! the WAL had been durable and where each log ended then.
//!
//! A commit is proven by what comes after it in the WAL; of the last ones nothing does but an empty
//! commit in the block behind them, and one bad place on a disk may take both. The witness is the
//! second proof, and it names whose records a lost commit held. It is on the way of no
//! acknowledgement, and so lags behind: an idle WAL is witnessed, durably, with its cover; a busy one
//! every `witness_interval_ms`, with a write and no sync of its own.
//!
//! Two slots take turns, so that one that was torn leaves the other. Invariant: a slot says only what
//! was durable before it was written, and so is true whenever it can be read, whatever became of
//! those after it. How many logs a slot names is bounded by [`ROWS_MAX`]: those changed last are
//! named, and `complete_from` says which commits are accounted for.
#![deny(clippy::indexing_slicing)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tailwater_shards::planted::{self, Planted};
use tailwater_shards::sync::{Notify, Semaphore};
use tailwater_shards::{BLOCK_BYTES, DmaBuf, File, Instant, IoClass, OpenOptions, dir, fatal, now};
use uuid::Uuid;

use super::progress::Flight;
use crate::checkpoint::reader::read_whole;
use crate::error::StorageError;
use crate::fields::{Reader, Writer, blocks, crc};
use crate::file_header::{FileHeader, HeaderProblem, Kind};
use crate::ids::{Generation, TopicPartition};

/// How many logs a slot names.
const ROWS_MAX: usize = 740;
const ROW_BYTES: usize = 44;
pub(crate) const SLOT_BYTES: usize = 32 << 10;
/// Before a slot's sum counts: the sum and the length of what it covers.
const SUM_BYTES: usize = 8;
const SLOT_MAGIC: u32 = 0x5457_6e64;

/// Where a log ended, and the last commit that had something to say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) tp: TopicPartition,
    pub(crate) end: i64,
    pub(crate) log_start: i64,
    pub(crate) lsn: u64,
}

/// What a witness says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Testimony {
    seq: u64,
    /// Everything that begins below was durable.
    pub(crate) durable_lsn: u64,
    /// What commits from here on held, up to `durable_lsn`, the rows and `metadata_end` know.
    pub(crate) complete_from: u64,
    /// Metadata entries below this number were durable.
    pub(crate) metadata_end: u64,
    pub(crate) rows: Vec<Row>,
}

pub(crate) fn file_name(generation: Generation, shard: u16) -> String {
    format!("{:010}-{shard:05}.ends", generation.0)
}

/// Whose witness a file of this name is.
pub(crate) fn parse_name(name: &str) -> Option<(Generation, u16)> {
    let (generation, shard) = name.strip_suffix(".ends")?.split_once('-')?;
    let parsed = (Generation(generation.parse().ok()?), shard.parse().ok()?);
    (file_name(parsed.0, parsed.1) == name).then_some(parsed)
}

/// The LSNs between which a witness knows all that commits had to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    from: u64,
    upto: u64,
}

impl Reach {
    pub(crate) fn accounts_for(&self, from: u64, upto: u64) -> bool {
        self.from <= from && upto <= self.upto
    }
}

impl Testimony {
    pub(crate) fn reach(&self) -> Reach {
        Reach {
            from: self.complete_from,
            upto: self.durable_lsn,
        }
    }

    fn encode(&self, cluster_id: Uuid, key: (Generation, u16)) -> DmaBuf {
        let mut w = Writer::default();
        w.u32(SLOT_MAGIC);
        w.uuid(cluster_id);
        w.u64(key.0.0);
        w.u16(key.1);
        w.u64(self.seq);
        w.u64(self.durable_lsn);
        w.u64(self.complete_from);
        w.u64(self.metadata_end);
        w.u32(u32::try_from(self.rows.len()).expect("bounded"));
        for row in &self.rows {
            w.uuid(row.tp.topic);
            w.i32(row.tp.partition);
            w.i64(row.end);
            w.i64(row.log_start);
            w.u64(row.lsn);
        }
        assert!(SUM_BYTES + w.len() <= SLOT_BYTES, "its rows are bounded");
        let mut buf = DmaBuf::zeroed(blocks(SUM_BYTES + w.len()));
        let (sum, rest) = buf.split_at_mut(SUM_BYTES);
        let len = u32::try_from(w.len()).expect("a slot is small");
        sum.copy_from_slice(&(u64::from(crc(&w.0)) << 32 | u64::from(len)).to_le_bytes());
        rest.split_at_mut(w.len()).0.copy_from_slice(&w.0);
        buf
    }

    fn decode(slot: &[u8], cluster_id: Uuid, key: (Generation, u16)) -> Option<Self> {
        let mut r = Reader(slot);
        let (len, sum) = (r.u32()?, r.u32()?);
        let covered = r.raw(usize::try_from(len).ok()?)?;
        if crc(covered) != sum {
            return None;
        }
        let mut r = Reader(covered);
        let is_own = r.u32()? == SLOT_MAGIC
            && r.uuid()? == cluster_id
            && Generation(r.u62()?) == key.0
            && r.u16()? == key.1;
        if !is_own {
            return None;
        }
        let mut found = Self {
            seq: r.u62()?,
            durable_lsn: r.u62()?,
            complete_from: r.u62()?,
            metadata_end: r.u62()?,
            rows: Vec::new(),
        };
        for _ in 0..r.count(ROW_BYTES)? {
            let row = Row {
                tp: TopicPartition::new(r.uuid()?, r.i32()?),
                end: r.i64()?,
                log_start: r.i64()?,
                lsn: r.u62()?,
            };
            // Nothing of ours under a right sum, otherwise.
            if row.log_start < 0 || row.log_start > row.end {
                return None;
            }
            found.rows.push(row);
        }
        Some(found)
    }
}

/// For the fuzz targets: makes what a slot covers its file's own, under a right sum.
#[cfg(feature = "fuzzing")]
pub(crate) fn forge_slot(slot: &mut [u8], cluster_id: Uuid, key: (Generation, u16)) -> Option<()> {
    let (sum, covered) = slot.split_at_mut_checked(SUM_BYTES)?;
    let len = usize::try_from(Reader(sum).u32()?).ok()?;
    let covered = covered.get_mut(..len)?;
    let mut own = Writer::default();
    own.u32(SLOT_MAGIC);
    own.uuid(cluster_id);
    own.u64(key.0.0);
    own.u16(key.1);
    covered.get_mut(..own.len())?.copy_from_slice(&own.0);
    let right = u64::from(crc(covered)) << 32 | len as u64;
    sum.copy_from_slice(&right.to_le_bytes());
    Some(())
}

/// Reads all witnesses of the generations that count. One that cannot be read says nothing.
pub(crate) async fn read_all(
    wal_dir: &Path,
    cluster_id: Uuid,
    retired_below: Generation,
) -> Result<BTreeMap<(Generation, u16), Testimony>, StorageError> {
    let mut found = BTreeMap::new();
    let exists = dir::exists(wal_dir).await;
    if !exists.map_err(StorageError::io("cannot look for", wal_dir))? {
        return Ok(found);
    }
    let entries = dir::list(wal_dir).await;
    for entry in entries.map_err(StorageError::io("cannot list", wal_dir))? {
        let key = parse_name(&entry.name).filter(|key| key.0 >= retired_below);
        let Some(key) = key else { continue };
        let path = wal_dir.join(&entry.name);
        let bytes = read_whole(&path).await?;
        // A header that does not hold says nothing of the slots, which say whose they are.
        if let Err(HeaderProblem::Refused(error)) = FileHeader::decode(Kind::Witness, &path, &bytes)
        {
            return Err(error);
        }
        let slots = bytes.get(BLOCK_BYTES..).unwrap_or_default();
        let read = slots.chunks(SLOT_BYTES).take(2);
        let newest = read
            .filter_map(|slot| Testimony::decode(slot, cluster_id, key))
            .max_by_key(|testimony| testimony.seq);
        found.extend(newest.map(|testimony| (key, testimony)));
    }
    Ok(found)
}

#[derive(Debug, Clone, Copy)]
struct End {
    end: i64,
    log_start: i64,
    lsn: u64,
}

/// What the durable commits of this start come to.
#[derive(Debug, Default)]
struct Ends {
    rows: BTreeMap<TopicPartition, End>,
    complete_from: u64,
    metadata_end: u64,
    durable_lsn: u64,
    seq: u64,
}

impl Ends {
    fn note(&mut self, flight: &Flight) {
        for touched in &flight.touched {
            let tp = touched.log.topic_partition();
            self.note_log(tp, touched.end, touched.log_start, flight.lsn);
        }
        for carried in &flight.carried {
            let tp = carried.item.log.topic_partition();
            self.note_log(tp, Some(carried.item.span.end), None, flight.lsn);
        }
        self.metadata_end = self.metadata_end.max(flight.metadata_end);
        self.durable_lsn = self.durable_lsn.max(flight.end_lsn);
        if self.rows.len() > 2 * ROWS_MAX {
            self.forget_oldest();
        }
    }

    fn note_log(&mut self, tp: TopicPartition, end: Option<i64>, log_start: Option<i64>, lsn: u64) {
        let unknown = End {
            end: 0,
            log_start: 0,
            lsn,
        };
        let row = self.rows.entry(tp).or_insert(unknown);
        row.log_start = row.log_start.max(log_start.unwrap_or(0));
        // What a log start passes was appended before it.
        row.end = row.end.max(end.unwrap_or(0)).max(row.log_start);
        row.lsn = row.lsn.max(lsn);
    }

    /// Keeps the rows of the last commits, no more than a slot has room for.
    fn forget_oldest(&mut self) {
        if self.rows.len() <= ROWS_MAX {
            return;
        }
        let mut lsns: Vec<u64> = self.rows.values().map(|row| row.lsn).collect();
        lsns.sort_unstable_by(|a, b| b.cmp(a));
        let Some(&last_out) = lsns.get(ROWS_MAX) else {
            return;
        };
        self.rows.retain(|_, row| row.lsn > last_out);
        self.complete_from = self.complete_from.max(last_out + 1);
    }

    /// What there is to say now; the checkpoint knows what lies below the LSN.
    fn testimony(&mut self, replay_lsn: u64) -> Testimony {
        self.rows.retain(|_, row| row.lsn >= replay_lsn);
        self.forget_oldest();
        self.seq += 1;
        let row = |(tp, row): (&TopicPartition, &End)| Row {
            tp: *tp,
            end: row.end,
            log_start: row.log_start,
            lsn: row.lsn,
        };
        Testimony {
            seq: self.seq,
            durable_lsn: self.durable_lsn,
            complete_from: self.complete_from,
            metadata_end: self.metadata_end,
            rows: self.rows.iter().map(row).collect(),
        }
    }
}

/// A shard's witness of this start.
pub(super) struct Witness {
    key: (Generation, u16),
    cluster_id: Uuid,
    dir: PathBuf,
    /// Made when there is something to say.
    file: RefCell<Option<File>>,
    ends: RefCell<Ends>,
    /// Since when there is something to say that is not in the file.
    pub(super) since: Cell<Option<Instant>>,
    /// What was said last is in the file, but nothing has made it durable.
    unsynced: Cell<bool>,
    /// It is to be said now, durably.
    pub(super) now: Cell<bool>,
    pub(super) rung: Notify,
    writing: Semaphore,
}

impl Witness {
    pub(super) fn new(
        wal_dir: &Path,
        cluster_id: Uuid,
        key: (Generation, u16),
        durable_lsn: u64,
    ) -> Self {
        let ends = Ends {
            durable_lsn,
            complete_from: durable_lsn,
            ..Ends::default()
        };
        Self {
            key,
            cluster_id,
            dir: wal_dir.into(),
            file: RefCell::new(None),
            ends: RefCell::new(ends),
            since: Cell::new(None),
            unsynced: Cell::new(false),
            now: Cell::new(false),
            rung: Notify::new(),
            writing: Semaphore::new(1),
        }
    }

    /// The commit is durable, and so are all before it.
    pub(super) fn note(&self, flight: &Flight) {
        if flight.touched.is_empty() && flight.carried.is_empty() && flight.metadata_end == 0 {
            // Commits that hold nothing need no proof.
            return;
        }
        self.ends.borrow_mut().note(flight);
        if self.since.get().is_none() {
            self.since.set(Some(now()));
            self.rung.notify_one();
        }
    }

    /// What has become durable is to be said now, durably: nothing else is to come.
    pub(super) fn say_now(&self) {
        if self.since.get().is_some() || self.unsynced.get() {
            self.now.set(true);
            self.rung.notify_one();
        }
    }

    /// Says all that is durable. Replay begins at this LSN, so what lies below is not needed.
    pub(super) async fn say(&self, replay_lsn: u64, durably: bool) {
        let _one = self.writing.acquire(1).await;
        self.now.set(false);
        let is_new = self.since.take().is_some() || (durably && self.unsynced.get());
        if !is_new || planted::is(Planted::EndNotWitnessed) {
            return;
        }
        self.unsynced.set(!durably);
        if let Err(error) = self.write(replay_lsn, durably).await {
            if !error.is_no_space() {
                fatal(&format!("the WAL cannot be witnessed: {error}"));
            }
            tracing::warn!(%error, "no room for the WAL's witness");
            self.since.set(Some(now()));
        }
    }

    async fn write(&self, replay_lsn: u64, durably: bool) -> Result<(), StorageError> {
        let had = self.file.borrow().clone();
        let file = match had {
            Some(file) => file,
            None => self.create().await?,
        };
        let testimony = self.ends.borrow_mut().testimony(replay_lsn);
        let slot = BLOCK_BYTES as u64 + testimony.seq % 2 * SLOT_BYTES as u64;
        let buf = testimony.encode(self.cluster_id, self.key).freeze();
        let written = match durably {
            true => file.write_durable(IoClass::Maintenance, slot, &buf).await,
            false => file.write(IoClass::Maintenance, slot, &buf).await,
        };
        written.map_err(StorageError::io("cannot write the witness in", &self.dir))
    }

    /// Makes the file, durably with its name: at the first testimony, so that a start that finds the
    /// disk full does without.
    async fn create(&self) -> Result<File, StorageError> {
        let path = self.dir.join(file_name(self.key.0, self.key.1));
        let options = OpenOptions {
            create_new: true,
            write: true,
        };
        let file = File::open(&path, options)
            .await
            .map_err(StorageError::io("cannot create", &path))?;
        let mut body = Writer::default();
        body.u16(self.key.1);
        let header = FileHeader {
            kind: Kind::Witness,
            cluster_id: self.cluster_id,
            generation: self.key.0,
            body: body.0,
        };
        // Written over its whole length: what is synced later finds its blocks made.
        let mut buf = DmaBuf::zeroed(BLOCK_BYTES + 2 * SLOT_BYTES);
        header.encode_into(&mut buf);
        let buf = buf.freeze();
        let written = file.write_durable(IoClass::Maintenance, 0, &buf).await;
        if let Err(error) = written {
            file.close().await;
            // Nothing of it may be in the way when there is room.
            let removed = dir::remove_file(&path).await;
            removed.map_err(StorageError::io("cannot remove", &path))?;
            return Err(StorageError::io("cannot write", &path)(error));
        }
        dir::sync(&self.dir)
            .await
            .map_err(StorageError::io("cannot sync", &self.dir))?;
        *self.file.borrow_mut() = Some(file.clone());
        Ok(file)
    }

    pub(super) async fn close(&self) {
        let _one = self.writing.acquire(1).await;
        let file = self.file.borrow_mut().take();
        if let Some(file) = file {
            file.close().await;
        }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    const KEY: (Generation, u16) = (Generation(3), 1);

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new(Uuid::from_u128(5), partition)
    }

    fn ends(logs: i32) -> Ends {
        let mut ends = Ends::default();
        for partition in 0..logs {
            let lsn = u64::try_from(partition).unwrap() * 4096;
            ends.note_log(tp(partition), Some(7), None, lsn);
            ends.durable_lsn = lsn + 4096;
        }
        ends
    }

    #[test]
    fn a_slot_reads_as_it_was_written_and_notices_each_flipped_bit() {
        let id = Uuid::from_u128(9);
        let said = ends(2).testimony(0);
        let slot = said.encode(id, KEY);
        assert_eq!(Testimony::decode(&slot, id, KEY), Some(said));
        assert_eq!(Testimony::decode(&slot, Uuid::nil(), KEY), None);
        assert_eq!(Testimony::decode(&slot, id, (Generation(4), 1)), None);
        for at in 0..158 {
            let mut damaged = slot.to_vec();
            damaged[at] ^= 1;
            assert_eq!(Testimony::decode(&damaged, id, KEY), None, "byte {at}");
        }
    }

    #[test]
    fn of_more_logs_than_a_slot_has_room_for_the_last_changed_are_named() {
        let most = i32::try_from(ROWS_MAX).unwrap();
        let all = ends(most).testimony(0);
        assert!(all.rows.len() == ROWS_MAX && all.reach().accounts_for(0, all.durable_lsn));
        let said = ends(most + 1).testimony(0);
        assert_eq!(said.rows.len(), ROWS_MAX);
        assert!(!said.reach().accounts_for(0, said.durable_lsn));
        assert!(said.reach().accounts_for(4096, said.durable_lsn));
        assert!(!said.reach().accounts_for(4096, said.durable_lsn + 1));
        assert!(said.encode(Uuid::nil(), KEY).len() <= SLOT_BYTES);
    }

    #[test]
    fn what_the_checkpoint_knows_is_not_said_and_is_accounted_for() {
        let said = ends(3).testimony(4096);
        assert_eq!(said.rows.len(), 2);
        assert_eq!(said.complete_from, 0);
    }

    #[test]
    fn a_commit_of_more_logs_than_a_slot_has_room_for_is_not_accounted_for() {
        let mut ends = Ends::default();
        for partition in 0..i32::try_from(2 * ROWS_MAX).unwrap() {
            ends.note_log(tp(partition), Some(1), None, 8192);
        }
        ends.durable_lsn = 1 << 20;
        let said = ends.testimony(0);
        assert!(said.rows.is_empty() && !said.reach().accounts_for(8192, 1 << 20));
    }
}
