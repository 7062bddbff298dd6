//! The broker that is measured: one started here, or one that is running already.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::connection::{Connection, Wait};
use crate::process::{Broker, Options};
use crate::{Plan, answers, frames, proc};

/// Topics made by this run so far.
static TOPICS: AtomicU32 = AtomicU32::new(0);

/// A broker under measurement, and its directory.
pub struct Target {
    pub addr: SocketAddr,
    /// None: somebody else's. It ends before its directory goes.
    pub broker: Option<Broker>,
    pub scratch: TempDir,
}

/// Flags for a broker of one shard on the plan's core.
pub fn one_shard(plan: &Plan, poll: &str) -> Vec<(&'static str, String)> {
    vec![
        ("--cpus", plan.broker_cpu.to_string()),
        ("--poll", poll.to_owned()),
    ]
}

impl Target {
    /// Starts one, unless the plan names one that runs.
    pub fn start(plan: &Plan, flags: &[(&'static str, String)]) -> Self {
        let scratch = tempfile::tempdir_in(&plan.dir).expect("a scratch directory");
        let broker = match plan.kafka {
            Some(_) => None,
            None => Some(Options::new(&scratch.path().join("data"), flags).start()),
        };
        let addr = broker
            .as_ref()
            .map_or(plan.kafka, |broker| Some(broker.addr));
        Self {
            addr: addr.expect("one of both"),
            scratch,
            broker,
        }
    }

    pub fn pid(&self) -> Option<Pid> {
        self.broker.as_ref().map(Broker::pid)
    }

    /// Processor time of the broker so far; zero for somebody else's.
    pub fn cpu(&self) -> Duration {
        self.pid()
            .map_or(Duration::ZERO, |pid| proc::cpu(pid.as_raw_nonzero().get()))
    }

    /// Runs a reference on the broker's core while the broker stands still.
    pub fn stopped<T>(&self, reference: impl FnOnce() -> T) -> T {
        self.signal(Signal::STOP);
        let found = reference();
        self.signal(Signal::CONT);
        found
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            kill_process(pid, signal).expect("it runs");
        }
    }

    /// A topic under a name that no earlier run has used.
    pub fn topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
        let number = TOPICS.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-{name}-{}-{number}", std::process::id());
        self.topics(&[(name.clone(), partitions)], configs);
        name
    }

    pub fn topics(&self, topics: &[(String, i32)], configs: &[(&str, &str)]) {
        let mut connection = Connection::open(self.addr, Wait::Block).expect("it listens");
        let frame = frames::create_topics(topics, configs);
        answers::created(connection.call(frame).expect("it answers"));
        for (name, partitions) in topics {
            settle(&mut connection, name, *partitions);
            if self.broker.is_none() {
                serve(&mut connection, name, *partitions);
            }
        }
    }
}

/// Waits until every partition of a new topic has a leader (Kafka answers CreateTopics before).
pub fn settle(connection: &mut Connection, topic: &str, partitions: i32) {
    let began = std::time::Instant::now();
    loop {
        let answer = connection
            .call(frames::metadata(&[topic]))
            .expect("it answers");
        if answers::leaders(answer) == usize::try_from(partitions).expect("a count") {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{topic} has no leaders"
        );
    }
}

/// Waits until every partition answers a fetch: Kafka names leaders before they serve.
fn serve(connection: &mut Connection, topic: &str, partitions: i32) {
    let began = std::time::Instant::now();
    for index in 0..partitions {
        let frame = || frames::fetch(topic, &[(index, 0)], 0, 1);
        while !answers::serves(connection.call(frame()).expect("it answers")) {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{topic}-{index} is not served"
            );
        }
    }
}
