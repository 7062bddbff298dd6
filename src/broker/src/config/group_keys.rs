//! The broker's configurations of groups and their offsets, as of Kafka 4.3.
//!
//! Names, types, defaults, bounds and texts are those of Apache Kafka 4.3.0 (Apache License 2.0),
//! but for the defaults that say otherwise.

use super::ConfigType;
use super::broker_keys::BrokerKey;
use super::key::{Check, INT_MAX, Key, Support};

/// A key that cannot be changed while the broker runs, and does what Kafka says.
const fn works(
    name: &'static str,
    kind: ConfigType,
    default: &'static str,
    min: i64,
    max: i64,
    doc: &'static str,
) -> BrokerKey {
    BrokerKey {
        key: Key {
            name,
            kind,
            default: Some(default),
            check: Check::Range { min, max },
            support: Support::Works,
            doc,
        },
        dynamic: false,
    }
}

/// As [`works`], for one or several of some words.
const fn one_of(
    name: &'static str,
    kind: ConfigType,
    default: &'static str,
    check: Check,
    doc: &'static str,
) -> BrokerKey {
    BrokerKey {
        key: Key {
            name,
            kind,
            default: Some(default),
            check,
            support: Support::Works,
            doc,
        },
        dynamic: false,
    }
}

const INT: ConfigType = ConfigType::Int;
const LONG: ConfigType = ConfigType::Long;

/// In the order of their names.
pub(super) const GROUP_KEYS: &[BrokerKey] = &[
    one_of(
        "group.consumer.assignors",
        ConfigType::List,
        "uniform,range",
        Check::ListOf(&["uniform", "range"]),
        "The server side assignors as a list of names of builtin assignors. The first one in the list is considered as the default assignor to be used in the case where the consumer does not specify an assignor. The supported builtin assignors are: uniform, range.",
    ),
    works(
        "group.consumer.heartbeat.interval.ms",
        INT,
        "5000",
        1,
        INT_MAX,
        "The heartbeat interval given to the members of a consumer group.",
    ),
    works(
        "group.consumer.max.size",
        INT,
        "2147483647",
        1,
        INT_MAX,
        "The maximum number of consumers that a single consumer group can accommodate. This value will only impact the new consumer coordinator. To configure the classic consumer coordinator check group.max.size instead.",
    ),
    one_of(
        "group.consumer.migration.policy",
        ConfigType::String,
        "bidirectional",
        Check::OneOf(&["bidirectional", "upgrade", "downgrade", "disabled"]),
        "The config that enables converting the non-empty classic group using the consumer embedded protocol to the non-empty consumer group using the consumer group protocol and vice versa; conversions of empty groups in both directions are always enabled regardless of this policy. bidirectional: both upgrade from classic group to consumer group and downgrade from consumer group to classic group are enabled, upgrade: only upgrade from classic group to consumer group is enabled, downgrade: only downgrade from consumer group to classic group is enabled, disabled: neither upgrade nor downgrade is enabled.",
    ),
    works(
        "group.consumer.session.timeout.ms",
        INT,
        "45000",
        1,
        INT_MAX,
        "The timeout to detect client failures when using the consumer group protocol.",
    ),
    works(
        "group.initial.rebalance.delay.ms",
        INT,
        // Kafka's is 3000: what a group of one pays at each start of it.
        "100",
        0,
        INT_MAX,
        "The amount of time the group coordinator will wait for more consumers to join a new group before performing the first rebalance. A longer delay means potentially fewer rebalances, but increases the time until processing begins.",
    ),
    works(
        "group.max.session.timeout.ms",
        INT,
        "1800000",
        0,
        INT_MAX,
        "The maximum allowed session timeout for registered consumers. Longer timeouts give consumers more time to process messages in between heartbeats at the cost of a longer time to detect failures.",
    ),
    works(
        "group.max.size",
        INT,
        "2147483647",
        1,
        INT_MAX,
        "The maximum number of consumers that a single consumer group can accommodate.",
    ),
    works(
        "group.min.session.timeout.ms",
        INT,
        "6000",
        0,
        INT_MAX,
        "The minimum allowed session timeout for registered consumers. Shorter timeouts result in quicker failure detection at the cost of more frequent consumer heartbeating, which can overwhelm broker resources.",
    ),
    works(
        "offset.metadata.max.bytes",
        INT,
        "4096",
        0,
        INT_MAX,
        "The maximum size for a metadata entry associated with an offset commit.",
    ),
    works(
        "offsets.retention.check.interval.ms",
        LONG,
        "600000",
        1,
        i64::MAX,
        "Frequency at which to check for stale offsets",
    ),
    works(
        "offsets.retention.minutes",
        INT,
        "10080",
        1,
        INT_MAX,
        "For subscribed consumers, committed offset of a specific partition will be expired and discarded when 1) this retention period has elapsed after the consumer group loses all its consumers (i.e. becomes empty); 2) this retention period has elapsed since the last time an offset is committed for the partition and the group is no longer subscribed to the corresponding topic. For standalone consumers (using manual assignment), offsets will be expired after this retention period has elapsed since the time of last commit. Note that when a group is deleted via the delete-group request, its committed offsets will also be deleted without extra retention period; also when a topic is deleted via the delete-topic request, upon propagated metadata update any group's committed offsets for that topic will also be deleted without extra retention period.",
    ),
    works(
        "offsets.topic.num.partitions",
        INT,
        "50",
        1,
        // As many as one request may create.
        10_000,
        "The number of partitions for the offset commit topic (should not change after deployment).",
    ),
    works(
        "offsets.topic.segment.bytes",
        INT,
        "104857600",
        // The least of segment.bytes.
        1_048_576,
        INT_MAX,
        "The offsets topic segment bytes should be kept relatively small in order to facilitate faster log compaction and cache loads.",
    ),
];
