//! The table of goals.

use super::{Figure, Goal, Pair};

const LATENCY: &str = "latency";
const CONSUME: &str = "produce to consume";

/// All goals.
pub(crate) fn pairs() -> Vec<Pair> {
    [
        durable(),
        in_memory(),
        rates(),
        clients(),
        reads(),
        beside(),
    ]
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
        part(
            "5,000/s, p99.9 over raw at that rate",
            "at-5000",
            "raw-5000",
            0.999,
            2.0,
        ),
        part(
            "5,000/s, p99.9 over raw in a closed loop",
            "at-5000",
            "raw",
            0.999,
            2.0,
        ),
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
        part(
            "1,000/s, p99.9 over Kafka with sync",
            "at-1000",
            "kafka-flush-1000",
            0.999,
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
    ]
}

/// What producers that are not ours reach, and cost.
fn clients() -> Vec<Pair> {
    let reaches = |what, side, over| facts(what, side, over, "records/s", Goal::AtLeast(0.9));
    let costs =
        |what, side, over| facts(what, side, over, "broker CPU us/record", Goal::AtMost(0.25));
    vec![
        reaches(
            "batched by librdkafka over discard",
            "librdkafka",
            "librdkafka-discard",
        ),
        costs(
            "librdkafka, CPU a record over Kafka",
            "librdkafka",
            "librdkafka-kafka",
        ),
        reaches(
            "batched by the Java client over discard",
            "java",
            "java-discard",
        ),
        costs("Java client, CPU a record over Kafka", "java", "java-kafka"),
    ]
}

/// Of what loopback and disk can do.
fn reads() -> Vec<Pair> {
    let at_least = Goal::AtLeast(0.8);
    vec![
        facts(
            "consume from memory over loopback, MB/s",
            "reader",
            "loopback",
            "read MB/s",
            at_least,
        ),
        facts(
            "consume from the disk over direct reads, MB/s",
            "cold-reader",
            "direct-reads",
            "read MB/s",
            at_least,
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
            "no-backfill",
            0.99,
            1.2,
        ),
        Pair {
            what: "cross-shard hop, spinning, p50, us",
            side: "hop",
            figure: Figure::Part(LATENCY, 0.5),
            over: None,
            goal: Goal::AtMost(1.0),
        },
        alone(
            "exec to the first ApiVersions, ms",
            "start",
            "to the first answer, ms",
            Goal::AtMost(20.0),
        ),
        alone(
            "resident when idle, one shard, MB",
            "start",
            "resident MB",
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
