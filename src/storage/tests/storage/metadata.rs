//! Metadata that a WAL has lost: a checksum brings back one bit, and everything else refuses the
//! start by file and position, and says what there is to do.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_shards::sim::{Ending, Simulation};
use tailwater_shards::{dir, sleep};
use tailwater_storage::{
    Corrupt, RecoveryReport, Storage, StorageConfig, StorageError, recover, verify,
};

use crate::corruption::{roomy, wal};
use crate::harness::DATA;
use crate::solo::{Started, both, fill, solo};

const BLOCK: u64 = 4096;
/// Where the header of a commit's first entry is, and in it the entry's number.
const ENTRY: usize = 96;
const NUMBER: usize = ENTRY + 24;
/// Where the body of a commit's only entry is.
const BODY: u64 = 2 * 96;
/// What an entry's first byte says if it holds metadata.
const METADATA: u8 = 5;

async fn write_entry(started: &Started, entry: u8) {
    let ticket = started
        .storage
        .append_metadata(Bytes::from(vec![entry; 40]));
    started.storage.durable(ticket).await.unwrap();
}

/// Entries of metadata, and records after each, every one in a commit of its own. Nobody gives a
/// snapshot of the metadata, so that no file goes.
fn write(sim: &mut Simulation, entries: std::ops::Range<u8>) {
    let process = sim.boot(1, move |_| {
        let entries = entries.clone();
        async move {
            let recovered = recover(&roomy(), 1, 1, |_| Ok(both())).await.unwrap();
            let generation = recovered.generation.0;
            let report = recovered.report;
            let seed = recovered.seeds.into_iter().next().unwrap();
            let storage = Storage::start(seed, &roomy()).await.unwrap();
            let started = Started {
                storage,
                report,
                generation,
            };
            for entry in entries {
                write_entry(&started, entry).await;
                fill(&started, &started.log(0), 1, 100).await;
            }
            // Covered and witnessed.
            sleep(Duration::from_millis(100)).await;
        }
    });
    let ending = sim.run_until_ended(process);
    assert!(matches!(ending, Ending::Returned), "{ending:?}");
    sim.run_until_idle();
}

/// Two generations with three entries each.
fn two_generations(seed: u64) -> Simulation {
    let mut sim = Simulation::new(seed);
    write(&mut sim, 0..3);
    write(&mut sim, 3..6);
    sim
}

/// Where the metadata entries are: number, file and position of the commit.
fn places(sim: &mut Simulation) -> Vec<(u64, PathBuf, u64)> {
    let folder = Path::new(DATA).join("wal");
    let listed = sim.run({
        let folder = folder.clone();
        async move { dir::list(&folder).await.unwrap() }
    });
    let mut places = Vec::new();
    for entry in listed.iter().filter(|entry| entry.name.ends_with(".wal")) {
        let path = folder.join(&entry.name);
        let bytes = sim.read_file(&path).unwrap();
        for (at, block) in (0..).step_by(4096).zip(bytes.chunks(4096)) {
            if block.starts_with(b"MCWT") && block[ENTRY] == METADATA {
                let number = block[NUMBER..NUMBER + 8].try_into().unwrap();
                places.push((u64::from_le_bytes(number), path.clone(), at));
            }
        }
    }
    places.sort();
    places
}

/// The entries that a start finds.
fn start(
    sim: &mut Simulation,
    config: &StorageConfig,
) -> Result<(Vec<Bytes>, RecoveryReport), StorageError> {
    let output = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&output);
    let config = config.clone();
    let process = sim.boot(1, move |_| {
        let (slot, config) = (Rc::clone(&slot), config.clone());
        async move {
            let recovered = recover(&config, 1, 1, |_| Ok(both())).await;
            let found = recovered.map(|found| (found.metadata.entries, found.report));
            *slot.borrow_mut() = Some(found);
        }
    });
    sim.run_until_ended(process);
    output.borrow_mut().take().unwrap()
}

