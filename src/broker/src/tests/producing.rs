use super::harness::*;
use crate::config::{ConfigChange, ConfigResource, ResourceKind};
use crate::error_code as code;
use crate::metadata::TopicTarget;
use crate::produce::ProduceRefusal;
use bytes::Bytes;
use tailwater_record::{Codec, TimestampType};
use tailwater_shards::sim::{IoKind, Matching};

fn code_of(outcome: Result<crate::produce::Produced, ProduceRefusal>) -> i16 {
    outcome.unwrap_err().error.code()
}

#[test]
fn one_request_reaches_partitions_of_every_shard_from_any_shard() {
    let mut machine = Machine::new(1, 3);
    machine.create("t", 6, &[]);
    for shard in 0..3 {
        let values: Vec<String> = (0..6)
            .map(|partition| format!("{shard}-{partition}"))
            .collect();
        let batches = values
            .iter()
            .enumerate()
            .map(|(index, value)| (i32::try_from(index).unwrap(), batch(&[value])));
        let call = machine.begin_produce(shard, "t", -1, batches.collect());
        for part in machine.finish(call).parts {
            assert_eq!(part.unwrap().base_offset, i64::from(shard));
        }
    }
    for partition in 0..6 {
        let expected: Vec<String> = (0..3).map(|shard| format!("{shard}-{partition}")).collect();
        assert_eq!(machine.values("t", partition, 0), expected);
    }
}

#[test]
fn what_is_acknowledged_at_all_is_visible_at_once_on_every_shard() {
    let mut machine = Machine::new(2, 2);
    machine.create("t", 2, &[]);
    for count in 0..20_i64 {
        for partition in 0..2 {
            let shard = u16::try_from(count % 2).unwrap();
            machine
                .produce(shard, "t", partition, -1, batch(&["x"]))
                .unwrap();
            assert_eq!(machine.values("t", partition, count), ["x"]);
        }
    }
}

#[test]
fn produces_of_one_caller_keep_their_order_while_none_is_acknowledged() {
    let mut machine = Machine::new(3, 2);
    machine.create("t", 2, &[]);
    let calls = machine.on(0, |broker| async move {
        let topic = broker.image().resolve_name("t");
        let mut replies = Vec::new();
        for count in 0..50 {
            let value = count.to_string();
            let batches = (0..2)
                .map(|partition| (partition, batch(&[&value])))
                .collect();
            replies.push(
                broker
                    .submit_produce(produce_request(topic, -1, batches))
                    .await,
            );
        }
        futures_util::future::join_all(replies).await
    });
    for (count, outcome) in calls.into_iter().enumerate() {
        for part in outcome.parts {
            assert_eq!(part.unwrap().base_offset, i64::try_from(count).unwrap());
        }
    }
    let expected: Vec<String> = (0..50).map(|count: i32| count.to_string()).collect();
    assert_eq!(machine.values("t", 0, 0), expected);
    assert_eq!(machine.values("t", 1, 0), expected);
}

#[test]
fn a_repeated_batch_gets_the_first_offset_also_while_the_first_is_on_its_way() {
    let mut machine = Machine::new(4, 2);
    machine.create("t", 2, &[]);
    machine.produce(0, "t", 0, -1, batch(&["before"])).unwrap();
    for acks in [-1, 1] {
        let sequence = if acks == -1 { 0 } else { 2 };
        let send = || idempotent_batch(7, 0, sequence, &["a", "b"]);
        let first = machine.begin_produce(0, "t", acks, vec![(0, send())]);
        let second = machine.begin_produce(1, "t", acks, vec![(0, send())]);
        let first = machine.finish(first).parts.remove(0).unwrap().base_offset;
        assert_eq!(
            machine.finish(second).parts.remove(0).unwrap().base_offset,
            first
        );
        assert_eq!(
            machine
                .produce(1, "t", 0, acks, send())
                .unwrap()
                .base_offset,
            first
        );
    }
    // acks=1 does not wait for what makes it visible.
    machine.sim.run_for(SECOND);
    assert_eq!(machine.list_offset("t", 0, -1).unwrap().offset, 5);
    assert_eq!(
        code_of(machine.produce(0, "t", 0, -1, idempotent_batch(7, 0, 9, &["c"]))),
        code::OUT_OF_ORDER_SEQUENCE_NUMBER
    );
    machine
        .produce(0, "t", 0, -1, idempotent_batch(7, 1, 0, &["c"]))
        .unwrap();
    assert_eq!(
        code_of(machine.produce(0, "t", 0, -1, idempotent_batch(7, 0, 4, &["d"]))),
        code::INVALID_PRODUCER_EPOCH
    );
}

