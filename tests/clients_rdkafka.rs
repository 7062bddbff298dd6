//! librdkafka against the built binary: what stock clients do all day, over two shards, through
//! stops, kills and changes of the machine's shape.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::clients::{
    Admin, EPOCH_MS, Producer, Record, assert_holds, consumer, produce_one, read, read_partition,
    watermarks,
};
use common::{Broker, DEADLINE, Options, eventually, scratch};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::message::Message;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use rustix::process::Signal;

const PARTITIONS: i32 = 4;

#[test]
fn every_codec_and_acks_level_comes_back_byte_for_byte() {
    let dir = scratch();
    let broker = Options::new(dir.path()).set("num.partitions", "4").start();
    let bootstrap = broker.bootstrap();
    let records = Record::series(60);
    let mut topics = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for acks in ["0", "1", "all"] {
            let topic = format!("{codec}-{acks}");
            let settings = [("compression.type", codec), ("acks", acks)];
            let producer = Producer::new(&bootstrap, &settings);
            for (number, record) in records.iter().enumerate() {
                producer.send(&topic, partition_of(number), number, record);
            }
            for (number, outcome) in producer.outcomes(records.len()) {
                let (partition, offset) = outcome.expect("acknowledged");
                assert_eq!(partition, partition_of(number), "{topic}");
                let known = i64::try_from(number).expect("few") / i64::from(PARTITIONS);
                assert!(
                    offset == known || acks == "0",
                    "{topic}: {number} is at {offset}"
                );
            }
            topics.push(topic);
        }
    }
    let from: Vec<_> = topics
        .iter()
        .flat_map(|t| (0..PARTITIONS).map(move |p| (t.as_str(), p, Offset::Beginning)))
        .collect();
    let found = read(&bootstrap, &from, records.len() * topics.len());
    assert_eq!(found.len(), from.len());
    for ((topic, partition), found) in &found {
        let sent = records
            .iter()
            .enumerate()
            .filter(|(n, _)| partition_of(*n) == *partition);
        let sent: Vec<_> = (0..).zip(sent.map(|(_, record)| record.clone())).collect();
        assert_eq!(found, &sent, "{topic} {partition}");
    }
}

fn partition_of(number: usize) -> i32 {
    i32::try_from(number).expect("few") % PARTITIONS
}

#[test]
fn a_partition_is_read_by_offset_and_by_time() {
    let dir = scratch();
    let broker = Options::new(dir.path()).start();
    let bootstrap = broker.bootstrap();
    let records = Record::series(100);
    // Small batches, so that offsets and times fall into the middle of many.
    let producer = Producer::new(&bootstrap, &[("batch.num.messages", "7")]);
    producer.send_all("t", 1, &records);

    let from_37 = read_partition(&bootstrap, "t", 0, Offset::Offset(37), 63);
    assert_eq!(from_37.first(), Some(&(37, records[37].clone())));
    assert_eq!(from_37.len(), 63);
    let tail = read_partition(&bootstrap, "t", 0, Offset::OffsetTail(3), 3);
    assert_eq!(tail.first().map(|(offset, _)| *offset), Some(97));
    assert_eq!(watermarks(&bootstrap, "t", 0), (0, 100));

    let consumer = consumer(&bootstrap, &[]);
    let at = |ms: i64| {
        let mut times = TopicPartitionList::new();
        times
            .add_partition_offset("t", 0, Offset::Offset(ms))
            .expect("a time");
        let found = consumer
            .offsets_for_times(times, DEADLINE)
            .expect("an answer");
        found
            .find_partition("t", 0)
            .expect("it is answered")
            .offset()
    };
    assert_eq!(at(EPOCH_MS), Offset::Offset(0));
    assert_eq!(at(EPOCH_MS + 41_500), Offset::Offset(42));
    assert_eq!(at(EPOCH_MS + 99_000), Offset::Offset(99));
    assert_eq!(at(EPOCH_MS + 99_001), Offset::End);
}

