//! A machine with a data directory, a model of what it must hold, and a workload.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_record::{BatchBuilder, BatchHeader, NewRecord};
use tailwater_shards::sim::{Ending, Process, Simulation};
use tailwater_shards::{ShardId, now, random_u64, sleep, spawn};
use tailwater_storage::{
    Log, LogConfig, RecoveryReport, ShardSeed, Storage, StorageConfig, StorageError, Sync,
    TopicEra, TopicPartition, owner, recover,
};
use uuid::Uuid;

use crate::checks::{check_damaged, check_log, check_metadata, set_producers};

pub const DATA: &str = "/data";

/// By then write-cached bytes have been synced: `flush.ms` and what the slowest disk takes.
const CACHED_MAX: Duration = Duration::from_millis(250);

/// A small configuration: files are recycled, carried and rolled all the time.
pub fn small() -> StorageConfig {
    StorageConfig {
        wal_bytes: 1 << 20,
        wal_first_file_bytes: 64 << 10,
        wal_file_bytes: 128 << 10,
        commit_bytes_max: 32 << 10,
        pending_bytes_max: 64 << 10,
        disk_reserve_bytes: 0,
        memory_bytes: 512 << 10,
        write_behind_bytes: 24 << 10,
        carry_below_bytes: 8 << 10,
        retention_interval_ms: 200,
        witness_interval_ms: 5,
        cleaner_interval_ms: 20,
        ..StorageConfig::new(DATA)
    }
}

/// One batch as the model remembers it.
#[derive(Debug, Clone)]
pub struct Known {
    pub base: i64,
    pub last: i64,
    pub crc: u32,
    pub epoch: i32,
    pub sequence: i32,
    pub written: bool,
    pub durable: bool,
}

/// One partition as the model remembers it.
#[derive(Debug, Default)]
pub struct Partition {
    pub batches: Vec<Known>,
    pub log_start_asked: i64,
    pub log_start_durable: i64,
    pub sequence: i32,
}

/// What the directory must hold.
#[derive(Default)]
pub struct Model {
    pub partitions: BTreeMap<TopicPartition, Partition>,
    /// Topics by id: how many partitions, and whether they are write-cached.
    pub topics: BTreeMap<Uuid, (i32, bool)>,
    pub metadata: Vec<Bytes>,
    pub metadata_durable: usize,
    /// How the last process ended: after a power cut only what is durable must be there.
    pub power_was_cut: bool,
    pub generation: u64,
    pub reports: Vec<RecoveryReport>,
    /// Partitions whose damage is expected.
    pub damage_expected: bool,
    /// And all of it is of what can be made again: no log misses anything.
    pub damage_costs_nothing: bool,
    /// A start was refused, since metadata are damaged.
    pub refused: bool,
    pub starts: u32,
}

/// What the workload may do.
#[derive(Debug, Clone)]
pub struct Load {
    pub log: LogConfig,
    pub value_bytes_max: u64,
    /// In a thousand steps, how many move a log start.
    pub log_starts: u64,
    pub metadata: u64,
    /// Microseconds between appends, at most.
    pub pause_us_max: u64,
    /// Stop after so many steps a shard; the process then shuts down.
    pub steps: Option<u64>,
    /// In a thousand steps, how many are followed by a rest in which nothing is appended.
    pub rests: u64,
    /// Before it shuts down, the process idles so long.
    pub stays: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            log: LogConfig {
                segment_bytes: 96 << 10,
                retention_ms: -1,
                flush_ms: 20,
                flush_bytes: 64 << 10,
                ..LogConfig::default()
            },
            value_bytes_max: 3000,
            log_starts: 3,
            metadata: 10,
            pause_us_max: 300,
            steps: None,
            rests: 0,
            stays: Duration::ZERO,
        }
    }
}

