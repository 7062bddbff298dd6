//! SyncGroup: waits until the group's leader has assigned.

use bytes::Bytes;
use tailwater_group::{GroupError, Reply, Request, SyncGroup};
use tailwater_wire::Response;
use tailwater_wire::messages::{SyncGroupRequest, SyncGroupResponse};

use super::groups::{foreign, owned, owned_option, shown_option};
use crate::router::RequestContext;
use crate::shard::Shard;

/// From this version on a member must say what protocol it believes in.
const PROTOCOL_FROM: i16 = 5;

pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: SyncGroupRequest,
) -> Response {
    let says = request.protocol_type.is_some() && request.protocol_name.is_some();
    if context.header.version >= PROTOCOL_FROM && !says {
        return refused(&GroupError::InconsistentGroupProtocol);
    }
    let group = owned(&request.group_id);
    let assignments = request.assignments.iter().map(|one| {
        let assignment = Bytes::copy_from_slice(&one.assignment);
        (owned(&one.member_id), assignment)
    });
    let sync = SyncGroup {
        group: group.clone(),
        generation: request.generation_id,
        member: owned(&request.member_id),
        instance: owned_option(request.group_instance_id.as_ref()),
        protocol_type: owned_option(request.protocol_type.as_ref()),
        protocol_name: owned_option(request.protocol_name.as_ref()),
        assignments: assignments.collect(),
    };
    let answer = shard
        .broker
        .ask_group_and_wait(&group, Request::Sync(sync))
        .await;
    match answer {
        Ok(Reply::Synced(Ok(synced))) => Response::SyncGroup(
            SyncGroupResponse::default()
                .with_protocol_type(shown_option(synced.protocol_type.as_ref()))
                .with_protocol_name(shown_option(synced.protocol_name.as_ref()))
                .with_assignment(synced.assignment),
        ),
        Ok(Reply::Synced(Err(error))) | Err(error) => refused(&error),
        Ok(other) => foreign(&other),
    }
}

fn refused(error: &GroupError) -> Response {
    Response::SyncGroup(
        SyncGroupResponse::default()
            .with_error_code(error.code())
            .with_protocol_type(None)
            .with_protocol_name(None),
    )
}
