//! A machine with a broker on it, and short ways to ask it.

use crate::broker::Inner;
use crate::fetch::{FetchOutcome, FetchPartition, FetchRequest};
use crate::metadata::{CreateTopic, MetadataState, TopicKey, TopicTarget};
use crate::nodes::Nodes;
use crate::offsets::{Isolation, OffsetFound, OffsetQuery};
use crate::produce::{ProduceOutcome, ProducePart, ProduceRequest, Produced};
use crate::reach::Reach;
use crate::{
    Broker, BrokerConfig, BrokerError, BrokerMeshEnds, BrokerSeed, BrokerSettings, broker_mesh,
};
use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tailwater_record::{BatchBuilder, Codec, Compression, NewRecord};
use tailwater_shards::sim::{Process, Simulation};
use tailwater_shards::{Marker, ReadySet, ShardId, sleep, spawn};
use tailwater_storage::{ShardSeed, Storage, StorageConfig, TopicEra, recover};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const DISK_RESERVE_BYTES: u64 = 1 << 20;

type Job = Box<dyn FnOnce(Broker) -> LocalBoxFuture<'static, ()>>;

/// What the shards of a process share with the test.
#[derive(Default)]
struct Shared {
    ends: RefCell<BTreeMap<u16, BrokerMeshEnds>>,
    seeds: RefCell<BTreeMap<u16, (ShardSeed, BrokerSeed)>>,
    brokers: RefCell<BTreeMap<u16, Weak<Inner>>>,
    jobs: RefCell<BTreeMap<u16, VecDeque<Job>>>,
    wakers: RefCell<BTreeMap<u16, Marker>>,
    stopping: RefCell<bool>,
    /// Shards whose broker has stopped.
    stopped: RefCell<u16>,
}

/// A machine with a broker.
pub(super) struct Machine {
    pub(super) sim: Simulation,
    shards: u16,
    settings: Arc<BrokerSettings>,
    nodes: Nodes,
    process: Process,
    shared: Rc<Shared>,
}

/// A call under way.
pub(super) struct Call<T>(Rc<RefCell<Option<T>>>);

impl<T> Call<T> {
    pub(super) fn is_done(&self) -> bool {
        self.0.borrow().is_some()
    }
}

impl Machine {
    pub(super) fn new(seed: u64, shards: u16) -> Self {
        Self::with(seed, shards, &[])
    }

    pub(super) fn with(seed: u64, shards: u16, settings: &[(&str, &str)]) -> Self {
        let pairs = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self::with_settings(seed, shards, BrokerSettings::from_pairs(&pairs).unwrap())
    }

    /// With settings that allow no batch that the log has no room for, as a server has them.
    pub(super) fn bounded(seed: u64, shards: u16) -> Self {
        let settings = BrokerSettings::from_pairs(&BTreeMap::new()).unwrap();
        let bounded = settings.with_batches_up_to(storage_config().batch_bytes_max());
        Self::with_settings(seed, shards, bounded.unwrap())
    }

    pub(super) fn with_settings(seed: u64, shards: u16, settings: BrokerSettings) -> Self {
        Self::made(seed, shards, settings, Nodes::one(1))
    }

    /// With those brokers for clients.
    pub(super) fn with_nodes(seed: u64, shards: u16, nodes: Nodes) -> Self {
        let settings = BrokerSettings::from_pairs(&BTreeMap::new()).unwrap();
        Self::made(seed, shards, settings, nodes)
    }

    fn made(seed: u64, shards: u16, settings: BrokerSettings, nodes: Nodes) -> Self {
        let settings = Arc::new(settings);
        let mut sim = Simulation::new(seed);
        let (process, shared) = boot(&mut sim, shards, &settings, &nodes);
        let mut machine = Self {
            sim,
            shards,
            settings,
            nodes,
            process,
            shared,
        };
        machine.wait_for_start();
        machine
    }

    /// Kills the process and starts it anew, perhaps with another number of shards.
    pub(super) fn restart_after_kill(&mut self, shards: u16) {
        self.sim.kill(self.process);
        self.start(shards);
    }

