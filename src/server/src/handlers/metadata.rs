//! Metadata: topics by name or id, and the one broker. Unknown topics may come to be by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tailwater_broker::error_code::{
    INVALID_REQUEST, INVALID_TOPIC_EXCEPTION, NONE, UNKNOWN_SERVER_ERROR, UNKNOWN_TOPIC_ID,
    UNKNOWN_TOPIC_OR_PARTITION,
};
use tailwater_broker::metadata::{Topic, check_topic_name};
use tailwater_wire::messages::metadata_request::MetadataRequestTopic;
use tailwater_wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use tailwater_wire::messages::{MetadataRequest, MetadataResponse, TopicName};
use tailwater_wire::{Response, StrBytes};
use uuid::Uuid;

use super::common::{
    CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS, broker_id, leader, topic_name,
};
use crate::identity::Node;
use crate::router::RequestContext;
use crate::shard::Shard;

/// Version 0 cannot say null: its empty list means all topics.
const EMPTY_IS_ALL_BEFORE: i16 = 1;
/// From here on requests have ids, which mean something only from [`IDS_WORK_FROM`] on.
const IDS_STAND_FROM: i16 = 10;
const IDS_WORK_FROM: i16 = 12;

/// What a request asks for.
enum Wanted {
    All,
    Names(BTreeSet<StrBytes>),
    Ids(BTreeSet<Uuid>),
}

pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: MetadataRequest,
) -> Response {
    let version = context.header.version;
    let wanted = match wanted(version, request.topics.as_deref()) {
        Ok(wanted) => wanted,
        Err(error_code) => return Response::Metadata(refused(request, error_code)),
    };
    let operations = if request.include_topic_authorized_operations {
        TOPIC_OPERATIONS
    } else {
        OPERATIONS_NOT_ASKED
    };
    let topics = match wanted {
        Wanted::All => {
            let image = shard.broker.image();
            image
                .topics()
                .map(|topic| known(shard, topic, operations))
                .collect()
        }
        Wanted::Ids(ids) => by_id(shard, &ids, operations),
        Wanted::Names(names) => {
            by_name(shard, &names, request.allow_auto_topic_creation, operations).await
        }
    };
    let identity = &shard.identity;
    let brokers = identity.nodes().iter().map(broker);
    let cluster_operations = if request.include_cluster_authorized_operations {
        CLUSTER_OPERATIONS
    } else {
        OPERATIONS_NOT_ASKED
    };
    Response::Metadata(
        MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_cluster_id(Some(identity.cluster_id.clone()))
            .with_controller_id(broker_id(identity.controller()))
            .with_topics(topics)
            .with_cluster_authorized_operations(cluster_operations),
    )
}

/// Whether a request may make topics: then it waits for them to be durable.
pub(crate) fn creates(shard: &Shard, request: &MetadataRequest) -> bool {
    let image = shard.broker.image();
    let missing = |topic: &MetadataRequestTopic| {
        topic
            .name
            .as_ref()
            .is_some_and(|name| image.topic(name).is_none())
    };
    request.allow_auto_topic_creation && request.topics.iter().flatten().any(missing)
}

/// Reads what is asked for; an error is of the whole request.
fn wanted(version: i16, topics: Option<&[MetadataRequestTopic]>) -> Result<Wanted, i16> {
    let topics = match topics {
        None => return Ok(Wanted::All),
        Some([]) if version < EMPTY_IS_ALL_BEFORE => return Ok(Wanted::All),
        Some(topics) => topics,
    };
    let ids: BTreeSet<Uuid> = topics
        .iter()
        .map(|topic| topic.topic_id)
        .filter(|id| !id.is_nil())
        .collect();
    let nameless = topics.iter().any(|topic| topic.name.is_none());
    if (IDS_STAND_FROM..IDS_WORK_FROM).contains(&version) && (nameless || !ids.is_empty()) {
        return Err(INVALID_REQUEST);
    }
    if !ids.is_empty() {
        return Ok(Wanted::Ids(ids));
    }
    if nameless {
        // Neither a name nor an id.
        return Err(UNKNOWN_SERVER_ERROR);
    }
    let names = topics
        .iter()
        .filter_map(|topic| topic.name.as_ref())
        .map(|name| name.0.clone());
    Ok(Wanted::Names(names.collect()))
}

fn refused(request: MetadataRequest, error_code: i16) -> MetadataResponse {
    let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
        MetadataResponseTopic::default()
            .with_error_code(error_code)
            .with_name(Some(topic.name.unwrap_or_default()))
            .with_topic_id(topic.topic_id)
    });
    let response = MetadataResponse::default().with_topics(topics.collect());
    response.with_error_code(error_code)
}

