//! From a data directory to a broker on every shard.

use std::collections::BTreeMap;
use std::time::Duration;

use tailwater_broker::metadata::MetadataState;
use tailwater_broker::{Broker, BrokerConfig, BrokerMesh, BrokerSeed, BrokerSettings};
use tailwater_storage::{
    MetadataReplay, RecoveryReport, ShardSeed, Storage, StorageConfig, TopicEra,
    recover as recover_storage,
};
use uuid::Uuid;

use crate::config::ServerConfig;
use crate::error::StartError;
use crate::program::Program;

/// The share of a shard's memory, as a divisor, that storage may use for its caches.
const STORAGE_MEMORY_DIVISOR: u64 = 2;

/// A start that waited this long for the process before says so.
const WAITED_MS_TOLD: u64 = 500;

/// What one shard starts with.
pub(crate) struct Seed {
    storage: ShardSeed,
    broker: BrokerSeed,
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
    pub(crate) storage: Storage,
}

/// Recovers the data directory. Runs on shard 0, before anything else.
pub(crate) async fn recover(program: &Program) -> Result<Recovery, StartError> {
    let settings = program.settings.clone();
    let mut state: Option<MetadataState> = None;
    let known_topics = |replay: &MetadataReplay| {
        let replayed = MetadataState::replay(settings, replay.snapshot.as_deref(), &replay.entries)
            .map_err(|error| error.to_string())?;
        let topics = replayed.image().topics();
        let eras: BTreeMap<_, _> = topics
            .map(|t| {
                (
                    t.id,
                    TopicEra {
                        partitions: t.partitions,
                    },
                )
            })
            .collect();
        state = Some(replayed);
        Ok(eras)
    };
    let config = storage_config(&program.config, &program.settings);
    let recovered = recover_storage(
        &config,
        program.config.node_id,
        program.shards,
        known_topics,
    )
    .await
    .map_err(|error| StartError::Storage(error.to_string()))?;
    let metadata = state.expect("a recovery asks for the topics");
    let mut told = tell(&recovered.report);
    if let Some(sentence) = metadata.too_large_batches() {
        tracing::warn!("{sentence}");
        told += &format!("; {sentence}");
    }
    let broker = BrokerSeed {
        generation: recovered.generation,
        cluster_id: recovered.cluster_id,
        metadata,
    };
    let seeds = recovered.seeds.into_iter();
    let seeds = seeds.map(|storage| Seed {
        storage,
        broker: broker.clone(),
    });
    Ok(Recovery {
        cluster_id: recovered.cluster_id,
        told,
        seeds: seeds.collect(),
    })
}

/// What storage is told.
pub(crate) fn storage_config(config: &ServerConfig, settings: &BrokerSettings) -> StorageConfig {
    let shards = config.cpus.len().max(1) as u64;
    let memory = config.memory_bytes / shards / STORAGE_MEMORY_DIVISOR;
    let defaults = StorageConfig::new(&config.data_dir);
    StorageConfig {
        wal_dir: config.wal_dir.clone(),
        wal_bytes: config.wal_bytes,
        wal_file_bytes: defaults.wal_file_bytes.min(config.wal_bytes / 4),
        disk_reserve_bytes: config.disk_reserve_bytes,
        memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
        retention_interval_ms: settings.retention_check_interval_ms,
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
    if report.waited_ms >= WAITED_MS_TOLD {
        let waited = Duration::from_millis(report.waited_ms);
        told += &format!("; waited {waited:?} until what the process before wrote had landed");
    }
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
    for kept in &report.kept_directories {
        told += &format!(
            "; {} is of no known topic and is kept, as what named it may be lost",
            kept.display()
        );
    }
    told
}

/// Starts a shard's storage and the broker on top.
pub(crate) async fn start(
    program: &Program,
    mesh: BrokerMesh,
    seed: Seed,
) -> Result<Booted, StartError> {
    let config = storage_config(&program.config, &program.settings);
    let storage = Storage::start(seed.storage, &config)
        .await
        .map_err(|error| StartError::Storage(error.to_string()))?;
    let shard_addrs = program.shard_addrs.get().map_or(&[][..], Vec::as_slice);
    let config = BrokerConfig {
        nodes: program.config.broker_nodes(shard_addrs),
        data_dir: program.config.data_dir.display().to_string(),
    };
    let broker = Broker::start(seed.broker, storage.clone(), mesh, &config)
        .map_err(|error| StartError::Storage(error.to_string()))?;
    broker.bound_groups(program.config.group_memory_bytes());
    Ok(Booted { broker, storage })
}
