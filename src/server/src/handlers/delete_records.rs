//! DeleteRecords: moves log starts up.

use tailwater_broker::code_of;
use tailwater_broker::offsets::DeleteRecords;
use tailwater_wire::Response;
use tailwater_wire::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use tailwater_wire::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::common::milliseconds;
use crate::shard::Shard;

/// Kafka's `INVALID_LOW_WATERMARK`.
const NO_LOW_WATERMARK: i64 = -1;

pub(crate) async fn handle(shard: &Shard, request: DeleteRecordsRequest) -> Response {
    let image = shard.broker.image();
    let parts = request.topics.iter().flat_map(|topic| {
        let found = image.resolve_name(&topic.name);
        topic.partitions.iter().map(move |partition| DeleteRecords {
            topic: found,
            partition: partition.partition_index,
            offset: partition.offset,
        })
    });
    let parts = parts.collect();
    let outcomes = shard
        .broker
        .delete_records(parts, milliseconds(request.timeout_ms))
        .await;
    let mut outcomes = outcomes.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let outcome = outcomes.next().expect("the broker answers each part");
            DeleteRecordsPartitionResult::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code_of(&outcome))
                .with_low_watermark(outcome.unwrap_or(NO_LOW_WATERMARK))
        });
        DeleteRecordsTopicResult::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name)
    });
    Response::DeleteRecords(DeleteRecordsResponse::default().with_topics(topics.collect()))
}
