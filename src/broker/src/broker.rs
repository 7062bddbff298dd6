//! The broker of one shard.

use crate::config::{
    BrokerSettings, ConfigChange, ConfigEntry, ConfigOutcome, ConfigQuery, ConfigReplacement,
    ConfigResource,
};
use crate::fetch::{FetchOutcome, FetchRequest, HeldReply, ReplyMemory, SessionCache};
use crate::group::{self, GroupAnswer, Groups};
use crate::messages::{ShardReply, ShardRequest};
use crate::metadata::{
    Change, Controller, ControllerReply, ControllerRequest, ControllerService, CreatePartitions,
    CreateTopic, CreateTopicOutcome, DeletedTopic, MetadataImage, MetadataState, OFFSETS_TOPIC,
    Publication, Topic, TopicKey,
};
use crate::nodes::Nodes;
use crate::offsets::{
    DeleteRecords, EpochEnd, EpochQuery, Isolation, LogDir, LogDirQuery, LowWatermark, OffsetFound,
    OffsetQuery,
};
use crate::partition::{Partition, log_config};
use crate::partition_table::PartitionTable;
use crate::produce::{ProduceReply, ProduceRequest};
use crate::producer_ids::{ProducerIds, init_producer_id};
use crate::reach::Reach;
use crate::{BrokerError, admin, fetch, offsets, produce};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tailwater_record::Workspace;
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::sync::{Notify, Semaphore};
use tailwater_shards::{Mesh, MeshEnds, ShardId, wall_clock_ms};
use tailwater_storage::{Generation, Storage, TopicPartition, owner};
use uuid::Uuid;

/// The mesh between brokers, as one shard holds it.
pub type BrokerMesh = Mesh<ShardRequest, ShardReply>;
/// One shard's ends of the mesh between brokers, until it attaches to them.
pub type BrokerMeshEnds = MeshEnds<ShardRequest, ShardReply>;

/// How many requests may be under way from one shard to another. One more waits, and with it the
/// connection that has it.
const MESH_CREDITS: usize = 256;
/// How many fetches of a shard may be forwarded to their sessions' shards at once: each may park
/// there, and hold its credit as long. One more is told that its session is not found, so its
/// client begins a new one, here.
pub(crate) const FORWARDED_FETCHES_MAX: u64 = 64;
/// How many changes of metadata a shard may have under way at the controller's: they are carried out
/// one after the other, and each holds its credit until it is durable. One more waits here, and
/// holds none that a produce waits for.
pub(crate) const CHANGES_MAX: u64 = 16;
/// The same for what may have to wait for the owner's disk: offsets by time, deletions of records.
pub(crate) const DISK_ASKS_MAX: u64 = 64;

/// Reply memory of a shard of which nothing else is said.
const REPLY_BYTES_DEFAULT: u64 = 256 << 20;

/// A mesh for the brokers of that many shards: one element for each.
pub fn broker_mesh(shards: u16) -> Vec<BrokerMeshEnds> {
    tailwater_shards::mesh(shards, MESH_CREDITS)
}

/// What every shard's broker is told at its start.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// The brokers that clients are told of, with their ids.
    pub nodes: Nodes,
    /// The path that DescribeLogDirs tells.
    pub data_dir: String,
}

/// What a start of the process found, the same for every shard's broker.
#[derive(Clone, Debug)]
pub struct BrokerSeed {
    /// This start's generation.
    pub generation: Generation,
    /// The data directory's cluster id.
    pub cluster_id: Uuid,
    /// The metadata, replayed over the static settings.
    pub metadata: MetadataState,
}

/// The broker of one shard. Cheap to clone; every method may be called on the broker's own shard
/// only, and finds what other shards own through the mesh.
#[derive(Clone)]
pub struct Broker {
    pub(crate) inner: Rc<Inner>,
    pub(crate) reach: Reach,
}

