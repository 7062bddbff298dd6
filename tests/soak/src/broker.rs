//! The broker's process, and what it weighs.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::scheduler::Share;
use crate::{Failure, said};

/// How long the broker may take to be rid of connections that have gone.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// How long it may take to tell its counters.
const TELL_MAX: Duration = Duration::from_secs(10);
/// Descriptors that may be open beyond those before: a segment more, a WAL file more.
const FILES_MORE_MAX: usize = 16;

const COUNTED: &str = "counted since the start:\n";

/// A running broker; killed when dropped.
pub(crate) struct Broker {
    child: Child,
    pub(crate) addr: SocketAddr,
    log: PathBuf,
}

fn binary() -> PathBuf {
    match std::env::var_os("BROKER_BIN") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/tailwater"),
    }
}

impl Broker {
    pub(crate) fn start(dir: &Path, memory_mib: u64) -> Result<Self, Failure> {
        let log = dir.join("log");
        let stderr = File::create(&log).map_err(said("a log file"))?;
        let mut child = Command::new(binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--shards", "2"])
            .args(["--memory", &format!("{memory_mib}MiB")])
            .args(["--wal-size", "64MiB", "--disk-reserve", "64MiB"])
            .arg("--data-dir")
            .arg(dir.join("data"))
            .env("TAILWATER_LOG", "warn,tailwater::counters=info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(said("starting the broker"))?;
        let stdout = child.stdout.take().ok_or("its output is not piped")?;
        let mut block = String::new();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            block.push_str(&line);
            block.push('\n');
            if line.contains("recovered") {
                break;
            }
        }
        let mut words = block.split_whitespace().skip_while(|word| *word != "on");
        let addr = words.nth(1).and_then(|addr| addr.parse().ok());
        let addr = addr.ok_or_else(|| format!("no start block: {block:?}"))?;
        Ok(Self { child, addr, log })
    }

    /// Resident memory now.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// What the scheduler gave its shards.
    pub(crate) fn share(&self) -> Share {
        Share::of(self.child.id(), "shard-")
    }

    pub(crate) fn open_files(&self) -> usize {
        let listed = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        listed.map_or(0, Iterator::count)
    }

    /// Waits until about as many files are open as before; says how many are, and what it weighs.
    pub(crate) fn settle(&self, files_before: usize, resident: &mut u64) -> usize {
        let began = Instant::now();
        loop {
            let files = self.open_files();
            *resident = self.resident_bytes();
            if files <= files_before + FILES_MORE_MAX || began.elapsed() > SETTLE_MAX {
                return files;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Whether so many open files are what may be left when a crowd has gone.
    pub(crate) fn are_given_back(files: usize, before: usize) -> bool {
        files <= before + FILES_MORE_MAX
    }

    /// By which it tells its counters, for as long as it runs.
    pub(crate) fn tells(&self) -> Tells {
        Tells {
            process: self.child.id(),
            pid: Pid::from_child(&self.child),
            log: self.log.clone(),
        }
    }

    /// What it has counted, in one line.
    pub(crate) fn counters(&self) -> Result<String, Failure> {
        self.tells().counters()
    }

    /// SIGTERM, and an orderly end.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).map_err(|error| format!("SIGTERM: {error}"))?;
        let status = self.child.wait().map_err(said("waiting for its end"))?;
        let text = fs::read_to_string(&self.log).map_err(said("its log"))?;
        let loud: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("panicked") || line.contains("ERROR"))
            .collect();
        match (status.success(), loud.first()) {
            (true, None) => Ok(()),
            (true, Some(line)) => Err(format!("it logged: {line}")),
            (false, _) => Err(format!("it stopped with {status}")),
        }
    }
}

/// Has a broker tell its counters. Used only while it runs.
#[derive(Clone)]
pub(crate) struct Tells {
    process: u32,
    pid: Pid,
    log: PathBuf,
}

impl Tells {
    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    /// What it has counted, in one line.
    pub(crate) fn counters(&self) -> Result<String, Failure> {
        let text = || fs::read_to_string(&self.log).map_err(said("its log"));
        let before = text()?.matches(COUNTED).count();
        kill_process(self.pid, Signal::USR1).map_err(|error| format!("SIGUSR1: {error}"))?;
        let began = Instant::now();
        while began.elapsed() < TELL_MAX {
            let text = text()?;
            if text.matches(COUNTED).count() > before
                && let Some((_, told)) = text.rsplit_once(COUNTED)
            {
                let lines: Vec<&str> = told.lines().collect();
                return Ok(lines.join(", "));
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Err("it does not tell its counters".to_owned())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Harmless when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `tailwater verify` finds nothing wrong.
pub(crate) fn verify(dir: &Path) -> Result<(), Failure> {
    let done = Command::new(binary())
        .arg("verify")
        .arg(dir.join("data"))
        .output()
        .map_err(said("verify"))?;
    if done.status.success() {
        return Ok(());
    }
    let told = [done.stdout, done.stderr].concat();
    Err(format!("verify: {}", String::from_utf8_lossy(&told)))
}
