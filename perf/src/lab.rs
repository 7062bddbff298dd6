//! Carries rows out: the brokers that are measured, the references beside them, and the cores.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::clock::SECOND_NS;
use crate::control::{self, Control, NewTopic};
use crate::frames::Shape;
use crate::load::{self, Load, Outcome, Pace};
use crate::machine;
use crate::peers::{Paused, Peer, TailwaterPlan};
use crate::poller::Wait;
use crate::reader::{ReaderPlan, Reads};
use crate::references::{self, RawDisk, Trip};
use crate::sink::{Sink, SinkPlan};
use crate::suite::{Beside, Core, Own, Work, Workload};
use crate::times::Times;

/// What came of one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) histograms: BTreeMap<&'static str, Times>,
    pub(crate) facts: BTreeMap<&'static str, f64>,
}

/// Where everything is.
pub(crate) struct LabPlan {
    /// A broker that runs already.
    pub(crate) against: Option<SocketAddr>,
    /// The program of a broker to be started here.
    pub(crate) broker: Option<PathBuf>,
    /// Flags for it beyond those that place it.
    pub(crate) broker_flags: Vec<String>,
    pub(crate) scratch: PathBuf,
    pub(crate) broker_cpu: usize,
    pub(crate) client_cpus: Vec<usize>,
    /// How long a row is measured.
    pub(crate) slice_ns: u64,
    pub(crate) with_kafka: bool,
}

/// Peers that run, and what they need.
pub(crate) struct Lab {
    plan: LabPlan,
    raw: RawDisk,
    /// The broker under measurement, if it was started here.
    broker: Option<Peer>,
    /// The same with `--poll spin`, started when a row first wants it.
    spinner: Option<Peer>,
    /// Started when a row first wants it; an error says why it is absent.
    kafka: Option<Result<Peer, String>>,
    redis: Option<Result<Peer, String>>,
    topics: usize,
}

const WARM_UP_NS: u64 = SECOND_NS / 2;
/// A Java program is compiled while it runs: so long it is loaded before it counts.
const KAFKA_WARM_UP_NS: u64 = 15 * SECOND_NS;
const RESTART_MAX: Duration = Duration::from_secs(60);
/// What a round trip of a produce request of 1 KiB carries.
const TRIP: (usize, usize) = (1170, 70);

/// What a fetch of old data carries.
const BULK: Trip = Trip {
    request_bytes: 100,
    answer_bytes: 1 << 20,
    wait: Wait::Park,
};

impl Lab {
    /// Starts the broker, if it is to be started here.
    pub(crate) fn open(plan: LabPlan) -> anyhow::Result<Self> {
        ensure!(
            plan.against.is_some() || plan.broker.is_some(),
            "no broker to measure"
        );
        std::fs::create_dir_all(&plan.scratch)?;
        let raw = RawDisk::new(&plan.scratch)?;
        let mut lab = Self {
            plan,
            raw,
            broker: None,
            spinner: None,
            kafka: None,
            redis: None,
            topics: 0,
        };
        if lab.plan.against.is_none() {
            let start = Own {
                shards: 1,
                on: Core::Broker,
                poll: "park",
                flags: &[],
            };
            lab.broker = Some(Peer::tailwater(&lab.tailwater("broker", &start)?)?);
        }
        Ok(lab)
    }

    fn cpu(&self, core: Core) -> usize {
        match core {
            Core::Broker => self.plan.broker_cpu,
            Core::Client => self.client_cpu(),
        }
    }

    fn client_cpu(&self) -> usize {
        self.plan.client_cpus[0]
    }

    fn tailwater(&self, name: &str, start: &Own) -> anyhow::Result<TailwaterPlan> {
        let data_dir = self.plan.scratch.join(name);
        if data_dir.exists() {
            std::fs::remove_dir_all(&data_dir)?;
        }
        let flags = start.flags.iter().map(|flag| (*flag).to_owned());
        Ok(TailwaterPlan {
            binary: self
                .plan
                .broker
                .clone()
                .context("this row starts the broker itself: it needs --broker")?,
            data_dir,
            cpus: vec![self.cpu(start.on)],
            shards: start.shards,
            poll: start.poll.to_owned(),
            flags: flags
                .chain(self.plan.broker_flags.iter().cloned())
                .collect(),
        })
    }

