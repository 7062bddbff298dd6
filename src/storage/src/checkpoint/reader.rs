//! Reads the checkpoints that a start finds.
#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tailwater_shards::{BLOCK_BYTES, File, IoClass, OpenOptions, dir};
use uuid::Uuid;

use super::format::{GROUP_HEADER_BYTES, Group, GroupHeader};
use super::writer::{directory, file_name, number};
use crate::error::StorageError;
use crate::fields::{Reader, blocks};
use crate::file_header::{FileHeader, HeaderProblem, Kind};
use crate::ids::Generation;
use crate::patience::Patience;

/// The groups of one file that counts, oldest first; the first names every partition.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) counter: u64,
    pub(crate) groups: Vec<Group>,
    /// Where in the file something follows that is no group of it.
    pub(crate) rest: Option<u64>,
    pub(crate) path: PathBuf,
    /// The generation that wrote it, and its shard.
    pub(crate) generation: Generation,
    pub(crate) shard: u16,
}

/// What of the checkpoints does not hold: torn when it was written, or rotten since. The WAL tells
/// which: its commits name the checkpoint that counted, and what it has freed is gone.
#[derive(Debug)]
pub(crate) struct Doubtful {
    pub(crate) generation: Generation,
    pub(crate) shard: u16,
    pub(crate) path: PathBuf,
    pub(crate) position: u64,
}

impl Slot {
    /// The number of the last group that is whole.
    pub(crate) fn number(&self) -> u64 {
        number(self.counter, self.groups.len() as u64)
    }
}

pub(crate) fn parse_name(name: &str) -> Option<(Generation, u16)> {
    let stem = name
        .strip_suffix(".a")
        .or_else(|| name.strip_suffix(".b"))?;
    let (generation, shard) = stem.split_once('-')?;
    let (generation, shard) = (Generation(generation.parse().ok()?), shard.parse().ok()?);
    let slot = name.chars().last()?;
    (file_name(generation, shard, slot) == name).then_some((generation, shard))
}

/// The names of all checkpoint files, with what their names say.
pub(crate) async fn list(
    data_dir: &Path,
) -> Result<BTreeMap<(Generation, u16), Vec<PathBuf>>, StorageError> {
    let dir_path = directory(data_dir);
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let exists = dir::exists(&dir_path).await;
    if !exists.map_err(StorageError::io("cannot look for", &dir_path))? {
        return Ok(found);
    }
    let entries = dir::list(&dir_path)
        .await
        .map_err(StorageError::io("cannot list", &dir_path))?;
    for entry in entries {
        if let Some(key) = parse_name(&entry.name) {
            found
                .entry(key)
                .or_default()
                .push(dir_path.join(entry.name));
        }
    }
    Ok(found)
}

/// Reads the file that counts of each generation and shard, oldest generation first.
pub(crate) async fn read_all(
    data_dir: &Path,
    cluster_id: Uuid,
) -> Result<(Vec<Slot>, Vec<Doubtful>), StorageError> {
    let mut slots = Vec::new();
    let mut doubtful = Vec::new();
    for ((generation, shard), paths) in list(data_dir).await? {
        let mut best: Option<Slot> = None;
        let mut invalid = Vec::new();
        for path in paths {
            match read_slot(&path, cluster_id, generation, shard).await? {
                Ok(slot) if best.as_ref().is_none_or(|b| b.counter < slot.counter) => {
                    best = Some(slot);
                }
                Ok(_) => {}
                Err(position) => invalid.push((path, position)),
            }
        }
        // A first checkpoint may be torn, and so may one file while the other counts. But two
        // files are there only once one of them counted.
        if let (None, [(path, position), _]) = (&best, invalid.as_slice()) {
            return Err(StorageError::corrupt(
                path,
                *position,
                "neither checkpoint of its shard is valid",
            ));
        }
        let torn = best
            .as_ref()
            .and_then(|slot| Some((slot.path.clone(), slot.rest?)));
        doubtful.extend(
            invalid
                .into_iter()
                .chain(torn)
                .map(|(path, position)| Doubtful {
                    generation,
                    shard,
                    path,
                    position,
                }),
        );
        slots.extend(best);
    }
    Ok((slots, doubtful))
}

