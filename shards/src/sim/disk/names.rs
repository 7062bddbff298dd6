//! Directories: which names there are, as seen and as durable.
//!
//! Each change of a name (a creation, a rename, a removal) shows at once and is durable only when
//! a sync of its directory, submitted after it, has covered it. Until then a cut keeps or loses
//! it on its own, whatever became of the changes before it. A rename is one change and never torn
//! into its halves (file systems journal it as one); between two directories it takes a sync of
//! both to be sure of it. Syncing a file says nothing about its name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

use rustix::io::Errno;

use crate::sim::rng::Rng;

/// A file or directory, whatever its names.
pub(crate) type Ino = u64;

/// The root directory, which is always there.
pub(crate) const ROOT: Ino = 1;

#[derive(Debug, Default)]
struct Directory {
    view: BTreeMap<String, Ino>,
    durable: BTreeMap<String, Ino>,
}

#[derive(Clone, Debug)]
enum Change {
    Link {
        dir: Ino,
        name: String,
        ino: Ino,
    },
    Unlink {
        dir: Ino,
        name: String,
        ino: Ino,
    },
    Rename {
        from: (Ino, String),
        to: (Ino, String),
        ino: Ino,
    },
}

impl Change {
    /// The names that it changes in `dir`.
    fn names_in(&self, dir: Ino) -> Vec<&str> {
        let all = match self {
            Change::Link { dir, name, .. } | Change::Unlink { dir, name, .. } => {
                vec![(*dir, name)]
            }
            Change::Rename { from, to, .. } => vec![(from.0, &from.1), (to.0, &to.1)],
        };
        let here = all.into_iter().filter(|(there, _)| *there == dir);
        here.map(|(_, name)| name.as_str()).collect()
    }
}

#[derive(Debug)]
struct Unsynced {
    change: Change,
    /// The directories whose sync it still needs.
    needs: BTreeSet<Ino>,
}

/// All directories of a disk.
#[derive(Debug)]
pub(crate) struct Names {
    dirs: BTreeMap<Ino, Directory>,
    unsynced: BTreeMap<u64, Unsynced>,
    /// The unsynced changes that need each directory's sync.
    by_dir: BTreeMap<Ino, BTreeSet<u64>>,
}

pub(crate) fn error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw_os_error())
}

/// The names along a path. Relative paths start at the root too: a simulated process has no
/// other working directory.
fn components(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir => {
                names.pop();
            }
            Component::Normal(name) => {
                names.push(name.to_str().ok_or_else(|| error(Errno::ILSEQ))?)
            }
            Component::Prefix(_) => return Err(error(Errno::INVAL)),
        }
    }
    Ok(names)
}

impl Names {
    pub(crate) fn new() -> Names {
        Names {
            dirs: BTreeMap::from([(ROOT, Directory::default())]),
            unsynced: BTreeMap::new(),
            by_dir: BTreeMap::new(),
        }
    }

    pub(crate) fn is_dir(&self, ino: Ino) -> bool {
        self.dirs.contains_key(&ino)
    }

    fn child(&self, dir: Ino, name: &str) -> io::Result<Ino> {
        let dir = self.dirs.get(&dir).ok_or_else(|| error(Errno::NOTDIR))?;
        dir.view
            .get(name)
            .copied()
            .ok_or_else(|| error(Errno::NOENT))
    }

    /// What `path` names.
    pub(crate) fn resolve(&self, path: &Path) -> io::Result<Ino> {
        components(path)?
            .into_iter()
            .try_fold(ROOT, |dir, name| self.child(dir, name))
    }

    /// The directory that holds `path`'s last name, and that name.
    pub(crate) fn parent(&self, path: &Path) -> io::Result<(Ino, String)> {
        let mut names = components(path)?;
        let last = names.pop().ok_or_else(|| error(Errno::BUSY))?;
        let dir = names
            .into_iter()
            .try_fold(ROOT, |dir, name| self.child(dir, name))?;
        if self.is_dir(dir) {
            Ok((dir, last.to_owned()))
        } else {
            Err(error(Errno::NOTDIR))
        }
    }

