//! What refuses a start says so in one sentence, and alters nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tailwater_shards::sim::{Ending, Simulation};
use tailwater_shards::{DmaBuf, File, IoClass, OpenOptions, dir, now, sleep};
use tailwater_storage::{StorageConfig, StorageError, verify};

use crate::checks::read_all;
use crate::harness::{DATA, small};
use crate::solo::{boot, both, fill, refused, solo};

/// Every name under the data directory with its bytes.
fn snapshot(sim: &mut Simulation) -> Vec<(PathBuf, Vec<u8>)> {
    let names = sim.run(async {
        let mut pending = vec![PathBuf::from("/")];
        let mut names = Vec::new();
        while let Some(next) = pending.pop() {
            for entry in dir::list(&next).await.unwrap_or_default() {
                let path = next.join(entry.name);
                if entry.is_dir {
                    pending.push(path)
                } else {
                    names.push(path)
                }
            }
        }
        names
    });
    names
        .into_iter()
        .map(|name| (name.clone(), sim.read_file(&name).unwrap()))
        .collect()
}

fn prepared(seed: u64, config: &StorageConfig) -> Simulation {
    let mut sim = Simulation::new(seed);
    solo(&mut sim, config, |started| async move {
        fill(&started, &started.log(0), 5, 100).await;
        started.storage.shutdown().await;
    });
    sim.run_until_idle();
    sim
}

fn refused_unaltered(sim: &mut Simulation, config: &StorageConfig, node_id: i32) -> String {
    let before = snapshot(sim);
    let error = refused(sim, config, node_id);
    assert!(
        snapshot(sim) == before,
        "a refused start alters nothing: {error}"
    );
    let sentence = error.to_string();
    assert!(!sentence.contains('\n'));
    sentence
}

#[test]
fn another_node_is_refused() {
    let mut sim = prepared(1, &small());
    let sentence = refused_unaltered(&mut sim, &small(), 2);
    assert_eq!(sentence, "/data/root: it belongs to node 1, not 2");
}

#[test]
fn a_damaged_or_missing_root_file_is_refused() {
    let mut sim = prepared(2, &small());
    sim.faults()
        .corrupt(Path::new("/data/root"), 50, 1)
        .unwrap();
    let sentence = refused_unaltered(&mut sim, &small(), 1);
    assert!(
        sentence.starts_with("/data/root is damaged at byte 0"),
        "{sentence}"
    );
    sim.run(async { dir::remove_file(Path::new("/data/root")).await.unwrap() });
    let sentence = refused_unaltered(&mut sim, &small(), 1);
    assert!(
        sentence.contains("it has no root file, but it is not empty"),
        "{sentence}"
    );
}

#[test]
fn an_emptied_wal_directory_is_refused_from_the_first_start_on() {
    let mut sim = Simulation::new(20);
    solo(&mut sim, &small(), |started| async move {
        fill(&started, &started.log(0), 1, 100).await;
    });
    sim.run_until_idle();
    let wal = small().wal_path();
    sim.run(async move {
        for entry in dir::list(&wal).await.unwrap() {
            dir::remove_file(&wal.join(entry.name)).await.unwrap();
        }
    });
    let sentence = refused_unaltered(&mut sim, &small(), 1);
    assert!(sentence.contains("it holds no WAL"), "{sentence}");
}

#[test]
fn a_foreign_directory_is_refused() {
    let mut sim = Simulation::new(3);
    sim.run(async {
        dir::create_all(Path::new("/data/photos")).await.unwrap();
    });
    let sentence = refused_unaltered(&mut sim, &small(), 1);
    assert!(sentence.contains("photos"), "{sentence}");
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let mut sim = prepared(4, &small());
    sim.faults()
        .corrupt(Path::new("/data/checkpoint/0000000001-00000.a"), 4200, 1)
        .unwrap();
    // Its only group: as if the shutdown had not come so far, and the WAL has it all.
    solo(&mut sim, &small(), |started| async move {
        assert_eq!(read_all(&started.log(0)).await.len(), 5);
    });
}

