//! Damage to what was acknowledged is named and contained; a torn tail is not damage.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tailwater_shards::sim::{EIO, IoKind, Matching, Simulation};
use tailwater_shards::{dir, sleep};
use tailwater_storage::{ReadError, StorageConfig, StorageError, Sync, verify};

use crate::checks::read_all;
use crate::harness::{DATA, small};
use crate::solo::{append, fill, one, refused, solo, tp};

/// A WAL large enough that nothing is freed.
pub fn roomy() -> StorageConfig {
    StorageConfig {
        wal_bytes: 16 << 20,
        wal_first_file_bytes: 1 << 20,
        wal_file_bytes: 1 << 20,
        disk_reserve_bytes: 0,
        ..StorageConfig::new(DATA)
    }
}

pub fn wal(generation: u64, seq: u64) -> PathBuf {
    PathBuf::from(format!("{DATA}/wal/{generation:010}-00000-{seq:010}.wal"))
}

/// Appends to three partitions, each batch in a commit of its own; the cover comes last.
pub fn write_three(sim: &mut Simulation) {
    solo(sim, &roomy(), |started| async move {
        for _ in 0..3 {
            for partition in 0..3 {
                fill(&started, &started.log(partition), 1, 100).await;
            }
        }
        sleep(Duration::from_secs(1)).await;
    });
    sim.run_until_idle();
}

#[test]
fn a_rotten_record_takes_its_partition_out_of_service_and_no_other() {
    let mut sim = Simulation::new(1);
    write_three(&mut sim);
    // The first file's first block is its header; commits of one block each follow. The fifth is
    // the second batch of partition 1; its body begins after the two headers.
    let place = 4096 * 5 + 96 + 96 + 80;
    sim.faults().corrupt(&wal(1, 1), place, 0x20).unwrap();
    for start in 0..3 {
        solo(&mut sim, &roomy(), move |started| async move {
            if start == 0 {
                assert_eq!(started.report.out_of_service, [tp(1)]);
                let damage = &started.report.damage[0];
                assert_eq!(damage.file, wal(1, 1));
                assert!((4096 * 5..4096 * 6).contains(&damage.position));
                assert!(damage.what.contains("records 1..2"), "{damage}");
                assert!(!started.report.unknown_losses);
            }
            let damaged = started.log(1);
            damaged.health().unwrap_err();
            assert!(matches!(
                damaged.read(0, 9, 100, true).await,
                Err(ReadError::Corrupt(_))
            ));
            let refused = append(&damaged, one(10, 0), Sync::Durable);
            assert!(matches!(refused, Err(StorageError::OutOfService(_))));
            for partition in [0, 2] {
                let log = started.log(partition);
                log.health().unwrap();
                assert_eq!(read_all(&log).await.len(), 3 + start);
                fill(&started, &log, 1, 100).await;
            }
            // Long enough for the past's files to go: what was found stays known.
            sleep(Duration::from_secs(10)).await;
            if start == 2 {
                assert!(
                    !dir::exists(&wal(1, 1)).await.unwrap(),
                    "the past is cleared away"
                );
            }
        });
        sim.power_cut();
    }
}

/// Any record but the last ones of a partition: what lies behind it is served all the same.
pub fn a_rotten_record_hides_nothing_behind_it(seed: u64) {
    let mut sim = Simulation::new(seed);
    write_three(&mut sim);
    let block = 1 + seed % 8;
    let rotten = i32::try_from((block - 1) % 3).unwrap();
    let place = 4096 * block + 96 + 96 + 80;
    sim.faults().corrupt(&wal(1, 1), place, 0x20).unwrap();
    solo(&mut sim, &roomy(), move |started| async move {
        assert_eq!(started.report.out_of_service, [tp(rotten)]);
        for partition in (0..3).filter(|partition| *partition != rotten) {
            assert_eq!(read_all(&started.log(partition)).await.len(), 3);
        }
    });
}

#[test]
fn a_rotten_record_anywhere_hides_nothing_behind_it() {
    for seed in 0..8 {
        a_rotten_record_hides_nothing_behind_it(seed);
    }
}