/// What the parts of the broker share.
pub(crate) struct Inner {
    pub(crate) shard: ShardId,
    pub(crate) shards: u16,
    pub(crate) nodes: Nodes,
    pub(crate) cluster_id: Uuid,
    pub(crate) generation: Generation,
    pub(crate) data_dir: String,
    pub(crate) mesh: BrokerMesh,
    pub(crate) storage: Storage,
    pub(crate) partitions: RefCell<PartitionTable>,
    pub(crate) sessions: RefCell<SessionCache>,
    /// The coordinators of the groups whose partitions this shard owns.
    pub(crate) groups: Groups,
    pub(crate) workspace: RefCell<Workspace>,
    /// Held by the append whose turn it is while the log has no room.
    pub(crate) append_gate: Semaphore,
    /// Bounds fetches forwarded to their sessions' shards.
    pub(crate) forwarded_fetches: Semaphore,
    /// Bounds changes of metadata that the controller is asked for.
    pub(crate) changes: Semaphore,
    /// Bounds what other shards are asked for that may wait for their disks.
    pub(crate) disk_asks: Semaphore,
    /// What fetched records may hold.
    pub(crate) replies: RefCell<ReplyMemory>,
    pub(crate) producer_ids: ProducerIds,
    /// On shard 0 only.
    pub(crate) controller: Option<ControllerService>,
    pub(crate) stopping: Notify,
    is_stopping: Cell<bool>,
    image: RefCell<Arc<MetadataImage>>,
    watch_sets: Cell<u64>,
}

impl Broker {
    /// Starts this shard's broker: opens the logs that the shard owns and answers the other shards
    /// from here on. Requests of theirs that came earlier were kept.
    ///
    /// # Errors
    /// `StoredMetadata` when what is stored about producers cannot be understood.
    pub fn start(
        seed: BrokerSeed,
        storage: Storage,
        mesh: BrokerMesh,
        config: &BrokerConfig,
    ) -> Result<Self, BrokerError> {
        let (shard, shards) = (mesh.shard(), mesh.shards());
        let image = Arc::new(seed.metadata.image().clone());
        let sessions = SessionCache::new(image.settings().fetch_sessions_max, shard, shards);
        let controller = (shard == ShardId(0)).then(|| {
            let controller =
                Controller::new(seed.metadata, seed.generation.0, config.nodes.clone());
            ControllerService::new(controller)
        });
        let inner = Rc::new(Inner {
            shard,
            shards,
            nodes: config.nodes.clone(),
            cluster_id: seed.cluster_id,
            generation: seed.generation,
            data_dir: config.data_dir.clone(),
            mesh,
            partitions: RefCell::default(),
            sessions: RefCell::new(sessions),
            groups: Groups::new(storage.clone()),
            storage,
            workspace: RefCell::new(Workspace::new()),
            append_gate: Semaphore::new(1),
            forwarded_fetches: Semaphore::new(FORWARDED_FETCHES_MAX),
            changes: Semaphore::new(CHANGES_MAX),
            disk_asks: Semaphore::new(DISK_ASKS_MAX),
            replies: RefCell::new(ReplyMemory::new(REPLY_BYTES_DEFAULT)),
            producer_ids: ProducerIds::new(),
            controller,
            stopping: Notify::new(),
            is_stopping: Cell::new(false),
            image: RefCell::new(image.clone()),
            watch_sets: Cell::new(0),
        });
        if let Some(service) = &inner.controller {
            let controller = service.controller();
            inner
                .storage
                .set_metadata_snapshot(Rc::new(move || controller.borrow().state().snapshot()));
        }
        for topic in image.topics() {
            inner.open_partitions(topic)?;
        }
        crate::serve::serve(&inner);
        group::start(&inner);
        Ok(Self {
            inner,
            reach: Reach::All,
        })
    }

    /// This shard's image of the metadata. Immutable: hold it as long as a request lasts.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.inner.image()
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> Uuid {
        self.inner.cluster_id
    }

    /// The same broker as a shard's own port has it: partitions and groups that another shard owns
    /// are refused with NOT_LEADER_OR_FOLLOWER and NOT_COORDINATOR, and what is listed is this
    /// shard's. Metadata and administrative changes are the process's all the same.
    pub fn direct(&self) -> Self {
        Self {
            inner: Rc::clone(&self.inner),
            reach: Reach::Own,
        }
    }

    /// The shard that owns a partition of that topic.
    pub fn owner(&self, topic: &Topic, partition: i32) -> ShardId {
        self.inner.owner(TopicPartition::new(topic.id, partition))
    }

    /// The shard that coordinates a group; none while there are no coordinators: see
    /// [`Broker::ensure_group_coordinators`].
    pub fn coordinator(&self, group: &str) -> Option<ShardId> {
        let found = group::coordinator_of(&self.inner, group).ok();
        found.map(|(_, shard)| shard)
    }

