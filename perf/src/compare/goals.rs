//! What is compared with what: the sides, each measured once or twice a round, and the goals.

use super::statistics::Goal;
use crate::frames::Shape;
use crate::load::Pace;
use crate::poller::Wait;
use crate::suite::{Beside, Core, Work, Workload};

/// Something that is measured in every round.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) survives: &'static str,
    pub(crate) work: Work,
}

/// A figure of a side.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Figure {
    /// A percentile of one of its histograms, in microseconds.
    Part(&'static str, f64),
    /// A single figure.
    Fact(&'static str),
}

/// A line of the table of goals.
pub(crate) struct Pair {
    pub(crate) what: &'static str,
    pub(crate) side: &'static str,
    pub(crate) figure: Figure,
    /// What it is divided by; without it the goal is of the figure itself.
    pub(crate) over: Option<(&'static str, Figure)>,
    pub(crate) goal: Goal,
}

const POWER: &str = "power loss";
const KILL: &str = "kill -9, not power loss";
const NOTHING: &str = "nothing is kept";
const CACHING: &[(&str, &str)] = &[("write.caching", "true")];
const FLUSHED: &[(&str, &str)] = &[("flush.messages", "1")];
/// What a Kafka that flushes each message can do on these machines without falling behind.
const FLUSHED_RATE: u64 = 1000;
const OLD: Beside = Beside::Backfill { mib: 256 };
const ROLLING: &[(&str, &str)] = &[
    ("segment.bytes", "16777216"),
    ("retention.bytes", "67108864"),
];

/// All sides, in the order of a round.
pub(crate) fn sides() -> Vec<Side> {
    [latencies(), throughputs(), interferences()]
        .into_iter()
        .flatten()
        .collect()
}

fn side(name: &'static str, title: &'static str, survives: &'static str, work: Work) -> Side {
    Side {
        name,
        title,
        survives,
        work,
    }
}

fn plain() -> Workload {
    Workload::plain()
}

fn cached() -> Workload {
    Workload {
        configs: CACHING,
        tail_readers: 1,
        ..plain()
    }
}

fn unbatched() -> Workload {
    Workload {
        connections: 64,
        partitions: 16,
        ..plain()
    }
}

fn batched() -> Workload {
    Workload {
        connections: 4,
        pace: Pace::Closed { depth: 5 },
        partitions: 16,
        shape: Shape {
            records: 64,
            ..plain().shape
        },
        ..plain()
    }
}

fn steady() -> Workload {
    Workload {
        shape: Shape {
            records: 20,
            ..plain().shape
        },
        partitions: 4,
        ..Workload::at(2000)
    }
}

fn flushed(workload: Workload) -> Workload {
    Workload {
        configs: FLUSHED,
        ..workload
    }
}

/// One request after the other, and at rates.
fn latencies() -> Vec<Side> {
    vec![
        side(
            "raw",
            "4 KiB O_DIRECT write + fdatasync on the broker's core",
            POWER,
            Work::RawDisk { on: Core::Broker },
        ),
        side(
            "durable",
            "acks=all, closed loop",
            POWER,
            Work::Load(plain()),
        ),
        side(
            "tcp-spin",
            "TCP round trip, spinning",
            NOTHING,
            Work::RoundTrip { wait: Wait::Spin },
        ),
        side(
            "cached-spin",
            "write.caching, closed loop, spin, one reader",
            KILL,
            Work::Spinning(cached()),
        ),
        side(
            "kafka",
            "Kafka, closed loop, one reader",
            KILL,
            Work::Kafka(Workload {
                tail_readers: 1,
                ..plain()
            }),
        ),
        side(
            "at-5000",
            "acks=all, 5,000/s",
            POWER,
            Work::Load(Workload::at(5000)),
        ),
        side(
            "kafka-5000",
            "Kafka, 5,000/s",
            KILL,
            Work::Kafka(Workload::at(5000)),
        ),
        side(
            "at-1000",
            "acks=all, 1,000/s",
            POWER,
            Work::Load(Workload::at(FLUSHED_RATE)),
        ),
        side(
            "kafka-flush-1000",
            "Kafka, flush.messages=1, 1,000/s",
            POWER,
            Work::Kafka(flushed(Workload::at(FLUSHED_RATE))),
        ),
    ]
}

/// As much as goes.
fn throughputs() -> Vec<Side> {
    vec![
        side(
            "clients-64",
            "64 clients, unbatched",
            POWER,
            Work::Load(unbatched()),
        ),
        side(
            "kafka-64",
            "Kafka, 64 clients, unbatched",
            KILL,
            Work::Kafka(unbatched()),
        ),
        side(
            "kafka-flush-64",
            "Kafka, flush.messages=1, 64 clients",
            POWER,
            Work::Kafka(flushed(unbatched())),
        ),
        side(
            "batched",
            "64 records a batch",
            POWER,
            Work::Load(batched()),
        ),
        side(
            "discard-batched",
            "discard, 64 records a batch",
            NOTHING,
            Work::Discard(batched()),
        ),
        side(
            "kafka-batched",
            "Kafka, 64 records a batch",
            KILL,
            Work::Kafka(batched()),
        ),
        side(
            "reader",
            "one reader of 256 MiB",
            NOTHING,
            Work::Load(Workload {
                connections: 0,
                beside: OLD,
                ..plain()
            }),
        ),
        side(
            "loopback",
            "answers of a MiB over the loopback",
            NOTHING,
            Work::Loopback,
        ),
        side(
            "direct-reads",
            "O_DIRECT reads of a MiB",
            NOTHING,
            Work::DirectReads,
        ),
    ]
}

/// One thing beside another, and a start.
fn interferences() -> Vec<Side> {
    vec![
        side(
            "partitions-1",
            "1 partition, 2,000/s",
            POWER,
            Work::Load(Workload::at(2000)),
        ),
        side(
            "partitions-1000",
            "1000 partitions, 2,000/s",
            POWER,
            Work::Load(Workload {
                partitions: 1000,
                ..Workload::at(2000)
            }),
        ),
        side(
            "backfill",
            "5,000/s beside a reader of old data",
            POWER,
            Work::Load(Workload {
                beside: OLD,
                ..Workload::at(5000)
            }),
        ),
        side(
            "quiet",
            "40 MB/s, large segments",
            POWER,
            Work::Load(steady()),
        ),
        side(
            "rolling",
            "40 MB/s, segments of 16 MiB, retention of 64",
            POWER,
            Work::Load(Workload {
                configs: ROLLING,
                times_as_long: 3,
                ..steady()
            }),
        ),
        side("start", "exec to the first answer", NOTHING, Work::Start),
    ]
}

const LATENCY: &str = "latency";
const CONSUME: &str = "produce to consume";

/// All goals.
pub(crate) fn pairs() -> Vec<Pair> {
    [durable(), in_memory(), rates(), beside()]
        .into_iter()
        .flatten()
        .collect()
}

/// A percentile of both sides' latency.
fn part(what: &'static str, side: &'static str, over: &'static str, part: f64, most: f64) -> Pair {
    let figure = Figure::Part(LATENCY, part);
    Pair {
        what,
        side,
        figure,
        over: Some((over, figure)),
        goal: Goal::AtMost(most),
    }
}

/// The same figure of both sides.
fn facts(
    what: &'static str,
    side: &'static str,
    over: &'static str,
    name: &'static str,
    goal: Goal,
) -> Pair {
    let figure = Figure::Fact(name);
    Pair {
        what,
        side,
        figure,
        over: Some((over, figure)),
        goal,
    }
}

/// A figure by itself.
fn alone(what: &'static str, side: &'static str, name: &'static str, goal: Goal) -> Pair {
    Pair {
        what,
        side,
        figure: Figure::Fact(name),
        over: None,
        goal,
    }
}

/// From produce to consume, over another side's histogram `of`.
fn consume(what: &'static str, over: &'static str, of: &'static str, at: f64, most: f64) -> Pair {
    let figure = Figure::Part(CONSUME, at);
    Pair {
        what,
        side: "cached-spin",
        figure,
        over: Some((over, Figure::Part(of, at))),
        goal: Goal::AtMost(most),
    }
}

/// On stable storage.
fn durable() -> Vec<Pair> {
    vec![
        part(
            "acks=all, one client, p50 over raw",
            "durable",
            "raw",
            0.5,
            1.3,
        ),
        part(
            "acks=all, one client, p99 over raw",
            "durable",
            "raw",
            0.99,
            1.3,
        ),
        part("5,000/s, p99.9 over raw", "at-5000", "raw", 0.999, 2.0),
        part(
            "5,000/s, p99 over Kafka without sync",
            "at-5000",
            "kafka-5000",
            0.99,
            1.0,
        ),
        part(
            "5,000/s, p99.9 over Kafka without sync",
            "at-5000",
            "kafka-5000",
            0.999,
            1.0,
        ),
        part(
            "1,000/s, p99 over Kafka with sync",
            "at-1000",
            "kafka-flush-1000",
            0.99,
            0.05,
        ),
    ]
}

/// From memory.
fn in_memory() -> Vec<Pair> {
    vec![
        part(
            "write.caching, spin, p50 over TCP",
            "cached-spin",
            "tcp-spin",
            0.5,
            1.5,
        ),
        part(
            "write.caching, spin, p99 over TCP",
            "cached-spin",
            "tcp-spin",
            0.99,
            2.0,
        ),
        part(
            "write.caching, spin, p50 over Kafka",
            "cached-spin",
            "kafka",
            0.5,
            0.5,
        ),
        part(
            "write.caching, spin, p99 over Kafka",
            "cached-spin",
            "kafka",
            0.99,
            0.5,
        ),
        consume(
            "produce to consume, p50 over TCP",
            "tcp-spin",
            LATENCY,
            0.5,
            2.5,
        ),
        consume(
            "produce to consume, p99 over TCP",
            "tcp-spin",
            LATENCY,
            0.99,
            4.0,
        ),
        consume(
            "produce to consume, p99 over Kafka",
            "kafka",
            CONSUME,
            0.99,
            0.5,
        ),
    ]
}

/// As much as goes.
fn rates() -> Vec<Pair> {
    vec![
        alone(
            "64 clients, unbatched, records/s",
            "clients-64",
            "records/s",
            Goal::AtLeast(100_000.0),
        ),
        facts(
            "64 clients over Kafka without sync",
            "clients-64",
            "kafka-64",
            "records/s",
            Goal::AtLeast(2.0),
        ),
        facts(
            "64 clients over Kafka with sync",
            "clients-64",
            "kafka-flush-64",
            "records/s",
            Goal::AtLeast(30.0),
        ),
        facts(
            "batched over discard (this generator)",
            "batched",
            "discard-batched",
            "records/s",
            Goal::AtLeast(0.9),
        ),
        facts(
            "batched, CPU a record over Kafka",
            "batched",
            "kafka-batched",
            "broker CPU us/record",
            Goal::AtMost(0.25),
        ),
        facts(
            "consume over loopback, MB/s",
            "reader",
            "loopback",
            "read MB/s",
            Goal::AtLeast(0.8),
        ),
        facts(
            "consume over direct reads, MB/s",
            "reader",
            "direct-reads",
            "read MB/s",
            Goal::AtLeast(0.8),
        ),
    ]
}

/// One thing beside another, and a start.
fn beside() -> Vec<Pair> {
    vec![
        part(
            "1000 partitions over 1, p99",
            "partitions-1000",
            "partitions-1",
            0.99,
            1.5,
        ),
        part(
            "beside a backfill over without, p99",
            "backfill",
            "at-5000",
            0.99,
            1.2,
        ),
        alone(
            "exec to the first ApiVersions, ms",
            "start",
            "to the first answer, ms",
            Goal::AtMost(20.0),
        ),
        alone(
            "resident when idle, one shard, MiB",
            "start",
            "resident MiB",
            Goal::AtMost(20.0),
        ),
        part(
            "rolling and deleting over quiet, p99",
            "rolling",
            "quiet",
            0.99,
            1.2,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_is_of_sides_that_are_measured() {
        let sides = sides();
        let has = |name: &str| sides.iter().any(|side| side.name == name);
        for pair in pairs() {
            assert!(
                has(pair.side) && pair.over.is_none_or(|(over, _)| has(over)),
                "{}",
                pair.what
            );
        }
        for side in &sides {
            let used = |pair: &Pair| {
                pair.side == side.name || pair.over.is_some_and(|(over, _)| over == side.name)
            };
            assert!(
                pairs().iter().any(used),
                "{} is measured for nothing",
                side.name
            );
        }
    }
}