#[test]
fn a_second_process_is_refused_after_a_while_and_the_first_goes_on() {
    let mut sim = Simulation::new(5);
    let (first, _) = boot(&mut sim, &small(), both(), |started| async move {
        let log = started.log(0);
        loop {
            fill(&started, &log, 1, 100).await;
            sleep(Duration::from_millis(100)).await;
        }
    });
    sim.run_for(Duration::from_secs(1));
    let began = sim.now();
    let error = refused(&mut sim, &small(), 1);
    assert!(matches!(error, StorageError::Locked { .. }), "{error}");
    let waited = sim.now() - began;
    assert!(
        (Duration::from_secs(5)..Duration::from_secs(6)).contains(&waited),
        "{waited:?}"
    );
    assert!(sim.is_running(first));
    sim.run_for(Duration::from_secs(1));
    sim.kill(first);
    solo(&mut sim, &small(), |started| async move {
        assert!(started.log(0).durable_end().0 >= 60);
        let _ = now();
    });
}

#[test]
fn a_wal_directory_of_its_own_has_to_be_the_right_one() {
    let own = |path: &str| StorageConfig {
        wal_dir: Some(path.into()),
        ..small()
    };
    let mut sim = prepared(6, &own("/fast"));
    let sentence = refused_unaltered(&mut sim, &small(), 1);
    assert!(
        sentence.contains("is in a directory of its own"),
        "{sentence}"
    );
    let sentence = refused_unaltered(&mut sim, &own("/slow"), 1);
    assert!(
        sentence.contains("the WAL directory is missing"),
        "{sentence}"
    );
    sim.run(async { dir::create_all(Path::new("/slow")).await.unwrap() });
    let sentence = refused_unaltered(&mut sim, &own("/slow"), 1);
    assert!(
        sentence.contains("not the WAL directory of this data directory"),
        "{sentence}"
    );
    // Another data directory may not take it either.
    let other = StorageConfig {
        data_dir: "/other".into(),
        ..own("/fast")
    };
    let error = refused(&mut sim, &other, 1);
    assert!(
        error
            .to_string()
            .contains("belongs to another data directory"),
        "{error}"
    );
    solo(&mut sim, &own("/fast"), |started| async move {
        assert_eq!(read_all(&started.log(0)).await.len(), 5);
    });
}

#[test]
fn a_wal_inside_is_not_taken_for_one_outside() {
    let mut sim = prepared(7, &small());
    let own = StorageConfig {
        wal_dir: Some("/fast".into()),
        ..small()
    };
    let sentence = refused_unaltered(&mut sim, &own, 1);
    assert!(sentence.contains("is inside it"), "{sentence}");
}

#[test]
fn a_clean_stop_takes_less_than_a_second_and_leaves_exact_segments() {
    let mut sim = Simulation::new(8);
    let took = solo(&mut sim, &small(), |started| async move {
        for partition in 0..200 {
            fill(&started, &started.log(partition), 3, 500).await;
        }
        let began = now();
        started.storage.shutdown().await;
        now() - began
    });
    assert!(took < Duration::from_secs(1), "{took:?}");
    sim.run_until_idle();
    let report = sim.run(async { verify(Path::new(DATA), None).await });
    assert!(report.problems.is_empty(), "{report:?}");
    assert!(report.segments > 10, "{report:?}");
    let replayed = solo(&mut sim, &small(), |started| async move {
        for partition in 0..200 {
            assert_eq!(read_all(&started.log(partition)).await.len(), 3);
        }
        started.report.replayed_bytes
    });
    // Where there was time for it, the tails are in segments and nothing is replayed.
    assert!(replayed < 200 * 3 * 600);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let hash = |seed| {
        let mut world = crate::harness::World::new(seed);
        world.load.steps = Some(200);
        let process = world.boot(2);
        assert!(matches!(world.ended(process), Ending::Returned));
        world.check(3);
        world.sim.trace_hash()
    };
    assert_eq!(hash(11), hash(11));
    assert_ne!(hash(11), hash(12));
}

#[test]
fn an_unknown_feature_is_refused_by_its_bit() {
    let mut sim = prepared(9, &small());
    sim.run(async {
        let path = Path::new("/data/root");
        let file = File::open(
            path,
            OpenOptions {
                create_new: false,
                write: true,
            },
        )
        .await
        .unwrap();
        let bytes = file.read(IoClass::Maintenance, 0, 4096).await.unwrap();
        let mut block = DmaBuf::zeroed(4096);
        block.copy_from_slice(&bytes);
        block[16] |= 0b10_0000;
        let sum = crc32c(&block[..4092]);
        block[4092..].copy_from_slice(&sum.to_le_bytes());
        file.write_durable(IoClass::Maintenance, 0, &block.freeze())
            .await
            .unwrap();
    });
    let sentence = refused_unaltered(&mut sim, &small(), 1);
    assert_eq!(
        sentence,
        "/data/root needs the unknown feature bit 5 (file format 1)"
    );
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}
