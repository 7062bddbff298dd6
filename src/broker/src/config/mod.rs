//! Configurations of topics and brokers: what exists, what is allowed, what holds.

mod alter;
mod broker_keys;
mod broker_settings;
mod describe;
mod group_keys;
mod key;
mod log_keys;
mod topic_config;
mod topic_keys;

use crate::BrokerError;

pub(crate) use alter::{
    DELETE, Overrides, SET, alter_broker, alter_topic, broker_values, nulls, topic_overrides,
};
pub use broker_settings::{BrokerScope, BrokerSettings};
pub(crate) use describe::{Listing, broker_entries, topic_entries};
pub use topic_config::{Compression, TopicConfig};

/// What a configuration belongs to, with Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    /// 2.
    Topic,
    /// 4.
    Broker,
    /// Any other number: refused.
    Other(i8),
}

impl From<i8> for ResourceKind {
    fn from(number: i8) -> Self {
        match number {
            2 => Self::Topic,
            4 => Self::Broker,
            other => Self::Other(other),
        }
    }
}

impl ResourceKind {
    /// Kafka's number.
    pub fn number(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::Other(other) => other,
        }
    }
}

/// A topic by name, or a broker by its id in decimal ("" means every broker).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    /// What it is.
    pub kind: ResourceKind,
    /// Which one.
    pub name: String,
}

/// DescribeConfigs of one resource.
#[derive(Clone, Debug)]
pub struct ConfigQuery {
    /// Of what.
    pub resource: ConfigResource,
    /// Only these names; `None` is all.
    pub names: Option<Vec<String>>,
}

/// One configuration as DescribeConfigs and CreateTopics list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value, `None` for null.
    pub value: Option<String>,
    /// It cannot be changed.
    pub read_only: bool,
    /// Where the value is from.
    pub source: ConfigSource,
    /// Its value is not to be shown.
    pub sensitive: bool,
    /// All the places a value could be from, the winning one first. Empty unless asked for.
    pub synonyms: Vec<(String, Option<String>, ConfigSource)>,
    /// The type of the value.
    pub kind: ConfigType,
    /// Empty unless asked for.
    pub documentation: Option<String>,
}

/// Where a value is from, with Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    DynamicTopic = 1,
    /// Set on this broker while it ran.
    DynamicBroker = 2,
    /// Set for all brokers while they ran.
    DynamicDefaultBroker = 3,
    /// From the configuration file, the environment or the flags.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
}

/// The type of a value, with Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// true or false.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 16 bits.
    Short = 4,
    /// 64 bits.
    Long = 5,
    /// A number with a point.
    Double = 6,
    /// Comma-separated.
    List = 7,
    /// A class's name.
    Class = 8,
    /// Never shown.
    Password = 9,
}

/// AlterConfigs of one resource: the whole set of overrides, replacing what was there.
#[derive(Clone, Debug)]
pub struct ConfigReplacement {
    /// Of what.
    pub resource: ConfigResource,
    /// Name and value.
    pub entries: Vec<(String, Option<String>)>,
}

/// IncrementalAlterConfigs of one resource.
#[derive(Clone, Debug)]
pub struct ConfigChange {
    /// Of what.
    pub resource: ConfigResource,
    /// Name, operation (0 set, 1 delete, 2 append, 3 subtract), value.
    pub operations: Vec<(String, i8, Option<String>)>,
}

/// The outcome for one resource.
pub type ConfigOutcome = (ConfigResource, Result<(), BrokerError>);

#[cfg(test)]
mod tests;
