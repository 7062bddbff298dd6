//! What a power cut takes, and what it must not.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::{BLOCK, create, durable_file, filled, open, outcomes, sync, write};
use crate::buf::BLOCK_BYTES;
use crate::io_class::IoClass;
use crate::sim::{EIO, IoKind, Matching, Simulation};
use crate::{dir, sleep, spawn};

const SEEDS: u64 = 200;

async fn sync_dir(path: &str) {
    dir::sync(Path::new(path)).await.expect("synced");
}

/// `/f` after a cut: None if it cannot be read, else the byte that each sector begins with.
fn sectors(sim: &Simulation) -> Option<Vec<u8>> {
    let bytes = sim.read_file(Path::new("/f")).ok()?;
    Some(bytes.chunks(512).map(|sector| sector[0]).collect())
}

fn exists(sim: &Simulation, path: &str) -> bool {
    sim.read_file(Path::new(path)).is_ok()
}

#[test]
fn what_a_sync_covered_survives_every_cut() {
    for seed in 0..SEEDS {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 4);
        sim.run(async {
            let file = open("/f").await;
            write(&file, 2, 2).await;
            write(&file, 5, 3).await;
            sync(&file).await;
        });
        sim.power_cut();
        let seen = sectors(&sim).expect("readable");
        let blocks: Vec<u8> = seen.iter().step_by(8).copied().collect();
        assert_eq!(blocks, [1, 1, 2, 1, 0, 3]);
    }
}

#[test]
fn an_unsynced_write_is_lost_kept_torn_by_block_or_by_sector_or_unreadable() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 4);
        sim.run(async {
            let file = open("/f").await;
            file.write(IoClass::Commit, 0, &filled(2, 4))
                .await
                .expect("written");
        });
        sim.power_cut();
        let Some(sectors) = sectors(&sim) else {
            return "unreadable";
        };
        let torn_within = |block: &[u8]| block.iter().any(|sector| *sector != block[0]);
        match (sectors.contains(&1), sectors.contains(&2)) {
            (true, false) => "lost",
            (false, true) => "kept",
            _ if sectors.chunks(8).any(torn_within) => "torn by sector",
            _ => "torn by block",
        }
    });
    let all = [
        "kept",
        "lost",
        "torn by block",
        "torn by sector",
        "unreadable",
    ];
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), all, "{seen:?}");
}

#[test]
fn unsynced_writes_survive_in_any_subset() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 2);
        sim.run(async {
            let file = open("/f").await;
            write(&file, 0, 2).await;
            write(&file, 1, 2).await;
        });
        sim.power_cut();
        sectors(&sim).map(|sectors| (sectors[0], sectors[8]))
    });
    for both in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        assert!(seen.contains_key(&Some(both)), "{seen:?}");
    }
}

#[test]
fn a_sync_does_not_cover_a_write_that_completed_after_it_was_submitted() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 2);
        sim.faults()
            .slow(Matching::kind(IoKind::Sync), 1, Duration::from_secs(1));
        sim.run(async {
            let file = open("/f").await;
            write(&file, 0, 2).await;
            let other = file.clone();
            let late = spawn("late", async move {
                sleep(Duration::from_millis(500)).await;
                write(&other, 1, 2).await;
            });
            sync(&file).await;
            late.await.expect("it completed long before the sync");
        });
        sim.power_cut();
        let sectors = sectors(&sim);
        let first = sectors.as_ref().map(|sectors| sectors[..8].to_vec());
        assert!(
            first.is_none_or(|first| first == [2; 8]),
            "the covered one is never lost"
        );
        sectors.map(|sectors| sectors[8])
    });
    assert!(
        seen.contains_key(&Some(1)) && seen.contains_key(&Some(2)),
        "{seen:?}"
    );
}

#[test]
fn a_durable_write_survives_with_all_that_was_written_before() {
    for seed in 0..SEEDS {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 3);
        sim.run(async {
            let file = open("/f").await;
            write(&file, 0, 2).await;
            file.write_durable(IoClass::Commit, BLOCK, &filled(3, 1))
                .await
                .expect("durable");
        });
        sim.power_cut();
        let sectors = sectors(&sim).expect("readable");
        assert_eq!([sectors[0], sectors[8], sectors[16]], [2, 3, 1]);
    }
}

#[test]
fn a_durable_write_may_be_made_to_cover_itself_only() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 3);
        sim.faults().durable_write_covers_itself_only(true);
        sim.run(async {
            let file = open("/f").await;
            write(&file, 0, 2).await;
            file.write_durable(IoClass::Commit, BLOCK, &filled(3, 1))
                .await
                .expect("durable");
        });
        sim.power_cut();
        let sectors = sectors(&sim)?;
        assert_eq!(sectors[8..16], [3; 8]);
        Some(sectors[0])
    });
    assert!(
        seen.contains_key(&Some(1)) && seen.contains_key(&Some(2)),
        "{seen:?}"
    );
}

