//! Topics with `cleanup.policy=compact`.

use super::harness::*;
use crate::config::{ConfigChange, ConfigResource, ResourceKind};
use crate::error_code as code;
use bytes::Bytes;
use std::time::Duration;
use tailwater_record::{BatchBuilder, NewRecord};

/// A batch of one record; seventeen fill the smallest segment.
fn keyed(key: &str, value: u32) -> Bytes {
    let value = format!("{value:0>60000}");
    let record = NewRecord {
        timestamp: 1000,
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        headers: &[],
    };
    BatchBuilder::new().record(record).build()
}

/// Sets configurations of topic `t`.
fn set(machine: &mut Machine, configs: &[(&str, &str)]) {
    let operation = |(name, value): &(&str, &str)| (name.to_string(), 0, Some(value.to_string()));
    let change = ConfigChange {
        resource: ConfigResource {
            kind: ResourceKind::Topic,
            name: "t".to_owned(),
        },
        operations: configs.iter().map(operation).collect(),
    };
    let outcome = machine.on(0, move |broker| async move {
        broker.incremental_alter_configs(vec![change], false).await
    });
    outcome[0].1.as_ref().unwrap();
}

/// The offsets and values that are left.
fn left(machine: &mut Machine) -> Vec<u32> {
    let mut found = Vec::new();
    let mut from = 0;
    let end = machine.list_offset("t", 0, -1).unwrap().offset;
    while from < end {
        let outcome = machine.fetch(0, fetch_request(&[("t", 0, from)]));
        let bytes = outcome.partitions[0].records.concat();
        assert!(!bytes.is_empty(), "there is something at or after {from}");
        for batch in tailwater_record::batches(&bytes) {
            from = batch.unwrap().header.next_offset();
        }
        let values = values_of(&outcome.partitions[0].records);
        found.extend(values.iter().map(|value| value.parse::<u32>().unwrap()));
    }
    found
}

#[test]
fn records_without_a_key_are_refused_one_by_one() {
    for validation in ["full", "header"] {
        let mut machine = Machine::new(31, 2);
        let configs = [
            ("cleanup.policy", "compact"),
            ("record.validation", validation),
        ];
        machine.create("t", 2, &configs);
        for partition in 0..2 {
            let refusal = machine
                .produce(0, "t", partition, -1, batch(&["a", "b"]))
                .unwrap_err();
            assert_eq!(refusal.error.code(), code::INVALID_RECORD);
            let sentence = format!(
                "Compacted topic cannot accept message without key in topic partition t-{partition}"
            );
            let named = [(0, Some(sentence.clone())), (1, Some(sentence))];
            assert_eq!(refusal.record_errors, named);
            machine
                .produce(0, "t", partition, -1, keyed("k", 1))
                .unwrap();
        }
    }
}

#[test]
fn a_topic_is_compacted_from_the_moment_it_is_told_to_be() {
    let mut machine = Machine::new(32, 1);
    let configs = [("segment.bytes", "1048576"), ("retention.ms", "-1")];
    machine.create("t", 1, &configs);
    for value in 0..44 {
        let key = format!("key-{}", value % 3);
        machine.produce(0, "t", 0, -1, keyed(&key, value)).unwrap();
    }
    machine.sim.run_for(Duration::from_secs(60));
    let all: Vec<u32> = (0..44).collect();
    assert_eq!(left(&mut machine), all, "a log that is not compacted");
    set(&mut machine, &[("cleanup.policy", "compact")]);
    machine.sim.run_for(Duration::from_secs(60));
    let kept = left(&mut machine);
    // The newest of three keys in two segments; and what is appended to stays as it is.
    assert_eq!(kept, (31..44).collect::<Vec<_>>());
    assert_eq!(machine.list_offset("t", 0, -2).unwrap().offset, 0);
    assert_eq!(machine.list_offset("t", 0, -1).unwrap().offset, 44);
}
