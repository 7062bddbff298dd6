//! What is lost at the very end of a WAL, where nothing behind it can tell, is named all the same:
//! file, position and partition.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tailwater_shards::sim::Simulation;
use tailwater_shards::{File, IoClass, OpenOptions, dir, sleep};
use tailwater_storage::{Corrupt, StorageConfig, StorageError, verify};

use crate::checks::read_all;
use crate::corruption::{roomy, wal, write_three};
use crate::harness::DATA;
use crate::solo::{boot, fill, refused, solo, tp};

/// Where the header of a commit's first entry is, and what it begins with for a run that was carried.
const ENTRY: usize = 96;
const CARRY: u8 = 2;

fn unreadable(sim: &Simulation, seq: u64, blocks: std::ops::Range<u64>) {
    for block in blocks {
        sim.faults().unreadable(&wal(1, seq), 4096 * block).unwrap();
    }
}

#[test]
fn the_last_commits_and_what_covered_them_are_missed_by_partition() {
    // Nine commits of one block, by turns for three partitions, and the cover.
    for first in 1..10 {
        let mut sim = Simulation::new(first);
        write_three(&mut sim);
        unreadable(&sim, 1, first..11);
        let verified = sim.run(async { verify(Path::new(DATA), None).await });
        assert!(!verified.problems.is_empty());
        let short: Vec<_> = (0..3).filter(|p| 7 + p >= first).collect();
        solo(&mut sim, &roomy(), move |started| async move {
            let report = &started.report;
            let expected: Vec<_> = short.iter().map(|p| tp(*p as i32)).collect();
            assert_eq!(report.out_of_service, expected, "{report:?}");
            assert!(!report.unknown_losses);
            let named = report
                .damage
                .iter()
                .filter(|d| d.file == wal(1, 1) && d.position == 4096 * first);
            assert_eq!(named.count(), 1 + expected.len(), "{report:?}");
            for partition in (0..3).filter(|p| !short.contains(p)) {
                assert_eq!(read_all(&started.log(partition as i32)).await.len(), 3);
            }
        });
    }
}

#[test]
fn the_only_commit_of_the_last_file_is_missed_with_its_header() {
    let mut sim = Simulation::new(2);
    solo(&mut sim, &roomy(), |started| async move {
        // Seventeen fill the first file.
        for _ in 0..18 {
            fill(&started, &started.log(0), 1, 60_000).await;
        }
        sleep(Duration::from_secs(1)).await;
    });
    sim.run_until_idle();
    unreadable(&sim, 2, 0..40);
    solo(&mut sim, &roomy(), |started| async move {
        assert_eq!(started.report.out_of_service, [tp(0)]);
        let damage = &started.report.damage;
        assert!(
            damage
                .iter()
                .all(|d| d.file == wal(1, 2) && d.position == 0)
        );
        assert!(damage.iter().any(|d| d.what.contains("records 17..18")));
    });
}

#[test]
fn the_last_metadata_are_missed_and_the_start_is_refused() {
    let mut sim = Simulation::new(3);
    solo(&mut sim, &roomy(), |started| async move {
        for entry in 0..3 {
            let ticket = started.storage.append_metadata(Bytes::from(vec![entry; 8]));
            started.storage.durable(ticket).await.unwrap();
        }
        sleep(Duration::from_secs(1)).await;
    });
    sim.run_until_idle();
    unreadable(&sim, 1, 3..5);
    let StorageError::Corrupt(damage) = refused(&mut sim, &roomy(), 1) else {
        panic!("refused for another reason");
    };
    assert_eq!((damage.file, damage.position), (wal(1, 1), 4096 * 3));
    assert!(
        damage.what.contains("metadata entries 2..3"),
        "{}",
        damage.what
    );
}

#[test]
fn the_last_log_start_is_known_from_the_witness() {
    let mut sim = Simulation::new(4);
    solo(&mut sim, &roomy(), |started| async move {
        let log = started.log(0);
        fill(&started, &log, 3, 100).await;
        let ticket = log.advance_log_start(2).unwrap();
        started.storage.durable(ticket).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    });
    sim.run_until_idle();
    // One commit of three batches, one of the log start, the cover.
    unreadable(&sim, 1, 2..4);
    solo(&mut sim, &roomy(), |started| async move {
        assert!(started.report.out_of_service.is_empty());
        assert_eq!(started.report.damage.len(), 1, "{:?}", started.report);
        assert_eq!(started.log(0).log_start(), 2);
    });
}

#[test]
fn a_wrong_bit_in_an_entrys_header_costs_nothing() {
    for bit in (0..96 * 8).step_by(5) {
        let mut sim = Simulation::new(5);
        write_three(&mut sim);
        let place = 4096 * 9 + 96 + bit / 8;
        sim.faults()
            .corrupt(&wal(1, 1), place, 1 << (bit % 8))
            .unwrap();
        solo(&mut sim, &roomy(), move |started| async move {
            let report = &started.report;
            assert!(report.out_of_service.is_empty() && !report.unknown_losses);
            assert_eq!(report.damage.len(), 1, "{report:?}");
            assert_eq!(report.damage[0].position, 4096 * 9);
            assert_eq!(read_all(&started.log(2)).await.len(), 3);
        });
    }
}

