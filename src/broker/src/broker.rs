//! The broker of one shard.

use crate::BrokerError;
use crate::config::{
    BrokerSettings, ConfigChange, ConfigEntry, ConfigOutcome, ConfigQuery, ConfigReplacement,
    ConfigResource,
};
use crate::fetch::{FetchOutcome, FetchRequest};
use crate::metadata::{
    CreatePartitions, CreateTopic, CreateTopicOutcome, DeletedTopic, MetadataImage, TopicKey,
};
use crate::offsets::{
    DeleteRecords, EpochEnd, EpochQuery, Isolation, LogDir, LogDirQuery, LowWatermark, OffsetFound,
    OffsetQuery,
};
use crate::produce::{ProduceOutcome, ProduceRequest};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// What every shard's broker is told at its start.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Kafka's `node.id`.
    pub node_id: i32,
    /// The static configuration, from file, environment and flags.
    pub settings: Arc<BrokerSettings>,
    /// The path that DescribeLogDirs tells.
    pub data_dir: String,
}

/// The broker of one shard. Cheap to clone; every method may be called on the broker's own shard
/// only, and finds what other shards own through the mesh.
#[derive(Clone)]
pub struct Broker {
    _inner: Rc<()>,
}

/// The second stage of a produce: resolves when what `acks` promises holds. With acks=0 it
/// resolves once each owner has taken or refused its batches; nothing is awaited of the disk.
pub type ProduceReply = std::pin::Pin<Box<dyn Future<Output = ProduceOutcome>>>;

impl Broker {
    /// This shard's image of the metadata. Immutable: hold it as long as a request lasts.
    pub fn image(&self) -> Arc<MetadataImage> {
        unimplemented!()
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> Uuid {
        unimplemented!()
    }

    /// Kafka's `node.id`, which is also the controller's and every partition's leader.
    pub fn node_id(&self) -> i32 {
        unimplemented!()
    }

    /// The leader epoch of a topic's partitions.
    pub fn leader_epoch(&self, _topic: Uuid) -> i32 {
        unimplemented!()
    }

    /// The ordered stage of a produce: checks the batches and hands them to every owner. When it
    /// is done, later produces of the same caller come after this one in every partition. It may
    /// wait for room in the mesh, never for a disk.
    pub async fn submit_produce(&self, _request: ProduceRequest) -> ProduceReply {
        unimplemented!()
    }

    /// Fetches; parks until there is enough, the wait ends, or a partition has an error. Dropping
    /// the future forgets the fetch.
    pub async fn fetch(&self, _request: FetchRequest) -> FetchOutcome {
        unimplemented!()
    }

    /// Looks up offsets; one outcome for each query, in order.
    pub async fn list_offsets(
        &self,
        _isolation: Isolation,
        _queries: Vec<OffsetQuery>,
    ) -> Vec<Result<OffsetFound, BrokerError>> {
        unimplemented!()
    }

    /// Where leader epochs end; one outcome for each query, in order.
    pub async fn epoch_ends(
        &self,
        _queries: Vec<EpochQuery>,
    ) -> Vec<Result<EpochEnd, BrokerError>> {
        unimplemented!()
    }

    /// Moves log starts up, durably; one outcome for each part, in order.
    pub async fn delete_records(
        &self,
        _parts: Vec<DeleteRecords>,
        _timeout: Duration,
    ) -> Vec<LowWatermark> {
        unimplemented!()
    }

    /// Sizes of partitions.
    pub async fn describe_log_dirs(&self, _query: LogDirQuery) -> Result<LogDir, BrokerError> {
        unimplemented!()
    }

    /// Creates topics: durable and known to all shards when it answers.
    pub async fn create_topics(
        &self,
        _topics: Vec<CreateTopic>,
        _validate_only: bool,
        _timeout: Duration,
    ) -> Vec<CreateTopicOutcome> {
        unimplemented!()
    }

    /// Creates topics because Metadata asked for them, if `auto.create.topics.enable` says so;
    /// one outcome for each name. The image has them afterwards.
    pub async fn auto_create_topics(
        &self,
        _names: Vec<Arc<str>>,
    ) -> Vec<(Arc<str>, Result<(), BrokerError>)> {
        unimplemented!()
    }

    /// Deletes topics: durable, and every owner has stopped, when it answers.
    pub async fn delete_topics(
        &self,
        _keys: Vec<TopicKey>,
        _timeout: Duration,
    ) -> Vec<DeletedTopic> {
        unimplemented!()
    }

    /// Adds partitions.
    pub async fn create_partitions(
        &self,
        _topics: Vec<CreatePartitions>,
        _validate_only: bool,
        _timeout: Duration,
    ) -> Vec<(String, Result<(), BrokerError>)> {
        unimplemented!()
    }

    /// Lists configurations; one outcome for each query, in order.
    pub fn describe_configs(
        &self,
        _queries: Vec<ConfigQuery>,
        _synonyms: bool,
        _documentation: bool,
    ) -> Vec<(ConfigResource, Result<Vec<ConfigEntry>, BrokerError>)> {
        unimplemented!()
    }

    /// Replaces overrides.
    pub async fn alter_configs(
        &self,
        _changes: Vec<ConfigReplacement>,
        _validate_only: bool,
    ) -> Vec<ConfigOutcome> {
        unimplemented!()
    }

    /// Changes overrides one by one.
    pub async fn incremental_alter_configs(
        &self,
        _changes: Vec<ConfigChange>,
        _validate_only: bool,
    ) -> Vec<ConfigOutcome> {
        unimplemented!()
    }

    /// A producer id that nobody had before, and epoch 0. With a transactional id: a fatal error.
    pub async fn init_producer_id(
        &self,
        _transactional_id: Option<String>,
    ) -> Result<(i64, i16), BrokerError> {
        unimplemented!()
    }

    /// Stops answering: parked fetches end, no append is taken any more.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}
