//! DeleteGroups: empty groups go, with their offsets.

use std::collections::BTreeSet;

use tailwater_group::{Reply, Request};
use tailwater_wire::Response;
use tailwater_wire::messages::delete_groups_response::DeletableGroupResult;
use tailwater_wire::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::groups::{code_of, foreign, owned};
use crate::shard::Shard;

pub(crate) async fn handle(shard: &Shard, request: DeleteGroupsRequest) -> Response {
    let mut seen = BTreeSet::new();
    let mut groups = request.groups_names;
    groups.retain(|group| seen.insert(group.clone()));
    let asks = groups.iter().map(|group| {
        let group = owned(group);
        (group.clone(), Request::Delete(group))
    });
    let answers = shard.broker.ask_groups(asks.collect()).await;
    let results = groups.into_iter().zip(answers).map(|(id, answer)| {
        let result = match answer {
            Ok(Reply::Deleted(result)) => result,
            Ok(other) => foreign(&other),
            Err(error) => Err(error),
        };
        DeletableGroupResult::default()
            .with_group_id(id)
            .with_error_code(code_of(&result))
    });
    Response::DeleteGroups(DeleteGroupsResponse::default().with_results(results.collect()))
}
