//! DeleteTopics: by name, and from version 6 on also by id.

use std::sync::Arc;

use tailwater_broker::metadata::{DeletedTopic, TopicKey};
use tailwater_broker::{code_of, error_code};
use tailwater_wire::Response;
use tailwater_wire::messages::delete_topics_request::DeleteTopicState;
use tailwater_wire::messages::delete_topics_response::DeletableTopicResult;
use tailwater_wire::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::common::{message, milliseconds, text, topic_name};
use crate::router::RequestContext;
use crate::shard::Shard;

/// From this version on a topic may be named by its id.
const TOPIC_IDS_FROM: i16 = 6;

pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: DeleteTopicsRequest,
) -> Response {
    let states = if context.header.version >= TOPIC_IDS_FROM {
        request.topics
    } else {
        let by_name = |name| DeleteTopicState::default().with_name(Some(name));
        request.topic_names.into_iter().map(by_name).collect()
    };
    let (keys, mut responses) = sort_out(states);
    let deleted = shard
        .broker
        .delete_topics(keys, milliseconds(request.timeout_ms))
        .await;
    responses.extend(deleted.into_iter().map(answer));
    Response::DeleteTopics(DeleteTopicsResponse::default().with_responses(responses))
}

/// The topics to delete, and the refusals of those that are not properly named.
fn sort_out(states: Vec<DeleteTopicState>) -> (Vec<TopicKey>, Vec<DeletableTopicResult>) {
    let mut keys = Vec::new();
    let mut refused = Vec::new();
    for state in states {
        match (state.name, state.topic_id) {
            (Some(name), id) if id.is_nil() => keys.push(TopicKey::Name(Arc::from(&**name))),
            (None, id) if !id.is_nil() => keys.push(TopicKey::Id(id)),
            (name, id) => {
                let problem = match name {
                    Some(_) => "You may not specify both topic name and topic id.",
                    None => "Neither topic name nor id were specified.",
                };
                let refusal = DeletableTopicResult::default()
                    .with_name(name)
                    .with_topic_id(id)
                    .with_error_code(error_code::INVALID_REQUEST)
                    .with_error_message(Some(text(problem)));
                refused.push(refusal);
            }
        }
    }
    (keys, refused)
}

fn answer(deleted: DeletedTopic) -> DeletableTopicResult {
    let asked_id = match deleted.key {
        TopicKey::Id(id) => Some(id),
        TopicKey::Name(_) => None,
    };
    let asked_name = match &deleted.key {
        TopicKey::Name(name) => Some(Arc::clone(name)),
        TopicKey::Id(_) => None,
    };
    DeletableTopicResult::default()
        .with_name(deleted.name.or(asked_name).map(|name| topic_name(&name)))
        .with_topic_id(deleted.id.or(asked_id).unwrap_or_default())
        .with_error_code(code_of(&deleted.result))
        .with_error_message(message(&deleted.result))
}
