//! From what a start finds on the disk to what the shards start with.
//!
//! On shard 0, before any client: lock, sync every WAL, read checkpoints and WALs, put every log
//! together, raise the generation durably, and seal the WALs of the past in the new generation's
//! first commit. Until the generation is raised nothing is altered. No segment is read and no
//! file of an idle partition opened.
#![deny(clippy::indexing_slicing)]

mod doubt;
mod inspect;
mod open;
mod relog;
mod replay;
mod scan;
mod seal;
mod seeds;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{dir, now, spawn, wall_clock_ms};
use uuid::Uuid;

pub(crate) use self::inspect::inspect;
use self::open::{Headless, Held};
use self::relog::Unproven;
use self::replay::Replay;
pub(crate) use self::replay::SeedLog;
pub(crate) use self::scan::{Known, OldWal, Sink};
pub use self::seeds::ShardSeed;
pub(crate) use self::seeds::{Handoff, OldFileInfo};
use crate::checkpoint::format::Seal;
use crate::checkpoint::reader::{self, Doubtful, Slot};
use crate::checkpoint::writer::directory;
use crate::config::StorageConfig;
use crate::error::{Corrupt, StorageError};
use crate::ids::{Generation, TopicPartition, owner};
use crate::root::{self, Root};
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

/// What the checkpoints of all generations say together.
#[derive(Default)]
struct Checkpoints {
    /// By generation and shard.
    known: BTreeMap<(Generation, u16), Known>,
    seals: BTreeMap<(Generation, u16), u64>,
    retired_below: Generation,
    doubtful: Vec<Doubtful>,
    /// The number of the last checkpoint read.
    read: BTreeMap<(Generation, u16), u64>,
    /// The last one that a commit of the WAL says was durable.
    testified: BTreeMap<(Generation, u16), u64>,
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
    let (mut root, mut held) = enter(config, node_id, &mut report).await?;
    let Read {
        mut replay,
        checkpoints,
        wals,
        mut past,
        has_checkpoints,
    } = Box::pin(read_past(config, &mut root, &mut held, &mut report)).await?;

    let (entries, metadata_next) = replay.metadata_entries()?;
    let snapshot = replay.metadata_snapshot.take().map(|(_, bytes)| bytes);
    let metadata = MetadataReplay { snapshot, entries };
    let topics = known_topics(&metadata).map_err(StorageError::MetadataUnreadable)?;
    let mut logs = assemble(&mut replay, &topics, &mut report);
    // What damage hides may be a topic's creation: then its directory is not to go.
    let remove = match report.unknown_losses {
        true => Vec::new(),
        false => unknown_directories(config, &topics).await?,
    };