#[test]
fn an_older_change_never_overwrites_a_newer_durable_one() {
    for seed in 0..SEEDS {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 1);
        sim.faults().durable_write_covers_itself_only(true);
        sim.run(async {
            let file = open("/f").await;
            write(&file, 0, 2).await;
            file.write_durable(IoClass::Commit, 0, &filled(3, 1))
                .await
                .expect("durable");
        });
        sim.power_cut();
        assert_eq!(sectors(&sim), Some(vec![3; 8]));
    }
}

#[test]
fn an_unsynced_size_and_its_bytes_are_lost_or_kept_each_on_its_own() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 1);
        sim.run(async {
            let file = open("/f").await;
            file.write(IoClass::Commit, BLOCK, &filled(2, 2))
                .await
                .expect("written");
        });
        sim.power_cut();
        let sectors = sectors(&sim)?;
        Some((sectors.len() / 8, sectors.get(8).copied()))
    });
    // The size without the bytes reads as zeros; part of the growth may be kept.
    for outcome in [(1, None), (2, Some(2)), (3, Some(0)), (3, Some(2))] {
        assert!(seen.contains_key(&Some(outcome)), "{outcome:?} in {seen:?}");
    }
}

#[test]
fn an_unsynced_truncation_may_be_undone_and_a_synced_one_never() {
    let truncated = |seed, is_synced| {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 4);
        sim.run(async move {
            let file = open("/f").await;
            file.truncate(BLOCK).await.expect("truncated");
            if is_synced {
                sync(&file).await;
            }
        });
        sim.power_cut();
        sectors(&sim).expect("readable").len() / 8
    };
    let unsynced = outcomes(SEEDS, |seed| truncated(seed, false));
    assert_eq!(unsynced.keys().copied().collect::<Vec<_>>(), [1, 4]);
    let synced = outcomes(SEEDS, |seed| truncated(seed, true));
    assert_eq!(synced.keys().copied().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_new_files_name_is_durable_by_a_sync_of_its_directory_only() {
    let named = |seed, of_dir| {
        let mut sim = Simulation::new(seed);
        sim.run(async move {
            let file = create("/f").await;
            file.write_durable(IoClass::Commit, 0, &filled(1, 1))
                .await
                .expect("durable");
            if of_dir {
                sync_dir("/").await;
            }
        });
        sim.power_cut();
        exists(&sim, "/f")
    };
    assert_eq!(
        outcomes(SEEDS, |seed| named(seed, false)).len(),
        2,
        "lost or kept"
    );
    let with_dir = outcomes(SEEDS, |seed| named(seed, true));
    assert_eq!(with_dir.into_keys().collect::<Vec<_>>(), [true]);
}

#[test]
fn syncing_a_directory_says_nothing_about_the_bytes_of_its_files() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        sim.run(async {
            let file = create("/f").await;
            write(&file, 0, 1).await;
            sync_dir("/").await;
        });
        sim.power_cut();
        assert!(
            sim.read_file(Path::new("/f"))
                .map_or(true, |bytes| bytes.len() <= BLOCK_BYTES)
        );
        sectors(&sim).map(|sectors| sectors.len())
    });
    assert!(
        seen.contains_key(&Some(0)) && seen.contains_key(&Some(8)),
        "{seen:?}"
    );
}

#[test]
fn a_directory_lost_takes_what_is_in_it() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        sim.run(async {
            dir::create_all(Path::new("/a/b")).await.expect("made");
            let file = create("/a/b/f").await;
            file.write_durable(IoClass::Commit, 0, &filled(1, 1))
                .await
                .expect("durable");
            sync_dir("/a/b").await;
        });
        sim.power_cut();
        exists(&sim, "/a/b/f")
    });
    assert_eq!(
        seen.len(),
        2,
        "neither /a nor /a/b had been synced: {seen:?}"
    );
}

#[test]
fn an_unsynced_rename_is_whole_or_not_at_all() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        sim.run(async {
            for (path, byte) in [("/old", 1), ("/new", 2)] {
                let file = create(path).await;
                file.write_durable(IoClass::Commit, 0, &filled(byte, 1))
                    .await
                    .expect("durable");
            }
            sync_dir("/").await;
            dir::rename(Path::new("/new"), Path::new("/old"))
                .await
                .expect("renamed");
        });
        sim.power_cut();
        let first = |path| sim.read_file(Path::new(path)).ok().map(|bytes| bytes[0]);
        (first("/old"), first("/new"))
    });
    let whole = [(Some(1), Some(2)), (Some(2), None)];
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), whole);
}

