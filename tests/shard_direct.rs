//! Shard-direct routing with librdkafka: the client finds the right shard by itself, through
//! restarts with another number of shards; and what a start refuses of it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use common::clients::{Admin, Producer, Record, read};
use common::{Broker, DEADLINE, Options, counted, eventually, scratch};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;
use rustix::process::{Signal, kill_process};

const PARTITIONS: i32 = 9;
const TOPIC: &str = "t";

fn direct(dir: &Path, shards: &str) -> Options {
    Options::new(&dir.join("data"))
        .flag("--shards", shards)
        .flag("--shard-direct", "true")
}

/// The first of some free ports, below those that connections are made from.
fn ports_in_a_row(count: u16) -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 1_500).expect("small") * 8;
    let free = |base: &u16| {
        let taken = (*base..base + count).map(|port| TcpListener::bind(("127.0.0.1", port)));
        taken.collect::<Result<Vec<_>, _>>().is_ok()
    };
    let bases = (0..100).map(|step| 20_000 + (first - 20_000 + step * count) % 12_000);
    bases.into_iter().find(free).expect("free ports in a row")
}

fn partition_of(number: usize) -> i32 {
    i32::try_from(number).expect("few") % PARTITIONS
}

fn send(producer: &Producer, numbers: std::ops::Range<usize>) {
    let count = numbers.len();
    for number in numbers {
        let record = Record::numbered(number);
        producer.send(TOPIC, partition_of(number), number, &record);
    }
    for outcome in producer.outcomes(count).into_values() {
        outcome.expect("acknowledged");
    }
}

/// A member of a group that reads what is there and commits it.
fn read_in_group(bootstrap: &str, protocol: &str, count: usize) {
    let group = format!("group-{protocol}");
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", &group)
        .set("group.protocol", protocol)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[TOPIC]).expect("subscribed");
    let mut got = 0;
    eventually("all records", || {
        if let Some(message) = consumer.poll(DEADLINE / 60) {
            let message = message.expect("a record");
            assert_eq!(message.topic(), TOPIC);
            got += 1;
        }
        (got >= count).then_some(())
    });
    consumer
        .commit_consumer_state(CommitMode::Sync)
        .expect("committed");
}

/// Produces, reads by assignment and in groups; then what the broker has counted, by name.
fn counted_after_use(options: Options, dir: &Path) -> impl Fn(&str) -> Option<u64> {
    let log = dir.join("log");
    let broker = options.log(&log, "tailwater::counters=info").start();
    let bootstrap = broker.bootstrap();
    Admin::new(&bootstrap).create(TOPIC, PARTITIONS, &[]);
    let producer = Producer::new(&bootstrap, &[("enable.idempotence", "true")]);
    send(&producer, 0..90);
    drop(producer);
    let from: Vec<_> = (0..PARTITIONS)
        .map(|index| (TOPIC, index, Offset::Beginning))
        .collect();
    read(&bootstrap, &from, 90);
    for protocol in ["classic", "consumer"] {
        read_in_group(&bootstrap, protocol, 90);
    }
    kill_process(broker.pid(), Signal::USR1).expect("it runs");
    let told = eventually("the counters", || {
        let told = fs::read_to_string(&log).expect("a log");
        counted(&told, "commits").map(|_| told)
    });
    broker.stop_cleanly();
    move |name| counted(&told, name)
}

#[test]
fn no_request_crosses_over_when_clients_know_the_shards_and_some_do_when_not() {
    let dir = scratch();
    let counted = counted_after_use(direct(dir.path(), "3"), dir.path());
    assert_eq!(counted("mesh_requests"), None, "zeros are not shown");
    let dir = scratch();
    let as_one = Options::new(&dir.path().join("data")).flag("--shards", "3");
    let counted = counted_after_use(as_one, dir.path());
    assert!(counted("mesh_requests").is_some_and(|requests| requests > 10));
}

#[test]
fn a_client_follows_its_partitions_when_the_number_of_shards_changes() {
    let dir = scratch();
    // Clients come back to the ports that they know, so these stay.
    let base = ports_in_a_row(3).to_string();
    let on_ports = |shards| direct(dir.path(), shards).flag("--shard-port-base", &base);
    let first = on_ports("3").start();
    let listen = first.addr.to_string();
    let block = |broker: &Broker| {
        let lines = broker.block.lines();
        lines.filter(|line| line.contains(" broker 100")).count()
    };
    assert_eq!(block(&first), 3, "{}", first.block);
    Admin::new(&listen).create(TOPIC, PARTITIONS, &[]);
    let settings = [
        ("enable.idempotence", "true"),
        ("reconnect.backoff.max.ms", "500"),
    ];
    let producer = Producer::new(&listen, &settings);
    send(&producer, 0..45);
    first.kill();
    let second = on_ports("2").start_on(&listen);
    assert_eq!(block(&second), 2, "{}", second.block);
    send(&producer, 45..90);
    second.stop_cleanly();
    // And as one broker: the shards' ports are gone, so clients bootstrap anew.
    let third = Options::new(&dir.path().join("data")).start_on(&listen);
    drop(producer);
    let producer = Producer::new(&listen, &settings);
    send(&producer, 90..135);
    let from: Vec<_> = (0..PARTITIONS)
        .map(|index| (TOPIC, index, Offset::Beginning))
        .collect();
    let found = read(&listen, &from, 135);
    for index in 0..PARTITIONS {
        let sent = (0..135).filter(|number| partition_of(*number) == index);
        let sent: Vec<_> = (0..).zip(sent.map(Record::numbered)).collect();
        assert_eq!(found[&(TOPIC.to_owned(), index)], sent, "partition {index}");
    }
    third.stop_cleanly();
}

#[test]
fn what_cannot_be_lived_by_is_refused_in_one_sentence() {
    let dir = scratch();
    let refuses = |flags: &[(&str, &str)], says: &[&str]| {
        let mut options = Options::new(&dir.path().join("data"));
        for (name, value) in flags {
            options = options.flag(name, value);
        }
        let (status, said) = options.refused();
        assert!(!status.success());
        assert_eq!(said.lines().count(), 1, "{said}");
        for word in says {
            assert!(said.contains(word), "{word:?} is missing in: {said}");
        }
        assert!(!dir.path().join("data").exists(), "nothing was made");
    };
    let on = ("--shard-direct", "true");
    refuses(
        &[("--shard-port-base", "9100")],
        &["shard-port-base", "9100", "with shard-direct only"],
    );
    refuses(
        &[("--advertise-shards", "h:9100")],
        &["advertise-shards", "with shard-direct only"],
    );
    refuses(&[("--shard-direct", "maybe")], &["shard-direct", "maybe"]);
    refuses(
        &[on, ("--shard-port-base", "65535")],
        &["shard-port-base", "65535", "2 shards"],
    );
    refuses(
        &[on, ("--advertise-shards", "h")],
        &["--advertise-shards", "HOST:PORT"],
    );
    refuses(
        &[
            on,
            ("--shard-port-base", "0"),
            ("--advertise-shards", "h:9100"),
        ],
        &["advertise-shards", "9100", "shard-port-base=0"],
    );
    refuses(
        &[on, ("--advertise", "h:9092")],
        &["advertise-shards in place of advertise"],
    );
    refuses(
        &[on, ("--node-id", "2147484")],
        &["node-id=2147484", "2147483"],
    );
}
