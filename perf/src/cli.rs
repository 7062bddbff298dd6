//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::clients;
use crate::clock::SECOND_NS;
use crate::compare::{self, ComparePlan};
use crate::control::{Control, NewTopic};
use crate::driver::{self, RunPlan};
use crate::frames::Shape;
use crate::hop;
use crate::load::{self, Load, Pace};
use crate::machine::{self, Machine};
use crate::peers;
use crate::poller::Wait;
use crate::reader::{ReaderPlan, Reads};
use crate::report;
use crate::sink::{Sink, SinkPlan};
use crate::store::Store;
use crate::suite::{Extent, Kind};
use crate::tally::Outcome;
use crate::times::{QUANTILES, Times};
use crate::tune::{self, TunePlan};

/// Measures brokers that speak the Kafka protocol.
#[derive(Parser)]
#[command(name = "tailwater-perf", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A suite of measurements, with a report.
    Run(RunArgs),
    /// The table of goals: a broker beside its references and its peers, in interleaved rounds, as ratios
    /// with their confidence.
    Compare(CompareArgs),
    /// A curve for each knob: shards, polling, engine, batches, memory and others.
    Tune(TuneArgs),
    /// The report of a run, written again from its rows.
    Report {
        /// Where the run was written to.
        #[arg(default_value = "target/perf")]
        dir: PathBuf,
    },
    /// One load of your own making.
    Load(LoadArgs),
    /// A sink that speaks the protocol and drops the data: the client's ceiling.
    Discard(DiscardArgs),
    /// What `compare` starts for librdkafka as a producer.
    #[command(hide = true)]
    Librdkafka {
        against: SocketAddr,
        topic: String,
        warm_up_ms: u64,
        lasting_ms: u64,
    },
    /// What `compare` starts for a hop from shard to shard.
    #[command(hide = true)]
    Hop {
        from_cpu: usize,
        to_cpu: usize,
        lasting_ns: u64,
    },
}

#[derive(Args)]
#[group(id = "broker-to-measure", required = true, args = ["against", "broker"])]
struct RunArgs {
    /// How much: `quick` takes at most 8 minutes, `full` at most an hour. What a run leaves out or breaks
    /// off at is measured by the next one with the same `--out`.
    #[arg(long, value_enum, default_value = "quick")]
    suite: Extent,
    /// A broker that runs already. Pin it to `--broker-cpu` for the references to be on its core.
    #[arg(long, value_name = "HOST:PORT")]
    against: Option<SocketAddr>,
    /// A Tailwater to be started for the run, with one shard on `--broker-cpu`; adds the rows of
    /// placement, shards and restart.
    #[arg(long, value_name = "PROGRAM")]
    broker: Option<PathBuf>,
    /// Further flags for it, such as `--broker-flag=--memory=1GiB`.
    #[arg(long = "broker-flag", value_name = "FLAG", allow_hyphen_values = true)]
    broker_flags: Vec<String>,
    /// What is measured: decides which rows there are and what an acknowledgement survives.
    #[arg(long, value_enum, default_value = "tailwater")]
    kind: Kind,
    /// Where rows and report go; also the file system that the disk is measured on.
    #[arg(long, value_name = "DIR", default_value = "target/perf")]
    out: PathBuf,
    /// Default: the first core that this process may use.
    #[arg(long)]
    broker_cpu: Option<usize>,
    /// Default: the last one.
    #[arg(long, value_delimiter = ',')]
    client_cpus: Vec<usize>,
    /// Without a real Kafka beside it.
    #[arg(long)]
    no_kafka: bool,
    /// Only rows whose names hold this, such as `rate` or `reference-raw`.
    #[arg(long, default_value = "")]
    only: String,
}

#[derive(Args)]
struct CompareArgs {
    /// The Tailwater to be started, with one shard on `--broker-cpu`.
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "target/release/tailwater"
    )]
    broker: PathBuf,
    /// Further flags for it.
    #[arg(long = "broker-flag", value_name = "FLAG", allow_hyphen_values = true)]
    broker_flags: Vec<String>,
    /// Rounds. A rerun with the same `--out` measures those that are missing.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// How long a side is measured in a round.
    #[arg(long, default_value_t = 3000)]
    slice_ms: u64,
    /// Where rounds and table go.
    #[arg(long, value_name = "DIR", default_value = "target/perf-compare")]
    out: PathBuf,
    /// Default: the first core that this process may use.
    #[arg(long)]
    broker_cpu: Option<usize>,
    /// Default: the last one.
    #[arg(long, value_delimiter = ',')]
    client_cpus: Vec<usize>,
    /// Without a real Kafka.
    #[arg(long)]
    no_kafka: bool,
    /// Only goals whose lines hold this, such as `64 clients`.
    #[arg(long, default_value = "")]
    only: String,
}

