//! IncrementalAlterConfigs: changes overrides one by one.

use tailwater_broker::code_of;
use tailwater_broker::config::{ConfigChange, ConfigResource, ResourceKind};
use tailwater_wire::Response;
use tailwater_wire::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use tailwater_wire::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use tailwater_wire::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::common::{message, text};
use crate::shard::Shard;

pub(crate) async fn handle(shard: &Shard, request: IncrementalAlterConfigsRequest) -> Response {
    let changes = request.resources.into_iter().map(translate).collect();
    let outcomes = shard
        .broker
        .incremental_alter_configs(changes, request.validate_only)
        .await;
    let responses = outcomes.into_iter().map(|(resource, result)| {
        AlterConfigsResourceResponse::default()
            .with_error_code(code_of(&result))
            .with_error_message(message(&result))
            .with_resource_type(resource.kind.number())
            .with_resource_name(text(resource.name))
    });
    let response = IncrementalAlterConfigsResponse::default();
    Response::IncrementalAlterConfigs(response.with_responses(responses.collect()))
}

fn translate(resource: AlterConfigsResource) -> ConfigChange {
    let operation = |config: AlterableConfig| {
        let value = config.value.map(|value| value.to_string());
        (config.name.to_string(), config.config_operation, value)
    };
    ConfigChange {
        resource: ConfigResource {
            kind: ResourceKind::from(resource.resource_type),
            name: resource.resource_name.to_string(),
        },
        operations: resource.configs.into_iter().map(operation).collect(),
    }
}