/// Reads one file; where it stops making sense if it does not count: its first group is not whole.
pub(crate) async fn read_slot(
    path: &Path,
    cluster_id: Uuid,
    generation: Generation,
    shard: u16,
) -> Result<Result<Slot, u64>, StorageError> {
    let bytes = read_whole(path).await?;
    let header = match FileHeader::decode(Kind::Checkpoint, path, &bytes) {
        Ok(header) => header,
        Err(HeaderProblem::Invalid(_)) => return Ok(Err(0)),
        Err(HeaderProblem::Refused(error)) => return Err(error),
    };
    let mut r = Reader(&header.body);
    let (Some(own_shard), Some(counter)) = (r.u16(), r.u62()) else {
        return Ok(Err(0));
    };
    if header.cluster_id != cluster_id || header.generation != generation || own_shard != shard {
        let what = "it belongs to another data directory, generation or shard".to_owned();
        return Err(StorageError::Foreign {
            path: path.into(),
            what,
        });
    }
    let mut groups = Vec::new();
    let mut at = BLOCK_BYTES;
    while let Some((group, end)) = group_at(&bytes, at, counter, groups.len() as u64) {
        groups.push(group);
        at = end;
    }
    // A group after the bad one was written after the bad one was durable.
    let mut later = at + BLOCK_BYTES;
    while later < bytes.len() {
        let header = bytes.get(later..).and_then(GroupHeader::decode);
        let newer = header
            .filter(|header| header.counter == counter && header.seq > groups.len() as u64)
            .is_some();
        if newer {
            let what = "a checkpoint that had been durable is damaged";
            return Err(StorageError::corrupt(path, at as u64, what));
        }
        later += BLOCK_BYTES;
    }
    if groups.is_empty() {
        return Ok(Err(at as u64));
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let rest = rest.iter().any(|byte| *byte != 0).then_some(at as u64);
    Ok(Ok(Slot {
        counter,
        groups,
        rest,
        path: path.into(),
        generation,
        shard,
    }))
}

fn group_at(bytes: &Bytes, at: usize, counter: u64, seq: u64) -> Option<(Group, usize)> {
    let rest = bytes.get(at..)?;
    let header = GroupHeader::decode(rest)?;
    if header.counter != counter || header.seq != seq {
        return None;
    }
    let group = Group::decode(&header, rest)?;
    debug_assert!(header.total() >= GROUP_HEADER_BYTES);
    Some((group, at + header.total()))
}

/// A whole small file; blocks that stay unreadable come back as zeros.
pub(crate) async fn read_whole(path: &Path) -> Result<Bytes, StorageError> {
    let options = OpenOptions {
        create_new: false,
        write: false,
    };
    let file = File::open(path, options)
        .await
        .map_err(StorageError::io("cannot open", path))?;
    let size = file
        .size()
        .await
        .map_err(StorageError::io("cannot measure", path))?;
    let size = usize::try_from(size).expect("64-bit addresses");
    let whole = if size == 0 {
        Ok(Bytes::new())
    } else {
        file.read(IoClass::Maintenance, 0, blocks(size)).await
    };
    let bytes = match whole {
        Ok(bytes) => bytes,
        Err(_) => {
            let mut patience = Patience::default();
            let mut bytes = Vec::with_capacity(size);
            while bytes.len() < size {
                let at = bytes.len();
                let block = patience.read(&file, path, at as u64, BLOCK_BYTES).await;
                bytes.extend_from_slice(&block.unwrap_or_default());
                bytes.resize((at + BLOCK_BYTES).min(size), 0);
            }
            bytes.into()
        }
    };
    file.close().await;
    Ok(bytes)
}
