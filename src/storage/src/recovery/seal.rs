//! Seals: where the WALs of past generations end. They are the first commit of a generation, in a
//! small file of its own before the ring's first, and durable before anything is served.
#![deny(clippy::indexing_slicing)]

use tailwater_shards::{File, IoClass};

use super::enter::Held;
use super::past::{Checkpoints, add_seal};
use super::relog;
use super::scan::OldWal;
use crate::checkpoint::format::Seal;
use crate::config::{BLOCK, StorageConfig};
use crate::error::StorageError;
use crate::fields::U62_END;
use crate::ids::{Generation, TopicPartition};
use crate::root::Root;
use crate::wal::StreamStart;
use crate::wal::commit::{Chain, Plan, build_headers};
use crate::wal::file::{WalFile, WalName};
use crate::wal::format::{EntryHeader, EntryKind, entry_headers};

fn entry_of(seal: &Seal) -> EntryHeader {
    let partition = i32::from(seal.shard);
    let tp = TopicPartition::new(uuid::Uuid::nil(), partition);
    let generation = i64::try_from(seal.generation.0).expect("a count of starts");
    let end = i64::try_from(seal.end_lsn).expect("a position in a stream");
    EntryHeader::plain(EntryKind::Seal, tp, generation, end)
}

fn seal_of(entry: &EntryHeader) -> Option<Seal> {
    let counted = |number: i64| u64::try_from(number).ok().filter(|n| *n < U62_END);
    Some(Seal {
        generation: Generation(counted(entry.base)?),
        shard: u16::try_from(entry.tp.partition).ok()?,
        end_lsn: counted(entry.end).filter(|end| end.is_multiple_of(BLOCK))?,
    })
}

/// Reads the first commit of every generation on shard 0, before any WAL is replayed.
///
/// A generation whose first commit is not whole had served nothing, unless it wrote more: then
/// its seals are lost, and without them nobody can tell where the WALs before it end.
pub(super) async fn read_seals(
    wals: &mut [OldWal],
    checkpoints: &mut Checkpoints,
) -> Result<(), StorageError> {
    // The newest first: they know where the older ones end, and so which of their copies count.
    for index in (0..wals.len()).rev() {
        if let Some(wal) = wals.get_mut(index) {
            let key = (wal.generation, wal.shard);
            relog::settle(wal, checkpoints.seal_of(&key).is_some());
        }
        let Some(wal) = wals.get_mut(index).filter(|wal| wal.shard == 0) else {
            continue;
        };
        let generation = wal.generation;
        let mut seals = Vec::new();
        let mut whole = false;
        let mut path = None;
        if let Some(file) = wal.files.iter_mut().find(|file| file.start_lsn == 0) {
            path = Some(file.path.clone());
            if let Some((header, _)) = file.header_at(0).await
                && let Some(commit) = file.commit(&header).await
            {
                let entries: Vec<_> = entry_headers(&header, &commit).collect();
                whole = entries.iter().all(Option::is_some);
                let found = entries.iter().flatten();
                seals.extend(
                    found
                        .filter(|e| e.kind == EntryKind::Seal)
                        .filter_map(seal_of),
                );
            }
        }
        if whole {
            seals
                .into_iter()
                .for_each(|seal| add_seal(&mut checkpoints.seals, seal));
            continue;
        }
        let unsealed = wals.iter().any(|wal| {
            wal.generation < generation
                && !checkpoints.seals.contains_key(&(wal.generation, wal.shard))
        });
        if unsealed && has_served(wals, checkpoints, generation).await {
            let path = path.unwrap_or_else(|| format!("WAL of generation {generation}").into());
            return Err(StorageError::corrupt(
                path,
                BLOCK,
                "the seals of past WALs are damaged",
            ));
        }
    }
    Ok(())
}

/// Whether there is a trace of anything that a generation did after its seals were durable.
async fn has_served(
    wals: &mut [OldWal],
    checkpoints: &Checkpoints,
    generation: Generation,
) -> bool {
    if checkpoints.known.keys().any(|(had, _)| *had == generation) {
        return true;
    }
    for wal in wals.iter_mut().filter(|wal| wal.generation == generation) {
        for file in &mut wal.files {
            let first = file.start_lsn;
            if (wal.shard != 0 || first > 0) && file.header_at(first).await.is_some() {
                return true;
            }
        }
    }
    false
}

/// Writes the seals, durably, and tells where shard 0's stream goes on.
pub(super) async fn seal_past(
    config: &StorageConfig,
    root: &Root,
    seals: &[Seal],
    held: &mut Held,
) -> Result<StreamStart, StorageError> {
    if seals.is_empty() {
        return Ok(StreamStart {
            next_seq: 1,
            ..StreamStart::default()
        });
    }
    let mut plan = Plan::of_headers(seals.iter().map(entry_of).collect());
    let name = WalName {
        generation: root.generation,
        shard: 0,
        seq: 1,
    };
    let bytes = BLOCK + plan.length as u64;
    let file = WalFile::create(&config.wal_path(), name, root.cluster_id, bytes, 0).await?;
    let chain = Chain {
        generation: root.generation,
        shard: 0,
        lsn: 0,
        prev_lsn: 0,
        prev_crc: 0,
        durable_lsn: 0,
        checkpoint: 0,
    };
    let built = build_headers(&mut plan, chain);
    let handle: File = file.handle();
    handle
        .write_durable(IoClass::Commit, BLOCK, &built.buf)
        .await
        .map_err(StorageError::io("cannot write the seals in", &file.path))?;
    held.past.push(handle);
    let end = plan.length as u64;
    Ok(StreamStart {
        next_seq: 2,
        next_lsn: end,
        before: Some((0, built.header_crc)),
        durable_lsn: end,
    })
}
