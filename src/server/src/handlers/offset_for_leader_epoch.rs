//! OffsetForLeaderEpoch: where a leader epoch ends.

use tailwater_broker::code_of;
use tailwater_broker::offsets::EpochQuery;
use tailwater_wire::Response;
use tailwater_wire::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use tailwater_wire::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::shard::Shard;

pub(crate) async fn handle(shard: &Shard, request: OffsetForLeaderEpochRequest) -> Response {
    let image = shard.broker.image();
    let queries = request.topics.iter().flat_map(|topic| {
        let found = image.resolve_name(&topic.topic);
        topic.partitions.iter().map(move |partition| EpochQuery {
            topic: found,
            partition: partition.partition,
            current_leader_epoch: partition.current_leader_epoch,
            leader_epoch: partition.leader_epoch,
        })
    });
    let outcomes = shard.broker.epoch_ends(queries.collect()).await;
    let mut outcomes = outcomes.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let outcome = outcomes.next().expect("the broker answers each query");
            let answer = EpochEndOffset::default()
                .with_partition(partition.partition)
                .with_error_code(code_of(&outcome));
            match outcome {
                Ok(end) => answer
                    .with_leader_epoch(end.leader_epoch)
                    .with_end_offset(end.end_offset),
                Err(_) => answer,
            }
        });
        OffsetForLeaderTopicResult::default()
            .with_partitions(partitions.collect())
            .with_topic(topic.topic)
    });
    Response::OffsetForLeaderEpoch(
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect()),
    )
}