#[test]
fn a_rename_between_directories_needs_both_synced() {
    let moved = |seed, synced: &'static [&'static str]| {
        let mut sim = Simulation::new(seed);
        sim.run(async move {
            dir::create_all(Path::new("/a")).await.expect("made");
            dir::create_all(Path::new("/b")).await.expect("made");
            drop(create("/a/f").await);
            sync_dir("/").await;
            sync_dir("/a").await;
            dir::rename(Path::new("/a/f"), Path::new("/b/f"))
                .await
                .expect("renamed");
            for path in synced {
                sync_dir(path).await;
            }
        });
        sim.power_cut();
        assert_ne!(exists(&sim, "/a/f"), exists(&sim, "/b/f"), "under one name");
        exists(&sim, "/b/f")
    };
    assert_eq!(outcomes(SEEDS, |seed| moved(seed, &["/a"])).len(), 2);
    assert_eq!(outcomes(SEEDS, |seed| moved(seed, &["/b"])).len(), 2);
    let both = outcomes(SEEDS, |seed| moved(seed, &["/b", "/a"]));
    assert_eq!(both.into_keys().collect::<Vec<_>>(), [true]);
}

#[test]
fn a_names_durable_change_is_not_undone_by_an_earlier_one() {
    for seed in 0..SEEDS {
        let mut sim = Simulation::new(seed);
        sim.run(async {
            dir::create_all(Path::new("/a")).await.expect("made");
            dir::create_all(Path::new("/b")).await.expect("made");
            drop(create("/a/f").await);
            sync_dir("/").await;
            sync_dir("/a").await;
            dir::rename(Path::new("/a/f"), Path::new("/b/f"))
                .await
                .expect("renamed");
            dir::remove_file(Path::new("/b/f")).await.expect("removed");
            sync_dir("/b").await;
        });
        sim.power_cut();
        assert!(!exists(&sim, "/a/f") && !exists(&sim, "/b/f"));
    }
}

#[test]
fn a_removed_file_may_come_back_with_its_bytes_until_its_directory_is_synced() {
    let back = |seed, is_synced| {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 4, 1);
        sim.run(async move {
            dir::remove_file(Path::new("/f")).await.expect("removed");
            if is_synced {
                sync_dir("/").await;
            }
        });
        sim.power_cut();
        sectors(&sim).map(|sectors| sectors[0])
    };
    let unsynced = outcomes(SEEDS, |seed| back(seed, false));
    assert_eq!(unsynced.into_keys().collect::<Vec<_>>(), [None, Some(4)]);
    let synced = outcomes(SEEDS, |seed| back(seed, true));
    assert_eq!(synced.into_keys().collect::<Vec<_>>(), [None]);
}

#[test]
fn a_removed_tree_may_come_back_in_parts() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        sim.run(async {
            dir::create_all(Path::new("/d")).await.expect("made");
            for path in ["/d/x", "/d/y"] {
                drop(create(path).await);
            }
            sync_dir("/d").await;
            sync_dir("/").await;
            dir::remove_dir_all(Path::new("/d")).await.expect("removed");
        });
        sim.power_cut();
        (exists(&sim, "/d/x"), exists(&sim, "/d/y"))
    });
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_directory_sync_does_not_cover_names_made_after_it_was_submitted() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        sim.faults()
            .slow(Matching::kind(IoKind::SyncDir), 1, Duration::from_secs(1));
        sim.run(async {
            drop(create("/early").await);
            let late = spawn("late", async {
                sleep(Duration::from_millis(500)).await;
                drop(create("/late").await);
            });
            sync_dir("/").await;
            late.await.expect("it completed long before the sync");
        });
        sim.power_cut();
        assert!(exists(&sim, "/early"));
        exists(&sim, "/late")
    });
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn what_a_failed_sync_covered_is_not_made_durable_by_the_next_one() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 1);
        sim.faults().fail(Matching::kind(IoKind::Sync), 0, EIO);
        sim.run(async {
            let file = open("/f").await;
            write(&file, 0, 2).await;
            file.sync(IoClass::Commit)
                .await
                .expect_err("it was told to fail");
            sync(&file).await;
        });
        sim.power_cut();
        sectors(&sim).map(|sectors| sectors[0])
    });
    assert!(seen.contains_key(&Some(1)), "{seen:?}");
}

#[test]
fn a_sync_that_lies_loses_what_it_claimed() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 1);
        sim.faults().sync_is_a_lie(true);
        sim.run(async {
            let file = open("/f").await;
            file.write_durable(IoClass::Commit, 0, &filled(2, 1))
                .await
                .expect("it says so");
        });
        sim.power_cut();
        sectors(&sim).map(|sectors| sectors[0])
    });
    assert!(seen.contains_key(&Some(1)), "{seen:?}");
}

#[test]
fn two_cuts_in_a_row_change_nothing_more() {
    let mut sim = Simulation::new(9);
    durable_file(&mut sim, 1, 4);
    sim.run(async {
        let file = open("/f").await;
        file.write(IoClass::Commit, 0, &filled(2, 4))
            .await
            .expect("written");
    });
    sim.power_cut();
    let once = sectors(&sim);
    sim.power_cut();
    assert_eq!(once, sectors(&sim));
    assert!(sim.disk_is_synced());
    let bytes: BTreeSet<u8> = once.unwrap_or_default().into_iter().collect();
    assert!(
        bytes.is_subset(&BTreeSet::from([1, 2])),
        "no byte is made up"
    );
}
