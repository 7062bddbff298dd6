//! A thousand readers that ask and never read: what the broker weighs stays within `--memory` and
//! a little for each connection, and a consumer that reads goes on reading.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::clients::{Admin, EPOCH_MS, Producer, Record, consumer};
use common::raw::{self, Numbers};
use common::watch::Watched;
use common::{Broker, DEADLINE, Options, eventually, scratch};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const MIB: u64 = 1 << 20;
const MEMORY_BYTES: u64 = 64 * MIB;

/// What a connection may cost beside `--memory`: its task, buffers of the allocator, what is
/// written in `docs/tuning.md`.
const CONNECTION_BYTES: u64 = 32 * 1024;

const READERS: usize = 1_000;
const RECORDS: usize = 80;

/// Fills a topic of two partitions with incompressible records of 900 kB.
fn fill(bootstrap: &str, topic: &str) {
    Admin::new(bootstrap).create(topic, 2, &[]);
    let settings = [
        ("message.max.bytes", "2000000"),
        ("compression.type", "none"),
    ];
    let records: Vec<_> = (0..RECORDS)
        .map(|n| Record {
            value: Some(Numbers(n as u64 + 1).bytes(900_000)),
            timestamp: EPOCH_MS,
            ..Record::default()
        })
        .collect();
    Producer::new(bootstrap, &settings).send_all(topic, 2, &records);
}

/// A consumer that reads the whole topic again and again.
struct Reader {
    consumer: BaseConsumer,
    topic: &'static str,
}

impl Reader {
    fn new(bootstrap: &str, topic: &'static str) -> Self {
        let consumer = consumer(bootstrap, &[]);
        Self { consumer, topic }
    }

    /// The longest that a record was waited for.
    fn read_all(&self) -> Duration {
        let mut from = TopicPartitionList::new();
        for partition in 0..2 {
            from.add_partition_offset(self.topic, partition, Offset::Beginning)
                .expect("an offset");
        }
        self.consumer.assign(&from).expect("assigned");
        let mut longest = Duration::ZERO;
        for read in 0..RECORDS {
            let asked = Instant::now();
            let message = self.consumer.poll(DEADLINE);
            let message = message.unwrap_or_else(|| panic!("record {read} never came"));
            assert_eq!(message.expect("readable").payload_len(), 900_000);
            longest = longest.max(asked.elapsed());
        }
        longest
    }
}

/// Connections that ask for more than anybody holds, at offsets all over the topic.
fn never_read(broker: &Broker, topic: &str) -> Vec<TcpStream> {
    let connect = |number: usize| {
        let mut stream = broker.connect();
        let asks: Vec<u8> = (0..20)
            .flat_map(|ask| {
                let offset = (number * 7 + ask * 3) % (RECORDS / 2);
                let offset = i64::try_from(offset).expect("small");
                raw::fetch(topic, i32::from(number % 2 == 1), offset, 0)
            })
            .collect();
        stream.write_all(&asks).expect("sent");
        stream
    };
    (0..READERS).map(connect).collect()
}

#[test]
fn a_thousand_readers_that_never_read_hold_no_more_than_the_budget_and_starve_nobody() {
    let dir = scratch();
    let broker = Options::new(dir.path()).flag("--memory", "64MiB").start();
    let bootstrap = broker.bootstrap();
    let before = broker.resident_bytes();
    fill(&bootstrap, "large");
    let reader = Reader::new(&bootstrap, "large");
    let alone = reader.read_all();
    let full = broker.resident_bytes();
    let watched = Watched::new(&broker);
    let stuck = never_read(&broker, "large");
    let attacked = (0..3).map(|_| reader.read_all()).max().expect("three");
    let peak = watched.peak();
    let bound = before + MEMORY_BYTES + READERS as u64 * CONNECTION_BYTES;
    println!(
        "resident: {} MiB at the start, {} with full caches, {} at most under attack (bound {}); \
         longest wait for a record: {alone:?} alone, {attacked:?} under attack",
        before / MIB,
        full / MIB,
        peak / MIB,
        bound / MIB,
    );
    assert!(
        peak <= bound,
        "{} MiB, bound {} MiB",
        peak / MIB,
        bound / MIB
    );
    drop(stuck);
    let left = before + MEMORY_BYTES;
    let mut last = 0;
    eventually("the memory comes back", || {
        last = broker.resident_bytes();
        (last <= left).then_some(())
    });
    println!("{} MiB after they have gone", last / MIB);
    reader.read_all();
    broker.stop_cleanly();
}

/// As many topics as make a Metadata answer of some 300 kB.
const TOPICS: usize = 1_000;

/// Makes topics with names as long as they may be.
fn many_topics(broker: &Broker) {
    let mut body = i32::try_from(TOPICS).expect("few").to_be_bytes().to_vec();
    for number in 0..TOPICS {
        raw::string(&mut body, &format!("{number:x>240}"));
        body.extend(1i32.to_be_bytes());
        body.extend(1i16.to_be_bytes());
        body.extend([0; 8]);
    }
    body.extend(30_000i32.to_be_bytes());
    body.push(0);
    let mut stream = broker.connect();
    raw::call(&mut stream, &raw::request(19, 2, 1, &body)).expect("an answer");
}

/// A Metadata request of version 8 for all topics.
fn all_topics() -> Vec<u8> {
    let mut body = (-1i32).to_be_bytes().to_vec();
    body.extend([0; 3]);
    raw::request(raw::METADATA, 8, 1, &body)
}

#[test]
fn metadata_that_nobody_reads_holds_no_more_than_the_budget_and_starves_nobody() {
    let dir = scratch();
    let broker = Options::new(dir.path()).flag("--memory", "64MiB").start();
    many_topics(&broker);
    let before = broker.resident_bytes();
    let watched = Watched::new(&broker);
    let asks = all_topics().repeat(40);
    let connect = |_| {
        let mut stream = broker.connect();
        stream.write_all(&asks).expect("sent");
        stream
    };
    let stuck: Vec<TcpStream> = (0..500).map(connect).collect();
    let mut reader = broker.connect();
    for _ in 0..20 {
        let answer = raw::call(&mut reader, &all_topics()).expect("an answer");
        assert!(answer.len() > TOPICS * 240, "{} bytes", answer.len());
    }
    let peak = watched.peak();
    // A quarter of the memory, two answers under way a shard, and a little for each connection.
    let bound = before + MEMORY_BYTES / 4 + 8 * MIB + 500 * CONNECTION_BYTES;
    println!(
        "resident: {} MiB before, {} at most under attack (bound {})",
        before / MIB,
        peak / MIB,
        bound / MIB,
    );
    assert!(
        peak <= bound,
        "{} MiB, bound {} MiB",
        peak / MIB,
        bound / MIB
    );
    drop(stuck);
    broker.stop_cleanly();
}