#[test]
fn a_rotten_commit_header_is_named_and_its_entries_are_served() {
    let mut sim = Simulation::new(2);
    write_three(&mut sim);
    // Of a commit with an entry, and of the cover, which has none; one more commit names it.
    for block in [5, 10] {
        sim.faults()
            .corrupt(&wal(1, 1), 4096 * block + 20, 0x20)
            .unwrap();
        let checked = sim.run(async { verify(Path::new(DATA), None).await });
        let found = checked
            .problems
            .iter()
            .any(|damage| damage.file == wal(1, 1) && damage.position == 4096 * block);
        assert_eq!(found, block == 5, "the last commit was never acknowledged");
    }
    solo(&mut sim, &roomy(), |started| async move {
        assert!(started.report.out_of_service.is_empty());
        assert!(!started.report.unknown_losses);
        assert_eq!(started.report.damage.len(), 1, "{:?}", started.report);
        for partition in 0..3 {
            assert_eq!(read_all(&started.log(partition)).await.len(), 3);
        }
    });
}

#[test]
fn a_rotten_commit_without_any_header_is_noticed_by_what_does_not_follow() {
    let mut sim = Simulation::new(2);
    write_three(&mut sim);
    for place in [20, 96 + 20] {
        sim.faults()
            .corrupt(&wal(1, 1), 4096 * 5 + place, 0x20)
            .unwrap();
    }
    solo(&mut sim, &roomy(), |started| async move {
        assert_eq!(
            started.report.out_of_service,
            [tp(1)],
            "its next batch does not follow"
        );
        assert!(
            !started.report.unknown_losses,
            "and the witness knows that it was all"
        );
        assert_eq!(started.report.damage.len(), 2);
        assert_eq!(read_all(&started.log(0)).await.len(), 3);
        assert_eq!(read_all(&started.log(2)).await.len(), 3);
    });
}

#[test]
fn an_unreadable_block_is_damage_too() {
    let mut sim = Simulation::new(3);
    write_three(&mut sim);
    sim.faults().unreadable(&wal(1, 1), 4096 * 5).unwrap();
    solo(&mut sim, &roomy(), |started| async move {
        assert_eq!(started.report.out_of_service, [tp(1)]);
        assert_eq!(read_all(&started.log(0)).await.len(), 3);
    });
}

#[test]
fn reads_that_fail_for_a_moment_cost_nothing() {
    for first in 0..12 {
        let mut sim = Simulation::new(3);
        // No cover follows the last commits: nothing but themselves says that they were durable.
        solo(&mut sim, &roomy(), |started| async move {
            for _ in 0..3 {
                for partition in 0..3 {
                    fill(&started, &started.log(partition), 1, 100).await;
                }
            }
        });
        sim.power_cut();
        let reads = || Matching::kind(IoKind::Read).on(".wal");
        let faults = sim.faults();
        faults.fail(reads(), first, EIO);
        faults.fail(reads(), first + 1, EIO);
        solo(&mut sim, &roomy(), |started| async move {
            // Of those of the start, that is.
            faults.clear();
            assert!(started.report.damage.is_empty());
            for partition in 0..3 {
                assert_eq!(read_all(&started.log(partition)).await.len(), 3);
            }
        });
    }
}

#[test]
fn a_wal_file_whose_beginning_cannot_be_read_refuses_the_start_if_it_was_used() {
    for commits in [3, 24] {
        let mut sim = Simulation::new(6);
        solo(&mut sim, &roomy(), move |started| async move {
            for _ in 0..commits {
                fill(&started, &started.log(0), 1, 60_000).await;
            }
        });
        sim.power_cut();
        // Made ahead; the eighteenth commit is the first in it.
        let path = wal(1, 2);
        for block in [0, 1] {
            sim.faults().unreadable(&path, 4096 * block).unwrap();
        }
        if commits == 3 {
            // As a power cut may leave it that came while it was made.
            solo(&mut sim, &roomy(), |started| async move {
                assert!(started.report.damage.is_empty());
                assert_eq!(read_all(&started.log(0)).await.len(), 3);
            });
            continue;
        }
        let root = sim.read_file(Path::new("/data/root")).unwrap();
        for _ in 0..2 {
            let error = refused(&mut sim, &roomy(), 1);
            let StorageError::Corrupt(damage) = error else {
                panic!("{error}");
            };
            assert_eq!((damage.file, damage.position), (path.clone(), 0));
        }
        assert_eq!(root, sim.read_file(Path::new("/data/root")).unwrap());
    }
}