pub struct World {
    pub sim: Simulation,
    pub model: Rc<RefCell<Model>>,
    pub config: StorageConfig,
    pub load: Load,
    pub stop: Rc<Cell<bool>>,
    /// Shards that have checked their logs in the current boot.
    pub ready: Rc<Cell<u16>>,
    pub storages: Rc<RefCell<Vec<Storage>>>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let model = Model::default();
        let world = Self {
            sim: Simulation::new(seed),
            model: Rc::new(RefCell::new(model)),
            config: small(),
            load: Load::default(),
            stop: Rc::default(),
            ready: Rc::default(),
            storages: Rc::default(),
        };
        world.topic(1, 3, false);
        world.topic(2, 2, true);
        world
    }

    pub fn topic(&self, id: u128, partitions: i32, cached: bool) -> Uuid {
        // Mixed as a random id would be.
        let id = Uuid::from_u128(id.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        self.model
            .borrow_mut()
            .topics
            .insert(id, (partitions, cached));
        id
    }

    /// Starts a process with the workload on every shard.
    pub fn boot(&mut self, shards: u16) -> Process {
        self.stop.set(false);
        self.ready.set(0);
        self.storages.borrow_mut().clear();
        self.model.borrow_mut().starts += 1;
        let boot = Rc::new(Boot {
            shards,
            config: self.config.clone(),
            load: self.load.clone(),
            model: Rc::clone(&self.model),
            seeds: RefCell::default(),
            stop: Rc::clone(&self.stop),
            ready: Rc::clone(&self.ready),
            storages: Rc::clone(&self.storages),
        });
        self.sim
            .boot(shards, move |shard| Rc::clone(&boot).main(shard))
    }

    /// Runs until the process has ended, and notes how.
    pub fn ended(&mut self, process: Process) -> Ending {
        let ending = self.sim.run_until_ended(process);
        self.note(&ending);
        ending
    }

    pub fn note(&mut self, ending: &Ending) {
        self.storages.borrow_mut().clear();
        self.model.borrow_mut().power_was_cut |= matches!(ending, Ending::PowerCut);
        if let Ending::Fatal(reason) = ending {
            panic!("the process ended itself: {reason}");
        }
    }

    /// Every checksum, chain and index holds, once all that was under way has landed.
    pub fn verify(&mut self) {
        self.sim.run_until_idle();
        let wal_dir = self.config.wal_dir.clone();
        let report = self.sim.run(async move {
            tailwater_storage::verify(std::path::Path::new(DATA), wal_dir.as_deref()).await
        });
        let problems = &report.problems;
        assert!(
            problems.is_empty(),
            "verification finds fault: {problems:?}"
        );
    }

    /// The same, unless the crash came before there was a root file.
    pub fn verify_if_begun(&mut self) {
        if self.model.borrow().generation > 0 {
            self.verify();
        }
    }

    /// Boots, lets all shards check what they find, and shuts down.
    pub fn check(&mut self, shards: u16) {
        let load = std::mem::replace(
            &mut self.load,
            Load {
                steps: Some(0),
                ..Load::default()
            },
        );
        let process = self.boot(shards);
        let ending = self.ended(process);
        assert!(matches!(ending, Ending::Returned), "{ending:?}");
        self.load = load;
        self.verify();
    }
}

struct Boot {
    shards: u16,
    config: StorageConfig,
    load: Load,
    model: Rc<RefCell<Model>>,
    seeds: RefCell<BTreeMap<u16, ShardSeed>>,
    stop: Rc<Cell<bool>>,
    ready: Rc<Cell<u16>>,
    storages: Rc<RefCell<Vec<Storage>>>,
}

impl Boot {
    async fn main(self: Rc<Self>, shard: ShardId) {
        if shard.0 == 0 {
            self.recover().await;
        }
        let seed = loop {
            let seed = self.seeds.borrow_mut().remove(&shard.0);
            match seed {
                Some(seed) => break seed,
                None if self.model.borrow().refused => return,
                None => sleep(Duration::from_micros(200)).await,
            }
        };
        let storage = Storage::start(seed, &self.config).await.unwrap();
        self.storages.borrow_mut().push(storage.clone());
        if shard.0 == 0 {
            let model = Rc::clone(&self.model);
            storage.set_metadata_snapshot(Rc::new(move || encode(&model.borrow().metadata)));
        }
        let logs = self.open(&storage, shard);
        for log in &logs {
            if self.model.borrow().damage_expected {
                check_damaged(log, &self.model).await;
            } else {
                check_log(log, &self.model).await;
            }
            set_producers(&self.model, log);
        }
        self.ready.set(self.ready.get() + 1);
        // Nothing is appended before every shard has compared: the model tells one boot's end
        // from the next one's beginning.
        while self.ready.get() < self.shards {
            sleep(Duration::from_micros(200)).await;
        }
        let stuck = storage.clone();
        spawn("watchdog", async move {
            sleep(Duration::from_secs(600)).await;
            panic!("stuck: {stuck:?}");
        })
        .detach();
        self.work(&storage, &logs).await;
        storage.check_invariants();
        storage.shutdown().await;
    }

