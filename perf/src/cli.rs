//! The command line.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

use crate::clock::SECOND_NS;
use crate::control::{Control, NewTopic};
use crate::frames::Shape;
use crate::load::{self, Load, Outcome, Pace};
use crate::machine::{self, Machine};
use crate::poller::Wait;
use crate::reader::{ReaderPlan, Reads};
use crate::sink::{Sink, SinkPlan};
use crate::times::{QUANTILES, Times};

/// Measures brokers that speak the Kafka protocol.
#[derive(Parser)]
#[command(name = "tailwater-perf", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One load of your own making.
    Load(LoadArgs),
    /// A sink that speaks the protocol and drops the data: the client's ceiling.
    Discard(DiscardArgs),
}

#[derive(Args)]
struct LoadArgs {
    /// The broker.
    #[arg(long, value_name = "HOST:PORT")]
    against: SocketAddr,
    /// Requests a second, sent when they are due whatever is unanswered. Without it: a closed loop.
    #[arg(long)]
    rate: Option<u64>,
    /// Requests in flight on each connection of a closed loop.
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// 0, 1 or -1 (all).
    #[arg(long, default_value_t = -1, allow_hyphen_values = true, value_parser = clap::value_parser!(i16).range(-1..=1))]
    acks: i16,
    /// Bytes of a record's value, its stamp of 8 among them.
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Bytes of a record's key.
    #[arg(long, default_value_t = 0)]
    key_bytes: usize,
    /// Records in a batch.
    #[arg(long, default_value_t = 1)]
    records: usize,
    /// Batches in a request, each to another partition.
    #[arg(long, default_value_t = 1)]
    batches: usize,
    #[arg(long, default_value_t = 1)]
    partitions: usize,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Consumers that wait for new records by parked fetches.
    #[arg(long, default_value_t = 0)]
    tail_readers: usize,
    /// How the client waits.
    #[arg(long, value_enum, default_value = "spin")]
    wait: Wait,
    /// The client's cores. Default: the last one that this process may use.
    #[arg(long, value_delimiter = ',')]
    client_cpus: Vec<usize>,
    /// What the topic is made with, such as `write.caching=true`.
    #[arg(long = "config", value_name = "KEY=VALUE")]
    configs: Vec<String>,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Write the raw histograms to a file: a line of HdrHistogram's V2 format in base64 for each.
    #[arg(long, value_name = "FILE")]
    histograms: Option<std::path::PathBuf>,
}

#[derive(Args)]
struct DiscardArgs {
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    listen: SocketAddr,
    /// The core to pin it to.
    #[arg(long)]
    cpu: Option<usize>,
    /// How it waits.
    #[arg(long, value_enum, default_value = "park")]
    wait: Wait,
}

/// Does what the command line says.
pub(crate) fn run() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Load(args) => one_load(&args),
        Command::Discard(args) => {
            let sink = Sink::start(SinkPlan {
                listen: args.listen,
                cpu: args.cpu,
                wait: args.wait,
                stall: None,
            })?;
            println!("discarding on {}", sink.addr);
            sink.serve()
        }
    }
}

fn one_load(args: &LoadArgs) -> anyhow::Result<()> {
    let topic = format!("perf-load-{}", std::process::id());
    let cpus = match args.client_cpus.as_slice() {
        [] => machine::usable_cpus()?
            .last()
            .copied()
            .into_iter()
            .collect(),
        cpus => cpus.to_vec(),
    };
    let reader = ReaderPlan {
        topic: topic.clone(),
        partitions: args.partitions,
        reads: Reads::Tail,
    };
    let load = Load {
        addr: args.against,
        topic: topic.clone(),
        partitions: args.partitions,
        acks: args.acks,
        shape: Shape {
            value_bytes: args.bytes,
            key_bytes: args.key_bytes,
            records: args.records,
            batches: args.batches,
        },
        connections: args.connections,
        pace: args
            .rate
            .map_or(Pace::Closed { depth: args.depth }, |rate| Pace::Open {
                rate,
            }),
        wait: args.wait,
        readers: vec![reader; args.tail_readers],
        cpus,
        warm_up_ns: SECOND_NS / 2,
        lasting_ns: args.seconds * SECOND_NS,
    };
    let reads = args.tail_readers > 0;
    let configs = args.configs.iter().map(|config| {
        config
            .split_once('=')
            .ok_or_else(|| anyhow::anyhow!("{config} is not KEY=VALUE"))
    });
    let configs = configs.collect::<anyhow::Result<Vec<_>>>()?;
    let mut control = Control::open(args.against)?;
    control.check_versions(reads)?;
    control.create(
        &NewTopic {
            name: &topic,
            partitions: args.partitions,
            configs: &configs,
        },
        reads,
    )?;
    let ran = load::run(&load);
    control.delete(&topic)?;
    println!("{}", Machine::describe(std::path::Path::new("."))?.line());
    let outcome = ran?;
    tell(&outcome);
    if let Some(path) = &args.histograms {
        let lines =
            kinds(&outcome).map(|(name, times)| Ok(format!("{name} {}\n", times.encode()?)));
        std::fs::write(path, lines.into_iter().collect::<anyhow::Result<String>>()?)?;
    }
    Ok(())
}

fn tell(outcome: &Outcome) {
    println!(
        "{:.0} records/s acknowledged, {} requests unanswered",
        outcome.per_second(),
        outcome.unanswered
    );
    for (name, times) in kinds(outcome) {
        if times.len() > 0 {
            println!("{name:18} {}", line(times));
        }
    }
}

/// The histograms of a load, all from the intended time on, in microseconds when they are told.
fn kinds(outcome: &Outcome) -> [(&'static str, &Times); 3] {
    [
        ("latency", &outcome.latency),
        ("send-delay", &outcome.send_delay),
        ("produce-to-consume", &outcome.consume),
    ]
}

fn line(times: &Times) -> String {
    let cells = QUANTILES.map(|(name, part)| format!("{name} {:.1}", times.us(part)));
    format!(
        "{}  max {:.1}  count {}",
        cells.join("  "),
        times.max_us(),
        times.len()
    )
}
