//! AlterConfigs and IncrementalAlterConfigs.

use super::{Controller, Decision};
use crate::BrokerError;
use crate::config::{
    BrokerScope, BrokerSettings, ConfigChange, ConfigOutcome, ConfigReplacement, ConfigResource,
    Overrides, ResourceKind, alter_broker, alter_topic, broker_values, nulls, topic_overrides,
};
use crate::metadata::change::Change;
use crate::metadata::image::Topic;
use crate::metadata::topic_name::check_topic_name;
use crate::nodes::Nodes;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Controller {
    /// Replaces the overrides of each resource.
    pub(crate) fn alter_configs(
        &mut self,
        replacements: &[ConfigReplacement],
        validate_only: bool,
    ) -> Decision<Vec<ConfigOutcome>> {
        let requests = replacements
            .iter()
            .map(|one| (&one.resource, Alteration::Replace(&one.entries)));
        self.alter(requests.collect(), validate_only)
    }

    /// Changes single overrides of each resource.
    pub(crate) fn incremental_alter_configs(
        &mut self,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Decision<Vec<ConfigOutcome>> {
        let requests = changes
            .iter()
            .map(|one| (&one.resource, Alteration::Operations(&one.operations)));
        self.alter(requests.collect(), validate_only)
    }

    fn alter(
        &mut self,
        requests: Vec<(&ConfigResource, Alteration<'_>)>,
        validate_only: bool,
    ) -> Decision<Vec<ConfigOutcome>> {
        let mut seen = BTreeSet::new();
        let doubled: BTreeSet<&ConfigResource> = requests
            .iter()
            .map(|(resource, _)| *resource)
            .filter(|resource| !seen.insert(*resource))
            .collect();
        let mut decision = Decision {
            outcomes: Vec::new(),
            changes: Vec::new(),
        };
        for resource in &doubled {
            let error =
                BrokerError::InvalidRequest("Each resource must appear at most once.".to_owned());
            decision
                .outcomes
                .push((ConfigResource::clone(resource), Err(error)));
        }
        for (resource, alteration) in requests
            .iter()
            .filter(|(resource, _)| !doubled.contains(resource))
        {
            let outcome = self.decide_alteration(resource, alteration).map(|change| {
                if let Some(change) = change.filter(|_| !validate_only) {
                    self.take(&change);
                    decision.changes.push(change);
                }
            });
            decision
                .outcomes
                .push((ConfigResource::clone(resource), outcome));
        }
        decision
    }

    /// The change to make, if it is allowed; `None` when all is as it should be already.
    fn decide_alteration(
        &self,
        resource: &ConfigResource,
        alteration: &Alteration<'_>,
    ) -> Result<Option<Change>, BrokerError> {
        match resource.kind {
            ResourceKind::Topic => {
                let topic = self.topic_to_alter(&resource.name)?;
                let overrides = alteration.of_topic(topic, self.state.image().settings())?;
                let changed = overrides != topic.overrides;
                Ok(changed.then_some(Change::SetTopicOverrides {
                    id: topic.id,
                    overrides,
                }))
            }
            ResourceKind::Broker => {
                let scope = broker_scope(&resource.name, &self.nodes)?;
                let settings = self.state.image().settings();
                let current = settings.dynamic(scope);
                let values = alteration.of_broker(current, settings.batch_bytes_max)?;
                let changed = values != *current;
                Ok(changed.then_some(Change::SetBrokerValues { scope, values }))
            }
            ResourceKind::Other(number) => Err(unknown_resource(number)),
        }
    }

    fn topic_to_alter(&self, name: &str) -> Result<&Arc<Topic>, BrokerError> {
        if let Some(topic) = self.state.image().topic(name) {
            return Ok(topic);
        }
        check_topic_name(name)?;
        Err(BrokerError::NoSuchTopic(name.to_owned()))
    }
}

enum Alteration<'a> {
    Replace(&'a [(String, Option<String>)]),
    Operations(&'a [(String, i8, Option<String>)]),
}

impl Alteration<'_> {
    fn of_topic(&self, topic: &Topic, settings: &BrokerSettings) -> Result<Overrides, BrokerError> {
        match self {
            Self::Replace(entries) => match nulls(entries) {
                Some(names) => Err(BrokerError::InvalidRequest(format!(
                    "Null value not supported for : {names}"
                ))),
                None => topic_overrides(entries, settings),
            },
            Self::Operations(operations) => alter_topic(&topic.overrides, operations, settings),
        }
    }

    fn of_broker(
        &self,
        current: &Overrides,
        batch_bytes_max: i32,
    ) -> Result<Overrides, BrokerError> {
        match self {
            Self::Replace(entries) => broker_values(entries, batch_bytes_max),
            Self::Operations(operations) => alter_broker(current, operations, batch_bytes_max),
        }
    }
}

/// Which broker's values a resource's name means.
pub(crate) fn broker_scope(name: &str, nodes: &Nodes) -> Result<BrokerScope, BrokerError> {
    if name.is_empty() {
        return Ok(BrokerScope::AllBrokers);
    }
    let Ok(id) = name.parse::<i32>() else {
        return Err(BrokerError::InvalidRequest(format!(
            "Broker id must be an integer, but it is: {name}"
        )));
    };
    if !nodes.has(id) {
        return Err(unexpected_broker_id(&nodes.named(), name));
    }
    // What is set of one shard is the process's, and so every shard's.
    Ok(BrokerScope::ThisBroker)
}

/// The sentence for a broker that is not the one asked.
pub(crate) fn unexpected_broker_id(expected: &str, got: &str) -> BrokerError {
    BrokerError::InvalidRequest(format!(
        "Unexpected broker id, expected {expected} or empty string, but received {got}"
    ))
}

/// The sentence for a resource that has no configurations here.
pub(crate) fn unknown_resource(number: i8) -> BrokerError {
    BrokerError::InvalidRequest(format!("Unknown resource type {number}"))
}
