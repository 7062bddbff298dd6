//! Fetches: from memory at the tail, against the loopback alone; from segments after a restart,
//! against direct reads of the same files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::connection::{Connection, Wait};
use crate::process::Options;
use crate::stats::{Table, Times, median, number, percentiles};
use crate::target::{Target, one_shard};
use crate::{Plan, answers, frames, machine, raw};

/// Enough that no cache of the broker holds it all.
const COLD_BYTES: usize = 1 << 30;
const TAIL_BYTES: usize = 8 << 20;
const RECORDS: usize = 64;
const VALUE_BYTES: usize = 1012;
const FETCH_BYTES: usize = 1 << 20;
const ROUNDS: usize = 5;

pub fn measure(plan: &Plan) {
    let target = Target::start(plan, &one_shard(plan, "park"));
    let topic = target.topic("fetch", 1, &[]);
    let bytes = plan.count(COLD_BYTES);
    machine::on_cpu(plan.client_cpu, || fill(&target, &topic, bytes));
    println!(
        "\none shard, park; fetches of {} KiB, one connection, client blocks",
        FETCH_BYTES >> 10
    );
    let table = Table::new(&["", "MB/s", "the reference alone, MB/s", "ratio"]);
    tail(plan, &target, &topic, &table);
    let Target {
        broker, scratch, ..
    } = target;
    let (status, took) = broker.expect("ours").stop();
    let data = scratch.path().join("data");
    let mut again = Options::new(&data, &one_shard(plan, "park")).start();
    cold(plan, &again, &topic, &data, &table);
    assert!(again.is_running(), "it has ended");
    drop(again);
    println!("\n(the stop in between: {status}, {} ms)", took.as_millis());
    hand_over(plan);
}

fn fill(target: &Target, topic: &str, bytes: usize) {
    let mut frame = frames::produce(topic, &[0], -1, &frames::batch(RECORDS, VALUE_BYTES));
    let mut connection = Connection::open(target.addr, Wait::Block).expect("it listens");
    let count = bytes / frame.len();
    for _ in 0..count {
        connection.send(&mut frame).expect("it listens");
        answers::produced(connection.receive().expect("it answers"));
    }
}

/// The last megabytes again and again.
fn tail(plan: &Plan, target: &Target, topic: &str, table: &Table) {
    let cpus = (plan.broker_cpu, plan.client_cpu);
    let (mut ours, mut alone, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let lasting = plan.lasting(2);
        let reference = target
            .stopped(|| machine::on_cpu(cpus.1, || raw::loopback_rate(FETCH_BYTES, lasting, cpus)));
        let rate = machine::on_cpu(cpus.1, || {
            let mut connection = Connection::open(target.addr, Wait::Block).expect("it listens");
            let end = high_watermark(&mut connection, topic);
            let from = end - (TAIL_BYTES / 1024) as i64;
            let (mut total, began) = (0, Instant::now());
            while began.elapsed() < lasting {
                total += read_through(&mut connection, topic, from, end);
            }
            total as f64 / 1e6 / began.elapsed().as_secs_f64()
        });
        ratios.push(rate / reference);
        ours.push(rate);
        alone.push(reference);
    }
    row(
        table,
        "tail, from memory (reference: loopback)",
        ours,
        alone,
        ratios,
    );
}

/// Everything once, from the first offset; the reference reads the same segments.
fn cold(plan: &Plan, broker: &crate::process::Broker, topic: &str, data: &Path, table: &Table) {
    let mut segments = Vec::new();
    find_segments(data, &mut segments);
    segments.sort();
    let (mut ours, mut alone, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let reference = machine::on_cpu(plan.broker_cpu, || {
            raw::direct_read_rate(&segments, FETCH_BYTES)
        });
        let rate = machine::on_cpu(plan.client_cpu, || {
            let mut connection = Connection::open(broker.addr, Wait::Block).expect("it listens");
            let end = high_watermark(&mut connection, topic);
            let began = Instant::now();
            let total = read_through(&mut connection, topic, 0, end);
            total as f64 / 1e6 / began.elapsed().as_secs_f64()
        });
        ratios.push(rate / reference);
        ours.push(rate);
        alone.push(reference);
    }
    row(
        table,
        "cold, from segments (reference: 1 MiB O_DIRECT reads, one at a time)",
        ours,
        alone,
        ratios,
    );
}

fn row(table: &Table, name: &str, ours: Vec<f64>, alone: Vec<f64>, ratios: Vec<f64>) {
    let cells = [
        number(median(ours)),
        number(median(alone)),
        number(median(ratios)),
    ];
    let [ours, alone, ratio] = cells;
    table.row(&[name.into(), ours, alone, ratio]);
}

fn read_through(connection: &mut Connection, topic: &str, from: i64, end: i64) -> usize {
    let (mut at, mut total) = (from, 0);
    while at < end {
        let frame = frames::fetch(topic, &[(0, at)], 1000, FETCH_BYTES as i32);
        let fetched = answers::fetched(connection.call(frame).expect("it answers"));
        total += fetched.bytes;
        at = fetched.next.expect("there is more");
    }
    total
}

fn high_watermark(connection: &mut Connection, topic: &str) -> i64 {
    let frame = frames::fetch(topic, &[(0, 0)], 0, 1);
    answers::fetched(connection.call(frame).expect("it answers")).high_watermark
}

fn find_segments(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_segments(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "log") {
            found.push(path);
        }
    }
}

/// A consumer that waits at the end: from the producer's send to the record's arrival there.
fn hand_over(plan: &Plan) {
    let target = Target::start(plan, &one_shard(plan, "park"));
    let topic = target.topic("hand-over", 1, &[]);
    let rounds = plan.count(5000);
    let (mut acked, mut seen) = (Times::default(), Times::default());
    machine::on_cpu(plan.client_cpu, || {
        let open = || Connection::open(target.addr, Wait::Spin).expect("it listens");
        let (mut producer, mut consumer, mut next) = (open(), open(), 0);
        let mut frame = frames::produce(&topic, &[0], -1, &frames::batch(1, 1024));
        for _ in 0..rounds {
            let mut fetch = frames::fetch(&topic, &[(0, next)], 10_000, 1 << 20);
            consumer.send(&mut fetch).expect("it listens");
            // Long enough that the fetch is parked.
            let parked = Instant::now() + Duration::from_micros(200);
            while Instant::now() < parked {}
            let began = Instant::now();
            producer.send(&mut frame).expect("it listens");
            let fetched = answers::fetched(consumer.receive().expect("it is woken"));
            seen.push(began.elapsed());
            answers::produced(producer.receive().expect("it answers"));
            acked.push(began.elapsed());
            next = fetched.next.expect("it was woken by a record");
        }
    });
    println!("\na parked consumer, 1 KiB, acks=all, {rounds} times (one client thread, spinning)");
    let table = Table::new(&["us p50 / p99 / p99.9", "", "what was seen survives"]);
    table.row(&[
        "send to the consumer has it".into(),
        percentiles(&seen),
        "power loss".into(),
    ]);
    table.row(&[
        "send to both have their answers".into(),
        percentiles(&acked),
        "power loss".into(),
    ]);
}
