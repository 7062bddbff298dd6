//! The built broker among hostile connections: a client that behaves measures what it waits for,
//! alone and then beside the crowd; nothing acknowledged may be lost or out of order, and the
//! broker's memory keeps to its bound. Times are told; judged is that none is over ten seconds.
//!
//! `tests/soak/run` builds what this needs and calls it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod broker;
mod crowd;
mod frames;
mod kinds;
mod report;
mod scheduler;
mod stall;
mod times;
mod witness;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};

use broker::Broker;
use crowd::Crowd;
use report::{Judged, Phase};
use stall::Watch;
use witness::Witness;

/// Hostile connections for the built broker.
#[derive(Parser)]
struct Cli {
    /// How long the client is alone, and how long it is beside the crowd.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Hostile connections at a time, of all kinds together.
    #[arg(long, default_value_t = 2000)]
    connections: usize,
    /// The broker's `--memory`, in MiB.
    #[arg(long, default_value_t = 128)]
    memory: u64,
    /// Only kinds whose names hold this, to see what each does.
    #[arg(long, default_value = "")]
    only: String,
    /// The niceness of the crowd's threads. With 19 they leave broker and client the processors, and
    /// what these still wait for is the broker's doing.
    #[arg(long, default_value_t = 0)]
    crowd_nice: i32,
    /// Where the data goes.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What went wrong, in a sentence.
type Failure = String;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => {
            println!("passed");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn said(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| format!("{what}: {error}")
}

fn run(cli: &Cli) -> Result<(), Failure> {
    raise_open_files();
    let parent = cli.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::tempdir_in(parent).map_err(said("a scratch directory"))?;
    let broker = Broker::start(scratch.path(), cli.memory)?;
    frames::create_topics(broker.addr).map_err(said("creating topics"))?;
    let at_start = broker.resident_bytes();
    frames::fill(broker.addr).map_err(said("filling a topic"))?;
    let seconds = Duration::from_secs(cli.seconds);

    let witness = Witness::start(broker.addr)?;
    let watch = Watch::start(broker.tells(), witness.waits());
    let alone = Phase::measure(&broker, &witness, seconds);
    let files = broker.open_files();
    let crowd = Crowd::start(broker.addr, cli.connections, &cli.only, cli.crowd_nice);
    let beside = Phase::measure(&broker, &witness, seconds);
    let counted = crowd.stop();
    let mut back = 0;
    let left_files = broker.settle(files, &mut back);
    let heard = witness.stop();
    drop(watch);

    report::print_kinds(&counted);
    report::print_times(&alone, &beside);
    report::print_processor(&alone, &beside);
    report::print_memory(at_start, &alone, &beside, back);
    println!("\ncounted by the broker: {}", broker.counters()?);
    let heard = heard?;
    broker.stop()?;
    broker::verify(scratch.path())?;
    let judged = Judged {
        at_start,
        memory_bytes: cli.memory << 20,
        connections: cli.connections,
        alone: &alone,
        beside: &beside,
        back,
        files,
        left_files,
        counted: &counted,
    };
    judged.judge()?;
    println!(
        "\n{} records acknowledged to the client that behaves, all read back once and in order",
        heard.acknowledged
    );
    Ok(())
}

fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Without it fewer connections come about, and the table says so.
    let _ = setrlimit(Resource::Nofile, limit);
}