#[test]
fn a_rotten_header_of_a_files_first_commit_costs_nothing() {
    let mut sim = Simulation::new(6);
    solo(&mut sim, &roomy(), |started| async move {
        for _ in 0..19 {
            fill(&started, &started.log(0), 1, 60_000).await;
        }
        sleep(Duration::from_secs(1)).await;
    });
    sim.run_until_idle();
    sim.faults().corrupt(&wal(1, 2), 4096 + 20, 1).unwrap();
    solo(&mut sim, &roomy(), |started| async move {
        let report = &started.report;
        assert!(report.out_of_service.is_empty(), "{report:?}");
        assert_eq!(report.damage.len(), 1, "{report:?}");
        let damage = &report.damage[0];
        assert_eq!((&damage.file, damage.position), (&wal(1, 2), 4096));
        assert_eq!(read_all(&started.log(0)).await.len(), 19);
    });
}

#[test]
fn a_commit_that_became_zeros_is_no_empty_one() {
    // In the middle, the last of its partition, and the last of all.
    for (block, partition, records) in [(5, 1, "1..2"), (8, 1, "2..3"), (9, 2, "2..3")] {
        let mut sim = Simulation::new(7);
        write_three(&mut sim);
        sim.run(async move {
            let options = OpenOptions {
                create_new: false,
                write: true,
            };
            let file = File::open(&wal(1, 1), options).await.unwrap();
            let zeros = tailwater_shards::DmaBuf::zeroed(4096).freeze();
            let at = 4096 * block;
            file.write_durable(IoClass::Maintenance, at, &zeros)
                .await
                .unwrap();
            file.close().await;
        });
        solo(&mut sim, &roomy(), move |started| async move {
            let report = &started.report;
            assert_eq!(report.out_of_service, [tp(partition)], "{report:?}");
            let told = report.damage.iter().any(|d| d.what.contains(records));
            assert!(told && !report.unknown_losses, "{report:?}");
        });
    }
}

#[test]
fn a_busy_wal_is_witnessed_from_time_to_time() {
    let mut sim = Simulation::new(8);
    solo(&mut sim, &roomy(), |started| async move {
        fill(&started, &started.log(1), 1, 100).await;
        // Never idle for long enough to be covered.
        for _ in 0..200 {
            fill(&started, &started.log(0), 1, 100).await;
            sleep(Duration::from_millis(10)).await;
        }
    });
    sim.run_until_idle();
    unreadable(&sim, 1, 1..2);
    solo(&mut sim, &roomy(), |started| async move {
        let report = &started.report;
        assert_eq!(report.out_of_service, [tp(1)], "{report:?}");
        assert!(!report.unknown_losses);
        assert_eq!(read_all(&started.log(0)).await.len(), 200);
    });
}

#[test]
fn records_missing_between_others_are_named_by_the_commit_that_is_lost() {
    // Nothing beside the WAL says whose records the two held.
    let config = StorageConfig {
        witness_interval_ms: 60_000,
        ..roomy()
    };
    let mut sim = Simulation::new(10);
    solo(&mut sim, &config, |started| async move {
        for _ in 0..4 {
            for partition in 0..2 {
                fill(&started, &started.log(partition), 1, 100).await;
            }
        }
        fill(&started, &started.log(2), 1, 100).await;
    });
    sim.power_cut();
    unreadable(&sim, 1, 3..4);
    unreadable(&sim, 1, 6..7);
    solo(&mut sim, &config, |started| async move {
        let report = &started.report;
        assert_eq!(report.out_of_service, [tp(0), tp(1)], "{report:?}");
        assert!(
            report.unknown_losses,
            "others may have lost their last ones"
        );
        for (partition, records, block) in [(0, "1..2", 3), (1, "2..3", 6)] {
            let records = format!("records {records} of {}", tp(partition));
            let named = report.damage.iter().find(|d| d.what.contains(&records));
            let named = named.unwrap_or_else(|| panic!("{report:?}"));
            assert_eq!((&named.file, named.position), (&wal(1, 1), 4096 * block));
        }
    });
}

