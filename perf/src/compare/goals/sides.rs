//! What is measured in each round.

use super::Side;
use crate::frames::Shape;
use crate::load::Pace;
use crate::poller::Wait;
use crate::suite::{Beside, Client, Core, On, Own, Work, Workload};

const POWER: &str = "power loss";
const KILL: &str = "kill -9, not power loss";
const NOTHING: &str = "nothing is kept";
const CACHING: &[(&str, &str)] = &[("write.caching", "true")];
const FLUSHED: &[(&str, &str)] = &[("flush.messages", "1")];
/// What a Kafka that flushes each message can do on these machines without falling behind.
const FLUSHED_RATE: u64 = 1000;
const OLD_MIB: u64 = 256;
/// All of it fits the broker's memory.
const IN_MEMORY: Beside = Beside::Backfill {
    mib: OLD_MIB,
    from_disk: false,
};
const ON_DISK: Beside = Beside::Backfill {
    mib: OLD_MIB,
    from_disk: true,
};
/// A broker that keeps little of it: an eighth for reads of old data, three for the tail.
const SMALL: Own = Own {
    shards: 1,
    on: Core::Broker,
    poll: "park",
    flags: &["--memory", "64MiB"],
};
const ROLLING: &[(&str, &str)] = &[
    ("segment.bytes", "16777216"),
    ("retention.bytes", "67108864"),
];

/// All sides, in the order of a round.
pub(crate) fn sides() -> Vec<Side> {
    [
        latencies(),
        throughputs(),
        clients(),
        reads(),
        interferences(),
    ]
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
            "raw-5000",
            "O_DIRECT write of what is due + fdatasync, 5,000/s",
            POWER,
            Work::RawDiskAt { rate: 5000 },
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
    ]
}

/// Producers that are not ours.
fn clients() -> Vec<Side> {
    let row = |name, title, survives, client, on| {
        side(name, title, survives, Work::Client { client, on })
    };
    let (rdkafka, java) = (Client::Librdkafka, Client::Java);
    vec![
        row("librdkafka", "librdkafka", POWER, rdkafka, On::Broker),
        row(
            "librdkafka-discard",
            "librdkafka on discard",
            NOTHING,
            rdkafka,
            On::Discard,
        ),
        row(
            "librdkafka-kafka",
            "librdkafka on Kafka",
            KILL,
            rdkafka,
            On::Kafka,
        ),
        row("java", "the Java client", POWER, java, On::Broker),
        row(
            "java-discard",
            "the Java client on discard",
            NOTHING,
            java,
            On::Discard,
        ),
        row(
            "java-kafka",
            "the Java client on Kafka",
            KILL,
            java,
            On::Kafka,
        ),
    ]
}

/// From memory and from the disk.
fn reads() -> Vec<Side> {
    let alone = |beside| Workload {
        connections: 0,
        beside,
        ..plain()
    };
    vec![
        side(
            "reader",
            "one reader of 256 MiB from memory",
            NOTHING,
            Work::Load(alone(IN_MEMORY)),
        ),
        side(
            "loopback",
            "a stream over the loopback, both sides spin",
            NOTHING,
            Work::Loopback,
        ),
        side(
            "cold-reader",
            "one reader of 256 MiB from the disk, --memory 64MiB",
            NOTHING,
            Work::Own {
                start: SMALL,
                load: alone(ON_DISK),
            },
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
            "no-backfill",
            "5,000/s, --memory 64MiB",
            POWER,
            Work::Own {
                start: SMALL,
                load: Workload::at(5000),
            },
        ),
        side(
            "backfill",
            "5,000/s beside a reader of 256 MiB from the disk, --memory 64MiB",
            POWER,
            Work::Own {
                start: SMALL,
                load: Workload {
                    beside: ON_DISK,
                    ..Workload::at(5000)
                },
            },
        ),
        side(
            "hop",
            "half of a call from shard to shard, spinning",
            NOTHING,
            Work::Hop,
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
