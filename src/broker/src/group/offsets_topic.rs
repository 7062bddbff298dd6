//! `__consumer_offsets`: made when the first client looks for a coordinator.

use std::rc::Rc;
use std::time::Duration;

use crate::admin::{create_topics, incremental_alter_configs};
use crate::broker::Inner;
use crate::config::{ConfigChange, ConfigResource, DELETE, ResourceKind, SET};
use crate::metadata::{CreateTopic, OFFSETS_TOPIC, Topic};
use crate::{BrokerError, BrokerSettings};

/// How long the one who looks waits for it.
const CREATE_WAIT_MAX: Duration = Duration::from_secs(30);

/// What the topic is made with, as Kafka makes it: only what was superseded goes, for an old offset
/// counts.
const CONFIGS: [(&str, &str); 2] = [("compression.type", "producer"), POLICY];
const POLICY: (&str, &str) = ("cleanup.policy", "compact");
/// What stood in for it before there was compaction.
const FOR_EVER: (&str, &str) = ("retention.ms", "-1");

/// The topic as the broker makes it.
pub(crate) fn offsets_topic(settings: &BrokerSettings) -> CreateTopic {
    let segment_bytes = settings.value("offsets.topic.segment.bytes");
    let configs = CONFIGS.into_iter().map(|(name, value)| (name, Some(value)));
    let configs = configs.chain([("segment.bytes", segment_bytes)]);
    CreateTopic {
        name: OFFSETS_TOPIC.to_owned(),
        num_partitions: settings.offsets_topic_partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: configs
            .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
            .collect(),
    }
}

/// Makes the topic if it is not there; when this returns, every shard knows it.
pub(crate) async fn ensure_offsets_topic(broker: &Rc<Inner>) -> Result<(), BrokerError> {
    if let Some(topic) = broker.image().topic(OFFSETS_TOPIC).cloned() {
        return ensure_policy(broker, &topic).await;
    }
    let topic = offsets_topic(&broker.settings());
    let mut outcomes = create_topics(broker, vec![topic], false, CREATE_WAIT_MAX).await;
    match outcomes.pop() {
        Some((_, Ok(_) | Err(BrokerError::TopicAlreadyExists(_)))) => Ok(()),
        Some((_, Err(error))) => Err(error),
        None => unreachable!("each topic has an outcome"),
    }
}

/// A topic of a version that could not compact kept everything: from now on it is compacted. One
/// whose policy somebody has set is left alone.
async fn ensure_policy(broker: &Rc<Inner>, topic: &Topic) -> Result<(), BrokerError> {
    let has = |(name, value): (&str, &str)| topic.overrides.get(name).is_some_and(|v| v == value);
    if topic.overrides.contains_key(POLICY.0) || !has(FOR_EVER) {
        return Ok(());
    }
    let change = ConfigChange {
        resource: ConfigResource {
            kind: ResourceKind::Topic,
            name: OFFSETS_TOPIC.to_owned(),
        },
        operations: vec![
            (POLICY.0.to_owned(), SET, Some(POLICY.1.to_owned())),
            (FOR_EVER.0.to_owned(), DELETE, None),
        ],
    };
    let mut outcomes = incremental_alter_configs(broker, vec![change], false).await;
    match outcomes.pop() {
        Some((_, outcome)) => outcome,
        None => unreachable!("each resource has an outcome"),
    }
}
