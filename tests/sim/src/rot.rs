//! What rots while the machine is off: one bit of a file, or a block that cannot be read any more.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tailwater_shards::sim::Simulation;
use tailwater_shards::{BLOCK_BYTES, dir};
use uuid::Uuid;

use crate::choices::Choices;
use crate::event::Tp;
use crate::history::{Step, What};
use crate::machine::DATA;

/// One history in so many has a last commit rot under load.
const UNDER_LOAD_ONE_IN: u64 = 6;
/// How many of a WAL's commits are its last ones.
const LAST_COMMITS: usize = 6;

/// What rots.
#[derive(Clone, Copy, Debug)]
pub struct Rot {
    /// Where: a number from which file and byte follow.
    pub at: u64,
    /// A whole block cannot be read any more, and not one bit has flipped.
    pub unreadable: bool,
    /// In which files.
    pub victim: Victim,
}

/// Which files may rot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// Any but the snapshots of groups.
    AnyFile,
    /// A snapshot of groups.
    Snapshot,
    /// A commit among the last of a WAL, which later ones prove to have been durable: so late that
    /// nothing beside the WAL need know yet whose records it held.
    LastCommits,
}

/// Has one of the last commits rot at one end of some histories, where nothing else rots.
pub(crate) fn weave(seed: u64, steps: &mut [Step]) {
    let mut choices = Choices::new(seed ^ 0x726f_7420_6c61_7374);
    if !choices.one_in(UNDER_LOAD_ONE_IN) {
        return;
    }
    // Not where the start after it is cut, too: that may take the commits that prove it, which the end
    // has left unsynced, and then nobody can tell it from one that was never durable.
    let ends = steps.iter_mut().filter_map(|step| match &mut step.what {
        What::Ends(restart) if restart.rot.is_none() && restart.again.is_empty() => Some(restart),
        _ => None,
    });
    let mut ends: Vec<_> = ends.collect();
    if ends.is_empty() {
        return;
    }
    let index = usize::try_from(choices.below(ends.len() as u64)).expect("an index");
    ends[index].rot = Some(Rot {
        at: choices.next(),
        unreadable: choices.one_in(2),
        victim: Victim::LastCommits,
    });
}

/// What kind of file has rotted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Root,
    Checkpoint,
    Wal,
    Segment,
    Index,
    /// Of groups.
    Snapshot,
}

const KINDS: [Kind; 5] = [
    Kind::Wal,
    Kind::Segment,
    Kind::Index,
    Kind::Checkpoint,
    Kind::Root,
];

/// What has rotted.
#[derive(Clone, Debug)]
pub(crate) struct Rotten {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    /// Whose file it is.
    pub(crate) tp: Option<Tp>,
    at: u64,
    /// The bit that has flipped; none: the block cannot be read.
    mask: Option<u8>,
    /// What the block held.
    block: Vec<u8>,
}

impl Rotten {
    /// Lets something rot, if there is anything of the kind that is chosen.
    pub(crate) fn choose(sim: &mut Simulation, rot: Rot) -> Option<Rotten> {
        let mut choices = Choices::new(rot.at);
        let kind = match rot.victim {
            Victim::AnyFile => choices.pick(&KINDS),
            Victim::Snapshot => Kind::Snapshot,
            Victim::LastCommits => Kind::Wal,
        };
        let all = sim.run(files());
        let of_kind = all.into_iter().filter(|path| kind_of(path) == Some(kind));
        let paths: Vec<PathBuf> = of_kind.collect();
        if paths.is_empty() {
            return None;
        }
        let (path, place) = match rot.victim {
            Victim::LastCommits => {
                let places = last_commits(sim, &paths);
                let places: Vec<_> = places.iter().collect();
                (!places.is_empty()).then(|| choices.pick(&places).clone())?
            }
            Victim::AnyFile | Victim::Snapshot => {
                let path = choices.pick(&paths.iter().collect::<Vec<_>>());
                (path.clone(), 0..usize::MAX)
            }
        };
        let bytes = sim.read_file(&path).ok()?;
        // Most of a WAL file is empty.
        let place = place.start..place.end.min(bytes.len());
        let used: Vec<usize> = place.filter(|at| bytes[*at] != 0).collect();
        if used.is_empty() {
            return None;
        }
        let at = choices.pick(&used);
        let mask = (!rot.unreadable).then(|| 1 << choices.u8(8));
        let block = bytes.get(at / BLOCK_BYTES * BLOCK_BYTES..)?;
        let block = block.get(..BLOCK_BYTES).unwrap_or(block).to_vec();
        let rotten = Rotten {
            tp: tp_of(&path),
            at: at as u64,
            mask,
            block,
            path,
            kind,
        };
        rotten.strike(sim);
        Some(rotten)
    }

    pub(crate) fn is_one_bit(&self) -> bool {
        self.mask.is_some()
    }

