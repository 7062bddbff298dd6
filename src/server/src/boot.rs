//! From a data directory to a broker on every shard.

use std::collections::BTreeMap;

use tailwater_broker::Broker;
use tailwater_broker::metadata::MetadataState;
use tailwater_storage::{
    Generation, MetadataReplay, RecoveryReport, ShardSeed, Storage, StorageConfig, TopicEra,
    recover as recover_storage,
};
use uuid::Uuid;

use crate::config::ServerConfig;
use crate::error::StartError;
use crate::program::Program;

/// The share of a shard's memory, as a divisor, that storage may use for its caches.
const STORAGE_MEMORY_DIVISOR: u64 = 2;

/// What one shard starts with.
pub(crate) struct Seed {
    storage: ShardSeed,
    generation: Generation,
    cluster_id: Uuid,
    metadata: MetadataReplay,
}

/// What a recovery found.
pub(crate) struct Recovery {
    pub(crate) cluster_id: Uuid,
    /// What there is to tell of it.
    pub(crate) told: String,
    /// One for each shard, in order.
    pub(crate) seeds: Vec<Seed>,
}

/// A shard's storage and the broker on top of it.
pub(crate) struct Booted {
    pub(crate) broker: Broker,
    storage: Storage,
}

impl Booted {
    /// Takes no more appends, writes what is left and checkpoints.
    pub(crate) async fn stop(&self) {
        self.broker.shutdown().await;
        self.storage.shutdown().await;
    }
}

/// Recovers the data directory. Runs on shard 0, before anything else.
pub(crate) async fn recover(program: &Program) -> Result<Recovery, StartError> {
    let settings = program.settings.clone();
    let known_topics = |replay: &MetadataReplay| {
        let state = MetadataState::replay(settings, replay.snapshot.as_deref(), &replay.entries)
            .map_err(|error| error.to_string())?;
        let eras = state.image().topics().map(|t| {
            (
                t.id,
                TopicEra {
                    partitions: t.partitions,
                },
            )
        });
        Ok(eras.collect::<BTreeMap<_, _>>())
    };
    let config = storage_config(&program.config);
    let recovered = recover_storage(
        &config,
        program.config.node_id,
        program.shards,
        known_topics,
    )
    .await
    .map_err(|error| StartError::Storage(error.to_string()))?;
    let seeds = recovered.seeds.into_iter().map(|storage| Seed {
        storage,
        generation: recovered.generation,
        cluster_id: recovered.cluster_id,
        metadata: recovered.metadata.clone(),
    });
    Ok(Recovery {
        cluster_id: recovered.cluster_id,
        told: tell(&recovered.report),
        seeds: seeds.collect(),
    })
}

fn storage_config(config: &ServerConfig) -> StorageConfig {
    let shards = config.cpus.len().max(1) as u64;
    let memory = config.memory_bytes / shards / STORAGE_MEMORY_DIVISOR;
    let defaults = StorageConfig::new(&config.data_dir);
    StorageConfig {
        wal_dir: config.wal_dir.clone(),
        wal_bytes: config.wal_bytes,
        wal_file_bytes: defaults.wal_file_bytes.min(config.wal_bytes / 4),
        disk_reserve_bytes: config.disk_reserve_bytes,
        memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
        ..defaults
    }
}

/// What was recovered, for the block that a start prints.
fn tell(report: &RecoveryReport) -> String {
    if report.new_directory {
        return "nothing: a new data directory".to_owned();
    }
    let mut told = format!(
        "{} partitions; {} commits, {} KiB replayed",
        report.partitions,
        report.commits,
        report.replayed_bytes.div_ceil(1024),
    );
    if report.torn_tails > 0 {
        told += &format!("; {} torn tails cut off", report.torn_tails);
    }
    for damage in &report.damage {
        told += &format!("; {damage}");
    }
    for partition in &report.out_of_service {
        told += &format!("; {partition} is out of service");
    }
    if report.unknown_losses {
        told += "; some partitions may have lost their last records";
    }
    told
}

/// The brokers' own mesh, until each shard takes its ends.
pub(crate) type BrokerMesh = ();

/// A mesh for that many shards.
pub(crate) fn broker_mesh(_shards: u16) -> BrokerMesh {}

/// Starts a shard's storage and the broker on top.
pub(crate) async fn start(program: &Program, seed: Seed) -> Result<Booted, StartError> {
    let Seed {
        storage,
        generation: _,
        cluster_id: _,
        metadata: _,
    } = seed;
    let storage = Storage::start(storage, &storage_config(&program.config))
        .await
        .map_err(|error| StartError::Storage(error.to_string()))?;
    storage.shutdown().await;
    Err(StartError::Config("the broker cannot start yet".to_owned()))
}