fn by_id(shard: &Shard, ids: &BTreeSet<Uuid>, operations: i32) -> Vec<MetadataResponseTopic> {
    let image = shard.broker.image();
    let answer = |id: &Uuid| match image.topic_by_id(*id) {
        Some(topic) => known(shard, topic, operations),
        None => MetadataResponseTopic::default()
            .with_error_code(UNKNOWN_TOPIC_ID)
            .with_name(None)
            .with_topic_id(*id),
    };
    ids.iter().map(answer).collect()
}

async fn by_name(
    shard: &Shard,
    names: &BTreeSet<StrBytes>,
    may_create: bool,
    operations: i32,
) -> Vec<MetadataResponseTopic> {
    let mut image = shard.broker.image();
    let missing: Vec<Arc<str>> = names
        .iter()
        .filter(|name| image.topic(name).is_none())
        .map(|name| Arc::from(&**name))
        .collect();
    let mut refusals = BTreeMap::new();
    if may_create && !missing.is_empty() {
        let created = shard.broker.auto_create_topics(missing).await;
        refusals.extend(
            created
                .into_iter()
                .filter_map(|(name, r)| Some((name, r.err()?.code()))),
        );
        image = shard.broker.image();
    }
    let answer = |name: &StrBytes| match image.topic(name) {
        Some(topic) => known(shard, topic, operations),
        None => {
            let refusal = refusals.get(&**name).copied();
            MetadataResponseTopic::default()
                .with_error_code(refusal.unwrap_or_else(|| unknown_code(name)))
                .with_name(Some(TopicName::from(name.clone())))
                .with_topic_authorized_operations(operations)
        }
    };
    names.iter().map(answer).collect()
}

/// What an unknown name is: one that could be a topic's, or not.
pub(super) fn unknown_code(name: &str) -> i16 {
    if check_topic_name(name).is_ok() {
        UNKNOWN_TOPIC_OR_PARTITION
    } else {
        INVALID_TOPIC_EXCEPTION
    }
}

fn broker(node: &Node) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(broker_id(node))
        .with_host(node.host.clone())
        .with_port(i32::from(node.port))
}

fn known(shard: &Shard, topic: &Topic, operations: i32) -> MetadataResponseTopic {
    let leader_epoch = shard.broker.leader_epoch(topic);
    let partition = |index| {
        let leader = broker_id(leader(shard, topic, index));
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(leader)
            .with_leader_epoch(leader_epoch)
            .with_replica_nodes(vec![leader])
            .with_isr_nodes(vec![leader])
    };
    MetadataResponseTopic::default()
        .with_error_code(NONE)
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic.id)
        .with_is_internal(topic.is_internal())
        .with_partitions((0..topic.partitions).map(partition).collect())
        .with_topic_authorized_operations(operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: Option<&str>, id: Uuid) -> MetadataRequestTopic {
        let name = name.map(topic_name);
        MetadataRequestTopic::default()
            .with_name(name)
            .with_topic_id(id)
    }

    #[test]
    fn an_empty_list_is_all_topics_only_in_version_0() {
        assert!(matches!(wanted(0, Some(&[])), Ok(Wanted::All)));
        assert!(matches!(wanted(1, Some(&[])), Ok(Wanted::Names(names)) if names.is_empty()));
        assert!(matches!(wanted(13, Some(&[])), Ok(Wanted::Names(names)) if names.is_empty()));
        assert!(matches!(wanted(13, None), Ok(Wanted::All)));
    }

    #[test]
    fn ids_count_from_version_12_on_and_win_over_names() {
        let id = Uuid::from_u128(7);
        let by_id = [topic(Some("t"), id)];
        assert!(matches!(wanted(10, Some(&by_id)), Err(INVALID_REQUEST)));
        assert!(matches!(wanted(11, Some(&by_id)), Err(INVALID_REQUEST)));
        assert!(matches!(wanted(12, Some(&by_id)), Ok(Wanted::Ids(ids)) if ids.contains(&id)));
    }

    #[test]
    fn neither_name_nor_id_is_an_error_of_the_request() {
        let neither = [topic(None, Uuid::nil())];
        assert!(matches!(wanted(10, Some(&neither)), Err(INVALID_REQUEST)));
        assert!(matches!(
            wanted(13, Some(&neither)),
            Err(UNKNOWN_SERVER_ERROR)
        ));
    }
}