#[test]
fn a_files_first_commit_that_is_gone_is_named_by_what_follows_it() {
    // Nothing beside the WAL knows of the file's commits; bits are wrong, or nothing can be read, or
    // nothing was written.
    let config = StorageConfig {
        witness_interval_ms: 60_000,
        ..roomy()
    };
    for harm in 0..3 {
        let mut sim = Simulation::new(12);
        solo(&mut sim, &config, |started| async move {
            // Seventeen fill the first file.
            for _ in 0..18 {
                fill(&started, &started.log(0), 1, 60_000).await;
            }
            for partition in [0, 1, 1] {
                fill(&started, &started.log(partition), 1, 100).await;
            }
        });
        sim.power_cut();
        let file = wal(1, 2);
        match harm {
            0 => {
                sim.faults().corrupt(&file, 4096 + 20, 3).unwrap();
                sim.faults().corrupt(&file, 4096 + 100, 3).unwrap();
            }
            1 => unreadable(&sim, 2, 1..2),
            _ => sim.faults().restore(&file, 4096, &[0; 4096]).unwrap(),
        }
        solo(&mut sim, &config, |started| async move {
            let report = &started.report;
            assert_eq!(report.out_of_service, [tp(0)], "{report:?}");
            let missing = |d: &&Corrupt| d.what.contains("records 17..18");
            let named = report.damage.iter().find(missing);
            let named = named.unwrap_or_else(|| panic!("{report:?}"));
            assert_eq!((&named.file, named.position), (&wal(1, 2), 4096));
            assert!(!read_all(&started.log(1)).await.is_empty());
        });
    }
}

/// A WAL in which records were carried behind newer ones of their partitions, and where the commits
/// are that carried them.
fn carried(config: &StorageConfig) -> (Simulation, Vec<(PathBuf, u64)>) {
    let mut sim = Simulation::new(11);
    solo(&mut sim, config, |started| async move {
        fill(&started, &started.log(0), 2, 100).await;
        fill(&started, &started.log(1), 20, 6_000).await;
        fill(&started, &started.log(0), 1, 100).await;
        // Files are freed, and what only they have is carried.
        fill(&started, &started.log(1), 38, 6_000).await;
        for _ in 0..3 {
            fill(&started, &started.log(2), 1, 100).await;
        }
    });
    sim.power_cut();
    let folder = Path::new(DATA).join("wal");
    let listed = sim.run(async { dir::list(&Path::new(DATA).join("wal")).await.unwrap() });
    let mut found = Vec::new();
    for entry in listed.iter().filter(|entry| entry.name.ends_with(".wal")) {
        let path = folder.join(&entry.name);
        let bytes = sim.read_file(&path).unwrap();
        for (at, block) in (0..).step_by(4096).zip(bytes.chunks(4096)) {
            if block.starts_with(b"MCWT") && block[ENTRY] == CARRY {
                found.push((path.clone(), at));
            }
        }
    }
    (sim, found)
}

#[test]
fn records_carried_behind_newer_ones_are_named_by_the_commit_that_is_lost() {
    let config = StorageConfig {
        witness_interval_ms: 60_000,
        ..crate::harness::small()
    };
    let (_, places) = carried(&config);
    let mut missed = 0;
    for (path, at) in places {
        let (mut sim, _) = carried(&config);
        sim.faults().unreadable(&path, at).unwrap();
        missed += solo(&mut sim, &config, move |started| async move {
            let report = &started.report;
            let missing = report.damage.iter().filter(|d| d.what.contains("missing"));
            for damage in missing.clone() {
                assert_eq!((&damage.file, damage.position), (&path, at), "{report:?}");
            }
            assert_eq!(missing.count(), report.out_of_service.len(), "{report:?}");
            report.out_of_service.len()
        });
    }
    assert!(missed > 0, "nothing that was carried was needed");
}

#[test]
fn what_may_be_of_a_lost_topic_is_kept_by_later_starts_too() {
    let mut sim = Simulation::new(9);
    let small = crate::harness::small();
    let config = StorageConfig {
        witness_interval_ms: 60_000,
        ..small
    };
    solo(&mut sim, &config, |started| async move {
        // Enough for a segment; then a commit that is lost, which later ones prove.
        fill(&started, &started.log(0), 10, 4_000).await;
        sleep(Duration::from_millis(15)).await;
        for _ in 0..3 {
            fill(&started, &started.log(1), 1, 100).await;
        }
    });
    sim.power_cut();
    let topic = Path::new(DATA).join(tp(0).topic.to_string());
    let last = sim.read_file(&wal(1, 1)).unwrap();
    let commits = (1..last.len() / 4096).filter(|block| last[block * 4096..].starts_with(b"MCWT"));
    let commits: Vec<_> = commits.collect();
    let lost = commits[commits.len() - 3] as u64;
    sim.faults().unreadable(&wal(1, 1), 4096 * lost).unwrap();
    for start in 0..3 {
        let topic = topic.clone();
        let (process, _) = boot(
            &mut sim,
            &config,
            BTreeMap::new(),
            move |started| async move {
                assert_eq!(
                    started.report.unknown_losses,
                    start == 0,
                    "{:?}",
                    started.report
                );
                assert_eq!(
                    started.report.kept_directories,
                    std::slice::from_ref(&topic)
                );
                // Long enough for the past's files to go.
                sleep(Duration::from_secs(10)).await;
                assert!(dir::exists(&topic).await.unwrap());
            },
        );
        sim.run_until_ended(process);
    }
}
