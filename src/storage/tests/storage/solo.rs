//! One shard, one process, one test body: for what needs no random workload.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use tailwater_record::{BatchBuilder, BatchHeader, NewRecord};
use tailwater_shards::sim::{Ending, Process, Simulation};
use tailwater_storage::{
    Appended, Log, LogConfig, RecoveryReport, Storage, StorageConfig, StorageError, Sync, TopicEra,
    TopicPartition, recover,
};
use uuid::Uuid;

/// The topic of these tests, with as many partitions as anybody wants.
pub const TOPIC: Uuid = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);
pub const OTHER: Uuid = Uuid::from_u128(0x2234_5678_9abc_4def_8123_4567_89ab_cdef);

pub fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, partition)
}

pub fn both() -> BTreeMap<Uuid, TopicEra> {
    let era = TopicEra {
        partitions: i32::MAX,
    };
    BTreeMap::from([(TOPIC, era), (OTHER, era)])
}

/// What a test body starts with.
#[derive(Clone)]
pub struct Started {
    pub storage: Storage,
    pub report: RecoveryReport,
    pub generation: u64,
}

impl Started {
    pub fn log(&self, partition: i32) -> Log {
        self.log_with(
            partition,
            LogConfig {
                retention_ms: -1,
                ..LogConfig::default()
            },
        )
    }

    pub fn log_with(&self, partition: i32, config: LogConfig) -> Log {
        let epoch = i32::try_from(self.generation).unwrap();
        self.storage.open_log(tp(partition), config, epoch).unwrap()
    }
}

/// Boots a process that recovers with these topics and runs `body`.
pub fn boot<T, F, Fut>(
    sim: &mut Simulation,
    config: &StorageConfig,
    topics: BTreeMap<Uuid, TopicEra>,
    body: F,
) -> (Process, Rc<RefCell<Option<T>>>)
where
    T: 'static,
    F: FnOnce(Started) -> Fut + 'static,
    Fut: Future<Output = T> + 'static,
{
    let output = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&output);
    let body = Rc::new(RefCell::new(Some(body)));
    let config = config.clone();
    let process = sim.boot(1, move |_| {
        let (slot, body) = (Rc::clone(&slot), Rc::clone(&body));
        let (config, topics) = (config.clone(), topics.clone());
        async move {
            let recovered = recover(&config, 1, 1, |_| Ok(topics)).await.unwrap();
            let generation = recovered.generation.0;
            let report = recovered.report;
            let seed = recovered.seeds.into_iter().next().unwrap();
            let storage = Storage::start(seed, &config).await.unwrap();
            storage.set_metadata_snapshot(Rc::new(Bytes::new));
            let stuck = storage.clone();
            tailwater_shards::spawn("watchdog", async move {
                tailwater_shards::sleep(std::time::Duration::from_secs(600)).await;
                panic!("stuck: {stuck:?}");
            })
            .detach();
            let body = body.borrow_mut().take().unwrap();
            let value = body(Started {
                storage,
                report,
                generation,
            })
            .await;
            *slot.borrow_mut() = Some(value);
        }
    });
    (process, output)
}

/// Boots, runs `body` to its end, and gives its output. The process ends without a clean stop,
/// unless the body makes one.
pub fn solo<T, F, Fut>(sim: &mut Simulation, config: &StorageConfig, body: F) -> T
where
    T: 'static,
    F: FnOnce(Started) -> Fut + 'static,
    Fut: Future<Output = T> + 'static,
{
    let (process, output) = boot(sim, config, both(), body);
    let ending = sim.run_until_ended(process);
    assert!(matches!(ending, Ending::Returned), "{ending:?}");
    let value = output.borrow_mut().take();
    value.unwrap()
}

/// Only recovery, for its error.
pub fn refused(sim: &mut Simulation, config: &StorageConfig, node_id: i32) -> StorageError {
    let output = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&output);
    let config = config.clone();
    let process = sim.boot(1, move |_| {
        let (slot, config) = (Rc::clone(&slot), config.clone());
        async move {
            let recovered = recover(&config, node_id, 1, |_| Ok(both())).await;
            *slot.borrow_mut() = Some(recovered.err().expect("refused"));
        }
    });
    sim.run_until_ended(process);
    let error = output.borrow_mut().take();
    error.unwrap()
}

/// A batch of one record of so many bytes, at this time.
pub fn one(bytes: usize, timestamp: i64) -> Bytes {
    let word = tailwater_shards::random_u64().to_le_bytes();
    let value: Vec<u8> = word.iter().copied().cycle().take(bytes).collect();
    let mut builder = BatchBuilder::new();
    builder.push(NewRecord {
        timestamp,
        key: None,
        value: Some(&value),
        headers: &[],
    });
    builder.build()
}

pub fn append(log: &Log, batch: Bytes, sync: Sync) -> Result<Appended, StorageError> {
    let header = BatchHeader::parse(&batch).unwrap();
    log.append(batch, &header, sync)
}

/// Appends so many batches of so many bytes each, durably, with room awaited.
pub async fn fill(started: &Started, log: &Log, batches: usize, bytes: usize) {
    let mut last = None;
    for _ in 0..batches {
        started.storage.room().await;
        let batch = one(bytes, tailwater_shards::wall_clock_ms());
        last = Some(append(log, batch, Sync::Durable).unwrap());
    }
    if let Some(last) = last {
        started.storage.durable(last.ticket).await.unwrap();
    }
}