    pub(super) fn restart_after_power_cut(&mut self, shards: u16) {
        self.sim.power_cut();
        self.start(shards);
    }

    pub(super) fn restart_cleanly(&mut self, shards: u16) {
        self.shared.stopping.replace(true);
        for waker in self.shared.wakers.borrow().values() {
            waker.mark_urgent();
        }
        let ending = self.sim.run_until_ended(self.process);
        assert_eq!(
            format!("{ending:?}"),
            "Returned",
            "the process stops by itself"
        );
        self.start(shards);
    }

    /// Starts a process after one that has ended.
    pub(super) fn start(&mut self, shards: u16) {
        self.shards = shards;
        (self.process, self.shared) = boot(&mut self.sim, shards, &self.settings, &self.nodes);
        self.wait_for_start();
    }

    fn wait_for_start(&mut self) {
        let shared = self.shared.clone();
        let shards = usize::from(self.shards);
        self.sim
            .run_until(|| shared.wakers.borrow().len() == shards);
        let watched = self.shared.clone();
        self.sim.on_step(move |_| watched.check_invariants());
    }

    /// Begins a call on a shard.
    pub(super) fn begin<T, F>(
        &mut self,
        shard: u16,
        call: impl FnOnce(Broker) -> F + 'static,
    ) -> Call<T>
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let slot = Rc::new(RefCell::new(None));
        let output = slot.clone();
        let job: Job = Box::new(move |broker| {
            async move {
                let value = call(broker).await;
                output.replace(Some(value));
            }
            .boxed_local()
        });
        self.shared
            .jobs
            .borrow_mut()
            .entry(shard)
            .or_default()
            .push_back(job);
        self.shared.wakers.borrow()[&shard].mark(1);
        Call(slot)
    }

    /// Runs until the call is answered.
    pub(super) fn finish<T>(&mut self, call: Call<T>) -> T {
        self.sim.run_until(|| call.is_done());
        call.0.take().expect("it is done")
    }

    /// What the next processes are set to.
    pub(super) fn set_settings(&mut self, settings: BrokerSettings) {
        self.settings = Arc::new(settings);
    }

    pub(super) fn is_running(&self) -> bool {
        self.sim.is_running(self.process)
    }

    /// Runs until the call is answered, or never will be: the process has ended.
    pub(super) fn finish_while_running<T>(&mut self, call: Call<T>) -> Option<T> {
        while !call.is_done() && self.is_running() {
            self.sim.run_for(Duration::from_micros(100));
        }
        call.0.take()
    }

    /// Calls and waits.
    pub(super) fn on<T, F>(&mut self, shard: u16, call: impl FnOnce(Broker) -> F + 'static) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let call = self.begin(shard, call);
        self.finish(call)
    }

    pub(super) fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let topic = CreateTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: 1,
            assignments: Vec::new(),
            configs: configs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())))
                .collect(),
        };
        let outcomes = self.on(self.shards - 1, move |broker| async move {
            broker.create_topics(vec![topic], false, SECOND).await
        });
        outcomes[0].1.as_ref().unwrap();
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), BrokerError> {
        let key = TopicKey::Name(name.into());
        self.on(0, move |broker| async move {
            broker.delete_topics(vec![key], SECOND).await
        })
        .remove(0)
        .result
    }

    /// Produces one batch and waits for the answer.
    pub(super) fn produce(
        &mut self,
        shard: u16,
        topic: &str,
        partition: i32,
        acks: i16,
        batch: Bytes,
    ) -> Result<Produced, crate::produce::ProduceRefusal> {
        let call = self.begin_produce(shard, topic, acks, vec![(partition, batch)]);
        self.finish(call).parts.remove(0)
    }

    /// Begins to produce a batch to each of some partitions.
    pub(super) fn begin_produce(
        &mut self,
        shard: u16,
        topic: &str,
        acks: i16,
        batches: Vec<(i32, Bytes)>,
    ) -> Call<ProduceOutcome> {
        let topic = topic.to_owned();
        self.begin(shard, move |broker| async move {
            let topic = broker.image().resolve_name(&topic);
            let request = produce_request(topic, acks, batches);
            broker.submit_produce(request).await.await
        })
    }

    pub(super) fn fetch(&mut self, shard: u16, request: FetchRequest) -> FetchOutcome {
        let call = self.begin_fetch(shard, request);
        self.finish(call)
    }

    pub(super) fn begin_fetch(&mut self, shard: u16, request: FetchRequest) -> Call<FetchOutcome> {
        self.begin(
            shard,
            move |broker| async move { broker.fetch(request).await },
        )
    }

    pub(super) fn list_offset(
        &mut self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<OffsetFound, BrokerError> {
        let topic = topic.to_owned();
        self.on(self.shards - 1, move |broker| async move {
            let topic = broker.image().resolve_name(&topic);
            let query = OffsetQuery {
                topic,
                partition,
                current_leader_epoch: -1,
                timestamp,
            };
            broker
                .list_offsets(Isolation::ReadUncommitted, vec![query])
                .await
                .remove(0)
        })
    }

    /// The values of all records from an offset on.
    pub(super) fn values(&mut self, topic: &str, partition: i32, from: i64) -> Vec<String> {
        let outcome = self.fetch(0, fetch_request(&[(topic, partition, from)]));
        let fetched = &outcome.partitions[0];
        assert_eq!(fetched.error, None);
        values_of(&fetched.records)
    }
}

