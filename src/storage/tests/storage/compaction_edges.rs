//! Compaction where something else happens to the log meanwhile, or to what is in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tailwater_record::{BatchBuilder, BatchHeader, Codec, Compression, NewRecord, batches};
use tailwater_shards::sim::{ENOSPC, IoKind, Matching, Simulation};
use tailwater_shards::{dir, sleep, wall_clock_ms};
use tailwater_storage::{Compaction, Log, LogConfig, ReadError, StorageConfig, Sync};

use crate::corruption::{checkpoint, groups, roomy};
use crate::harness::{DATA, small};
use crate::solo::{Started, append, refused, solo, tp};

fn compacted() -> LogConfig {
    LogConfig {
        segment_bytes: 16 << 10,
        delete: false,
        compact: Some(Compaction {
            dirty_ratio_min: 0,
            ..Compaction::default()
        }),
        ..LogConfig::default()
    }
}

/// A batch of one record of 1,000 bytes.
fn keyed(key: Option<&[u8]>, codec_is_wrong: bool) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(NewRecord {
        timestamp: wall_clock_ms(),
        key,
        value: Some(&[7; 1000]),
        headers: &[],
    });
    let mut batch = builder.build().to_vec();
    if codec_is_wrong {
        // As of a topic whose records nobody walked over: the header and the checksum are right.
        let header = BatchHeader::parse(&batch).unwrap();
        let attributes = header.attributes.with_codec(Codec::Zstd);
        let timestamp = header.max_timestamp;
        tailwater_record::set_max_timestamp_and_attributes(&mut batch, timestamp, attributes);
    }
    batch.into()
}

async fn fill(started: &Started, log: &Log, batches: usize, key: impl Fn(usize) -> Option<u8>) {
    for number in 0..batches {
        started.storage.room().await;
        let key = key(number).map(|key| [key]);
        let batch = keyed(key.as_ref().map(|key| &key[..]), false);
        let appended = append(log, batch, Sync::Durable).unwrap();
        started.storage.durable(appended.ticket).await.unwrap();
    }
}

/// The base offsets of all batches.
async fn offsets(log: &Log) -> Vec<i64> {
    let (mut at, end) = (log.log_start(), log.durable_end().0);
    let mut found = Vec::new();
    while at < end {
        let read = log.read(at, end, 1 << 20, true).await.unwrap();
        let bytes = read.slices.concat();
        found.extend(batches(&bytes).map(|batch| batch.unwrap().header.base_offset));
        at = read.next;
    }
    found
}

#[test]
fn what_cannot_be_judged_stays() {
    solo(&mut Simulation::new(1), &small(), |started| async move {
        let log = started.log_with(0, compacted());
        append(&log, keyed(Some(b"\x01"), true), Sync::Durable).unwrap();
        append(&log, keyed(None, false), Sync::Durable).unwrap();
        fill(&started, &log, 40, |_| Some(1)).await;
        sleep(Duration::from_secs(2)).await;
        let left = offsets(&log).await;
        assert_eq!(left[..2], [0, 1], "it cannot be read; it has no key");
        assert!(left.len() < 20, "and the others go: {left:?}");
    });
}

/// Who produces may send a record that compaction has no room to look at, and who consumes reads it:
/// its batch stays, and so does the tombstone that deletes it.
#[test]
fn a_tombstone_stays_for_a_record_that_cannot_be_judged() {
    // With so little memory no record is put together that is longer than 4 MiB.
    for (bytes, is_judged) in [(3 << 20, true), ((4 << 20) + 1, false)] {
        solo(&mut Simulation::new(1), &small(), move |started| {
            a_large_record_and_its_tombstone(started, bytes, is_judged)
        });
    }
}

async fn a_large_record_and_its_tombstone(started: Started, bytes: usize, is_judged: bool) {
    let mut config = compacted();
    config.compact = config.compact.map(|compact| Compaction {
        delete_retention_ms: 0,
        ..compact
    });
    let log = started.log_with(0, config);
    let mut large = BatchBuilder::new().compression(Compression::of(Codec::Zstd));
    large.push(NewRecord {
        timestamp: wall_clock_ms(),
        key: Some(b"\x09"),
        value: Some(&vec![0; bytes]),
        headers: &[],
    });
    append(&log, large.build(), Sync::Durable).unwrap();
    for key in [b"\x09", b"\x08"] {
        let mut tombstone = BatchBuilder::new();
        tombstone.push(NewRecord {
            timestamp: wall_clock_ms(),
            key: Some(key),
            value: None,
            headers: &[],
        });
        append(&log, tombstone.build(), Sync::Durable).unwrap();
    }
    for _ in 0..3 {
        fill(&started, &log, 40, |_| Some(1)).await;
        sleep(Duration::from_secs(2)).await;
    }
    let left = offsets(&log).await;
    if is_judged {
        assert!(left[0] > 2, "all three go: {left:?}");
    } else {
        assert_eq!(left[..3], [0, 1, 2], "what the tombstone deletes is there");
    }
    assert!(left.len() < 20, "and the others go: {left:?}");
}

