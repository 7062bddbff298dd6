//! Topics: the image that every shard holds, and the controller on shard 0 that changes it.

mod change;
mod controller;
mod image;
mod service;
mod state;
mod topic_name;
mod topic_ref;

use crate::BrokerError;
use crate::config::ConfigEntry;
use std::sync::Arc;
use uuid::Uuid;

pub(crate) use change::Change;
pub(crate) use controller::{
    Controller, PRODUCER_ID_BLOCK, broker_scope, unexpected_broker_id, unknown_resource,
};
pub use image::{MetadataImage, Topic};
pub(crate) use service::{
    ControllerReply, ControllerRequest, ControllerService, Publication, control,
};
pub use state::MetadataState;
pub use topic_name::check_topic_name;
pub use topic_ref::{TopicKey, TopicTarget};

/// The topic of the groups and their offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// CreateTopics of one topic.
#[derive(Clone, Debug)]
pub struct CreateTopic {
    /// Its name.
    pub name: String,
    /// -1 for `num.partitions`, and with `assignments`.
    pub num_partitions: i32,
    /// -1 for the default, and with `assignments`.
    pub replication_factor: i16,
    /// Partition and its brokers; empty when not assigned by hand.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Overrides.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic just created, or that would have been (`validate_only`: its id is zero).
#[derive(Clone, Debug)]
pub struct CreatedTopic {
    /// Its id.
    pub id: Uuid,
    /// How many partitions it has.
    pub partitions: i32,
    /// Always 1.
    pub replication_factor: i16,
    /// All its configurations, without synonyms or documentation.
    pub configs: Vec<ConfigEntry>,
}

/// The outcome for one topic of CreateTopics, in the request's order.
pub type CreateTopicOutcome = (String, Result<CreatedTopic, BrokerError>);

/// The outcome for one topic of DeleteTopics, in the request's order.
#[derive(Clone, Debug)]
pub struct DeletedTopic {
    /// As asked.
    pub key: TopicKey,
    /// Its name, when known.
    pub name: Option<Arc<str>>,
    /// Its id, when known.
    pub id: Option<Uuid>,
    /// Whether it is gone.
    pub result: Result<(), BrokerError>,
}

/// CreatePartitions of one topic.
#[derive(Clone, Debug)]
pub struct CreatePartitions {
    /// The topic's name.
    pub name: String,
    /// How many it shall have.
    pub count: i32,
    /// The brokers of each new partition, when assigned by hand.
    pub assignments: Option<Vec<Vec<i32>>>,
}
