//! Checks every checksum, chain and index of a data directory offline. Alters nothing.
#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::Path;

use tailwater_record::{BatchHeader, HEADER_BYTES, crc_is_valid};
use tailwater_shards::{BLOCK_BYTES, File, IoClass, OpenOptions, dir};
use uuid::Uuid;

use crate::checkpoint::reader::read_whole;
use crate::config::StorageConfig;
use crate::error::{Corrupt, StorageError};
use crate::ids::TopicPartition;
use crate::log::{Epochs, SegmentRecord};
use crate::recovery::{KnownTopics, MetadataReplay, SeedLog, TopicEra, inspect};
use crate::segment::index::MemIndex;
use crate::segment::{index_path, log_path};
use crate::snapshot;

/// How much of a segment is read at a time.
const READ_BYTES: usize = 1 << 20;

/// What was checked and what did not hold.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// WAL files with a valid header.
    pub wal_files: u64,
    /// Valid commits in them, from where replay would begin.
    pub commits: u64,
    /// Segment files read.
    pub segments: u64,
    /// Record batches in segments, each with its checksum, offset and place checked.
    pub batches: u64,
    /// Index files that fit their segment. One that does not is no damage: it is rebuilt.
    pub indexes: u64,
    /// Snapshots of logs that hold. One that does not costs nothing: the log is read without it.
    pub snapshots: u64,
    /// Checkpoint files that count.
    pub checkpoints: u64,
    /// Partitions that checkpoints and WALs name.
    pub partitions: u64,
    /// Damage.
    pub problems: Vec<Corrupt>,
}

/// Reads a whole data directory and alters nothing. No broker may be running on it.
///
/// A torn tail is no damage, nor is an index that is missing. A partition whose topic's directory
/// is gone is taken for deleted; whoever can read the metadata calls [`verify_known`].
pub async fn verify(dir_path: &Path, wal_dir: Option<&Path>) -> VerifyReport {
    verify_topics(dir_path, wal_dir, None).await
}

/// The same, by somebody who can read the metadata, and is asked once which topics live: of all their
/// partitions everything has to be there, and nothing of the others.
pub async fn verify_known(
    dir_path: &Path,
    wal_dir: Option<&Path>,
    known_topics: impl FnOnce(&MetadataReplay) -> Result<BTreeMap<Uuid, TopicEra>, String>,
) -> VerifyReport {
    verify_topics(dir_path, wal_dir, Some(Box::new(known_topics))).await
}

async fn verify_topics(
    dir_path: &Path,
    wal_dir: Option<&Path>,
    known_topics: Option<KnownTopics<'_>>,
) -> VerifyReport {
    let mut config = StorageConfig::new(dir_path);
    config.wal_dir = wal_dir.map(Path::to_path_buf);
    let mut report = VerifyReport::default();
    let found = match Box::pin(inspect(&config, known_topics)).await {
        Ok(found) => found,
        Err(error) => {
            report.problems.push(problem(dir_path, error));
            return report;
        }
    };
    report.wal_files = found.wal_files as u64;
    report.commits = found.commits;
    report.checkpoints = found.checkpoints as u64;
    report.problems.extend(found.damage);
    for (tp, log) in found.logs {
        let topic = tp.directory(dir_path).parent().map(Path::to_path_buf);
        let exists = match &topic {
            Some(topic) => dir::exists(topic).await.unwrap_or(false),
            None => false,
        };
        let in_segments = log.segments.iter().any(|segment| segment.durable_len > 0);
        if in_segments && !exists && !found.knows_topics {
            continue;
        }
        report.partitions += 1;
        Box::pin(verify_log(dir_path, tp, log, &mut report)).await;
    }
    report
}

fn problem(path: &Path, error: StorageError) -> Corrupt {
    match error {
        StorageError::Corrupt(damage) => damage,
        error => Corrupt {
            file: path.into(),
            position: 0,
            what: error.to_string(),
        },
    }
}

async fn verify_log(dir_path: &Path, tp: TopicPartition, log: SeedLog, report: &mut VerifyReport) {
    report.problems.extend(log.noticed);
    report.problems.extend(log.damage);
    match Box::pin(snapshot::verify(dir_path, tp)).await {
        Ok(there) => report.snapshots += u64::from(there),
        Err(error) => {
            let path = tp.directory(dir_path);
            report.problems.push(problem(&path, error));
        }
    }
    let ends = log.segments.iter().skip(1).map(|next| next.base);
    for (segment, end) in log.segments.iter().zip(ends.chain([log.end])) {
        // What lies below the log start may be removed already.
        if segment.durable_len == 0 || end <= log.log_start {
            continue;
        }
        report.segments += 1;
        let path = log_path(dir_path, tp, segment.name());
        match Box::pin(verify_segment(&path, segment, &log.epochs, report)).await {
            Ok(index) => {
                let complete = segment.closed && segment.durable_len == segment.len;
                if complete {
                    let path = index_path(dir_path, tp, segment.name());
                    match verify_index(&path, segment, &index).await {
                        Ok(there) => report.indexes += u64::from(there),
                        Err(damage) => report.problems.push(damage),
                    }
                }
            }
            Err(damage) => report.problems.push(damage),
        }
    }
}

