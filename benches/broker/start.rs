//! How long a start takes: from exec to the first answered request.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::connection::{Connection, Wait};
use crate::process::Options;
use crate::stats::{Table, Times, number};
use crate::target::Target;
use crate::{Plan, frames};

const STARTS: usize = 21;
const RESTARTS: usize = 5;
/// In topics of a thousand.
const TOPICS: usize = 10;
const PARTITIONS: i32 = 1000;
const START_MAX: Duration = Duration::from_secs(60);

/// A process that answers, how long it took, and how long to its answer to Metadata.
struct Started {
    child: Child,
    versions: Duration,
    metadata: Duration,
}

/// Starts a broker on `dir` and asks it again and again until it answers.
fn start(dir: &Path, addr: SocketAddr, topics: &[&str]) -> Started {
    let flags = [("--shards", "2".to_owned())];
    let mut command = Options::new(dir, &flags).command(&addr.to_string());
    command.stdout(Stdio::null());
    let began = Instant::now();
    let mut child = command.spawn().expect("the binary starts");
    loop {
        let asked = Connection::open(addr, Wait::Block).and_then(|mut connection| {
            connection.call(frames::api_versions())?;
            let versions = began.elapsed();
            connection.call(frames::metadata(topics))?;
            Ok((versions, began.elapsed()))
        });
        if let Ok((versions, metadata)) = asked {
            return Started {
                child,
                versions,
                metadata,
            };
        }
        assert!(began.elapsed() < START_MAX, "it does not answer");
        assert!(matches!(child.try_wait(), Ok(None)), "it has ended");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Ends it; the time that took.
fn end(mut child: Child, signal: Signal) -> Duration {
    let asked = Instant::now();
    kill_process(Pid::from_child(&child), signal).expect("it runs");
    child.wait().expect("it ends");
    asked.elapsed()
}

fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    listener.local_addr().expect("an address")
}

/// On an empty directory, and on one that was used for nothing.
pub fn measure(plan: &Plan) {
    let (addr, mut empty, mut again) = (free_addr(), Times::default(), Times::default());
    let mut stops = Times::default();
    for _ in 0..plan.count(STARTS) {
        let scratch = tempfile::tempdir_in(&plan.dir).expect("a scratch directory");
        let dir = scratch.path().join("data");
        let started = start(&dir, addr, &[]);
        empty.push(started.versions);
        stops.push(end(started.child, Signal::TERM));
        let started = start(&dir, addr, &[]);
        again.push(started.versions);
        end(started.child, Signal::KILL);
    }
    println!(
        "\nexec to the first answered ApiVersions, two shards, {} starts",
        empty.len()
    );
    let table = Table::new(&["", "median ms", "worst ms", "goal ms"]);
    let row = |name: &str, times: &Times, goal: &str| {
        table.row(&[
            name.into(),
            number(times.ms(0.5)),
            number(times.ms(1.0)),
            goal.into(),
        ]);
    };
    row("on an empty directory", &empty, "50");
    row("on the directory it left", &again, "");
    row("SIGTERM to the end of the process", &stops, "1,000");
}

/// With 10,000 partitions, every one with a record in it.
pub fn restart(plan: &Plan) {
    let topics: Vec<(String, i32)> = (0..TOPICS)
        .map(|index| (format!("restart-{index}"), PARTITIONS))
        .collect();
    let target = Target::start(plan, &[("--shards", "2".to_owned())]);
    target.topics(&topics, &[]);
    fill(target.addr, &topics);
    let Target {
        scratch, broker, ..
    } = target;
    let dir = scratch.path().join("data");
    let (status, took) = broker.expect("ours").stop();
    println!("\nfirst stop: {status}, {} ms", took.as_millis());
    let (addr, name) = (free_addr(), topics[0].0.as_str());
    println!(
        "{} partitions, one record each: exec to an answer, {RESTARTS} times",
        TOPICS as i32 * PARTITIONS
    );
    let table = Table::new(&[
        "after",
        "ApiVersions ms",
        "Metadata ms, median",
        "worst",
        "goal ms",
    ]);
    for (how, signal) in [("SIGTERM", Signal::TERM), ("kill -9", Signal::KILL)] {
        let (mut versions, mut metadata) = (Times::default(), Times::default());
        end(start(&dir, addr, &[name]).child, signal);
        for _ in 0..RESTARTS {
            let started = start(&dir, addr, &[name]);
            versions.push(started.versions);
            metadata.push(started.metadata);
            produce_one(addr, name);
            end(started.child, signal);
        }
        table.row(&[
            how.into(),
            number(versions.ms(0.5)),
            number(metadata.ms(0.5)),
            number(metadata.ms(1.0)),
            "1,000".into(),
        ]);
    }
}

/// Puts a record into each partition, a topic with each request.
pub fn fill(addr: SocketAddr, topics: &[(String, i32)]) {
    let mut connection = Connection::open(addr, Wait::Block).expect("it listens");
    let batch = frames::batch(1, 100);
    for (name, partitions) in topics {
        let indexes: Vec<i32> = (0..*partitions).collect();
        let answer = connection.call(frames::produce(name, &indexes, -1, &batch));
        crate::answers::produced(answer.expect("it answers"));
    }
}

/// A broker that answers Metadata takes records too.
fn produce_one(addr: SocketAddr, topic: &str) {
    let mut connection = Connection::open(addr, Wait::Block).expect("it listens");
    let frame = frames::produce(topic, &[0], -1, &frames::batch(1, 100));
    crate::answers::produced(connection.call(frame).expect("it answers"));
}
