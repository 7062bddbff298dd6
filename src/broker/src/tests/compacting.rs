//! Topics with `cleanup.policy=compact`.

use super::groups::{ask, fetch, with_coordinators};
use super::harness::*;
use crate::config::{ConfigChange, ConfigResource, ResourceKind};
use crate::error_code as code;
use crate::metadata::OFFSETS_TOPIC;
use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tailwater_group::{CommitOffsets, OffsetToCommit, Reply, Request, TopicRef};
use tailwater_record::{BatchBuilder, NewRecord};
use tailwater_shards::sleep;

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

/// Partitions that a group commits at once: a few such commits fill the smallest segment.
pub(super) const COMMITTED_AT_ONCE: i32 = 40;

/// The same offset for all of them, with as much metadata as Kafka allows by default.
pub(super) fn commit_all(offset: i64) -> Request {
    let offsets = (0..COMMITTED_AT_ONCE).map(|partition| OffsetToCommit {
        topic: TopicRef::Name("u".into()),
        partition,
        offset,
        leader_epoch: -1,
        metadata: Some("m".repeat(4000).into()),
    });
    Request::Commit(CommitOffsets {
        group: "g".into(),
        generation_or_epoch: -1,
        member: "".into(),
        instance: None,
        retention_ms: None,
        knows_epochs: true,
        offsets: offsets.collect(),
    })
}

/// Every record of the offsets topic's only partition.
fn kept_of_groups(machine: &mut Machine) -> usize {
    let mut kept = 0;
    let mut from = 0;
    let end = machine.list_offset(OFFSETS_TOPIC, 0, -1).unwrap().offset;
    while from < end {
        let outcome = machine.fetch(0, fetch_request(&[(OFFSETS_TOPIC, 0, from)]));
        for batch in tailwater_record::batches(&outcome.partitions[0].records.concat()) {
            let header = batch.unwrap().header;
            from = header.next_offset();
            kept += usize::try_from(header.record_count).unwrap();
        }
    }
    kept
}

/// Commits one offset after the other, and remembers what was sent and what was acknowledged.
fn begin_commits(machine: &mut Machine, sent: &Rc<Cell<i64>>, acked: &Rc<Cell<i64>>) {
    let (sent, acked) = (sent.clone(), acked.clone());
    // It may end with its process.
    let _commits = machine.begin(0, move |broker| async move {
        for _ in 0..30 {
            sent.set(sent.get() + 1);
            let offset = sent.get();
            if let Ok(Reply::Committed(_)) = ask(&broker, "g", commit_all(offset)).await {
                acked.set(offset);
            }
            sleep(Duration::from_millis(700)).await;
        }
    });
}

#[test]
fn the_offsets_of_groups_outlive_compaction_and_whatever_ends_it() {
    let settings = [
        ("offsets.topic.num.partitions", "1"),
        ("offsets.topic.segment.bytes", "1048576"),
        ("log.cleaner.min.cleanable.ratio", "0.0"),
        ("log.cleaner.delete.retention.ms", "0"),
    ];
    for seed in 0..4 {
        let mut machine = with_coordinators(seed, 2, &settings);
        machine.create("u", COMMITTED_AT_ONCE, &[]);
        let (sent, acked) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        for round in 0..3 {
            begin_commits(&mut machine, &sent, &acked);
            // In the midst of the second look at the logs, or of what follows it.
            let after = 30_000 + (seed * 3 + round) * 13 % 40;
            machine.sim.run_for(Duration::from_millis(after));
            match (seed + round) % 3 {
                0 => machine.restart_after_power_cut(1 + u16::try_from(round % 2).unwrap()),
                1 => machine.restart_after_kill(2),
                _ => machine.restart_cleanly(1),
            }
            let answer = machine.on(
                0,
                |broker| async move { ask(&broker, "g", fetch("g")).await },
            );
            let Ok(Reply::Fetched(Ok(fetched))) = answer else {
                panic!("{answer:?}")
            };
            let offsets: Vec<i64> = fetched
                .topics
                .iter()
                .flat_map(|(_, o)| o)
                .map(|o| o.offset)
                .collect();
            assert_eq!(offsets.len(), COMMITTED_AT_ONCE as usize);
            assert!(
                offsets
                    .iter()
                    .all(|offset| (acked.get()..=sent.get()).contains(offset)),
                "{offsets:?}"
            );
        }
        let all = acked.get() as usize * COMMITTED_AT_ONCE as usize;
        let kept = kept_of_groups(&mut machine);
        assert!(
            kept < all / 2,
            "{kept} of {all} records are left: it was compacted"
        );
    }
}
