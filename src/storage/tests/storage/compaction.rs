//! Compaction under crashes: what was acknowledged and is not superseded is there, where it was.
//!
//! What has to hold, and the model that knows it: `compaction_model`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_record::{BatchBuilder, BatchHeader, Codec, Compression, NewRecord};
use tailwater_shards::sim::{CutKind, CutMoment, Ending, Simulation};
use tailwater_shards::{ShardId, sleep, spawn, wall_clock_ms};
use tailwater_storage::{
    Compaction, Log, LogConfig, ShardSeed, Storage, StorageConfig, StorageError, Sync, TopicEra,
    TopicPartition, owner, recover,
};
use uuid::Uuid;

use crate::compaction_model::{Batch, DELETE_RETENTION_MS, Model, check, check_start, read_some};
use crate::harness::{DATA, below, small};

const PARTITIONS: i32 = 2;
const TOPIC: Uuid = Uuid::from_u128(0x1234_5678_9abc_def0_1122_3344_5566_7788);
/// More keys than a pass's map has room for.
const KEYS: u64 = 500;
const PRODUCERS: i64 = 3;

fn config() -> StorageConfig {
    StorageConfig {
        memory_bytes: 96 << 10,
        ..small()
    }
}

fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 12 << 10,
        delete: false,
        compact: Some(Compaction {
            dirty_ratio_min: 200_000,
            delete_retention_ms: DELETE_RETENTION_MS,
            lag_min_ms: 0,
            lag_max_ms: i64::MAX,
        }),
        ..LogConfig::default()
    }
}

struct World {
    sim: Simulation,
    model: Rc<RefCell<Model>>,
    config: StorageConfig,
    log: LogConfig,
    /// Appends a shard makes before it rests and stops.
    steps: u64,
    rest: Duration,
    stop: Rc<Cell<bool>>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            sim: Simulation::new(seed),
            model: Rc::default(),
            config: config(),
            log: log_config(),
            steps: u64::MAX,
            rest: Duration::ZERO,
            stop: Rc::default(),
        }
    }

    fn run(&mut self, shards: u16) -> Ending {
        let boot = Rc::new(Boot {
            shards,
            config: self.config.clone(),
            log: self.log.clone(),
            model: Rc::clone(&self.model),
            steps: self.steps,
            rest: self.rest,
            stop: Rc::clone(&self.stop),
            seeds: RefCell::default(),
            checked: Cell::new(0),
        });
        let process = self
            .sim
            .boot(shards, move |shard| Rc::clone(&boot).main(shard));
        let ending = self.sim.run_until_ended(process);
        if let Ending::Fatal(reason) = &ending {
            panic!("the process ended itself: {reason}");
        }
        ending
    }

    fn stop_cleanly(&mut self, shards: u16, steps: u64, rest: Duration) {
        (self.steps, self.rest) = (steps, rest);
        let ending = self.run(shards);
        assert!(matches!(ending, Ending::Returned), "{ending:?}");
    }

    fn verify(&mut self) {
        self.sim.run_until_idle();
        if self.model.borrow().generation == 0 {
            return;
        }
        let report = self
            .sim
            .run(async { tailwater_storage::verify(std::path::Path::new(DATA), None).await });
        assert!(report.problems.is_empty(), "{:?}", report.problems);
    }
}

struct Boot {
    shards: u16,
    config: StorageConfig,
    log: LogConfig,
    model: Rc<RefCell<Model>>,
    steps: u64,
    rest: Duration,
    stop: Rc<Cell<bool>>,
    seeds: RefCell<BTreeMap<u16, ShardSeed>>,
    checked: Cell<u16>,
}

