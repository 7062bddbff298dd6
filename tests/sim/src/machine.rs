//! A boot of the broker: recovery on shard 0, a storage and a broker on each shard, and the
//! connections of the clients.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tailwater_broker::metadata::MetadataState;
use tailwater_broker::{
    Broker, BrokerConfig, BrokerMeshEnds, BrokerSeed, BrokerSettings, Nodes, broker_mesh,
};
use tailwater_shards::sim::{Process, Simulation};
use tailwater_shards::sync::Notify;
use tailwater_shards::{ShardId, sleep, spawn};
use tailwater_storage::{
    MetadataReplay, ShardSeed, Storage, StorageConfig, TopicEra, recover, verify_known,
};
use uuid::Uuid;

use crate::checker;
use crate::clients::{self, Client};
use crate::event::{Event, Started};
use crate::world::Shared;

pub(crate) const DATA: &str = "/data";
/// What the broker keeps free.
const RESERVE_BYTES: u64 = 256 << 10;

/// What one request brings at most: four batches that fit a WAL file, and what is small.
const REQUEST_BYTES_MAX: usize = 4 * (16 << 10) + 4096;
/// What replies may hold: so little that the replies of two slow readers are one too many.
const REPLY_BYTES: u64 = 1 << 20;

const SETTINGS: [(&str, &str); 2] = [
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.num.partitions", "3"),
];

/// Small files: rings turn, tails are carried and segments written in every history.
pub(crate) fn storage_config() -> StorageConfig {
    StorageConfig {
        wal_bytes: 256 << 10,
        wal_first_file_bytes: 32 << 10,
        wal_file_bytes: 32 << 10,
        commit_bytes_max: 16 << 10,
        pending_bytes_max: 32 << 10,
        disk_reserve_bytes: RESERVE_BYTES,
        memory_bytes: 64 << 10,
        write_behind_bytes: 8 << 10,
        carry_below_bytes: 2 << 10,
        retention_interval_ms: 50,
        cleaner_interval_ms: 5,
        ..StorageConfig::new(DATA)
    }
}

/// Few coordinators, whose snapshots are made often.
fn settings() -> Result<BrokerSettings, String> {
    let pairs = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = BrokerSettings::from_pairs(&pairs.into());
    let mut settings = settings.map_err(|error| error.to_string())?;
    settings.groups.snapshot_bytes_min = 1_000;
    Ok(settings)
}

/// One boot, as the shards and the driver share it.
pub(crate) struct Boot {
    pub(crate) shards: u16,
    pub(crate) shared: Rc<Shared>,
    ends: RefCell<BTreeMap<u16, BrokerMeshEnds>>,
    seeds: RefCell<BTreeMap<u16, (ShardSeed, BrokerSeed)>>,
    /// What the recovery found; taken when it is told.
    found: RefCell<Option<Started>>,
    standing: RefCell<BTreeMap<u16, Weak<(Broker, Storage)>>>,
    /// The checker has read everything, and the clients go on.
    pub(crate) is_open: Cell<bool>,
    refused: Cell<bool>,
    stopping: Cell<bool>,
    stopped: Cell<u16>,
    bell: Notify,
    /// The most that the parts of any shard's memory have held.
    peaks: RefCell<BTreeMap<&'static str, usize>>,
}

impl Boot {
    /// Begins a boot.
    pub(crate) fn begin(
        sim: &mut Simulation,
        shards: u16,
        shared: &Rc<Shared>,
    ) -> (Process, Rc<Boot>) {
        let boot = Rc::new(Boot {
            shards,
            shared: shared.clone(),
            ends: RefCell::new((0..).zip(broker_mesh(shards)).collect()),
            seeds: RefCell::default(),
            found: RefCell::default(),
            standing: RefCell::default(),
            is_open: Cell::new(false),
            refused: Cell::new(false),
            stopping: Cell::new(false),
            stopped: Cell::new(0),
            bell: Notify::new(),
            peaks: RefCell::default(),
        });
        let mine = boot.clone();
        let process = sim.boot(shards, move |me| mine.clone().main(me));
        (process, boot)
    }

