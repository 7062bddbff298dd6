//! What is turned, and what is measured at each of its positions.

use crate::frames::Shape;
use crate::load::Pace;
use crate::suite::{Beside, Client, Core, Own, Work, Workload};

/// Something that an operator, or a client, can set.
pub(crate) struct Knob {
    /// Of letters and dashes: part of files' names.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) positions: Vec<Position>,
}

/// One value of it.
pub(crate) struct Position {
    pub(crate) label: &'static str,
    /// The same kinds of load at each position, each a line of the chart.
    pub(crate) loads: Vec<Measured>,
}

/// A load, and what is drawn of it.
pub(crate) struct Measured {
    pub(crate) load: &'static str,
    pub(crate) work: Work,
    pub(crate) draws: Draws,
    pub(crate) survives: &'static str,
}

/// What a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draws {
    /// p50 and p99.
    Latency,
    /// A single figure.
    Fact(&'static str),
}

impl Draws {
    /// As the chart's title has it.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Draws::Latency => "us",
            Draws::Fact(name) => name,
        }
    }
}

const POWER: &str = "power loss";
const KILL: &str = "kill -9, not power loss";
const NOTHING: &str = "nothing is kept";
const CACHING: &[(&str, &str)] = &[("write.caching", "true")];
const RECORDS: Draws = Draws::Fact("records/s");

/// All of them.
pub(crate) fn knobs() -> Vec<Knob> {
    vec![
        shards(),
        shard_direct(),
        core(),
        poll(),
        spin_us(),
        engine(),
        batch(),
        in_flight(),
        memory(),
        wal_size(),
    ]
}

const USUAL: Own = Own {
    shards: 1,
    on: Core::Broker,
    poll: "park",
    flags: &[],
};

fn own(flags: &'static [&'static str]) -> Own {
    Own { flags, ..USUAL }
}

fn on(start: Own, load: &'static str, workload: Workload) -> Measured {
    let survives = if workload.configs == CACHING {
        KILL
    } else {
        POWER
    };
    Measured {
        load,
        work: Work::Own {
            start,
            load: workload,
        },
        draws: Draws::Latency,
        survives,
    }
}

/// As much as goes.
fn at_full_speed(start: Own, load: &'static str, workload: Workload) -> Measured {
    Measured {
        draws: RECORDS,
        ..on(start, load, workload)
    }
}

fn durable() -> Workload {
    Workload::plain()
}

fn cached() -> Workload {
    Workload {
        configs: CACHING,
        ..Workload::plain()
    }
}

fn many() -> Workload {
    Workload {
        connections: 64,
        partitions: 16,
        ..Workload::plain()
    }
}

fn shards() -> Knob {
    let position = |label, shards| Position {
        label,
        loads: vec![at_full_speed(
            Own { shards, ..USUAL },
            "64 connections, unbatched",
            many(),
        )],
    };
    Knob {
        name: "shards",
        title: "--shards, on the cores of --broker-cpus",
        positions: vec![position("1", 1), position("2", 2), position("4", 4)],
    }
}

fn shard_direct() -> Knob {
    let position = |label, flags| Position {
        label,
        loads: vec![Measured {
            load: "librdkafka, two shards",
            work: Work::OwnClient {
                start: Own {
                    shards: 2,
                    ..own(flags)
                },
                client: Client::Librdkafka,
            },
            draws: RECORDS,
            survives: POWER,
        }],
    };
    let direct: &[&str] = &["--shard-direct", "--shard-port-base", "0"];
    Knob {
        name: "shard-direct",
        title: "--shard-direct",
        positions: vec![position("off", &[]), position("on", direct)],
    }
}

fn core() -> Knob {
    let position = |label, on_core| Position {
        label,
        loads: vec![on(
            Own {
                on: on_core,
                ..USUAL
            },
            "durable, closed loop",
            durable(),
        )],
    };
    Knob {
        name: "core",
        title: "the broker's core: which one takes the disk's interrupts says the page's head",
        positions: vec![
            position("--broker-cpus", Core::Broker),
            position("the client's", Core::Client),
        ],
    }
}

fn polling(label: &'static str, poll: &'static str) -> Position {
    let start = Own { poll, ..USUAL };
    Position {
        label,
        loads: vec![
            on(start.clone(), "durable, closed loop", durable()),
            on(start, "write.caching, closed loop", cached()),
        ],
    }
}

fn poll() -> Knob {
    Knob {
        name: "poll",
        title: "--poll",
        positions: vec![
            polling("park", "park"),
            polling("adaptive", "adaptive"),
            polling("spin", "spin"),
        ],
    }
}

