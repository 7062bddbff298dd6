//! What a read gives: whole batches within its bounds, from memory, WAL or segment alike.

use std::path::PathBuf;
use std::time::Duration;

use tailwater_record::{BatchHeader, batches};
use tailwater_shards::sim::Simulation;
use tailwater_shards::{IoClass, io_stats, sleep};
use tailwater_storage::{Log, LogConfig, ReadError, StorageConfig, Sync, verify};

use crate::checks::read_all;
use crate::harness::{DATA, small};
use crate::solo::{Started, TOPIC, append, fill, one, solo};

/// Small caches: most of a log is read from the disk.
fn tiny_memory() -> StorageConfig {
    StorageConfig {
        memory_bytes: 64 << 10,
        ..small()
    }
}

fn rolling() -> LogConfig {
    LogConfig {
        segment_bytes: 300 << 10,
        retention_ms: -1,
        ..LogConfig::default()
    }
}

async fn check_bounds(log: &Log) {
    let end = log.appended_end().0;
    for from in (0..end).step_by(37) {
        let first = log.read(from, end, 1, true).await.unwrap();
        let bytes = first.slices.concat();
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(
            header.total_bytes(),
            bytes.len(),
            "one batch, though it is over the limit"
        );
        assert!(header.base_offset <= from && from < header.next_offset());
        assert_eq!(log.read(from, end, 1, false).await.unwrap().bytes, 0);
        let some = log
            .read(from, (from + 5).min(end), 1 << 20, true)
            .await
            .unwrap();
        let some = some.slices.concat();
        let last = batches(&some).last().unwrap().unwrap().header;
        assert!(last.next_offset() <= from + 5, "nothing beyond the bound");
        let bounded = log.read(from, end, 10_000, false).await.unwrap();
        assert!(bounded.bytes <= 10_000);
    }
    assert_eq!(log.read(end, end, 100, true).await.unwrap().bytes, 0);
    assert!(matches!(
        log.read(end + 1, end + 1, 100, true).await,
        Err(ReadError::OffsetOutOfRange { .. })
    ));
}

#[test]
fn reads_keep_their_bounds_wherever_the_bytes_are() {
    let mut sim = Simulation::new(1);
    solo(&mut sim, &tiny_memory(), |started| async move {
        let log = started.log_with(0, rolling());
        fill(&started, &log, 700, 1500).await;
        check_bounds(&log).await;
        assert_eq!(read_all(&log).await.len(), 700);
        started.storage.shutdown().await;
    });
    // And when nothing is in memory, from segments and from the WAL.
    solo(&mut sim, &tiny_memory(), |started| async move {
        let log = started.log_with(0, rolling());
        check_bounds(&log).await;
        assert_eq!(read_all(&log).await.len(), 700);
    });
}

#[test]
fn the_tail_is_read_from_memory_without_any_copy() {
    let mut sim = Simulation::new(2);
    solo(&mut sim, &small(), |started| async move {
        let log = started.log(0);
        fill(&started, &log, 10, 1000).await;
        let before = io_stats().total().reads;
        let end = log.durable_end().0;
        let read = log.try_read(0, end, 1 << 20, true).unwrap().unwrap();
        let again = log.read(0, end, 1 << 20, true).await.unwrap();
        assert_eq!(io_stats().total().reads, before);
        assert_eq!(read.slices.len(), again.slices.len());
        for (a, b) in read.slices.iter().zip(&again.slices) {
            assert_eq!(a.as_ptr(), b.as_ptr(), "the same memory");
        }
    });
}

#[test]
fn consecutive_batches_of_a_commit_are_one_slice() {
    let mut sim = Simulation::new(3);
    solo(&mut sim, &small(), |started| async move {
        let (a, b) = (started.log(0), started.log(1));
        sleep(Duration::from_millis(50)).await;
        let mut last = None;
        for _ in 0..10 {
            append(&a, one(100, 0), Sync::Durable).unwrap();
            last = Some(append(&b, one(100, 0), Sync::Durable).unwrap());
        }
        started.storage.durable(last.unwrap().ticket).await.unwrap();
        let read = a.try_read(0, 10, 1 << 20, true).unwrap().unwrap();
        assert_eq!(read.slices.len(), 1, "ten batches, one commit, one slice");
    });
}

