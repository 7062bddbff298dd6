//! OffsetCommit: by name, and from version 10 on by id.

use std::sync::Arc;

use tailwater_broker::metadata::MetadataImage;
use tailwater_group::{CommitOffsets, GroupError, OffsetToCommit, Reply, Request, TopicRef};
use tailwater_wire::Response;
use tailwater_wire::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use tailwater_wire::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use tailwater_wire::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::groups::{ask, code_of, foreign, owned, owned_option};
use crate::router::RequestContext;
use crate::shard::Shard;

/// From this version on topics are named by their ids.
const IDS_FROM: i16 = 10;
/// From this version on a group that is not there is called so.
const NOT_FOUND_FROM: i16 = 9;
/// From this version on members of the new protocol may commit.
const EPOCHS_FROM: i16 = 9;
/// The last version in which a client says how long to keep offsets.
const RETENTION_UPTO: i16 = 4;

pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: OffsetCommitRequest,
) -> Response {
    let version = context.header.version;
    let image = shard.broker.image();
    let mut offsets = Vec::new();
    let mut refusals: Vec<Option<GroupError>> = Vec::new();
    for topic in &request.topics {
        let name = name_of(&image, version, topic);
        for partition in &topic.partitions {
            match check(&image, &name, partition.partition_index) {
                Ok(name) => {
                    offsets.push(offset(name.clone(), partition));
                    refusals.push(None);
                }
                Err(error) => refusals.push(Some(error)),
            }
        }
    }
    let retention_ms = (version <= RETENTION_UPTO && request.retention_time_ms >= 0)
        .then_some(request.retention_time_ms);
    let group = owned(&request.group_id);
    let commit = CommitOffsets {
        group: group.clone(),
        generation_or_epoch: request.generation_id_or_member_epoch,
        member: owned(&request.member_id),
        instance: owned_option(request.group_instance_id.as_ref()),
        retention_ms,
        knows_epochs: version >= EPOCHS_FROM,
        offsets,
    };
    let mut results = committed(shard, group, commit).await.into_iter();
    let mut next = move |refusal: Option<GroupError>| match refusal {
        Some(error) => Err(error),
        None => results.next().expect("the coordinator answers each offset"),
    };
    let known = |result: Result<(), GroupError>| match result {
        Err(GroupError::GroupIdNotFound(_)) if version < NOT_FOUND_FROM => {
            Err(GroupError::IllegalGeneration)
        }
        result => result,
    };
    let results = refusals
        .into_iter()
        .map(|refusal| known(next(refusal)))
        .collect();
    answer(request.topics, results)
}

/// Asks the coordinator, if anything is left to ask it.
async fn committed(
    shard: &Shard,
    group: Arc<str>,
    commit: CommitOffsets,
) -> Vec<Result<(), GroupError>> {
    let count = commit.offsets.len();
    if count == 0 {
        return Vec::new();
    }
    match ask(shard, group, Request::Commit(commit)).await {
        Ok(Reply::Committed(results)) => results,
        Ok(other) => foreign(&other),
        Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
    }
}

fn name_of(
    image: &MetadataImage,
    version: i16,
    topic: &OffsetCommitRequestTopic,
) -> Result<Arc<str>, GroupError> {
    if version < IDS_FROM {
        return Ok(owned(&topic.name));
    }
    let found = image.topic_by_id(topic.topic_id);
    let name = found.map(|topic| topic.name.clone());
    name.ok_or(GroupError::UnknownTopicId)
}

/// The topic, if it has that partition.
fn check<'a>(
    image: &MetadataImage,
    name: &'a Result<Arc<str>, GroupError>,
    partition: i32,
) -> Result<&'a Arc<str>, GroupError> {
    let name = name.as_ref().map_err(Clone::clone)?;
    let has = image.topic(name).map_or(0, |topic| topic.partitions);
    if (0..has).contains(&partition) {
        Ok(name)
    } else {
        Err(GroupError::UnknownTopicOrPartition)
    }
}

fn offset(topic: Arc<str>, partition: &OffsetCommitRequestPartition) -> OffsetToCommit {
    OffsetToCommit {
        topic: TopicRef::Name(topic),
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: owned_option(partition.committed_metadata.as_ref()),
    }
}

fn answer(topics: Vec<OffsetCommitRequestTopic>, results: Vec<Result<(), GroupError>>) -> Response {
    let mut results = results.iter();
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let result = results.next().expect("each partition has a result");
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code_of(result))
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions)
    });
    Response::OffsetCommit(OffsetCommitResponse::default().with_topics(topics.collect()))
}