#[test]
fn an_offset_that_is_not_there_is_an_error() {
    let dir = scratch();
    let broker = Options::new(dir.path()).start();
    produce_one(&broker.bootstrap(), "t", "only");
    let consumer = consumer(&broker.bootstrap(), &[]);
    let mut from = TopicPartitionList::new();
    from.add_partition_offset("t", 0, Offset::Offset(1_000))
        .expect("an offset");
    consumer.assign(&from).expect("assigned");
    let error = consumer
        .poll(DEADLINE)
        .expect("an answer")
        .expect_err("nothing is there");
    // With `auto.offset.reset=error` librdkafka says it in its own words.
    assert_eq!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset)
    );
}

#[test]
fn an_idempotent_producer_keeps_order_and_leaves_no_gap() {
    let dir = scratch();
    let broker = Options::new(dir.path()).start();
    let bootstrap = broker.bootstrap();
    Admin::new(&bootstrap).create("t", PARTITIONS, &[]);
    let settings = [("enable.idempotence", "true"), ("batch.num.messages", "10")];
    let producer = Producer::new(&bootstrap, &settings);
    let records = Record::series(2_000);
    let places = producer.send_all("t", PARTITIONS, &records);
    for (number, (_, offset)) in &places {
        assert_eq!(
            *offset,
            i64::try_from(*number).expect("few") / i64::from(PARTITIONS)
        );
    }
    assert_holds(&bootstrap, "t", PARTITIONS, &records, &places);
}

/// Turns true once librdkafka has a fetch on its way that is not answered.
#[derive(Default)]
struct FetchIsOut(AtomicBool);

impl ClientContext for FetchIsOut {
    fn stats(&self, statistics: Statistics) {
        let out = statistics.brokers.values().any(|broker| {
            broker.req.get("Fetch").is_some_and(|sent| *sent > 0) && broker.waitresp_cnt > 0
        });
        if out {
            self.0.store(true, Ordering::Release);
        }
    }
}
impl ConsumerContext for FetchIsOut {}

#[test]
fn a_parked_fetch_is_woken_by_the_record_it_waits_for() {
    let dir = scratch();
    let broker = Options::new(dir.path()).start();
    let bootstrap = broker.bootstrap();
    Admin::new(&bootstrap).create("t", PARTITIONS, &[]);
    let producer = Producer::new(&bootstrap, &[]);
    // Neighbours live on different shards, so one of these fetches waits for another shard.
    for partition in 0..2 {
        let consumer = parked_consumer(&bootstrap, partition);
        for number in [1, 2, 3] {
            let record = Record::numbered(number);
            producer.send("t", partition, 0, &record);
            producer.outcomes(1)[&0].expect("acknowledged");
            let message = consumer
                .poll(DEADLINE)
                .expect("the fetch is woken")
                .expect("readable");
            assert_eq!(
                (message.partition(), Record::of(&message)),
                (partition, record)
            );
        }
    }
}

/// A consumer of one partition of `t` whose fetch is out. (Of several partitions, librdkafka may
/// have asked for only some when it begins to wait.)
fn parked_consumer(bootstrap: &str, partition: i32) -> BaseConsumer<FetchIsOut> {
    let consumer: BaseConsumer<FetchIsOut> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        // Longer than any wait here: only a wake can bring the record.
        .set("fetch.wait.max.ms", "250000")
        .set("socket.timeout.ms", "300000")
        .set("statistics.interval.ms", "5")
        .create_with_context(FetchIsOut::default())
        .expect("a consumer");
    let mut from = TopicPartitionList::new();
    from.add_partition_offset("t", partition, Offset::Beginning)
        .expect("an offset");
    consumer.assign(&from).expect("assigned");
    eventually("a fetch waits", || {
        assert!(
            consumer.poll(Duration::from_millis(1)).is_none(),
            "nothing is there yet"
        );
        consumer.context().0.load(Ordering::Acquire).then_some(())
    });
    consumer
}

