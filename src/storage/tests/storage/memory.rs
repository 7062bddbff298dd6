//! Memory of commits stays within its bound, however slow the disk and however late a sync.

use std::time::Duration;

use tailwater_shards::sim::{IoKind, Matching, Simulation};
use tailwater_shards::{now, sleep};
use tailwater_storage::{Log, LogConfig, StorageConfig, Sync};

use crate::checks::read_all;
use crate::harness::small;
use crate::solo::{Started, append, one, solo};

/// Much less memory than WAL.
fn little() -> StorageConfig {
    StorageConfig {
        memory_bytes: 64 << 10,
        ..small()
    }
}

/// Appends for so long, as fast as there is room, and says how many batches.
async fn append_for(started: &Started, config: LogConfig, sync: Sync, time: Duration) -> usize {
    let log = started.log_with(0, config);
    let until = now() + time;
    let mut count = 0;
    while now() < until {
        started.storage.room().await;
        append(&log, one(1000, 0), sync).unwrap();
        count += 1;
        if count % 8 == 0 {
            sleep(Duration::from_micros(200)).await;
        }
        let (held, most) = (
            started.storage.cached_bytes(),
            started.storage.cached_bytes_max(),
        );
        assert!(held <= most, "{held} bytes of {most} after {count} batches");
        if count == 2000 {
            break;
        }
    }
    count
}

fn kept() -> LogConfig {
    LogConfig {
        retention_ms: -1,
        ..LogConfig::default()
    }
}

#[test]
fn commits_behind_a_slow_one_hold_no_more_memory_than_they_may() {
    let mut sim = Simulation::new(31);
    let faults = sim.faults();
    solo(&mut sim, &little(), |started| async move {
        sleep(Duration::from_millis(50)).await;
        faults.slow(
            Matching::kind(IoKind::Write).on(".wal"),
            1,
            Duration::from_secs(3),
        );
        let time = Duration::from_secs(2);
        append_for(&started, kept(), Sync::Durable, time).await;
        let log = started.log(0);
        let last = log.ticket_of(log.appended_end().0 - 1);
        started.storage.durable(last.unwrap()).await.unwrap();
        let count = usize::try_from(log.durable_end().0).unwrap();
        assert_eq!(read_all(&log).await.len(), count);
    });
}

#[test]
fn write_cached_commits_are_no_memory_until_they_are_synced() {
    let mut sim = Simulation::new(32);
    solo(&mut sim, &little(), |started| async move {
        let never = LogConfig {
            flush_ms: 3_600_000,
            flush_bytes: 1 << 40,
            ..kept()
        };
        let time = Duration::from_secs(5);
        let count = append_for(&started, never, Sync::Cached, time).await;
        assert!(count > 500, "{count} batches of 1 KB in 64 KiB of memory");
        let log = started.log(0);
        let last = log.ticket_of(log.appended_end().0 - 1);
        if let Some(last) = last {
            started.storage.durable(last).await.unwrap();
        }
        assert_eq!(read_all(&log).await.len(), count);
    });
}

/// Appends a batch, and a commit of its own with it.
async fn durably(started: &Started, log: &Log, bytes: usize) {
    started.storage.room().await;
    let appended = append(log, one(bytes, 0), Sync::Durable).unwrap();
    started.storage.durable(appended.ticket).await.unwrap();
}

#[test]
fn small_commits_are_kept_for_what_they_hold_and_not_for_their_blocks() {
    let mut sim = Simulation::new(33);
    let config = StorageConfig {
        memory_bytes: 2 << 20,
        ..small()
    };
    solo(&mut sim, &config, |started| async move {
        let log = started.log_with(0, kept());
        let mut first_bytes = 0;
        for number in 0..2000i64 {
            durably(&started, &log, 100).await;
            started.storage.check_invariants();
            if number == 0 {
                first_bytes = started.storage.cached_bytes();
            }
        }
        // Of a block each they would be 8 MiB.
        let all = log
            .try_read(0, 2000, 1 << 20, true)
            .expect("in memory")
            .unwrap();
        assert_eq!(all.next, 2000);
        let held = started.storage.cached_bytes();
        assert!(held <= started.storage.cached_bytes_max());
        assert!(held - first_bytes >= all.bytes, "{held} for {}", all.bytes);
        // What is over the bound goes, oldest first, and is read from the disk.
        for _ in 0..4000 {
            durably(&started, &log, 300).await;
        }
        let held = started.storage.cached_bytes();
        assert!(held <= 2 << 20, "{held} bytes");
        assert!(log.try_read(0, 6000, 1, true).is_none());
        assert!(log.try_read(5000, 6000, 1, true).is_some());
        assert_eq!(read_all(&log).await.len(), 6000);
    });
}