fn refusal(sim: &mut Simulation, config: &StorageConfig) -> Corrupt {
    let root = sim.read_file(Path::new("/data/root")).unwrap();
    let refused = start(sim, config).map(drop).unwrap_err();
    let StorageError::Corrupt(damage) = refused else {
        panic!("{refused}");
    };
    assert_eq!(root, sim.read_file(Path::new("/data/root")).unwrap());
    assert!(damage.what.contains("put back the file"), "{damage}");
    let verified = sim.run(async { verify(Path::new(DATA), None).await });
    let named = |problem: &Corrupt| problem.file == damage.file;
    assert!(verified.problems.iter().any(named), "{verified:?}");
    damage
}

#[test]
fn lost_metadata_of_any_generation_refuse_the_start_by_file_and_position() {
    for index in 0..6 {
        let mut sim = two_generations(index);
        let places = places(&mut sim);
        let numbers: Vec<u64> = places.iter().map(|(number, ..)| *number).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        let (number, path, at) = places[usize::try_from(index).unwrap()].clone();
        sim.faults().unreadable(&path, at).unwrap();
        let damage = refusal(&mut sim, &roomy());
        assert_eq!((&damage.file, damage.position), (&path, at), "{damage}");
        let entries = format!("metadata entries {number}..{}", number + 1);
        assert!(damage.what.contains(&entries), "{damage}");
    }
}

#[test]
fn metadata_with_several_wrong_bits_are_named_at_their_own_place() {
    let mut sim = two_generations(7);
    let (_, path, at) = places(&mut sim)[4].clone();
    sim.faults().corrupt(&path, at + BODY + 3, 0x11).unwrap();
    let damage = refusal(&mut sim, &roomy());
    assert_eq!((damage.file, damage.position), (path, at + BODY));
    assert!(damage.what.contains("metadata entries 4..5"));
}

#[test]
fn a_wrong_bit_in_metadata_costs_nothing() {
    for index in 0..6 {
        let mut sim = two_generations(20 + index);
        let (_, path, at) = places(&mut sim)[usize::try_from(index).unwrap()].clone();
        let place = at + BODY + 5 * index;
        sim.faults().corrupt(&path, place, 1 << index).unwrap();
        let (entries, report) = start(&mut sim, &roomy()).unwrap();
        let expected: Vec<Bytes> = (0..6).map(|entry| Bytes::from(vec![entry; 40])).collect();
        assert_eq!(entries, expected);
        assert_eq!(report.damage.len(), 1, "{report:?}");
        let damage = &report.damage[0];
        assert_eq!((&damage.file, damage.position), (&path, at + BODY));
        assert!(report.out_of_service.is_empty() && !report.unknown_losses);
    }
}

/// No witness speaks of these commits: what they held nobody knows, but where metadata are missing
/// between others, that is seen.
fn unwitnessed() -> (Simulation, StorageConfig) {
    let mut sim = Simulation::new(9);
    let config = StorageConfig {
        witness_interval_ms: 60_000,
        ..roomy()
    };
    solo(&mut sim, &config, |started| async move {
        for entry in 0..3 {
            for _ in 0..2 {
                fill(&started, &started.log(0), 1, 100).await;
            }
            write_entry(&started, entry).await;
        }
        for _ in 0..3 {
            fill(&started, &started.log(1), 1, 100).await;
        }
    });
    sim.power_cut();
    (sim, config)
}

#[test]
fn of_several_lost_commits_that_is_named_which_held_the_metadata() {
    let (mut sim, config) = unwitnessed();
    for block in [1, 6] {
        let at = BLOCK * block;
        sim.faults().unreadable(&wal(1, 1), at).unwrap();
    }
    let damage = refusal(&mut sim, &config);
    assert_eq!((&damage.file, damage.position), (&wal(1, 1), 6 * BLOCK));
    assert!(damage.what.contains("entries 1..2"), "{damage}");
    assert!(!damage.what.contains("or at byte"), "{damage}");
}

#[test]
fn where_nobody_can_tell_which_commit_held_the_metadata_all_are_named() {
    let (mut sim, config) = unwitnessed();
    for block in [1, 4, 6] {
        let at = BLOCK * block;
        sim.faults().unreadable(&wal(1, 1), at).unwrap();
    }
    let damage = refusal(&mut sim, &config);
    assert_eq!((&damage.file, damage.position), (&wal(1, 1), 4 * BLOCK));
    let others = format!("or at byte {} of {}:", 6 * BLOCK, wal(1, 1).display());
    assert!(damage.what.contains(&others), "{damage}");
}