    /// The brokers that were started here stand still while something else is measured on their core.
    fn quiet(&self, but: Runs) -> anyhow::Result<Vec<Paused>> {
        let others = [(Runs::Broker, &self.broker), (Runs::Spinner, &self.spinner)];
        let others = others.into_iter().filter(|(which, _)| *which != but);
        others
            .filter_map(|(_, peer)| Some(peer.as_ref()?.paused()))
            .collect()
    }

    /// Carries one row out, while the other brokers that were started here stand still.
    pub(crate) fn measure(&mut self, work: &Work) -> anyhow::Result<Measured> {
        let runs = match work {
            Work::Load(_) => Runs::Broker,
            Work::Spinning(_) => Runs::Spinner,
            _ => Runs::Neither,
        };
        if runs == Runs::Spinner && self.spinner.is_none() {
            let start = Own {
                shards: 1,
                on: Core::Broker,
                poll: "spin",
                flags: &[],
            };
            let plan = self.tailwater("spinner", &start)?;
            self.spinner = Some(Peer::tailwater(&plan)?);
        }
        let _quiet = self.quiet(runs)?;
        let (slice_ns, broker_cpu, client_cpu) =
            (self.plan.slice_ns, self.plan.broker_cpu, self.client_cpu());
        match work {
            Work::Load(workload) => {
                let started = self.broker.as_ref().map(|broker| (broker.addr, broker.pid));
                let addr = started.map(|(addr, _)| addr).or(self.plan.against);
                self.load(
                    addr.context("a broker")?,
                    started.map(|(_, pid)| pid),
                    workload,
                )
            }
            Work::Spinning(workload) => {
                let spinner = self.spinner.as_ref().context("just started")?;
                let (addr, pid) = (spinner.addr, spinner.pid);
                self.load(addr, Some(pid), workload)
            }
            Work::Kafka(workload) => {
                let (addr, pid) = self.kafka()?;
                self.load(addr, Some(pid), workload)
            }
            Work::Discard(workload) => self.discard(workload),
            Work::RawDisk { on } => Ok(latency_of(self.raw.run(self.cpu(*on), slice_ns)?)),
            Work::RoundTrip { wait } => {
                let (request_bytes, answer_bytes) = TRIP;
                let trip = Trip {
                    request_bytes,
                    answer_bytes,
                    wait: *wait,
                };
                Ok(latency_of(references::round_trips(
                    trip, broker_cpu, client_cpu, slice_ns,
                )?))
            }
            Work::DirectReads => Ok(read_rate(self.raw.reads(broker_cpu, slice_ns)?)),
            Work::Loopback => self.loopback(),
            Work::Redis => {
                let addr = self.redis()?;
                Ok(latency_of(references::redis_sets(
                    addr, 1024, client_cpu, slice_ns,
                )?))
            }
            Work::Start => self.start(),
            Work::Restart => self.restart(),
            Work::Own { start, load } => self.own(start, load),
        }
    }

    /// A load on a sink, which spins on the broker's core.
    fn discard(&mut self, workload: &Workload) -> anyhow::Result<Measured> {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (cpu, wait) = (Some(self.plan.broker_cpu), Wait::Spin);
        let sink = Sink::start(SinkPlan {
            listen,
            cpu,
            wait,
            stall: None,
        })?;
        self.load(sink.addr, None, workload)
    }

    fn loopback(&self) -> anyhow::Result<Measured> {
        let (server, client) = (self.plan.broker_cpu, self.client_cpu());
        let began = Instant::now();
        let times = references::round_trips(BULK, server, client, self.plan.slice_ns)?;
        let bytes = (times.len() + references::WARM_UP as u64) * BULK.answer_bytes as u64;
        Ok(read_rate(bytes as f64 / began.elapsed().as_secs_f64()))
    }

    /// A load on a broker of the row's own.
    fn own(&mut self, start: &Own, load: &Workload) -> anyhow::Result<Measured> {
        let peer = Peer::tailwater(&self.tailwater("own", start)?)?;
        let usual = self.plan.client_cpus.clone();
        // The two change places: they never share a core.
        if start.on == Core::Client {
            self.plan.client_cpus = vec![self.plan.broker_cpu];
        }
        let measured = self.load(peer.addr, Some(peer.pid), load);
        self.plan.client_cpus = usual;
        measured
    }

    fn redis(&mut self) -> anyhow::Result<SocketAddr> {
        let (dir, cpu) = (self.plan.scratch.join("redis"), self.plan.broker_cpu);
        let started = self
            .redis
            .get_or_insert_with(|| Peer::redis(&dir, cpu).map_err(|error| format!("{error:#}")));
        started
            .as_ref()
            .map(|peer| peer.addr)
            .map_err(|reason| anyhow::anyhow!("{reason}"))
    }

