//! One bit of what is durable rots while the machine is off: it is named and contained, and
//! nothing wrong is served.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tailwater_shards::dir;

use crate::harness::{DATA, World};

/// The files whose bits may rot here: a checkpoint or the root file refuses the start instead.
fn files(world: &mut World) -> Vec<PathBuf> {
    world.sim.run(async {
        let mut pending = vec![PathBuf::from(DATA)];
        let mut files = Vec::new();
        while let Some(next) = pending.pop() {
            for entry in dir::list(&next).await.unwrap() {
                let path = next.join(&entry.name);
                if entry.is_dir {
                    pending.push(path);
                } else if ["wal", "log", "index"]
                    .iter()
                    .any(|end| entry.name.ends_with(end))
                {
                    files.push(path);
                }
            }
        }
        files.sort();
        files
    })
}

/// Flips one bit of a file's data, zeros left out: most of a WAL file is empty.
fn flip(world: &mut World, path: &Path, chance: u64) -> bool {
    let bytes = world.sim.read_file(path).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    if used.is_empty() {
        return false;
    }
    let at = used[(chance >> 8) as usize % used.len()] as u64;
    world
        .sim
        .faults()
        .corrupt(path, at, 1 << (chance % 8))
        .unwrap();
    true
}

/// A file and where each of its commits begins and ends.
type Commits = (PathBuf, Vec<Range<u64>>);

/// The commits of the newest WAL file in use.
fn last_commits(world: &mut World) -> Option<Commits> {
    let files = files(world);
    let wal = files
        .iter()
        .filter(|path| path.extension().unwrap() == "wal");
    let mut best: Option<((u64, u64), Commits)> = None;
    for path in wal {
        let bytes = world.sim.read_file(path).unwrap();
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let (generation, start_lsn) = (u64_at(36), u64_at(58));
        let mut commits = Vec::new();
        let mut at = 4096;
        while at + 4096 <= bytes.len() {
            let here = start_lsn + at as u64 - 4096;
            if !bytes[at..].starts_with(b"MCWT") || u64_at(at + 16) != here {
                break;
            }
            let length = u32::from_le_bytes(bytes[at + 44..at + 48].try_into().unwrap());
            commits.push(at as u64..at as u64 + u64::from(length));
            at += length as usize;
        }
        let order = (generation, start_lsn);
        if !commits.is_empty() && best.as_ref().is_none_or(|(had, _)| *had < order) {
            best = Some((order, (path.clone(), commits)));
        }
    }
    best.map(|(_, commits)| commits)
}

/// Makes the last commits unreadable, with what covered them.
fn lose_end(world: &mut World, chance: u64) -> bool {
    let Some((path, commits)) = last_commits(world) else {
        return false;
    };
    let count = 1 + chance as usize % commits.len().min(12);
    let begin = commits[commits.len() - count].start;
    let end = commits.last().unwrap().end;
    for at in (begin..end).step_by(4096) {
        world.sim.faults().unreadable(&path, at).unwrap();
    }
    true
}

/// A load, an idle time in which the last commit is covered, an end, one flipped bit, a start.
pub fn history(seed: u64) {
    damaged(seed, |world, chance| {
        let mut files = files(world);
        let kinds = [".wal", ".log", ".index"];
        let kind = kinds[chance as usize % kinds.len()];
        files.retain(|path| path.to_string_lossy().ends_with(kind));
        if files.is_empty() {
            return false;
        }
        world.model.borrow_mut().damage_costs_nothing = kind == ".index";
        let path = &files[(chance >> 8) as usize % files.len()];
        flip(world, path, chance >> 16)
    });
}

/// The same with the end of a WAL gone, and whatever lay behind the last acknowledged commits.
pub fn end_is_lost(seed: u64) {
    damaged(seed, lose_end);
}

fn damaged(seed: u64, damage: impl FnOnce(&mut World, u64) -> bool) {
    let mut world = World::new(seed);
    world.load.steps = Some(if seed.is_multiple_of(2) { 60 } else { 400 });
    world.load.log.segment_bytes = 24 << 10;
    world.load.stays = Duration::from_secs(3600);
    let process = world.boot(2);
    world.sim.run_for(Duration::from_secs(3));
    assert!(world.sim.is_running(process));
    if seed.is_multiple_of(3) {
        world.sim.power_cut();
    } else {
        world.sim.kill(process);
    }
    let ending = world.ended(process);
    drop(ending);
    world.sim.run_until_idle();
    let chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
    if !damage(&mut world, chance) {
        return;
    }
    world.model.borrow_mut().damage_expected = true;
    world.load.steps = Some(0);
    world.load.stays = Duration::ZERO;
    for shards in [1, 3] {
        let process = world.boot(shards);
        world.ended(process);
        if world.model.borrow().refused {
            break;
        }
    }
}

#[test]
fn the_lost_end_of_a_wal_is_named_and_contained() {
    for seed in 0..60 {
        end_is_lost(seed);
    }
}

#[test]
fn a_flipped_bit_is_named_contained_and_never_served() {
    for seed in 0..60 {
        history(seed);
    }
}
