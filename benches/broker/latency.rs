//! One record of 1 KiB a request: how long a producer waits for its acknowledgement.
//!
//! One connection in a closed loop, then sixteen at a fixed rate, a time counting from when its
//! request was due. Rounds of every kind take turns with rounds of the disk alone on the same
//! core, the broker standing still meanwhile, so that a disk in a bad mood is seen in both.

use std::time::Duration;

use crate::connection::Wait;
use crate::frames;
use crate::load::Load;
use crate::raw::RawDisk;
use crate::stats::{Table, Times, median, number, percentiles};
use crate::target::{Target, one_shard};
use crate::{Plan, machine};

const VALUE_BYTES: usize = 1024;
const WARM_UP: usize = 300;
const ROUND: usize = 2000;
const ROUNDS: usize = 7;
const RATE_CONNECTIONS: usize = 16;

/// A kind of produce, and what became of it.
struct Kind {
    name: &'static str,
    survives: &'static str,
    acks: i16,
    configs: &'static [(&'static str, &'static str)],
    wait: Wait,
    times: Times,
    /// Its median over the disk's, for each round.
    ratios: Vec<f64>,
}

impl Kind {
    fn new(
        name: &'static str,
        survives: &'static str,
        acks: i16,
        configs: &'static [(&'static str, &'static str)],
        wait: Wait,
    ) -> Self {
        Self {
            name,
            survives,
            acks,
            configs,
            wait,
            times: Times::default(),
            ratios: Vec::new(),
        }
    }
}

const POWER: &str = "power loss";
const KILL: &str = "kill -9, not power loss";

fn ours() -> Vec<Kind> {
    let cached = &[("write.caching", "true")];
    vec![
        Kind::new("acks=all", POWER, -1, &[], Wait::Spin),
        Kind::new("acks=all, client blocks", POWER, -1, &[], Wait::Block),
        Kind::new("acks=1", KILL, 1, &[], Wait::Spin),
        Kind::new("acks=all, write.caching", KILL, -1, cached, Wait::Spin),
    ]
}

fn kafkas() -> Vec<Kind> {
    let flushed = &[("flush.messages", "1")];
    vec![
        Kind::new("acks=all", KILL, -1, &[], Wait::Spin),
        Kind::new("acks=all, client blocks", KILL, -1, &[], Wait::Block),
        Kind::new("acks=all, flush.messages=1", POWER, -1, flushed, Wait::Spin),
    ]
}

pub fn measure(plan: &Plan) {
    let raw = RawDisk::new(&plan.dir, plan.broker_cpu);
    if plan.kafka.is_some() {
        one_by_one(
            plan,
            &raw,
            "a running broker",
            &Target::start(plan, &[]),
            kafkas(),
        );
        at_rates(
            plan,
            "a running broker",
            &Target::start(plan, &[]),
            kafkas(),
        );
        return;
    }
    for poll in &plan.polls {
        let name = format!("tailwater, {poll}");
        let target = Target::start(plan, &one_shard(plan, poll));
        one_by_one(plan, &raw, &name, &target, ours());
        at_rates(plan, &name, &target, ours());
    }
}

fn load(target: &Target, kind: &Kind, connections: usize) -> Load {
    let topic = target.topic(
        &format!("latency-{}", kind.name.replace([' ', ',', '='], "_")),
        1,
        kind.configs,
    );
    let frame = frames::produce(&topic, &[0], kind.acks, &frames::batch(1, VALUE_BYTES));
    Load {
        addr: target.addr,
        frames: vec![frame; connections],
        depth: 1,
        wait: kind.wait,
    }
}

fn one_by_one(plan: &Plan, raw: &RawDisk, broker: &str, target: &Target, mut kinds: Vec<Kind>) {
    let (warm_up, count) = (plan.count(WARM_UP), plan.count(ROUND));
    let loads: Vec<Load> = kinds.iter().map(|kind| load(target, kind, 1)).collect();
    let (mut disk, mut shard) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        let (by_thread, by_shard) =
            target.stopped(|| (raw.thread(4096, warm_up, count), raw.shard(warm_up, count)));
        for (kind, load) in kinds.iter_mut().zip(&loads) {
            let times = machine::on_cpu(plan.client_cpu, || load.one_by_one(warm_up, count));
            kind.ratios.push(times.us(0.5) / by_thread.us(0.5));
            kind.times.extend(times);
        }
        disk.extend(by_thread);
        shard.extend(by_shard);
    }
    println!(
        "\n{broker}: closed loop, one connection, {} requests each",
        kinds[0].times.len()
    );
    let table = Table::new(&[
        "1 KiB, us p50 / p99 / p99.9",
        "",
        "median over the disk's",
        "an acknowledgement survives",
    ]);
    table.row(&[
        "the disk: 4 KiB pwrite + fdatasync, thread".into(),
        percentiles(&disk),
        "1".into(),
        POWER.into(),
    ]);
    let ratio = number(shard.us(0.5) / disk.us(0.5));
    table.row(&[
        "the disk: write_durable, parked shard".into(),
        percentiles(&shard),
        ratio,
        POWER.into(),
    ]);
    for kind in kinds {
        let ratio = number(median(kind.ratios));
        table.row(&[
            kind.name.into(),
            percentiles(&kind.times),
            ratio,
            kind.survives.into(),
        ]);
    }
}

fn at_rates(plan: &Plan, broker: &str, target: &Target, kinds: Vec<Kind>) {
    println!("\n{broker}: {RATE_CONNECTIONS} connections in turn, sent when due");
    let table = Table::new(&[
        "1 KiB, us p50 / p99 / p99.9",
        "1,000 a second",
        "5,000 a second",
        "an acknowledgement survives",
    ]);
    for kind in kinds.iter().filter(|kind| kind.wait == Wait::Spin) {
        let load = load(target, kind, RATE_CONNECTIONS);
        let at = |rate| {
            let (warm_up, lasting) = (Duration::from_millis(300), plan.lasting(5));
            let outcome = machine::on_cpu(plan.client_cpu, || load.open(rate, warm_up, lasting));
            percentiles(&outcome.times)
        };
        table.row(&[kind.name.into(), at(1000), at(5000), kind.survives.into()]);
    }
}
