//! What the handlers of groups say in the same way.

use std::collections::BTreeMap;
use std::sync::Arc;

use tailwater_broker::error_code::NONE;
use tailwater_broker::metadata::MetadataImage;
use tailwater_group::{GroupError, Identity, Reply, Request};
use tailwater_wire::StrBytes;
use uuid::Uuid;

use crate::router::RequestContext;
use crate::shard::Shard;

/// What may be done with a group on a broker without an authorizer: READ, DELETE, DESCRIBE,
/// DESCRIBE_CONFIGS and ALTER_CONFIGS, by Kafka's bits.
pub(super) const GROUP_OPERATIONS: i32 = 0x0d48;

/// A request's text as groups keep it: of its own, so that the frame may go.
pub(super) fn owned(text: &StrBytes) -> Arc<str> {
    Arc::from(&**text)
}

/// As [`owned`], of what may be absent.
pub(super) fn owned_option(text: Option<&StrBytes>) -> Option<Arc<str>> {
    text.map(owned)
}

/// A text of a group for an answer.
pub(super) fn shown(text: &Arc<str>) -> StrBytes {
    StrBytes::from(text.to_string())
}

/// As [`shown`], of what may be absent.
pub(super) fn shown_option(text: Option<&Arc<str>>) -> Option<StrBytes> {
    text.map(shown)
}

/// Kafka's code of a result.
pub(super) fn code_of<T>(result: &Result<T, GroupError>) -> i16 {
    result.as_ref().map_or_else(GroupError::code, |_| NONE)
}

/// Who asks, as descriptions of groups show it.
pub(super) fn identity(context: &RequestContext) -> Identity {
    let host = context.peer.map(|peer| format!("/{}", peer.ip()));
    Identity {
        client_id: owned_option(context.client_id.as_ref()).unwrap_or_default(),
        client_host: Arc::from(host.unwrap_or_default()),
    }
}

/// Asks the coordinator of one group what is answered as soon as it is durable.
pub(super) async fn ask(
    shard: &Shard,
    group: Arc<str>,
    request: Request,
) -> Result<Reply, GroupError> {
    let mut answers = shard.broker.ask_groups(vec![(group, request)]).await;
    answers.pop().expect("each ask has an answer")
}

/// A reply that does not belong to its request: a mistake of ours.
pub(super) fn foreign(reply: &Reply) -> ! {
    unreachable!("the reply belongs to the request: {reply:?}")
}

/// The topics of a request that names them by id: their names, as far as there are such topics.
pub(super) fn names(
    image: &MetadataImage,
    ids: impl Iterator<Item = Uuid>,
) -> BTreeMap<Uuid, Arc<str>> {
    ids.filter_map(|id| Some((id, image.topic_by_id(id)?.name.clone())))
        .collect()
}