fn spin_us() -> Knob {
    let position = |label, flags| {
        let start = Own {
            poll: "adaptive",
            ..own(flags)
        };
        let slow = Workload {
            configs: CACHING,
            ..Workload::at(2000)
        };
        let fast = Workload {
            configs: CACHING,
            ..Workload::at(10_000)
        };
        Position {
            label,
            loads: vec![
                on(start.clone(), "write.caching, 2,000/s", slow),
                on(start, "write.caching, 10,000/s", fast),
            ],
        }
    };
    Knob {
        name: "spin-us",
        title: "--spin-us, with --poll adaptive",
        positions: vec![
            position("5", &["--spin-us", "5"]),
            position("20", &["--spin-us", "20"]),
            position("50", &["--spin-us", "50"]),
            position("150", &["--spin-us", "150"]),
            position("500", &["--spin-us", "500"]),
        ],
    }
}

fn engine() -> Knob {
    let position = |label, flags| Position {
        label,
        loads: vec![
            on(own(flags), "durable, closed loop", durable()),
            on(own(flags), "write.caching, closed loop", cached()),
        ],
    };
    Knob {
        name: "engine",
        title: "--engine",
        positions: vec![
            position("glommio", &["--engine", "glommio"]),
            position("uring", &["--engine", "uring"]),
        ],
    }
}

/// The broker commits what has come, 512 KiB at most: how much that is, the client's batches decide.
fn batch() -> Knob {
    let position = |label, records| Position {
        label,
        loads: vec![at_full_speed(
            USUAL,
            "4 connections, 5 in flight",
            Workload {
                connections: 4,
                partitions: 16,
                pace: Pace::Closed { depth: 5 },
                shape: Shape {
                    records,
                    ..Workload::plain().shape
                },
                ..Workload::plain()
            },
        )],
    };
    Knob {
        name: "batch",
        title: "records of 1 KiB in a client's batch: what a commit holds",
        positions: vec![
            position("1", 1),
            position("4", 4),
            position("16", 16),
            position("64", 64),
            position("256", 256),
        ],
    }
}

/// And how many of them are there at once, the client's depth.
fn in_flight() -> Knob {
    let position = |label, depth| Position {
        label,
        loads: vec![at_full_speed(
            USUAL,
            "16 connections, unbatched",
            Workload {
                connections: 16,
                partitions: 16,
                pace: Pace::Closed { depth },
                ..Workload::plain()
            },
        )],
    };
    Knob {
        name: "in-flight",
        title: "requests in flight on each of 16 connections: how many a commit takes",
        positions: vec![
            position("1", 1),
            position("2", 2),
            position("5", 5),
            position("20", 20),
        ],
    }
}

fn memory() -> Knob {
    let position = |label, flags| Position {
        label,
        loads: vec![Measured {
            load: "a reader of 256 MiB, again and again",
            work: Work::Own {
                start: own(flags),
                load: Workload {
                    connections: 0,
                    beside: Beside::Backfill {
                        mib: 256,
                        from_disk: false,
                    },
                    ..Workload::plain()
                },
            },
            draws: Draws::Fact("read MB/s"),
            survives: NOTHING,
        }],
    };
    Knob {
        name: "memory",
        title: "--memory: three eighths of it are the tail cache",
        positions: vec![
            position("64MiB", &["--memory", "64MiB"]),
            position("256MiB", &["--memory", "256MiB"]),
            position("512MiB", &["--memory", "512MiB"]),
            position("1GiB", &["--memory", "1GiB"]),
        ],
    }
}

fn wal_size() -> Knob {
    let position = |label, flags| {
        let workload = Workload {
            partitions: 4,
            times_as_long: 3,
            shape: Shape {
                records: 20,
                ..Workload::plain().shape
            },
            ..Workload::at(2000)
        };
        Position {
            label,
            loads: vec![on(own(flags), "40 MB/s", workload)],
        }
    };
    Knob {
        name: "wal-size",
        title: "--wal-size",
        positions: vec![
            position("32MiB", &["--wal-size", "32MiB"]),
            position("64MiB", &["--wal-size", "64MiB"]),
            position("256MiB", &["--wal-size", "256MiB"]),
            position("1GiB", &["--wal-size", "1GiB"]),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_knob_has_positions_and_measures_the_same_at_each() {
        for knob in knobs() {
            let is_plain = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(knob.name.chars().all(is_plain), "{}", knob.name);
            assert!(knob.positions.len() >= 2, "{}", knob.name);
            let first = &knob.positions[0].loads;
            for position in &knob.positions {
                let pairs = position.loads.iter().zip(first);
                assert_eq!(position.loads.len(), first.len(), "{}", knob.name);
                for (load, as_first) in pairs {
                    assert_eq!(load.load, as_first.load);
                    assert_eq!(load.draws, first[0].draws, "one chart, one axis");
                }
            }
        }
    }
}
