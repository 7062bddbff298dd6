//! How a change of the metadata comes about: decided on shard 0, logged, published to all shards.
//!
//! One change at a time: while one is on its way to the disk or to the shards, the next waits. A
//! change is answered when it is durable and every shard has it. A caller that goes away, or whose
//! time is over, stops nothing: the request is a message to shard 0, which finishes what it began.

use super::change::Change;
use super::controller::{Controller, Decision};
use super::image::MetadataImage;
use super::{CreatePartitions, CreateTopic, CreateTopicOutcome, DeletedTopic, TopicKey};
use crate::BrokerError;
use crate::broker::Inner;
use crate::config::{ConfigChange, ConfigOutcome, ConfigReplacement};
use crate::messages::ShardRequest;
use crate::partition::storage_refusal;
use futures_util::future::join_all;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::sync::Semaphore;
use tailwater_shards::{ShardId, random_uuid};
use uuid::Uuid;

/// What can be asked of the controller.
#[derive(Debug)]
pub(crate) enum ControllerRequest {
    CreateTopics {
        topics: Vec<CreateTopic>,
        validate_only: bool,
    },
    DeleteTopics {
        keys: Vec<TopicKey>,
    },
    CreatePartitions {
        topics: Vec<CreatePartitions>,
        validate_only: bool,
    },
    AlterConfigs {
        replacements: Vec<ConfigReplacement>,
        validate_only: bool,
    },
    IncrementalAlterConfigs {
        changes: Vec<ConfigChange>,
        validate_only: bool,
    },
    ProducerIds,
}

/// What the controller answers.
#[derive(Debug)]
pub(crate) enum ControllerReply {
    TopicsCreated(Vec<CreateTopicOutcome>),
    TopicsDeleted(Vec<DeletedTopic>),
    PartitionsCreated(Vec<(String, Result<(), BrokerError>)>),
    ConfigsAltered(Vec<ConfigOutcome>),
    /// The first id of a block.
    ProducerIds(Result<i64, BrokerError>),
    /// The changes could not be made durable.
    Failed(BrokerError),
}

/// The metadata of now, and what has changed since it was published last.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) image: Arc<MetadataImage>,
    pub(crate) changes: Vec<Change>,
}

/// The controller with its queue. On shard 0 only.
pub(crate) struct ControllerService {
    controller: Rc<RefCell<Controller>>,
    turn: Semaphore,
}

impl ControllerService {
    /// Takes over the controller.
    pub(crate) fn new(controller: Controller) -> Self {
        Self {
            controller: Rc::new(RefCell::new(controller)),
            turn: Semaphore::new(1),
        }
    }

    /// The controller, for the snapshots of checkpoints.
    pub(crate) fn controller(&self) -> Rc<RefCell<Controller>> {
        self.controller.clone()
    }
}

/// Decides and executes, in the order of the calls.
pub(crate) async fn control(broker: Rc<Inner>, request: ControllerRequest) -> ControllerReply {
    let service = broker.controller.as_ref().expect("only shard 0 is asked");
    let _turn = service.turn.acquire(1).await;
    let Decision { outcomes, changes } = decide(&mut service.controller.borrow_mut(), request);
    let mut last = None;
    for change in &changes {
        last = Some(broker.storage.append_metadata(change.encode()));
    }
    // The last one covers all before it.
    if let Some(ticket) = last {
        let early = changes.iter().any(is_answered_early);
        if !early && let Err(error) = broker.storage.durable(ticket).await {
            return ControllerReply::Failed(storage_refusal(&error));
        }
        publish(&broker, service, changes).await;
    }
    outcomes
}

/// Whether the bug of this change's kind is planted: it is answered before it is durable.
fn is_answered_early(change: &Change) -> bool {
    planted::is(match change {
        Change::CreateTopic { .. } => Planted::CreateAnsweredEarly,
        Change::DeleteTopic { .. } => Planted::DeleteAnsweredEarly,
        Change::SetPartitions { .. } => Planted::PartitionsAnsweredEarly,
        Change::SetTopicOverrides { .. } | Change::SetBrokerValues { .. } => {
            Planted::ConfigAnsweredEarly
        }
        Change::GrantProducerIds { .. } => Planted::ProducerIdsReused,
    })
}

fn decide(controller: &mut Controller, request: ControllerRequest) -> Decision<ControllerReply> {
    use ControllerReply as Reply;
    match request {
        ControllerRequest::CreateTopics {
            topics,
            validate_only,
        } => controller
            .create_topics(&topics, validate_only, &mut fresh_topic_id)
            .map(Reply::TopicsCreated),
        ControllerRequest::DeleteTopics { keys } => {
            controller.delete_topics(&keys).map(Reply::TopicsDeleted)
        }
        ControllerRequest::CreatePartitions {
            topics,
            validate_only,
        } => controller
            .create_partitions(&topics, validate_only)
            .map(Reply::PartitionsCreated),
        ControllerRequest::AlterConfigs {
            replacements,
            validate_only,
        } => controller
            .alter_configs(&replacements, validate_only)
            .map(Reply::ConfigsAltered),
        ControllerRequest::IncrementalAlterConfigs {
            changes,
            validate_only,
        } => controller
            .incremental_alter_configs(&changes, validate_only)
            .map(Reply::ConfigsAltered),
        ControllerRequest::ProducerIds => controller.grant_producer_ids().map(Reply::ProducerIds),
    }
}

fn fresh_topic_id() -> Uuid {
    Uuid::from_bytes(random_uuid())
}

/// Tells all shards, this one too, and waits until all have taken it over.
async fn publish(broker: &Rc<Inner>, service: &ControllerService, changes: Vec<Change>) {
    if changes
        .iter()
        .all(|change| matches!(change, Change::GrantProducerIds { .. }))
    {
        return;
    }
    let image = Arc::new(service.controller.borrow().state().image().clone());
    let publication = Arc::new(Publication { image, changes });
    let others = (0..broker.shards)
        .map(ShardId)
        .filter(|shard| *shard != broker.shard);
    let told = others.map(|shard| broker.call(shard, ShardRequest::Publish(publication.clone())));
    let own = broker.take_over(publication.clone());
    // A shard that is gone is going down, and with it the process.
    let _ = futures_util::join!(own, join_all(told));
}
