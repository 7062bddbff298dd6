//! A disk that fills up, by what is logged or by what others write: appends are refused, reads and
//! deletions go on, and when there is room all goes on.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_shards::sim::{ENOSPC, Ending, IoKind, Matching, Simulation};
use tailwater_shards::{dir, sleep, timeout, wall_clock_ms};
use tailwater_storage::{LogConfig, StorageConfig, StorageError, Sync};

use crate::checks::read_all;
use crate::harness::{DATA, small};
use crate::solo::{Started, append, boot, both, fill, one, solo, tp};

#[test]
fn a_full_disk_refuses_appends_before_it_is_full_and_recovers() {
    let mut sim = Simulation::new(6);
    let config = StorageConfig {
        disk_reserve_bytes: 4 << 20,
        ..small()
    };
    sim.faults().disk_bytes(10 << 20);
    solo(&mut sim, &config, |started| async move {
        let log = started.log_with(
            0,
            LogConfig {
                segment_bytes: 500_000,
                ..LogConfig::default()
            },
        );
        let mut appended = 0;
        loop {
            started.storage.room().await;
            match append(&log, one(3000, wall_clock_ms()), Sync::Durable) {
                Ok(done) => {
                    started.storage.durable(done.ticket).await.unwrap();
                    appended += 1;
                }
                Err(StorageError::DiskFull) => break,
                Err(error) => panic!("{error}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
        assert!(started.storage.is_full());
        assert_eq!(read_all(&log).await.len(), appended, "reads go on");
        let ticket = log.advance_log_start(log.durable_end().0).unwrap();
        started.storage.durable(ticket).await.unwrap();
        sleep(Duration::from_secs(3)).await;
        assert!(!started.storage.is_full(), "deletions go on, and make room");
        fill(&started, &log, 1, 100).await;
    });
}

#[test]
fn a_disk_that_fills_up_in_a_moment_refuses_before_it_is_full_too() {
    let mut sim = Simulation::new(6);
    let config = StorageConfig {
        disk_reserve_bytes: 4 << 20,
        ..small()
    };
    let disk_bytes = 24 << 20;
    sim.faults().disk_bytes(disk_bytes);
    solo(&mut sim, &config, |started| async move {
        let log = started.log(0);
        sleep(Duration::from_millis(10)).await;
        // Nobody looks at the disk by the clock within this time.
        loop {
            started.storage.room().await;
            match append(&log, one(30_000, wall_clock_ms()), Sync::Durable) {
                Ok(done) => started.storage.durable(done.ticket).await.unwrap(),
                Err(StorageError::DiskFull) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let appended = log.appended_end().0;
        assert!(appended > 100, "{appended} batches of 30 KB in 20 MB");
        sleep(Duration::from_secs(3)).await;
        assert!(dir::free_bytes(Path::new(DATA)).await.unwrap().0 >= 4 << 20);
    });
}

/// Appends until it is refused, and says how much was acknowledged.
async fn append_until_full(started: &Started, partitions: i32, bytes: usize) -> Vec<usize> {
    let mut acknowledged = vec![0; usize::try_from(partitions).unwrap()];
    for partition in (0..partitions).cycle() {
        let log = started.log(partition);
        started.storage.room().await;
        match append(&log, one(bytes, wall_clock_ms()), Sync::Durable) {
            Ok(done) => {
                let durable = started.storage.durable(done.ticket);
                let waited = timeout(Duration::from_secs(30), durable).await;
                waited.expect("appends never hang").unwrap();
                acknowledged[usize::try_from(partition).unwrap()] += 1;
            }
            Err(StorageError::DiskFull) => break,
            Err(error) => panic!("{error}"),
        }
    }
    acknowledged
}

/// Another program takes all the disk at once, in the middle of write-behind, checkpoints and new
/// WAL files, as soon as so many batches are acknowledged.
fn a_foreign_file_takes_it_all(seed: u64, before: usize) {
    let mut sim = Simulation::new(seed);
    let config = StorageConfig {
        disk_reserve_bytes: 2 << 20,
        ..small()
    };
    sim.faults().disk_bytes(64 << 20);
    let faults = sim.faults();
    let acknowledged = solo(&mut sim, &config, move |started| async move {
        for count in 0..before {
            let log = started.log(i32::try_from(count % 20).unwrap());
            fill(&started, &log, 1, 4000).await;
        }
        let (free, all) = dir::free_bytes(Path::new(DATA)).await.unwrap();
        faults.disk_bytes(all - free);
        append_until_full(&started, 20, 4000).await;
        // A while in which everything that writes finds that it cannot.
        sleep(Duration::from_secs(5)).await;
        assert!(started.storage.is_full());
        let mut counts = Vec::new();
        for partition in 0..20 {
            let log = started.log(partition);
            let end = usize::try_from(log.appended_end().0).unwrap();
            assert_eq!(read_all(&log).await.len(), end, "reads go on");
            counts.push(end);
        }
        // Deletions are logged on a disk without a free byte: metadata, and log starts.
        for partition in 10..20 {
            let entry = started.storage.append_metadata(Bytes::from_static(b"gone"));
            let durable = timeout(Duration::from_secs(5), started.storage.durable(entry));
            durable.await.expect("a deletion never hangs").unwrap();
            started.storage.drop_log(tp(partition)).await;
            let ticket = started.log(partition - 10).advance_log_start(1);
            let durable = timeout(
                Duration::from_secs(5),
                started.storage.durable(ticket.unwrap()),
            );
            durable.await.expect("nor does a log start").unwrap();
        }
        faults.disk_bytes(64 << 20);
        sleep(Duration::from_secs(3)).await;
        assert!(!started.storage.is_full());
        for partition in 0..10 {
            fill(&started, &started.log(partition), 40, 4000).await;
        }
        started.storage.check_invariants();
        counts
    });
    sim.power_cut();
    solo(&mut sim, &config, move |started| async move {
        for partition in 0..10 {
            let log = started.log(partition);
            let had = i64::try_from(acknowledged[usize::try_from(partition).unwrap()]).unwrap();
            assert_eq!(log.appended_end().0, had + 40, "partition {partition}");
            let kept = usize::try_from(had + 40 - log.log_start()).unwrap();
            assert_eq!(read_all(&log).await.len(), kept);
        }
    });
}

#[test]
fn a_disk_that_others_fill_ends_nothing_and_loses_nothing() {
    for seed in 0..12 {
        a_foreign_file_takes_it_all(seed, 60 + usize::try_from(seed).unwrap() * 37);
    }
}

#[test]
fn a_disk_that_was_full_from_the_start_takes_deletions() {
    let mut sim = Simulation::new(3);
    let config = StorageConfig {
        disk_reserve_bytes: 4 << 20,
        ..small()
    };
    let faults = sim.faults();
    solo(&mut sim, &config, move |started| async move {
        sleep(Duration::from_secs(1)).await;
        // No room for another WAL file, and still some above the reserve.
        let (free, all) = dir::free_bytes(Path::new(DATA)).await.unwrap();
        faults.disk_bytes(all - free + (4 << 20) + (100 << 10));
        sleep(Duration::from_secs(2)).await;
        // Each a commit of its own: the WAL is used up long before the disk is.
        let acknowledged = append_until_full(&started, 3, 10).await;
        assert!(acknowledged.iter().sum::<usize>() > 10, "{acknowledged:?}");
        for _ in 0..20 {
            let entry = started.storage.append_metadata(Bytes::from_static(b"gone"));
            let durable = timeout(Duration::from_secs(5), started.storage.durable(entry));
            durable.await.expect("a deletion never hangs").unwrap();
        }
        faults.disk_bytes(64 << 20);
        sleep(Duration::from_secs(2)).await;
        fill(&started, &started.log(0), 100, 1000).await;
    });
}

/// Tails of some logs, and then a disk with just so much room.
fn tails_and_then_only(sim: &mut Simulation, config: &StorageConfig, left: u64) {
    solo(sim, config, |started| async move {
        for partition in 0..40 {
            fill(&started, &started.log(partition), 3, 2000).await;
        }
        started.storage.check_invariants();
    });
    sim.power_cut();
    sim.faults().disk_bytes(sim.disk_used_bytes() + left);
}

#[test]
fn a_start_without_room_for_another_wal_file_clears_its_past_away() {
    let mut sim = Simulation::new(8);
    let config = StorageConfig {
        disk_reserve_bytes: 4 << 20,
        ..small()
    };
    // More tails than can be carried at once, and no file to carry more to.
    tails_and_then_only(&mut sim, &config, 4 << 20);
    solo(&mut sim, &config, |started| async move {
        sleep(Duration::from_secs(5)).await;
        let files = dir::list(&Path::new(DATA).join("wal")).await.unwrap();
        let current = format!("{:010}-", started.generation);
        assert!(
            files.iter().all(|file| file.name.starts_with(&current)),
            "{files:?}"
        );
        for partition in 0..10 {
            assert_eq!(read_all(&started.log(partition)).await.len(), 3);
        }
    });
}

#[test]
fn a_start_on_a_full_disk_reads_and_deletes_and_refuses_appends() {
    let mut sim = Simulation::new(9);
    let config = StorageConfig {
        wal_first_file_bytes: 1 << 20,
        wal_bytes: 8 << 20,
        disk_reserve_bytes: 4 << 20,
        ..small()
    };
    // For the root file, the seals and a WAL file much smaller than the first one should be.
    tails_and_then_only(&mut sim, &config, 160 << 10);
    let faults = sim.faults();
    solo(&mut sim, &config, move |started| async move {
        for partition in 0..10 {
            assert_eq!(read_all(&started.log(partition)).await.len(), 3);
        }
        sleep(Duration::from_secs(2)).await;
        let refused = append(&started.log(0), one(100, wall_clock_ms()), Sync::Durable);
        assert!(matches!(refused, Err(StorageError::DiskFull)));
        for partition in 0..10 {
            let ticket = started.log(partition).advance_log_start(1).unwrap();
            let durable = timeout(Duration::from_secs(5), started.storage.durable(ticket));
            durable.await.expect("a log start never hangs").unwrap();
        }
        faults.disk_bytes(64 << 20);
        sleep(Duration::from_secs(3)).await;
        // Larger than the WAL file that there was room for.
        fill(&started, &started.log(0), 5, 100_000).await;
        fill(&started, &started.log(1), 40, 4000).await;
        started.storage.check_invariants();
    });
    sim.power_cut();
    solo(&mut sim, &config, |started| async move {
        assert_eq!(started.log(0).log_start(), 1);
        assert_eq!(read_all(&started.log(0)).await.len(), 7);
        assert_eq!(read_all(&started.log(1)).await.len(), 42);
    });
}

#[test]
fn a_disk_without_a_free_byte_refuses_the_start_and_keeps_everything() {
    let mut sim = Simulation::new(10);
    let config = small();
    tails_and_then_only(&mut sim, &config, 0);
    let refused = sim.run(async {
        let recovered = tailwater_storage::recover(&small(), 1, 1, |_| Ok(both())).await;
        recovered.err().map(|error| error.to_string())
    });
    assert!(refused.unwrap().contains("No space left"));
    sim.faults().disk_bytes(64 << 20);
    solo(&mut sim, &config, |started| async move {
        for partition in 0..10 {
            assert_eq!(read_all(&started.log(partition)).await.len(), 3);
        }
    });
}

/// The write with this number to the WAL finds no room.
fn a_write_finds_no_room(nth: u64, seed: u64) {
    let mut sim = Simulation::new(seed);
    let faults = sim.faults();
    let acknowledged = Rc::new(Cell::new(0));
    let count = acknowledged.clone();
    let (process, _) = boot(&mut sim, &small(), both(), move |started| async move {
        faults.fail(Matching::kind(IoKind::Write).on(".wal"), nth, ENOSPC);
        // The next file is in use when it ends, and not freed yet.
        let mut more = 20;
        while more > 0 {
            more -= i32::from(!faults.errors_left());
            let log = started.log(0);
            started.storage.room().await;
            match append(&log, one(9000, wall_clock_ms()), Sync::Durable) {
                Ok(done) => {
                    started.storage.durable(done.ticket).await.unwrap();
                    count.set(count.get() + 1);
                }
                Err(StorageError::DiskFull) => sleep(Duration::from_millis(100)).await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let ending = sim.run_until_ended(process);
    assert!(
        matches!(ending, Ending::Returned | Ending::Fatal(_)),
        "{ending:?}"
    );
    if seed == 0 {
        sim.power_cut();
    }
    solo(&mut sim, &small(), move |started| async move {
        let damage = &started.report.damage;
        assert!(damage.is_empty(), "write {nth}, seed {seed}: {damage:?}");
        let there = read_all(&started.log(0)).await.len();
        let had = acknowledged.get();
        assert!(
            there >= had,
            "write {nth}, seed {seed}: {there} of {had} are there"
        );
    });
}

/// A write that says it found no room may have been made all the same: a file's header too, whose
/// place in the stream the next file is given.
#[test]
fn whatever_write_to_the_wal_finds_no_room_nothing_acknowledged_is_lost() {
    for nth in 0..40 {
        (0..4).for_each(|seed| a_write_finds_no_room(nth, seed));
    }
}
