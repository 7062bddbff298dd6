//! ListGroups: the groups of all coordinators, by state and type if asked.

use tailwater_group::{ListGroups, Listed};
use tailwater_wire::Response;
use tailwater_wire::messages::list_groups_response::ListedGroup;
use tailwater_wire::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

use super::common::text;
use super::groups::{owned, shown};
use crate::shard::Shard;

pub(crate) async fn handle(shard: &Shard, request: ListGroupsRequest) -> Response {
    let filters = ListGroups {
        states: request.states_filter.iter().map(owned).collect(),
        types: request.types_filter.iter().map(owned).collect(),
    };
    let response = ListGroupsResponse::default();
    Response::ListGroups(match shard.broker.list_groups(filters).await {
        Ok(groups) => response.with_groups(groups.iter().map(listed).collect()),
        Err(error) => response.with_error_code(error.code()),
    })
}

fn listed(group: &Listed) -> ListedGroup {
    ListedGroup::default()
        .with_group_id(GroupId::from(shown(&group.group)))
        .with_protocol_type(shown(&group.protocol_type))
        .with_group_state(text(group.state))
        .with_group_type(text(group.kind))
}