#[test]
fn what_cannot_be_appended_is_refused_with_kafkas_codes() {
    let mut machine = Machine::new(5, 2);
    machine.create("t", 2, &[("max.message.bytes", "200")]);
    let good = batch(&["x"]);
    let mut bad_crc = good.to_vec();
    *bad_crc.last_mut().unwrap() ^= 1;
    let mut old_magic = good.to_vec();
    old_magic[16] = 1;
    let cases: [(Bytes, i16); 8] = [
        (bad_crc.into(), code::CORRUPT_MESSAGE),
        (old_magic.into(), code::INVALID_RECORD),
        (good.slice(..40), code::INVALID_RECORD),
        (Bytes::new(), code::INVALID_RECORD),
        (
            [good.clone(), good.clone()].concat().into(),
            code::INVALID_RECORD,
        ),
        (batch(&["x".repeat(300).as_str()]), code::MESSAGE_TOO_LARGE),
        (
            builder(&["x"])
                .producer(1, 0, 0)
                .transactional(true)
                .build(),
            code::INVALID_TXN_STATE,
        ),
        (
            builder(&["x"]).producer(1, 0, 0).control(true).build(),
            code::INVALID_RECORD,
        ),
    ];
    for (bytes, expected) in cases {
        for partition in 0..2 {
            assert_eq!(
                code_of(machine.produce(0, "t", partition, -1, bytes.clone())),
                expected
            );
        }
    }
    assert_eq!(machine.list_offset("t", 0, -1).unwrap().offset, 0);
}