/// Who began before a cleaning wants to go on to an end that now lies in a gap.
#[test]
fn a_read_that_ends_in_a_gap_comes_to_its_end() {
    solo(&mut Simulation::new(1), &small(), |started| async move {
        let log = started.log_with(0, compacted());
        fill(&started, &log, 60, |number| Some((number % 5) as u8)).await;
        sleep(Duration::from_secs(1)).await;
        let (start, end) = (log.log_start(), log.durable_end().0);
        let all = offsets(&log).await;
        assert!(all.len() < 40, "it is cleaned: {all:?}");
        for upto in start + 1..=end {
            let (mut at, mut found) = (start, Vec::new());
            while at < upto {
                let read = log.read(at, upto, 200, true).await.unwrap();
                assert!(read.next > at, "stuck at {at} below {upto}");
                let bytes = read.slices.concat();
                found.extend(batches(&bytes).map(|batch| batch.unwrap().header.base_offset));
                at = read.next;
            }
            let below: Vec<i64> = all.iter().copied().filter(|base| *base < upto).collect();
            assert_eq!(found, below);
        }
    });
}

/// A log of a hundred records of three keys that nothing has cleaned yet.
async fn dirty(started: &Started) -> Log {
    let config = LogConfig {
        compact: None,
        ..compacted()
    };
    let log = started.log_with(0, config);
    fill(started, &log, 100, |number| Some((number % 3) as u8)).await;
    log
}

#[test]
fn a_file_that_the_disk_has_no_room_for_is_given_up_and_nothing_is_lost() {
    let mut sim = Simulation::new(2);
    let faults = sim.faults();
    solo(&mut sim, &small(), move |started| async move {
        let log = dirty(&started).await;
        faults.fail_all(Matching::kind(IoKind::Write).on(".1.log"), ENOSPC);
        log.configure(compacted());
        sleep(Duration::from_secs(3)).await;
        // Segments of which nothing stays take no room. The next has the newest record of each key
        // so far, and waits as it is.
        assert_eq!(offsets(&log).await, (75..100).collect::<Vec<_>>());
        faults.clear();
        sleep(Duration::from_secs(3)).await;
        let left = offsets(&log).await;
        assert!(
            left.len() < 25,
            "it is cleaned when there is room: {left:?}"
        );
    });
}

#[test]
fn on_a_full_disk_nothing_is_cleaned() {
    let mut sim = Simulation::new(2);
    let faults = sim.faults();
    solo(&mut sim, &small(), move |started| async move {
        let log = dirty(&started).await;
        let (free, all) = dir::free_bytes(Path::new(DATA)).await.unwrap();
        faults.disk_bytes((all - free) / 2);
        // The shard looks once a second.
        sleep(Duration::from_secs(2)).await;
        log.configure(compacted());
        sleep(Duration::from_secs(3)).await;
        assert_eq!(offsets(&log).await, (0..100).collect::<Vec<_>>());
        faults.disk_bytes(64 << 20);
        sleep(Duration::from_secs(3)).await;
        let left = offsets(&log).await;
        assert!(
            left.len() < 25,
            "it is cleaned when there is room: {left:?}"
        );
    });
}

/// A rotten segment is not copied; whoever reads it finds the damage, and nothing else is served.
#[test]
fn what_is_rotten_is_neither_copied_nor_served() {
    let mut sim = Simulation::new(3);
    let faults = sim.faults();
    let directory = solo(&mut sim, &small(), move |started| async move {
        drop(dirty(&started).await);
        started.storage.shutdown().await;
        Path::new(DATA).join(tp(0).topic.to_string()).join("0")
    });
    let path = directory.join("00000000000000000075.log");
    faults.corrupt(&path, 500, 1).unwrap();
    solo(&mut sim, &small(), move |started| async move {
        let log = started.log_with(0, compacted());
        sleep(Duration::from_secs(3)).await;
        let names = dir::list(&directory).await.unwrap();
        let is_there = |name: &str| names.iter().any(|entry| entry.name == name);
        assert!(is_there("00000000000000000075.log"), "{names:?}");
        assert!(!is_there("00000000000000000075.1.log"), "{names:?}");
        let end = log.durable_end().0;
        let read = log.read(75, end, 1 << 20, true).await;
        assert!(
            matches!(read, Err(ReadError::Corrupt(_))),
            "{:?}",
            read.map(|read| read.bytes)
        );
    });
}

#[test]
fn nothing_is_made_of_a_log_that_was_dropped() {
    for seed in 0..20 {
        solo(
            &mut Simulation::new(seed),
            &small(),
            move |started| async move {
                let log = started.log_with(
                    0,
                    LogConfig {
                        compact: None,
                        ..compacted()
                    },
                );
                fill(&started, &log, 60, |number| Some((number % 5) as u8)).await;
                log.configure(compacted());
                // In the midst of it, at another place each time.
                sleep(Duration::from_micros(20_000 + seed * 700)).await;
                started.storage.drop_log(tp(0)).await;
                sleep(Duration::from_secs(1)).await;
                let directory = Path::new(DATA).join(tp(0).topic.to_string());
                assert!(
                    !dir::exists(&directory).await.unwrap(),
                    "its files are gone"
                );
            },
        );
    }
}