#[derive(Args)]
struct TuneArgs {
    /// The Tailwater to be started, anew for each position.
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "target/release/tailwater"
    )]
    broker: PathBuf,
    /// Further flags for it.
    #[arg(long = "broker-flag", value_name = "FLAG", allow_hyphen_values = true)]
    broker_flags: Vec<String>,
    /// Rounds. A rerun with the same `--out` measures those that are missing.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long a position is measured in a round.
    #[arg(long, default_value_t = 2500)]
    slice_ms: u64,
    /// Where rounds, page and charts go.
    #[arg(long, value_name = "DIR", default_value = "target/perf-tune")]
    out: PathBuf,
    /// The cores of more shards than one; of one the first. Default: the first core that this process
    /// may use.
    #[arg(long, value_delimiter = ',')]
    broker_cpus: Vec<usize>,
    /// Default: the last one.
    #[arg(long, value_delimiter = ',')]
    client_cpus: Vec<usize>,
    /// Only knobs whose names hold this, such as `poll`.
    #[arg(long, default_value = "")]
    only: String,
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
    histograms: Option<PathBuf>,
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
        Command::Run(args) => {
            peers::end_with_us()?;
            driver::run(run_plan(args)?)
        }
        Command::Compare(args) => {
            peers::end_with_us()?;
            compare::run(compare_plan(args)?)
        }
        Command::Tune(args) => {
            peers::end_with_us()?;
            tune::run(tune_plan(args)?)
        }
        Command::Report { dir } => {
            let (store, configuration, machine) = Store::read(&dir)?;
            report::write(&store, &configuration, &machine)
        }
        Command::Load(args) => one_load(&args),
        Command::Librdkafka {
            against,
            topic,
            warm_up_ms,
            lasting_ms,
        } => {
            let [warm_up, lasting] = [warm_up_ms, lasting_ms].map(Duration::from_millis);
            clients::librdkafka(against, &topic, warm_up, lasting)
        }
        Command::Hop {
            from_cpu,
            to_cpu,
            lasting_ns,
        } => {
            println!(
                "{}",
                hop::measure([from_cpu, to_cpu], lasting_ns)?.encode()?
            );
            Ok(())
        }
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

fn run_plan(args: RunArgs) -> anyhow::Result<RunPlan> {
    let usable = machine::usable_cpus()?;
    Ok(RunPlan {
        extent: args.suite,
        kind: args.kind,
        against: args.against,
        broker: args.broker,
        broker_flags: args.broker_flags,
        out: args.out,
        broker_cpu: args.broker_cpu.unwrap_or(usable[0]),
        client_cpus: client_cpus(&args.client_cpus, &usable),
        with_kafka: !args.no_kafka,
        only: args.only,
    })
}

fn compare_plan(args: CompareArgs) -> anyhow::Result<ComparePlan> {
    let usable = machine::usable_cpus()?;
    Ok(ComparePlan {
        broker: args.broker,
        broker_flags: args.broker_flags,
        out: args.out,
        broker_cpu: args.broker_cpu.unwrap_or(usable[0]),
        client_cpus: client_cpus(&args.client_cpus, &usable),
        with_kafka: !args.no_kafka,
        rounds: args.rounds,
        slice: Duration::from_millis(args.slice_ms),
        only: args.only,
    })
}

fn tune_plan(args: TuneArgs) -> anyhow::Result<TunePlan> {
    let usable = machine::usable_cpus()?;
    Ok(TunePlan {
        broker: args.broker,
        broker_flags: args.broker_flags,
        out: args.out,
        broker_cpus: match args.broker_cpus.as_slice() {
            [] => vec![usable[0]],
            cpus => cpus.to_vec(),
        },
        client_cpus: client_cpus(&args.client_cpus, &usable),
        rounds: args.rounds,
        slice: Duration::from_millis(args.slice_ms),
        only: args.only,
    })
}

fn client_cpus(chosen: &[usize], usable: &[usize]) -> Vec<usize> {
    match chosen {
        [] => usable.last().copied().into_iter().collect(),
        cpus => cpus.to_vec(),
    }
}

fn one_load(args: &LoadArgs) -> anyhow::Result<()> {
    let topic = format!("perf-load-{}", std::process::id());
    let cpus = client_cpus(&args.client_cpus, &machine::usable_cpus()?);
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
    control.create(&NewTopic {
        name: &topic,
        partitions: args.partitions,
        configs: &configs,
    })?;
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
        "{:.0} records/s acknowledged, {} requests unanswered, {} records unread",
        outcome.per_second(),
        outcome.unanswered,
        outcome.unread
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
