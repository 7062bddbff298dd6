//! The topics' configurations: Kafka 4.3's, and three of our own.
//!
//! Names, types, defaults, bounds and texts are those of Apache Kafka 4.3.0 (Apache License 2.0),
//! except `flush.ms`, which here is about `write.caching` only.

use super::ConfigType;
use super::key::{Check, INT_MAX, Key, Support};

/// A topic's configuration.
pub(super) struct TopicKey {
    /// What it is.
    pub(super) key: Key,
    /// The broker's key that gives its default.
    pub(super) broker_key: Option<&'static str>,
}

/// In the order of their names.
pub(super) const TOPIC_KEYS: &[TopicKey] = &[
    TopicKey {
        key: Key {
            name: "cleanup.policy",
            kind: ConfigType::List,
            default: Some("delete"),
            check: Check::ListOf(&["compact", "delete"]),
            support: Support::Works,
            doc: "This config designates the retention policy to use on log segments. The \"delete\" policy (which is the default) will discard old segments when their retention time or size limit has been reached. The \"compact\" policy will enable <a href=\"#compaction\">log compaction</a>, which retains the latest value for each key. It is also possible to specify both policies in a comma-separated list (e.g. \"delete,compact\"). In this case, old segments will be discarded per the retention time and size configuration, while retained segments will be compacted. An empty list means infinite retention - no cleanup policies will be applied and log segments will be retained indefinitely. Note that with remote storage enabled, local retention limits (log.local.retention.ms and log.local.retention.bytes) are still applied to local segments.",
        },
        broker_key: Some("log.cleanup.policy"),
    },
    TopicKey {
        key: Key {
            name: "compression.gzip.level",
            kind: ConfigType::Int,
            default: Some("-1"),
            check: Check::RangeOr {
                min: 1,
                max: 9,
                or: -1,
            },
            support: Support::Works,
            doc: "The compression level to use if compression.type is set to <code>gzip</code>.",
        },
        broker_key: Some("compression.gzip.level"),
    },
    TopicKey {
        key: Key {
            name: "compression.lz4.level",
            kind: ConfigType::Int,
            default: Some("9"),
            check: Check::Range { min: 1, max: 17 },
            support: Support::OnlyDefault,
            doc: "The compression level to use if compression.type is set to <code>lz4</code>.",
        },
        broker_key: Some("compression.lz4.level"),
    },
    TopicKey {
        key: Key {
            name: "compression.type",
            kind: ConfigType::String,
            default: Some("producer"),
            check: Check::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
            support: Support::Works,
            doc: "Specify the final compression type for a given topic. This configuration accepts the standard compression codecs ('gzip', 'snappy', 'lz4', 'zstd'). It additionally accepts 'uncompressed' which is equivalent to no compression; and 'producer' which means retain the original compression codec set by the producer.",
        },
        broker_key: Some("compression.type"),
    },
    TopicKey {
        key: Key {
            name: "compression.zstd.level",
            kind: ConfigType::Int,
            default: Some("3"),
            check: Check::Range {
                min: -131_072,
                max: 22,
            },
            support: Support::Works,
            doc: "The compression level to use if compression.type is set to <code>zstd</code>.",
        },
        broker_key: Some("compression.zstd.level"),
    },
    TopicKey {
        key: Key {
            name: "delete.retention.ms",
            kind: ConfigType::Long,
            default: Some("86400000"),
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "The amount of time to retain delete tombstone markers for <a href=\"#compaction\">log compacted</a> topics. This setting also gives a bound on the time in which a consumer must complete a read if they begin from offset 0 to ensure that they get a valid snapshot of the final stage (otherwise delete tombstones may be collected before they complete their scan).",
        },
        broker_key: Some("log.cleaner.delete.retention.ms"),
    },
    TopicKey {
        key: Key {
            name: "file.delete.delay.ms",
            kind: ConfigType::Long,
            default: Some("60000"),
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::OnlyDefault,
            doc: "The time to wait before deleting a file from the filesystem",
        },
        broker_key: Some("log.segment.delete.delay.ms"),
    },
    TopicKey {
        key: Key {
            name: "flush.bytes",
            kind: ConfigType::Long,
            default: Some("262144"),
            check: Check::Range {
                min: 1,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "How many bytes of a topic with <code>write.caching=true</code> may wait for the next sync of the log. Not a configuration of Kafka's.",
        },
        broker_key: Some("log.flush.bytes"),
    },
    TopicKey {
        key: Key {
            name: "flush.messages",
            kind: ConfigType::Long,
            default: Some("9223372036854775807"),
            check: Check::Range {
                min: 1,
                max: i64::MAX,
            },
            support: Support::OnlyDefault,
            doc: "This setting allows specifying an interval at which we will force an fsync of data written to the log. For example if this was set to 1 we would fsync after every message; if it were 5 we would fsync after every five messages. In general we recommend you not set this and use replication for durability and allow the operating system's background flush capabilities as it is more efficient. This setting can be overridden on a per-topic basis (see <a href=\"#topicconfigs\">the per-topic configuration section</a>).",
        },
        broker_key: Some("log.flush.interval.messages"),
    },
    TopicKey {
        key: Key {
            name: "flush.ms",
            kind: ConfigType::Long,
            default: Some("100"),
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "How many milliseconds the records of a topic with <code>write.caching=true</code> may wait for the next sync of the log. Topics without it are synced with every commit, so this has no effect on them.",
        },
        broker_key: Some("log.flush.interval.ms"),
    },
    TopicKey {
        key: Key {
            name: "follower.replication.throttled.replicas",
            kind: ConfigType::List,
            default: Some(""),
            check: Check::Any,
            support: Support::OnlyDefault,
            doc: "A list of replicas for which log replication should be throttled on the follower side. The list should describe a set of replicas in the form [PartitionId]:[BrokerId],[PartitionId]:[BrokerId]:... or alternatively the wildcard '*' can be used to throttle all replicas for this topic.",
        },
        broker_key: None,
    },
    TopicKey {
        key: Key {
            name: "index.interval.bytes",
            kind: ConfigType::Int,
            default: Some("4096"),
            check: Check::Range {
                min: 0,
                max: INT_MAX,
            },
            support: Support::OnlyDefault,
            doc: "This setting controls how frequently Kafka adds entries to its offset index and, conditionally, to its time index. The default setting ensures that we index a message roughly every 4096 bytes. More frequent indexing allows reads to jump closer to the exact position in the log but results in larger index files. You probably don't need to change this.<p> Note: the time index will be inserted only when the timestamp is greater than the last indexed timestamp.</p>",
        },
        broker_key: Some("log.index.interval.bytes"),
    },
    TopicKey {
        key: Key {
            name: "leader.replication.throttled.replicas",
            kind: ConfigType::List,
            default: Some(""),
            check: Check::Any,
            support: Support::OnlyDefault,
            doc: "A list of replicas for which log replication should be throttled on the leader side. The list should describe a set of replicas in the form [PartitionId]:[BrokerId],[PartitionId]:[BrokerId]:... or alternatively the wildcard '*' can be used to throttle all replicas for this topic.",
        },
        broker_key: None,
    },
    TopicKey {
        key: Key {
            name: "local.retention.bytes",
            kind: ConfigType::Long,
            default: Some("-2"),
            check: Check::Range {
                min: -2,
                max: i64::MAX,
            },
            support: Support::OnlyDefault,
            doc: "The maximum size of local log segments that can grow for a partition before it deletes the old segments. Default value is -2, it represents <code>retention.bytes</code> value to be used. The effective value should always be less than or equal to <code>retention.bytes</code> value.",
        },
        broker_key: Some("log.local.retention.bytes"),
    },
    TopicKey {
        key: Key {
            name: "local.retention.ms",
            kind: ConfigType::Long,
            default: Some("-2"),
            check: Check::Range {
                min: -2,
                max: i64::MAX,
            },
            support: Support::OnlyDefault,
            doc: "The number of milliseconds to keep the local log segment before it gets deleted. Default value is -2, it represents <code>retention.ms</code> value is to be used. The effective value should always be less than or equal to <code>retention.ms</code> value.",
        },
        broker_key: Some("log.local.retention.ms"),
    },
    TopicKey {
        key: Key {
            name: "max.compaction.lag.ms",
            kind: ConfigType::Long,
            default: Some("9223372036854775807"),
            check: Check::Range {
                min: 1,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "The maximum time a message will remain ineligible for compaction in the log. Only applicable for logs that are being compacted.",
        },
        broker_key: Some("log.cleaner.max.compaction.lag.ms"),
    },
    TopicKey {
        key: Key {
            name: "max.message.bytes",
            kind: ConfigType::Int,
            default: Some("1048588"),
            check: Check::Range {
                min: 0,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The largest record batch size allowed by Kafka (after compression if compression is enabled).",
        },
        broker_key: Some("message.max.bytes"),
    },
    TopicKey {
        key: Key {
            name: "message.timestamp.after.max.ms",
            kind: ConfigType::Long,
            default: Some("3600000"),
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "This configuration sets the allowable timestamp difference between the message timestamp and the broker's timestamp. The message timestamp can be later than or equal to the broker's timestamp, with the maximum allowable difference determined by the value set in this configuration. If message.timestamp.type=CreateTime, the message will be rejected if the difference in timestamps exceeds this specified threshold. This configuration is ignored if message.timestamp.type=LogAppendTime.",
        },
        broker_key: Some("log.message.timestamp.after.max.ms"),
    },
    TopicKey {
        key: Key {
            name: "message.timestamp.before.max.ms",
            kind: ConfigType::Long,
            default: Some("9223372036854775807"),
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "This configuration sets the allowable timestamp difference between the broker's timestamp and the message timestamp. The message timestamp can be earlier than or equal to the broker's timestamp, with the maximum allowable difference determined by the value set in this configuration. If message.timestamp.type=CreateTime, the message will be rejected if the difference in timestamps exceeds this specified threshold. This configuration is ignored if message.timestamp.type=LogAppendTime.",
        },
        broker_key: Some("log.message.timestamp.before.max.ms"),
    },
    TopicKey {
        key: Key {
            name: "message.timestamp.type",
            kind: ConfigType::String,
            default: Some("CreateTime"),
            check: Check::OneOf(&["CreateTime", "LogAppendTime"]),
            support: Support::Works,
            doc: "Define whether the timestamp in the message is message create time or log append time.",
        },
        broker_key: Some("log.message.timestamp.type"),
    },
    TopicKey {
        key: Key {
            name: "min.cleanable.dirty.ratio",
            kind: ConfigType::Double,
            default: Some("0.5"),
            check: Check::Ratio,
            support: Support::Works,
            doc: "This configuration controls how frequently the log compactor will attempt to clean the log (assuming <a href=\"#compaction\">log compaction</a> is enabled). By default we will avoid cleaning a log where more than 50% of the log has been compacted. This ratio bounds the maximum space wasted in the log by duplicates (at 50% at most 50% of the log could be duplicates). A higher ratio will mean fewer, more efficient cleanings but will mean more wasted space in the log. If the max.compaction.lag.ms or the min.compaction.lag.ms configurations are also specified, then the log compactor considers the log to be eligible for compaction as soon as either: (i) the dirty ratio threshold has been met and the log has had dirty (uncompacted) records for at least the min.compaction.lag.ms duration, or (ii) if the log has had dirty (uncompacted) records for at most the max.compaction.lag.ms period.",
        },
        broker_key: Some("log.cleaner.min.cleanable.ratio"),
    },
    TopicKey {
        key: Key {
            name: "min.compaction.lag.ms",
            kind: ConfigType::Long,
            default: Some("0"),
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "The minimum time a message will remain uncompacted in the log. Only applicable for logs that are being compacted.",
        },
        broker_key: Some("log.cleaner.min.compaction.lag.ms"),
    },
    TopicKey {
        key: Key {
            name: "min.insync.replicas",
            kind: ConfigType::Int,
            default: Some("1"),
            check: Check::Range {
                min: 1,
                max: INT_MAX,
            },
            support: Support::OnlyDefault,
            doc: "Specifies the <i>minimum</i> number of in-sync replicas (including the leader) required for a write to succeed when a producer sets <code>acks</code> to \"all\" (or \"-1\"). In the <code>acks=all</code> case, every in-sync replica must acknowledge a write for it to be considered successful. E.g., if a topic has <code>replication.factor</code> of 3 and the ISR set includes all three replicas, then all three replicas must acknowledge an <code>acks=all</code> write for it to succeed, even if <code>min.insync.replicas</code> happens to be less than 3. If <code>acks=all</code> and the current ISR set contains fewer than <code>min.insync.replicas</code> members, then the producer will raise an exception (either <code>NotEnoughReplicas</code> or <code>NotEnoughReplicasAfterAppend</code>).<br> Regardless of the <code>acks</code> setting, the messages will not be visible to the consumers until they are replicated to all in-sync replicas and the <code>min.insync.replicas</code> condition is met.<br> When used together, <code>min.insync.replicas</code> and <code>acks</code> allow you to enforce greater durability guarantees. A typical scenario would be to create a topic with a replication factor of 3, set <code>min.insync.replicas</code> to 2, and produce with <code>acks</code> of \"all\". This ensures that a majority of replicas must persist a write before it's considered successful by the producer and it's visible to consumers.<p>Note that when the Eligible Leader Replicas feature is enabled, the semantics of this config changes. Please refer to <a href=\"#eligible_leader_replicas\">the ELR section</a> for more info.</p>",
        },
        broker_key: Some("min.insync.replicas"),
    },
    TopicKey {
        key: Key {
            name: "preallocate",
            kind: ConfigType::Boolean,
            default: Some("false"),
            check: Check::Any,
            support: Support::OnlyDefault,
            doc: "True if we should preallocate the file on disk when creating a new log segment.",
        },
        broker_key: Some("log.preallocate"),
    },
    TopicKey {
        key: Key {
            name: "record.validation",
            kind: ConfigType::String,
            default: Some("full"),
            check: Check::OneOf(&["full", "header"]),
            support: Support::Works,
            doc: "How much of a produced batch is checked: <code>full</code> walks every record, also of compressed batches; <code>header</code> stops at the batch header and its checksum. Not a configuration of Kafka's.",
        },
        broker_key: Some("log.record.validation"),
    },
    TopicKey {
        key: Key {
            name: "remote.log.copy.disable",
            kind: ConfigType::Boolean,
            default: Some("false"),
            check: Check::Any,
            support: Support::OnlyDefault,
            doc: "Determines whether tiered data for a topic should become read only, and no more data uploading on a topic. Once this config is set to true, the local retention configuration (i.e. local.retention.ms/bytes) becomes irrelevant, and all data expiration follows the topic-wide retention configuration(i.e. retention.ms/bytes).",
        },
        broker_key: None,
    },
    TopicKey {
        key: Key {
            name: "remote.log.delete.on.disable",
            kind: ConfigType::Boolean,
            default: Some("false"),
            check: Check::Any,
            support: Support::OnlyDefault,
            doc: "Determines whether tiered data for a topic should be deleted after tiered storage is disabled on a topic. This configuration should be enabled when trying to set <code>remote.storage.enable</code> from true to false",
        },
        broker_key: None,
    },
    TopicKey {
        key: Key {
            name: "remote.storage.enable",
            kind: ConfigType::Boolean,
            default: Some("false"),
            check: Check::Any,
            support: Support::OnlyDefault,
            doc: "To enable tiered storage for a topic, set this configuration to true. To disable tiered storage for a topic that has it enabled, set this configuration to false. When disabling, you must also set <code>remote.log.delete.on.disable</code> to true.",
        },
        broker_key: None,
    },
    TopicKey {
        key: Key {
            name: "retention.bytes",
            kind: ConfigType::Long,
            default: Some("-1"),
            check: Check::Range {
                min: i64::MIN,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "This configuration controls the maximum size a partition (which consists of log segments) can grow to before we will discard old log segments to free up space if we are using the \"delete\" retention policy. By default there is no size limit only a time limit. Since this limit is enforced at the partition level, multiply it by the number of partitions to compute the topic retention in bytes. Additionally, retention.bytes configuration operates independently of \"segment.ms\" and \"segment.bytes\" configurations. Moreover, it triggers the rolling of new segment if the retention.bytes is configured to zero.",
        },
        broker_key: Some("log.retention.bytes"),
    },
    TopicKey {
        key: Key {
            name: "retention.ms",
            kind: ConfigType::Long,
            default: Some("604800000"),
            check: Check::Range {
                min: -1,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "This configuration controls the maximum time we will retain a log before we will discard old log segments to free up space if we are using the \"delete\" retention policy. This represents an SLA on how soon consumers must read their data. If set to -1, no time limit is applied. Additionally, retention.ms configuration operates independently of \"segment.ms\" and \"segment.bytes\" configurations. Moreover, it triggers the rolling of new segment if the retention.ms condition is satisfied.",
        },
        broker_key: Some("log.retention.ms"),
    },
    TopicKey {
        key: Key {
            name: "segment.bytes",
            kind: ConfigType::Int,
            default: Some("1073741824"),
            check: Check::Range {
                min: 1_048_576,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "This configuration controls the segment file size for the log. Retention and cleaning is always done a file at a time so a larger segment size means fewer files but less granular control over retention.",
        },
        broker_key: Some("log.segment.bytes"),
    },
    TopicKey {
        key: Key {
            name: "segment.index.bytes",
            kind: ConfigType::Int,
            default: Some("10485760"),
            check: Check::Range {
                min: 4,
                max: INT_MAX,
            },
            support: Support::OnlyDefault,
            doc: "This configuration controls the size of the index that maps offsets to file positions. We preallocate this index file and shrink it only after log rolls. You generally should not need to change this setting.",
        },
        broker_key: Some("log.index.size.max.bytes"),
    },
    TopicKey {
        key: Key {
            name: "segment.jitter.ms",
            kind: ConfigType::Long,
            default: Some("0"),
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::OnlyDefault,
            doc: "The maximum random jitter subtracted from the scheduled segment roll time to avoid thundering herds of segment rolling",
        },
        broker_key: Some("log.roll.jitter.ms"),
    },
    TopicKey {
        key: Key {
            name: "segment.ms",
            kind: ConfigType::Long,
            default: Some("604800000"),
            check: Check::Range {
                min: 1,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "This configuration controls the period of time after which Kafka will force the log to roll even if the segment file isn't full to ensure that retention can delete or compact old data.",
        },
        broker_key: Some("log.roll.ms"),
    },
    TopicKey {
        key: Key {
            name: "unclean.leader.election.enable",
            kind: ConfigType::Boolean,
            default: Some("false"),
            check: Check::Any,
            support: Support::OnlyDefault,
            doc: "Indicates whether to enable replicas not in the ISR set to be elected as leader as a last resort, even though doing so may result in data loss.<p>Note: In KRaft mode, when enabling this config dynamically, it needs to wait for the unclean leader electionthread to trigger election periodically (default is 5 minutes). Please run <code>kafka-leader-election.sh</code> with <code>unclean</code> option to trigger the unclean leader election immediately if needed.</p>",
        },
        broker_key: Some("unclean.leader.election.enable"),
    },
    TopicKey {
        key: Key {
            name: "write.caching",
            kind: ConfigType::Boolean,
            default: Some("false"),
            check: Check::Any,
            support: Support::Works,
            doc: "Acknowledge acks=all, and show to consumers, what has been written but is not yet durable. A power cut may take back up to <code>flush.ms</code> or <code>flush.bytes</code> of such records; a killed process loses none. The name is Redpanda's.",
        },
        broker_key: Some("log.write.caching"),
    },
];

/// The key of that name.
pub(super) fn topic_key(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.iter().find(|key| key.key.name == name)
}
