//! Which rows there are.

use super::{Beside, Core, Extent, Kind, Own, Row, Work, Workload};
use crate::frames::Shape;
use crate::load::Pace;
use crate::poller::Wait;

/// Durable by itself.
const POWER: &str = "power loss";
const NOTHING: &str = "nothing is kept";

/// All rows, in the order in which a round takes them. Rows that start the broker themselves need its
/// binary.
pub(crate) fn rows(extent: Extent, kind: Kind, starts_broker: bool) -> Vec<Row> {
    let mut rows = references();
    let mut load = |suite: &'static str, id: &str, title: &str, work: Workload| {
        let survives = work.survives(kind);
        rows.push(Row {
            id: format!("{suite}-{id}"),
            suite,
            title: title.to_owned(),
            survives,
            work: Work::Load(work),
        });
    };
    latency(kind, &mut load);
    shapes(&mut load);
    readers(extent, &mut load);
    for rate in rates(extent) {
        load(
            "rate",
            &format!("{rate:06}"),
            &format!("{rate}/s over 16 connections"),
            Workload::at(*rate),
        );
    }
    let discarded = |id: &str, title: &str, work: Workload| Row {
        id: format!("reference-{id}"),
        suite: "reference",
        title: title.to_owned(),
        survives: NOTHING,
        work: Work::Discard(work),
    };
    rows.push(discarded(
        "discard",
        "discard: one client, closed loop",
        Workload::plain(),
    ));
    rows.push(discarded(
        "discard-batched",
        "discard: 4 connections, 5 in flight, 64 records a batch",
        batched(),
    ));
    rows.extend(kafka());
    if starts_broker && kind == Kind::Tailwater {
        rows.extend(own(extent));
    }
    rows
}

fn rates(extent: Extent) -> &'static [u64] {
    match extent {
        Extent::Quick => &[1000, 5000, 10_000, 20_000, 40_000],
        Extent::Full => &[
            1000, 2000, 5000, 10_000, 20_000, 40_000, 60_000, 80_000, 120_000,
        ],
    }
}

fn batched() -> Workload {
    let shape = Shape {
        records: 64,
        ..Workload::plain().shape
    };
    Workload {
        connections: 4,
        pace: Pace::Closed { depth: 5 },
        partitions: 16,
        shape,
        ..Workload::plain()
    }
}

fn references() -> Vec<Row> {
    let row = |id: &str, title: &str, survives, work| Row {
        id: format!("reference-{id}"),
        suite: "reference",
        title: title.to_owned(),
        survives,
        work,
    };
    vec![
        row(
            "raw-disk",
            "the disk: 4 KiB O_DIRECT + fdatasync, a blocking thread on the broker's core",
            POWER,
            Work::RawDisk { on: Core::Broker },
        ),
        row(
            "raw-disk-client-core",
            "the same on the client's core",
            POWER,
            Work::RawDisk { on: Core::Client },
        ),
        row(
            "raw-disk-5000",
            "the disk: what is due of 5,000/s in one O_DIRECT write + fdatasync, client's core spinning",
            POWER,
            Work::RawDiskAt { rate: 5000 },
        ),
        row(
            "tcp-spin",
            "TCP round trip, 1 KiB, both sides spin",
            NOTHING,
            Work::RoundTrip { wait: Wait::Spin },
        ),
        row(
            "tcp-park",
            "TCP round trip, 1 KiB, both sides block",
            NOTHING,
            Work::RoundTrip { wait: Wait::Park },
        ),
        row(
            "direct-reads",
            "the disk: O_DIRECT reads of a MiB, one after the other",
            NOTHING,
            Work::DirectReads,
        ),
        row(
            "loopback",
            "the loopback: a stream, both sides spin",
            NOTHING,
            Work::Loopback,
        ),
        row(
            "redis",
            "Redis, appendfsync always, one client",
            POWER,
            Work::Redis,
        ),
    ]
}

/// A real Kafka beside the broker, as it comes and with the same promise.
fn kafka() -> Vec<Row> {
    let flushed: &[(&str, &str)] = &[("flush.messages", "1")];
    let with = |id: &str, title: &str, work: Workload| Row {
        id: format!("kafka-{id}"),
        suite: "kafka",
        title: format!("Apache Kafka, {title}"),
        survives: work.survives(Kind::Kafka),
        work: Work::Kafka(work),
    };
    vec![
        with("closed", "closed loop", Workload::plain()),
        with(
            "closed-flush",
            "closed loop, flush.messages=1",
            Workload {
                configs: flushed,
                ..Workload::plain()
            },
        ),
        with(
            "rate-1000",
            "1,000/s, one reader",
            Workload {
                tail_readers: 1,
                ..Workload::at(1000)
            },
        ),
        with(
            "rate-1000-flush",
            "1,000/s, flush.messages=1",
            Workload {
                configs: flushed,
                ..Workload::at(1000)
            },
        ),
        with("rate-5000", "5,000/s", Workload::at(5000)),
    ]
}

