//! The broker's process: started with flags drawn at random, asked, killed, its directory
//! checked.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Failure, fail};
use crate::rng::Rng;
use crate::slow::Watch;

/// No start takes this long unless something hangs: at the lowest priority among twenty-five programs
/// on two cores, 34 s.
const START_MAX: Duration = Duration::from_secs(120);
/// How long one attempt to ask may take.
const ASK_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);
/// Begins what each start writes to the log.
const START_MARK: &str = "-- start with ";

/// Which engine a start is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engines {
    /// Always glommio.
    Glommio,
    /// Always io_uring without glommio.
    Uring,
    /// One or the other, drawn for each start.
    Either,
}

/// What may differ from one start to the next.
#[derive(Debug, Clone)]
pub(crate) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    pub(crate) fn drawn(rng: &mut Rng, engines: Engines) -> Self {
        let engine = match engines {
            Engines::Glommio => "glommio",
            Engines::Uring => "uring",
            Engines::Either => rng.pick(&["glommio", "uring"]),
        };
        // Spinning takes a whole core of the few that clients and broker share: seldom, and by no
        // more shards than leave one over. Three that spin on two cores take seconds to answer.
        let poll = rng.pick(&["park", "park", "park", "adaptive", "adaptive", "spin"]);
        let shards = *rng.pick(&[1, 2, 2, 3]);
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let shards = match *poll {
            "spin" => shards.min(cores - 1).max(1),
            _ => shards,
        };
        Self(vec![
            ("--shards", shards.to_string()),
            (
                "--memory",
                rng.pick(&["192MiB", "256MiB", "1GiB"]).to_string(),
            ),
            (
                "--wal-size",
                rng.pick(&["32MiB", "48MiB", "128MiB"]).to_string(),
            ),
            ("--poll", poll.to_string()),
            ("--engine", engine.to_owned()),
        ])
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.retain(|(flag, _)| *flag != name);
        self.0.push((name, value.to_owned()));
        self
    }

    /// As in a line of a report: `shards 2, memory 1GiB`.
    pub(crate) fn words(&self) -> String {
        let each = self
            .0
            .iter()
            .map(|(name, value)| format!("{} {value}", name.trim_start_matches('-')));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// What every start of a run has in common.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) binary: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) engines: Engines,
    /// Standard error of every start is added to this file.
    pub(crate) log: PathBuf,
}

/// A running broker; killed when dropped.
pub(crate) struct Broker {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    started: Instant,
    watch: Watch,
}

/// How a start went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recovery {
    /// From the process's start to its first answer.
    pub(crate) took: Duration,
    /// What it was seen waiting for, if it took long.
    pub(crate) slow: Option<String>,
    /// What it said to have recovered.
    pub(crate) told: String,
    pub(crate) replayed_kib: u64,
    pub(crate) torn_tails: u64,
}

impl Recovery {
    /// Prints what a start that took long was seen waiting for.
    pub(crate) fn say_if_slow(&self) {
        if let Some(slow) = &self.slow {
            println!("    {slow}");
        }
    }
}

impl Site {
    pub(crate) fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Starts the process and waits for nothing.
    pub(crate) fn spawn(&self, flags: &Flags) -> io::Result<Broker> {
        let mut log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.log)?;
        writeln!(log, "{START_MARK}{}", flags.words())?;
        let mut command = Command::new(&self.binary);
        command
            .args(["serve", "--listen", &self.address.to_string(), "--data-dir"])
            .arg(&self.data)
            .args(["--set", "auto.create.topics.enable=false"]);
        for (name, value) in &flags.0 {
            command.args([name, value.as_str()]);
        }
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let stdout = child.stdout.take().expect("piped");
        Ok(Broker {
            watch: Watch::start(child.id(), self.address, &self.data),
            child,
            stdout: BufReader::new(stdout),
            address: self.address,
            started,
        })
    }

    /// Starts it and waits until it answers; what it says it recovered must be in order.
    pub(crate) fn start(&self, flags: &Flags) -> Result<(Broker, Recovery), Failure> {
        let mut broker = self.spawn(flags)?;
        let took = broker.first_answer()?;
        let mut recovery = broker.told()?;
        recovery.took = took;
        recovery.slow = broker.watch.end().map(|seen| {
            let log = self.last_start().replace('\n', "\n    ");
            format!("the start was {seen}\n    {log}")
        });
        Ok((broker, recovery))
    }

    /// `tailwater verify` finds nothing wrong in the directory of a broker that is not running.
    pub(crate) fn verify(&self) -> Result<Duration, Failure> {
        if !self.data.join("root").exists() {
            // Killed or cut before it had a directory: a later start makes it.
            return Ok(Duration::ZERO);
        }
        let asked = Instant::now();
        let done = Command::new(&self.binary)
            .arg("verify")
            .arg(&self.data)
            .output()?;
        if done.status.success() {
            return Ok(asked.elapsed());
        }
        let said = [done.stdout, done.stderr].concat();
        fail(format!(
            "verify: {}: {}",
            done.status,
            String::from_utf8_lossy(&said).trim()
        ))
    }

    /// Stops the broker and starts one on an empty directory.
    pub(crate) fn renew(&self, broker: Broker, flags: &Flags) -> Result<Broker, Failure> {
        broker.stop()?;
        self.verify()?;
        std::fs::remove_dir_all(&self.data)?;
        Ok(self.start(flags)?.0)
    }

    /// What the last start wrote to the log.
    fn last_start(&self) -> String {
        let text = self.logged();
        let begin = text.rfind(START_MARK).unwrap_or_default();
        text[begin..].trim_end().to_owned()
    }

    /// The last lines that brokers wrote to their log.
    pub(crate) fn last_words(&self) -> String {
        let text = self.logged();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn logged(&self) -> String {
        let mut text = String::new();
        let read = File::open(&self.log).and_then(|mut log| log.read_to_string(&mut text));
        if let Err(error) = read {
            let _ = write!(text, "{}: {error}", self.log.display());
        }
        text
    }
}

