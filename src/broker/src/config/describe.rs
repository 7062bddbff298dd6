//! Configurations as DescribeConfigs and CreateTopics list them.

use super::broker_keys::{broker_key, broker_keys};
use super::key::Key;
use super::topic_keys::{TOPIC_KEYS, TopicKey};
use super::{BrokerScope, BrokerSettings, ConfigEntry, ConfigSource};
use std::collections::BTreeMap;

/// What to list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listing<'a> {
    /// Only these names; `None` is all.
    pub(crate) names: Option<&'a [String]>,
    /// With the other places a value could be from.
    pub(crate) synonyms: bool,
    /// With the texts.
    pub(crate) documentation: bool,
}

impl Listing<'_> {
    fn wants(&self, name: &str) -> bool {
        self.names
            .is_none_or(|names| names.iter().any(|wanted| wanted == name))
    }
}

/// A topic's configurations, in the order of their names.
pub(crate) fn topic_entries(
    settings: &BrokerSettings,
    overrides: &BTreeMap<String, String>,
    listing: Listing<'_>,
) -> Vec<ConfigEntry> {
    let wanted = TOPIC_KEYS.iter().filter(|key| listing.wants(key.key.name));
    wanted
        .map(|key| topic_entry(key, settings, overrides, listing))
        .collect()
}

fn topic_entry(
    key: &TopicKey,
    settings: &BrokerSettings,
    overrides: &BTreeMap<String, String>,
    listing: Listing<'_>,
) -> ConfigEntry {
    let name = key.key.name;
    let mut synonyms = Vec::new();
    if let Some(value) = overrides.get(name) {
        synonyms.push((
            name.to_owned(),
            Some(value.clone()),
            ConfigSource::DynamicTopic,
        ));
    }
    if let Some(broker_key) = key.broker_key {
        for (value, source) in settings.sources(broker_key) {
            synonyms.push((broker_key.to_owned(), value.map(str::to_owned), source));
        }
    }
    let value = overrides
        .get(name)
        .cloned()
        .or_else(|| settings.topic_value(name))
        .map(|value| settings.in_force(&key.key, value));
    let source = synonyms
        .first()
        .map_or(ConfigSource::Default, |(_, _, source)| *source);
    entry(&key.key, value, source, false, synonyms, listing)
}

/// The broker's configurations: all of this one, or what was set for all brokers.
pub(crate) fn broker_entries(
    settings: &BrokerSettings,
    scope: BrokerScope,
    listing: Listing<'_>,
) -> Vec<ConfigEntry> {
    let mut keys: Vec<_> = broker_keys()
        .filter(|key| listing.wants(key.key.name))
        .collect();
    keys.sort_by_key(|key| key.key.name);
    if scope == BrokerScope::AllBrokers {
        let set = settings.dynamic(scope);
        keys.retain(|key| set.contains_key(key.key.name));
    }
    keys.into_iter()
        .map(|key| broker_entry(key.key.name, settings, scope, listing))
        .collect()
}

fn broker_entry(
    name: &str,
    settings: &BrokerSettings,
    scope: BrokerScope,
    listing: Listing<'_>,
) -> ConfigEntry {
    let key = broker_key(name).expect("the name is out of the table");
    let mut sources = settings.sources(name);
    if scope == BrokerScope::AllBrokers {
        sources.retain(|(_, source)| *source == ConfigSource::DynamicDefaultBroker);
    }
    let value = sources
        .first()
        .and_then(|(value, _)| value.map(str::to_owned))
        .map(|value| settings.in_force(&key.key, value));
    let source = sources
        .first()
        .map_or(ConfigSource::Default, |(_, source)| *source);
    let synonyms = sources
        .into_iter()
        .map(|(value, source)| (name.to_owned(), value.map(str::to_owned), source))
        .collect();
    entry(&key.key, value, source, !key.dynamic, synonyms, listing)
}

fn entry(
    key: &Key,
    value: Option<String>,
    source: ConfigSource,
    read_only: bool,
    synonyms: Vec<(String, Option<String>, ConfigSource)>,
    listing: Listing<'_>,
) -> ConfigEntry {
    ConfigEntry {
        name: key.name.to_owned(),
        value,
        read_only,
        source,
        sensitive: false,
        synonyms: if listing.synonyms {
            synonyms
        } else {
            Vec::new()
        },
        kind: key.kind,
        documentation: listing.documentation.then(|| key.doc.to_owned()),
    }
}