pub(super) fn produce_request(
    topic: TopicTarget,
    acks: i16,
    batches: Vec<(i32, Bytes)>,
) -> ProduceRequest {
    let part = |(partition, batch)| ProducePart {
        topic,
        partition,
        records: Some(batch),
    };
    ProduceRequest {
        acks,
        zstd_allowed: true,
        internal_allowed: false,
        timeout: SECOND,
        parts: batches.into_iter().map(part).collect(),
    }
}

/// A fetch without a session that waits for nothing.
pub(super) fn fetch_request(partitions: &[(&str, i32, i64)]) -> FetchRequest {
    FetchRequest {
        max_wait: Duration::ZERO,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: Isolation::ReadUncommitted,
        session_id: 0,
        session_epoch: -1,
        uses_topic_ids: false,
        partitions: partitions
            .iter()
            .map(|(topic, partition, from)| fetch_partition(topic, *partition, *from))
            .collect(),
        forgotten: Vec::new(),
    }
}

pub(super) fn fetch_partition(topic: &str, partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        topic: TopicKey::Name(topic.into()),
        partition,
        current_leader_epoch: -1,
        fetch_offset,
        last_fetched_epoch: -1,
        max_bytes: 1 << 20,
    }
}

/// A batch of these values, each with the time 1000.
pub(super) fn batch(values: &[&str]) -> Bytes {
    builder(values).build()
}

pub(super) fn compressed_batch(values: &[&str], codec: Codec) -> Bytes {
    builder(values).compression(Compression::of(codec)).build()
}

/// A batch of an idempotent producer.
pub(super) fn idempotent_batch(id: i64, epoch: i16, base_sequence: i32, values: &[&str]) -> Bytes {
    builder(values).producer(id, epoch, base_sequence).build()
}

pub(super) fn builder(values: &[&str]) -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(NewRecord {
            timestamp: 1000,
            value: Some(value.as_bytes()),
            ..NewRecord::default()
        });
    }
    builder
}

/// The values of the records in those slices.
pub(super) fn values_of(records: &[Bytes]) -> Vec<String> {
    let bytes: Vec<u8> = records
        .iter()
        .flat_map(|slice| slice.iter().copied())
        .collect();
    let mut values = Vec::new();
    for found in tailwater_record::batches(&bytes) {
        let found = found.unwrap();
        let batch = &bytes[found.range];
        assert!(
            tailwater_record::crc_is_valid(batch),
            "what is read has its checksum"
        );
        push_values(batch, &mut values);
    }
    values
}

fn push_values(batch: &[u8], values: &mut Vec<String>) {
    let header = tailwater_record::BatchHeader::parse(batch).unwrap();
    let mut workspace = tailwater_record::Workspace::new();
    let limits = tailwater_record::Limits::default();
    let mut stream =
        tailwater_record::RecordStream::new(batch, &header, &limits, &mut workspace).unwrap();
    while let Some(record) = stream.next().unwrap() {
        values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
    }
}