    /// The leader epoch of a topic's partitions.
    pub fn leader_epoch(&self, topic: &Topic) -> i32 {
        self.inner.leader_epoch(topic)
    }

    /// The ordered stage of a produce: checks the batches and hands them to every owner. When it
    /// is done, later produces of the same caller come after this one in every partition. It may
    /// wait for room in the mesh, never for a disk. Await the reply to its end even with acks=0.
    pub async fn submit_produce(&self, request: ProduceRequest) -> ProduceReply {
        produce::submit(&self.inner, self.reach, request).await
    }

    /// Fetches; parks until there is enough, the wait ends, or a partition has an error. Dropping
    /// the future forgets the fetch. Versions without sessions (below 7) have session 0 and
    /// epoch -1.
    pub async fn fetch(&self, request: FetchRequest) -> FetchOutcome {
        fetch::fetch(&self.inner, self.reach, request).await
    }

    /// As [`Broker::fetch`], with the reply memory that the records hold: to be kept until the
    /// last of them is gone. `lags` says whether the reader has yet to take what was sent to it
    /// before; it is asked when memory is.
    pub async fn fetch_within(
        &self,
        request: FetchRequest,
        lags: &dyn Fn() -> bool,
    ) -> (FetchOutcome, Option<HeldReply>) {
        fetch::fetch_within(&self.inner, self.reach, request, lags).await
    }

    /// Bounds what fetched records may hold on this shard; to be said before the first fetch.
    pub fn bound_replies(&self, bytes_max: u64) -> ReplyMemory {
        let memory = ReplyMemory::new(bytes_max);
        *self.inner.replies.borrow_mut() = memory.clone();
        memory
    }

    /// Bounds what the groups of this shard may hold; to be said before the first is asked for.
    pub fn bound_groups(&self, bytes_max: u64) {
        self.inner.groups.memory.bound(bytes_max);
    }

    /// What the groups of this shard hold, about.
    pub fn group_bytes(&self) -> u64 {
        self.inner.groups.memory.bytes()
    }

    /// Looks up offsets; one outcome for each query, in order.
    pub async fn list_offsets(
        &self,
        isolation: Isolation,
        queries: Vec<OffsetQuery>,
    ) -> Vec<Result<OffsetFound, BrokerError>> {
        offsets::ask_list_offsets(&self.inner, self.reach, isolation, queries).await
    }

    /// Where leader epochs end; one outcome for each query, in order.
    pub async fn epoch_ends(&self, queries: Vec<EpochQuery>) -> Vec<Result<EpochEnd, BrokerError>> {
        offsets::ask_epoch_ends(&self.inner, self.reach, queries).await
    }

    /// Moves log starts up, durably; one outcome for each part, in order.
    pub async fn delete_records(
        &self,
        parts: Vec<DeleteRecords>,
        timeout: Duration,
    ) -> Vec<LowWatermark> {
        offsets::ask_delete_records(&self.inner, self.reach, parts, timeout).await
    }

    /// Sizes of partitions; of this shard's only if it answers for itself alone.
    pub async fn describe_log_dirs(&self, query: LogDirQuery) -> Result<LogDir, BrokerError> {
        offsets::ask_log_dirs(&self.inner, self.reach, query).await
    }

    /// Creates topics: durable and known to all shards when it answers. A name that the request
    /// has twice gets one outcome.
    pub async fn create_topics(
        &self,
        topics: Vec<CreateTopic>,
        validate_only: bool,
        timeout: Duration,
    ) -> Vec<CreateTopicOutcome> {
        admin::create_topics(&self.inner, topics, validate_only, timeout).await
    }

    /// Creates topics because Metadata asked for them, if `auto.create.topics.enable` says so;
    /// one outcome for each name. The image has them afterwards.
    pub async fn auto_create_topics(
        &self,
        names: Vec<Arc<str>>,
    ) -> Vec<(Arc<str>, Result<(), BrokerError>)> {
        admin::auto_create_topics(&self.inner, names).await
    }

    /// Deletes topics: durable, and every owner has stopped, when it answers. A name or id that
    /// the request has twice gets one outcome.
    pub async fn delete_topics(&self, keys: Vec<TopicKey>, timeout: Duration) -> Vec<DeletedTopic> {
        admin::delete_topics(&self.inner, keys, timeout).await
    }

