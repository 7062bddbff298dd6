//! `__consumer_offsets`: made when the first client looks for a coordinator.

use std::rc::Rc;
use std::time::Duration;

use crate::admin::create_topics;
use crate::broker::Inner;
use crate::metadata::{CreateTopic, OFFSETS_TOPIC};
use crate::{BrokerError, BrokerSettings};

/// How long the one who looks waits for it.
const CREATE_WAIT_MAX: Duration = Duration::from_secs(30);

/// What the topic is made with. Nothing of it is deleted for its age: an old offset counts.
const CONFIGS: [(&str, &str); 2] = [("compression.type", "producer"), ("retention.ms", "-1")];

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
    if broker.image().topic(OFFSETS_TOPIC).is_some() {
        return Ok(());
    }
    let topic = offsets_topic(&broker.settings());
    let mut outcomes = create_topics(broker, vec![topic], false, CREATE_WAIT_MAX).await;
    match outcomes.pop() {
        Some((_, Ok(_) | Err(BrokerError::TopicAlreadyExists(_)))) => Ok(()),
        Some((_, Err(error))) => Err(error),
        None => unreachable!("each topic has an outcome"),
    }
}
