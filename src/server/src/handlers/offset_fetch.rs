//! OffsetFetch: of one group before version 8, of several from then on; topics are named by their
//! ids from version 10 on.

use std::collections::BTreeMap;
use std::sync::Arc;

use tailwater_group::{
    FetchOffsets, FetchedOffset, FetchedOffsets, GroupError, Reply, Request, TopicRef,
    WantedOffsets,
};
use tailwater_wire::Response;
use tailwater_wire::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use tailwater_wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use tailwater_wire::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use uuid::Uuid;

use super::groups::{foreign, names, owned, owned_option, shown_option};
use crate::router::RequestContext;
use crate::shard::Shard;

/// From this version on an answer has an error of its own.
const GROUP_ERROR_FROM: i16 = 2;
/// From this version on a request asks for several groups.
const BATCHED_FROM: i16 = 8;
/// From this version on topics are named by their ids.
const IDS_FROM: i16 = 10;

pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: OffsetFetchRequest,
) -> Response {
    let version = context.header.version;
    let require_stable = request.require_stable;
    let groups = if version >= BATCHED_FROM {
        request.groups
    } else {
        vec![one_group(request)]
    };
    let image = shard.broker.image();
    let ids = groups
        .iter()
        .flat_map(|group| group.topics.iter().flatten());
    let names = names(&image, ids.map(|topic| topic.topic_id));
    let asks = groups.iter().map(|group| {
        let fetch = translate(version, group, &names, require_stable);
        (fetch.group.clone(), Request::Fetch(fetch))
    });
    let answers = shard.broker.ask_groups(asks.collect()).await;
    let id_of = |name: &str| image.topic(name).map(|topic| topic.id);
    let groups = groups.into_iter().zip(answers).map(|(group, answer)| {
        let fetched = match answer {
            Ok(Reply::Fetched(fetched)) => fetched,
            Ok(other) => foreign(&other),
            Err(error) => Err(error),
        };
        answered(version, group, fetched, &id_of)
    });
    let mut groups: Vec<_> = groups.collect();
    let response = OffsetFetchResponse::default();
    Response::OffsetFetch(if version >= BATCHED_FROM {
        response.with_groups(groups)
    } else {
        let group = groups.pop().expect("there is one");
        response
            .with_error_code(if version >= GROUP_ERROR_FROM {
                group.error_code
            } else {
                0
            })
            .with_topics(group.topics.into_iter().map(old_topic).collect())
    })
}

fn one_group(request: OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = request.topics.map(|topics| {
        let topic =
            |topic: tailwater_wire::messages::offset_fetch_request::OffsetFetchRequestTopic| {
                OffsetFetchRequestTopics::default()
                    .with_name(topic.name)
                    .with_partition_indexes(topic.partition_indexes)
            };
        topics.into_iter().map(topic).collect()
    });
    OffsetFetchRequestGroup::default()
        .with_group_id(request.group_id)
        .with_member_epoch(-1)
        .with_topics(topics)
}

/// What the coordinator is asked. Topics of unknown ids are left out: it cannot know them.
fn translate(
    version: i16,
    group: &OffsetFetchRequestGroup,
    names: &BTreeMap<Uuid, Arc<str>>,
    require_stable: bool,
) -> FetchOffsets {
    let wanted = match &group.topics {
        None => WantedOffsets::All,
        Some(topics) => {
            let topic = |topic: &OffsetFetchRequestTopics| {
                let name = if version >= IDS_FROM {
                    names.get(&topic.topic_id)?.clone()
                } else {
                    owned(&topic.name)
                };
                Some((TopicRef::Name(name), topic.partition_indexes.clone()))
            };
            WantedOffsets::Of(topics.iter().filter_map(topic).collect())
        }
    };
    FetchOffsets {
        group: owned(&group.group_id),
        member: owned_option(group.member_id.as_ref()),
        member_epoch: group.member_epoch,
        wanted,
        require_stable,
    }
}

fn answered(
    version: i16,
    group: OffsetFetchRequestGroup,
    fetched: Result<FetchedOffsets, GroupError>,
    id_of: &dyn Fn(&str) -> Option<Uuid>,
) -> OffsetFetchResponseGroup {
    let response = OffsetFetchResponseGroup::default().with_group_id(group.group_id);
    let fetched = match fetched {
        Ok(fetched) => fetched,
        // Version 1 has no place for an error but the partitions.
        Err(error) if version < GROUP_ERROR_FROM => {
            let topics = group.topics.into_iter().flatten();
            return response.with_topics(topics.map(|t| failed(t, &error)).collect());
        }
        Err(error) => return response.with_error_code(error.code()),
    };
    let mut topics = Vec::with_capacity(fetched.topics.len());
    let mut unknown = Vec::new();
    for (topic, partitions) in fetched.topics {
        let TopicRef::Name(name) = topic else {
            unreachable!("the coordinator is asked by name")
        };
        let id = id_of(&name);
        if version >= IDS_FROM && id.is_none() {
            // A topic that is gone has no id to be named by.
            continue;
        }
        let partitions = partitions.iter().map(partition).collect();
        topics.push(
            OffsetFetchResponseTopics::default()
                .with_name(TopicName::from(super::common::text(&*name)))
                .with_topic_id(id.unwrap_or_default())
                .with_partitions(partitions),
        );
    }
    if version >= IDS_FROM {
        let is_unknown = |topic: &OffsetFetchRequestTopics| {
            !topics.iter().any(|known| known.topic_id == topic.topic_id)
        };
        let asked = group.topics.into_iter().flatten().filter(is_unknown);
        unknown.extend(asked.map(|topic| failed(topic, &GroupError::UnknownTopicId)));
    }
    topics.extend(unknown);
    response.with_topics(topics)
}

fn partition(fetched: &FetchedOffset) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(fetched.partition)
        .with_committed_offset(fetched.offset)
        .with_committed_leader_epoch(fetched.leader_epoch)
        .with_metadata(shown_option(fetched.metadata.as_ref()))
        .with_error_code(fetched.error.as_ref().map_or(0, GroupError::code))
}

/// A topic of which nothing can be told.
fn failed(topic: OffsetFetchRequestTopics, error: &GroupError) -> OffsetFetchResponseTopics {
    let partition = |index: &i32| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(*index)
            .with_committed_offset(-1)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(tailwater_wire::StrBytes::new()))
            .with_error_code(error.code())
    };
    let partitions = topic.partition_indexes.iter().map(partition).collect();
    OffsetFetchResponseTopics::default()
        .with_name(topic.name)
        .with_topic_id(topic.topic_id)
        .with_partitions(partitions)
}

/// The same in the form of the versions before there were several groups.
fn old_topic(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partition = |partition: OffsetFetchResponsePartitions| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(partition.committed_leader_epoch)
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    };
    OffsetFetchResponseTopic::default()
        .with_name(topic.name)
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}
