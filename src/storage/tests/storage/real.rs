//! The same on a real disk: what the simulator plays, a kernel does.
#![allow(
    clippy::disallowed_methods,
    reason = "sets a directory up outside any shard"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tailwater_shards::{RunConfig, ShardId, run, sleep, usable_cpus};
use tailwater_storage::{
    LogConfig, ShardSeed, Storage, StorageConfig, Sync, TopicEra, owner, recover, verify,
};

use crate::checks::read_all;
use crate::solo::{TOPIC, append, one, tp};

const PARTITIONS: i32 = 20;
const ROUNDS: i64 = 200;

type Seeds = Arc<Mutex<Vec<Option<ShardSeed>>>>;

/// Starts on two shards, checks what is there, appends a round to every partition, stops.
async fn start(shard: ShardId, config: StorageConfig, seeds: Seeds, before: i64, clean: bool) {
    if shard.0 == 0 {
        let topics = BTreeMap::from([(
            TOPIC,
            TopicEra {
                partitions: PARTITIONS,
            },
        )]);
        let recovered = recover(&config, 1, 2, |_| Ok(topics)).await.unwrap();
        assert!(recovered.report.damage.is_empty());
        *seeds.lock().unwrap() = recovered.seeds.into_iter().map(Some).collect();
    }
    let seed = loop {
        let seed = seeds
            .lock()
            .unwrap()
            .get_mut(usize::from(shard.0))
            .and_then(Option::take);
        match seed {
            Some(seed) => break seed,
            None => sleep(Duration::from_millis(1)).await,
        }
    };
    let storage = Storage::start(seed, &config).await.unwrap();
    storage.set_metadata_snapshot(std::rc::Rc::new(Bytes::new));
    let mine = (0..PARTITIONS).filter(|partition| owner(tp(*partition), 2) == shard);
    let logs: Vec<_> = mine
        .map(|partition| {
            storage
                .open_log(tp(partition), LogConfig::default(), 1)
                .unwrap()
        })
        .collect();
    assert!(!logs.is_empty());
    for log in &logs {
        assert_eq!(log.durable_end().0, before);
        assert_eq!(read_all(log).await.len() as i64, before);
    }
    let mut last = None;
    let now = tailwater_shards::wall_clock_ms();
    for _ in 0..ROUNDS {
        for log in &logs {
            storage.room().await;
            last = Some(append(log, one(2000, now), Sync::Durable).unwrap());
        }
    }
    storage.durable(last.unwrap().ticket).await.unwrap();
    storage.check_invariants();
    if clean {
        storage.shutdown().await;
    }
}

fn boot(config: &StorageConfig, before: i64, clean: bool) {
    let cpus = usable_cpus().unwrap();
    let cpus = vec![cpus[0], *cpus.last().unwrap()];
    let seeds = Seeds::default();
    let config = config.clone();
    std::fs::create_dir_all(&config.data_dir).unwrap();
    let probe_dirs = vec![config.data_dir.clone()];
    let running = run(
        RunConfig {
            probe_dirs,
            ..RunConfig::new(cpus)
        },
        move |shard| start(shard, config.clone(), Arc::clone(&seeds), before, clean),
    )
    .unwrap();
    running.join().unwrap();
}

fn check(config: &StorageConfig) {
    let dir = config.data_dir.clone();
    let problems = Arc::new(AtomicUsize::new(usize::MAX));
    let found = Arc::clone(&problems);
    let cpus = vec![usable_cpus().unwrap()[0]];
    let probe_dirs = vec![dir.clone()];
    let running = run(
        RunConfig {
            probe_dirs,
            ..RunConfig::new(cpus)
        },
        move |_| {
            let (dir, found) = (dir.clone(), Arc::clone(&found));
            async move {
                let report = verify(&dir, None).await;
                assert!(report.batches > 0 && report.commits > 0, "{report:?}");
                found.store(report.problems.len(), Ordering::SeqCst);
            }
        },
    )
    .unwrap();
    running.join().unwrap();
    assert_eq!(problems.load(Ordering::SeqCst), 0);
}

#[test]
fn a_real_disk_keeps_what_was_durable_over_stops_and_starts() {
    let dir: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("storage-real");
    drop(std::fs::remove_dir_all(&dir));
    let config = StorageConfig {
        wal_bytes: 24 << 20,
        wal_first_file_bytes: 1 << 20,
        wal_file_bytes: 2 << 20,
        disk_reserve_bytes: 0,
        memory_bytes: 4 << 20,
        ..StorageConfig::new(&dir)
    };
    boot(&config, 0, false);
    boot(&config, ROUNDS, true);
    check(&config);
    boot(&config, 2 * ROUNDS, true);
    check(&config);
    std::fs::remove_dir_all(&dir).unwrap();
}