const ORPHANS: [&str; 2] = ["00000000000000000000.7.log", "00000000000000000003.log"];

/// A log that was cleaned, with what a killed cleaning leaves behind; its directory.
fn with_orphans(sim: &mut Simulation) -> PathBuf {
    solo(sim, &small(), move |started| async move {
        let log = started.log_with(0, compacted());
        fill(&started, &log, 60, |number| Some((number % 5) as u8)).await;
        sleep(Duration::from_secs(1)).await;
        started.storage.shutdown().await;
        let directory = Path::new(DATA).join(tp(0).topic.to_string()).join("0");
        for name in ORPHANS {
            let options = tailwater_shards::OpenOptions {
                create_new: true,
                write: true,
            };
            let file = tailwater_shards::File::open(&directory.join(name), options).await;
            file.unwrap().close().await;
        }
        directory
    })
}

async fn orphans_in(directory: &Path) -> usize {
    let names = dir::list(directory).await.unwrap();
    let is_there = |name: &&&str| names.iter().any(|entry| entry.name == **name);
    ORPHANS.iter().filter(is_there).count()
}

#[test]
fn what_a_killed_cleaning_left_behind_goes_when_the_log_is_not_compacted_any_more() {
    for at_the_start in [true, false] {
        let mut sim = Simulation::new(5);
        let directory = with_orphans(&mut sim);
        solo(&mut sim, &small(), move |started| async move {
            let plain = LogConfig {
                compact: None,
                ..compacted()
            };
            let log = if at_the_start {
                started.log_with(0, plain)
            } else {
                let log = started.log_with(0, compacted());
                log.configure(plain);
                log
            };
            assert_eq!(orphans_in(&directory).await, 2);
            let before = offsets(&log).await;
            sleep(Duration::from_secs(1)).await;
            assert_eq!(orphans_in(&directory).await, 0);
            assert_eq!(offsets(&log).await, before);
        });
    }
}

#[test]
fn what_a_killed_cleaning_left_behind_goes_with_the_next() {
    let mut sim = Simulation::new(5);
    let directory = with_orphans(&mut sim);
    solo(&mut sim, &small(), move |started| async move {
        let log = started.log_with(0, compacted());
        fill(&started, &log, 60, |number| Some((number % 5) as u8)).await;
        sleep(Duration::from_secs(1)).await;
        let names = dir::list(&directory).await.unwrap();
        assert_eq!(orphans_in(&directory).await, 0);
        let bases = names.iter().filter(|entry| entry.name.ends_with(".log"));
        let mut bases: Vec<_> = bases.map(|entry| entry.name[..20].to_owned()).collect();
        let count = bases.len();
        bases.dedup();
        assert_eq!(bases.len(), count, "one file a segment: {names:?}");
        assert!(offsets(&log).await.len() < 40);
    });
}

/// The checkpoint before the last one names the files that the cleaning has let go: nobody may go on
/// from there, and what is in the new files may not be taken for an orphan's.
#[test]
fn a_checkpoint_that_rots_after_a_cleaning_refuses_the_start_and_nothing_is_removed() {
    let config = StorageConfig {
        cleaner_interval_ms: 20,
        ..roomy()
    };
    let mut sim = Simulation::new(6);
    let faults = sim.faults();
    solo(&mut sim, &config, move |started| async move {
        drop(dirty(&started).await);
        started.storage.shutdown().await;
    });
    let (left, directory) = solo(&mut sim, &config, move |started| async move {
        let log = started.log_with(
            0,
            LogConfig {
                compact: None,
                ..compacted()
            },
        );
        // What this start has found.
        assert!(started.storage.checkpoint_now().await.unwrap());
        log.configure(compacted());
        sleep(Duration::from_secs(1)).await;
        let left = offsets(&log).await;
        assert!(left.len() < 30, "{left:?}");
        let directory = Path::new(DATA).join(tp(0).topic.to_string()).join("0");
        (left, directory)
    });
    sim.run_until_idle();
    let path = checkpoint(2);
    let last = *groups(&mut sim, &path).last().unwrap();
    faults.corrupt(&path, last + 60, 1).unwrap();
    let listed = |sim: &mut Simulation| {
        let directory = directory.clone();
        let entries = sim.run(async move { dir::list(&directory).await.unwrap() });
        entries
            .into_iter()
            .map(|entry| entry.name)
            .collect::<Vec<_>>()
    };
    let before = listed(&mut sim);
    let error = refused(&mut sim, &config, 1).to_string();
    assert!(error.contains("0000000002-00000.a"), "{error}");
    assert!(error.contains("segment 00000000000000000000 of"), "{error}");
    assert_eq!(listed(&mut sim), before);
    faults.corrupt(&path, last + 60, 1).unwrap();
    solo(&mut sim, &config, move |started| async move {
        let log = started.log_with(
            0,
            LogConfig {
                compact: None,
                ..compacted()
            },
        );
        assert_eq!(offsets(&log).await, left);
    });
}
