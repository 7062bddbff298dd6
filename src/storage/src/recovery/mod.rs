//! From what a start finds on the disk to what the shards start with.
//!
//! On shard 0, before any client: lock, sync every WAL, read checkpoints and WALs, put every log
//! together, raise the generation durably, and seal the WALs of the past in the new generation's
//! first commit. Until the generation is raised nothing is altered. No segment is read and no
//! file of an idle partition opened.
#![deny(clippy::indexing_slicing)]

mod doubt;
mod enter;
mod inspect;
mod open;
mod past;
mod relog;
mod replaced;
mod replay;
mod scan;
mod seal;
mod seeds;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{File, OpenOptions, dir, wall_clock_ms};
use uuid::Uuid;

pub(crate) use self::inspect::{KnownTopics, inspect};
use self::past::Read;
use self::replay::Replay;
pub(crate) use self::replay::SeedLog;
pub use self::seeds::ShardSeed;
pub(crate) use self::seeds::{Handoff, OldFileInfo};
use crate::config::StorageConfig;
use crate::error::{Corrupt, StorageError};
use crate::ids::{Generation, TopicPartition, owner};
use crate::root::Root;
use crate::wal::StreamStart;

/// The metadata that a start found: the last snapshot and the entries after it, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataReplay {
    /// What the snapshot function gave last, if it ever did.
    pub snapshot: Option<Bytes>,
    /// What was appended after it.
    pub entries: Vec<Bytes>,
}

/// What recovery has to know of a live topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicEra {
    /// How many partitions it has; entries of others are dropped.
    pub partitions: i32,
}

/// What a start found, for its one short block of output and for tests.
#[derive(Debug, Clone, Default)]
pub struct RecoveryReport {
    /// No root file was there: this is a new data directory.
    pub new_directory: bool,
    /// How long it took until the files of the process before were locked and synced: until its
    /// last writes had landed.
    pub waited_ms: u64,
    /// Partitions with a recovered log.
    pub partitions: usize,
    /// Commits read from WAL files.
    pub commits: u64,
    /// Bytes of records that no segment held yet.
    pub replayed_bytes: u64,
    /// WALs of past generations that ended in a torn commit.
    pub torn_tails: usize,
    /// Damage to what had been acknowledged.
    pub damage: Vec<Corrupt>,
    /// The partitions taken out of service for it.
    pub out_of_service: Vec<TopicPartition>,
    /// Damage whose partitions could not be told: a partition whose last records were there, and
    /// nothing after them, may have lost them unnoticed.
    pub unknown_losses: bool,
    /// Directories of topics that nobody knows, which are not removed: metadata that named them may
    /// have been lost, now or at an earlier start.
    pub kept_directories: Vec<PathBuf>,
}

/// What a start found.
pub struct Recovered {
    /// This start's generation.
    pub generation: Generation,
    /// The data directory's cluster id.
    pub cluster_id: Uuid,
    /// The metadata.
    pub metadata: MetadataReplay,
    /// One for each shard, in order.
    pub seeds: Vec<ShardSeed>,
    /// What there is to tell.
    pub report: RecoveryReport,
}

/// Phase one of a start, on shard 0, before anything is served.
///
/// `known_topics` is called once, with the metadata, and names the topics that live. When it cannot
/// read them the start is refused with its sentence: what is of no known topic is dropped for good.
///
/// # Errors
/// Another process on the directory, a foreign, missing or damaged root, and failed I/O. Nothing
/// is altered before locks and checks have passed.
pub async fn recover(
    config: &StorageConfig,
    node_id: i32,
    shards: u16,
    known_topics: impl FnOnce(&MetadataReplay) -> Result<BTreeMap<Uuid, TopicEra>, String>,
) -> Result<Recovered, StorageError> {
    assert!(shards > 0, "a broker has at least one shard");
    let mut report = RecoveryReport::default();
    let (mut root, mut held) = enter::enter(config, node_id, &mut report).await?;
    let Read {
        mut replay,
        checkpoints,
        wals,
        mut past,
        has_checkpoints,
    } = Box::pin(past::read_past(config, &mut root, &mut held, &mut report)).await?;

    let (entries, metadata_next) = replay.metadata_entries()?;
    let snapshot = replay.metadata_snapshot.take().map(|(_, bytes)| bytes);
    let metadata = MetadataReplay { snapshot, entries };
    let topics = known_topics(&metadata).map_err(StorageError::MetadataUnreadable)?;
    let mut logs = assemble(&mut replay, &topics, &mut report);
    replaced::refuse_replaced(config, &checkpoints, &logs).await?;
    let (mut remove, mut kept) = unknown_directories(config, &topics).await?;
    // What damage hides may be a topic's creation: then its directory is not to go.
    let doubted = match report.unknown_losses {
        true => std::mem::take(&mut remove),
        false => Vec::new(),
    };
    kept.extend_from_slice(&doubted);
    report.kept_directories = kept;

    root.node_id = node_id;
    let shards_before = begin_generation(config, &mut root, shards).await?;
    keep_for_good(&doubted).await?;
    let relogged = relog::relog(
        config,
        root.cluster_id,
        &wals,
        &checkpoints,
        &mut past,
        &mut logs,
        &mut held,
    );
    Box::pin(relogged).await?;
    let stream = seal::seal_past(config, &root, &past.seals, &mut held).await?;

    let handoff = Handoff::new(shards);
    enter::hold_locks(held, Arc::clone(&handoff));
    let has_past = has_checkpoints || !past.files.is_empty();
    let files = Arc::new(past.files);
    let mut seeds = empty_seeds(&root, &files, has_past, &handoff);
    give_to_owners(logs, shards_before, &mut seeds);
    let first = seeds.first_mut().expect("there is at least one shard");
    first.stream = stream;
    first.mark = (!root.has_wal).then_some(Root {
        has_wal: true,
        ..root
    });
    first.metadata_next = metadata_next;
    first.seals = past.seals;
    first.remove = remove;
    Ok(Recovered {
        generation: root.generation,
        cluster_id: root.cluster_id,
        metadata,
        seeds,
        report,
    })
}