#[test]
fn a_stop_takes_less_than_a_second_and_no_restart_loses_a_record() {
    let dir = scratch();
    let options = Options::new(dir.path());
    let broker = options.start();
    let address = broker.bootstrap();
    Admin::new(&address).create("t", PARTITIONS, &[]);
    let mut records = Record::series(500);
    let producer = Producer::new(&address, &[("enable.idempotence", "true")]);
    let mut places = producer.send_all("t", PARTITIONS, &records);

    let (status, took) = broker.stop();
    assert!(status.success(), "stopped with {status}");
    assert!(took < Duration::from_secs(1), "the stop took {took:?}");
    common::verify(dir.path());

    // The same producer goes on with its sequences after each start.
    let broker = options.start_on(&address);
    assert_holds(&address, "t", PARTITIONS, &records, &places);
    add(&producer, &mut records, &mut places);
    broker.kill();
    common::verify(dir.path());

    let broker = options.start_on(&address);
    assert_holds(&address, "t", PARTITIONS, &records, &places);
    add(&producer, &mut records, &mut places);
    broker.kill();
    let broker = options.start_on(&address);
    assert_holds(&address, "t", PARTITIONS, &records, &places);
    let (status, took) = broker.stop_by(Signal::INT);
    assert!(status.success(), "stopped with {status}");
    assert!(took < Duration::from_secs(1), "the stop took {took:?}");
    let broker = options.start();
    // Nothing is left to be replayed: it was drained and checkpointed.
    assert!(broker.block.contains(" 0 KiB replayed"), "{}", broker.block);
    broker.stop_cleanly();
}

/// Produces a hundred more.
fn add(
    producer: &Producer,
    records: &mut Vec<Record>,
    places: &mut std::collections::BTreeMap<usize, (i32, i64)>,
) {
    let more: Vec<_> = (0..100)
        .map(|n| Record::numbered(records.len() + n))
        .collect();
    let at = records.len();
    places.extend(
        producer
            .send_all("t", PARTITIONS, &more)
            .into_iter()
            .map(|(n, p)| (at + n, p)),
    );
    records.extend(more);
}

#[test]
fn a_stop_is_in_time_while_fetches_are_parked_and_records_come_in() {
    let dir = scratch();
    let broker = Options::new(dir.path()).start();
    let bootstrap = broker.bootstrap();
    Admin::new(&bootstrap).create("t", PARTITIONS, &[]);
    let parked = consumer(&bootstrap, &[("fetch.wait.max.ms", "250000")]);
    let mut from = TopicPartitionList::new();
    from.add_partition_offset("t", 0, Offset::End)
        .expect("an offset");
    parked.assign(&from).expect("assigned");
    let producer = Producer::new(&bootstrap, &[]);
    for number in 0..20_000 {
        producer.send(
            "t",
            1 + partition_of(number) % 3,
            number,
            &Record::numbered(number),
        );
    }
    producer.outcomes(1_000);
    let (status, took) = broker.stop();
    assert!(status.success(), "stopped with {status}");
    assert!(took < Duration::from_secs(1), "the stop took {took:?}");
    common::verify(dir.path());
}

#[test]
fn a_topic_made_again_never_shows_old_records() {
    let dir = scratch();
    let options = Options::new(dir.path());
    let broker = options.start();
    let address = broker.bootstrap();
    let admin = Admin::new(&address);
    let old = Record::series(200);
    let new: Vec<_> = (1_000..1_040).map(Record::numbered).collect();
    admin.create("t", PARTITIONS, &[]);
    Producer::new(&address, &[]).send_all("t", PARTITIONS, &old);
    admin.delete("t");
    admin.create("t", PARTITIONS, &[]);
    for partition in 0..PARTITIONS {
        assert_eq!(
            watermarks(&address, "t", partition),
            (0, 0),
            "partition {partition}"
        );
    }
    let places = Producer::new(&address, &[]).send_all("t", PARTITIONS, &new);
    assert_holds(&address, "t", PARTITIONS, &new, &places);
    broker.kill();
    let broker = options.start_on(&address);
    assert_holds(&address, "t", PARTITIONS, &new, &places);
    Admin::new(&address).delete("t");
    broker.kill();

    let broker = options.start_on(&address);
    Admin::new(&address).create("t", PARTITIONS, &[]);
    assert_eq!(watermarks(&address, "t", 0), (0, 0));
    broker.stop_cleanly();
    common::verify(dir.path());
}