    /// What a directory holds, in order of name.
    pub(crate) fn list(&self, dir: Ino) -> io::Result<Vec<(String, Ino)>> {
        let dir = self.dirs.get(&dir).ok_or_else(|| error(Errno::NOTDIR))?;
        Ok(dir
            .view
            .iter()
            .map(|(name, ino)| (name.clone(), *ino))
            .collect())
    }

    /// The files whose whole paths are durable and stay so, whatever a cut keeps or loses.
    pub(crate) fn sure_files(&self) -> Vec<Ino> {
        let mut files = Vec::new();
        let mut open = vec![ROOT];
        while let Some(dir) = open.pop() {
            let Some(directory) = self.dirs.get(&dir) else {
                files.push(dir);
                continue;
            };
            let pending = self.by_dir.get(&dir).into_iter().flatten();
            let unsure: BTreeSet<&str> = pending
                .filter_map(|seq| self.unsynced.get(seq))
                .flat_map(|unsynced| unsynced.change.names_in(dir))
                .collect();
            let sure = directory.durable.iter();
            open.extend(
                sure.filter(|(name, _)| !unsure.contains(name.as_str()))
                    .map(|(_, ino)| *ino),
            );
        }
        files
    }

    fn view(&mut self, dir: Ino) -> &mut BTreeMap<String, Ino> {
        &mut self.dirs.get_mut(&dir).expect("resolved just before").view
    }

    fn push(&mut self, seq: u64, change: Change) {
        let needs = match &change {
            Change::Link { dir, .. } | Change::Unlink { dir, .. } => BTreeSet::from([*dir]),
            Change::Rename { from, to, .. } => BTreeSet::from([from.0, to.0]),
        };
        for dir in &needs {
            self.by_dir.entry(*dir).or_default().insert(seq);
        }
        self.unsynced.insert(seq, Unsynced { change, needs });
    }

    /// Gives `ino` a name that is not taken.
    pub(crate) fn link(&mut self, seq: u64, dir: Ino, name: &str, ino: Ino, is_dir: bool) {
        let before = self.view(dir).insert(name.to_owned(), ino);
        assert!(before.is_none(), "the name was free");
        if is_dir {
            self.dirs.insert(ino, Directory::default());
        }
        self.push(
            seq,
            Change::Link {
                dir,
                name: name.to_owned(),
                ino,
            },
        );
    }

    /// Takes a name away.
    pub(crate) fn unlink(&mut self, seq: u64, dir: Ino, name: &str) -> io::Result<Ino> {
        let ino = self.child(dir, name)?;
        self.view(dir).remove(name);
        self.push(
            seq,
            Change::Unlink {
                dir,
                name: name.to_owned(),
                ino,
            },
        );
        Ok(ino)
    }

    /// Moves a name over another one. Returns what lost its name by that.
    pub(crate) fn rename(&mut self, seq: u64, from: &Path, to: &Path) -> io::Result<Option<Ino>> {
        let from = self.parent(from)?;
        let to = self.parent(to)?;
        let ino = self.child(from.0, &from.1)?;
        if from == to {
            return Ok(None);
        }
        let replaced = self
            .dirs
            .get(&to.0)
            .and_then(|dir| dir.view.get(&to.1))
            .copied();
        if let Some(replaced) = replaced {
            match (self.is_dir(ino), self.dirs.get(&replaced)) {
                (false, Some(_)) => return Err(error(Errno::ISDIR)),
                (true, None) => return Err(error(Errno::NOTDIR)),
                (true, Some(dir)) if !dir.view.is_empty() => return Err(error(Errno::NOTEMPTY)),
                _ => {}
            }
        }
        self.view(from.0).remove(&from.1);
        self.view(to.0).insert(to.1.clone(), ino);
        self.push(seq, Change::Rename { from, to, ino });
        Ok(replaced)
    }