    fn kafka(&mut self) -> anyhow::Result<(SocketAddr, u32)> {
        ensure!(self.plan.with_kafka, "left out by --no-kafka");
        if self.kafka.is_none() {
            let dir = self.plan.scratch.join("kafka");
            if dir.exists() {
                std::fs::remove_dir_all(&dir)?;
            }
            std::fs::create_dir_all(&dir)?;
            println!("  starting a Kafka and warming it up");
            let started = Peer::kafka(&dir, self.plan.broker_cpu, &[]);
            if let Ok(peer) = &started {
                let warm_up = Workload {
                    pace: Pace::Closed { depth: 4 },
                    connections: 4,
                    tail_readers: 1,
                    ..Workload::plain()
                };
                self.run_load(peer.addr, None, &warm_up, KAFKA_WARM_UP_NS)?;
            }
            self.kafka = Some(started.map_err(|error| format!("{error:#}")));
        }
        match self.kafka.as_ref().context("just set")? {
            Ok(peer) => Ok((peer.addr, peer.pid)),
            Err(reason) => Err(anyhow::anyhow!("{reason}")),
        }
    }

    fn load(
        &mut self,
        addr: SocketAddr,
        pid: Option<u32>,
        workload: &Workload,
    ) -> anyhow::Result<Measured> {
        let lasting_ns = self.plan.slice_ns * workload.times_as_long;
        let outcome = self.run_load(addr, pid, workload, lasting_ns)?;
        let mut measured = of_outcome(&outcome, workload);
        if let Some(spent_ns) = outcome.broker_cpu_ns.filter(|_| outcome.records > 0) {
            // It was spent on the records of the warm-up, too.
            let seconds = (outcome.lasting_ns + WARM_UP_NS) as f64 / SECOND_NS as f64;
            let us = spent_ns as f64 / 1e3 / (outcome.per_second() * seconds);
            measured.facts.insert("broker CPU us/record", us);
        }
        Ok(measured)
    }

    /// Makes the topics, carries the load out, deletes them.
    pub(crate) fn run_load(
        &mut self,
        addr: SocketAddr,
        pid: Option<u32>,
        workload: &Workload,
        lasting_ns: u64,
    ) -> anyhow::Result<Outcome> {
        self.topics += 1;
        let topic = format!("perf-{}-{}", std::process::id(), self.topics);
        let old = format!("{topic}-old");
        let mut control = Control::open(addr)?;
        let reads = workload.reads();
        control.check_versions(reads)?;
        let configs = workload.configs;
        let new = NewTopic {
            name: &topic,
            partitions: workload.partitions,
            configs,
        };
        control.create(&new, reads)?;
        let mut readers =
            vec![reader(&topic, workload.partitions, Reads::Tail); workload.tail_readers];
        match workload.beside {
            Beside::Nothing => {}
            Beside::Backfill { mib } => {
                let backfill = NewTopic {
                    name: &old,
                    partitions: 1,
                    configs: &[],
                };
                control.create(&backfill, true)?;
                self.fill(addr, &old, mib)?;
                readers.push(reader(&old, 1, Reads::Again));
            }
            Beside::Backlog { mib } => {
                self.fill(addr, &topic, mib)?;
                readers.push(reader(&topic, workload.partitions, Reads::Backlog));
            }
        }
        let before_ns = pid.map(machine::cpu_ns);
        let ran = load::run(&Load {
            addr,
            topic: topic.clone(),
            partitions: workload.partitions,
            acks: workload.acks,
            shape: workload.shape,
            connections: workload.connections,
            pace: workload.pace,
            wait: workload.wait,
            readers,
            cpus: self.plan.client_cpus.clone(),
            warm_up_ns: WARM_UP_NS,
            lasting_ns,
        });
        let spent_ns = pid
            .zip(before_ns)
            .map(|(pid, before)| machine::cpu_ns(pid).saturating_sub(before));
        // Deleted whatever came of it, so that rows do not fill the disk.
        let deleted = control.delete(&topic);
        let outcome = Outcome {
            broker_cpu_ns: spent_ns,
            ..ran?
        };
        deleted?;
        if matches!(workload.beside, Beside::Backfill { .. }) {
            control.delete(&old)?;
        }
        Ok(outcome)
    }

