//! Directory entries: what look-ups see, and what a power cut cannot take.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::Mood;
use super::content::Toll;
use crate::rng::Rng;

/// A directory's inode and a name in it.
pub(crate) type Slot = (u64, OsString);

#[derive(Debug, Clone)]
enum Change {
    Link(Slot, u64),
    Unlink(Slot, u64),
    Rename(Slot, Slot, u64),
}

impl Change {
    fn slots(&self) -> (&Slot, &Slot) {
        match self {
            Self::Link(slot, _) | Self::Unlink(slot, _) => (slot, slot),
            Self::Rename(from, to, _) => (from, to),
        }
    }

    fn inode(&self) -> u64 {
        match self {
            Self::Link(_, inode) | Self::Unlink(_, inode) | Self::Rename(_, _, inode) => *inode,
        }
    }

    fn touches(&self, directory: u64) -> bool {
        let (one, other) = self.slots();
        one.0 == directory || other.0 == directory
    }

    /// This cannot have happened without the earlier one.
    fn needs(&self, earlier: &Self) -> bool {
        let ((a, b), (c, d)) = (self.slots(), earlier.slots());
        self.inode() == earlier.inode() || a == c || a == d || b == c || b == d
    }

    fn apply(&self, to: &mut BTreeMap<Slot, u64>) {
        match self {
            Self::Link(slot, inode) => {
                to.insert(slot.clone(), *inode);
            }
            Self::Unlink(slot, inode) => {
                // A directory goes only when it is empty.
                let holds = to.keys().any(|(directory, _)| directory == inode);
                if to.get(slot) == Some(inode) && !holds {
                    to.remove(slot);
                }
            }
            Self::Rename(from, into, inode) => {
                if to.get(from) == Some(inode) {
                    to.remove(from);
                    to.insert(into.clone(), *inode);
                }
            }
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) now: BTreeMap<Slot, u64>,
    safe: BTreeMap<Slot, u64>,
    unsynced: Vec<(u64, Change)>,
}

impl Names {
    fn change(&mut self, number: u64, change: Change) {
        change.apply(&mut self.now);
        self.unsynced.push((number, change));
    }

    pub(crate) fn link(&mut self, number: u64, slot: Slot, inode: u64) {
        self.change(number, Change::Link(slot, inode));
    }

    pub(crate) fn unlink(&mut self, number: u64, slot: Slot, inode: u64) {
        self.change(number, Change::Unlink(slot, inode));
    }

    pub(crate) fn rename(&mut self, number: u64, from: Slot, to: Slot, inode: u64) {
        self.change(number, Change::Rename(from, to, inode));
    }

    /// Makes safe what happened in a directory before `number`, with what that rests on.
    pub(crate) fn sync(&mut self, directory: u64, number: u64) {
        let all = &self.unsynced;
        let mut covered: Vec<bool> = all
            .iter()
            .map(|(n, change)| *n < number && change.touches(directory))
            .collect();
        for later in (0..all.len()).rev() {
            if covered[later] {
                for earlier in 0..later {
                    covered[earlier] |= all[later].1.needs(&all[earlier].1);
                }
            }
        }
        let mut covered = covered.into_iter();
        let safe = &mut self.safe;
        self.unsynced.retain(|(_, change)| {
            let now = covered.next().unwrap_or_default();
            if now {
                change.apply(safe);
            }
            !now
        });
    }

    /// The power fails: each change that was not synced is there or not, on its own.
    pub(crate) fn cut(&mut self, rng: &mut Rng, mood: &Mood, toll: &mut Toll) {
        for (_, change) in std::mem::take(&mut self.unsynced) {
            if rng.chance(mood.names) {
                change.apply(&mut self.safe);
                toll.names_kept += 1;
            } else {
                toll.names_lost += 1;
            }
        }
        self.now.clone_from(&self.safe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(name: &str) -> Slot {
        (1, name.into())
    }

    fn after_cut(names: &mut Names, percent: u64) -> Vec<String> {
        names.cut(&mut Rng::new(1), &Mood::all(percent), &mut Toll::default());
        let held = names.now.keys();
        held.map(|(_, name)| name.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_name_is_safe_only_once_its_directory_is_synced() {
        let mut names = Names::default();
        names.link(1, slot("a"), 10);
        names.sync(1, 2);
        names.link(3, slot("b"), 11);
        names.unlink(4, slot("a"), 10);
        assert_eq!(after_cut(&mut names, 0), ["a"]);
    }

    #[test]
    fn a_rename_happens_wholly_or_not_at_all() {
        for percent in [0, 100] {
            let mut names = Names::default();
            names.link(1, slot("new"), 10);
            names.sync(1, 2);
            names.rename(3, slot("new"), slot("root"), 10);
            let expected = if percent == 0 { "new" } else { "root" };
            assert_eq!(after_cut(&mut names, percent), [expected]);
        }
    }
}
