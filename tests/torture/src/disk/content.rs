//! A file's bytes: what reads see, what a power cut cannot take, and what lies between.

use super::Mood;
use crate::rng::Rng;

/// What a disk writes as one.
const SECTOR_BYTES: usize = 512;
/// Each block of a write meets its own fate.
const BLOCK_BYTES: usize = 4096;

#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

/// What became of the changes that no sync had covered.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Toll {
    pub(crate) blocks_kept: u64,
    pub(crate) blocks_lost: u64,
    pub(crate) blocks_torn: u64,
    pub(crate) sizes_lost: u64,
    pub(crate) names_kept: u64,
    pub(crate) names_lost: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) now: Vec<u8>,
    safe: Vec<u8>,
    /// Since the last sync, oldest first, numbered by arrival.
    unsynced: Vec<(u64, Change)>,
}

fn write(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if into.len() < at + bytes.len() {
        into.resize(at + bytes.len(), 0);
    }
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Content {
    pub(crate) fn write(&mut self, number: u64, at: usize, bytes: &[u8]) {
        write(&mut self.now, at, bytes);
        let bytes = bytes.to_vec();
        self.unsynced.push((number, Change::Write { at, bytes }));
    }

    pub(crate) fn resize(&mut self, number: u64, length: usize) {
        self.now.resize(length, 0);
        self.unsynced.push((number, Change::Length(length)));
    }

    /// Makes safe what arrived before `number`.
    pub(crate) fn sync(&mut self, number: u64) {
        let covered = self.unsynced.partition_point(|(n, _)| *n < number);
        for (_, change) in self.unsynced.drain(..covered) {
            match change {
                Change::Write { at, bytes } => write(&mut self.safe, at, &bytes),
                Change::Length(length) => self.safe.resize(length, 0),
            }
        }
    }

    /// The power fails: of what was not synced any part may be there, in any order.
    pub(crate) fn cut(&mut self, rng: &mut Rng, mood: &Mood, toll: &mut Toll) {
        for (_, change) in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Length(length) => {
                    if rng.chance(mood.sizes) {
                        self.safe.resize(length, 0);
                    } else {
                        toll.sizes_lost += 1;
                    }
                }
                Change::Write { at, bytes } => {
                    let end = at + bytes.len();
                    if self.safe.len() < end {
                        if rng.chance(mood.sizes) {
                            self.safe.resize(end, 0);
                        } else {
                            toll.sizes_lost += 1;
                        }
                    }
                    for (index, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
                        self.settle(rng, mood, at + index * BLOCK_BYTES, block, toll);
                    }
                }
            }
        }
        self.now.clone_from(&self.safe);
    }

    /// One written block is there, is not, or is there in part.
    fn settle(&mut self, rng: &mut Rng, mood: &Mood, at: usize, block: &[u8], toll: &mut Toll) {
        let torn = rng.chance(mood.torn);
        let kept = rng.chance(mood.data);
        for (index, sector) in block.chunks(SECTOR_BYTES).enumerate() {
            let at = at + index * SECTOR_BYTES;
            let there = if torn { rng.chance(50) } else { kept };
            if there && at + sector.len() <= self.safe.len() {
                self.safe[at..at + sector.len()].copy_from_slice(sector);
            }
        }
        match (torn, kept) {
            (true, _) => toll.blocks_torn += 1,
            (false, true) => toll.blocks_kept += 1,
            (false, false) => toll.blocks_lost += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Mood = Mood::all(0);

    #[test]
    fn a_cut_takes_what_came_after_the_sync_and_nothing_before() {
        let mut file = Content::default();
        file.write(1, 0, &[1; 8192]);
        file.write(2, 4096, &[2; 4096]);
        file.sync(2);
        file.write(3, 8192, &[3; 4096]);
        let mut toll = Toll::default();
        file.cut(&mut Rng::new(1), &NOTHING, &mut toll);
        assert_eq!(
            file.now, [1; 8192],
            "the sync at 2 covers what came before it only"
        );
        assert_eq!((toll.blocks_lost, toll.sizes_lost), (2, 1));
    }

    #[test]
    fn any_part_of_what_was_not_synced_may_stay() {
        let (mut older_only, mut newer_only, mut torn) = (0, 0, 0);
        for seed in 0..400 {
            let mut file = Content::default();
            file.write(1, 0, &[1; 8192]);
            file.sync(2);
            file.write(3, 0, &[2; 4096]);
            file.write(4, 4096, &[3; 4096]);
            let mut rng = Rng::new(seed);
            let mood = Mood::drawn(&mut rng);
            file.cut(&mut rng, &mood, &mut Toll::default());
            let (first, second) = file.now.split_at(4096);
            assert!(first.iter().all(|byte| [1, 2].contains(byte)));
            assert!(second.iter().all(|byte| [1, 3].contains(byte)));
            older_only += u32::from(first == [2; 4096] && second == [1; 4096]);
            newer_only += u32::from(first == [1; 4096] && second == [3; 4096]);
            torn += u32::from(first.contains(&1) && first.contains(&2));
        }
        assert!(older_only > 0 && newer_only > 0 && torn > 0);
    }
}
