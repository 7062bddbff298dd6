//! CreateTopics.

use tailwater_broker::BrokerError;
use tailwater_broker::metadata::{CreateTopic, CreatedTopic};
use tailwater_wire::Response;
use tailwater_wire::messages::create_topics_request::CreatableTopic;
use tailwater_wire::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use tailwater_wire::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::common::{message, milliseconds, text, topic_name};
use crate::router::RequestContext;
use crate::shard::Shard;

/// From this version on the answer describes the topic.
const DESCRIBED_FROM: i16 = 5;

pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: CreateTopicsRequest,
) -> Response {
    let topics = request.topics.into_iter().map(translate).collect();
    let timeout = milliseconds(request.timeout_ms);
    let outcomes = shard
        .broker
        .create_topics(topics, request.validate_only, timeout)
        .await;
    let described = context.header.version >= DESCRIBED_FROM;
    let topics = outcomes
        .into_iter()
        .map(|(name, result)| answer(&name, &result, described));
    Response::CreateTopics(CreateTopicsResponse::default().with_topics(topics.collect()))
}

fn translate(topic: CreatableTopic) -> CreateTopic {
    let assignments = topic.assignments.into_iter().map(|assignment| {
        let brokers = assignment.broker_ids.into_iter().map(|id| id.0).collect();
        (assignment.partition_index, brokers)
    });
    let configs = topic.configs.into_iter();
    CreateTopic {
        name: topic.name.to_string(),
        num_partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: configs
            .map(|c| (c.name.to_string(), c.value.map(|v| v.to_string())))
            .collect(),
    }
}

fn answer(
    name: &str,
    result: &Result<CreatedTopic, BrokerError>,
    described: bool,
) -> CreatableTopicResult {
    let answer = CreatableTopicResult::default()
        .with_name(topic_name(name))
        .with_error_code(tailwater_broker::code_of(result))
        .with_error_message(message(result));
    let Ok(created) = result else { return answer };
    let answer = answer.with_topic_id(created.id);
    if !described {
        return answer;
    }
    let configs = created.configs.iter().map(|entry| {
        CreatableTopicConfigs::default()
            .with_name(text(&*entry.name))
            .with_value(entry.value.as_deref().map(text))
            .with_read_only(entry.read_only)
            .with_config_source(entry.source as i8)
            .with_is_sensitive(entry.sensitive)
    });
    answer
        .with_num_partitions(created.partitions)
        .with_replication_factor(created.replication_factor)
        .with_configs(Some(configs.collect()))
}
