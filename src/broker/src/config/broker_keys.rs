//! The broker's configurations: those of Kafka 4.3's that mean something here.
//!
//! Names, types, defaults, bounds and texts are those of Apache Kafka 4.3.0 (Apache License 2.0).

use super::ConfigType;
use super::group_keys::GROUP_KEYS;
use super::key::{Check, INT_MAX, INT_MIN, Key, Support};
use super::log_keys::LOG_KEYS;

/// A configuration of the broker.
pub(super) struct BrokerKey {
    /// What it is.
    pub(super) key: Key,
    /// It can be changed while the broker runs.
    pub(super) dynamic: bool,
}

/// In the order of their names.
const OTHER_KEYS: &[BrokerKey] = &[
    BrokerKey {
        key: Key {
            name: "advertised.listeners",
            kind: ConfigType::List,
            default: None,
            check: Check::Any,
            support: Support::Works,
            doc: "Specifies the listener addresses that the Kafka brokers will advertise to clients and other brokers. The config is useful where the actual listener configuration <code>listeners</code> does not represent the addresses that clients should use to connect, such as in cloud environments. The addresses are published to and managed by the controller, the brokers pull these data from the controller as needed. In IaaS environments, this may need to be different from the interface to which the broker binds. If this is not set, the value for <code>listeners</code> will be used. Unlike <code>listeners</code>, it is not valid to advertise the 0.0.0.0 meta-address.\n Also unlike <code>listeners</code>, there can be duplicated ports in this property, so that one listener can be configured to advertise another listener's address. This can be useful in some cases where external load balancers are used.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "auto.create.topics.enable",
            kind: ConfigType::Boolean,
            default: Some("true"),
            check: Check::Any,
            support: Support::Works,
            doc: "Enable auto creation of topic on the server.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "broker.id",
            kind: ConfigType::Int,
            default: Some("-1"),
            check: Check::Range {
                min: INT_MIN,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The broker id for this server.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "broker.rack",
            kind: ConfigType::String,
            default: None,
            check: Check::Any,
            support: Support::Works,
            doc: "Rack of the broker. This will be used in rack aware replication assignment for fault tolerance. Examples: <code>RACK1</code>, <code>us-east-1d</code>",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "connections.max.idle.ms",
            kind: ConfigType::Long,
            default: Some("600000"),
            check: Check::Range {
                min: i64::MIN,
                max: i64::MAX,
            },
            support: Support::Works,
            doc: "Idle connections timeout: the server socket processor threads close the connections that idle more than this",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "default.replication.factor",
            kind: ConfigType::Int,
            default: Some("1"),
            check: Check::Range {
                min: INT_MIN,
                max: INT_MAX,
            },
            support: Support::OnlyDefault,
            doc: "The default replication factor per topic. This configuration affects the following paths:<ul>  <li>1. Auto topic creation</li>  <li>2. Internal streams topic creation</li>  <li>3. Topic creation via <code>AdminClient#createTopics</code> when the replication factor is set to -1</li></ul><p>For (1), the value from the broker configuration is used only when it is explicitly set. If it is not explicitly configured on the broker, the value from the controller configuration is used.<br/>For (2) and (3), the value from the controller configuration is always used.</p>",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "delete.topic.enable",
            kind: ConfigType::Boolean,
            default: Some("true"),
            check: Check::Any,
            support: Support::Works,
            doc: "When set to true, topics can be deleted by the admin client. When set to false, deletion requests will be explicitly rejected by the broker.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "fetch.max.bytes",
            kind: ConfigType::Int,
            default: Some("57671680"),
            check: Check::Range {
                min: 1024,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The maximum number of bytes we will return for a fetch request. Must be at least 1024.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "listeners",
            kind: ConfigType::List,
            default: Some("PLAINTEXT://:9092"),
            check: Check::Any,
            support: Support::Works,
            doc: "Listener List - Comma-separated list of URIs we will listen on and the listener names. If the listener name is not a security protocol, <code>listener.security.protocol.map</code> must also be set.\n Listener names and port numbers must be unique unless one listener is an IPv4 address and the other listener is an IPv6 address (for the same port).\n Specify hostname as 0.0.0.0 to bind to all interfaces.\n Leave hostname empty to bind to default interface.\n Examples of legal listener lists:\n <code>PLAINTEXT://myhost:9092,SSL://:9091</code>\n <code>CLIENT://0.0.0.0:9092,REPLICATION://localhost:9093</code>\n <code>PLAINTEXT://127.0.0.1:9092,SSL://[::1]:9092</code>\n",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "max.connections",
            kind: ConfigType::Int,
            default: Some("2147483647"),
            check: Check::Range {
                min: 0,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The maximum number of connections we allow in the broker at any time. This limit is applied in addition to any per-ip limits configured using max.connections.per.ip. Listener-level limits may also be configured by prefixing the config name with the listener prefix, for example, <code>listener.name.internal.max.connections.per.ip</code>. Broker-wide limit should be configured based on broker capacity while listener limits should be configured based on application requirements. New connections are blocked if either the listener or broker limit is reached. Connections on the inter-broker listener are permitted even if broker-wide limit is reached. The least recently used connection on another listener will be closed in this case.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "max.connections.per.ip",
            kind: ConfigType::Int,
            default: Some("2147483647"),
            check: Check::Range {
                min: 0,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The maximum number of connections we allow from each ip address. This can be set to 0 if there are overrides configured using max.connections.per.ip.overrides property. New connections from the ip address are dropped if the limit is reached.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "max.incremental.fetch.session.cache.slots",
            kind: ConfigType::Int,
            default: Some("1000"),
            check: Check::Range {
                min: 0,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The maximum number of total incremental fetch sessions that we will maintain. FetchSessionCache is sharded into 8 shards and the limit is equally divided among all shards. Sessions are allocated to each shard in round-robin. Only entries within a shard are considered eligible for eviction.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "max.request.partition.size.limit",
            kind: ConfigType::Int,
            default: Some("2000"),
            check: Check::Range {
                min: 1,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The maximum number of partitions can be served in one request.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "node.id",
            kind: ConfigType::Int,
            default: None,
            check: Check::Range {
                min: 0,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The node ID associated with the roles this process is playing when <code>process.roles</code> is non-empty. This is required configuration when running in KRaft mode.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "num.partitions",
            kind: ConfigType::Int,
            default: Some("1"),
            check: Check::Range {
                min: 1,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The default number of log partitions per topic. This configuration affects the following paths:<ul>  <li>1. Auto topic creation</li>  <li>2. Internal streams topic creation</li>  <li>3. Topic creation via <code>AdminClient#createTopics</code> when the number of partition is set to -1</li></ul><p>For (1), the value from the broker configuration is used only when it is explicitly set. If it is not explicitly configured on the broker, the value from the controller configuration is used.<br/>For (2) and (3), the value from the controller configuration is always used.</p>",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "producer.id.expiration.ms",
            kind: ConfigType::Int,
            default: Some("86400000"),
            check: Check::Range {
                min: 1,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The time in ms that a topic partition leader will wait before expiring producer IDs. Producer IDs will not expire while a transaction associated to them is still ongoing. Note that producer IDs may expire sooner if the last write from the producer ID is deleted due to the topic's retention settings. Setting this value the same or higher than <code>delivery.timeout.ms</code> can help prevent expiration during retries and protect against message duplication, but the default should be reasonable for most use cases.",
        },
        dynamic: true,
    },
    BrokerKey {
        key: Key {
            name: "remote.log.storage.system.enable",
            kind: ConfigType::Boolean,
            default: Some("false"),
            check: Check::Any,
            support: Support::OnlyDefault,
            doc: "Whether to enable tiered storage functionality in a broker or not. When it is true broker starts all the services required for the tiered storage functionality.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "security.inter.broker.protocol",
            kind: ConfigType::String,
            default: Some("PLAINTEXT"),
            check: Check::OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]),
            support: Support::OnlyDefault,
            doc: "Security protocol used to communicate between brokers. It is an error to set this and inter.broker.listener.name properties at the same time.",
        },
        dynamic: false,
    },
    BrokerKey {
        key: Key {
            name: "socket.request.max.bytes",
            kind: ConfigType::Int,
            default: Some("104857600"),
            check: Check::Range {
                min: 1,
                max: INT_MAX,
            },
            support: Support::Works,
            doc: "The maximum number of bytes in a socket request",
        },
        dynamic: false,
    },
];

/// All of the broker's keys.
pub(super) fn broker_keys() -> impl Iterator<Item = &'static BrokerKey> {
    OTHER_KEYS.iter().chain(GROUP_KEYS).chain(LOG_KEYS)
}

/// The key of that name.
pub(super) fn broker_key(name: &str) -> Option<&'static BrokerKey> {
    broker_keys().find(|key| key.key.name == name)
}
