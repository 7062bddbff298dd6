//! DescribeConfigs.

use tailwater_broker::BrokerError;
use tailwater_broker::config::{ConfigEntry, ConfigQuery, ConfigResource, ResourceKind};
use tailwater_broker::error_code;
use tailwater_wire::messages::describe_configs_request::DescribeConfigsResource;
use tailwater_wire::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use tailwater_wire::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use tailwater_wire::{Response, StrBytes};

use super::common::text;
use crate::shard::Shard;

const TOO_MUCH: &str =
    "The answer would be larger than this broker's memory for one: ask for fewer resources.";

pub(crate) fn handle(shard: &Shard, request: DescribeConfigsRequest) -> Response {
    let (synonyms, documentation) = (request.include_synonyms, request.include_documentation);
    let mut bytes_left = shard.large_replies.bytes_max();
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        if bytes_left == 0 {
            results.push(too_much(resource));
            continue;
        }
        let queries = vec![translate(resource)];
        let outcomes = shard
            .broker
            .describe_configs(queries, synonyms, documentation);
        for (resource, outcome) in outcomes {
            let result = answer(resource, outcome);
            bytes_left = bytes_left.saturating_sub(weight(&result));
            results.push(result);
        }
    }
    Response::DescribeConfigs(DescribeConfigsResponse::default().with_results(results))
}

/// A resource of a few bytes is answered with some ten thousand, and may be named again and again:
/// what does not fit the memory of one reply is refused.
fn too_much(resource: DescribeConfigsResource) -> DescribeConfigsResult {
    DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name)
        .with_error_code(error_code::POLICY_VIOLATION)
        .with_error_message(Some(StrBytes::from_static_str(TOO_MUCH)))
}

/// What a result weighs in memory, but for what its allocations cost beside.
fn weight(result: &DescribeConfigsResult) -> usize {
    let text = |text: &Option<StrBytes>| text.as_ref().map_or(0, |text| text.len());
    let configs = result.configs.iter().map(|config| {
        let synonyms = config
            .synonyms
            .iter()
            .map(|synonym| size_of_val(synonym) + synonym.name.len() + text(&synonym.value));
        size_of_val(config)
            + config.name.len()
            + text(&config.value)
            + text(&config.documentation)
            + synonyms.sum::<usize>()
    });
    size_of_val(result) + result.resource_name.len() + configs.sum::<usize>()
}

fn translate(resource: DescribeConfigsResource) -> ConfigQuery {
    // An empty list asks for all, as none does.
    let keys = resource.configuration_keys.filter(|keys| !keys.is_empty());
    ConfigQuery {
        resource: ConfigResource {
            kind: ResourceKind::from(resource.resource_type),
            name: resource.resource_name.to_string(),
        },
        names: keys.map(|keys| keys.iter().map(StrBytes::to_string).collect()),
    }
}

fn answer(
    resource: ConfigResource,
    outcome: Result<Vec<ConfigEntry>, BrokerError>,
) -> DescribeConfigsResult {
    let result = DescribeConfigsResult::default()
        .with_resource_type(resource.kind.number())
        .with_resource_name(text(resource.name));
    match outcome {
        Ok(entries) => result
            .with_error_code(error_code::NONE)
            .with_configs(entries.into_iter().map(entry).collect()),
        // Kafka says nothing more of an unknown topic.
        Err(error @ BrokerError::UnknownTopicOrPartition) => result.with_error_code(error.code()),
        Err(error) => result
            .with_error_code(error.code())
            .with_error_message(Some(text(error.to_string()))),
    }
}

fn entry(entry: ConfigEntry) -> DescribeConfigsResourceResult {
    let synonyms = entry.synonyms.into_iter().map(|(name, value, source)| {
        DescribeConfigsSynonym::default()
            .with_name(text(name))
            .with_value(value.map(text))
            .with_source(source as i8)
    });
    DescribeConfigsResourceResult::default()
        .with_name(text(entry.name))
        .with_value(entry.value.map(text))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source as i8)
        .with_is_sensitive(entry.sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(entry.kind as i8)
        .with_documentation(entry.documentation.map(text))
}