/// A segment's bytes from a place on, as far as they were read.
struct Window<'a> {
    file: &'a File,
    bytes: Vec<u8>,
    /// What of `bytes` is done with.
    taken: usize,
    read_upto: u64,
    /// Beyond it lies what a crash may have torn.
    durable_len: u64,
}

impl<'a> Window<'a> {
    fn new(file: &'a File, durable_len: u64) -> Self {
        Self {
            file,
            bytes: Vec::new(),
            taken: 0,
            read_upto: 0,
            durable_len,
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    fn take(&mut self, count: usize) {
        self.taken += count;
    }

    /// Reads on until there are `need` bytes, or all. An error has its position.
    async fn fill(&mut self, need: usize) -> Result<(), (u64, String)> {
        while self.bytes().len() < need && self.read_upto < self.durable_len {
            self.bytes.drain(..self.taken);
            self.taken = 0;
            let at = self.read_upto;
            let rest = usize::try_from(self.durable_len - at).unwrap_or(usize::MAX);
            let len = rest.min(READ_BYTES).next_multiple_of(BLOCK_BYTES);
            let read = self.file.read(IoClass::Maintenance, at, len).await;
            let read = read.map_err(|error| (at, error.to_string()))?;
            let durable = read.get(..read.len().min(rest)).unwrap_or_default();
            if durable.len() < len.min(rest) {
                let end = at + durable.len() as u64;
                return Err((end, "the segment ends too early".to_owned()));
            }
            self.bytes.extend_from_slice(durable);
            self.read_upto += durable.len() as u64;
        }
        Ok(())
    }
}

/// Walks a segment's batches as far as it is durable.
async fn verify_segment(
    path: &Path,
    segment: &SegmentRecord,
    epochs: &Epochs,
    report: &mut VerifyReport,
) -> Result<Vec<(i64, u64)>, Corrupt> {
    let damaged = |position: u64, what: &str| Corrupt {
        file: path.into(),
        position,
        what: what.to_owned(),
    };
    let options = OpenOptions {
        create_new: false,
        write: false,
    };
    let file = File::open(path, options)
        .await
        .map_err(|error| damaged(0, &error.to_string()))?;
    let mut batches = Vec::new();
    let mut window = Window::new(&file, segment.durable_len);
    let (mut position, mut offset) = (0, segment.base);
    let complete = segment.closed && segment.durable_len == segment.len;
    while position < segment.durable_len {
        let unread = |(at, what): (u64, String)| damaged(at, &what);
        window.fill(HEADER_BYTES).await.map_err(unread)?;
        let header = BatchHeader::parse(window.bytes());
        if let Ok(header) = &header {
            window.fill(header.total_bytes()).await.map_err(unread)?;
        }
        let whole =
            |header: BatchHeader| Some((window.bytes().get(..header.total_bytes())?, header));
        let Some((batch, header)) = header.as_ref().ok().copied().and_then(whole) else {
            // The last batch of an open segment may lie half in the WAL.
            if complete || window.bytes().len() >= HEADER_BYTES && header.is_err() {
                return Err(damaged(position, "no whole batch begins here"));
            }
            break;
        };
        if !segment.name().follows(offset, header.base_offset) || header.last_offset_delta < 0 {
            return Err(damaged(
                position,
                "a batch has another offset than its place says",
            ));
        }
        if !crc_is_valid(batch) {
            return Err(damaged(position, "a batch's checksum is wrong"));
        }
        let epoch = epochs.at(header.last_offset());
        if epoch.is_some_and(|epoch| epoch != header.partition_leader_epoch) {
            return Err(damaged(
                position,
                "a batch has another leader epoch than its log",
            ));
        }
        report.batches += 1;
        batches.push((header.base_offset, position));
        offset = header.next_offset();
        position += batch.len() as u64;
        window.take(header.total_bytes());
    }
    let size = file.size().await.unwrap_or_default();
    file.close().await;
    if complete && size != segment.len {
        return Err(damaged(size, "a closed segment has another length"));
    }
    Ok(batches)
}

/// Whether there is an index. One that is there fits its segment: each entry names a batch where
/// there is one.
async fn verify_index(
    path: &Path,
    segment: &SegmentRecord,
    batches: &[(i64, u64)],
) -> Result<bool, Corrupt> {
    let damaged = |what: &str| Corrupt {
        file: path.into(),
        position: 0,
        what: what.to_owned(),
    };
    if !dir::exists(path).await.unwrap_or(false) {
        return Ok(false);
    }
    let bytes = read_whole(path)
        .await
        .map_err(|error| problem(path, error))?;
    let index = MemIndex::decode(&bytes, segment.base, segment.len)
        .ok_or_else(|| damaged("the index does not hold; it is rebuilt when it is needed"))?;
    let fits = index.entries().iter().all(|entry| {
        let offset = segment.base + i64::from(entry.relative);
        let found = batches.binary_search_by_key(&offset, |(offset, _)| *offset);
        found
            .ok()
            .and_then(|index| batches.get(index))
            .is_some_and(|(_, position)| *position == u64::from(entry.position))
    });
    if fits {
        Ok(true)
    } else {
        Err(damaged("the index names a batch where there is none"))
    }
}
