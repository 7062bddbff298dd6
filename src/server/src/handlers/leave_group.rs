//! LeaveGroup: members of a classic group go. Before version 3 it is one.

use tailwater_group::{GroupError, LeaveGroup, LeavingMember, MemberResult, Reply, Request};
use tailwater_wire::Response;
use tailwater_wire::messages::leave_group_request::MemberIdentity;
use tailwater_wire::messages::leave_group_response::MemberResponse;
use tailwater_wire::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::groups::{ask, code_of, foreign, owned, owned_option, shown, shown_option};
use crate::router::RequestContext;
use crate::shard::Shard;

/// From this version on any number of members leave.
const BATCHED_FROM: i16 = 3;

pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: LeaveGroupRequest,
) -> Response {
    let group = owned(&request.group_id);
    let members = if context.header.version >= BATCHED_FROM {
        request.members
    } else {
        vec![MemberIdentity::default().with_member_id(request.member_id)]
    };
    let leaving = members.iter().map(|member| LeavingMember {
        member: owned(&member.member_id),
        instance: owned_option(member.group_instance_id.as_ref()),
        reason: owned_option(member.reason.as_ref()),
    });
    let leave = LeaveGroup {
        group: group.clone(),
        members: leaving.collect(),
    };
    let response = LeaveGroupResponse::default();
    Response::LeaveGroup(match ask(shard, group, Request::Leave(leave)).await {
        Ok(Reply::Left(Ok(members))) => {
            response.with_members(members.into_iter().map(member).collect())
        }
        // Who leaves a group that is not there is told of itself.
        Ok(Reply::Left(Err(GroupError::UnknownMemberId))) => {
            response.with_members(members.into_iter().map(unknown).collect())
        }
        Ok(Reply::Left(Err(error))) | Err(error) => response.with_error_code(error.code()),
        Ok(other) => foreign(&other),
    })
}

fn unknown(member: MemberIdentity) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(member.member_id)
        .with_group_instance_id(member.group_instance_id)
        .with_error_code(GroupError::UnknownMemberId.code())
}

fn member(member: MemberResult) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(shown(&member.member))
        .with_group_instance_id(shown_option(member.instance.as_ref()))
        .with_error_code(code_of(&member.result))
}
