use super::*;
use std::collections::BTreeMap;

fn settings(pairs: &[(&str, &str)]) -> Result<BrokerSettings, BrokerError> {
    let pairs = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    BrokerSettings::from_pairs(&pairs)
}

const ALL: Listing<'static> = Listing {
    names: None,
    synonyms: true,
    documentation: true,
};

fn entry(entries: &[ConfigEntry], name: &str) -> ConfigEntry {
    entries
        .iter()
        .find(|entry| entry.name == name)
        .unwrap()
        .clone()
}

#[test]
fn every_key_accepts_its_own_default() {
    for key in topic_keys::TOPIC_KEYS {
        let default = key
            .key
            .default
            .expect("a topic's configuration has a default");
        assert_eq!(key.key.parse(default).unwrap(), default, "{}", key.key.name);
    }
    for key in broker_keys::broker_keys() {
        if let Some(default) = key.key.default {
            assert_eq!(key.key.parse(default).unwrap(), default, "{}", key.key.name);
        }
    }
}

#[test]
fn all_of_kafkas_topic_configurations_are_there_and_three_of_ours() {
    let names: Vec<_> = topic_keys::TOPIC_KEYS
        .iter()
        .map(|key| key.key.name)
        .collect();
    assert!(names.is_sorted());
    assert_eq!(names.len(), 33 + 3);
    for key in topic_keys::TOPIC_KEYS {
        if let Some(broker_key) = key.broker_key {
            assert!(
                BrokerSettings::names().any(|name| name == broker_key),
                "{broker_key}"
            );
        }
    }
}

#[test]
fn a_new_broker_lives_by_kafkas_defaults() {
    let config = TopicConfig::resolve(&BrokerSettings::default(), &BTreeMap::new());
    let expected = TopicConfig {
        delete: true,
        compact: false,
        dirty_ratio_min: 0.5,
        delete_retention_ms: 86_400_000,
        compaction_lag_min_ms: 0,
        compaction_lag_max_ms: i64::MAX,
        retention_ms: 604_800_000,
        retention_bytes: -1,
        segment_bytes: 1 << 30,
        segment_ms: 604_800_000,
        max_message_bytes: 1_048_588,
        log_append_time: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        compression: Compression::Producer,
        write_caching: false,
        flush_ms: 100,
        flush_bytes: 262_144,
        validate_records: true,
    };
    assert_eq!(config, expected);
}

#[test]
fn the_finer_unit_wins() {
    let retention =
        |pairs| TopicConfig::resolve(&settings(pairs).unwrap(), &BTreeMap::new()).retention_ms;
    assert_eq!(retention(&[("log.retention.hours", "2")]), 7_200_000);
    assert_eq!(
        retention(&[("log.retention.hours", "2"), ("log.retention.minutes", "3")]),
        180_000
    );
    assert_eq!(
        retention(&[("log.retention.minutes", "3"), ("log.retention.ms", "4")]),
        4
    );
    assert_eq!(retention(&[("log.retention.hours", "-1")]), -1);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name() {
    let error = settings(&[("num.partition", "3")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Unknown broker config name: num.partition (did you mean num.partitions?)"
    );
    let error = settings(&[("ssl.keystore.location", "x")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Unknown broker config name: ssl.keystore.location"
    );
}

#[test]
fn what_is_not_implemented_is_accepted_with_what_the_broker_lives_by_only() {
    settings(&[
        ("min.insync.replicas", "1"),
        ("log.cleanup.policy", " delete "),
    ])
    .unwrap();
    let error = settings(&[("min.insync.replicas", "2")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Invalid value 2 for configuration min.insync.replicas: this broker supports only 1"
    );
}

#[test]
fn values_are_judged_by_type_and_bounds_as_kafka_does() {
    let refuse = |name: &str, value: &str| {
        let key = topic_keys::topic_key(name).unwrap();
        key.key.parse(value).unwrap_err().to_string()
    };
    assert_eq!(
        refuse("preallocate", "maybe"),
        "Invalid value maybe for configuration preallocate: Expected value to be either true or false"
    );
    assert_eq!(
        refuse("cleanup.policy", "foo"),
        "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete"
    );
    assert_eq!(
        refuse("min.cleanable.dirty.ratio", "2"),
        "Invalid value 2.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"
    );
    assert_eq!(
        refuse("segment.bytes", "5"),
        "Invalid value 5 for configuration segment.bytes: Value must be at least 1048576"
    );
    assert_eq!(
        refuse("compression.lz4.level", "44"),
        "Invalid value 44 for configuration compression.lz4.level: Value must be no more than 17"
    );
    // The encoder has one level only.
    assert_eq!(
        refuse("compression.lz4.level", "5"),
        "Invalid value 5 for configuration compression.lz4.level: this broker supports only 9"
    );
    assert_eq!(
        refuse("max.message.bytes", "99999999999"),
        "Invalid value 99999999999 for configuration max.message.bytes: Not a number of type INT"
    );
    assert_eq!(
        refuse("message.timestamp.type", "createtime"),
        "Invalid value createtime for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime"
    );
}

#[test]
fn entries_tell_their_source_and_all_synonyms() {
    let settings = settings(&[("message.max.bytes", "2000")]).unwrap();
    let entries = topic_entries(
        &settings,
        &[("retention.ms".to_owned(), "5".to_owned())].into(),
        ALL,
    );
    let size = entry(&entries, "max.message.bytes");
    assert_eq!(
        (size.value.as_deref(), size.source),
        (Some("2000"), ConfigSource::StaticBroker)
    );
    let synonyms: Vec<_> = size
        .synonyms
        .iter()
        .map(|(name, value, source)| (name.as_str(), value.as_deref(), *source))
        .collect();
    let expected = [
        (
            "message.max.bytes",
            Some("2000"),
            ConfigSource::StaticBroker,
        ),
        ("message.max.bytes", Some("1048588"), ConfigSource::Default),
    ];
    assert_eq!(synonyms, expected);
    let retention = entry(&entries, "retention.ms");
    assert_eq!(
        (retention.value.as_deref(), retention.source),
        (Some("5"), ConfigSource::DynamicTopic)
    );
    // As Kafka: the default in hours is no synonym.
    let segment = entry(&entries, "segment.ms");
    assert_eq!(
        (segment.value.as_deref(), segment.source),
        (Some("604800000"), ConfigSource::Default)
    );
    assert!(segment.synonyms.is_empty());
    assert!(
        segment
            .documentation
            .unwrap()
            .contains("force the log to roll")
    );
}

#[test]
fn only_what_is_asked_for_is_listed() {
    let names = ["retention.ms".to_owned(), "nope".to_owned()];
    let listing = Listing {
        names: Some(&names),
        synonyms: false,
        documentation: false,
    };
    let entries = topic_entries(&BrokerSettings::default(), &BTreeMap::new(), listing);
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (entries[0].synonyms.len(), entries[0].documentation.as_ref()),
        (0, None)
    );
}

#[test]
fn the_broker_lists_what_can_be_changed_as_such() {
    let settings = BrokerSettings::default();
    let values = [("log.retention.ms".to_owned(), "3000".to_owned())].into();
    let settings = settings.with_dynamic(BrokerScope::AllBrokers, values);
    let this = broker_entries(&settings, BrokerScope::ThisBroker, ALL);
    assert!(entry(&this, "num.partitions").read_only);
    let retention = entry(&this, "log.retention.ms");
    assert!(!retention.read_only);
    assert_eq!(retention.source, ConfigSource::DynamicDefaultBroker);
    let all = broker_entries(&settings, BrokerScope::AllBrokers, ALL);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].value.as_deref(), Some("3000"));
}
