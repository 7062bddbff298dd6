//! Brokers that a measurement starts by itself: the built Tailwater, a real Kafka, Redis. Each ends
//! when dropped. What cannot be started is absent, with the reason, and never a number.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A process and where it listens.
pub(crate) struct Peer {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// The process that serves: the child itself, or one that it has started.
    pub(crate) pid: u32,
    /// When it was started.
    pub(crate) began: Instant,
    stops_with: Stop,
}

/// How it is ended.
#[derive(PartialEq, Eq)]
enum Stop {
    Kill,
    /// Its standard input ends.
    Hangup,
}

/// How long a peer may take to start.
const START_MAX: Duration = Duration::from_secs(120);

/// The processes that run for us, by number. At most a handful.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// From now on SIGINT and SIGTERM end the peers, too: one that stands still could not end by itself.
pub(crate) fn end_with_us() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            for pid in RUNNING
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
            {
                // It may have ended meanwhile.
                let _ = signalled(*pid, Signal::KILL);
            }
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

fn signalled(pid: u32, signal: Signal) -> anyhow::Result<Pid> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a process id")?;
    kill_process(pid, signal)?;
    Ok(pid)
}

/// Whether a process runs that SIGINT is to end with us.
pub(crate) fn is_running(pid: u32, runs: bool) {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let _was = if runs {
        running.insert(pid)
    } else {
        running.remove(&pid)
    };
}

/// How Tailwater is started.
#[derive(Clone, Debug)]
pub(crate) struct TailwaterPlan {
    pub(crate) binary: PathBuf,
    pub(crate) data_dir: PathBuf,
    /// Shards go round on them when there are more.
    pub(crate) cpus: Vec<usize>,
    pub(crate) shards: usize,
    pub(crate) poll: String,
    /// Further flags, as they are.
    pub(crate) flags: Vec<String>,
}

impl Peer {
    /// The built broker; waits for the line that names its address.
    pub(crate) fn tailwater(plan: &TailwaterPlan) -> anyhow::Result<Self> {
        let cpus: Vec<String> = plan.cpus.iter().map(usize::to_string).collect();
        let mut command = Command::new(&plan.binary);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--poll", &plan.poll])
            .args([
                "--shards",
                &plan.shards.to_string(),
                "--cpus",
                &cpus.join(","),
            ])
            .arg("--data-dir")
            .arg(&plan.data_dir)
            .args(&plan.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let log = plan.data_dir.with_extension("log");
        command.stderr(std::fs::File::create(&log)?);
        let began = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {}", plan.binary.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let addr = first
            .split_whitespace()
            .skip_while(|word| *word != "on")
            .nth(1)
            .and_then(|word| word.parse().ok());
        // The rest is read away: a pipe that nobody reads would hold the broker up.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let Some(addr) = addr else {
            child.kill()?;
            child.wait()?;
            anyhow::bail!(
                "{} did not say where it listens: {first:?} {}",
                plan.binary.display(),
                std::fs::read_to_string(&log).unwrap_or_default()
            );
        };
        let pid = child.id();
        is_running(pid, true);
        Ok(Self {
            child,
            addr,
            pid,
            began,
            stops_with: Stop::Kill,
        })
    }

    /// A Kafka of one KRaft node on core `cpu`, by `perf/peers/kafka`, with lines `KEY=VALUE`.
    pub(crate) fn kafka(dir: &Path, cpu: usize, configs: &[&str]) -> anyhow::Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/kafka");
        let mut command = Command::new("taskset");
        command
            .args(["-c", &cpu.to_string(), script])
            .arg(dir)
            .args(configs);
        let began = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output is piped")?).read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let addr = words.next().and_then(|word| word.parse().ok());
        let pid = words.next().and_then(|word| word.parse().ok());
        let Some((addr, pid)) = addr.zip(pid) else {
            child.wait()?;
            anyhow::bail!("no Kafka; it needs Java, Maven and Python ({script} says why)");
        };
        is_running(pid, true);
        Ok(Self {
            child,
            addr,
            pid,
            began,
            stops_with: Stop::Hangup,
        })
    }

    /// A Redis that syncs each write before it answers, on core `cpu`.
    pub(crate) fn redis(dir: &Path, cpu: usize) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        // Redis cannot choose a port by itself.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("taskset");
        command
            .args([
                "-c",
                &cpu.to_string(),
                "redis-server",
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
            ])
            .args([
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--save",
                "",
                "--dir",
            ])
            .arg(dir);
        let began = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let (pid, addr) = (child.id(), SocketAddr::from(([127, 0, 0, 1], port)));
        is_running(pid, true);
        let mut peer = Self {
            child,
            addr,
            pid,
            began,
            stops_with: Stop::Kill,
        };
        while TcpStream::connect(addr).is_err() {
            ensure!(
                peer.child.try_wait()?.is_none(),
                "no redis-server on this machine"
            );
            ensure!(began.elapsed() < START_MAX, "Redis does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(peer)
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// It stands still until the guard is dropped.
    pub(crate) fn paused(&self) -> anyhow::Result<Paused> {
        Ok(Paused(signalled(self.pid, Signal::STOP)?))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        is_running(self.pid, false);
        drop(self.child.stdin.take());
        if self.stops_with == Stop::Kill {
            // It may have ended by itself.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// A process that stands still.
pub(crate) struct Paused(Pid);

impl Drop for Paused {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        let _ = kill_process(self.0, Signal::CONT);
    }
}
