//! DescribeCluster: the brokers that there are, of which the first is the controller.

use tailwater_wire::Response;
use tailwater_wire::messages::describe_cluster_response::DescribeClusterBroker;
use tailwater_wire::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::common::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, broker_id, text};
use crate::identity::Node;
use crate::router::RequestContext;
use crate::shard::Shard;

/// The endpoint type of brokers; controllers have 2.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Kafka's MISMATCHED_ENDPOINT_TYPE and UNSUPPORTED_ENDPOINT_TYPE: no other API has them.
const MISMATCHED_ENDPOINT_TYPE: i16 = 114;
const UNSUPPORTED_ENDPOINT_TYPE: i16 = 115;

pub(crate) fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: &DescribeClusterRequest,
) -> Response {
    let identity = &shard.identity;
    // Version 0 has no endpoint type: it asks for brokers.
    let wanted = if context.header.version == 0 {
        BROKERS
    } else {
        request.endpoint_type
    };
    let response = DescribeClusterResponse::default();
    Response::DescribeCluster(match wanted {
        BROKERS => response
            .with_cluster_id(identity.cluster_id.clone())
            .with_controller_id(broker_id(identity.controller()))
            .with_brokers(identity.nodes().iter().map(broker).collect())
            .with_cluster_authorized_operations(if request.include_cluster_authorized_operations {
                CLUSTER_OPERATIONS
            } else {
                OPERATIONS_NOT_ASKED
            }),
        CONTROLLERS => response
            .with_error_code(MISMATCHED_ENDPOINT_TYPE)
            .with_error_message(Some(text(
                "The request was sent to an endpoint of type BROKER, \
                 but we wanted an endpoint of type CONTROLLER",
            ))),
        other => response
            .with_error_code(UNSUPPORTED_ENDPOINT_TYPE)
            .with_error_message(Some(text(format!("Unsupported endpoint type {other}")))),
    })
}

fn broker(node: &Node) -> DescribeClusterBroker {
    DescribeClusterBroker::default()
        .with_broker_id(broker_id(node))
        .with_host(node.host.clone())
        .with_port(i32::from(node.port))
}
