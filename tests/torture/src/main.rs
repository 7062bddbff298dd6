//! The built broker on a real file system, and on one that loses what was not synced: rounds of
//! kills and power cuts under load, each followed by a look at everything that was promised.
//!
//! `tests/torture/run` installs what this needs and calls it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod admin;
mod broker;
mod check;
mod disk;
mod era;
mod failure;
mod full;
mod java;
mod kill;
mod ledger;
mod load;
mod power;
mod record;
mod rng;
mod slow;
mod summary;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Parser, Subcommand};

use broker::{Engines, Site};
use disk::Planted;
use failure::{Failure, fail};
use full::FullRun;
use java::Java;
use kill::KillRun;
use power::PowerRun;
use summary::Summary;

#[derive(Parser)]
#[command(about = "Kills, power cuts and full disks for the built broker")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Rounds of kill -9 under load on a real file system.
    Kill(Common),
    /// Rounds of power cuts under load, on a disk of our own.
    Power {
        #[command(flatten)]
        common: Common,
        /// Syncs that the disk answers and forgets. The run then passes only if that is noticed.
        #[arg(long)]
        planted: Option<Planted>,
    },
    /// A disk that fills up and is freed again.
    Full(Common),
}

#[derive(Args)]
struct Common {
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// Decides topics, records, flags and moments. Default: from the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// A folder with the Kafka client's jars: Java producers take part.
    #[arg(long)]
    jars: Option<PathBuf>,
    /// Where the data goes. Default: a scratch directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Delete the topics after every five rounds and go on with the directory; else an empty
    /// directory is begun.
    #[arg(long)]
    delete_topics: bool,
    /// The engine of every start; `either` draws it anew for each.
    #[arg(long, value_enum, default_value_t = Engines::Glommio)]
    engine: Engines,
    /// The broker's port. Not one that the kernel gives to outgoing connections: a client that
    /// looks for the broker while it is away may be given it, and the start waits until it goes.
    #[arg(long, default_value_t = 19_392)]
    port: u16,
}

fn main() -> ExitCode {
    let what = Cli::parse().what;
    match run(&what) {
        Ok(passed) => {
            println!("{passed} passed, 0 failed");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("FAILED: {failure}");
            println!("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// How many rounds passed.
fn run(what: &What) -> Result<u64, Failure> {
    let (What::Kill(common) | What::Full(common) | What::Power { common, .. }) = what;
    let parent = common.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::tempdir_in(parent)?;
    let site = site(common, scratch.path());
    if !site.binary.is_file() {
        return fail(format!("{} is not built", site.binary.display()));
    }
    let seed = seed(common);
    let mut summary = Summary::default();
    let (result, planted) = match what {
        What::Kill(_) => (kill(common, site.clone(), seed, &mut summary), None),
        What::Full(_) => (fill(common, site.clone(), seed, &mut summary), None),
        What::Power { planted, .. } => (
            cut(common, site.clone(), seed, *planted, &mut summary),
            *planted,
        ),
    };
    println!("{summary}");
    match (result, planted) {
        (Ok(()), None) => {
            println!("nothing lost, nothing changed, nothing twice");
            Ok(summary.rounds)
        }
        (Err(failure), None) => {
            println!("the broker's last words:\n{}", site.last_words());
            println!("its directory is kept: {}", scratch.keep().display());
            Err(failure)
        }
        (Ok(()), Some(planted)) => fail(format!("{planted:?} is planted and was not noticed")),
        (Err(failure), Some(planted)) => {
            println!(
                "{planted:?} was planted, and noticed after {} rounds: {failure}",
                summary.rounds
            );
            Ok(1)
        }
    }
}

fn site(common: &Common, scratch: &Path) -> Site {
    Site {
        binary: broker::binary(),
        data: scratch.join("data"),
        address: SocketAddr::from(([127, 0, 0, 1], common.port)),
        engines: common.engine,
        log: scratch.join("broker.log"),
    }
}

fn seed(common: &Common) -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    common.seed.unwrap_or(since.as_millis() as u64)
}

fn java(common: &Common, site: &Site, seed: u64) -> Result<Option<Java>, Failure> {
    match &common.jars {
        None => Ok(None),
        Some(jars) => Ok(Some(Java::start(jars, &site.bootstrap(), seed)?)),
    }
}

fn producers(java: Option<&Java>) -> &'static str {
    match java {
        Some(_) => "librdkafka and Java producers",
        None => "librdkafka producers",
    }
}

fn kill(common: &Common, site: Site, seed: u64, summary: &mut Summary) -> Result<(), Failure> {
    let java = java(common, &site, seed)?;
    println!(
        "kill -9 under load: {} rounds, seed {seed}, {}",
        common.rounds,
        producers(java.as_ref())
    );
    let rounds = common.rounds;
    let run = KillRun {
        site,
        seed,
        rounds,
        delete: common.delete_topics,
        java,
    };
    run.run(summary)
}

fn cut(
    common: &Common,
    mut site: Site,
    seed: u64,
    planted: Option<Planted>,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let java = java(common, &site, seed)?;
    println!(
        "power cuts under load: {} rounds, seed {seed}, {}, planted: {planted:?}",
        common.rounds,
        producers(java.as_ref())
    );
    let mountpoint = mountpoint(&mut site)?;
    let run = PowerRun {
        site,
        mountpoint,
        seed,
        rounds: common.rounds,
        delete: common.delete_topics,
        planted,
        java,
    };
    run.run(summary)
}

/// Moves the data directory into a file system of its own; where that is to be mounted.
fn mountpoint(site: &mut Site) -> Result<PathBuf, Failure> {
    let mountpoint = site.data.clone();
    std::fs::create_dir_all(&mountpoint)?;
    site.data = mountpoint.join("data");
    Ok(mountpoint)
}

fn fill(common: &Common, mut site: Site, seed: u64, summary: &mut Summary) -> Result<(), Failure> {
    println!(
        "a disk that fills up: {} rounds, seed {seed}",
        common.rounds
    );
    let run = FullRun {
        mountpoint: mountpoint(&mut site)?,
        site,
        seed,
        rounds: common.rounds,
    };
    run.run(summary)
}