    /// Tells the process to stop by itself.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.bell.notify_all();
    }

    /// A client whose connection broke makes another.
    pub(crate) fn call_for_connections(&self) {
        self.bell.notify_all();
    }

    /// Panics if what must hold does not.
    pub(crate) fn check_invariants(&self, shard: u16) {
        let standing = self.standing.borrow().get(&shard).and_then(Weak::upgrade);
        if let Some(standing) = standing {
            standing.0.check_invariants();
            standing.1.check_invariants();
            let storage = &standing.1;
            let cached = storage.cached_bytes();
            self.measure(shard, "caches", cached, || storage.cached_bytes_max());
            let pending = storage.pending_bytes();
            let pending_max = || storage.pending_bytes_max() + REQUEST_BYTES_MAX;
            self.measure(shard, "appends", pending, pending_max);
        }
    }

    fn measure(&self, shard: u16, part: &'static str, bytes: usize, bytes_max: impl Fn() -> usize) {
        let mut peaks = self.peaks.borrow_mut();
        let peak = peaks.entry(part).or_default();
        if bytes > *peak {
            *peak = bytes;
            let bytes_max = bytes_max();
            self.shared.tell(Event::Memory {
                shard,
                part,
                bytes,
                bytes_max,
            });
        }
    }

    async fn main(self: Rc<Self>, me: ShardId) {
        if me == ShardId(0)
            && let Err(reason) = Box::pin(self.recover()).await
        {
            self.shared.tell(Event::StartRefused { reason });
            self.refused.set(true);
        }
        let (storage_seed, seed) = loop {
            if self.refused.get() {
                return;
            }
            let seed = self.seeds.borrow_mut().remove(&me.0);
            match seed {
                Some(seed) => break seed,
                None => sleep(Duration::from_micros(500)).await,
            }
        };
        let config = storage_config();
        let storage = match Storage::start(storage_seed, &config).await {
            Ok(storage) => storage,
            Err(error) => {
                let reason = error.to_string();
                self.shared.tell(Event::StartRefused { reason });
                self.refused.set(true);
                return;
            }
        };
        let ends = self.ends.borrow_mut().remove(&me.0);
        let mesh = ends.expect("each shard has its ends").attach();
        let config = BrokerConfig {
            nodes: Nodes::one(1),
            data_dir: DATA.to_owned(),
        };
        let broker = Broker::start(seed, storage.clone(), mesh.clone(), &config)
            .expect("what is stored of producers is understood");
        broker.bound_replies(REPLY_BYTES);
        let standing = Rc::new((broker.clone(), storage.clone()));
        self.standing
            .borrow_mut()
            .insert(me.0, Rc::downgrade(&standing));
        self.serve(me, &broker).await;
        if self.refused.get() {
            return;
        }
        broker.shutdown().await;
        self.stopped.set(self.stopped.get() + 1);
        while self.stopped.get() < self.shards {
            sleep(Duration::from_micros(500)).await;
        }
        storage.shutdown().await;
        mesh.close();
    }

    async fn recover(&self) -> Result<(), String> {
        let config = storage_config();
        let mut replayed = None;
        let recovered = recover(&config, 1, self.shards, |replay| {
            let state = metadata(replay)?;
            let eras = eras(&state);
            replayed = Some(state);
            Ok(eras)
        });
        let recovered = recovered.await.map_err(|error| error.to_string())?;
        let metadata = replayed.expect("it was called");
        let report = recovered.report;
        let topics = metadata.image().topics();
        let topics = topics.filter(|topic| *topic.name != *checker::OFFSETS_TOPIC);
        *self.found.borrow_mut() = Some(Started {
            generation: recovered.generation.0,
            topics: topics.cloned().collect(),
            damage: report.damage.iter().map(ToString::to_string).collect(),
            out_of_service: report
                .out_of_service
                .iter()
                .map(|tp| (tp.topic, tp.partition))
                .collect(),
            unknown_losses: report.unknown_losses,
        });
        let seed = BrokerSeed {
            generation: recovered.generation,
            cluster_id: recovered.cluster_id,
            metadata,
        };
        let seeds = recovered.seeds.into_iter();
        let seeds = seeds.map(|storage| (storage, seed.clone()));
        *self.seeds.borrow_mut() = (0..).zip(seeds).collect();
        Ok(())
    }

    async fn serve(self: &Rc<Self>, me: ShardId, broker: &Broker) {
        while self.standing.borrow().len() < usize::from(self.shards) {
            if self.refused.get() {
                return;
            }
            sleep(Duration::from_micros(200)).await;
        }
        if me == ShardId(0) {
            let found = self.found.borrow_mut().take().expect("it was recovered");
            if found.unknown_losses {
                self.shared.told.borrow_mut().lose_unknown();
            }
            self.shared.tell(Event::Started(found));
            checker::read_everything(broker, &self.shared).await;
            self.is_open.set(true);
        }
        while !self.is_open.get() {
            sleep(Duration::from_micros(200)).await;
        }
        let own = |c: &&Rc<Client>| c.shard(self.shards) == me.0;
        for client in self.shared.clients.iter().filter(own) {
            client.restarted();
            let serve = clients::serve(broker.clone(), Rc::clone(client));
            spawn("connection", serve).detach();
        }
        loop {
            let rung = self.bell.notified();
            if self.stopping.get() {
                break;
            }
            let all = self.shared.clients.iter();
            for client in all.filter(own).filter(|c| c.wants_connection()) {
                client.reconnected();
                let serve = clients::serve(broker.clone(), Rc::clone(client));
                spawn("connection", serve).detach();
            }
            rung.await;
        }
    }
}

fn metadata(replay: &MetadataReplay) -> Result<MetadataState, String> {
    let settings = settings()?;
    let snapshot = replay.snapshot.as_deref();
    MetadataState::replay(Arc::new(settings), snapshot, &replay.entries)
        .map_err(|error| error.to_string())
}

fn eras(state: &MetadataState) -> BTreeMap<Uuid, TopicEra> {
    let era = |partitions| TopicEra { partitions };
    let topics = state.image().topics();
    topics
        .map(|topic| (topic.id, era(topic.partitions)))
        .collect()
}

/// Checks the files of all topics that live, with the machine off.
pub(crate) async fn verify() -> Vec<String> {
    let known = |replay: &MetadataReplay| metadata(replay).map(|state| eras(&state));
    let report = verify_known(Path::new(DATA), None, known).await;
    report.problems.iter().map(ToString::to_string).collect()
}

/// Wakes the clients' connections.
pub(crate) fn wake(clients: &[Rc<Client>]) {
    for client in clients {
        client.bell.notify_one();
    }
}
