//! The broker's own settings: Kafka's broker keys.

use super::broker_keys::{broker_key, broker_keys};
use super::topic_keys::topic_key;
use super::{ConfigSource, key::Key};
use crate::BrokerError;
use std::collections::BTreeMap;
use tailwater_group::{Assignor, GroupConfig, MigrationPolicy};

/// The broker's settings: what the configuration file, the environment and the flags said, and
/// what was changed while it ran. Immutable once made; a change makes a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerSettings {
    statics: BTreeMap<String, String>,
    /// Set while it ran: for all brokers (resource name "") and for this one.
    dynamic_default: BTreeMap<String, String>,
    dynamic_broker: BTreeMap<String, String>,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `fetch.max.bytes`: no answer to a fetch holds more, but for its first batch.
    pub fetch_bytes_max: usize,
    /// `max.incremental.fetch.session.cache.slots`, over all shards.
    pub fetch_sessions_max: usize,
    /// `max.request.partition.size.limit`: of DescribeTopicPartitions.
    pub described_partitions_max: i32,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval_ms: u64,
    /// `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// `max.connections`.
    pub connections_max: usize,
    /// `max.connections.per.ip`.
    pub connections_per_ip_max: usize,
    /// `connections.max.idle.ms`; negative: never.
    pub connections_max_idle_ms: i64,
    /// `group.*`, `offset.metadata.max.bytes` and `offsets.retention.*`.
    pub groups: GroupConfig,
    /// `offsets.topic.num.partitions`.
    pub offsets_topic_partitions: i32,
    /// The largest batch that storage can hold: no larger `max.message.bytes` can be set, and one
    /// that was set when storage could hold more counts as this.
    pub batch_bytes_max: i32,
}

/// Whose settings a change while running is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BrokerScope {
    /// All brokers: the resource's name is "".
    AllBrokers,
    /// This one.
    ThisBroker,
}

impl BrokerSettings {
    /// Checks Kafka's broker keys. An unknown name, or a value that cannot be kept, is
    /// `InvalidConfig` with a sentence that names it (and the nearest known name).
    pub fn from_pairs(pairs: &BTreeMap<String, String>) -> Result<Self, BrokerError> {
        let mut statics = BTreeMap::new();
        for (name, raw) in pairs {
            let Some(key) = broker_key(name) else {
                return Err(unknown_name(name));
            };
            statics.insert(name.clone(), key.key.parse(raw)?);
        }
        Ok(Self::new(
            statics,
            BTreeMap::new(),
            BTreeMap::new(),
            i32::MAX,
        ))
    }

    /// The same settings over storage that holds no larger batch than this.
    ///
    /// # Errors
    /// `InvalidConfig` when they ask for more, with a sentence that names the key.
    pub fn with_batches_up_to(self, bytes_max: usize) -> Result<Self, BrokerError> {
        let batch_bytes_max = i32::try_from(bytes_max).unwrap_or(i32::MAX);
        for (name, value) in &self.statics {
            let key = broker_key(name).expect("checked when it was set");
            key.key.parse_within(value, batch_bytes_max)?;
        }
        let mut settings = Self {
            batch_bytes_max,
            ..self
        };
        settings.groups = settings.group_config();
        Ok(settings)
    }

