//! What comes and goes: topics, old segments, WAL files, checkpoints, disk space.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tailwater_shards::sim::{ENOENT, IoKind, Matching, Simulation};
use tailwater_shards::{Counter, IoClass, counters, dir, io_stats, sleep};
use tailwater_storage::{
    LogConfig, MetadataReplay, ReadError, StorageConfig, StorageError, Sync, TopicEra,
    TopicPartition, verify, verify_known,
};

use crate::checks::read_all;
use crate::harness::{DATA, small};
use crate::solo::{OTHER, TOPIC, append, boot, fill, one, solo, tp};

async fn names(path: PathBuf) -> Vec<String> {
    dir::list(&path)
        .await
        .unwrap_or_default()
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

fn directory(partition: i32) -> PathBuf {
    PathBuf::from(format!("{DATA}/{}/{partition}", TOPIC.as_hyphenated()))
}

#[test]
fn a_wal_far_smaller_than_what_goes_through_it_is_recycled() {
    let mut sim = Simulation::new(1);
    solo(&mut sim, &small(), |started| async move {
        // Many small tails, which are carried, and a large one, which is written.
        for _ in 0..150 {
            for partition in 0..60 {
                fill(&started, &started.log(partition), 1, 300).await;
            }
            fill(&started, &started.log(60), 2, 9000).await;
        }
        let files = names(PathBuf::from(format!("{DATA}/wal"))).await;
        assert!(files.len() <= 8, "{files:?}");
        started.storage.check_invariants();
    });
    sim.power_cut();
    solo(&mut sim, &small(), |started| async move {
        for partition in 0..60 {
            assert_eq!(read_all(&started.log(partition)).await.len(), 150);
        }
        assert_eq!(read_all(&started.log(60)).await.len(), 300);
    });
}

#[test]
fn appends_wait_for_room_and_go_on_when_the_disk_is_slow() {
    let mut sim = Simulation::new(2);
    sim.faults().slow(
        Matching::kind(IoKind::Write).on(".log"),
        10_000,
        Duration::from_millis(30),
    );
    solo(&mut sim, &small(), |started| async move {
        let log = started.log(0);
        for _ in 0..1500 {
            started.storage.room().await;
            append(&log, one(4000, 0), Sync::Durable).unwrap();
        }
        let ticket = log.ticket_of(1499).unwrap();
        started.storage.durable(ticket).await.unwrap();
        assert!(
            started.storage.room_waits() > 0,
            "6 MB do not fit a WAL of 1 MiB"
        );
    });
}

#[test]
fn files_are_freed_before_steady_appends_wait_for_one() {
    let mut sim = Simulation::new(4);
    solo(&mut sim, &small(), |started| async move {
        let log = started.log(0);
        // A disk that takes tens of megabytes a second, and 8 MB a second of appends.
        for _ in 0..2000 {
            append(&log, one(4000, 0), Sync::Durable).unwrap();
            sleep(Duration::from_micros(500)).await;
        }
        let waits = counters().total(Counter::WaitsForWalFile);
        assert_eq!(waits, 0, "the ring of 1 MiB went round eight times");
    });
}

#[test]
fn logs_are_written_side_by_side() {
    let mut sim = Simulation::new(6);
    let slow = Matching::kind(IoKind::Sync).on(".log");
    sim.faults().slow(slow, 100, Duration::from_secs(1));
    solo(&mut sim, &small(), |started| async move {
        for partition in 0..6 {
            fill(&started, &started.log(partition), 8, 4000).await;
        }
        // The first was begun when it was alone, and takes two writes with a sync each. Then the others
        // are there: one after the other they would be at the third write by now.
        sleep(Duration::from_millis(2500)).await;
        let written = io_stats().class(IoClass::WriteBehind).writes;
        assert!(
            (5..=6).contains(&written),
            "four are written at once: {written}"
        );
    });
}

#[test]
fn carried_runs_share_commits_when_they_have_to_be_read_from_the_disk() {
    let mut sim = Simulation::new(5);
    let config = StorageConfig {
        // What is to be carried has left the tail cache long ago.
        memory_bytes: 16 << 10,
        ..small()
    };
    solo(&mut sim, &config, |started| async move {
        for _ in 0..30 {
            for partition in 0..400 {
                append(&started.log(partition), one(20, 0), Sync::Durable).unwrap();
                started.storage.room().await;
            }
        }
        let last = started.log(399).ticket_of(29).unwrap();
        started.storage.durable(last).await.unwrap();
    });
}

#[test]
fn a_dropped_topic_is_gone_and_its_name_is_free_for_another_id() {
    let mut sim = Simulation::new(3);
    solo(&mut sim, &small(), |started| async move {
        let log = started.log(0);
        fill(&started, &log, 60, 1000).await;
        let mut written = names(directory(0)).await;
        while written.is_empty() {
            sleep(Duration::from_millis(10)).await;
            written = names(directory(0)).await;
        }
        started.storage.drop_log(tp(0)).await;
        assert!(matches!(
            log.read(0, 9, 100, true).await,
            Err(ReadError::Dropped)
        ));
        let refused = append(&log, one(10, 0), Sync::Durable);
        assert!(matches!(refused, Err(StorageError::Dropped)));
        sleep(Duration::from_secs(1)).await;
        assert!(!dir::exists(&directory(0)).await.unwrap());
        // The same partition of the same id begins anew, as after a drop that was not finished.
        let other = TopicPartition::new(OTHER, 0);
        let log = started
            .storage
            .open_log(other, LogConfig::default(), 1)
            .unwrap();
        assert_eq!(log.appended_end().0, 0);
        fill(&started, &log, 3, 100).await;
    });
    sim.power_cut();
    let other = BTreeMap::from([(OTHER, TopicEra { partitions: 1 })]);
    let (process, output) = boot(&mut sim, &small(), other, |started| async move {
        assert_eq!(
            started.storage.recovered_logs(),
            [TopicPartition::new(OTHER, 0)]
        );
        sleep(Duration::from_secs(1)).await;
        assert!(!dir::exists(directory(0).parent().unwrap()).await.unwrap());
    });
    sim.run_until_ended(process);
    output.borrow_mut().take().unwrap();
}

#[test]
fn a_partition_is_written_while_the_topics_other_one_takes_its_directory_along() {
    let mut sim = Simulation::new(6);
    // Long enough for the other partition's first segment to be made meanwhile.
    for kind in [IoKind::RemoveDir, IoKind::RemoveDirAll] {
        let removals = Matching::kind(kind);
        sim.faults().slow(removals, 9, Duration::from_millis(20));
    }
    solo(&mut sim, &small(), |started| async move {
        let (dropped, written) = (started.log(0), started.log(1));
        fill(&started, &dropped, 60, 1000).await;
        while names(directory(0)).await.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        started.storage.drop_log(tp(0)).await;
        while dir::exists(&directory(0)).await.unwrap() {
            sleep(Duration::from_micros(100)).await;
        }
        fill(&started, &written, 60, 1000).await;
        sleep(Duration::from_secs(1)).await;
        assert!(!names(directory(1)).await.is_empty());
        assert_eq!(read_all(&written).await.len(), 60);
    });
}

#[test]
fn a_directory_that_vanishes_while_it_is_made_is_made_again() {
    let mut sim = Simulation::new(7);
    solo(&mut sim, &small(), |started| async move {
        let log = started.log(0);
        fill(&started, &log, 1, 100).await;
        append(&log, one(9000, 0), Sync::Durable).unwrap();
    });
    let makings = Matching::kind(IoKind::CreateDirs).on(&TOPIC.as_hyphenated().to_string());
    for skip in 0..3 {
        sim.faults().fail(makings.clone(), skip, ENOENT);
    }
    solo(&mut sim, &small(), |started| async move {
        fill(&started, &started.log(0), 60, 1000).await;
        while names(directory(0)).await.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn verification_takes_a_dropped_log_for_no_loss() {
    // Enough checkpoints for the other file to be begun, with a group that names all that lives.
    for checkpoints in [1, 80] {
        let mut sim = Simulation::new(5);
        solo(&mut sim, &small(), move |started| async move {
            let (large, little) = (started.log(0), started.log(1));
            for _ in 0..60 {
                fill(&started, &little, 1, 100).await;
                fill(&started, &large, 3, 8_000).await;
            }
            started.storage.drop_log(tp(1)).await;
            fill(&started, &large, 20, 8_000).await;
            for _ in 0..checkpoints {
                fill(&started, &large, 1, 10).await;
                assert!(started.storage.checkpoint_now().await.unwrap());
            }
        });
        sim.run_until_idle();
        let checked = sim.run(async { verify(Path::new(DATA), None).await });
        assert!(checked.problems.is_empty(), "{:?}", checked.problems);
        assert_eq!(checked.partitions, 1);
    }
}

/// A process that was killed while it removed the partitions of a deleted topic leaves some of them.
#[test]
fn verification_misses_nothing_of_a_topic_that_is_known_to_be_deleted() {
    let mut sim = Simulation::new(5);
    solo(&mut sim, &small(), |started| async move {
        for partition in 0..2 {
            fill(&started, &started.log(partition), 100, 8_000).await;
        }
        started.storage.shutdown().await;
        dir::remove_dir_all(&directory(1)).await.unwrap();
    });
    let mut problems = |topics: Option<i32>| {
        let known = move |_: &MetadataReplay| {
            let era = |partitions| (TOPIC, TopicEra { partitions });
            Ok(topics.map(era).into_iter().collect())
        };
        let report = sim.run(verify_known(Path::new(DATA), None, known));
        (report.partitions, report.problems.len())
    };
    assert_eq!(problems(None), (0, 0), "the topic is deleted");
    assert_eq!(problems(Some(1)), (1, 0), "it has never had a second one");
    assert_eq!(problems(Some(2)), (2, 1), "a partition that lives is gone");
    dir_is_gone_with_its_topic(&mut sim);
}

/// Not even the topic's directory is there, and still its files are missed.
fn dir_is_gone_with_its_topic(sim: &mut Simulation) {
    let topic = directory(0).parent().unwrap().to_path_buf();
    sim.run(async move { dir::remove_dir_all(&topic).await.unwrap() });
    let known = |_: &MetadataReplay| Ok(BTreeMap::from([(TOPIC, TopicEra { partitions: 1 })]));
    let report = sim.run(verify_known(Path::new(DATA), None, known));
    assert_eq!(report.problems.len(), 1, "{report:?}");
}

#[test]
fn directories_of_unknown_topics_are_removed() {
    let mut sim = Simulation::new(4);
    solo(&mut sim, &small(), |started| async move {
        fill(&started, &started.log(0), 60, 1000).await;
        started.storage.shutdown().await;
        assert!(dir::exists(&directory(0)).await.unwrap());
    });
    let (process, _) = boot(&mut sim, &small(), BTreeMap::new(), |started| async move {
        assert!(started.storage.recovered_logs().is_empty());
        sleep(Duration::from_secs(1)).await;
        assert!(!dir::exists(directory(0).parent().unwrap()).await.unwrap());
    });
    sim.run_until_ended(process);
}

#[test]
fn retention_by_size_and_time_removes_whole_segments() {
    let mut sim = Simulation::new(5);
    solo(&mut sim, &small(), |started| async move {
        let config = LogConfig {
            segment_bytes: 50_000,
            retention_bytes: 120_000,
            retention_ms: 60_000,
            ..LogConfig::default()
        };
        let log = started.log_with(0, config);
        fill(&started, &log, 300, 1000).await;
        sleep(Duration::from_secs(2)).await;
        assert!(log.log_start() > 0);
        assert!(
            (120_000..=170_000 + 50_000).contains(&log.bytes()),
            "{}",
            log.bytes()
        );
        let before = log.log_start();
        assert!(matches!(
            log.read(before - 1, 300, 100, true).await,
            Err(ReadError::OffsetOutOfRange { .. })
        ));
        let first = names(directory(0)).await.into_iter().next().unwrap();
        assert!(
            first.as_str() >= format!("{:020}", before - 60).as_str(),
            "{first}"
        );
        sleep(Duration::from_secs(62)).await;
        assert_eq!(log.log_start(), 300, "all of it has expired");
        assert_eq!(log.bytes(), 0);
        fill(&started, &log, 1, 100).await;
        assert_eq!(log.appended_end().0, 301);
    });
    sim.power_cut();
    solo(&mut sim, &small(), |started| async move {
        let log = started.log(0);
        assert_eq!((log.log_start(), log.appended_end().0), (300, 301));
        assert_eq!(read_all(&log).await.len(), 1);
    });
}

#[test]
fn checkpoints_take_turns_in_their_files_and_stay_small() {
    let mut sim = Simulation::new(7);
    solo(&mut sim, &small(), |started| async move {
        for partition in 0..500 {
            fill(&started, &started.log(partition), 1, 50).await;
        }
        for round in 0..40 {
            for partition in 0..100 {
                fill(
                    &started,
                    &started.log((round * 37 + partition) % 500),
                    1,
                    50,
                )
                .await;
            }
            while !started.storage.checkpoint_now().await.unwrap() {
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
    sim.power_cut();
    let report = sim.run(async { verify(Path::new(DATA), None).await });
    assert!(report.problems.is_empty(), "{report:?}");
    let sizes = ["a", "b"].map(|slot| {
        let path = PathBuf::from(format!("{DATA}/checkpoint/0000000001-00000.{slot}"));
        sim.read_file(&path).unwrap().len()
    });
    assert!(sizes.iter().all(|size| *size < 1 << 20), "{sizes:?}");
    solo(&mut sim, &small(), |started| async move {
        let mut batches = 0;
        for partition in 0..500 {
            batches += read_all(&started.log(partition)).await.len();
        }
        assert_eq!(batches, 500 + 4000);
    });
}

#[test]
fn ten_thousand_idle_partitions_cost_a_start_a_few_reads() {
    let mut sim = Simulation::new(8);
    let config = StorageConfig {
        disk_reserve_bytes: 0,
        ..StorageConfig::new(DATA)
    };
    let config = StorageConfig {
        wal_first_file_bytes: 4 << 20,
        wal_file_bytes: 4 << 20,
        ..config
    };
    solo(&mut sim, &config, |started| async move {
        for partition in 0..10_000 {
            append(&started.log(partition), one(20, 0), Sync::Durable).unwrap();
            started.storage.room().await;
        }
        let last = started.log(9_999).ticket_of(0).unwrap();
        started.storage.durable(last).await.unwrap();
        started.storage.shutdown().await;
    });
    sim.run_until_idle();
    let before = sim.io_counts();
    solo(&mut sim, &config, move |started| async move {
        assert_eq!(started.storage.recovered_logs().len(), 10_000);
        assert_eq!(started.report.partitions, 10_000);
        let stats = io_stats();
        assert!(stats.class(IoClass::Maintenance).reads < 200, "{stats:?}");
        assert_eq!(stats.class(IoClass::ColdRead).reads, 0);
    });
    assert!(sim.io_counts().submitted - before.submitted < 400);
}
