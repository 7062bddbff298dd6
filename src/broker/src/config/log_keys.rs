//! The broker's configurations that give the topics' defaults, as of Kafka 4.3.
//!
//! Names, types, defaults, bounds and texts are those of Apache Kafka 4.3.0 (Apache License 2.0).

use super::ConfigType;
use super::broker_keys::BrokerKey;
use super::key::{Check, INT_MAX, INT_MIN, Key, Support};

/// In the order of their names.
pub(super) const LOG_KEYS: &[BrokerKey] = &[
    BrokerKey {
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
            doc: "The compression level to use if compression.type is set to 'gzip'.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "compression.lz4.level",
            kind: ConfigType::Int,
            default: Some("9"),
            check: Check::Range { min: 1, max: 17 },
            support: Support::OnlyDefault,
            doc: "The compression level to use if compression.type is set to 'lz4'.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "compression.type",
            kind: ConfigType::String,
            default: Some("producer"),
            check: Check::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
            support: Support::Works,
            doc: "Specify the final compression type for a given topic. This configuration accepts the standard compression codecs ('gzip', 'snappy', 'lz4', 'zstd'). It additionally accepts 'uncompressed' which is equivalent to no compression; and 'producer' which means retain the original compression codec set by the producer.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "compression.zstd.level",
            kind: ConfigType::Int,
            default: Some("3"),
            check: Check::Range {
                min: -131_072,
                max: 22,
            },
            support: Support::Works,
            doc: "The compression level to use if compression.type is set to 'zstd'.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.cleaner.delete.retention.ms",
            kind: ConfigType::Long,
            default: Some("86400000"),
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "The amount of time to retain tombstone message markers for log compacted topics. This setting also gives a bound on the time in which a consumer must complete a read if they begin from offset 0 to ensure that they get a valid snapshot of the final stage (otherwise  tombstones messages may be collected before a consumer completes their scan).",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.cleaner.enable",
            kind: ConfigType::Boolean,
            default: Some("true"),
            check: Check::Any,
            support: Support::OnlyDefault,
            doc: "This configuration has been deprecated and will be removed in Kafka 5.0. Users should not set it to false to prepare for its future removal. Enable the log cleaner process to run on the server. Should be enabled if using any topics with a cleanup.policy=compact including the internal offsets topic. If disabled those topics will not be compacted and continually grow in size.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.cleaner.max.compaction.lag.ms",
            kind: ConfigType::Long,
            default: Some("9223372036854775807"),
            check: Check::Range {
                min: 1,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "The maximum time a message will remain ineligible for compaction in the log. Only applicable for logs that are being compacted.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.cleaner.min.cleanable.ratio",
            kind: ConfigType::Double,
            default: Some("0.5"),
            check: Check::Ratio,
            support: Support::Works,
            doc: "The minimum ratio of dirty log to total log for a log to eligible for cleaning. If the log.cleaner.max.compaction.lag.ms or the log.cleaner.min.compaction.lag.ms configurations are also specified, then the log compactor considers the log eligible for compaction as soon as either: (i) the dirty ratio threshold has been met and the log has had dirty (uncompacted) records for at least the log.cleaner.min.compaction.lag.ms duration, or (ii) if the log has had dirty (uncompacted) records for at most the log.cleaner.max.compaction.lag.ms period.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.cleaner.min.compaction.lag.ms",
            kind: ConfigType::Long,
            default: Some("0"),
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "The minimum time a message will remain uncompacted in the log. Only applicable for logs that are being compacted.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.cleanup.policy",
            kind: ConfigType::List,
            default: Some("delete"),
            check: Check::ListOf(&["compact", "delete"]),
            support: Support::Works,
            doc: "This config designates the retention policy to use on log segments. The \"delete\" policy (which is the default) will discard old segments when their retention time or size limit has been reached. The \"compact\" policy will enable <a href=\"#compaction\">log compaction</a>, which retains the latest value for each key. It is also possible to specify both policies in a comma-separated list (e.g. \"delete,compact\"). In this case, old segments will be discarded per the retention time and size configuration, while retained segments will be compacted. An empty list means infinite retention - no cleanup policies will be applied and log segments will be retained indefinitely. Note that with remote storage enabled, local retention limits (log.local.retention.ms and log.local.retention.bytes) are still applied to local segments.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.dir",
            kind: ConfigType::List,
            default: Some("/tmp/kafka-logs"),
            check: Check::Any,
            support: Support::Works,
            doc: "A comma-separated list of the directories where the log data is stored. (supplemental to log.dirs property)",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.dirs",
            kind: ConfigType::List,
            default: None,
            check: Check::Any,
            support: Support::Works,
            doc: "A comma-separated list of the directories where the log data is stored. If not set, the value in log.dir is used.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.flush.bytes",
            kind: ConfigType::Long,
            default: Some("262144"),
            check: Check::Range {
                min: 1,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "How many bytes of a topic with <code>write.caching=true</code> may wait for the next sync of the log. Not a configuration of Kafka's.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.flush.interval.messages",
            kind: ConfigType::Long,
            default: Some("9223372036854775807"),
            check: Check::Range {
                min: 1,
                max: i64::MAX,
            },
            support: Support::OnlyDefault,
            doc: "The number of messages accumulated on a log partition before messages are flushed to disk.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.flush.interval.ms",
            kind: ConfigType::Long,
            default: None,
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "The default of flush.ms, in milliseconds.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.index.interval.bytes",
            kind: ConfigType::Int,
            default: Some("4096"),
            check: Check::Range {
                min: 0,
                max: INT_MAX,
            },
            support: Support::OnlyDefault,
            doc: "The interval with which we add an entry to the offset index.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.index.size.max.bytes",
            kind: ConfigType::Int,
            default: Some("10485760"),
            check: Check::Range {
                min: 4,
                max: INT_MAX,
            },
            support: Support::OnlyDefault,
            doc: "The maximum size in bytes of the offset index",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.local.retention.bytes",
            kind: ConfigType::Long,
            default: Some("-2"),
            check: Check::Range {
                min: -2,
                max: i64::MAX,
            },
            support: Support::OnlyDefault,
            doc: "The maximum size of local log segments that can grow for a partition before it gets eligible for deletion. Default value is -2, it represents <code>log.retention.bytes</code> value to be used. The effective value should always be less than or equal to <code>log.retention.bytes</code> value.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.local.retention.ms",
            kind: ConfigType::Long,
            default: Some("-2"),
            check: Check::Range {
                min: -2,
                max: i64::MAX,
            },
            support: Support::OnlyDefault,
            doc: "The number of milliseconds to keep the local log segments before it gets eligible for deletion. Default value is -2, it represents <code>log.retention.ms</code> value is to be used. The effective value should always be less than or equal to <code>log.retention.ms</code> value.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.message.timestamp.after.max.ms",
            kind: ConfigType::Long,
            default: Some("3600000"),
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "This configuration sets the allowable timestamp difference between the message timestamp and the broker's timestamp. The message timestamp can be later than or equal to the broker's timestamp, with the maximum allowable difference determined by the value set in this configuration. If log.message.timestamp.type=CreateTime, the message will be rejected if the difference in timestamps exceeds this specified threshold. This configuration is ignored if log.message.timestamp.type=LogAppendTime.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.message.timestamp.before.max.ms",
            kind: ConfigType::Long,
            default: Some("9223372036854775807"),
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "This configuration sets the allowable timestamp difference between the broker's timestamp and the message timestamp. The message timestamp can be earlier than or equal to the broker's timestamp, with the maximum allowable difference determined by the value set in this configuration. If log.message.timestamp.type=CreateTime, the message will be rejected if the difference in timestamps exceeds this specified threshold. This configuration is ignored if log.message.timestamp.type=LogAppendTime.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.message.timestamp.type",
            kind: ConfigType::String,
            default: Some("CreateTime"),
            check: Check::OneOf(&["CreateTime", "LogAppendTime"]),
            support: Support::Works,
            doc: "Define whether the timestamp in the message is message create time or log append time. The value should be either <code>CreateTime</code> or <code>LogAppendTime</code>.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.preallocate",
            kind: ConfigType::Boolean,
            default: Some("false"),
            check: Check::Any,
            support: Support::OnlyDefault,
            doc: "Should pre allocate file when create new segment? If you are using Kafka on Windows, you probably need to set it to true.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.record.validation",
            kind: ConfigType::String,
            default: Some("full"),
            check: Check::OneOf(&["full", "header"]),
            support: Support::Works,
            doc: "How much of a produced batch is checked: <code>full</code> walks every record, also of compressed batches; <code>header</code> stops at the batch header and its checksum. Not a configuration of Kafka's.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.retention.bytes",
            kind: ConfigType::Long,
            default: Some("-1"),
            check: Check::Range {
                min: i64::MIN,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "The maximum size of the log before deleting it",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.retention.check.interval.ms",
            kind: ConfigType::Long,
            default: Some("300000"),
            check: Check::Range {
                min: 1,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "The frequency in milliseconds that the log cleaner checks whether any log is eligible for deletion",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.retention.hours",
            kind: ConfigType::Int,
            default: Some("168"),
            check: Check::Range {
                min: INT_MIN,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The number of hours to keep a log file before deleting it (in hours), tertiary to log.retention.ms property",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.retention.minutes",
            kind: ConfigType::Int,
            default: None,
            check: Check::Range {
                min: INT_MIN,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The number of minutes to keep a log file before deleting it (in minutes), secondary to log.retention.ms property. If not set, the value in log.retention.hours is used",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.retention.ms",
            kind: ConfigType::Long,
            default: None,
            check: Check::Range {
                min: -1,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "The number of milliseconds to keep a log file before deleting it (in milliseconds), If not set, the value in log.retention.minutes is used. If set to -1, no time limit is applied.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.roll.hours",
            kind: ConfigType::Int,
            default: Some("168"),
            check: Check::Range {
                min: 1,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The maximum time before a new log segment is rolled out (in hours), secondary to log.roll.ms property",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.roll.jitter.hours",
            kind: ConfigType::Int,
            default: Some("0"),
            check: Check::Range {
                min: 0,
                max: INT_MAX,
            },
            support: Support::OnlyDefault,
            doc: "The maximum jitter to subtract from logRollTimeMillis (in hours), secondary to log.roll.jitter.ms property",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.roll.jitter.ms",
            kind: ConfigType::Long,
            default: None,
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::OnlyDefault,
            doc: "The maximum jitter to subtract from logRollTimeMillis (in milliseconds). If not set, the value in log.roll.jitter.hours is used",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.roll.ms",
            kind: ConfigType::Long,
            default: None,
            check: Check::Range {
                min: 1,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "The maximum time before a new log segment is rolled out (in milliseconds). If not set, the value in log.roll.hours is used",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.segment.bytes",
            kind: ConfigType::Int,
            default: Some("1073741824"),
            check: Check::Range {
                min: 1_048_576,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The maximum size of a single log file",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "log.segment.delete.delay.ms",
            kind: ConfigType::Long,
            default: Some("60000"),
            check: Check::Range {
                min: 0,
                max: i64::MAX,
            },
            support: Support::OnlyDefault,
            doc: "The amount of time to wait before deleting a file from the filesystem. If the value is 0 and there is no file to delete, the system will wait 1 millisecond. Low value will cause busy waiting",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "log.write.caching",
            kind: ConfigType::Boolean,
            default: Some("false"),
            check: Check::Any,
            support: Support::Works,
            doc: "Acknowledge acks=all, and show to consumers, what has been written but is not yet durable. A power cut may take back up to <code>flush.ms</code> or <code>flush.bytes</code> of such records; a killed process loses none. The name is Redpanda's.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "message.max.bytes",
            kind: ConfigType::Int,
            default: Some("1048588"),
            check: Check::Range {
                min: 0,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The largest record batch size allowed by Kafka (after compression if compression is enabled).This can be set per topic with the topic level <code>max.message.bytes</code> config.",
        },
        dynamic: true,
    },
    BrokerKey {
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
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "unclean.leader.election.enable",
            kind: ConfigType::Boolean,
            default: Some("false"),
            check: Check::Any,
            support: Support::OnlyDefault,
            doc: "Indicates whether to enable replicas not in the ISR set to be elected as leader as a last resort, even though doing so may result in data loss<p>Note: In KRaft mode, when enabling this config dynamically, it needs to wait for the unclean leader election thread to trigger election periodically (default is 5 minutes). Please run <code>kafka-leader-election.sh</code> with <code>unclean</code> option to trigger the unclean leader election immediately if needed.</p>",
        },
        dynamic: false,
    },
];
