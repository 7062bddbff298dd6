//! `tailwater doctor`: what the broker's latency depends on, as this machine has it, and what to change.
//!
//! Owns the checks. Each says what was seen; what could not be read is told as that, never as good.
//! Nothing is altered: files of /proc and /sys are read, rings are made and closed, and a file that never
//! has a name is opened in the data directory.
//!
//! Checks read through a [`System`], whose root a test chooses, and [`Probes`], which it makes up.

mod cores;
mod disk;
mod finding;
mod kernel;
mod memory;
mod report;
mod system;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use tailwater_server::{Engine, Poll, ServerConfig};
use tailwater_shards as shards;

use crate::boot;
use crate::settings::{CommandLine, Settings};

use finding::{Finding, Verdict};
use system::System;

/// What the broker is to be started with, as far as the checks depend on it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    data_dir: PathBuf,
    wal_bytes: u64,
    reserve_bytes: u64,
    cpus: Vec<usize>,
    poll: Poll,
    engine: Engine,
    memory_bytes: u64,
    /// `max.connections`, if somebody set it.
    connections_max: Option<usize>,
}

/// What had to be tried.
#[derive(Debug, Clone)]
pub(crate) struct Probes {
    /// Whether there are rings that do what the engine needs; why not, in a sentence.
    engine: Result<(), String>,
    /// Whether the data directory has direct I/O; `None` where that could not be told.
    direct_io: Option<bool>,
    /// Of the data directory's file system.
    space: Option<shards::Space>,
    /// Of /dev/shm.
    shm: Option<shards::Space>,
}

/// Looks at everything for a broker that would be started so. Problems are an error, so that scripts see.
pub(crate) fn doctor(line: &CommandLine, json: bool) -> Result<(), String> {
    let sentence = |error: crate::settings::SettingsError| error.to_string();
    let settings = Settings::load(line, std::env::vars(), &boot::KafkaKeys).map_err(sentence)?;
    let config = boot::server_config(&settings).map_err(sentence)?;
    let asked = Asked::of(&config, &settings);
    let findings = examine(&System::this(), &asked, &Probes::tried(&asked));
    if json {
        println!("{}", report::json(&findings));
    } else {
        print!("{}", report::text(&asked, &findings));
    }
    let is_problem = |finding: &&Finding| finding.verdict == Verdict::Problem;
    match findings.iter().filter(is_problem).count() {
        0 => Ok(()),
        1 => Err("1 problem found".to_owned()),
        many => Err(format!("{many} problems found")),
    }
}

impl Asked {
    fn of(config: &ServerConfig, settings: &Settings) -> Self {
        let mut pairs = settings.broker_pairs();
        let set = pairs.any(|(name, ..)| name == boot::CONNECTIONS_MAX);
        Self {
            data_dir: existing(&config.data_dir),
            wal_bytes: config.wal_bytes,
            reserve_bytes: config.disk_reserve_bytes,
            cpus: config.cpus.clone(),
            poll: config.poll,
            engine: config.engine,
            memory_bytes: config.memory_bytes,
            connections_max: set.then_some(config.limits.connections_max),
        }
    }

    /// The cores, each once, in order.
    fn cores(&self) -> Vec<usize> {
        let mut cores = self.cpus.clone();
        cores.sort_unstable();
        cores.dedup();
        cores
    }
}

/// The directory, or the one above it that is there: where it would be made.
fn existing(dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let there = absolute.ancestors().find(|above| above.is_dir());
    let there = there.unwrap_or(Path::new("/"));
    there.canonicalize().unwrap_or_else(|_| there.to_owned())
}

impl Probes {
    fn tried(asked: &Asked) -> Self {
        let engine = match asked.engine {
            Engine::Glommio => shards::Engine::Glommio,
            Engine::Uring => shards::Engine::Uring,
        };
        Self {
            engine: shards::probe_engine(engine).map_err(|error| error.to_string()),
            direct_io: shards::probe_direct_io(&asked.data_dir).ok(),
            space: shards::space_of(&asked.data_dir).ok(),
            shm: shards::space_of(Path::new(memory::SHM)).ok(),
        }
    }
}

/// All checks, in the order in which they are told.
fn examine(system: &System, asked: &Asked, probes: &Probes) -> Vec<Finding> {
    let mut findings = kernel::examine(system, asked, probes);
    findings.extend(cores::examine(system, asked));
    findings.extend(disk::examine(system, asked, probes));
    findings.extend(memory::examine(system, asked, probes));
    findings
}
