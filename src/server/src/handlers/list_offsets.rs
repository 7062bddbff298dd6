//! ListOffsets: earliest, latest, by time, and the largest timestamp.

use std::collections::BTreeSet;

use tailwater_broker::BrokerError;
use tailwater_broker::offsets::{OffsetFound, OffsetQuery};
use tailwater_wire::Response;
use tailwater_wire::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use tailwater_wire::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::common::{duplicates, isolation};
use crate::router::RequestContext;
use crate::shard::Shard;

/// What stands for "nothing" in an offset or a timestamp.
const NONE: i64 = -1;

pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: ListOffsetsRequest,
) -> Response {
    let image = shard.broker.image();
    let wanted = || {
        request
            .topics
            .iter()
            .flat_map(|t| t.partitions.iter().map(move |p| (t, p)))
    };
    let twice: BTreeSet<_> =
        duplicates(wanted().map(|(t, p)| (t.name.as_bytes(), p.partition_index)));
    let mut queries = Vec::new();
    let mut verdicts = Vec::new();
    for (topic, partition) in wanted() {
        if twice.contains(&(topic.name.as_bytes(), partition.partition_index)) {
            let error = "A partition stands in the request more than once.".to_owned();
            verdicts.push(Some(BrokerError::InvalidRequest(error)));
            continue;
        }
        if context.header.version < first_version_of(partition.timestamp) {
            let error = "This timestamp needs a later version of ListOffsets.".to_owned();
            verdicts.push(Some(BrokerError::UnsupportedVersion(error)));
            continue;
        }
        verdicts.push(None);
        queries.push(OffsetQuery {
            topic: image.resolve_name(&topic.name),
            partition: partition.partition_index,
            current_leader_epoch: partition.current_leader_epoch,
            timestamp: partition.timestamp,
        });
    }
    let answers = shard
        .broker
        .list_offsets(isolation(request.isolation_level), queries)
        .await;
    let mut answers = answers.into_iter();
    let mut verdicts = verdicts.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let result = match verdicts.next().expect("one for each partition") {
                Some(error) => Err(error),
                None => answers.next().expect("the broker answers each query"),
            };
            partition_response(partition.partition_index, result)
        });
        ListOffsetsTopicResponse::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name)
    });
    Response::ListOffsets(ListOffsetsResponse::default().with_topics(topics.collect()))
}

fn partition_response(
    index: i32,
    result: Result<OffsetFound, BrokerError>,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
    match result {
        Ok(found) => response
            .with_timestamp(found.timestamp)
            .with_offset(found.offset)
            .with_leader_epoch(found.leader_epoch),
        Err(error) => response
            .with_error_code(error.code())
            .with_timestamp(NONE)
            .with_offset(NONE),
    }
}

/// The version from which on a client may ask for a timestamp with a meaning of its own.
fn first_version_of(timestamp: i64) -> i16 {
    match timestamp {
        -3 => 7,
        -4 => 8,
        -5 => 9,
        -6 => 11,
        // No version gives these a meaning.
        ..-6 => i16::MAX,
        _ => 1,
    }
}
