//! OffsetDelete: forgets offsets of a group that nobody is subscribed to.

use tailwater_group::{DeleteOffsets, GroupError, Reply, Request};
use tailwater_wire::Response;
use tailwater_wire::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use tailwater_wire::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::groups::{ask, code_of, foreign, owned};
use crate::shard::Shard;

pub(crate) async fn handle(shard: &Shard, request: OffsetDeleteRequest) -> Response {
    let image = shard.broker.image();
    let known = |name: &str, partition: i32| {
        let has = image.topic(name).map_or(0, |topic| topic.partitions);
        (0..has).contains(&partition)
    };
    let topics: Vec<_> = request
        .topics
        .iter()
        .map(|topic| {
            let indexes = topic.partitions.iter().map(|p| p.partition_index);
            let indexes = indexes.filter(|index| known(&topic.name, *index));
            (owned(&topic.name), indexes.collect::<Vec<i32>>())
        })
        .filter(|(_, indexes)| !indexes.is_empty())
        .collect();
    let results = if topics.is_empty() {
        Ok(Vec::new())
    } else if request.group_id.is_empty() {
        // The nameless group may commit, and no more.
        Err(GroupError::InvalidGroupId)
    } else {
        let group = owned(&request.group_id);
        let delete = DeleteOffsets {
            group: group.clone(),
            topics,
        };
        match ask(shard, group, Request::DeleteOffsets(delete)).await {
            Ok(Reply::OffsetsDeleted(results)) => results,
            Ok(other) => foreign(&other),
            Err(error) => Err(error),
        }
    };
    let mut results = match results {
        Ok(results) => results.into_iter(),
        Err(error) => {
            let response = OffsetDeleteResponse::default().with_error_code(error.code());
            return Response::OffsetDelete(response);
        }
    };
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let result = if known(&topic.name, index) {
                results
                    .next()
                    .expect("the coordinator answers each partition")
            } else {
                Err(GroupError::UnknownTopicOrPartition)
            };
            OffsetDeleteResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code_of(&result))
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    Response::OffsetDelete(OffsetDeleteResponse::default().with_topics(topics.collect()))
}
