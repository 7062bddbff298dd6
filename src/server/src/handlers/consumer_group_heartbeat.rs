//! ConsumerGroupHeartbeat: a member of the new protocol joins, stays or leaves (KIP-848).

use tailwater_group::{ConsumerHeartbeat, ConsumerHeartbeatReply, GroupError, Reply, Request};
use tailwater_wire::Response;
use tailwater_wire::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use tailwater_wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::common::text;
use super::groups::{ask, foreign, identity, owned, owned_option, shown};
use crate::router::RequestContext;
use crate::shard::Shard;

/// From this version on a member brings its id; before, the coordinator may choose it.
const MEMBER_ID_FROM: i16 = 1;

pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: ConsumerGroupHeartbeatRequest,
) -> Response {
    let heartbeat = heartbeat(context, request);
    let group = heartbeat.group.clone();
    let result = match ask(shard, group, Request::ConsumerHeartbeat(heartbeat)).await {
        Ok(Reply::ConsumerHeartbeat(result)) => result,
        Ok(other) => foreign(&other),
        Err(error) => Err(error),
    };
    Response::ConsumerGroupHeartbeat(result.map_or_else(|error| failed(&error), answered))
}

fn heartbeat(
    context: &RequestContext,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerHeartbeat {
    let names = request.subscribed_topic_names;
    let partitions = request.topic_partitions;
    ConsumerHeartbeat {
        group: owned(&request.group_id),
        identity: identity(context),
        member: owned(&request.member_id),
        member_epoch: request.member_epoch,
        instance: owned_option(request.instance_id.as_ref()),
        rack: owned_option(request.rack_id.as_ref()),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topic_names: names.map(|names| names.iter().map(|name| owned(name)).collect()),
        topic_regex: owned_option(request.subscribed_topic_regex.as_ref()),
        assignor: owned_option(request.server_assignor.as_ref()),
        owned: partitions.map(|topics| {
            let topics = topics.into_iter();
            topics
                .map(|topic| (topic.topic_id, topic.partitions))
                .collect()
        }),
        may_lack_member: context.header.version < MEMBER_ID_FROM,
    }
}

fn answered(reply: ConsumerHeartbeatReply) -> ConsumerGroupHeartbeatResponse {
    let assignment = reply.assignment.map(|topics| {
        let topics = topics.into_iter().map(|(topic, partitions)| {
            TopicPartitions::default()
                .with_topic_id(topic)
                .with_partitions(partitions)
        });
        Assignment::default().with_topic_partitions(topics.collect())
    });
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(shown(&reply.member)))
        .with_member_epoch(reply.member_epoch)
        .with_heartbeat_interval_ms(reply.heartbeat_interval_ms)
        .with_assignment(assignment)
}

fn failed(error: &GroupError) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default()
        .with_error_code(error.code())
        .with_error_message(Some(text(error.to_string())))
        .with_assignment(None)
}