#[test]
fn deleted_records_stay_deleted() {
    let dir = scratch();
    let options = Options::new(dir.path());
    let broker = options.start();
    let address = broker.bootstrap();
    let records = Record::series(100);
    Producer::new(&address, &[]).send_all("t", 1, &records);
    assert_eq!(
        Admin::new(&address).delete_records("t", 0, Offset::Offset(40)),
        40
    );
    let holds = |address: &str| {
        assert_eq!(watermarks(address, "t", 0), (40, 100));
        let found = read_partition(address, "t", 0, Offset::Beginning, 60);
        assert_eq!(found.first(), Some(&(40, records[40].clone())));
        assert_eq!(found.len(), 60);
    };
    holds(&address);
    broker.kill();
    let broker = options.start_on(&address);
    holds(&address);
    assert_eq!(
        Admin::new(&address).delete_records("t", 0, Offset::End),
        100,
        "all of them"
    );
    broker.stop_cleanly();
    let _broker = options.start_on(&address);
    assert_eq!(watermarks(&address, "t", 0), (100, 100));
}

#[test]
fn retention_by_time_and_by_size_deletes_and_says_so() {
    let dir = scratch();
    let broker = Options::new(dir.path())
        .set("log.retention.check.interval.ms", "50")
        .start();
    let bootstrap = broker.bootstrap();
    let admin = Admin::new(&bootstrap);
    // Records of 2023 are older than an hour.
    admin.create("by-time", 1, &[("retention.ms", "3600000")]);
    admin.create("kept", 1, &[("retention.ms", "-1")]);
    let by_size = [
        ("retention.ms", "-1"),
        ("retention.bytes", "2000000"),
        ("segment.bytes", "1048576"),
    ];
    admin.create("by-size", 1, &by_size);
    let producer = Producer::new(&bootstrap, &[]);
    let records = Record::series(100);
    for topic in ["by-time", "kept"] {
        producer.send_all(topic, 1, &records);
    }
    let large = vec![
        Record {
            value: Some(vec![7; 10_000]),
            ..Record::numbered(1)
        };
        500
    ];
    let small_batches = Producer::new(&bootstrap, &[("batch.num.messages", "2")]);
    small_batches.send_all("by-size", 1, &large);
    eventually("old records go", || {
        (watermarks(&bootstrap, "by-time", 0).0 == 100).then_some(())
    });
    let (start, end) = eventually("the oldest of too many go", || {
        // What is left is less than one segment over the limit.
        Some(watermarks(&bootstrap, "by-size", 0)).filter(|(start, _)| *start > 190)
    });
    assert_eq!(end, 500);
    assert!(
        start <= 300,
        "2,000,000 bytes stay, which are 200 records: {start}"
    );
    let left = usize::try_from(end - start).expect("few");
    let found = read_partition(&bootstrap, "by-size", 0, Offset::Beginning, left);
    assert_eq!(found.first().map(|(offset, _)| *offset), Some(start));
    assert_eq!(watermarks(&bootstrap, "kept", 0), (0, 100));
}

#[test]
fn a_write_cached_topic_survives_a_kill() {
    let dir = scratch();
    let options = Options::new(dir.path());
    let broker = options.start();
    let address = broker.bootstrap();
    Admin::new(&address).create("cached", PARTITIONS, &[("write.caching", "true")]);
    let producer = Producer::new(&address, &[("acks", "1"), ("batch.num.messages", "5")]);
    let records = Record::series(1_000);
    let places = producer.send_all("cached", PARTITIONS, &records);
    broker.kill();
    let broker = options.start_on(&address);
    assert_holds(&address, "cached", PARTITIONS, &records, &places);
    broker.stop_cleanly();
    common::verify(dir.path());
}

#[test]
fn other_numbers_of_shards_keep_every_record() {
    keeps_every_record(&[("--shards", "1"), ("--shards", "3"), ("--shards", "2")]);
}

#[test]
fn another_size_of_the_wal_keeps_every_record() {
    keeps_every_record(&[("--wal-size", "32MiB"), ("--wal-size", "128MiB")]);
}