#[test]
fn the_last_acknowledged_commit_is_covered_too() {
    let mut sim = Simulation::new(4);
    write_three(&mut sim);
    // The ninth commit is the last but the cover.
    sim.faults()
        .corrupt(&wal(1, 1), 4096 * 9 + 96 + 96 + 80, 0x20)
        .unwrap();
    solo(&mut sim, &roomy(), |started| async move {
        assert_eq!(started.report.out_of_service, [tp(2)]);
    });
}

#[test]
fn a_torn_tail_is_no_damage() {
    let mut sim = Simulation::new(5);
    solo(&mut sim, &roomy(), |started| async move {
        for _ in 0..3 {
            fill(&started, &started.log(0), 1, 100).await;
        }
    });
    sim.run_until_idle();
    // The process ended before a cover was written: the third commit proves nothing about itself.
    sim.faults()
        .corrupt(&wal(1, 1), 4096 * 3 + 96 + 96 + 80, 0x20)
        .unwrap();
    solo(&mut sim, &roomy(), |started| async move {
        assert!(started.report.damage.is_empty(), "{:?}", started.report);
        let log = started.log(0);
        assert_eq!(log.durable_end().0, 2);
        fill(&started, &log, 1, 100).await;
    });
}

/// A torn commit is sealed away, its offsets get other records, and it becomes whole again.
pub fn a_torn_commit_comes_back(seed: u64) {
    let mut sim = Simulation::new(seed);
    solo(&mut sim, &roomy(), |started| async move {
        let log = started.log(0);
        fill(&started, &log, 1, 100).await;
        fill(&started, &log, 1, 100).await;
        // One commit of two batches.
        fill(&started, &log, 2, 100).await;
    });
    sim.run_until_idle();
    let place = 4096 * 3 + 96 + 96 + 80;
    sim.faults().corrupt(&wal(1, 1), place, 0x20).unwrap();
    let second = solo(&mut sim, &roomy(), |started| async move {
        let log = started.log(0);
        assert_eq!(log.durable_end().0, 2);
        fill(&started, &log, 1, 100).await;
        read_all(&log).await
    });
    sim.power_cut();
    // Even if the old commit becomes whole again, it stays sealed away.
    sim.faults().corrupt(&wal(1, 1), place, 0x20).unwrap();
    let third = solo(&mut sim, &roomy(), |started| async move {
        let log = started.log(0);
        read_all(&log).await
    });
    assert_eq!(second, third, "what was sealed away is served");
}

#[test]
fn nothing_past_a_seal_is_replayed() {
    a_torn_commit_comes_back(6);
}

#[test]
fn a_missing_wal_file_is_damage() {
    let mut sim = Simulation::new(7);
    solo(&mut sim, &roomy(), |started| async move {
        // The write-behind task is left behind on purpose: nothing is large enough for it.
        for round in 0..40 {
            for partition in 0..3 {
                fill(&started, &started.log(partition), 1, 16_000).await;
            }
            let _ = round;
        }
        sleep(Duration::from_secs(1)).await;
    });
    sim.run_until_idle();
    sim.run(async { dir::remove_file(&wal(1, 1)).await.unwrap() });
    solo(&mut sim, &roomy(), |started| async move {
        assert!(!started.report.damage.is_empty());
        assert!(
            !started.report.out_of_service.is_empty(),
            "{:?}",
            started.report
        );
    });
}

pub fn checkpoint(generation: u64) -> PathBuf {
    PathBuf::from(format!("{DATA}/checkpoint/{generation:010}-00000.a"))
}

