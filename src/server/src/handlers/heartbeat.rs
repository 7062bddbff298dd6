//! Heartbeat: a member of a classic group says that it is there.

use tailwater_group::{GroupError, Heartbeat, Reply, Request};
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
    let code = code_of(&while_loading(result));
    Response::Heartbeat(HeartbeatResponse::default().with_error_code(code))
}

/// While the groups are still being read a heartbeat is answered as if all were well, as Kafka
/// answers it: some clients end at any other answer. The next one is told the truth.
fn while_loading(result: Result<(), GroupError>) -> Result<(), GroupError> {
    match result {
        Err(GroupError::CoordinatorLoadInProgress) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_answered_blindly_while_groups_are_read_and_by_the_truth_after() {
        let loading = while_loading(Err(GroupError::CoordinatorLoadInProgress));
        assert_eq!(code_of(&loading), 0);
        let unknown = while_loading(Err(GroupError::UnknownMemberId));
        assert_eq!(code_of(&unknown), GroupError::UnknownMemberId.code());
        assert_eq!(code_of(&while_loading(Ok(()))), 0);
    }
}
