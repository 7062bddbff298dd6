//! A broker process: the built binary on a free port.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const BINARY: &str = env!("CARGO_BIN_EXE_tailwater");

/// How to start one: what a user gets who sets nothing but `flags`.
pub struct Options {
    data_dir: PathBuf,
    flags: Vec<(&'static str, String)>,
}

/// A running broker; killed when dropped.
pub struct Broker {
    child: Child,
    pub addr: SocketAddr,
}

impl Options {
    pub fn new(data_dir: &Path, flags: &[(&'static str, String)]) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            flags: flags.to_vec(),
        }
    }

    pub fn command(&self, listen: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--listen", listen, "--data-dir"]);
        command.arg(&self.data_dir).stdin(Stdio::null());
        for (name, value) in &self.flags {
            command.args([name, value.as_str()]);
        }
        command
    }

    /// Starts it and waits for its start block, whose first line names its address.
    pub fn start(&self) -> Broker {
        let mut command = self.command("127.0.0.1:0");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        let mut words = first.split_whitespace().skip_while(|word| *word != "on");
        let addr = words.nth(1).and_then(|word| word.parse().ok());
        // The rest is read away: a pipe that nobody reads would hold the broker up.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Broker {
            child,
            addr: addr.unwrap_or_else(|| panic!("no address in the start block: {first:?}")),
        }
    }
}

impl Broker {
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// SIGTERM: its exit status and how long it took.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        kill_process(self.pid(), Signal::TERM).expect("it runs");
        (self.child.wait().expect("it ends"), asked.elapsed())
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
