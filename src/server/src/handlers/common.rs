//! What several handlers say in the same way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tailwater_broker::BrokerError;
use tailwater_broker::metadata::{MetadataImage, Topic, TopicKey, TopicTarget};
use tailwater_broker::offsets::Isolation;
use tailwater_wire::messages::{BrokerId, TopicName};
use tailwater_wire::produce::CurrentLeader;
use tailwater_wire::{NodeEndpoint, StrBytes, TopicRef};

use crate::identity::{Identity, Node};
use crate::shard::Shard;

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

/// A broker, as a list of brokers names it.
pub(super) fn broker_id(node: &Node) -> BrokerId {
    BrokerId::from(node.id)
}

/// The broker that leads a partition, and is all of its replicas.
pub(super) fn leader<'a>(shard: &'a Shard, topic: &Topic, partition: i32) -> &'a Node {
    shard
        .identity
        .of_shard(shard.broker.owner(topic, partition))
}

/// Who leads, told to clients that asked the wrong one or with a wrong epoch (KIP-951).
pub(super) fn current_leader(shard: &Shard, topic: &Topic, partition: i32) -> CurrentLeader {
    CurrentLeader {
        leader_id: leader(shard, topic, partition).id,
        leader_epoch: shard.broker.leader_epoch(topic),
    }
}

/// Where the leaders are that an answer names, each once.
pub(super) fn endpoints<'a>(
    identity: &Identity,
    named: impl Iterator<Item = &'a CurrentLeader>,
) -> Vec<NodeEndpoint> {
    let named: BTreeSet<i32> = named.map(|leader| leader.leader_id).collect();
    let nodes = identity.nodes().iter();
    nodes
        .filter(|node| named.contains(&node.id))
        .map(|node| NodeEndpoint {
            node_id: node.id,
            host: node.host.clone(),
            port: i32::from(node.port),
            rack: None,
        })
        .collect()
}

/// Those that occur more than once.
pub(super) fn duplicates<T: Ord + Clone>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| !seen.insert(item.clone())).collect()
}
