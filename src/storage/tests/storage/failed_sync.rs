//! A sync that fails ends the process. What the next start serves is durable all the same: what the
//! sync was to cover is still read, but no later sync covers it.

use std::time::Duration;

use tailwater_shards::sim::{EIO, Ending, IoKind, Matching, Simulation};
use tailwater_shards::{dir, sleep};
use tailwater_storage::{StorageConfig, Sync};

use crate::checks::read_all;
use crate::harness::{DATA, World, small};
use crate::solo::{append, boot, both, fill, one, solo};

fn roomy() -> StorageConfig {
    StorageConfig {
        wal_bytes: 16 << 20,
        wal_first_file_bytes: 1 << 20,
        wal_file_bytes: 1 << 20,
        disk_reserve_bytes: 0,
        ..StorageConfig::new(DATA)
    }
}

#[test]
fn what_a_start_serves_after_a_failed_sync_is_durable() {
    for seed in 0..10 {
        let mut sim = Simulation::new(seed);
        let faults = sim.faults();
        let (process, _) = boot(&mut sim, &roomy(), both(), |started| async move {
            let log = started.log(0);
            fill(&started, &log, 3, 100).await;
            sleep(Duration::from_secs(1)).await;
            faults.fail(Matching::kind(IoKind::Sync).on("/wal/"), 0, EIO);
            let last = append(&log, one(100, 0), Sync::Durable).unwrap();
            drop(started.storage.durable(last.ticket).await);
        });
        let ending = sim.run_until_ended(process);
        assert!(matches!(ending, Ending::Fatal(_)), "{ending:?}");
        // A consumer of this start sees them, twice.
        let mut seen = Vec::new();
        for start in 0..2 {
            let served = solo(&mut sim, &roomy(), |started| async move {
                read_all(&started.log(0)).await
            });
            assert!(start == 0 || served == seen);
            seen = served;
        }
        assert_eq!(seen.len(), 4, "what was written is served");
        sim.power_cut();
        solo(&mut sim, &roomy(), |started| async move {
            assert!(started.report.damage.is_empty(), "{:?}", started.report);
            let log = started.log(0);
            assert_eq!(read_all(&log).await, seen, "what was seen is there");
            fill(&started, &log, 1, 100).await;
            // Long enough for the past's files to go.
            sleep(Duration::from_secs(10)).await;
            let wal = dir::list(&roomy().wal_path()).await.unwrap();
            assert!(wal.iter().all(|file| file.name.starts_with("0000000004")));
        });
    }
}

/// The file has its blocks from the process whose sync failed. Written over, they are durable, but
/// not what no later sync covers: that the file had grown.
#[test]
fn a_segment_whose_sync_failed_is_durable_once_it_is_written_again() {
    for seed in 0..20 {
        let mut sim = Simulation::new(seed);
        let faults = sim.faults();
        let batches = 28 + usize::try_from(seed % 4).unwrap();
        let (process, _) = boot(&mut sim, &small(), both(), move |started| async move {
            faults.fail(Matching::kind(IoKind::Sync).on(".log"), 0, EIO);
            // One commit, so that the next process has as much to write as this one.
            fill(&started, &started.log(0), batches, 900).await;
            sleep(Duration::from_secs(10)).await;
        });
        let ending = sim.run_until_ended(process);
        assert!(matches!(ending, Ending::Fatal(_)), "{ending:?}");
        let mut before = None;
        for start in 0..4 {
            let read = solo(&mut sim, &small(), move |started| async move {
                assert!(started.report.damage.is_empty(), "{:?}", started.report);
                let log = started.log(0);
                let read = read_all(&log).await;
                // The WAL's ring turns, until nothing but the segment has it.
                let other = started.log(1);
                fill(&started, &other, if start == 0 { 1 } else { 200 }, 9000).await;
                sleep(Duration::from_secs(1)).await;
                read
            });
            assert!(!read.is_empty());
            assert_eq!(*before.get_or_insert_with(|| read.clone()), read);
            sim.power_cut();
        }
    }
}

/// Boots again and again, each time until some sync fails, with power cuts in between.
fn syncs_fail_again_and_again(seed: u64) {
    let mut world = World::new(seed);
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    for _ in 0..6 {
        let shards = u16::try_from(next(3) + 1).unwrap();
        let process = world.boot(shards);
        let ready = world.ready.clone();
        world.sim.run_until(|| ready.get() == shards);
        let kind = match next(4) {
            0 => IoKind::SyncDir,
            _ => IoKind::Sync,
        };
        world
            .sim
            .faults()
            .fail(Matching::kind(kind), next(150), EIO);
        // Few directories are synced: some processes are killed before one fails.
        world.sim.run_for(Duration::from_secs(2));
        if world.sim.is_running(process) {
            world.sim.kill(process);
        }
        let ending = world.sim.run_until_ended(process);
        assert!(
            matches!(ending, Ending::Fatal(_) | Ending::Killed),
            "{ending:?}"
        );
        world.storages.borrow_mut().clear();
        world.sim.faults().clear();
        if next(2) == 0 {
            world.sim.power_cut();
            world.model.borrow_mut().power_was_cut = true;
        }
    }
    world.check(1);
}

#[test]
fn failed_syncs_and_power_cuts_lose_nothing_that_was_durable_or_served() {
    for seed in 0..30 {
        syncs_fail_again_and_again(seed);
    }
}