    /// Adds partitions. A name that the request has twice gets one outcome.
    pub async fn create_partitions(
        &self,
        topics: Vec<CreatePartitions>,
        validate_only: bool,
        timeout: Duration,
    ) -> Vec<(String, Result<(), BrokerError>)> {
        admin::create_partitions(&self.inner, topics, validate_only, timeout).await
    }

    /// Lists configurations; one outcome for each query, in order.
    pub fn describe_configs(
        &self,
        queries: Vec<ConfigQuery>,
        synonyms: bool,
        documentation: bool,
    ) -> Vec<(ConfigResource, Result<Vec<ConfigEntry>, BrokerError>)> {
        admin::describe_configs(&self.inner, self.reach, queries, synonyms, documentation)
    }

    /// Replaces overrides. A resource that the request has twice gets one outcome.
    pub async fn alter_configs(
        &self,
        changes: Vec<ConfigReplacement>,
        validate_only: bool,
    ) -> Vec<ConfigOutcome> {
        admin::alter_configs(&self.inner, changes, validate_only).await
    }

    /// Changes overrides one by one. A resource that the request has twice gets one outcome.
    pub async fn incremental_alter_configs(
        &self,
        changes: Vec<ConfigChange>,
        validate_only: bool,
    ) -> Vec<ConfigOutcome> {
        admin::incremental_alter_configs(&self.inner, changes, validate_only).await
    }

    /// A producer id that nobody had before, and epoch 0. With a transactional id: a fatal error.
    pub async fn init_producer_id(
        &self,
        transactional_id: Option<String>,
    ) -> Result<(i64, i16), BrokerError> {
        init_producer_id(&self.inner, transactional_id).await
    }

    /// Sees to it that there are coordinators of groups: the topic that they keep their groups in
    /// is made if it is not there.
    pub async fn ensure_group_coordinators(&self) -> Result<(), BrokerError> {
        group::ensure_offsets_topic(&self.inner).await
    }

    /// Asks the coordinators of groups, whichever shards have them; an answer for each, in order.
    pub async fn ask_groups(
        &self,
        asks: Vec<(Arc<str>, tailwater_group::Request)>,
    ) -> Vec<GroupAnswer> {
        group::ask(&self.inner, self.reach, asks).await
    }

    /// Asks the coordinator of a group what may wait for other members: a join or a sync.
    /// Dropping the future forgets it.
    pub async fn ask_group_and_wait(
        &self,
        group: &str,
        request: tailwater_group::Request,
    ) -> GroupAnswer {
        group::ask_parked(&self.inner, self.reach, group, request).await
    }

    /// The groups of all coordinators; of this shard's only if it answers for itself alone.
    pub async fn list_groups(
        &self,
        filters: tailwater_group::ListGroups,
    ) -> Result<Vec<tailwater_group::Listed>, tailwater_group::GroupError> {
        group::list(&self.inner, self.reach, filters).await
    }

    /// Takes no more appends and ends parked fetches. The shard's storage is shut down afterwards,
    /// when every shard's broker has stopped, by whoever started it.
    pub async fn shutdown(&self) {
        self.inner.is_stopping.set(true);
        self.inner.stopping.notify_all();
        group::stop(&self.inner);
        for partition in self.inner.partitions.borrow().all() {
            partition.stop();
        }
    }

    /// Panics if what must hold does not. The simulator calls it after each step.
    pub fn check_invariants(&self) {
        let inner = &self.inner;
        inner.image.borrow().check_invariants();
        inner.sessions.borrow().check_invariants();
        inner.groups.check_invariants();
        for partition in inner.partitions.borrow().all() {
            assert_eq!(
                inner.owner(partition.tp()),
                inner.shard,
                "a partition is open at its owner only"
            );
            partition.check_invariants();
        }
    }
}

impl Inner {
    pub(crate) fn image(&self) -> Arc<MetadataImage> {
        self.image.borrow().clone()
    }

    pub(crate) fn settings(&self) -> Arc<BrokerSettings> {
        self.image.borrow().settings().clone()
    }