    async fn recover(&self) {
        let model = Rc::clone(&self.model);
        let settled = Cell::new(0);
        let recovered = recover(&self.config, 7, self.shards, |metadata| {
            let model = model.borrow();
            settled.set(check_metadata(metadata, &model));
            let era = |partitions: &i32| TopicEra {
                partitions: *partitions,
            };
            let topics = model.topics.iter();
            Ok(topics
                .map(|(id, (partitions, _))| (*id, era(partitions)))
                .collect())
        })
        .await;
        let recovered = match recovered {
            Err(StorageError::Corrupt(damage)) if self.model.borrow().damage_expected => {
                // Nobody can do without metadata.
                assert!(damage.what.contains("metadata"), "refused: {damage}");
                self.model.borrow_mut().refused = true;
                return;
            }
            recovered => recovered.unwrap(),
        };
        let mut model = self.model.borrow_mut();
        assert!(
            recovered.generation.0 > model.generation,
            "a generation is never used twice"
        );
        model.generation = recovered.generation.0;
        model.metadata.truncate(settled.get());
        model.metadata_durable = settled.get();
        if !model.damage_expected {
            let report = &recovered.report;
            assert!(report.damage.is_empty(), "a start finds damage: {report:?}");
        }
        model.reports.push(recovered.report);
        let seeds = recovered.seeds.into_iter().enumerate();
        *self.seeds.borrow_mut() = seeds
            .map(|(i, seed)| (u16::try_from(i).unwrap(), seed))
            .collect();
    }

    fn open(&self, storage: &Storage, shard: ShardId) -> Vec<Log> {
        let model = self.model.borrow();
        let epoch = i32::try_from(model.generation).unwrap();
        let mut logs = Vec::new();
        for (topic, (partitions, _)) in &model.topics {
            for partition in 0..*partitions {
                let tp = TopicPartition::new(*topic, partition);
                if owner(tp, self.shards) == shard {
                    logs.push(storage.open_log(tp, self.load.log.clone(), epoch).unwrap());
                }
            }
        }
        logs
    }

    async fn work(&self, storage: &Storage, logs: &[Log]) {
        let mut step = 0;
        while !self.stop.get() && self.load.steps.is_none_or(|steps| step < steps) {
            step += 1;
            if !logs.is_empty() {
                storage.room().await;
                let log = &logs[below(logs.len() as u64) as usize];
                append(&self.model, storage, log, self.load.value_bytes_max);
                if below(1000) < self.load.log_starts {
                    move_log_start(&self.model, storage, log);
                }
                if below(20) == 0 {
                    let from = log.log_start();
                    let span = (log.written_end().0 - from).max(1) as u64;
                    let at = from + below(span) as i64;
                    // The log start may move past it meanwhile.
                    drop(log.read(at, log.written_end().0, 20_000, true).await);
                }
            }
            if tailwater_shards::shard().0 == 0 && below(1000) < self.load.metadata {
                append_metadata(&self.model, storage);
            }
            if below(3) > 0 {
                sleep(Duration::from_micros(below(self.load.pause_us_max) + 1)).await;
            }
            if below(1000) < self.load.rests {
                sleep(2 * CACHED_MAX).await;
            }
            if step % 64 == 0 {
                storage.check_invariants();
            }
        }
        sleep(self.load.stays).await;
    }
}

pub fn below(n: u64) -> u64 {
    random_u64() % n.max(1)
}

/// A batch whose bytes are its own: of one to three records, with a producer's sequence.
pub fn batch(value_bytes: u64, producer: i64, sequence: i32, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new().producer(producer, 0, sequence);
    for record in 0..=below(3) {
        let word = random_u64().to_le_bytes();
        let value: Vec<u8> = word
            .iter()
            .copied()
            .cycle()
            .take(value_bytes as usize)
            .collect();
        builder.push(NewRecord {
            timestamp: timestamp + record as i64,
            key: Some(&word),
            value: Some(&value),
            headers: &[],
        });
    }
    builder.build()
}