impl Boot {
    async fn main(self: Rc<Self>, shard: ShardId) {
        if shard.0 == 0 {
            let known = BTreeMap::from([(
                TOPIC,
                TopicEra {
                    partitions: PARTITIONS,
                },
            )]);
            let recovered = recover(&self.config, 7, self.shards, |_| Ok(known)).await;
            let recovered = recovered.unwrap();
            let report = &recovered.report;
            assert!(report.damage.is_empty(), "a start finds damage: {report:?}");
            self.model.borrow_mut().generation = recovered.generation.0;
            let seeds = recovered.seeds.into_iter().enumerate();
            *self.seeds.borrow_mut() = seeds
                .map(|(shard, seed)| (u16::try_from(shard).unwrap(), seed))
                .collect();
        }
        let seed = loop {
            let seed = self.seeds.borrow_mut().remove(&shard.0);
            match seed {
                Some(seed) => break seed,
                None => sleep(Duration::from_micros(200)).await,
            }
        };
        let storage = Storage::start(seed, &self.config).await.unwrap();
        if shard.0 == 0 {
            storage.set_metadata_snapshot(Rc::new(Bytes::new));
        }
        let epoch = i32::try_from(self.model.borrow().generation).unwrap();
        let owned = (0..PARTITIONS)
            .map(|partition| TopicPartition::new(TOPIC, partition))
            .filter(|tp| owner(*tp, self.shards) == shard);
        let logs: Vec<Log> = owned
            .map(|tp| storage.open_log(tp, self.log.clone(), epoch).unwrap())
            .collect();
        for log in &logs {
            let (model, tp) = (Rc::clone(&self.model), log.topic_partition());
            log.set_last_batches(Rc::new(move || Some(last_batches(&model, tp.partition))));
            check_start(&self.model, log).await;
        }
        self.checked.set(self.checked.get() + 1);
        while self.checked.get() < self.shards {
            sleep(Duration::from_micros(200)).await;
        }
        self.work(&storage, &logs).await;
        storage.check_invariants();
        sleep(self.rest).await;
        for log in &logs {
            check(&self.model, log).await;
        }
        storage.shutdown().await;
    }

    async fn work(&self, storage: &Storage, logs: &[Log]) {
        let mut step = 0;
        while !logs.is_empty() && !self.stop.get() && step < self.steps {
            step += 1;
            storage.room().await;
            let log = &logs[below(logs.len() as u64) as usize];
            append(&self.model, storage, log);
            match below(400) {
                0 => move_log_start(&self.model, storage, log),
                1..40 => {
                    let from = log.log_start();
                    let at = from + below((log.durable_end().0 - from).max(1) as u64) as i64;
                    read_some(&self.model, log, at).await;
                }
                40..44 => check(&self.model, log).await,
                _ => {}
            }
            sleep(Duration::from_micros(below(400) + 1)).await;
            if step % 64 == 0 {
                storage.check_invariants();
            }
        }
    }
}

fn last_batches(model: &RefCell<Model>, partition: i32) -> BTreeMap<i64, i64> {
    let model = model.borrow();
    let batches = model.partitions.get(&partition).map(|p| &p.batches);
    let batches = batches.into_iter().flatten();
    batches
        .map(|(_, batch)| (batch.producer, batch.last))
        .collect()
}

fn append(model: &Rc<RefCell<Model>>, storage: &Storage, log: &Log) {
    let partition = log.topic_partition().partition;
    // Some come rarely: their last batches have time to be superseded.
    let producer = match below(40) {
        0 => 200 + below(20) as i64,
        _ => 100 + below(PRODUCERS as u64) as i64,
    };
    let codec = match below(8) {
        0 => Codec::Lz4,
        1 => Codec::Zstd,
        _ => Codec::None,
    };
    let mut model_ref = model.borrow_mut();
    let known = model_ref.partitions.entry(partition).or_default();
    let sequence = known.sequences.get(&producer).copied().unwrap_or(0);
    let mut builder = BatchBuilder::new()
        .producer(producer, 0, sequence)
        .compression(Compression::of(codec));
    let mut records = Vec::new();
    for _ in 0..=below(4) {
        // Some keys come all the time.
        let key = below(KEYS) * below(2) + below(8);
        let key = format!("key-{key}").into_bytes();
        let value = (below(5) > 0).then(|| vec![below(256) as u8; below(300) as usize + 1]);
        let timestamp = wall_clock_ms();
        builder.push(NewRecord {
            timestamp,
            key: Some(&key),
            value: value.as_deref(),
            headers: &[],
        });
        records.push((key, value, timestamp));
    }
    let body = builder.build();
    let header = BatchHeader::parse(&body).unwrap();
    let appended = match log.append(body, &header, Sync::Durable) {
        Ok(appended) => appended,
        Err(StorageError::DiskFull) => return,
        Err(error) => panic!("{error}"),
    };
    let base = appended.base_offset;
    known.sequences.insert(producer, header.last_sequence() + 1);
    for (offset, record) in (base..).zip(records) {
        known.records.insert(offset, record);
    }
    let batch = Batch {
        last: appended.last_offset,
        epoch: log.leader_epoch(),
        producer,
        sequence,
        durable: false,
    };
    known.batches.insert(base, batch);
    drop(model_ref);
    let (model, storage) = (Rc::clone(model), storage.clone());
    spawn("ack", async move {
        if storage.durable(appended.ticket).await.is_ok() {
            let mut model = model.borrow_mut();
            let known = model.partitions.get_mut(&partition).unwrap();
            known.batches.get_mut(&base).unwrap().durable = true;
        }
    })
    .detach();
}