    pub(crate) fn owner(&self, tp: TopicPartition) -> ShardId {
        owner(tp, self.shards)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    pub(crate) fn leader_epoch(&self, topic: &Topic) -> i32 {
        if planted::is(Planted::EpochNotRaised) {
            return 0;
        }
        let epoch = self.generation.0.saturating_sub(topic.created_generation);
        i32::try_from(epoch).unwrap_or(i32::MAX)
    }

    /// A number for a set of watches that no other set of any shard has.
    pub(crate) fn next_watch_set(&self) -> u64 {
        let count = self.watch_sets.get() + 1;
        self.watch_sets.set(count);
        (u64::from(self.shard.0) << 48) | count
    }

    /// Removes what that set watches.
    pub(crate) fn unwatch(&self, set: u64, tps: &[TopicPartition]) {
        let partitions = self.partitions.borrow();
        for partition in tps.iter().filter_map(|tp| partitions.find(*tp).ok()) {
            partition.unwatch(set);
        }
    }

    /// Asks the controller, on whichever shard it is.
    pub(crate) async fn control(
        &self,
        request: ControllerRequest,
    ) -> Result<ControllerReply, BrokerError> {
        let message = ShardRequest::Control(Box::new(request));
        let _turn = self.changes.acquire(1).await;
        match self.call(ShardId(0), message).await {
            Ok(ShardReply::Controlled(reply)) => match *reply {
                ControllerReply::Failed(error) => Err(error),
                reply => Ok(reply),
            },
            _ => Err(BrokerError::ShuttingDown),
        }
    }

    /// Takes over new metadata. Until the first await everything is in place, but for the files of
    /// deleted topics.
    pub(crate) async fn take_over(self: &Rc<Self>, publication: Arc<Publication>) {
        let before = self.image.replace(publication.image.clone());
        let mut dropped = Vec::new();
        for change in &publication.changes {
            match change {
                Change::CreateTopic { id, .. } | Change::SetPartitions { id, .. } => {
                    if let Some(topic) = publication.image.topic_by_id(*id)
                        && let Err(error) = self.open_partitions(topic)
                    {
                        tracing::error!(topic = %topic.name, %error, "a partition cannot be opened");
                    }
                }
                Change::DeleteTopic { id } => {
                    dropped.extend(
                        before
                            .topic_by_id(*id)
                            .map(|topic| self.stop_partitions(topic)),
                    );
                }
                Change::SetTopicOverrides { id, .. } => {
                    if let Some(topic) = publication.image.topic_by_id(*id) {
                        self.configure(topic);
                    }
                }
                Change::SetBrokerValues { .. } => publication
                    .image
                    .topics()
                    .for_each(|topic| self.configure(topic)),
                Change::GrantProducerIds { .. } => {}
            }
        }
        let offsets_before = before.topic(OFFSETS_TOPIC).map(|topic| &**topic);
        group::take_over(self, &publication, offsets_before);
        for tp in dropped.into_iter().flatten() {
            self.storage.drop_log(tp).await;
        }
    }

    /// The partitions of a topic that this shard owns.
    pub(crate) fn own_partitions(&self, topic: &Topic) -> impl Iterator<Item = TopicPartition> {
        let (id, shard, shards) = (topic.id, self.shard, self.shards);
        let all = (0..topic.partitions).map(move |partition| TopicPartition::new(id, partition));
        all.filter(move |tp| owner(*tp, shards) == shard)
    }

    fn open_partitions(&self, topic: &Arc<Topic>) -> Result<(), BrokerError> {
        for tp in self.own_partitions(topic) {
            if self.partitions.borrow().contains(tp) {
                continue;
            }
            let opened = self
                .storage
                .open_log(tp, log_config(topic), self.leader_epoch(topic));
            let log = opened.map_err(|error| BrokerError::Storage {
                detail: error.to_string(),
            })?;
            let partition = Partition::open(log, topic.clone(), wall_clock_ms())?;
            self.partitions.borrow_mut().insert(partition);
        }
        Ok(())
    }

    fn stop_partitions(&self, topic: &Topic) -> Vec<TopicPartition> {
        let mut stopped = Vec::new();
        for tp in self.own_partitions(topic) {
            let partition = self.partitions.borrow_mut().remove(tp);
            if let Some(partition) = partition {
                partition.delete();
                stopped.push(tp);
            }
        }
        stopped
    }

    fn configure(&self, topic: &Arc<Topic>) {
        for tp in self.own_partitions(topic) {
            let partition = self.partitions.borrow().find(tp);
            if let Ok(partition) = partition {
                partition.configure(topic.clone());
            }
        }
    }
}
