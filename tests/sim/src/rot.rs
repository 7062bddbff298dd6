//! What rots while the machine is off: one bit of a file, or a block that cannot be read any more.

use std::path::{Path, PathBuf};

use tailwater_shards::sim::Simulation;
use tailwater_shards::{BLOCK_BYTES, dir};
use uuid::Uuid;

use crate::choices::Choices;
use crate::event::Tp;
use crate::history::Rot;
use crate::machine::DATA;

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
        let kind = match rot.of_groups {
            true => Kind::Snapshot,
            false => choices.pick(&KINDS),
        };
        let all = sim.run(files());
        let files: Vec<PathBuf> = all
            .into_iter()
            .filter(|path| kind_of(path) == Some(kind))
            .collect();
        if files.is_empty() {
            return None;
        }
        let path = choices.pick(&files.iter().collect::<Vec<_>>()).clone();
        // Most of a WAL file is empty.
        let bytes = sim.read_file(&path).ok()?;
        let used: Vec<u64> = (0..)
            .zip(&bytes)
            .filter_map(|(at, byte)| (*byte != 0).then_some(at))
            .collect();
        if used.is_empty() {
            return None;
        }
        let at = choices.pick(&used);
        let mask = (!rot.unreadable).then(|| 1 << choices.u8(8));
        let block = usize::try_from(at).expect("in memory") / BLOCK_BYTES * BLOCK_BYTES;
        let block = bytes.get(block..)?;
        let block = block.get(..BLOCK_BYTES).unwrap_or(block).to_vec();
        let rotten = Rotten {
            tp: tp_of(&path),
            at,
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