    root.generation = Generation(root.generation.0 + 1);
    root.node_id = node_id;
    let shards_before = std::mem::replace(&mut root.shards, shards);
    // Before the root file, so that one is never there without them.
    make_directories(config).await?;
    root.store(&config.data_dir).await?;
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
    hold_locks(held, Arc::clone(&handoff));
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

/// What there is on the disk, read.
struct Read {
    replay: Replay,
    checkpoints: Checkpoints,
    wals: Vec<OldWal>,
    past: Past,
    has_checkpoints: bool,
}

/// Locks, syncs and reads checkpoints and WALs.
async fn read_past(
    config: &StorageConfig,
    root: &mut Root,
    held: &mut Held,
    report: &mut RecoveryReport,
) -> Result<Read, StorageError> {
    let mut replay = Replay::default();
    timed(&mut report.waited_ms, open::lock_checkpoints(config, held)).await?;
    let (slots, doubtful) = reader::read_all(&config.data_dir, root.cluster_id).await?;
    let has_checkpoints = !slots.is_empty();
    let mut checkpoints = take_checkpoints(slots, &mut replay);
    checkpoints.doubtful = doubtful;
    let retired_below = checkpoints.retired_below;
    let opened = open::open_wals(config, root, retired_below, Some(held));
    let (mut wals, headless) = timed(&mut report.waited_ms, Box::pin(opened)).await?;
    root.has_wal |= !wals.is_empty();
    let past = Box::pin(scan_all(
        config,
        &mut wals,
        &headless,
        &mut checkpoints,
        &mut replay,
        report,
    ))
    .await?;
    Ok(Read {
        replay,
        checkpoints,
        wals,
        past,
        has_checkpoints,
    })
}

/// Adds what something takes, in milliseconds.
async fn timed<T>(sum_ms: &mut u64, waited_for: impl Future<Output = T>) -> T {
    let begun = now();
    let outcome = waited_for.await;
    *sum_ms += u64::try_from((now() - begun).as_millis()).unwrap_or(u64::MAX);
    outcome
}

/// Locks the data directory and reads its root file, or makes one.
async fn enter(
    config: &StorageConfig,
    node_id: i32,
    report: &mut RecoveryReport,
) -> Result<(Root, Held), StorageError> {
    // Looked at before anything is made, so that a wrong directory stays as it is.
    check_root(
        config,
        node_id,
        Root::load(&config.data_dir).await?.as_ref(),
    )
    .await?;
    let lock = timed(&mut report.waited_ms, open::lock_directory(config)).await?;
    let held = Held {
        lock,
        past: Vec::new(),
    };
    // And again under the lock: another process may have been at work until just now.
    let root = Root::load(&config.data_dir).await?;
    check_root(config, node_id, root.as_ref()).await?;
    report.new_directory = root.is_none();
    let root = match root {
        Some(root) => root,
        None => new_root(config, node_id).await?,
    };
    Ok((root, held))
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

async fn check_root(
    config: &StorageConfig,
    node_id: i32,
    root: Option<&Root>,
) -> Result<(), StorageError> {
    let Some(root) = root else {
        return root::require_empty(&config.data_dir).await;
    };
    if root.node_id != node_id {
        return Err(StorageError::Foreign {
            path: root::path(&config.data_dir),
            what: format!("it belongs to node {}, not {node_id}", root.node_id),
        });
    }
    open::check_wal_dir(config, root).await
}

/// The root of a new data directory; its generation is raised before it is stored.
async fn new_root(config: &StorageConfig, node_id: i32) -> Result<Root, StorageError> {
    let cluster_id = Uuid::from_bytes(tailwater_shards::random_uuid());
    let mut wal_dir_id = Uuid::nil();
    if let Some(wal_dir) = &config.wal_dir {
        open::create_durably(wal_dir).await?;
        let entries = dir::list(wal_dir)
            .await
            .map_err(StorageError::io("cannot list", wal_dir))?;
        // A first start that was interrupted leaves an identity and no WAL.
        if entries.iter().any(|entry| entry.name.ends_with(".wal")) {
            let what = "the WAL directory belongs to another data directory".to_owned();
            return Err(StorageError::Foreign {
                path: wal_dir.clone(),
                what,
            });
        }
        wal_dir_id = Uuid::from_bytes(tailwater_shards::random_uuid());
        root::store_wal_dir_id(wal_dir, cluster_id, wal_dir_id).await?;
    }
    Ok(Root {
        cluster_id,
        generation: Generation(0),
        node_id,
        shards: 0,
        wal_dir_id,
        has_wal: false,
    })
}

/// Takes the newest record of every partition, and what is known of the WALs.
fn take_checkpoints(slots: Vec<Slot>, replay: &mut Replay) -> Checkpoints {
    let mut all = Checkpoints::default();
    for slot in &slots {
        let newest = slot.groups.iter().map(|group| group.retired_below).max();
        all.retired_below = all.retired_below.max(newest.unwrap_or_default());
    }
    for slot in slots
        .into_iter()
        .filter(|slot| slot.generation >= all.retired_below)
    {
        all.read
            .insert((slot.generation, slot.shard), slot.number());
        let known = all.known.entry((slot.generation, slot.shard)).or_default();
        for group in slot.groups {
            known.from_lsn = known.from_lsn.max(group.replay_lsn);
            known.durable_lsn = known.durable_lsn.max(group.durable_lsn);
            for seal in group.seals {
                add_seal(&mut all.seals, seal);
            }
            if let Some((upto, bytes)) = group.metadata {
                let newer = replay
                    .metadata_snapshot
                    .as_ref()
                    .is_none_or(|(had, _)| *had <= upto);
                if newer {
                    replay.metadata_snapshot = Some((upto, bytes));
                }
            }
            for record in group.partitions {
                let tp = record.tp;
                if record.dropped {
                    replay.partitions.remove(&tp);
                    replay.dropped.insert(tp);
                } else {
                    replay.dropped.remove(&tp);
                    replay.partitions.entry(tp).or_default().record = Some(record);
                }
            }
        }
    }
    all
}

/// Two generations that sealed the same WAL agree; if they did not, the earlier end would be the
/// one that nothing was served beyond.
fn add_seal(seals: &mut BTreeMap<(Generation, u16), u64>, seal: Seal) {
    seals
        .entry((seal.generation, seal.shard))
        .and_modify(|end| *end = seal.end_lsn.min(*end))
        .or_insert(seal.end_lsn);
}

impl Checkpoints {
    /// Where a later generation has sealed the WAL.
    fn seal_of(&self, wal: &(Generation, u16)) -> Option<u64> {
        let seal = self.seals.get(wal).copied();
        seal.filter(|_| !planted::is(Planted::StaleCommitPastSeal))
    }
}

/// What the WALs of the past come to.
#[derive(Default)]
struct Past {
    seals: Vec<Seal>,
    files: Vec<OldFileInfo>,
    unproven: Vec<Unproven>,
}

async fn scan_all(
    config: &StorageConfig,
    wals: &mut [OldWal],
    headless: &[Headless],
    checkpoints: &mut Checkpoints,
    replay: &mut Replay,
    report: &mut RecoveryReport,
) -> Result<Past, StorageError> {
    seal::read_seals(wals, checkpoints).await?;
    open::refuse_headless(headless, checkpoints)?;
    let mut past = Past::default();
    let had_wal: Vec<_> = wals.iter().map(|wal| (wal.generation, wal.shard)).collect();
    for (index, wal) in wals.iter_mut().enumerate() {
        let key = (wal.generation, wal.shard);
        let mut known = checkpoints.known.get(&key).copied().unwrap_or_default();
        known.seal = checkpoints.seal_of(&key);
        for file in &wal.files {
            let Some(what) = file
                .header_damage
                .filter(|_| file.end_lsn() > known.from_lsn)
            else {
                continue;
            };
            report.damage.push(Corrupt {
                file: file.path.clone(),
                position: 0,
                what: what.to_owned(),
            });
        }
        replay.file_base = past.files.len();
        let scanned = wal.scan(known, replay).await;
        past.unproven
            .extend(scanned.unproven_lsn.map(|from_lsn| Unproven {
                wal: index,
                file_base: replay.file_base,
                from_lsn,
                end_lsn: scanned.end_lsn,
            }));
        checkpoints.testified.insert(key, scanned.checkpoint);
        report.commits += scanned.commits;
        report.torn_tails += usize::from(scanned.torn);
        past.seals.push(Seal {
            generation: wal.generation,
            shard: wal.shard,
            end_lsn: scanned.end_lsn,
        });
        past.files.extend(wal.files.iter().map(|file| OldFileInfo {
            name: file.name,
            bytes: file.bytes,
            start_lsn: file.start_lsn,
        }));
    }
    report.damage.append(&mut replay.noticed);
    doubt::judge(&config.data_dir, wals, checkpoints, replay, report)?;
    replay
        .missing_in
        .get_or_insert_with(|| (config.wal_path(), 0));
    // A WAL that a seal or a checkpoint knows to hold something, and of which no file is there.
    let sealed = checkpoints.seals.iter().map(|(key, end)| (*key, *end));
    let checked = checkpoints
        .known
        .iter()
        .map(|(key, known)| (*key, known.durable_lsn));
    for ((generation, shard), end) in sealed.chain(checked) {
        let needed = end
            > checkpoints
                .known
                .get(&(generation, shard))
                .map_or(0, |k| k.from_lsn);
        if needed
            && generation >= checkpoints.retired_below
            && !had_wal.contains(&(generation, shard))
        {
            let what = "all files of a WAL that is still needed are missing".to_owned();
            let file = format!("WAL of generation {generation}, shard {shard}").into();
            replay.lost_unknown(&Corrupt {
                file,
                position: end,
                what,
            });
        }
    }
    Ok(past)
}

fn assemble(
    replay: &mut Replay,
    topics: &BTreeMap<Uuid, TopicEra>,
    report: &mut RecoveryReport,
) -> Vec<(TopicPartition, SeedLog)> {
    let now_ms = wall_clock_ms();
    let mut logs = Vec::new();
    let missing_in = replay.missing_in.clone().unwrap_or_default();
    for (tp, partition) in std::mem::take(&mut replay.partitions) {
        let lives = topics
            .get(&tp.topic)
            .is_some_and(|era| (0..era.partitions).contains(&tp.partition));
        if !lives {
            continue;
        }
        let log = partition.assemble(tp, now_ms, &missing_in);
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

/// Directories of topics and partitions that are no more.
async fn unknown_directories(
    config: &StorageConfig,
    topics: &BTreeMap<Uuid, TopicEra>,
) -> Result<Vec<PathBuf>, StorageError> {
    let data_dir = &config.data_dir;
    let entries = dir::list(data_dir)
        .await
        .map_err(StorageError::io("cannot list", data_dir))?;
    let mut unknown = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        let Ok(topic) = Uuid::try_parse(&entry.name) else {
            continue;
        };
        if topic.as_hyphenated().to_string() == entry.name && !topics.contains_key(&topic) {
            unknown.push(data_dir.join(&entry.name));
        }
    }
    Ok(unknown)
}

async fn make_directories(config: &StorageConfig) -> Result<(), StorageError> {
    for path in [config.wal_path(), directory(&config.data_dir)] {
        open::create_durably(&path).await?;
    }
    Ok(())
}

/// The locks of the past's WALs are held until every shard has a locked WAL of its own; the lock
/// file's as long as the process lives.
fn hold_locks(held: Held, handoff: Arc<Handoff>) {
    spawn("storage-locks", async move {
        handoff.all_started.triggered().await;
        for file in held.past {
            file.close().await;
        }
        std::future::pending::<()>().await;
        drop(held.lock);
    })
    .detach();
}