fn move_log_start(model: &Rc<RefCell<Model>>, storage: &Storage, log: &Log) {
    let partition = log.topic_partition().partition;
    let from = log.log_start();
    let to = from + below((log.durable_end().0 - from).max(1) as u64 / 4 + 1) as i64;
    let ticket = log.advance_log_start(to).unwrap();
    let mut model_ref = model.borrow_mut();
    let known = model_ref.partitions.entry(partition).or_default();
    known.log_start_asked = known.log_start_asked.max(to);
    drop(model_ref);
    let (model, storage) = (Rc::clone(model), storage.clone());
    spawn("log-start", async move {
        if storage.durable(ticket).await.is_ok() {
            let mut model = model.borrow_mut();
            let known = model.partitions.get_mut(&partition).unwrap();
            known.log_start_durable = known.log_start_durable.max(to);
        }
    })
    .detach();
}

/// Starts again and again, each time cut at another operation, with other shard counts.
pub fn history(seed: u64) {
    let mut world = World::new(seed);
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    for _ in 0..6 {
        let kind = [CutKind::Kill, CutKind::PowerCut][next(2) as usize];
        let moment = match next(2) {
            0 => CutMoment::Submitted,
            _ => CutMoment::Completed,
        };
        let nth = match next(3) {
            0 => next(200) + 1,
            _ => next(4000) + 1,
        };
        world.sim.cut_at_io(nth, moment, kind);
        let ending = world.run(u16::try_from(next(2) + 1).unwrap());
        assert!(
            matches!(ending, Ending::Killed | Ending::PowerCut),
            "{ending:?}"
        );
        if next(2) == 0 {
            world.sim.run_for(Duration::from_millis(next(2000)));
        }
        if next(3) == 0 {
            world.verify();
        }
    }
    world.stop_cleanly(1, 0, Duration::ZERO);
    world.verify();
}

#[test]
fn what_is_not_superseded_survives_every_crash_where_it_was() {
    for seed in 0..30 {
        history(seed);
    }
}

/// More seeds than a test run has time for: `COMPACTION_SEEDS=from..to`.
#[test]
fn more_seeds_when_asked() {
    let Ok(range) = std::env::var("COMPACTION_SEEDS") else {
        return;
    };
    let (from, to) = range.split_once("..").unwrap();
    for seed in from.parse::<u64>().unwrap()..to.parse::<u64>().unwrap() {
        history(seed);
    }
}

#[test]
fn a_compacted_log_holds_little_more_than_one_record_a_key() {
    let mut world = World::new(7);
    world.log.compact.as_mut().unwrap().dirty_ratio_min = 0;
    world.stop_cleanly(1, 2000, Duration::from_secs(3));
    // The last of these is appended to; a start closes it.
    world.stop_cleanly(2, 300, Duration::from_secs(3));
    world.stop_cleanly(1, 30, Duration::from_secs(3));
    world.verify();
    let model = world.model.borrow();
    assert!(model.tombstones_gone > 0, "tombstones go after their time");
    assert!(
        model.emptied > 0,
        "a producer's last batch stays without records"
    );
    let all: usize = model.partitions.values().map(|p| p.records.len()).sum();
    assert!(
        model.compacted * 2 > all as u64 / 3,
        "{} of {all} records are gone",
        model.compacted
    );
}
