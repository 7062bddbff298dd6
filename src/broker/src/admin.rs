//! Administrative requests: what is asked of the controller, and how its answers come back.

use crate::BrokerError;
use crate::broker::Inner;
use crate::config::{
    ConfigChange, ConfigEntry, ConfigOutcome, ConfigQuery, ConfigReplacement, ConfigResource,
    ConfigSource, Listing, ResourceKind, broker_entries, topic_entries,
};
use crate::group::offsets_topic;
use crate::metadata::{
    ControllerReply, ControllerRequest, CreatePartitions, CreateTopic, CreateTopicOutcome,
    DeletedTopic, OFFSETS_TOPIC, TopicKey, broker_scope, check_topic_name, unexpected_broker_id,
    unknown_resource,
};
use crate::reach::Reach;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tailwater_shards::timeout;

/// Asks the controller, for no longer than `wait_max`. What it has begun it finishes all the same.
async fn ask(
    broker: &Rc<Inner>,
    request: ControllerRequest,
    wait_max: Duration,
) -> Result<ControllerReply, BrokerError> {
    timeout(wait_max, broker.control(request))
        .await
        .unwrap_or(Err(BrokerError::RequestTimedOut))
}

pub(crate) async fn create_topics(
    broker: &Rc<Inner>,
    topics: Vec<CreateTopic>,
    validate_only: bool,
    wait_max: Duration,
) -> Vec<CreateTopicOutcome> {
    let names: BTreeSet<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    match ask(
        broker,
        ControllerRequest::CreateTopics {
            topics,
            validate_only,
        },
        wait_max,
    )
    .await
    {
        Ok(ControllerReply::TopicsCreated(outcomes)) => outcomes,
        Ok(other) => unreachable!("the reply belongs to the request: {other:?}"),
        Err(error) => names
            .into_iter()
            .map(|name| (name, Err(error.clone())))
            .collect(),
    }
}

/// How long Metadata waits for topics that it creates.
const AUTO_CREATE_WAIT_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn auto_create_topics(
    broker: &Rc<Inner>,
    names: Vec<Arc<str>>,
) -> Vec<(Arc<str>, Result<(), BrokerError>)> {
    let enabled = broker.settings().auto_create_topics;
    let mut refused = BTreeMap::new();
    let mut topics = Vec::new();
    for name in &names {
        if let Err(error) = check_topic_name(name) {
            refused.insert(name.to_string(), error);
        } else if !enabled {
            refused.insert(name.to_string(), BrokerError::UnknownTopicOrPartition);
        } else if !topics
            .iter()
            .any(|topic: &CreateTopic| *topic.name == **name)
        {
            topics.push(if **name == *OFFSETS_TOPIC {
                offsets_topic(&broker.settings())
            } else {
                CreateTopic {
                    name: name.to_string(),
                    num_partitions: -1,
                    replication_factor: -1,
                    assignments: Vec::new(),
                    configs: Vec::new(),
                }
            });
        }
    }
    if !topics.is_empty() {
        for (name, outcome) in create_topics(broker, topics, false, AUTO_CREATE_WAIT_MAX).await {
            match outcome {
                // Another client may have asked at the same time.
                Ok(_) | Err(BrokerError::TopicAlreadyExists(_)) => {}
                Err(error) => {
                    refused.insert(name, error);
                }
            }
        }
    }
    let outcome = |name: Arc<str>| {
        let refusal = refused.get(&*name).cloned();
        (name, refusal.map_or(Ok(()), Err))
    };
    names.into_iter().map(outcome).collect()
}

pub(crate) async fn delete_topics(
    broker: &Rc<Inner>,
    keys: Vec<TopicKey>,
    wait_max: Duration,
) -> Vec<DeletedTopic> {
    let asked: BTreeSet<TopicKey> = keys.iter().cloned().collect();
    match ask(broker, ControllerRequest::DeleteTopics { keys }, wait_max).await {
        Ok(ControllerReply::TopicsDeleted(outcomes)) => outcomes,
        Ok(other) => unreachable!("the reply belongs to the request: {other:?}"),
        Err(error) => asked
            .into_iter()
            .map(|key| not_deleted(key, error.clone()))
            .collect(),
    }
}

fn not_deleted(key: TopicKey, error: BrokerError) -> DeletedTopic {
    let (name, id) = match &key {
        TopicKey::Name(name) => (Some(name.clone()), None),
        TopicKey::Id(id) => (None, Some(*id)),
    };
    DeletedTopic {
        key,
        name,
        id,
        result: Err(error),
    }
}

