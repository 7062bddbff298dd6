//! Heartbeat: a member of a classic group says that it is there.

use tailwater_group::{Heartbeat, Reply, Request};
use tailwater_wire::Response;
use tailwater_wire::messages::{HeartbeatRequest, HeartbeatResponse};

use super::groups::{ask, code_of, foreign, owned, owned_option};
use crate::shard::Shard;

pub(crate) async fn handle(shard: &Shard, request: HeartbeatRequest) -> Response {
    let group = owned(&request.group_id);
    let heartbeat = Heartbeat {
        group: group.clone(),
        generation: request.generation_id,
        member: owned(&request.member_id),
        instance: owned_option(request.group_instance_id.as_ref()),
    };
    let result = match ask(shard, group, Request::Heartbeat(heartbeat)).await {
        Ok(Reply::Heartbeat(result)) => result,
        Ok(other) => foreign(&other),
        Err(error) => Err(error),
    };
    Response::Heartbeat(HeartbeatResponse::default().with_error_code(code_of(&result)))
}
