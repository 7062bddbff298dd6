//! JoinGroup: waits until all members of the group have joined.

use std::sync::Arc;

use bytes::Bytes;
use tailwater_group::{GroupError, JoinGroup, Joined, JoinedMember, Reply, Request};
use tailwater_wire::Response;
use tailwater_wire::messages::join_group_response::JoinGroupResponseMember;
use tailwater_wire::messages::{JoinGroupRequest, JoinGroupResponse};

use super::groups::{foreign, identity, owned, owned_option, shown, shown_option};
use crate::router::RequestContext;
use crate::shard::Shard;

/// Before this version the session timeout is also how long a rebalance waits.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
/// KIP-394: a new member is told its id, and joins again with it.
const KNOWN_MEMBER_FROM: i16 = 4;
/// KIP-814: a leader may be told that it need not assign.
const SKIP_ASSIGNMENT_FROM: i16 = 9;

pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: JoinGroupRequest,
) -> Response {
    let group = owned(&request.group_id);
    let join = translate(context, request, group.clone());
    let answer = shard
        .broker
        .ask_group_and_wait(&group, Request::Join(join))
        .await;
    Response::JoinGroup(match answer {
        Ok(Reply::Joined(Ok(joined))) => success(joined),
        Ok(Reply::Joined(Err((error, member)))) => refused(&error, &member),
        Ok(other) => foreign(&other),
        Err(error) => refused(&error, &Arc::from("")),
    })
}

fn translate(context: &RequestContext, request: JoinGroupRequest, group: Arc<str>) -> JoinGroup {
    let version = context.header.version;
    let protocols = request.protocols.iter().map(|protocol| {
        // Copied: the group keeps it for as long as the member lives, and not the whole frame.
        let metadata = Bytes::copy_from_slice(&protocol.metadata);
        (owned(&protocol.name), metadata)
    });
    JoinGroup {
        group,
        identity: identity(context),
        member: owned(&request.member_id),
        instance: owned_option(request.group_instance_id.as_ref()),
        protocol_type: owned(&request.protocol_type),
        protocols: protocols.collect(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version >= REBALANCE_TIMEOUT_FROM {
            request.rebalance_timeout_ms
        } else {
            request.session_timeout_ms
        },
        needs_known_member: version >= KNOWN_MEMBER_FROM,
        can_skip_assignment: version >= SKIP_ASSIGNMENT_FROM,
        reason: owned_option(request.reason.as_ref()),
    }
}

fn success(joined: Joined) -> JoinGroupResponse {
    let member = |member: JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(shown(&member.member))
            .with_group_instance_id(shown_option(member.instance.as_ref()))
            .with_metadata(member.metadata)
    };
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(shown_option(joined.protocol_type.as_ref()))
        .with_protocol_name(shown_option(joined.protocol_name.as_ref()))
        .with_leader(shown(&joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(shown(&joined.member))
        .with_members(joined.members.into_iter().map(member).collect())
}

fn refused(error: &GroupError, member: &Arc<str>) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(error.code())
        .with_generation_id(-1)
        .with_protocol_type(None)
        .with_protocol_name(None)
        .with_member_id(shown(member))
}