type Add<'a> = &'a mut dyn FnMut(&'static str, &str, &str, Workload);

fn latency(kind: Kind, load: Add<'_>) {
    let plain = Workload::plain;
    load(
        "wait",
        "spin",
        "acks=all, one client, closed loop, client spins",
        plain(),
    );
    load(
        "wait",
        "park",
        "acks=all, one client, closed loop, client sleeps",
        Workload {
            wait: Wait::Park,
            ..plain()
        },
    );
    if kind == Kind::Tailwater {
        let caching = &[("write.caching", "true")];
        load(
            "wait",
            "caching",
            "acks=all, write.caching, one client, closed loop",
            Workload {
                configs: caching,
                ..plain()
            },
        );
        load(
            "tail",
            "caching",
            "write.caching, 2,000/s, one reader",
            Workload {
                configs: caching,
                tail_readers: 1,
                ..Workload::at(2000)
            },
        );
    }
    for (id, acks) in [("0", 0), ("1", 1), ("all", -1)] {
        load(
            "acks",
            id,
            &format!("acks={id}, 2,000/s, one reader"),
            Workload {
                acks,
                tail_readers: 1,
                ..Workload::at(2000)
            },
        );
    }
}

fn shapes(load: Add<'_>) {
    let shape = Workload::plain().shape;
    for (id, value_bytes) in [("100B", 100), ("1KiB", 1024), ("16KiB", 16 << 10)] {
        let shape = Shape {
            value_bytes,
            ..shape
        };
        load(
            "size",
            id,
            &format!("records of {id}, 2,000/s"),
            Workload {
                shape,
                ..Workload::at(2000)
            },
        );
    }
    for partitions in [1, 100, 1000] {
        let title = format!("{partitions} partitions, 2,000/s");
        load(
            "partitions",
            &format!("{partitions:04}"),
            &title,
            Workload {
                partitions,
                ..Workload::at(2000)
            },
        );
    }
    for connections in [1, 16, 64, 256] {
        let title = format!("{connections} connections, closed loop, unbatched");
        let work = Workload {
            connections,
            partitions: 16,
            ..Workload::plain()
        };
        load("connections", &format!("{connections:03}"), &title, work);
    }
    load(
        "batched",
        "64",
        "4 connections, 5 in flight, 64 records a batch",
        batched(),
    );
    // What a producer with keys makes of 32 records: small batches, one for each partition they hash to.
    let keyed = |records, batches| Shape {
        key_bytes: 16,
        records,
        batches,
        ..shape
    };
    load(
        "keys",
        "one-batch",
        "32 keyed records in one batch, 500/s",
        Workload {
            partitions: 16,
            shape: keyed(32, 1),
            ..Workload::at(500)
        },
    );
    load(
        "keys",
        "small-batches",
        "32 keyed records in 16 batches, 500/s",
        Workload {
            partitions: 16,
            shape: keyed(2, 16),
            ..Workload::at(500)
        },
    );
}

fn readers(extent: Extent, load: Add<'_>) {
    let mib = if extent == Extent::Quick { 128 } else { 2048 };
    for tail_readers in [1, 8] {
        let title = format!("2,000/s, {tail_readers} parked readers");
        load(
            "tail",
            &format!("{tail_readers}"),
            &title,
            Workload {
                tail_readers,
                ..Workload::at(2000)
            },
        );
    }
    load(
        "backfill",
        "without",
        "5,000/s, nobody reads",
        Workload::at(5000),
    );
    let beside = Beside::Backfill {
        mib,
        from_disk: false,
    };
    let alone = Workload {
        connections: 0,
        beside,
        ..Workload::plain()
    };
    let title = format!(
        "one reader of {mib} MiB, again and again; old data once they exceed the broker's memory"
    );
    load("consume", "alone", &title, alone);
    load(
        "backfill",
        "beside",
        &format!("5,000/s beside a reader of {mib} old MiB"),
        Workload {
            beside,
            ..Workload::at(5000)
        },
    );
    let beside = Beside::Backlog { mib };
    load(
        "backlog",
        "drain",
        &format!("2,000/s while a backlog of {mib} MiB is drained"),
        Workload {
            beside,
            ..Workload::at(2000)
        },
    );
    // 40 MB/s, so that segments of 16 MiB roll, the log is recycled and retention deletes all the time.
    let configs = &[
        ("segment.bytes", "16777216"),
        ("retention.bytes", "67108864"),
    ];
    let shape = Shape {
        records: 20,
        ..Workload::plain().shape
    };
    let times_as_long = if extent == Extent::Quick { 4 } else { 20 };
    let quiet = Workload {
        shape,
        partitions: 4,
        ..Workload::at(2000)
    };
    load(
        "rolls",
        "large-segments",
        "2,000 batches of 20 KiB a second, segments of the default size",
        quiet.clone(),
    );
    let title = "the same, long: segments of 16 MiB roll, retention keeps 64 MiB";
    load(
        "rolls",
        "rolling",
        title,
        Workload {
            configs,
            times_as_long,
            ..quiet
        },
    );
}

/// Rows of brokers of their own.
fn own(extent: Extent) -> Vec<Row> {
    let row = |id: String, suite, title: String, work| Row {
        id: format!("{suite}-{id}"),
        suite,
        title,
        survives: POWER,
        work,
    };
    let mut rows = Vec::new();
    for (on, place) in [
        (Core::Broker, "the broker's usual core"),
        (Core::Client, "the other core"),
    ] {
        for (wait, client) in [(Wait::Spin, "spins"), (Wait::Park, "sleeps")] {
            let id = format!(
                "{}-{client}",
                if on == Core::Broker { "usual" } else { "other" }
            );
            let start = Own {
                shards: 1,
                on,
                poll: "park",
                flags: &[],
            };
            let load = Workload {
                wait,
                ..Workload::plain()
            };
            let title = format!("acks=all, closed loop, broker on {place}, client {client}");
            rows.push(row(id, "placement", title, Work::Own { start, load }));
        }
    }
    for shards in [1, 16] {
        let start = Own {
            shards,
            on: Core::Broker,
            poll: "park",
            flags: &["--wal-size", "64MiB"],
        };
        let load = Workload {
            partitions: 64,
            tail_readers: 0,
            ..Workload::at(2000)
        };
        let title = format!("2,000/s to 64 partitions, {shards} shards on one device and one core");
        rows.push(row(
            format!("{shards:02}"),
            "shards",
            title,
            Work::Own { start, load },
        ));
    }
    rows.push(row(
        "kill".to_owned(),
        "restart",
        "kill -9 under load to the first answer, ms".to_owned(),
        Work::Restart,
    ));
    rows.extend(from_disk(extent));
    if extent == Extent::Full {
        let start = Own {
            shards: 1,
            on: Core::Broker,
            poll: "spin",
            flags: &[],
        };
        let load = Workload {
            configs: &[("write.caching", "true")],
            ..Workload::plain()
        };
        let mut spin = row(
            "caching-spin".to_owned(),
            "placement",
            "write.caching, closed loop, both sides spin".to_owned(),
            Work::Own { start, load },
        );
        spin.survives = "kill -9, not power loss";
        rows.push(spin);
    }
    rows
}

/// Old data that no memory holds: of a broker that has little of it.
fn from_disk(extent: Extent) -> Vec<Row> {
    let mib = if extent == Extent::Quick { 256 } else { 1024 };
    let beside = Beside::Backfill {
        mib,
        from_disk: true,
    };
    let row = |suite, id: &str, title: String, survives, load| Row {
        id: format!("{suite}-{id}"),
        suite,
        title: format!("{title}, --memory 64MiB"),
        survives,
        work: Work::Own {
            start: Own {
                shards: 1,
                on: Core::Broker,
                poll: "park",
                flags: &["--memory", "64MiB"],
            },
            load,
        },
    };
    let alone = Workload {
        connections: 0,
        beside,
        ..Workload::plain()
    };
    let producing = Workload {
        beside,
        ..Workload::at(5000)
    };
    let title = format!("one reader of {mib} MiB from the disk");
    vec![
        row("consume", "cold", title, NOTHING, alone),
        row(
            "backfill",
            "without-small",
            "5,000/s, nobody reads".to_owned(),
            POWER,
            Workload::at(5000),
        ),
        row(
            "backfill",
            "cold",
            format!("5,000/s beside a reader of {mib} MiB from the disk"),
            POWER,
            producing,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_file_of_its_own_and_says_what_survives() {
        for (extent, kind) in [
            (Extent::Quick, Kind::Tailwater),
            (Extent::Full, Kind::Kafka),
            (Extent::Full, Kind::Tailwater),
        ] {
            let rows = rows(extent, kind, true);
            let mut ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
            assert!(
                ids.iter()
                    .all(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
            );
            assert!(rows.iter().all(|row| !row.survives.is_empty()));
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), rows.len());
        }
    }

    #[test]
    fn what_an_acknowledgement_survives_follows_from_broker_acks_and_topic() {
        let caching = Workload {
            configs: &[("write.caching", "true")],
            ..Workload::plain()
        };
        let unacknowledged = Workload {
            acks: 0,
            ..Workload::plain()
        };
        assert_eq!(Workload::plain().survives(Kind::Tailwater), "power loss");
        assert_eq!(caching.survives(Kind::Tailwater), "kill -9, not power loss");
        assert_eq!(
            Workload::plain().survives(Kind::Kafka),
            "kill -9, not power loss"
        );
        assert_eq!(
            unacknowledged.survives(Kind::Tailwater),
            "nothing is acknowledged"
        );
    }
}