#[test]
fn what_has_no_partition_or_asks_for_other_acks_is_refused_in_kafkas_order() {
    let mut machine = Machine::new(5, 2);
    machine.create("t", 2, &[]);
    let good = batch(&["x"]);
    assert_eq!(
        code_of(machine.produce(0, "t", 2, -1, good.clone())),
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(
        code_of(machine.produce(0, "t", -1, -1, good.clone())),
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(
        code_of(machine.produce(0, "nope", 0, -1, good.clone())),
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
    let by_unknown_id = machine.on(0, move |broker| async move {
        broker
            .submit_produce(produce_request(TopicTarget::UnknownId, -1, vec![(0, good)]))
            .await
            .await
    });
    assert_eq!(
        code_of(by_unknown_id.parts.into_iter().next().unwrap()),
        code::UNKNOWN_TOPIC_ID
    );
    assert_eq!(machine.list_offset("t", 0, -1).unwrap().offset, 0);
}

/// Kafka looks at acks after what it finds in the request and before the batch.
#[test]
fn wrong_acks_are_refused_after_the_request_and_before_the_batch() {
    let mut machine = Machine::new(5, 2);
    machine.create("t", 2, &[]);
    let good = batch(&["x"]);
    let mut wrong_crc = good.to_vec();
    wrong_crc[17] ^= 1;
    for (topic, partition, bytes, expected) in [
        ("t", 0, good.clone(), code::INVALID_REQUIRED_ACKS),
        ("t", 0, wrong_crc.into(), code::INVALID_REQUIRED_ACKS),
        ("t", 0, Bytes::new(), code::INVALID_RECORD),
        ("t", 9, good.clone(), code::UNKNOWN_TOPIC_OR_PARTITION),
        ("nope", 0, good.clone(), code::UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        let outcome = machine.produce(0, topic, partition, 2, bytes);
        assert_eq!(code_of(outcome), expected, "{topic}-{partition}");
    }
    assert_eq!(machine.list_offset("t", 0, -1).unwrap().offset, 0);
}

#[test]
fn records_at_fault_are_named_with_the_log_start() {
    let mut machine = Machine::new(6, 2);
    machine.create("t", 2, &[("message.timestamp.before.max.ms", "1000")]);
    for partition in 0..2 {
        let refusal = machine
            .produce(0, "t", partition, -1, batch(&["a", "b"]))
            .unwrap_err();
        assert_eq!(refusal.error.code(), code::INVALID_TIMESTAMP);
        assert_eq!(
            refusal.message.as_deref(),
            Some("One or more records have been rejected due to invalid timestamp")
        );
        assert_eq!(refusal.record_errors.len(), 2);
        assert!(
            refusal.record_errors[1]
                .1
                .as_ref()
                .unwrap()
                .starts_with("Timestamp 1000 of message with offset 1")
        );
        assert_eq!(refusal.log_start_offset, 0);
    }
}

#[test]
fn one_bad_part_spoils_no_other() {
    let mut machine = Machine::new(7, 2);
    machine.create("t", 3, &[]);
    let call = machine.begin_produce(
        0,
        "t",
        -1,
        vec![
            (0, batch(&["a"])),
            (9, batch(&["b"])),
            (1, Bytes::new()),
            (2, batch(&["c"])),
        ],
    );
    let codes: Vec<i16> = machine
        .finish(call)
        .parts
        .into_iter()
        .map(|part| part.map_or_else(|refusal| refusal.error.code(), |_| 0))
        .collect();
    assert_eq!(
        codes,
        [0, code::UNKNOWN_TOPIC_OR_PARTITION, code::INVALID_RECORD, 0]
    );
}

#[test]
fn the_topic_rewrites_what_it_wants_otherwise() {
    let mut machine = Machine::new(8, 2);
    machine.create("time", 1, &[("message.timestamp.type", "LogAppendTime")]);
    machine.create("codec", 1, &[("compression.type", "lz4")]);
    let produced = machine
        .produce(0, "time", 0, -1, batch(&["a", "b"]))
        .unwrap();
    assert!((0..=machine.sim.wall_clock_ms()).contains(&produced.log_append_time_ms));
    assert_eq!(machine.values("time", 0, 0), ["a", "b"]);
    let fetched = machine.fetch(0, fetch_request(&[("time", 0, 0)]));
    let header = tailwater_record::BatchHeader::parse(&fetched.partitions[0].records[0]).unwrap();
    assert_eq!(
        header.attributes.timestamp_type(),
        TimestampType::LogAppendTime
    );
    assert_eq!(header.max_timestamp, produced.log_append_time_ms);
    let produced = machine
        .produce(
            0,
            "codec",
            0,
            -1,
            compressed_batch(&["a", "b"], Codec::Gzip),
        )
        .unwrap();
    assert_eq!(produced.log_append_time_ms, -1);
    assert_eq!(machine.values("codec", 0, 0), ["a", "b"]);
    let fetched = machine.fetch(0, fetch_request(&[("codec", 0, 0)]));
    let header = tailwater_record::BatchHeader::parse(&fetched.partitions[0].records[0]).unwrap();
    assert_eq!(header.codec(), Codec::Lz4);
}

#[test]
fn without_acks_the_answer_waits_for_the_owner_and_not_for_the_disk() {
    let mut machine = Machine::new(9, 2);
    machine.create("t", 2, &[]);
    let begun = machine.sim.now();
    let call = machine.begin_produce(0, "t", 0, vec![(0, batch(&["a"])), (1, batch(&["b"]))]);
    let completed = machine.sim.io_counts().completed;
    assert!(machine.finish(call).parts.iter().all(Result::is_ok));
    assert_eq!(
        machine.sim.io_counts().completed,
        completed,
        "no write was awaited"
    );
    assert!(machine.sim.now() - begun < SECOND);
}

#[test]
fn a_cached_topic_shows_what_is_written() {
    let mut machine = Machine::new(10, 2);
    machine.create(
        "cached",
        1,
        &[("write.caching", "true"), ("flush.ms", "50")],
    );
    let produced = machine.produce(0, "cached", 0, -1, batch(&["a"])).unwrap();
    assert_eq!(produced.base_offset, 0);
    assert_eq!(machine.values("cached", 0, 0), ["a"]);
}

#[test]
fn an_answer_after_the_end_of_write_caching_is_durable() {
    let mut machine = Machine::new(14, 2);
    let cached = [("write.caching", "true"), ("flush.ms", "10000")];
    machine.create("t", 2, &cached);
    let write = Matching::kind(IoKind::Write).on("-00001-");
    machine.sim.faults().slow(write, 1, SECOND / 2);
    let both = vec![(0, batch(&["a"])), (1, batch(&["b"]))];
    let produced = machine.begin_produce(0, "t", -1, both);
    let change = ConfigChange {
        resource: ConfigResource {
            kind: ResourceKind::Topic,
            name: "t".to_owned(),
        },
        operations: vec![("write.caching".to_owned(), 0, Some("false".to_owned()))],
    };
    let outcome = machine.on(0, move |broker| async move {
        broker.incremental_alter_configs(vec![change], false).await
    });
    outcome[0].1.as_ref().unwrap();
    assert!(!produced.is_done(), "its write takes half a second");
    for part in machine.finish(produced).parts {
        part.unwrap();
    }
    // Only what is durable is visible now.
    assert_eq!(machine.values("t", 0, 0), ["a"]);
    assert_eq!(machine.values("t", 1, 0), ["b"]);
}

#[test]
fn one_shard_alone_does_it_all() {
    let mut machine = Machine::new(11, 1);
    machine.create("t", 3, &[]);
    machine.produce(0, "t", 2, -1, batch(&["a"])).unwrap();
    machine.restart_after_power_cut(1);
    machine.produce(0, "t", 2, 1, batch(&["b"])).unwrap();
    machine.sim.run_for(SECOND);
    assert_eq!(machine.values("t", 2, 0), ["a", "b"]);
    machine.delete("t").unwrap();
}

#[test]
fn a_full_disk_refuses_records_and_still_serves_and_deletes() {
    let mut machine = Machine::new(12, 2);
    machine.create("t", 2, &[("retention.ms", "-1")]);
    machine.produce(0, "t", 0, -1, batch(&["a"])).unwrap();
    machine.sim.run_for(60 * SECOND);
    let used = machine.sim.disk_used_bytes();
    machine
        .sim
        .faults()
        .disk_bytes(used + DISK_RESERVE_BYTES / 2);
    machine.sim.run_for(60 * SECOND);
    for partition in 0..2 {
        assert_eq!(
            code_of(machine.produce(0, "t", partition, -1, batch(&["b"]))),
            code::KAFKA_STORAGE_ERROR
        );
    }
    assert_eq!(machine.values("t", 0, 0), ["a"]);
    machine.delete("t").unwrap();
}

#[test]
fn what_was_sent_behind_a_refused_beginning_does_not_overtake_it() {
    let mut machine = Machine::new(14, 2);
    machine.create("t", 1, &[]);
    machine.sim.run_for(60 * SECOND);
    let used = machine.sim.disk_used_bytes();
    let faults = machine.sim.faults();
    faults.disk_bytes(used + DISK_RESERVE_BYTES / 2);
    machine.sim.run_for(60 * SECOND);
    let send = |machine: &mut Machine, sequence, value| {
        let batch = idempotent_batch(9, 0, sequence, &[value]);
        machine.produce(0, "t", 0, -1, batch)
    };
    let refused = code_of(send(&mut machine, 0, "a"));
    assert_eq!(refused, code::KAFKA_STORAGE_ERROR);
    faults.disk_bytes(1 << 40);
    machine.sim.run_for(60 * SECOND);
    let behind = code_of(send(&mut machine, 1, "b"));
    assert_eq!(behind, code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(send(&mut machine, 0, "a").unwrap().base_offset, 0);
    assert_eq!(send(&mut machine, 1, "b").unwrap().base_offset, 1);
}

#[test]
fn a_slow_disk_makes_a_produce_time_out_and_its_records_stay_in_order() {
    let mut machine = Machine::new(13, 2);
    machine.create("t", 1, &[]);
    machine
        .sim
        .faults()
        .slow(Matching::kind(IoKind::Sync), 1000, 3 * SECOND);
    let begun = machine.sim.now();
    assert_eq!(
        code_of(machine.produce(0, "t", 0, -1, idempotent_batch(1, 0, 0, &["a"]))),
        code::REQUEST_TIMED_OUT
    );
    assert!(machine.sim.now() - begun < 2 * SECOND);
    machine.sim.faults().clear();
    machine.sim.run_for(10 * SECOND);
    let again = machine
        .produce(0, "t", 0, -1, idempotent_batch(1, 0, 0, &["a"]))
        .unwrap();
    assert_eq!(again.base_offset, 0);
    assert_eq!(machine.values("t", 0, 0), ["a"]);
}