#[test]
fn offsets_are_found_by_time() {
    let mut sim = Simulation::new(4);
    let check = |started: Started| async move {
        let log = started.log_with(0, rolling());
        let end = log.durable_end().0;
        for wanted in [0, 1, 500, 999, 1333, 1398] {
            let hit = log
                .offset_for_timestamp(10_000 + wanted, end)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(hit.timestamp, 10_000 + (wanted + 1) / 2 * 2);
            assert_eq!(hit.offset, (wanted + 1) / 2);
            assert_eq!(hit.leader_epoch, 1);
        }
        assert_eq!(
            log.offset_for_timestamp(10_000 + 1399, end).await.unwrap(),
            None
        );
        assert_eq!(log.max_timestamp(end).await.unwrap().unwrap().offset, 699);
        assert_eq!(log.max_timestamp(300).await.unwrap().unwrap().offset, 299);
    };
    solo(&mut sim, &tiny_memory(), move |started| async move {
        let log = started.log_with(0, rolling());
        for i in 0..700 {
            started.storage.room().await;
            append(&log, one(1500, 10_000 + i * 2), Sync::Durable).unwrap();
        }
        let ticket = log.ticket_of(699).unwrap();
        started.storage.durable(ticket).await.unwrap();
        check(started.clone()).await;
        started.storage.shutdown().await;
    });
    solo(&mut sim, &tiny_memory(), check);
}

fn first_segment(extension: &str) -> PathBuf {
    PathBuf::from(format!(
        "{DATA}/{}/0/{:020}.{extension}",
        TOPIC.as_hyphenated(),
        0
    ))
}

#[test]
fn a_damaged_index_is_rebuilt_and_nothing_is_lost() {
    let mut sim = Simulation::new(5);
    solo(&mut sim, &tiny_memory(), |started| async move {
        let log = started.log_with(0, rolling());
        fill(&started, &log, 700, 1500).await;
        started.storage.shutdown().await;
    });
    sim.run_until_idle();
    sim.faults()
        .corrupt(&first_segment("index"), 4100, 0x40)
        .unwrap();
    solo(&mut sim, &tiny_memory(), |started| async move {
        let log = started.log_with(0, rolling());
        check_bounds(&log).await;
    });
}

#[test]
fn a_damaged_leader_epoch_is_never_served_though_no_checksum_covers_it() {
    let mut sim = Simulation::new(7);
    solo(&mut sim, &tiny_memory(), |started| async move {
        fill(&started, &started.log_with(0, rolling()), 400, 1500).await;
        started.storage.shutdown().await;
    });
    sim.run_until_idle();
    let path = first_segment("log");
    sim.faults().corrupt(&path, 15, 0x04).unwrap();
    let checked = sim.run(async { verify(std::path::Path::new(DATA), None).await });
    assert!(
        matches!(checked.problems.as_slice(), [damage] if damage.file == path && damage.position == 0),
        "{checked:?}"
    );
    solo(&mut sim, &tiny_memory(), move |started| async move {
        let log = started.log_with(0, rolling());
        let read = log.read(0, log.durable_end().0, 2000, true).await;
        assert!(
            matches!(&read, Err(ReadError::Corrupt(damage)) if damage.file == path && damage.position == 0),
            "{read:?}"
        );
        log.health().unwrap_err();
    });
}

#[test]
fn a_damaged_segment_is_never_served_and_takes_its_log_out_of_service() {
    for unreadable in [false, true] {
        let mut sim = Simulation::new(6);
        solo(&mut sim, &tiny_memory(), |started| async move {
            let log = started.log_with(0, rolling());
            fill(&started, &log, 400, 1500).await;
            fill(&started, &started.log(1), 4, 1500).await;
            started.storage.shutdown().await;
        });
        sim.run_until_idle();
        if unreadable {
            sim.faults()
                .unreadable(&first_segment("log"), 40_960)
                .unwrap();
        } else {
            sim.faults()
                .corrupt(&first_segment("log"), 40_961, 0x04)
                .unwrap();
        }
        solo(&mut sim, &tiny_memory(), move |started| async move {
            let log = started.log_with(0, rolling());
            let end = log.durable_end().0;
            let mut at = 0;
            let error = loop {
                match log.read(at, end, 2000, true).await {
                    Ok(read) => {
                        let bytes = read.slices.concat();
                        for batch in batches(&bytes) {
                            at = batch.unwrap().header.next_offset();
                        }
                        assert!(
                            tailwater_record::crc_is_valid(&bytes),
                            "never served damaged"
                        );
                    }
                    Err(error) => break error,
                }
            };
            if unreadable {
                assert!(matches!(error, ReadError::Io { .. }), "{error}");
            } else {
                assert!(matches!(&error, ReadError::Corrupt(damage)
                    if damage.file == first_segment("log") && damage.position < 40_961));
                log.health().unwrap_err();
                assert!(append(&log, one(10, 0), Sync::Durable).is_err());
            }
            assert_eq!(read_all(&started.log(1)).await.len(), 4, "the others go on");
            assert!(io_stats().class(IoClass::ColdRead).reads > 0);
        });
    }
}
