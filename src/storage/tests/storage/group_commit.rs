//! One commit serves every partition of the shard, with one sync whatever their number.

use std::time::Duration;

use tailwater_shards::sim::Simulation;
use tailwater_shards::{IoClass, io_stats, sleep};
use tailwater_storage::{LogConfig, Sync};

use crate::harness::small;
use crate::solo::{append, one, solo};

#[test]
fn a_commit_of_a_hundred_partitions_takes_one_write_and_one_sync() {
    let mut sim = Simulation::new(1);
    solo(&mut sim, &small(), |started| async move {
        let logs: Vec<_> = (0..100).map(|partition| started.log(partition)).collect();
        sleep(Duration::from_millis(100)).await;
        let before = io_stats().class(IoClass::Commit);
        let mut tickets = Vec::new();
        for log in &logs {
            tickets.push(append(log, one(50, 0), Sync::Durable).unwrap().ticket);
        }
        for ticket in tickets {
            started.storage.durable(ticket).await.unwrap();
        }
        let after = io_stats().class(IoClass::Commit);
        assert_eq!(
            (after.writes - before.writes, after.syncs - before.syncs),
            (1, 1)
        );
        assert!(logs.iter().all(|log| log.durable_end().0 == 1));
    });
}

#[test]
fn there_is_never_more_than_one_sync_a_commit() {
    let mut sim = Simulation::new(2);
    solo(&mut sim, &small(), |started| async move {
        let logs: Vec<_> = (0..20).map(|partition| started.log(partition)).collect();
        let before = io_stats().class(IoClass::Commit);
        let mut last = None;
        for round in 0..200 {
            for log in &logs {
                let sync = if round % 3 == 0 {
                    Sync::Cached
                } else {
                    Sync::Durable
                };
                last = Some(append(log, one(100, 0), sync).unwrap().ticket);
            }
            // Some wait for the write alone, as `acks=1` does.
            if round % 5 == 0 {
                started.storage.written(last.unwrap()).await.unwrap();
            }
            started.storage.room().await;
            sleep(Duration::from_micros(round % 7 * 20)).await;
        }
        started.storage.durable(last.unwrap()).await.unwrap();
        let after = io_stats().class(IoClass::Commit);
        let (writes, syncs) = (after.writes - before.writes, after.syncs - before.syncs);
        assert!(syncs <= writes, "{syncs} syncs for {writes} commits");
        assert!(writes < 4000 / 4, "{writes} commits for 4000 appends");
    });
}

#[test]
fn an_idle_flusher_covers_its_last_commit_once() {
    let mut sim = Simulation::new(3);
    solo(&mut sim, &small(), |started| async move {
        let log = started.log(0);
        sleep(Duration::from_millis(100)).await;
        let before = io_stats().class(IoClass::Commit).writes;
        let appended = append(&log, one(50, 0), Sync::Durable).unwrap();
        started.storage.durable(appended.ticket).await.unwrap();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(
            io_stats().class(IoClass::Commit).writes - before,
            2,
            "one commit, one cover"
        );
    });
}

#[test]
fn write_cached_bytes_are_synced_when_their_time_comes_and_not_before() {
    let mut sim = Simulation::new(4);
    solo(&mut sim, &small(), |started| async move {
        let config = LogConfig {
            flush_ms: 100,
            flush_bytes: 10_000,
            ..LogConfig::default()
        };
        let log = started.log_with(0, config);
        sleep(Duration::from_millis(100)).await;
        let before = io_stats().class(IoClass::Commit).syncs;
        let syncs = move || io_stats().class(IoClass::Commit).syncs - before;

        let appended = append(&log, one(50, 0), Sync::Cached).unwrap();
        started.storage.written(appended.ticket).await.unwrap();
        assert_eq!((log.written_end().0, log.durable_end().0), (1, 0));
        sleep(Duration::from_millis(90)).await;
        assert_eq!(
            (syncs(), log.durable_end().0),
            (0, 0),
            "flush.ms has not come due"
        );
        sleep(Duration::from_millis(20)).await;
        assert_eq!((syncs(), log.durable_end().0), (1, 1), "flush.ms has");

        append(&log, one(6_000, 0), Sync::Cached).unwrap();
        append(&log, one(6_000, 0), Sync::Cached).unwrap();
        sleep(Duration::from_millis(50)).await;
        assert_eq!(log.durable_end().0, 3, "flush.bytes has come due");

        let appended = append(&log, one(50, 0), Sync::Cached).unwrap();
        started.storage.written(appended.ticket).await.unwrap();
        started.storage.durable(appended.ticket).await.unwrap();
        assert_eq!(log.durable_end().0, 4, "somebody waits for it");
    });
}

#[test]
fn a_ticket_of_an_offset_is_there_until_it_is_durable() {
    let mut sim = Simulation::new(5);
    solo(&mut sim, &small(), |started| async move {
        let log = started.log(0);
        assert_eq!(log.ticket_of(0), None);
        let first = append(&log, one(50, 0), Sync::Durable).unwrap();
        assert_eq!(log.ticket_of(0), Some(first.ticket));
        assert_eq!(log.ticket_of(1), None, "not appended yet");
        started.storage.durable(first.ticket).await.unwrap();
        assert_eq!(log.ticket_of(0), None);
    });
}