pub fn append(model: &Rc<RefCell<Model>>, storage: &Storage, log: &Log, value_bytes_max: u64) {
    let tp = log.topic_partition();
    let cached = model.borrow().topics[&tp.topic].1;
    let size = if below(40) == 0 {
        value_bytes_max * 5
    } else {
        below(value_bytes_max) + 1
    };
    let sequence = model.borrow().partitions.get(&tp).map_or(0, |p| p.sequence);
    let producer = i64::from(tp.partition) + 100;
    let body = batch(size, producer, sequence, tailwater_shards::wall_clock_ms());
    let header = BatchHeader::parse(&body).unwrap();
    let sync = if cached && below(30) > 0 {
        Sync::Cached
    } else {
        Sync::Durable
    };
    let appended = match log.append(body, &header, sync) {
        Ok(appended) => appended,
        Err(StorageError::DiskFull) => return,
        Err(error) => panic!("{error}"),
    };
    {
        let mut model = model.borrow_mut();
        let partition = model.partitions.entry(tp).or_default();
        let next = partition.batches.last().map_or(0, |batch| batch.last + 1);
        assert_eq!(appended.base_offset, next, "offsets follow each other");
        partition.sequence = header.last_sequence() + 1;
        partition.batches.push(Known {
            base: appended.base_offset,
            last: appended.last_offset,
            crc: header.crc,
            epoch: log.leader_epoch(),
            sequence: header.last_sequence(),
            written: false,
            durable: false,
        });
    }
    let (model, storage, log) = (Rc::clone(model), storage.clone(), log.clone());
    spawn("ack", async move {
        if storage.written(appended.ticket).await.is_err() {
            return;
        }
        assert!(log.written_end().0 > appended.last_offset);
        mark(&model, tp, appended.base_offset, |batch| {
            batch.written = true
        });
        // A write-cached batch is acknowledged as durable only if its sync came by itself.
        if sync == Sync::Cached && below(4) > 0 {
            let due = now() + CACHED_MAX;
            while log.durable_end().0 <= appended.last_offset {
                assert!(now() < due, "flush.ms came due and nothing was synced");
                sleep(Duration::from_millis(1)).await;
            }
        } else if storage.durable(appended.ticket).await.is_err() {
            return;
        }
        assert!(log.durable_end().0 > appended.last_offset);
        mark(&model, tp, appended.base_offset, |batch| {
            batch.durable = true
        });
    })
    .detach();
}

fn mark(
    model: &Rc<RefCell<Model>>,
    tp: TopicPartition,
    base: i64,
    change: impl FnOnce(&mut Known),
) {
    let mut model = model.borrow_mut();
    let batches = &mut model.partitions.get_mut(&tp).unwrap().batches;
    let index = batches.partition_point(|batch| batch.base < base);
    assert_eq!(batches[index].base, base);
    change(&mut batches[index]);
}

fn move_log_start(model: &Rc<RefCell<Model>>, storage: &Storage, log: &Log) {
    let tp = log.topic_partition();
    let from = log.log_start();
    let to = from + below((log.durable_end().0 - from).max(1) as u64) as i64;
    let ticket = log.advance_log_start(to).unwrap();
    {
        let mut model = model.borrow_mut();
        let asked = &mut model.partitions.entry(tp).or_default().log_start_asked;
        *asked = to.max(*asked);
    }
    let (model, storage) = (Rc::clone(model), storage.clone());
    spawn("log-start", async move {
        if storage.durable(ticket).await.is_ok() {
            let mut model = model.borrow_mut();
            let durable = &mut model.partitions.get_mut(&tp).unwrap().log_start_durable;
            *durable = to.max(*durable);
        }
    })
    .detach();
}

fn append_metadata(model: &Rc<RefCell<Model>>, storage: &Storage) {
    let entry = Bytes::copy_from_slice(&random_u64().to_le_bytes());
    model.borrow_mut().metadata.push(entry.clone());
    let count = model.borrow().metadata.len();
    let ticket = storage.append_metadata(entry);
    let (model, storage) = (Rc::clone(model), storage.clone());
    spawn("metadata", async move {
        if storage.durable(ticket).await.is_ok() {
            let durable = &mut model.borrow_mut().metadata_durable;
            *durable = count.max(*durable);
        }
    })
    .detach();
}

fn encode(entries: &[Bytes]) -> Bytes {
    entries.concat().into()
}