impl Shared {
    fn check_invariants(&self) {
        for broker in self.brokers.borrow().values().filter_map(Weak::upgrade) {
            let broker = Broker {
                inner: broker,
                reach: Reach::All,
            };
            broker.check_invariants();
        }
    }
}

fn storage_config() -> StorageConfig {
    StorageConfig {
        wal_bytes: 4 << 20,
        wal_first_file_bytes: 1 << 20,
        wal_file_bytes: 1 << 20,
        disk_reserve_bytes: DISK_RESERVE_BYTES,
        memory_bytes: 8 << 20,
        ..StorageConfig::new("/data")
    }
}

fn boot(
    sim: &mut Simulation,
    shards: u16,
    settings: &Arc<BrokerSettings>,
    nodes: &Nodes,
) -> (Process, Rc<Shared>) {
    let shared = Rc::new(Shared::default());
    let ends = broker_mesh(shards).into_iter();
    *shared.ends.borrow_mut() = (0..).zip(ends).collect();
    let (state, settings, nodes) = (shared.clone(), settings.clone(), nodes.clone());
    let process = sim.boot(shards, move |me| {
        run(me, shards, state.clone(), settings.clone(), nodes.clone())
    });
    (process, shared)
}

async fn run(
    me: ShardId,
    shards: u16,
    shared: Rc<Shared>,
    settings: Arc<BrokerSettings>,
    nodes: Nodes,
) {
    let config = storage_config();
    if me == ShardId(0) {
        let mut replayed = None;
        let recovered = recover(&config, 1, shards, |replay| {
            let state =
                MetadataState::replay(settings, replay.snapshot.as_deref(), &replay.entries)
                    .map_err(|error| error.to_string())?;
            let eras = state.image().topics().map(|topic| {
                (
                    topic.id,
                    TopicEra {
                        partitions: topic.partitions,
                    },
                )
            });
            let eras = eras.collect();
            replayed = Some(state);
            Ok(eras)
        });
        let recovered = recovered.await.unwrap();
        let seed = BrokerSeed {
            generation: recovered.generation,
            cluster_id: recovered.cluster_id,
            metadata: replayed.unwrap(),
        };
        let seeds = recovered
            .seeds
            .into_iter()
            .map(|storage| (storage, seed.clone()));
        *shared.seeds.borrow_mut() = (0..).zip(seeds).collect();
    }
    let (storage_seed, seed) = loop {
        let seed = shared.seeds.borrow_mut().remove(&me.0);
        match seed {
            Some(seed) => break seed,
            None => sleep(Duration::from_millis(1)).await,
        }
    };
    let ends = shared.ends.borrow_mut().remove(&me.0).unwrap();
    let storage = Storage::start(storage_seed, &config).await.unwrap();
    let mesh = ends.attach();
    let broker_config = BrokerConfig {
        nodes,
        data_dir: "/data".to_owned(),
    };
    let broker = Broker::start(seed, storage.clone(), mesh.clone(), &broker_config).unwrap();
    shared
        .brokers
        .borrow_mut()
        .insert(me.0, Rc::downgrade(&broker.inner));
    serve_jobs(me, &shared, &broker).await;
    broker.shutdown().await;
    *shared.stopped.borrow_mut() += 1;
    while *shared.stopped.borrow() < shards {
        sleep(Duration::from_millis(1)).await;
    }
    storage.shutdown().await;
    mesh.close();
}

async fn serve_jobs(me: ShardId, shared: &Rc<Shared>, broker: &Broker) {
    let woken = ReadySet::new(1);
    shared.wakers.borrow_mut().insert(me.0, woken.marker(0));
    while !*shared.stopping.borrow() {
        woken.wait().await;
        woken.take(|_| {});
        woken.reset_total();
        loop {
            let job = shared
                .jobs
                .borrow_mut()
                .get_mut(&me.0)
                .and_then(VecDeque::pop_front);
            let Some(job) = job else { break };
            spawn("job", job(broker.clone())).detach();
        }
    }
}
