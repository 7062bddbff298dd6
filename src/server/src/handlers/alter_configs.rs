//! AlterConfigs: replaces all overrides of a resource.

use tailwater_broker::code_of;
use tailwater_broker::config::{ConfigReplacement, ConfigResource, ResourceKind};
use tailwater_wire::Response;
use tailwater_wire::messages::alter_configs_request::AlterConfigsResource;
use tailwater_wire::messages::alter_configs_response::AlterConfigsResourceResponse;
use tailwater_wire::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::common::{message, text};
use crate::shard::Shard;

pub(crate) async fn handle(shard: &Shard, request: AlterConfigsRequest) -> Response {
    let changes = request.resources.into_iter().map(translate).collect();
    let outcomes = shard
        .broker
        .alter_configs(changes, request.validate_only)
        .await;
    let responses = outcomes.into_iter().map(|(resource, result)| {
        AlterConfigsResourceResponse::default()
            .with_error_code(code_of(&result))
            .with_error_message(message(&result))
            .with_resource_type(resource.kind.number())
            .with_resource_name(text(resource.name))
    });
    Response::AlterConfigs(AlterConfigsResponse::default().with_responses(responses.collect()))
}

fn translate(resource: AlterConfigsResource) -> ConfigReplacement {
    let entries = resource.configs.into_iter();
    ConfigReplacement {
        resource: ConfigResource {
            kind: ResourceKind::from(resource.resource_type),
            name: resource.resource_name.to_string(),
        },
        entries: entries
            .map(|c| (c.name.to_string(), c.value.map(|v| v.to_string())))
            .collect(),
    }
}