    /// Makes durable the names of `dir` that were changed up to and including `covered`. What
    /// becomes durable takes along the earlier changes of the same name: no journal holds a name's
    /// later change without its earlier one.
    pub(crate) fn sync(&mut self, dir: Ino, covered: u64) {
        let Some(mine) = self.by_dir.get_mut(&dir) else {
            return;
        };
        let later = mine.split_off(&(covered + 1));
        let seqs = std::mem::replace(mine, later);
        let mut durable: BTreeMap<String, u64> = BTreeMap::new();
        for seq in &seqs {
            let unsynced = self.unsynced.get_mut(seq).expect("indexed");
            unsynced.needs.remove(&dir);
            if unsynced.needs.is_empty() {
                let names = unsynced.change.names_in(dir);
                durable.extend(names.into_iter().map(|name| (name.to_owned(), *seq)));
            }
        }
        for seq in seqs {
            let unsynced = self.unsynced.get(&seq).expect("indexed");
            let overtaken = |name: &str| durable.get(name).is_some_and(|last| *last >= seq);
            if unsynced.change.names_in(dir).into_iter().any(overtaken) {
                let unsynced = self.unsynced.remove(&seq).expect("looked at above");
                for other in &unsynced.needs {
                    self.by_dir.get_mut(other).expect("indexed").remove(&seq);
                }
                self.persist(&unsynced.change);
            }
        }
    }

    /// Every unsynced name is kept or lost by chance; what is then durable is what the next start
    /// sees.
    pub(crate) fn cut(&mut self, rng: &mut Rng) {
        self.by_dir.clear();
        for unsynced in std::mem::take(&mut self.unsynced).into_values() {
            if rng.coin() {
                self.persist(&unsynced.change);
            }
        }
        for dir in self.dirs.values_mut() {
            dir.view = dir.durable.clone();
        }
        let reachable = self.reachable();
        self.dirs.retain(|ino, _| reachable.contains(ino));
    }

    fn persist(&mut self, change: &Change) {
        match change {
            Change::Link { dir, name, ino } => self.persist_name(*dir, name, Some(*ino)),
            Change::Unlink { dir, name, ino } => self.persist_removal(*dir, name, *ino),
            Change::Rename { from, to, ino } => {
                self.persist_removal(from.0, &from.1, *ino);
                self.persist_name(to.0, &to.1, Some(*ino));
            }
        }
    }

    fn persist_name(&mut self, dir: Ino, name: &str, ino: Option<Ino>) {
        let Some(dir) = self.dirs.get_mut(&dir) else {
            return;
        };
        match ino {
            Some(ino) => dir.durable.insert(name.to_owned(), ino),
            None => dir.durable.remove(name),
        };
    }

    fn persist_removal(&mut self, dir: Ino, name: &str, ino: Ino) {
        let durable = self
            .dirs
            .get(&dir)
            .and_then(|dir| dir.durable.get(name))
            .copied();
        if durable == Some(ino) {
            self.persist_name(dir, name, None);
        }
    }

    /// Everything that has a name now, could have one after a cut, or is about to lose one.
    pub(crate) fn reachable(&self) -> BTreeSet<Ino> {
        let mut reached = BTreeSet::from([ROOT]);
        for unsynced in self.unsynced.values() {
            let (Change::Link { ino, .. }
            | Change::Unlink { ino, .. }
            | Change::Rename { ino, .. }) = unsynced.change;
            reached.insert(ino);
        }
        let mut open: Vec<Ino> = reached.iter().copied().collect();
        while let Some(ino) = open.pop() {
            let Some(dir) = self.dirs.get(&ino) else {
                continue;
            };
            for child in dir.view.values().chain(dir.durable.values()) {
                if reached.insert(*child) {
                    open.push(*child);
                }
            }
        }
        reached
    }

    /// Everything that has a name now.
    pub(crate) fn named(&self) -> BTreeSet<Ino> {
        // A removed directory keeps no names: it was empty, or its names went first.
        self.dirs
            .values()
            .flat_map(|dir| dir.view.values().copied())
            .collect()
    }

    /// Forgets directories that nothing can reach any more.
    pub(crate) fn retain(&mut self, reachable: &BTreeSet<Ino>) {
        self.dirs.retain(|ino, _| reachable.contains(ino));
        self.by_dir.retain(|_, changes| !changes.is_empty());
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }
}
