//! DescribeGroups: classic groups with their members.

use tailwater_group::{ClassicMember, Description, GroupError, Reply, Request};
use tailwater_wire::Response;
use tailwater_wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use tailwater_wire::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::common::{OPERATIONS_NOT_ASKED, text};
use super::groups::{GROUP_OPERATIONS, foreign, owned, shown, shown_option};
use crate::router::RequestContext;
use crate::shard::Shard;

/// From this version on a group that is not there is an error; before, it is one that is dead.
const NOT_FOUND_FROM: i16 = 6;

/// Kafka's state of a group that is not there.
const DEAD: &str = "Dead";

pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: DescribeGroupsRequest,
) -> Response {
    let version = context.header.version;
    let asks = request.groups.iter().map(|group| {
        let group = owned(group);
        (group.clone(), Request::Describe(group))
    });
    let answers = shard.broker.ask_groups(asks.collect()).await;
    let operations = if request.include_authorized_operations {
        GROUP_OPERATIONS
    } else {
        OPERATIONS_NOT_ASKED
    };
    let groups = request.groups.into_iter().zip(answers).map(|(id, answer)| {
        let described = match answer {
            Ok(Reply::Described(described)) => described,
            Ok(other) => foreign(&other),
            Err(error) => Err(error),
        };
        match described {
            Ok(description) => found(id, description).with_authorized_operations(operations),
            Err(error) => failed(version, id, &error, operations),
        }
    });
    Response::DescribeGroups(DescribeGroupsResponse::default().with_groups(groups.collect()))
}

fn found(id: GroupId, description: Description) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(id)
        .with_group_state(text(description.state))
        .with_protocol_type(shown(&description.protocol_type))
        .with_protocol_data(shown(&description.protocol))
        .with_members(description.members.into_iter().map(member).collect())
}

fn failed(version: i16, id: GroupId, error: &GroupError, operations: i32) -> DescribedGroup {
    let group = DescribedGroup::default()
        .with_group_id(id)
        .with_authorized_operations(OPERATIONS_NOT_ASKED);
    match error {
        GroupError::GroupIdNotFound(sentence) if version >= NOT_FOUND_FROM => group
            .with_group_state(text(DEAD))
            .with_error_code(error.code())
            .with_error_message(Some(text(sentence.as_str()))),
        GroupError::GroupIdNotFound(_) => group
            .with_group_state(text(DEAD))
            .with_authorized_operations(operations),
        _ => group.with_error_code(error.code()),
    }
}

fn member(member: ClassicMember) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(shown(&member.member))
        .with_group_instance_id(shown_option(member.instance.as_ref()))
        .with_client_id(shown(&member.client_id))
        .with_client_host(shown(&member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}
