//! What the built broker costs: `cargo bench --bench broker [-- NAME... FLAGS]`.
//!
//! Each part starts the release binary on a scratch directory, loads it with a client of its own
//! (blocking sockets, frames made by hand) and prints a table in Markdown: the figure, beside it
//! what the disk or the loopback does by itself in the same run, and what an acknowledgement
//! survives. Nothing here asserts a time. Flags:
//!
//! - `--dir DIR`: the scratch directory's parent (default: the build's own);
//! - `--broker-cpu N`, `--client-cpu N`: where a broker of one shard and the client run;
//! - `--poll park|spin`: only this poll mode (default: both);
//! - `--kafka HOST:PORT`: measures `latency`, `throughput` against a broker that is running
//!   already instead; start it on `--broker-cpu` for the same conditions (`groups` starts a Kafka
//!   of its own beside the broker, by the client matrix's means: Java, Maven and Python);
//! - `--shape CxDxR`: of `throughput`, this row only (connections, in flight, records);
//! - `--quick`: a tenth of the time, to see that everything works.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "a measurement, run by hand"
)]

mod answers;
mod compaction;
mod connection;
mod fetch;
mod flushes;
mod frames;
mod group_frames;
mod groups;
mod idle;
mod kafka;
mod latency;
mod load;
mod loads;
mod machine;
mod proc;
mod process;
mod raw;
mod start;
mod stats;
mod swarm;
mod target;
mod throughput;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where and how to measure.
pub struct Plan {
    pub dir: PathBuf,
    pub broker_cpu: usize,
    pub client_cpu: usize,
    pub polls: Vec<String>,
    pub kafka: Option<SocketAddr>,
    pub quick: bool,
    /// The only row of `throughput` to measure.
    pub shape: Option<String>,
    names: Vec<String>,
}

type Part = fn(&Plan);

const PARTS: &[(&str, Part)] = &[
    ("latency", latency::measure),
    ("throughput", throughput::measure),
    ("flushes", flushes::measure),
    ("idle", idle::measure),
    ("memory", idle::memory),
    ("start", start::measure),
    ("restart", start::restart),
    ("fetch", fetch::measure),
    ("compaction", compaction::measure),
    ("groups", groups::measure),
    ("loads", loads::measure),
];

fn main() {
    let plan = Plan::read(std::env::args().skip(1));
    for name in &plan.names {
        assert!(
            PARTS.iter().any(|(known, _)| known == name),
            "no part is called {name}"
        );
    }
    std::fs::create_dir_all(&plan.dir).expect("a scratch directory");
    machine::describe(&plan.dir);
    let chosen = |name: &str| match (&plan.kafka, plan.names.is_empty()) {
        (_, false) => plan.names.iter().any(|chosen| chosen == name),
        (Some(_), true) => matches!(name, "latency" | "throughput"),
        (None, true) => true,
    };
    for (name, measure) in PARTS.iter().filter(|(name, _)| chosen(name)) {
        println!("\n## {name}");
        measure(&plan);
        println!("\n(load {} at its end)", machine::load());
    }
}

impl Plan {
    fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let cpus = tailwater_shards::usable_cpus().expect("an affinity");
        let mut plan = Self {
            dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
            broker_cpu: cpus[0],
            client_cpu: cpus[cpus.len() - 1],
            polls: vec!["park".to_owned(), "spin".to_owned()],
            kafka: None,
            quick: false,
            shape: None,
            names: Vec::new(),
        };
        while let Some(word) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .unwrap_or_else(|| panic!("{word} needs a value"))
            };
            match word.as_str() {
                "--bench" => {}
                "--dir" => plan.dir = PathBuf::from(value()),
                "--broker-cpu" => plan.broker_cpu = value().parse().expect("a core"),
                "--client-cpu" => plan.client_cpu = value().parse().expect("a core"),
                "--poll" => plan.polls = vec![value()],
                "--kafka" => plan.kafka = Some(value().parse().expect("HOST:PORT")),
                "--shape" => plan.shape = Some(value()),
                "--quick" => plan.quick = true,
                flag if flag.starts_with('-') => panic!("unknown flag {flag}"),
                name => plan.names.push(name.to_owned()),
            }
        }
        plan
    }

    /// So many, or a tenth of it.
    pub fn count(&self, count: usize) -> usize {
        if self.quick {
            count.div_ceil(10)
        } else {
            count
        }
    }

    pub fn lasting(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds) / if self.quick { 10 } else { 1 }
    }
}