pub(crate) async fn create_partitions(
    broker: &Rc<Inner>,
    topics: Vec<CreatePartitions>,
    validate_only: bool,
    wait_max: Duration,
) -> Vec<(String, Result<(), BrokerError>)> {
    let names: BTreeSet<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    match ask(
        broker,
        ControllerRequest::CreatePartitions {
            topics,
            validate_only,
        },
        wait_max,
    )
    .await
    {
        Ok(ControllerReply::PartitionsCreated(outcomes)) => outcomes,
        Ok(other) => unreachable!("the reply belongs to the request: {other:?}"),
        Err(error) => names
            .into_iter()
            .map(|name| (name, Err(error.clone())))
            .collect(),
    }
}

pub(crate) async fn alter_configs(
    broker: &Rc<Inner>,
    replacements: Vec<ConfigReplacement>,
    validate_only: bool,
) -> Vec<ConfigOutcome> {
    let resources = replacements
        .iter()
        .map(|one| one.resource.clone())
        .collect();
    let request = ControllerRequest::AlterConfigs {
        replacements,
        validate_only,
    };
    configs_altered(broker.control(request).await, resources)
}

pub(crate) async fn incremental_alter_configs(
    broker: &Rc<Inner>,
    changes: Vec<ConfigChange>,
    validate_only: bool,
) -> Vec<ConfigOutcome> {
    let resources = changes.iter().map(|one| one.resource.clone()).collect();
    let request = ControllerRequest::IncrementalAlterConfigs {
        changes,
        validate_only,
    };
    configs_altered(broker.control(request).await, resources)
}

fn configs_altered(
    reply: Result<ControllerReply, BrokerError>,
    resources: BTreeSet<ConfigResource>,
) -> Vec<ConfigOutcome> {
    match reply {
        Ok(ControllerReply::ConfigsAltered(outcomes)) => outcomes,
        Ok(other) => unreachable!("the reply belongs to the request: {other:?}"),
        Err(error) => resources
            .into_iter()
            .map(|resource| (resource, Err(error.clone())))
            .collect(),
    }
}

/// What one resource has.
type Described = (ConfigResource, Result<Vec<ConfigEntry>, BrokerError>);

pub(crate) fn describe_configs(
    broker: &Inner,
    reach: Reach,
    queries: Vec<ConfigQuery>,
    synonyms: bool,
    documentation: bool,
) -> Vec<Described> {
    let describe = |query: ConfigQuery| {
        let listing = Listing {
            names: query.names.as_deref(),
            synonyms,
            documentation,
        };
        let entries = entries_of(broker, reach, &query.resource, listing);
        (query.resource, entries)
    };
    queries.into_iter().map(describe).collect()
}

fn entries_of(
    broker: &Inner,
    reach: Reach,
    resource: &ConfigResource,
    listing: Listing<'_>,
) -> Result<Vec<ConfigEntry>, BrokerError> {
    let image = broker.image();
    match resource.kind {
        ResourceKind::Topic => {
            check_topic_name(&resource.name)?;
            let topic = image
                .topic(&resource.name)
                .ok_or(BrokerError::UnknownTopicOrPartition)?;
            Ok(topic_entries(image.settings(), &topic.overrides, listing))
        }
        ResourceKind::Broker => {
            let scope = broker_scope(&resource.name, &broker.nodes)?;
            let entries = broker_entries(image.settings(), scope, listing);
            match resource.name.parse() {
                Ok(id) => of_node(broker, reach, id, entries),
                Err(_) => Ok(entries),
            }
        }
        ResourceKind::Other(number) => Err(unknown_resource(number)),
    }
}

/// The configurations of the broker with that id: the process's, but for what each shard has of its
/// own. On its own port a shard tells of itself only, as each of Kafka's brokers does.
fn of_node(
    broker: &Inner,
    reach: Reach,
    id: i32,
    mut entries: Vec<ConfigEntry>,
) -> Result<Vec<ConfigEntry>, BrokerError> {
    let own = broker.nodes.id(broker.shard);
    if reach == Reach::Own && id != own {
        return Err(unexpected_broker_id(&own.to_string(), &id.to_string()));
    }
    for (name, value) in broker.nodes.configs(id) {
        for entry in entries.iter_mut().filter(|entry| entry.name == *name) {
            entry.value = Some(value.clone());
            for (_, synonym, source) in &mut entry.synonyms {
                if *source == ConfigSource::StaticBroker {
                    *synonym = Some(value.clone());
                }
            }
        }
    }
    Ok(entries)
}
