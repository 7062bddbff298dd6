//! Real input, real kills: the source text of this project's own dependencies is sent line by
//! line at acks=all by an idempotent librdkafka producer, while the broker is killed with
//! SIGKILL and restarted. Then every acknowledged line must be there, at its offset, once.
//!
//! `cargo test --release --test survive -- --megabytes 100 --kills 5` prints the full run;
//! without arguments it is a short one, so that `cargo test` stays quick.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use common::{Broker, Options};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const TOPIC: &str = "sources";
const PARTITIONS: i32 = 4;
const QUIET_MAX: Duration = Duration::from_secs(60);

/// An acknowledgement: line number, partition, offset.
type Acknowledged = (usize, i32, i64);

struct Acknowledgements(Sender<Acknowledged>);
impl ClientContext for Acknowledgements {}
impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = Box<usize>;
    fn delivery(&self, result: &DeliveryResult<'_>, line: Self::DeliveryOpaque) {
        match result {
            Ok(message) => {
                let _ = self.0.send((*line, message.partition(), message.offset()));
            }
            Err((error, _)) => panic!("line {line} was given up: {error}"),
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str, default: usize| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1)?.parse().ok().or(Some(default))
    };
    let megabytes = value("--megabytes", 4).unwrap_or(4);
    let kills = value("--kills", 5).unwrap_or(5);
    if arguments.iter().any(|a| a == "--list") {
        return;
    }
    let text = input(megabytes << 20);
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    println!("{} lines, {} bytes of source text", lines.len(), text.len());
    let dir = tempfile::tempdir().expect("a scratch directory");
    let started = Instant::now();
    let (acknowledged, broker) = produce(dir.path(), &lines, kills);
    println!(
        "{} lines acknowledged through {kills} kills in {:.1} s",
        acknowledged.len(),
        started.elapsed().as_secs_f64()
    );
    check(&broker, &lines, &acknowledged);
    let (status, took) = broker.stop();
    assert!(status.success(), "stopped with {status}");
    println!("stopped in {} ms", took.as_millis());
    common::verify(dir.path());
    println!("nothing lost, nothing changed, nothing twice: 1 passed, 0 failed");
}

/// The `.rs` files of the dependencies, in sorted order, repeated to `bytes`.
fn input(bytes: usize) -> Vec<u8> {
    let home = std::env::var("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|_| std::env::var("HOME").map(|home| Path::new(&home).join(".cargo")));
    let mut files = Vec::new();
    rust_files(
        &home.expect("cargo has a home").join("registry/src"),
        &mut files,
    );
    files.sort();
    let mut text = Vec::with_capacity(bytes);
    while text.len() < bytes {
        let before = text.len();
        for file in &files {
            text.extend_from_slice(&fs::read(file).unwrap_or_default());
            if text.len() >= bytes {
                break;
            }
        }
        assert!(text.len() > before, "the dependencies have source text");
    }
    text.truncate(bytes);
    text
}

fn rust_files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Sends every line, kills the broker `kills` times on the way; what was acknowledged.
fn produce(dir: &Path, lines: &[&[u8]], kills: usize) -> (Vec<Acknowledged>, Broker) {
    let options = Options::new(dir).flag("--set", &format!("num.partitions={PARTITIONS}"));
    let mut broker = options.start();
    let listen = broker.bootstrap();
    let (sender, receiver) = channel();
    let producer: ThreadedProducer<Acknowledgements> = ClientConfig::new()
        .set("bootstrap.servers", &listen)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "2")
        .set("message.timeout.ms", "300000")
        .set("reconnect.backoff.max.ms", "200")
        .set("queue.buffering.max.messages", "20000")
        .create_with_context(Acknowledgements(sender))
        .expect("a producer");
    let mut acknowledged = Vec::with_capacity(lines.len());
    let mut next_kill = lines.len() / (kills + 1);
    let mut killed = 0;
    for (number, line) in lines.iter().enumerate() {
        let key = number.to_string();
        send(&producer, number, &key, line, &receiver, &mut acknowledged);
        acknowledged.extend(receiver.try_iter());
        if killed < kills && acknowledged.len() >= next_kill {
            broker.kill();
            killed += 1;
            next_kill = lines.len() * (killed + 1) / (kills + 1);
            let asked = Instant::now();
            broker = options.start_on(&listen);
            println!(
                "kill {killed}: answered again after {} ms",
                asked.elapsed().as_millis()
            );
        }
    }
    producer.flush(QUIET_MAX * 2).expect("everything is sent");
    acknowledged.extend(receiver.try_iter());
    assert_eq!(
        killed, kills,
        "every kill happened while lines were in flight"
    );
    (acknowledged, broker)
}

fn send(
    producer: &ThreadedProducer<Acknowledgements>,
    number: usize,
    key: &str,
    line: &[u8],
    receiver: &Receiver<Acknowledged>,
    acknowledged: &mut Vec<Acknowledged>,
) {
    let partition = i32::try_from(number).expect("few lines") % PARTITIONS;
    let mut record = BaseRecord::with_opaque_to(TOPIC, Box::new(number))
        .partition(partition)
        .key(key)
        .payload(line);
    while let Err((error, back)) = producer.send(record) {
        assert_eq!(
            error.rdkafka_error_code(),
            Some(rdkafka::types::RDKafkaErrorCode::QueueFull)
        );
        // The queue is full: the next acknowledgement makes room.
        acknowledged.push(
            receiver
                .recv_timeout(QUIET_MAX)
                .expect("an acknowledgement"),
        );
        record = back;
    }
}

/// Reads every partition from its start and compares.
fn check(broker: &Broker, lines: &[&[u8]], acknowledged: &[Acknowledged]) {
    assert_eq!(
        acknowledged.len(),
        lines.len(),
        "every line was acknowledged"
    );
    let mut expected: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    for (line, partition, offset) in acknowledged {
        let twice = expected.insert((*partition, *offset), *line);
        assert!(
            twice.is_none(),
            "offset {offset} of {partition} was acknowledged twice"
        );
    }
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .create()
        .expect("a consumer");
    let mut from = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        from.add_partition_offset(TOPIC, partition, Offset::Beginning)
            .expect("added");
    }
    consumer.assign(&from).expect("assigned");
    let mut seen = vec![false; lines.len()];
    let mut count = 0;
    while count < lines.len() {
        let message = consumer
            .poll(QUIET_MAX)
            .unwrap_or_else(|| panic!("nothing more after {count} of {} lines", lines.len()))
            .expect("readable");
        let number: usize = message
            .key_view::<str>()
            .expect("a key")
            .expect("text")
            .parse()
            .expect("a number");
        assert_eq!(
            message.payload().unwrap_or_default(),
            lines[number],
            "line {number} changed"
        );
        assert!(
            !std::mem::replace(&mut seen[number], true),
            "line {number} is there twice"
        );
        let acknowledged_as = expected.get(&(message.partition(), message.offset()));
        assert_eq!(acknowledged_as, Some(&number), "at its acknowledged offset");
        count += 1;
    }
    for partition in 0..PARTITIONS {
        let (_, end) = consumer
            .fetch_watermarks(TOPIC, partition, QUIET_MAX)
            .expect("an end");
        let ours = expected.keys().filter(|(p, _)| *p == partition).count();
        assert_eq!(
            end,
            i64::try_from(ours).expect("few"),
            "partition {partition} holds no more"
        );
    }
}
