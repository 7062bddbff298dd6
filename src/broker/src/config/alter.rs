//! Changes of configurations, checked. Pure: what comes out replaces what was set. Only what a
//! change sets is checked: a value that was allowed when it was set may stay.

use super::broker_settings::dynamic_key;
use super::topic_keys::topic_key;
use super::{BrokerSettings, ConfigType, TopicConfig};
use crate::BrokerError;
use std::collections::{BTreeMap, BTreeSet};

/// Values by name, in canonical form.
pub(crate) type Overrides = BTreeMap<String, String>;

/// Name, operation, value, as IncrementalAlterConfigs has them.
pub(crate) type Operation = (String, i8, Option<String>);

pub(crate) const SET: i8 = 0;
pub(crate) const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Checks a whole set of a topic's overrides, as CreateTopics and AlterConfigs bring it.
pub(crate) fn topic_overrides(
    entries: &[(String, Option<String>)],
    settings: &BrokerSettings,
) -> Result<Overrides, BrokerError> {
    if let Some(names) = nulls(entries) {
        return Err(BrokerError::InvalidConfig(format!(
            "Null value not supported for topic configs: {names}"
        )));
    }
    let mut overrides = Overrides::new();
    for (name, value) in entries {
        let Some(key) = topic_key(name) else {
            return Err(unknown_topic_config(name));
        };
        let text = value.as_deref().unwrap_or_default();
        let value = key.key.parse_within(text, settings.batch_bytes_max)?;
        overrides.insert(name.clone(), value);
    }
    check_lags(&overrides, settings)?;
    Ok(overrides)
}

/// A record cannot be due for compaction before it may be compacted.
fn check_lags(overrides: &Overrides, settings: &BrokerSettings) -> Result<(), BrokerError> {
    let [min, max] = ["min.compaction.lag.ms", "max.compaction.lag.ms"];
    if !overrides.contains_key(min) && !overrides.contains_key(max) {
        return Ok(());
    }
    let config = TopicConfig::resolve(settings, overrides);
    let (least, most) = (config.compaction_lag_min_ms, config.compaction_lag_max_ms);
    if least > most {
        return Err(BrokerError::InvalidConfig(format!(
            "conflict topic config setting {min} ({least}) > {max} ({most})"
        )));
    }
    Ok(())
}

/// The names without a value, if there are any.
pub(crate) fn nulls(entries: &[(String, Option<String>)]) -> Option<String> {
    let nulls = entries.iter().filter(|(_, value)| value.is_none());
    let names: Vec<&str> = nulls.map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// Applies operations to a topic's overrides.
pub(crate) fn alter_topic(
    current: &Overrides,
    operations: &[Operation],
    settings: &BrokerSettings,
) -> Result<Overrides, BrokerError> {
    check_operations(operations)?;
    let mut overrides = current.clone();
    for (name, operation, value) in operations {
        let key = topic_key(name);
        let text = value.as_deref().unwrap_or_default();
        match *operation {
            // Deleting what is not there, known or not, is no error, as in Kafka.
            DELETE => {
                overrides.remove(name);
            }
            SET => {
                let key = key.ok_or_else(|| unknown_topic_config(name))?;
                overrides.insert(
                    name.clone(),
                    key.key.parse_within(text, settings.batch_bytes_max)?,
                );
            }
            operation => {
                let kind = key.map(|key| key.key.kind);
                let list = overrides
                    .get(name)
                    .cloned()
                    .or_else(|| settings.topic_value(name))
                    .unwrap_or_default();
                let list = merged_list(name, kind, operation, &list, text)?;
                let key = key.ok_or_else(|| unknown_topic_config(name))?;
                overrides.insert(name.clone(), key.key.parse(&list)?);
            }
        }
    }
    check_lags(&overrides, settings)?;
    Ok(overrides)
}

/// Applies operations to the broker's values set while it runs.
pub(crate) fn alter_broker(
    current: &Overrides,
    operations: &[Operation],
    batch_bytes_max: i32,
) -> Result<Overrides, BrokerError> {
    check_operations(operations)?;
    let mut values = current.clone();
    for (name, operation, value) in operations {
        match *operation {
            DELETE => {
                values.remove(name);
            }
            SET => {
                let text = value.as_deref().unwrap_or_default();
                values.insert(name.clone(), broker_value(name, text, batch_bytes_max)?);
            }
            operation => {
                let kind = dynamic_key(name).map(|key| key.kind);
                let list = values.get(name).cloned().unwrap_or_default();
                let list = merged_list(
                    name,
                    kind,
                    operation,
                    &list,
                    value.as_deref().unwrap_or_default(),
                )?;
                values.insert(name.clone(), broker_value(name, &list, batch_bytes_max)?);
            }
        }
    }
    Ok(values)
}

/// Checks a whole set of the broker's values, as AlterConfigs brings it.
pub(crate) fn broker_values(
    entries: &[(String, Option<String>)],
    batch_bytes_max: i32,
) -> Result<Overrides, BrokerError> {
    let mut values = Overrides::new();
    for (name, value) in entries {
        let Some(text) = value else {
            return Err(BrokerError::InvalidRequest(format!(
                "Null value not supported for broker configs: {name}"
            )));
        };
        values.insert(name.clone(), broker_value(name, text, batch_bytes_max)?);
    }
    Ok(values)
}

fn broker_value(name: &str, text: &str, batch_bytes_max: i32) -> Result<String, BrokerError> {
    let Some(key) = dynamic_key(name) else {
        return Err(BrokerError::InvalidRequest(format!(
            "Cannot update these configs dynamically: [{name}]"
        )));
    };
    // Kafka answers a bad value of a broker's key with INVALID_REQUEST, a topic's with INVALID_CONFIG.
    key.parse_within(text, batch_bytes_max)
        .map_err(|error| BrokerError::InvalidRequest(error.to_string()))
}

fn check_operations(operations: &[Operation]) -> Result<(), BrokerError> {
    let mut names = BTreeSet::new();
    for (name, operation, value) in operations {
        if !names.insert(name.as_str()) {
            return Err(BrokerError::InvalidRequest(
                "Error due to duplicate config keys".to_owned(),
            ));
        }
        if !(SET..=SUBTRACT).contains(operation) {
            return Err(BrokerError::InvalidRequest(format!(
                "Unknown operation type {operation} is used for {name}"
            )));
        }
        if value.is_none() && *operation != DELETE {
            return Err(BrokerError::InvalidRequest(format!(
                "Null value not supported for : {name}"
            )));
        }
    }
    Ok(())
}

/// The list after an append or a subtract.
fn merged_list(
    name: &str,
    kind: Option<ConfigType>,
    operation: i8,
    current: &str,
    change: &str,
) -> Result<String, BrokerError> {
    if kind != Some(ConfigType::List) {
        let word = if operation == APPEND {
            "APPEND"
        } else {
            "SUBTRACT"
        };
        return Err(BrokerError::InvalidConfig(format!(
            "Can't {word} to key {name} because its type is not LIST."
        )));
    }
    let mut words: Vec<&str> = current.split(',').filter(|word| !word.is_empty()).collect();
    let changes = change
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    if operation == APPEND {
        for word in changes {
            if !words.contains(&word) {
                words.push(word);
            }
        }
    } else {
        let gone: Vec<&str> = changes.collect();
        words.retain(|word| !gone.contains(word));
    }
    Ok(words.join(","))
}

fn unknown_topic_config(name: &str) -> BrokerError {
    BrokerError::InvalidConfig(format!("Unknown topic config name: {name}"))
}
