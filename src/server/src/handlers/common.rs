//! What several handlers say in the same way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tailwater_broker::BrokerError;
use tailwater_broker::metadata::{MetadataImage, TopicKey, TopicTarget};
use tailwater_broker::offsets::Isolation;
use tailwater_wire::messages::{BrokerId, TopicName};
use tailwater_wire::produce::CurrentLeader;
use tailwater_wire::{NodeEndpoint, StrBytes, TopicRef};

use crate::identity::Identity;

/// What a broker without an authorizer says when asked what may be done with a topic: READ, WRITE,
/// CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS, by Kafka's bits.
pub(super) const TOPIC_OPERATIONS: i32 = 0x0df8;

/// The same of the cluster: CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS,
/// ALTER_CONFIGS and IDEMPOTENT_WRITE.
pub(super) const CLUSTER_OPERATIONS: i32 = 0x1fa0;

/// What stands in these fields when nobody asked.
pub(super) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// A request's timeout; a negative one is over at once.
pub(super) fn milliseconds(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// A text of ours for an answer.
pub(super) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from(text.into())
}

/// A topic's name for an answer.
pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName::from(text(name))
}

/// The error message of an answer, `None` where there is no error.
pub(super) fn message<T>(result: &Result<T, BrokerError>) -> Option<StrBytes> {
    result.as_ref().err().map(|error| text(error.to_string()))
}

/// Looks up a topic as the request names it.
pub(super) fn target(image: &MetadataImage, topic: &TopicRef) -> TopicTarget {
    match topic {
        TopicRef::Name(name) => image.resolve_name(name),
        TopicRef::Id(id) => image.resolve_id(*id),
    }
}

/// A topic as a fetch session keeps it.
pub(super) fn topic_key(topic: &TopicRef) -> TopicKey {
    match topic {
        TopicRef::Name(name) => TopicKey::Name(Arc::from(&**name)),
        TopicRef::Id(id) => TopicKey::Id(*id),
    }
}

/// The topic as an answer names it.
pub(super) fn topic_ref(key: &TopicKey) -> TopicRef {
    match key {
        TopicKey::Name(name) => TopicRef::Name(text(&**name)),
        TopicKey::Id(id) => TopicRef::Id(*id),
    }
}

/// Kafka's isolation levels. Anything but 1 reads all that is visible.
pub(super) fn isolation(level: i8) -> Isolation {
    if level == 1 {
        Isolation::ReadCommitted
    } else {
        Isolation::ReadUncommitted
    }
}

/// This broker, as a list of brokers names it.
pub(super) fn broker_id(identity: &Identity) -> BrokerId {
    BrokerId::from(identity.node_id)
}

/// Who leads, told to clients that asked the wrong one or with a wrong epoch (KIP-951).
pub(super) fn current_leader(identity: &Identity, leader_epoch: i32) -> CurrentLeader {
    CurrentLeader {
        leader_id: identity.node_id,
        leader_epoch,
    }
}

/// Where that leader is.
pub(super) fn endpoint(identity: &Identity) -> NodeEndpoint {
    NodeEndpoint {
        node_id: identity.node_id,
        host: identity.host.clone(),
        port: i32::from(identity.port),
        rack: None,
    }
}

/// Those that occur more than once.
pub(super) fn duplicates<T: Ord + Clone>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| !seen.insert(item.clone())).collect()
}
