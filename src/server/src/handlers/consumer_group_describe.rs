//! ConsumerGroupDescribe: groups of the new protocol with their members.

use tailwater_group::{
    ConsumerDescription, ConsumerMember, GroupError, Reply, Request, TopicAssignment,
};
use tailwater_wire::Response;
use tailwater_wire::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use tailwater_wire::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId,
};

use super::common::{OPERATIONS_NOT_ASKED, text};
use super::groups::{GROUP_OPERATIONS, foreign, owned, shown, shown_option};
use crate::shard::Shard;

/// What a member speaks: the classic protocol, or the new one.
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

pub(crate) async fn handle(shard: &Shard, request: ConsumerGroupDescribeRequest) -> Response {
    let asks = request.group_ids.iter().map(|group| {
        let group = owned(group);
        (group.clone(), Request::ConsumerDescribe(group))
    });
    let answers = shard.broker.ask_groups(asks.collect()).await;
    let operations = if request.include_authorized_operations {
        GROUP_OPERATIONS
    } else {
        OPERATIONS_NOT_ASKED
    };
    let groups = request
        .group_ids
        .into_iter()
        .zip(answers)
        .map(|(id, answer)| {
            let described = match answer {
                Ok(Reply::ConsumerDescribed(described)) => described,
                Ok(other) => foreign(&other),
                Err(error) => Err(error),
            };
            match described {
                Ok(description) => found(id, description).with_authorized_operations(operations),
                Err(error) => failed(id, &error),
            }
        });
    Response::ConsumerGroupDescribe(
        ConsumerGroupDescribeResponse::default().with_groups(groups.collect()),
    )
}

fn found(id: GroupId, description: ConsumerDescription) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(id)
        .with_group_state(text(description.state))
        .with_group_epoch(description.group_epoch)
        .with_assignment_epoch(description.assignment_epoch)
        .with_assignor_name(shown(&description.assignor))
        .with_members(description.members.into_iter().map(member).collect())
}

fn failed(id: GroupId, error: &GroupError) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(id)
        .with_error_code(error.code())
        .with_error_message(Some(text(error.to_string())))
        .with_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn member(member: ConsumerMember) -> Member {
    let names = member.topic_names.iter();
    let regex = member.topic_regex.as_ref();
    Member::default()
        .with_member_id(shown(&member.member))
        .with_instance_id(shown_option(member.instance.as_ref()))
        .with_rack_id(shown_option(member.rack.as_ref()))
        .with_member_epoch(member.member_epoch)
        .with_client_id(shown(&member.client_id))
        .with_client_host(shown(&member.client_host))
        .with_subscribed_topic_names(names.map(|name| shown(name).into()).collect())
        // Kafka shows no expression as an empty one.
        .with_subscribed_topic_regex(Some(regex.map_or_else(|| text(""), shown)))
        .with_assignment(assignment(member.assignment))
        .with_target_assignment(assignment(member.target))
        .with_member_type(if member.classic { CLASSIC } else { CONSUMER })
}

fn assignment(topics: Vec<TopicAssignment>) -> Assignment {
    let topics = topics.into_iter().map(|topic| {
        TopicPartitions::default()
            .with_topic_id(topic.topic)
            .with_topic_name(shown(&topic.name).into())
            .with_partitions(topic.partitions)
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