/// Where the groups of a checkpoint file begin.
pub fn groups(sim: &mut Simulation, path: &Path) -> Vec<u64> {
    let bytes = sim.read_file(path).unwrap();
    let blocks = bytes.chunks(4096).enumerate().skip(1);
    blocks
        .filter(|(_, block)| block.starts_with(b"pcWT"))
        .map(|(index, _)| index as u64 * 4096)
        .collect()
}

async fn segments_are_there(log: &tailwater_storage::Log) -> bool {
    let tp = log.topic_partition();
    let path = format!(
        "{DATA}/{}/{}/00000000000000000000.log",
        tp.topic, tp.partition
    );
    dir::exists(Path::new(&path)).await.unwrap()
}

#[test]
fn a_rotten_only_checkpoint_that_has_freed_something_is_refused_and_nothing_is_removed() {
    // The second generation has a file of seals before its ring, and the first one's files are gone.
    for generation in [1, 2] {
        let mut sim = Simulation::new(8 + generation);
        for _ in 0..generation {
            solo(&mut sim, &small(), |started| async move {
                let log = started.log(0);
                fill(&started, &log, 300, 8_000).await;
                sleep(Duration::from_secs(10)).await;
                assert!(segments_are_there(&log).await);
            });
            sim.run_until_idle();
        }
        let path = checkpoint(generation);
        let first = groups(&mut sim, &path)[0];
        assert_eq!(first, 4096);
        for place in [20, first + 20, first + 60] {
            sim.faults().corrupt(&path, place, 1).unwrap();
            let before = sim.read_file(Path::new("/data/root")).unwrap();
            let error = refused(&mut sim, &small(), 1);
            let StorageError::Corrupt(damage) = error else {
                panic!("{error}");
            };
            assert_eq!(damage.file, path, "{damage}");
            assert_eq!(damage.position, if place < 4096 { 0 } else { 4096 });
            assert_eq!(before, sim.read_file(Path::new("/data/root")).unwrap());
            sim.faults().corrupt(&path, place, 1).unwrap();
        }
        solo(&mut sim, &small(), move |started| async move {
            let records = 300 * generation as usize;
            assert_eq!(read_all(&started.log(0)).await.len(), records);
        });
    }
}

#[test]
fn a_rotten_last_checkpoint_group_is_named_and_the_wal_serves_what_it_said() {
    let mut sim = Simulation::new(11);
    solo(&mut sim, &roomy(), |started| async move {
        for _ in 0..3 {
            fill(&started, &started.log(0), 2, 100).await;
            assert!(started.storage.checkpoint_now().await.unwrap());
        }
        sleep(Duration::from_secs(1)).await;
    });
    sim.run_until_idle();
    let groups = groups(&mut sim, &checkpoint(1));
    assert_eq!(groups.len(), 3);
    sim.faults()
        .corrupt(&checkpoint(1), groups[2] + 60, 1)
        .unwrap();
    solo(&mut sim, &roomy(), move |started| async move {
        assert_eq!(started.report.damage.len(), 1, "{:?}", started.report);
        assert_eq!(started.report.damage[0].file, checkpoint(1));
        assert_eq!(started.report.damage[0].position, groups[2]);
        assert!(!started.report.unknown_losses);
        assert_eq!(read_all(&started.log(0)).await.len(), 6);
    });
}

#[test]
fn a_checkpoint_torn_when_it_was_written_is_no_damage() {
    let mut sim = Simulation::new(12);
    solo(&mut sim, &roomy(), |started| async move {
        fill(&started, &started.log(0), 2, 100).await;
        assert!(started.storage.checkpoint_now().await.unwrap());
        // It ends before any commit could say that the checkpoint is durable.
    });
    sim.run_until_idle();
    sim.faults().corrupt(&checkpoint(1), 4096 + 60, 1).unwrap();
    solo(&mut sim, &roomy(), |started| async move {
        assert!(started.report.damage.is_empty(), "{:?}", started.report);
        assert_eq!(read_all(&started.log(0)).await.len(), 2);
    });
}
