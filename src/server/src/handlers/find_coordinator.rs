//! FindCoordinator: the broker that is a group's. There are no other coordinators.

use tailwater_broker::error_code::{
    COORDINATOR_NOT_AVAILABLE, INVALID_REQUEST, NONE, TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
};
use tailwater_wire::messages::find_coordinator_response::Coordinator;
use tailwater_wire::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use tailwater_wire::{Response, StrBytes};

use super::common::{broker_id, text};
use crate::router::RequestContext;
use crate::shard::Shard;

/// From this version on a request has any number of keys.
const BATCHED_FROM: i16 = 4;

/// Kafka's types of coordinators.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: FindCoordinatorRequest,
) -> Response {
    let refusal = refusal(shard, request.key_type).await;
    let response = FindCoordinatorResponse::default();
    Response::FindCoordinator(if context.header.version >= BATCHED_FROM {
        let coordinator = |key: StrBytes| {
            let Found {
                error_code,
                node,
                host,
                port,
            } = found(shard, refusal, &key);
            Coordinator::default()
                .with_key(key)
                .with_node_id(node)
                .with_host(host)
                .with_port(port)
                .with_error_code(error_code)
                .with_error_message(Some(StrBytes::new()))
        };
        let keys = request.coordinator_keys.into_iter();
        response.with_coordinators(keys.map(coordinator).collect())
    } else {
        let Found {
            error_code,
            node,
            host,
            port,
        } = found(shard, refusal, &request.key);
        response
            .with_error_code(error_code)
            .with_error_message(Some(text(sentence(error_code))))
            .with_node_id(node)
            .with_host(host)
            .with_port(port)
    })
}

/// A coordinator, or why there is none.
struct Found {
    error_code: i16,
    node: BrokerId,
    host: StrBytes,
    port: i32,
}

/// The coordinator of that group, unless all were refused.
fn found(shard: &Shard, refusal: i16, group: &str) -> Found {
    let coordinator = shard.broker.coordinator(group);
    match coordinator.filter(|_| refusal == NONE) {
        Some(owner) => {
            let node = shard.identity.of_shard(owner);
            Found {
                error_code: NONE,
                node: broker_id(node),
                host: node.host.clone(),
                port: i32::from(node.port),
            }
        }
        None => Found {
            // Refused, or the topic of the groups has gone meanwhile.
            error_code: if refusal == NONE {
                COORDINATOR_NOT_AVAILABLE
            } else {
                refusal
            },
            node: BrokerId::from(-1),
            host: StrBytes::new(),
            port: -1,
        },
    }
}

/// Why there is no such coordinator; [`NONE`] if there is.
async fn refusal(shard: &Shard, key_type: i8) -> i16 {
    match key_type {
        GROUP => match shard.broker.ensure_group_coordinators().await {
            Ok(()) => NONE,
            Err(error) => {
                tracing::warn!(%error, "the topic of the groups cannot be made");
                COORDINATOR_NOT_AVAILABLE
            }
        },
        // Fatal in every client, as InitProducerId's refusal of a transactional id is.
        TRANSACTION => TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        _ => INVALID_REQUEST,
    }
}

/// Kafka's sentence for each of these.
fn sentence(error_code: i16) -> &'static str {
    match error_code {
        NONE => "NONE",
        COORDINATOR_NOT_AVAILABLE => "The coordinator is not available.",
        TRANSACTIONAL_ID_AUTHORIZATION_FAILED => "Transactions are not available on this broker.",
        _ => {
            "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details."
        }
    }
}
