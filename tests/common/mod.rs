//! A broker process of its own for a test: the built binary on a free port and a scratch
//! directory, killed when the test is done with it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

pub mod clients;
pub mod disk;
pub mod raw;
pub mod watch;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_tailwater");

/// No test takes this long unless the broker has stopped answering.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A directory that goes with the test, on the disk that the build is on.
pub fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch directory")
}

/// Looks until `probe` finds something. The pause only keeps the processor for the broker.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The number behind a counter's name in the last block that a broker logged.
pub fn counted(log: &str, name: &str) -> Option<u64> {
    let (_, block) = log.rsplit_once("counted since the start:\n")?;
    let mut lines = block.lines().map(|line| line.split_once(' '));
    let number = lines.find_map(|line| line.filter(|(said, _)| *said == name))?;
    number.1.parse().ok()
}

/// A running broker.
pub struct Broker {
    child: Child,
    pub addr: SocketAddr,
    /// What it printed when it started.
    pub block: String,
}

/// How to start one.
#[derive(Clone)]
pub struct Options {
    pub data_dir: PathBuf,
    pub flags: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Standard error goes to this file instead of the test's own.
    pub log: Option<PathBuf>,
    /// A command that runs it, such as `prlimit --nofile=600`.
    pub runner: &'static [&'static str],
}

impl Options {
    pub fn new(data_dir: &Path) -> Self {
        let flags = [
            "--shards",
            "2",
            "--wal-size",
            "64MiB",
            "--disk-reserve",
            "64MiB",
        ];
        let filter = std::env::var("TAILWATER_LOG").unwrap_or("warn".to_owned());
        // The engine that a whole run of these tests is of.
        let engine = std::env::var("TEST_ENGINE").map(|name| ["--engine".to_owned(), name]);
        let engine = engine.into_iter().flatten();
        Self {
            data_dir: data_dir.to_owned(),
            flags: flags.map(str::to_owned).into_iter().chain(engine).collect(),
            environment: vec![("TAILWATER_LOG".to_owned(), filter)],
            log: None,
            runner: &[],
        }
    }

    /// Sets a flag; `--set` any number of times, every other once.
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        if let Some(at) = self
            .flags
            .iter()
            .position(|flag| flag == name && name != "--set")
        {
            self.flags.drain(at..at + 2);
        }
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Sets one of Kafka's broker keys.
    pub fn set(self, key: &str, value: &str) -> Self {
        self.flag("--set", &format!("{key}={value}"))
    }

    /// Logs to a file, filtered as `TAILWATER_LOG` says.
    pub fn log(mut self, file: &Path, filter: &str) -> Self {
        self.log = Some(file.to_owned());
        self.environment
            .push(("TAILWATER_LOG".to_owned(), filter.to_owned()));
        self
    }

    pub fn command(&self, listen: &str) -> Command {
        self.wrapped(self.runner, listen)
    }

    /// The command with another before it, such as `prlimit --memlock=0`.
    pub fn wrapped(&self, before: &[&str], listen: &str) -> Command {
        let mut words = before.iter().copied().chain([BINARY]);
        let mut command = Command::new(words.next().expect("the binary at least"));
        command.args(words);
        command
            .args(["serve", "--listen", listen, "--data-dir"])
            .arg(&self.data_dir);
        command.args(&self.flags);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// Starts it on a free port and waits for its start block: it serves.
    pub fn start(&self) -> Broker {
        self.start_on("127.0.0.1:0")
    }

    pub fn start_on(&self, listen: &str) -> Broker {
        let mut command = self.command(listen);
        if let Some(log) = &self.log {
            command.stderr(File::create(log).expect("a log file"));
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut block = String::new();
        while !block.contains("recovered") {
            let Some(Ok(line)) = lines.next() else { break };
            block.push_str(&line);
            block.push('\n');
        }
        let addr = block
            .split_whitespace()
            .skip_while(|word| *word != "on")
            .nth(1)
            .and_then(|addr| addr.parse().ok())
            .unwrap_or_else(|| panic!("no start block: {block:?} ({:?})", child.wait()));
        Broker { child, addr, block }
    }

    /// Starts one that is expected to refuse: its exit status and what it said.
    pub fn refused(&self) -> (ExitStatus, String) {
        finish(self.command("127.0.0.1:0"))
    }
}

/// Runs a command that is expected to end by itself: its status and standard error.
pub fn finish(mut command: Command) -> (ExitStatus, String) {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stderr = child.stderr.take().expect("piped");
    let said = std::thread::spawn(move || {
        let mut said = String::new();
        stderr.read_to_string(&mut said).map(|_| said)
    });
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break Some(status);
        }
        if started.elapsed() > DEADLINE / 2 {
            child.kill().and_then(|()| child.wait()).expect("it ends");
            break None;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    };
    let said = said
        .join()
        .expect("no panic")
        .expect("it says something readable");
    (
        status.unwrap_or_else(|| panic!("it did not end by itself: {said}")),
        said,
    )
}

impl Broker {
    pub fn bootstrap(&self) -> String {
        self.addr.to_string()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.addr, DEADLINE).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    /// SIGKILL: nothing is said or saved.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM: its exit status and how long it took.
    pub fn stop(self) -> (ExitStatus, Duration) {
        self.stop_by(Signal::TERM)
    }

    /// A signal that is to end it: its exit status and how long it took.
    pub fn stop_by(mut self, signal: Signal) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        kill_process(self.pid(), signal).expect("it runs");
        (self.child.wait().expect("it ends"), asked.elapsed())
    }

    /// Stops it and insists on an orderly end.
    pub fn stop_cleanly(self) {
        let (status, _) = self.stop();
        assert!(status.success(), "stopped with {status}");
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Resident memory now, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes_of(self.pid())
    }

    /// Open descriptors now.
    pub fn descriptors(&self) -> usize {
        let pid = self.child.id();
        fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("it runs")
            .count()
    }
}

/// Resident memory of a process now, in bytes; 0 when it has ended.
pub fn resident_bytes_of(pid: Pid) -> u64 {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = fs::read_to_string(path).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `tailwater verify` with its status and all it printed.
pub fn verified(data_dir: &Path) -> (ExitStatus, String) {
    let done = Command::new(BINARY)
        .arg("verify")
        .arg(data_dir)
        .output()
        .expect("it runs");
    let said = [done.stdout, done.stderr].concat();
    (done.status, String::from_utf8_lossy(&said).into_owned())
}

/// `tailwater verify` finds nothing wrong.
pub fn verify(data_dir: &Path) {
    let (status, said) = verified(data_dir);
    assert!(status.success(), "{said}");
}
