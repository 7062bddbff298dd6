//! As much as a broker of one shard takes, acks=all: single records over 1, 16 and 64
//! connections, then batches of 16 KiB.

use std::time::Duration;

use crate::connection::Wait;
use crate::frames;
use crate::load::Load;
use crate::raw::RawDisk;
use crate::stats::{Table, number, percentiles};
use crate::target::{Target, one_shard};
use crate::{Plan, machine};

const PARTITIONS: i32 = 16;
const WARM_UP: Duration = Duration::from_millis(500);
const KIB: usize = 1024;

/// Connections, requests in flight on each, records in a request.
const SHAPES: &[(usize, usize, usize)] = &[
    (1, 1, 1),
    (16, 1, 1),
    (64, 1, 1),
    (64, 5, 1),
    (1, 5, 16),
    (4, 5, 16),
    (16, 5, 16),
];

pub fn measure(plan: &Plan) {
    if plan.kafka.is_some() {
        let target = Target::start(plan, &[]);
        rates(plan, &target, "a running broker", "kill -9, not power loss");
        return;
    }
    for poll in &plan.polls {
        let target = Target::start(plan, &one_shard(plan, poll));
        rates(
            plan,
            &target,
            &format!("tailwater, one shard, {poll}"),
            "power loss",
        );
    }
}

fn rates(plan: &Plan, target: &Target, broker: &str, survives: &str) {
    let raw = RawDisk::new(&plan.dir, plan.broker_cpu);
    println!(
        "\n{broker}: acks=all, {PARTITIONS} partitions; an acknowledgement survives {survives}"
    );
    let table = Table::new(&[
        "connections x in flight x records",
        "records/s",
        "MB/s",
        "us p50 / p99 / p99.9",
        "broker's CPU us/record",
        "syncs/s of the disk alone",
    ]);
    let topic = target.topic("throughput", PARTITIONS, &[]);
    for &(connections, depth, records) in SHAPES {
        let shape = format!("{connections}x{depth}x{records}");
        if plan.shape.as_ref().is_some_and(|only| *only != shape) {
            continue;
        }
        let batch = frames::batch(records, KIB - if records > 1 { 12 } else { 0 });
        let frame = |index: usize| {
            let partition = i32::try_from(index).expect("a few") % PARTITIONS;
            frames::produce(&topic, &[partition], -1, &batch)
        };
        let frames = (0..connections).map(frame).collect();
        let load = Load {
            addr: target.addr,
            frames,
            depth,
            wait: Wait::Spin,
        };
        let disk = target.stopped(|| raw.thread(4096, 50, plan.count(1000)));
        let before = target.cpu();
        let outcome = machine::on_cpu(plan.client_cpu, || load.closed(WARM_UP, plan.lasting(5)));
        // The warm-up is charged too, in proportion.
        let cpu = (target.cpu() - before)
            .mul_f64(outcome.took.as_secs_f64() / (outcome.took + WARM_UP).as_secs_f64());
        let rate = outcome.per_second() * records as f64;
        let per_record = cpu.as_secs_f64() * 1e6 / (outcome.times.len() * records) as f64;
        table.row(&[
            format!("{connections} x {depth} x {records}"),
            number(rate),
            number(rate * KIB as f64 / 1e6),
            percentiles(&outcome.times),
            if target.broker.is_some() {
                number(per_record)
            } else {
                "–".into()
            },
            number(1e6 / disk.us(0.5)),
        ]);
    }
}
