//! What the checkpoints and the WALs of the past say, read and put into the replay.
#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;

use tailwater_shards::planted::{self, Planted};

use super::enter::{self, Held, timed};
use super::open::{self, Headless};
use super::relog::Unproven;
use super::replay::Replay;
use super::scan::{Known, OldWal};
use super::seeds::OldFileInfo;
use super::{RecoveryReport, doubt, seal};
use crate::checkpoint::format::Seal;
use crate::checkpoint::reader::{self, Doubtful, Slot};
use crate::config::StorageConfig;
use crate::error::{Corrupt, StorageError};
use crate::ids::Generation;
use crate::root::Root;
use crate::wal::witness::{self, Testimony};

/// The shard whose WAL holds the metadata.
const METADATA_SHARD: u16 = 0;

/// What the checkpoints of all generations say together.
#[derive(Default)]
pub(super) struct Checkpoints {
    /// By generation and shard.
    pub(super) known: BTreeMap<(Generation, u16), Known>,
    pub(super) seals: BTreeMap<(Generation, u16), u64>,
    pub(super) retired_below: Generation,
    pub(super) witnesses: BTreeMap<(Generation, u16), Testimony>,
    pub(super) doubtful: Vec<Doubtful>,
    /// The number of the last checkpoint read.
    pub(super) read: BTreeMap<(Generation, u16), u64>,
    /// The last one that a commit of the WAL says was durable.
    pub(super) testified: BTreeMap<(Generation, u16), u64>,
}

/// What there is on the disk, read.
pub(super) struct Read {
    pub(super) replay: Replay,
    pub(super) checkpoints: Checkpoints,
    pub(super) wals: Vec<OldWal>,
    pub(super) past: Past,
    pub(super) has_checkpoints: bool,
}

/// Locks, syncs and reads checkpoints and WALs.
pub(super) async fn read_past(
    config: &StorageConfig,
    root: &mut Root,
    held: &mut Held,
    report: &mut RecoveryReport,
) -> Result<Read, StorageError> {
    let mut replay = Replay::default();
    timed(&mut report.waited_ms, enter::lock_checkpoints(config, held)).await?;
    let (slots, doubtful) = reader::read_all(&config.data_dir, root.cluster_id).await?;
    let has_checkpoints = !slots.is_empty();
    let mut checkpoints = take_checkpoints(slots, &mut replay);
    checkpoints.doubtful = doubtful;
    let retired_below = checkpoints.retired_below;
    let wal_dir = config.wal_path();
    checkpoints.witnesses = witness::read_all(&wal_dir, root.cluster_id, retired_below).await?;
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

/// Takes the newest record of every partition, and what is known of the WALs.
pub(super) fn take_checkpoints(slots: Vec<Slot>, replay: &mut Replay) -> Checkpoints {
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
pub(super) fn add_seal(seals: &mut BTreeMap<(Generation, u16), u64>, seal: Seal) {
    seals
        .entry((seal.generation, seal.shard))
        .and_modify(|end| *end = seal.end_lsn.min(*end))
        .or_insert(seal.end_lsn);
}

impl Checkpoints {
    /// Where a later generation has sealed the WAL.
    pub(super) fn seal_of(&self, wal: &(Generation, u16)) -> Option<u64> {
        let seal = self.seals.get(wal).copied();
        seal.filter(|_| !planted::is(Planted::StaleCommitPastSeal))
    }
}

/// What the WALs of the past come to.
#[derive(Default)]
pub(super) struct Past {
    pub(super) seals: Vec<Seal>,
    pub(super) files: Vec<OldFileInfo>,
    pub(super) unproven: Vec<Unproven>,
}

/// Walks all WALs and judges what does not hold in them and in the checkpoints.
pub(super) async fn scan_all(
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
    for (index, wal) in wals.iter_mut().enumerate() {
        past.take(index, wal, checkpoints, replay, report).await;
    }
    report.damage.append(&mut replay.noticed);
    doubt::judge(&config.data_dir, wals, checkpoints, replay, report)?;
    replay
        .missing_in
        .get_or_insert_with(|| (config.wal_path(), 0));
    miss_wals(wals, checkpoints, replay);
    Ok(past)
}

impl Past {
    /// Walks one WAL: the one with this index.
    async fn take(
        &mut self,
        index: usize,
        wal: &mut OldWal,
        checkpoints: &mut Checkpoints,
        replay: &mut Replay,
        report: &mut RecoveryReport,
    ) {
        let key = (wal.generation, wal.shard);
        let mut known = checkpoints.known.get(&key).copied().unwrap_or_default();
        known.seal = checkpoints.seal_of(&key);
        let witness = checkpoints.witnesses.get(&key);
        if let Some(witness) = witness {
            known.durable_lsn = known.durable_lsn.max(witness.durable_lsn);
            known.witnessed = Some(witness.reach());
        }
        let needed = wal.files.iter().filter(|f| f.end_lsn() > known.from_lsn);
        let damaged = needed.filter_map(|file| {
            Some(Corrupt {
                file: file.path.clone(),
                position: 0,
                what: file.header_damage?.to_owned(),
            })
        });
        report.damage.extend(damaged);
        replay.file_base = self.files.len();
        replay.has_metadata = wal.shard == METADATA_SHARD;
        let scanned = wal.scan(known, replay).await;
        replay.compare(witness, known.from_lsn);
        self.unproven
            .extend(scanned.unproven_lsn.map(|from_lsn| Unproven {
                wal: index,
                file_base: replay.file_base,
                from_lsn,
                end_lsn: scanned.end_lsn,
            }));
        checkpoints.testified.insert(key, scanned.checkpoint);
        report.commits += scanned.commits;
        report.torn_tails += usize::from(scanned.torn);
        self.seals.push(Seal {
            generation: wal.generation,
            shard: wal.shard,
            end_lsn: scanned.end_lsn,
        });
        self.files.extend(wal.files.iter().map(|file| OldFileInfo {
            name: file.name,
            bytes: file.bytes,
            start_lsn: file.start_lsn,
        }));
    }
}

/// Names the WALs that a seal or a checkpoint knows to hold something still needed, and of which no
/// file is there.
fn miss_wals(wals: &[OldWal], checkpoints: &Checkpoints, replay: &mut Replay) {
    let sealed = checkpoints.seals.iter().map(|(key, end)| (*key, *end));
    let checked = checkpoints
        .known
        .iter()
        .map(|(key, known)| (*key, known.durable_lsn));
    let witnessed = checkpoints
        .witnesses
        .iter()
        .map(|(key, witness)| (*key, witness.durable_lsn));
    for (key, end) in sealed.chain(checked).chain(witnessed) {
        let known = checkpoints.known.get(&key);
        let is_needed = end > known.map_or(0, |known| known.from_lsn);
        let is_there = wals.iter().any(|wal| (wal.generation, wal.shard) == key);
        if !is_needed || is_there || key.0 < checkpoints.retired_below {
            continue;
        }
        let (generation, shard) = key;
        let what = "all files of a WAL that is still needed are missing".to_owned();
        replay.lost_unknown.push(Corrupt {
            file: format!("WAL of generation {generation}, shard {shard}").into(),
            position: end,
            what,
        });
    }
}
