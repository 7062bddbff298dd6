//! One bit of what is durable rots while the machine is off: it is named and contained, and
//! nothing wrong is served.

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

/// A load, an idle time in which the last commit is covered, an end, one flipped bit, a start.
pub fn history(seed: u64) {
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
    let mut files = files(&mut world);
    let kinds = [".wal", ".log", ".index"];
    let kind = kinds[chance as usize % kinds.len()];
    files.retain(|path| path.to_string_lossy().ends_with(kind));
    if files.is_empty() {
        return;
    }
    let path = &files[(chance >> 8) as usize % files.len()];
    if !flip(&mut world, path, chance >> 16) {
        return;
    }
    world.model.borrow_mut().damage_expected = true;
    world.model.borrow_mut().damage_costs_nothing = kind == ".index";
    world.load.steps = Some(0);
    world.load.stays = Duration::ZERO;
    for shards in [1, 3] {
        let process = world.boot(shards);
        world.ended(process);
    }
}

#[test]
fn a_flipped_bit_is_named_contained_and_never_served() {
    for seed in 0..60 {
        history(seed);
    }
}
