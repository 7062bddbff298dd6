//! CreatePartitions.

use tailwater_broker::metadata::CreatePartitions;
use tailwater_broker::{BrokerError, code_of};
use tailwater_wire::Response;
use tailwater_wire::messages::create_partitions_request::CreatePartitionsTopic;
use tailwater_wire::messages::create_partitions_response::CreatePartitionsTopicResult;
use tailwater_wire::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::common::{message, milliseconds, topic_name};
use crate::shard::Shard;

pub(crate) async fn handle(shard: &Shard, request: CreatePartitionsRequest) -> Response {
    let topics = request.topics.into_iter().map(translate).collect();
    let timeout = milliseconds(request.timeout_ms);
    let outcomes = shard
        .broker
        .create_partitions(topics, request.validate_only, timeout)
        .await;
    let results = outcomes.into_iter().map(|(name, result)| {
        CreatePartitionsTopicResult::default()
            .with_name(topic_name(&name))
            .with_error_code(code_of(&result))
            .with_error_message(match result {
                // Kafka says nothing more of an unknown topic.
                Err(BrokerError::UnknownTopicOrPartition) => None,
                _ => message(&result),
            })
    });
    Response::CreatePartitions(CreatePartitionsResponse::default().with_results(results.collect()))
}

fn translate(topic: CreatePartitionsTopic) -> CreatePartitions {
    CreatePartitions {
        name: topic.name.to_string(),
        count: topic.count,
        assignments: topic.assignments.map(|assignments| {
            let brokers = assignments.into_iter().map(|a| a.broker_ids);
            brokers
                .map(|ids| ids.into_iter().map(|id| id.0).collect())
                .collect()
        }),
    }
}
