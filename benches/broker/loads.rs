//! How long coordinators take to be there again: from exec until the groups of all of them are
//! served, after a clean stop and after kill -9, with many commits behind them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::connection::{Connection, Wait};
use crate::process::{Broker, Options};
use crate::stats::{Table, Times, number};
use crate::{Plan, answers, frames, group_frames, groups, proc};

const GROUPS: usize = 1000;
/// Each group has an offset of each.
const PARTITIONS: usize = 100;
/// How often every offset is committed.
const ROUNDS: i64 = 10;
const CONNECTIONS: usize = 16;
const STARTS: usize = 5;
const LOAD_MAX: Duration = Duration::from_secs(120);
const TOPIC: &str = "bench-loads";

/// With the groups on as many coordinators as there are by default, and on one.
pub fn measure(plan: &Plan) {
    let count = plan.count(GROUPS);
    let distinct = count * PARTITIONS;
    println!(
        "\n{} offsets committed in {} requests, {distinct} distinct, of {count} groups; two shards, {STARTS} starts",
        distinct as i64 * ROUNDS,
        count as i64 * ROUNDS,
    );
    let table = Table::new(&[
        "coordinators",
        "after",
        "it listens, ms",
        "all groups served, ms, median",
        "worst",
        "CPU until then, ms",
        "snapshots, MiB",
    ]);
    for coordinators in [50, 1] {
        let scratch = tempfile::tempdir_in(&plan.dir).expect("a scratch directory");
        let dir = scratch.path().join("data");
        let flags = [
            ("--shards", "2".to_owned()),
            (
                "--set",
                format!("offsets.topic.num.partitions={coordinators}"),
            ),
        ];
        let options = Options::new(&dir, &flags);
        let broker = options.start();
        let names: Vec<String> = (0..count).map(|at| format!("load-{at}")).collect();
        commit(broker.addr, &names);
        // One group of each coordinator tells when that is there.
        let asked: BTreeMap<i32, &String> = names
            .iter()
            .map(|name| (coordinator(name, coordinators), name))
            .collect();
        let asked: Vec<&String> = asked.into_values().collect();
        let mut running = broker;
        for clean in [true, false] {
            let (mut listens, mut served) = (Times::default(), Times::default());
            let mut cpu = Times::default();
            for _ in 0..STARTS {
                end(running, clean);
                let began = Instant::now();
                running = options.start();
                listens.push(began.elapsed());
                await_all(running.addr, &asked);
                served.push(began.elapsed());
                cpu.push(proc::cpu(running.pid().as_raw_nonzero().get()));
            }
            table.row(&[
                coordinators.to_string(),
                if clean { "SIGTERM" } else { "kill -9" }.into(),
                number(listens.ms(0.5)),
                number(served.ms(0.5)),
                number(served.ms(1.0)),
                number(cpu.ms(0.5)),
                number(snapshots(&dir) as f64 / f64::from(1 << 20)),
            ]);
        }
        check(running.addr, &names);
    }
}

fn end(broker: Broker, clean: bool) {
    if clean {
        let (status, _) = broker.stop();
        assert!(status.success(), "{status}");
    }
    // Dropped, it is killed.
}

/// Every group commits all its offsets, round by round.
fn commit(addr: SocketAddr, names: &[String]) {
    let mut connections: Vec<Connection> = (0..CONNECTIONS)
        .map(|_| Connection::open(addr, Wait::Block).expect("it listens"))
        .collect();
    let count = i32::try_from(PARTITIONS).expect("few");
    let frame = frames::create_topics(&[(TOPIC.to_owned(), count)], &[]);
    answers::created(connections[0].call(frame).expect("it answers"));
    groups::await_coordinator(addr);
    // The coordinators load, of nothing, at their first start.
    await_all(addr, &names.iter().collect::<Vec<_>>());
    for round in 1..=ROUNDS {
        for some in names.chunks(CONNECTIONS) {
            for (name, connection) in some.iter().zip(&mut connections) {
                let mut frame = group_frames::commit(name, TOPIC, PARTITIONS, round);
                connection.send(&mut frame).expect("it listens");
            }
            for connection in connections.iter_mut().take(some.len()) {
                let answer = connection.receive().expect("it answers");
                assert_eq!(group_frames::committed(answer), 0, "it takes commits");
            }
        }
    }
}

/// Waits until these groups' offsets can be asked for.
fn await_all(addr: SocketAddr, names: &[&String]) {
    let began = Instant::now();
    let mut connection = Connection::open(addr, Wait::Block).expect("it listens");
    for name in names {
        loop {
            let frame = group_frames::fetch(name, TOPIC, 0);
            let answer = connection.call(frame).expect("it answers");
            if group_frames::fetched(answer).0 == 0 {
                break;
            }
            assert!(began.elapsed() < LOAD_MAX, "{name} is not served");
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

/// What was committed last is what is told.
fn check(addr: SocketAddr, names: &[String]) {
    let mut connection = Connection::open(addr, Wait::Block).expect("it listens");
    for name in names {
        for partition in [0, PARTITIONS - 1] {
            let frame = group_frames::fetch(name, TOPIC, partition);
            let answer = connection.call(frame).expect("it answers");
            assert_eq!(group_frames::fetched(answer), (0, ROUNDS), "{name}");
        }
    }
}

/// The coordinator of a group: Java's hash of its id.
fn coordinator(group: &str, coordinators: i32) -> i32 {
    let hash = group.bytes().fold(0_i32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(i32::from(byte))
    });
    (hash & i32::MAX) % coordinators
}

/// Bytes of all snapshots of groups.
fn snapshots(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => snapshots(&entry.path()),
            _ if entry.file_name() == "snapshot" => entry.metadata().map_or(0, |it| it.len()),
            _ => 0,
        })
        .sum()
}
