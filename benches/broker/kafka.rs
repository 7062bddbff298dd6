//! A real Kafka of one node, started as the client matrix starts it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ends when dropped.
pub struct Kafka {
    child: Child,
    pub addr: SocketAddr,
    pub pid: i32,
}

impl Kafka {
    /// A new one in `dir`, with lines `KEY=VALUE` of configuration.
    pub fn start(dir: &Path, configs: &[&str]) -> Self {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/clients/python/brokers.py"
        );
        let mut command = Command::new("python3");
        command.arg(script).arg(dir).args(configs);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        lines.read_line(&mut line).expect("it says where it is");
        let mut words = line.split_whitespace();
        let addr = words.next().and_then(|word| word.parse().ok());
        let pid = words.next().and_then(|word| word.parse().ok());
        Self {
            child,
            addr: addr.unwrap_or_else(|| panic!("no Kafka: {line:?}; it needs Java and Maven")),
            pid: pid.expect("its process"),
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