    /// Writes at least `mib` MiB to partition 0 of a topic, in large batches.
    fn fill(&self, addr: SocketAddr, topic: &str, mib: u64) -> anyhow::Result<()> {
        let shape = Shape {
            value_bytes: 1024,
            key_bytes: 0,
            records: 200,
            batches: 1,
        };
        let mut written = 0;
        while written < mib << 10 {
            let outcome = load::run(&Load {
                addr,
                topic: topic.to_owned(),
                partitions: 1,
                acks: -1,
                shape,
                connections: 4,
                pace: Pace::Closed { depth: 2 },
                wait: Wait::Spin,
                readers: Vec::new(),
                cpus: self.plan.client_cpus.clone(),
                warm_up_ns: 0,
                lasting_ns: SECOND_NS / 4,
            })?;
            ensure!(outcome.records > 0, "old data could not be written");
            written += outcome.records;
        }
        Ok(())
    }

    /// A broker is started on an empty directory and left alone for a second.
    fn start(&mut self) -> anyhow::Result<Measured> {
        let start = Own {
            shards: 1,
            on: Core::Broker,
            poll: "park",
            flags: &[],
        };
        let broker = Peer::tailwater(&self.tailwater("start", &start)?)?;
        let took = control::await_answer(broker.addr, broker.began, RESTART_MAX)?;
        std::thread::sleep(Duration::from_secs(1));
        Ok(first_answer(took, &broker))
    }

    /// A broker is loaded for a second and a half and killed; how long the next one takes to answer.
    fn restart(&mut self) -> anyhow::Result<Measured> {
        let start = Own {
            shards: 1,
            on: Core::Broker,
            poll: "park",
            flags: &[],
        };
        let plan = self.tailwater("restart", &start)?;
        let broker = Peer::tailwater(&plan)?;
        let addr = broker.addr;
        let workload = Workload {
            connections: 16,
            partitions: 100,
            ..Workload::plain()
        };
        let loaded = std::thread::scope(|scope| {
            let load = scope.spawn(|| self.run_load(addr, None, &workload, 60 * SECOND_NS));
            std::thread::sleep(Duration::from_millis(1500));
            broker.kill()?;
            load.join()
                .map_err(|_| anyhow::anyhow!("the load panicked"))
        })?;
        ensure!(loaded.is_err(), "a load outlived its broker");
        let again = Peer::tailwater(&plan)?;
        let took = control::await_answer(again.addr, again.began, RESTART_MAX)?;
        Ok(first_answer(took, &again))
    }
}

/// Which of the brokers that were started here is not to stand still.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runs {
    Neither,
    Broker,
    Spinner,
}

fn first_answer(took: Duration, broker: &Peer) -> Measured {
    let resident = machine::resident_kib(broker.pid) as f64 / 1024.0;
    let facts = [
        ("to the first answer, ms", took.as_secs_f64() * 1e3),
        ("resident MiB", resident),
    ];
    Measured {
        facts: BTreeMap::from(facts),
        ..Measured::default()
    }
}

fn reader(topic: &str, partitions: usize, reads: Reads) -> ReaderPlan {
    ReaderPlan {
        topic: topic.to_owned(),
        partitions,
        reads,
    }
}

fn read_rate(bytes_per_second: f64) -> Measured {
    let facts = BTreeMap::from([("read MB/s", bytes_per_second / 1e6)]);
    Measured {
        facts,
        ..Measured::default()
    }
}

fn latency_of(times: Times) -> Measured {
    let histograms = BTreeMap::from([("latency", times)]);
    Measured {
        histograms,
        facts: BTreeMap::new(),
    }
}

fn of_outcome(outcome: &Outcome, workload: &Workload) -> Measured {
    let mut measured = Measured::default();
    for (name, times) in [
        ("latency", &outcome.latency),
        ("send delay", &outcome.send_delay),
        ("produce to consume", &outcome.consume),
    ] {
        if times.len() > 0 {
            measured.histograms.insert(name, times.clone());
        }
    }
    if workload.acks != 0 {
        measured.facts.insert("records/s", outcome.per_second());
        measured
            .facts
            .insert("unanswered", outcome.unanswered as f64);
    }
    let seconds = outcome.lasting_ns as f64 / SECOND_NS as f64;
    if workload.beside != Beside::Nothing {
        measured
            .facts
            .insert("read MB/s", outcome.read_bytes as f64 / 1e6 / seconds);
    }
    if let (Some(ns), Beside::Backlog { .. }) = (outcome.caught_up_ns, workload.beside) {
        measured
            .facts
            .insert("drained after, s", ns as f64 / SECOND_NS as f64);
    }
    measured
}
