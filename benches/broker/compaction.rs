//! A producer beside a running compaction: what it waits for its acknowledgements before, during and
//! after, on the one shard that does both; and what the compaction comes to.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::connection::{Connection, Wait};
use crate::stats::{Table, Times, number, percentiles};
use crate::target::{Target, one_shard};
use crate::{Plan, answers, frames, machine, proc};

/// What is loaded before; nearly all of it is superseded.
const LOADED_BYTES: usize = 1 << 30;
const SEGMENT_BYTES: usize = 64 << 20;
const KEYS: u64 = 100_000;
const RECORDS: usize = 280;
const VALUE_BYTES: usize = 200;
/// Different batches, sent in turn.
const BATCHES: u64 = 500;
const BESIDE_BYTES: usize = 1024;
/// A log is looked at every 15 s.
const BEGIN_MAX: Duration = Duration::from_secs(60);
const END_MAX: Duration = Duration::from_secs(300);
/// The files are looked at so often, by the clock of the requests.
const LOOK: Duration = Duration::from_millis(20);
/// When nothing has changed for so long it is over.
const QUIET: Duration = Duration::from_secs(2);

pub fn measure(plan: &Plan) {
    for poll in &plan.polls {
        beside(plan, poll);
    }
}

fn beside(plan: &Plan, poll: &str) {
    let target = Target::start(plan, &one_shard(plan, poll));
    let segment_bytes = (plan.count(SEGMENT_BYTES)).to_string();
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", segment_bytes.as_str()),
        // Above which no log is: nothing is compacted before it is told.
        ("min.cleanable.dirty.ratio", "1.0"),
    ];
    let topic = target.topic("compacted", 1, &configs);
    let other = target.topic("beside", 1, &[]);
    let data = target.scratch.path().join("data");
    let (phases, facts) = machine::on_cpu(plan.client_cpu, || {
        load(&target, &topic, plan.count(LOADED_BYTES));
        // What is on its way to the segments gets there first.
        std::thread::sleep(Duration::from_secs(2));
        watch(plan, &target, &topic, &other, &data)
    });
    println!("\ntailwater, {poll}: 1 KiB, acks=all, closed loop, one connection, client spins");
    let table = Table::new(&[
        "the compaction",
        "requests",
        "us p50 / p99 / p99.9",
        "longest, us",
    ]);
    for (name, times) in ["not begun", "runs", "is over"].iter().zip(&phases) {
        table.row(&[
            (*name).to_owned(),
            times.len().to_string(),
            percentiles(times),
            number(times.us(1.0)),
        ]);
    }
    println!("\n{facts}");
}

fn load(target: &Target, topic: &str, bytes: usize) {
    let mut connection = Connection::open(target.addr, Wait::Block).expect("it listens");
    let mut batches: Vec<Vec<u8>> = (0..BATCHES)
        .map(|seed| frames::keyed_batch(RECORDS, VALUE_BYTES, KEYS, seed))
        .map(|batch| frames::produce(topic, &[0], -1, &batch))
        .collect();
    let mut sent = 0;
    while sent < bytes {
        for frame in &mut batches {
            connection.send(frame).expect("it listens");
            sent += frame.len();
            answers::produced(connection.receive().expect("it answers"));
        }
    }
}

/// The bytes of the files that compaction has made, and of all segments beside them.
fn segments(data: &Path) -> (u64, u64) {
    let (mut made, mut all) = (0, 0);
    let mut pending = vec![data.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(path) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => pending.push(entry.path()),
                Ok(meta) if name.ends_with(".log") => {
                    let cleaned = name.split('.').count() == 3;
                    made += if cleaned { meta.len() } else { 0 };
                    all += meta.len();
                }
                _ => {}
            }
        }
    }
    (made, all)
}

fn read(target: &Target) -> u64 {
    target
        .pid()
        .map_or(0, |pid| proc::read_bytes(pid.as_raw_nonzero().get()))
}

/// Produces one by one until the compaction has begun, while it runs and when it is over.
fn watch(
    plan: &Plan,
    target: &Target,
    topic: &str,
    other: &str,
    data: &Path,
) -> ([Times; 3], String) {
    let mut connection = Connection::open(target.addr, Wait::Spin).expect("it listens");
    let mut frame = frames::produce(other, &[0], -1, &frames::batch(1, BESIDE_BYTES));
    let mut control = Connection::open(target.addr, Wait::Block).expect("it listens");
    let before = segments(data).1;
    let told = frames::alter_topic(topic, &[("min.cleanable.dirty.ratio", "0.0")]);
    answers::altered(control.call(told).expect("it answers"));
    let mut phases = [Times::default(), Times::default(), Times::default()];
    let (start, mut phase, mut looked) = (Instant::now(), 0, Instant::now());
    // Beside it the broker only writes: whatever it reads is the compaction's.
    let (mut changed, mut began, mut last) = (start, start, (0, read(target)));
    let (mut cpu, mut took, mut rss_kib) = (Duration::ZERO, Duration::ZERO, 0);
    loop {
        let at = Instant::now();
        connection.send(&mut frame).expect("it takes the request");
        answers::produced(connection.receive().expect("it answers"));
        phases[phase].push(at.elapsed());
        if looked.elapsed() < LOOK {
            continue;
        }
        looked = Instant::now();
        let now = (segments(data).0, read(target));
        let rss = target.pid().map_or(0, |pid| {
            proc::status_kib(pid.as_raw_nonzero().get(), "VmRSS")
        });
        match phase {
            0 if now != last => {
                (phase, began, changed, cpu) = (1, looked, looked, target.cpu());
                last = now;
            }
            0 => assert!(start.elapsed() < BEGIN_MAX, "no compaction begins"),
            1 => {
                rss_kib = rss_kib.max(rss);
                if now != last {
                    (changed, took, last) = (looked, looked - began, now);
                } else if changed.elapsed() > QUIET {
                    (phase, changed, cpu) = (2, looked, target.cpu().saturating_sub(cpu));
                }
                assert!(began.elapsed() < END_MAX, "the compaction does not end");
            }
            _ if changed.elapsed() > plan.lasting(5) => break,
            _ => {}
        }
    }
    let mib = |bytes: u64| bytes >> 20;
    let after = segments(data);
    let facts = format!(
        "{} MiB of segments became {} MiB in {:.1} s, {:.0} MiB/s; the broker's CPU time meanwhile, and for {} s after it, the producer's requests included: {:.1} s; its memory at most {} MiB",
        mib(before),
        mib(after.0),
        took.as_secs_f64(),
        mib(before) as f64 / took.as_secs_f64(),
        QUIET.as_secs(),
        cpu.as_secs_f64(),
        rss_kib >> 10,
    );
    (phases, facts)
}