/// Starts anew with each flag, after kills and stops in turn.
fn keeps_every_record(starts: &[(&str, &str)]) {
    let dir = scratch();
    let options = Options::new(dir.path());
    let mut broker = options.start();
    let address = broker.bootstrap();
    let admin = Admin::new(&address);
    let topics: Vec<String> = (0..3).map(|n| format!("t{n}")).collect();
    let producer = Producer::new(&address, &[("enable.idempotence", "true")]);
    let records = Record::series(300);
    let mut places = Vec::new();
    for topic in &topics {
        admin.create(topic, PARTITIONS, &[]);
        places.push(producer.send_all(topic, PARTITIONS, &records));
    }
    for (start, (flag, value)) in starts.iter().enumerate() {
        if start % 2 == 0 {
            broker.kill()
        } else {
            broker.stop_cleanly()
        }
        common::verify(dir.path());
        broker = options.clone().flag(flag, value).start_on(&address);
        for (topic, places) in topics.iter().zip(&places) {
            assert_holds(&address, topic, PARTITIONS, &records, places);
        }
        let one_more = format!("after-{start}");
        produce_one(&address, &one_more, value);
        for before in 0..=start {
            assert_eq!(watermarks(&address, &format!("after-{before}"), 0), (0, 1));
        }
    }
    broker.stop_cleanly();
    common::verify(dir.path());
}

#[test]
fn little_memory_is_enough_for_more_records_than_it_holds() {
    let dir = scratch();
    let options = Options::new(dir.path()).flag("--memory", "32MiB");
    let broker: Broker = options.start();
    let bootstrap = broker.bootstrap();
    Admin::new(&bootstrap).create("t", PARTITIONS, &[]);
    let producer = Producer::new(&bootstrap, &[("enable.idempotence", "true")]);
    let records: Vec<_> = (0..800)
        .map(|number| {
            let value = Some(common::raw::Numbers(number + 1).bytes(100_000));
            Record {
                value,
                timestamp: EPOCH_MS,
                ..Record::default()
            }
        })
        .collect();
    let places = producer.send_all("t", PARTITIONS, &records);
    assert_holds(&bootstrap, "t", PARTITIONS, &records, &places);
    let resident = broker.resident_bytes();
    assert!(resident < 160 << 20, "{} MiB resident", resident >> 20);
    broker.stop_cleanly();
    common::verify(dir.path());
}

#[test]
fn what_cannot_be_is_refused_by_kafkas_names() {
    let dir = scratch();
    let broker = Options::new(dir.path())
        .set("auto.create.topics.enable", "false")
        .start();
    let bootstrap = broker.bootstrap();
    let admin = Admin::new(&bootstrap);
    admin.create("t", 1, &[]);
    let refused = |topic: &str, partitions, configs: &[(&str, &str)]| {
        admin
            .try_create(topic, partitions, configs)
            .expect_err("refused")
    };
    assert_eq!(refused("t", 1, &[]), RDKafkaErrorCode::TopicAlreadyExists);
    assert_eq!(refused("no/slash", 1, &[]), RDKafkaErrorCode::InvalidTopic);
    assert_eq!(refused("..", 1, &[]), RDKafkaErrorCode::InvalidTopic);
    assert_eq!(refused("zero", 0, &[]), RDKafkaErrorCode::InvalidPartitions);
    assert_eq!(
        refused("c", 1, &[("no.such.key", "1")]),
        RDKafkaErrorCode::InvalidConfig
    );
    assert_eq!(
        refused("c", 1, &[("retention.ms", "soon")]),
        RDKafkaErrorCode::InvalidConfig
    );
    assert_eq!(
        refused("c", 1, &[("min.insync.replicas", "2")]),
        RDKafkaErrorCode::InvalidConfig
    );

    let producer = Producer::new(&bootstrap, &[("message.timeout.ms", "30000")]);
    producer.send("t", 7, 0, &Record::numbered(1));
    assert_eq!(
        producer.outcomes(1)[&0],
        Err(RDKafkaErrorCode::UnknownPartition)
    );
    let settings = [("topic.metadata.propagation.max.ms", "0")];
    let producer = Producer::new(&bootstrap, &settings);
    producer.send("unknown", 0, 0, &Record::numbered(1));
    assert_eq!(
        producer.outcomes(1)[&0],
        Err(RDKafkaErrorCode::UnknownTopicOrPartition)
    );
    let large = Record {
        value: Some(vec![0; 2_000_000]),
        ..Record::numbered(1)
    };
    let producer = Producer::new(&bootstrap, &[("message.max.bytes", "3000000")]);
    producer.send("t", 0, 0, &large);
    assert_eq!(
        producer.outcomes(1)[&0],
        Err(RDKafkaErrorCode::MessageSizeTooLarge)
    );
}