    /// Makes it good, if it is there: a start that was refused alters nothing but what earlier starts
    /// that were refused have left.
    pub(crate) fn heal(&self, sim: &Simulation) {
        let faults = sim.faults();
        let healed = match self.mask {
            Some(mask) => faults.corrupt(&self.path, self.at, mask),
            None => faults.restore(&self.path, self.at, &self.block),
        };
        drop(healed);
    }

    fn strike(&self, sim: &Simulation) {
        let faults = sim.faults();
        let struck = match self.mask {
            Some(mask) => faults.corrupt(&self.path, self.at, mask),
            None => faults.unreadable(&self.path, self.at),
        };
        struck.expect("a file that was just read");
    }

    /// Whether a sentence names the file.
    pub(crate) fn is_named(&self, sentence: &str) -> bool {
        let name = self.path.file_name().unwrap_or_default();
        sentence.contains(&*name.to_string_lossy())
    }
}

/// Where the header of a WAL file says at which LSN it begins.
const FILE_LSN: usize = 58;
/// Where a commit's header says its LSN, up to where the WAL was durable, and its length.
const COMMIT_LSN: usize = 16;
const COMMIT_DURABLE: usize = 32;
const COMMIT_LENGTH: usize = 44;
/// Where the first entry's header is: a commit without one holds zeros there.
const COMMIT_ENTRY: usize = 96;

/// A commit in a WAL file.
struct Commit {
    lsn: u64,
    /// What begins below was durable when it was built.
    durable: u64,
    has_entry: bool,
    path: PathBuf,
    place: Range<usize>,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The commits of a WAL file's present use.
fn commits(path: &Path, bytes: &[u8]) -> Vec<Commit> {
    let mut found = Vec::new();
    let Some(blocks) = bytes.get(BLOCK_BYTES..) else {
        return found;
    };
    let mut lsn = u64_at(bytes, FILE_LSN);
    for (at, block) in (BLOCK_BYTES..)
        .step_by(BLOCK_BYTES)
        .zip(blocks.chunks_exact(BLOCK_BYTES))
    {
        if block.starts_with(b"MCWT") && u64_at(block, COMMIT_LSN) == lsn {
            let length = u64_at(block, COMMIT_LENGTH) & u64::from(u32::MAX);
            let length = usize::try_from(length).expect("a u32");
            found.push(Commit {
                lsn,
                durable: u64_at(block, COMMIT_DURABLE),
                has_entry: block[COMMIT_ENTRY] != 0,
                path: path.to_owned(),
                place: at..at + length,
            });
        }
        lsn += block.len() as u64;
    }
    found
}

/// The last commits with something in them that later ones of their WAL prove to have been durable,
/// and where they are. Of WALs of the last generation only.
fn last_commits(sim: &Simulation, paths: &[PathBuf]) -> Vec<(PathBuf, Range<usize>)> {
    // Generation, shard and number: as many digits in each name.
    let wal_of = |path: &Path| Some(path.file_name()?.to_str()?.rsplit_once('-')?.0.to_owned());
    let newest = paths.iter().filter_map(|path| wal_of(path)).max();
    let newest = newest.unwrap_or_default();
    let generation = newest.split('-').next().unwrap_or_default();
    let mut wals: BTreeMap<String, Vec<Commit>> = BTreeMap::new();
    for path in paths {
        let wal = wal_of(path).filter(|wal| wal.starts_with(generation));
        // A power cut may have left a block that cannot be read.
        if let (Some(wal), Ok(bytes)) = (wal, sim.read_file(path)) {
            wals.entry(wal).or_default().extend(commits(path, &bytes));
        }
    }
    let mut last = Vec::new();
    for mut commits in wals.into_values() {
        commits.sort_by_key(|commit| commit.lsn);
        let durable = commits.iter().map(|commit| commit.durable).max();
        commits.retain(|commit| commit.has_entry && Some(commit.lsn) < durable);
        let from = commits.len().saturating_sub(LAST_COMMITS);
        let places = commits.drain(from..);
        last.extend(places.map(|commit| (commit.path, commit.place)));
    }
    last
}

async fn files() -> Vec<PathBuf> {
    let mut pending = vec![PathBuf::from(DATA)];
    let mut files = Vec::new();
    while let Some(next) = pending.pop() {
        for entry in dir::list(&next).await.unwrap_or_default() {
            let path = next.join(&entry.name);
            let list = if entry.is_dir {
                &mut pending
            } else {
                &mut files
            };
            list.push(path);
        }
    }
    files.sort();
    files
}

fn kind_of(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    match path.extension().and_then(|end| end.to_str()) {
        Some("wal") => Some(Kind::Wal),
        Some("log") => Some(Kind::Segment),
        Some("index") => Some(Kind::Index),
        Some("a" | "b") => Some(Kind::Checkpoint),
        _ if name == "snapshot" => Some(Kind::Snapshot),
        _ => (name == "root").then_some(Kind::Root),
    }
}

fn tp_of(path: &Path) -> Option<Tp> {
    let partition = path.parent()?;
    let topic = partition.parent()?.file_name()?.to_str()?;
    let number = partition.file_name()?.to_str()?.parse().ok()?;
    Some((Uuid::try_parse(topic).ok()?, number))
}