impl Broker {
    /// Asks until something answers; the time since the start.
    fn first_answer(&mut self) -> Result<Duration, Failure> {
        loop {
            match ask_versions(self.address) {
                Ok(()) => return Ok(self.started.elapsed()),
                Err(_) if self.started.elapsed() < START_MAX => std::thread::park_timeout(PAUSE),
                Err(error) => return fail(format!("no answer within {START_MAX:?}: {error}")),
            }
            if let Some(status) = self.child.try_wait()? {
                return fail(format!("the broker refused to start: {status}"));
            }
        }
    }

    /// Reads the start block, whose last line says what was recovered.
    fn told(&mut self) -> Result<Recovery, Failure> {
        let mut line = String::new();
        while !line.starts_with("  recovered ") {
            line.clear();
            if self.stdout.read_line(&mut line)? == 0 {
                return fail("the broker ended without saying what it recovered".to_owned());
            }
        }
        recovered(line.trim_start_matches("  recovered ").trim_end())
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(mut self) -> Result<(), Failure> {
        if let Some(status) = self.child.try_wait()? {
            return fail(format!("the broker had ended by itself: {status}"));
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and an orderly end.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(io::Error::from)?;
        let status = self.child.wait()?;
        match status.success() {
            true => Ok(()),
            false => fail(format!("stopped with {status}")),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Harmless when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// ApiVersions v0, without a client id.
fn ask_versions(address: SocketAddr) -> io::Result<()> {
    const CORRELATION: [u8; 4] = *b"ask!";
    let mut stream = TcpStream::connect_timeout(&address, ASK_MAX)?;
    stream.set_read_timeout(Some(ASK_MAX))?;
    let mut request = vec![0, 0, 0, 10, 0, 18, 0, 0];
    request.extend_from_slice(&CORRELATION);
    request.extend_from_slice(&[0xff, 0xff]);
    stream.write_all(&request)?;
    let mut answer = [0; 10];
    stream.read_exact(&mut answer)?;
    if answer[4..8] != CORRELATION || answer[8..] != [0, 0] {
        return Err(io::Error::other("an error, or another answer"));
    }
    Ok(())
}

/// Takes apart what a start says it recovered. Anything but replayed commits, torn tails and the
/// wait for the process before is a loss that it admits.
fn recovered(told: &str) -> Result<Recovery, Failure> {
    let mut recovery = Recovery {
        told: told.to_owned(),
        ..Recovery::default()
    };
    if told == "nothing: a new data directory" {
        return Ok(recovery);
    }
    let number = |text: &str| text.trim().parse::<u64>().ok();
    for part in told.split("; ") {
        if let Some(replayed) = part.strip_suffix(" KiB replayed") {
            let kib = replayed.rsplit(", ").next().and_then(number);
            recovery.replayed_kib = kib.unwrap_or_default();
        } else if let Some(torn) = part.strip_suffix(" torn tails cut off") {
            recovery.torn_tails = number(torn).unwrap_or_default();
        } else if !part.ends_with(" partitions") && !part.starts_with("waited ") {
            return fail(format!("the start admits a loss: {part}"));
        }
    }
    Ok(recovery)
}

/// Where the binary is: `$BROKER_BIN`, or the release build beside this program.
pub(crate) fn binary() -> PathBuf {
    match std::env::var_os("BROKER_BIN") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/tailwater"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_start_says_is_understood() {
        let told = "12 partitions; 34 commits, 567 KiB replayed; waited 1.5s until what the \
                    process before wrote had landed; 2 torn tails cut off";
        let recovery = recovered(told).unwrap();
        assert_eq!((recovery.replayed_kib, recovery.torn_tails), (567, 2));
        assert!(recovered("nothing: a new data directory").is_ok());
        for admitted in ["t-0 is out of service", "some partitions may have lost"] {
            assert!(recovered(&format!("{told}; {admitted}")).is_err());
        }
    }
}
