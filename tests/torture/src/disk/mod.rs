//! A disk that keeps its word and no more: what was synced survives a power cut, of everything
//! else any part may be lost, torn or there before what came earlier.
//!
//! Data and size of a file are safe once the file is synced; a name, a rename or an unlink once
//! the directory is. A sync covers what had arrived before it was asked for.

mod content;
mod mount;
mod names;

use std::collections::BTreeMap;
use std::ffi::OsStr;

pub(crate) use content::Toll;
pub(crate) use mount::Mount;

use crate::rng::Rng;
use content::Content;
use names::{Names, Slot};

/// How likely each kind of unsynced change is to stay, in percent; drawn anew for each cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mood {
    data: u64,
    torn: u64,
    sizes: u64,
    names: u64,
}

impl Mood {
    pub(crate) fn drawn(rng: &mut Rng) -> Self {
        let chances = [0, 20, 50, 80, 100];
        Self {
            data: *rng.pick(&chances),
            torn: *rng.pick(&[0, 10, 30]),
            sizes: *rng.pick(&chances),
            names: *rng.pick(&chances),
        }
    }

    #[cfg(test)]
    const fn all(percent: u64) -> Self {
        Self {
            data: percent,
            torn: 0,
            sizes: percent,
            names: percent,
        }
    }
}

/// Syncs that are answered and not carried out: a bug planted below the broker, which is the
/// same to its data as a sync that it forgot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Planted {
    /// Of the write-ahead log's files.
    Wal,
    /// Of directories.
    Directory,
    /// Of segments.
    Segment,
    /// Of checkpoints.
    Checkpoint,
}

impl Planted {
    fn hits(self, path: &str, directory: bool) -> bool {
        match self {
            Self::Directory => directory,
            Self::Wal => !directory && path.ends_with(".wal"),
            Self::Segment => !directory && path.ends_with(".log"),
            Self::Checkpoint => !directory && path.contains("/checkpoint/"),
        }
    }
}

/// What it holds unless told otherwise: more than any run writes.
const CAPACITY_BYTES: u64 = 16 << 30;

/// The root directory's inode, as FUSE numbers it.
pub(crate) const ROOT: u64 = 1;

#[derive(Debug)]
struct Inode {
    /// `None` for a directory.
    content: Option<Content>,
    mode: u16,
    /// Where it was made or moved to last.
    path: String,
}

/// The whole disk, in memory.
#[derive(Debug)]
pub(crate) struct Disk {
    inodes: BTreeMap<u64, Inode>,
    names: Names,
    next_inode: u64,
    /// Counts changes and syncs, in the order in which they arrive.
    arrivals: u64,
    planted: Option<Planted>,
    /// How often the power has failed.
    cuts: u64,
    /// What it holds at most, all files together.
    pub(crate) capacity_bytes: u64,
    /// Writes refused because it was full.
    pub(crate) refused: u64,
    pub(crate) syncs: u64,
    pub(crate) syncs_skipped: u64,
}

impl Disk {
    pub(crate) fn new(planted: Option<Planted>) -> Self {
        let root = Inode {
            content: None,
            mode: 0o755,
            path: String::new(),
        };
        Self {
            inodes: BTreeMap::from([(ROOT, root)]),
            names: Names::default(),
            next_inode: ROOT + 1,
            arrivals: 0,
            planted,
            cuts: 0,
            capacity_bytes: CAPACITY_BYTES,
            refused: 0,
            syncs: 0,
            syncs_skipped: 0,
        }
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        let held = self
            .inodes
            .iter()
            .filter(|(inode, _)| self.is_named(**inode));
        let contents = held.filter_map(|(_, inode)| inode.content.as_ref());
        let used: u64 = contents.map(|content| content.now.len() as u64).sum();
        self.capacity_bytes.saturating_sub(used)
    }

    fn is_named(&self, inode: u64) -> bool {
        self.names.now.values().any(|named| *named == inode)
    }

    /// Writes, if there is room: whether there was.
    fn write(&mut self, inode: u64, at: usize, bytes: &[u8]) -> Option<bool> {
        let number = self.arrive();
        let length = self.content(inode)?.now.len();
        let grows = (at + bytes.len()).saturating_sub(length) as u64;
        if grows > 0 && self.capacity_bytes < CAPACITY_BYTES && grows > self.free_bytes() {
            self.refused += 1;
            return Some(false);
        }
        self.content(inode)?.write(number, at, bytes);
        Some(true)
    }

    fn arrive(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    fn find(&self, slot: &Slot) -> Option<u64> {
        self.names.now.get(slot).copied()
    }

    fn path(&self, slot: &Slot) -> String {
        let parent = self.inodes.get(&slot.0).map_or("", |inode| &inode.path);
        format!("{parent}/{}", slot.1.to_string_lossy())
    }

    fn make(&mut self, slot: Slot, mode: u32, directory: bool) -> u64 {
        let (inode, number) = (self.next_inode, self.arrive());
        self.next_inode += 1;
        let made = Inode {
            content: (!directory).then(Content::default),
            mode: u16::try_from(mode & 0o777).expect("nine bits"),
            path: self.path(&slot),
        };
        self.inodes.insert(inode, made);
        self.names.link(number, slot, inode);
        inode
    }

    fn rename(&mut self, from: Slot, to: Slot) -> Option<u64> {
        let (inode, number) = (self.find(&from)?, self.arrive());
        let path = self.path(&to);
        self.inodes.get_mut(&inode)?.path = path;
        self.names.rename(number, from, to, inode);
        Some(inode)
    }

    fn unlink(&mut self, slot: Slot) -> Option<u64> {
        let (inode, number) = (self.find(&slot)?, self.arrive());
        self.names.unlink(number, slot, inode);
        Some(inode)
    }

    fn children(&self, directory: u64) -> impl Iterator<Item = (&OsStr, u64)> {
        let all = self.names.now.iter();
        all.filter(move |((parent, _), _)| *parent == directory)
            .map(|((_, name), inode)| (name.as_os_str(), *inode))
    }

    fn content(&mut self, inode: u64) -> Option<&mut Content> {
        self.inodes.get_mut(&inode)?.content.as_mut()
    }

    /// A sync is asked for: what it will have to cover when it is carried out.
    fn ask_sync(&mut self, inode: u64) -> Option<u64> {
        let asked = self.inodes.get(&inode)?;
        let directory = asked.content.is_none();
        let skipped = self.planted.is_some_and(|p| p.hits(&asked.path, directory));
        self.syncs += 1;
        self.syncs_skipped += u64::from(skipped);
        let number = self.arrive();
        Some(if skipped { 0 } else { number })
    }

    fn sync(&mut self, inode: u64, number: u64) {
        match self.content(inode) {
            Some(content) => content.sync(number),
            None => self.names.sync(inode, number),
        }
    }

    /// The power fails.
    pub(crate) fn cut(&mut self, rng: &mut Rng) -> Toll {
        self.cuts += 1;
        let (mood, mut toll) = (Mood::drawn(rng), Toll::default());
        self.names.cut(rng, &mood, &mut toll);
        let held: std::collections::BTreeSet<u64> = self.names.now.values().copied().collect();
        self.inodes
            .retain(|inode, _| *inode == ROOT || held.contains(inode));
        for inode in self.inodes.values_mut() {
            if let Some(content) = &mut inode.content {
                content.cut(rng, &mood, &mut toll);
            }
        }
        toll
    }
}
