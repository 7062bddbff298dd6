//! Groups in number and in size, in both protocols, beside a real Kafka in the same run: how long
//! they take to form and to rebalance, what their heartbeats cost, what they keep in memory.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::connection::{Connection, Wait};
use crate::kafka::Kafka;
use crate::process::{Broker, Options};
use crate::stats::{Table, number};
use crate::swarm::{Protocol, Swarm};
use crate::{Plan, answers, frames, group_frames, machine, proc};

/// Groups of one member, or members of one group; also the partitions of the one group's topic.
const MEMBERS: usize = 1000;
const INTERVAL: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_secs(1);
const COORDINATOR_MAX: Duration = Duration::from_secs(60);

/// A broker under measurement.
struct Side {
    addr: SocketAddr,
    pid: i32,
}

/// What was measured of one side: a name and a value a line, in the same order for both.
type Figures = Vec<(String, Option<f64>)>;

/// Both sides, one after the other.
pub fn measure(plan: &Plan) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many files as one may have");
    let scratch = tempfile::tempdir_in(&plan.dir).expect("a scratch directory");
    let ours = {
        let flags = [
            ("--cpus", plan.broker_cpu.to_string()),
            ("--poll", "park".to_owned()),
            ("--set", "group.initial.rebalance.delay.ms=0".to_owned()),
            (
                "--set",
                "group.consumer.heartbeat.interval.ms=1000".to_owned(),
            ),
        ];
        let broker: Broker = Options::new(&scratch.path().join("ours"), &flags).start();
        let pid = broker.pid().as_raw_nonzero().get();
        let addr = broker.addr;
        machine::on_cpu(plan.client_cpu, || all(plan, &Side { addr, pid }))
    };
    let kafka = {
        let configs = [
            "group.consumer.min.heartbeat.interval.ms=1000",
            "group.consumer.heartbeat.interval.ms=1000",
        ];
        let kafka = Kafka::start(scratch.path(), &configs);
        let (addr, pid) = (kafka.addr, kafka.pid);
        machine::on_cpu(plan.client_cpu, || all(plan, &Side { addr, pid }))
    };
    println!(
        "\none shard on core {}; Kafka on all cores",
        plan.broker_cpu
    );
    println!("every member beats once a second, so a rebalance takes a second to be known of");
    let table = Table::new(&["", "Tailwater", "Kafka", "ratio"]);
    let cell = |value: Option<f64>| value.map_or("did not end".to_owned(), number);
    for ((name, ours), (_, kafka)) in ours.into_iter().zip(kafka) {
        let ratio = ours.zip(kafka).map(|(ours, kafka)| ours / kafka);
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        table.row(&[name, cell(ours), cell(kafka), ratio]);
    }
}

fn all(plan: &Plan, side: &Side) -> Figures {
    await_coordinator(side.addr);
    let mut figures = Figures::new();
    for (name, protocol) in [("classic", Protocol::Classic), ("new", Protocol::Consumer)] {
        many_groups(plan, side, name, protocol, &mut figures);
        one_group(plan, side, name, protocol, &mut figures);
    }
    figures
}

/// So many groups of one member.
fn many_groups(plan: &Plan, side: &Side, name: &str, protocol: Protocol, figures: &mut Figures) {
    let count = plan.count(MEMBERS);
    let topic = make_topic(side.addr, &format!("many-{name}"), 1);
    let before = resident(side);
    let mut swarm = Swarm::new(side.addr, protocol, (topic, 1), INTERVAL);
    for index in 0..count {
        swarm.add(&format!("{name}-{index}"));
    }
    let began = Instant::now();
    let formed = swarm.settle(began, count, false);
    let label = format!("{name}: {count} groups of one");
    figures.push((format!("{label}, formed, ms"), formed.map(ms)));
    beats(plan, side, &mut swarm, &label, figures);
    figures.push((format!("{label}, MiB more"), mib_since(side, before)));
}

/// One group of so many members on as many partitions.
fn one_group(plan: &Plan, side: &Side, name: &str, protocol: Protocol, figures: &mut Figures) {
    let count = plan.count(MEMBERS);
    let topic = make_topic(side.addr, &format!("one-{name}"), count);
    let before = resident(side);
    let mut swarm = Swarm::new(side.addr, protocol, (topic, count), INTERVAL);
    let label = format!("{name}: one group of {count}");
    let group = format!("{name}-one");
    for _ in 0..count {
        swarm.add(&group);
    }
    let began = Instant::now();
    let mut rebalance = |what: &str, took: Option<Duration>| {
        figures.push((format!("{label}, {what}, ms"), took.map(ms)));
    };
    rebalance("formed", swarm.settle(began, count, true));
    let (cpu, began) = (cpu(side), Instant::now());
    swarm.leave();
    rebalance("after one has left", swarm.settle(began, count, true));
    swarm.add(&group);
    let began = Instant::now();
    rebalance("after one has joined", swarm.settle(began, count, true));
    let spent = proc::cpu(side.pid) - cpu;
    let name = format!("{label}, CPU of both rebalances, ms");
    figures.push((name, Some(ms(spent))));
    beats(plan, side, &mut swarm, &label, figures);
    figures.push((format!("{label}, MiB more"), mib_since(side, before)));
}

/// What heartbeats take and cost while nothing else happens.
fn beats(plan: &Plan, side: &Side, swarm: &mut Swarm, label: &str, figures: &mut Figures) {
    swarm.beat(SETTLE);
    let before = cpu(side);
    let times = swarm.beat(plan.lasting(6).max(INTERVAL * 2));
    let spent = cpu(side) - before;
    let each = spent.as_secs_f64() * 1e6 / times.len() as f64;
    for (name, value) in [
        ("heartbeat p50, us", times.us(0.5)),
        ("heartbeat p99, us", times.us(0.99)),
        ("CPU a heartbeat, us", each),
    ] {
        figures.push((format!("{label}, {name}"), Some(value)));
    }
}

fn cpu(side: &Side) -> Duration {
    proc::cpu(side.pid)
}

fn resident(side: &Side) -> u64 {
    proc::status_kib(side.pid, "VmRSS")
}

fn mib_since(side: &Side, before: u64) -> Option<f64> {
    Some((resident(side) as f64 - before as f64) / 1024.0)
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn make_topic(addr: SocketAddr, name: &str, partitions: usize) -> String {
    let name = format!("bench-groups-{name}");
    let count = i32::try_from(partitions).expect("few");
    let mut connection = Connection::open(addr, Wait::Block).expect("it listens");
    let frame = frames::create_topics(&[(name.clone(), count)], &[]);
    answers::created(connection.call(frame).expect("it answers"));
    crate::target::settle(&mut connection, &name, count);
    name
}

/// The first who asks for a coordinator has the offsets' topic made.
pub fn await_coordinator(addr: SocketAddr) {
    let began = Instant::now();
    let mut connection = Connection::open(addr, Wait::Block).expect("it listens");
    loop {
        let frame = group_frames::find_coordinator("classic-0");
        if group_frames::found(connection.call(frame).expect("it answers")) == 0 {
            return;
        }
        assert!(began.elapsed() < COORDINATOR_MAX, "there is no coordinator");
        std::thread::sleep(Duration::from_millis(50));
    }
}