/// Makes this start's generation durable. Returns the number of shards of the one before.
async fn begin_generation(
    config: &StorageConfig,
    root: &mut Root,
    shards: u16,
) -> Result<u16, StorageError> {
    root.generation = Generation(root.generation.0 + 1);
    let shards_before = std::mem::replace(&mut root.shards, shards);
    // Before the root file, so that one is never there without them.
    enter::make_directories(config).await?;
    root.store(&config.data_dir).await?;
    Ok(shards_before)
}

/// A seed for each shard, with what is the same for all.
fn empty_seeds(
    root: &Root,
    files: &Arc<Vec<OldFileInfo>>,
    has_past: bool,
    handoff: &Arc<Handoff>,
) -> Vec<ShardSeed> {
    let seed = |shard| ShardSeed {
        generation: root.generation,
        cluster_id: root.cluster_id,
        shard,
        logs: Vec::new(),
        old_files: Arc::clone(files),
        has_past,
        stream: StreamStart {
            next_seq: 1,
            ..StreamStart::default()
        },
        metadata_next: 0,
        seals: Vec::new(),
        mark: None,
        remove: Vec::new(),
        handoff: Arc::clone(handoff),
    };
    (0..root.shards).map(seed).collect()
}

fn give_to_owners<I>(logs: I, shards_before: u16, seeds: &mut [ShardSeed])
where
    I: IntoIterator<Item = (TopicPartition, SeedLog)>,
{
    let mut shards = u16::try_from(seeds.len()).expect("one for each shard");
    if planted::is(Planted::WrongOwnerAfterReshard) {
        shards = shards_before.clamp(1, shards);
    }
    for (tp, log) in logs {
        let seed = seeds
            .get_mut(usize::from(owner(tp, shards).0))
            .expect("an owner is a shard");
        seed.logs.push((tp, log));
    }
}

fn lives(topics: &BTreeMap<Uuid, TopicEra>, tp: TopicPartition) -> bool {
    let era = topics.get(&tp.topic);
    era.is_some_and(|era| (0..era.partitions).contains(&tp.partition))
}

fn assemble(
    replay: &mut Replay,
    topics: &BTreeMap<Uuid, TopicEra>,
    report: &mut RecoveryReport,
) -> Vec<(TopicPartition, SeedLog)> {
    let now_ms = wall_clock_ms();
    let mut logs = Vec::new();
    for (tp, partition) in std::mem::take(&mut replay.partitions) {
        if !lives(topics, tp) {
            continue;
        }
        let log = partition.assemble(tp, now_ms, replay);
        report.replayed_bytes += log.runs.iter().map(|run| u64::from(run.len)).sum::<u64>();
        report.damage.extend(log.noticed.iter().cloned());
        if let Some(damage) = &log.damage {
            report.damage.push(damage.clone());
            report.out_of_service.push(tp);
        }
        logs.push((tp, log));
    }
    report.partitions = logs.len();
    report.unknown_losses = !replay.lost_unknown.is_empty();
    report.damage.append(&mut replay.lost_unknown);
    logs
}

/// A file of this name says that its directory is never removed by a start.
const KEPT_NAME: &str = "kept";

/// Directories of topics that are no more: those to remove, and those that an earlier start kept.
async fn unknown_directories(
    config: &StorageConfig,
    topics: &BTreeMap<Uuid, TopicEra>,
) -> Result<(Vec<PathBuf>, Vec<PathBuf>), StorageError> {
    let data_dir = &config.data_dir;
    let entries = dir::list(data_dir)
        .await
        .map_err(StorageError::io("cannot list", data_dir))?;
    let (mut unknown, mut kept) = (Vec::new(), Vec::new());
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        let Ok(topic) = Uuid::try_parse(&entry.name) else {
            continue;
        };
        if topic.as_hyphenated().to_string() == entry.name && !topics.contains_key(&topic) {
            let path = data_dir.join(&entry.name);
            let mark = path.join(KEPT_NAME);
            let is_kept = dir::exists(&mark).await;
            match is_kept.map_err(StorageError::io("cannot look for", &mark))? {
                true => kept.push(path),
                false => unknown.push(path),
            }
        }
    }
    Ok((unknown, kept))
}

/// Marks directories, durably, so that no later start removes them, which would not know of the
/// damage any more.
async fn keep_for_good(directories: &[PathBuf]) -> Result<(), StorageError> {
    for path in directories {
        let mark = path.join(KEPT_NAME);
        let options = OpenOptions {
            create_new: true,
            write: true,
        };
        let made = File::open(&mark, options).await;
        made.map_err(StorageError::io("cannot create", &mark))?
            .close()
            .await;
        dir::sync(path)
            .await
            .map_err(StorageError::io("cannot sync", path))?;
    }
    Ok(())
}