    /// The names of all keys.
    pub fn names() -> impl Iterator<Item = &'static str> {
        broker_keys().map(|key| key.key.name)
    }

    /// Name, default and Kafka's text of every key; a default of `None` is null.
    pub fn documented() -> impl Iterator<Item = (&'static str, Option<&'static str>, &'static str)>
    {
        broker_keys().map(|key| (key.key.name, key.key.default, key.key.doc))
    }

    /// The value that holds, in canonical form; `None` is null or an unknown name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.sources(name).first().and_then(|(value, _)| *value)
    }

    /// What was set while running.
    pub(crate) fn dynamic(&self, scope: BrokerScope) -> &BTreeMap<String, String> {
        match scope {
            BrokerScope::AllBrokers => &self.dynamic_default,
            BrokerScope::ThisBroker => &self.dynamic_broker,
        }
    }

    /// The same settings with other values set while running; all checked before.
    pub(crate) fn with_dynamic(
        &self,
        scope: BrokerScope,
        values: BTreeMap<String, String>,
    ) -> Self {
        let (mut all, mut this) = (self.dynamic_default.clone(), self.dynamic_broker.clone());
        match scope {
            BrokerScope::AllBrokers => all = values,
            BrokerScope::ThisBroker => this = values,
        }
        Self::new(self.statics.clone(), all, this, self.batch_bytes_max)
    }

    /// What a value that was set comes to: a size of batches that storage cannot hold (any more)
    /// counts as what it can.
    pub(super) fn in_force(&self, key: &Key, value: String) -> String {
        if key.is_over(&value, self.batch_bytes_max) {
            self.batch_bytes_max.to_string()
        } else {
            value
        }
    }

    /// All places that give a value, the winning one first.
    pub(super) fn sources(&self, name: &str) -> Vec<(Option<&str>, ConfigSource)> {
        let set = [
            (&self.dynamic_broker, ConfigSource::DynamicBroker),
            (&self.dynamic_default, ConfigSource::DynamicDefaultBroker),
            (&self.statics, ConfigSource::StaticBroker),
        ];
        let mut found: Vec<_> = set
            .iter()
            .filter_map(|(values, source)| {
                values
                    .get(name)
                    .map(|value| (Some(value.as_str()), *source))
            })
            .collect();
        if let Some(default) = broker_key(name).and_then(|key| key.key.default) {
            found.push((Some(default), ConfigSource::Default));
        }
        found
    }

    /// What a topic without an override lives by. Kafka's older spellings in hours and minutes
    /// count where the one in milliseconds is not set.
    pub(crate) fn topic_value(&self, name: &str) -> Option<String> {
        let key = topic_key(name)?;
        if let Some(value) = key.broker_key.and_then(|broker_key| self.value(broker_key)) {
            return Some(value.to_owned());
        }
        let hour = 3_600_000;
        let longer = match name {
            "retention.ms" => self
                .in_ms("log.retention.minutes", 60_000)
                .or_else(|| self.in_ms("log.retention.hours", hour)),
            "segment.ms" => self.in_ms("log.roll.hours", hour),
            _ => None,
        };
        longer
            .map(|ms| ms.to_string())
            .or_else(|| key.key.default.map(str::to_owned))
    }

    fn in_ms(&self, name: &str, unit: i64) -> Option<i64> {
        let number: i64 = self.value(name)?.parse().expect("checked when it was set");
        Some(if number < 0 {
            -1
        } else {
            number.saturating_mul(unit)
        })
    }

    fn new(
        statics: BTreeMap<String, String>,
        dynamic_default: BTreeMap<String, String>,
        dynamic_broker: BTreeMap<String, String>,
        batch_bytes_max: i32,
    ) -> Self {
        let mut settings = Self {
            statics,
            dynamic_default,
            dynamic_broker,
            auto_create_topics: false,
            delete_topics: false,
            num_partitions: 0,
            fetch_bytes_max: 0,
            fetch_sessions_max: 0,
            described_partitions_max: 0,
            producer_id_expiration_ms: 0,
            retention_check_interval_ms: 0,
            request_bytes_max: 0,
            connections_max: 0,
            connections_per_ip_max: 0,
            connections_max_idle_ms: 0,
            groups: GroupConfig::default(),
            offsets_topic_partitions: 0,
            batch_bytes_max,
        };
        settings.auto_create_topics = settings.value("auto.create.topics.enable") == Some("true");
        settings.delete_topics = settings.value("delete.topic.enable") == Some("true");
        settings.num_partitions = settings.number("num.partitions");
        settings.fetch_bytes_max = settings.number("fetch.max.bytes");
        settings.fetch_sessions_max = settings.number("max.incremental.fetch.session.cache.slots");
        settings.described_partitions_max = settings.number("max.request.partition.size.limit");
        settings.producer_id_expiration_ms = settings.number("producer.id.expiration.ms");
        settings.retention_check_interval_ms = settings.number("log.retention.check.interval.ms");
        settings.request_bytes_max = settings.number("socket.request.max.bytes");
        settings.connections_max = settings.number("max.connections");
        settings.connections_per_ip_max = settings.number("max.connections.per.ip");
        settings.connections_max_idle_ms = settings.number("connections.max.idle.ms");
        settings.groups = settings.group_config();
        settings.offsets_topic_partitions = settings.number("offsets.topic.num.partitions");
        settings
    }

    fn group_config(&self) -> GroupConfig {
        let retention_minutes: i64 = self.number("offsets.retention.minutes");
        let defaults = GroupConfig::default();
        // Batches of twice as much are written: they and their headers have to fit the log.
        let batch_bytes_max = u64::try_from(self.batch_bytes_max).unwrap_or(0) / 3;
        GroupConfig {
            batch_bytes_max: defaults.batch_bytes_max.min(batch_bytes_max),
            session_timeout_min_ms: self.number("group.min.session.timeout.ms"),
            session_timeout_max_ms: self.number("group.max.session.timeout.ms"),
            initial_rebalance_delay_ms: self.number("group.initial.rebalance.delay.ms"),
            classic_members_max: self.number("group.max.size"),
            consumer_members_max: self.number("group.consumer.max.size"),
            consumer_session_timeout_ms: self.number("group.consumer.session.timeout.ms"),
            consumer_heartbeat_interval_ms: self.number("group.consumer.heartbeat.interval.ms"),
            consumer_assignors: self.assignors(),
            consumer_migration: self
                .value("group.consumer.migration.policy")
                .and_then(MigrationPolicy::by_name)
                .expect("the table has a policy"),
            offset_metadata_max: self.number("offset.metadata.max.bytes"),
            offsets_retention_ms: retention_minutes * 60_000,
            offsets_retention_check_ms: self.number("offsets.retention.check.interval.ms"),
            ..defaults
        }
    }

    fn assignors(&self) -> Vec<Assignor> {
        let names = self.value("group.consumer.assignors").unwrap_or_default();
        names
            .split(',')
            .filter_map(|name| Assignor::by_name(name.trim()))
            .collect()
    }

    fn number<T: TryFrom<i64>>(&self, name: &str) -> T {
        let number: i64 = self
            .value(name)
            .and_then(|value| value.parse().ok())
            .expect("the table has a number");
        T::try_from(number)
            .ok()
            .expect("the table's bounds fit the type")
    }
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self::new(BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), i32::MAX)
    }
}

fn unknown_name(name: &str) -> BrokerError {
    let nearest = BrokerSettings::names()
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, _)| *distance <= 4);
    let hint = nearest.map_or_else(String::new, |(_, known)| {
        format!(" (did you mean {known}?)")
    });
    BrokerError::InvalidConfig(format!("Unknown broker config name: {name}{hint}"))
}

/// The key, if it can be changed while the broker runs.
pub(super) fn dynamic_key(name: &str) -> Option<&'static Key> {
    broker_key(name)
        .filter(|key| key.dynamic)
        .map(|key| &key.key)
}
