//! Carries rows out: the brokers that are measured, the references beside them, and the cores.

mod loads;
mod measured;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::clients;
use crate::clock::SECOND_NS;
use crate::control::{self, Control, NewTopic};
use crate::hop;
use crate::load::Pace;
use crate::peers::{Paused, Peer, TailwaterPlan};
use crate::poller::Wait;
use crate::references::{self, RawDisk, Trip};
use crate::sink::{Sink, SinkPlan};
use crate::suite::{Client, Core, On, Own, Work, Workload};
use loads::Used;

pub(crate) use measured::Measured;

/// Where everything is.
pub(crate) struct LabPlan {
    /// A broker that runs already.
    pub(crate) against: Option<SocketAddr>,
    /// The program of a broker to be started here.
    pub(crate) broker: Option<PathBuf>,
    /// Flags for it beyond those that place it.
    pub(crate) broker_flags: Vec<String>,
    pub(crate) scratch: PathBuf,
    /// The first is the usual one; a row's shards go round on all of them.
    pub(crate) broker_cpus: Vec<usize>,
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

/// A Java program is compiled while it runs: so long it is loaded before it counts.
const KAFKA_WARM_UP_NS: u64 = 15 * SECOND_NS;
const RESTART_MAX: Duration = Duration::from_secs(60);
/// What a round trip of a produce request of 1 KiB carries.
const TRIP: (usize, usize) = (1170, 70);

/// A Kafka that stands still while other rows are measured is not to lose its session meanwhile:
/// the one setting that it does not have by default.
const KAFKA_CONFIGS: &[&str] = &["broker.session.timeout.ms=1000000000"];

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
            Core::Broker => self.plan.broker_cpus[0],
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
            cpus: match start.on {
                Core::Broker if start.shards > 1 => self.plan.broker_cpus.clone(),
                on => vec![self.cpu(on)],
            },
            shards: start.shards,
            poll: start.poll.to_owned(),
            flags: flags
                .chain(self.plan.broker_flags.iter().cloned())
                .collect(),
        })
    }

    /// Whoever was started here stands still while something else is measured on its core, and what
    /// it has left to be written back is on the disk.
    fn quiet(&self, but: Runs) -> anyhow::Result<Vec<Paused>> {
        let started = |peer: &'_ Option<Result<Peer, String>>| matches!(peer, Some(Ok(_)));
        let peers = [
            (Runs::Broker, self.broker.as_ref()),
            (Runs::Spinner, self.spinner.as_ref()),
            (
                Runs::Kafka,
                self.kafka.as_ref().and_then(|it| it.as_ref().ok()),
            ),
            (
                Runs::Redis,
                self.redis.as_ref().and_then(|it| it.as_ref().ok()),
            ),
        ];
        let others = peers.into_iter().filter(|(which, _)| *which != but);
        let paused: Vec<_> = others
            .filter_map(|(_, peer)| Some(peer?.paused()))
            .collect::<anyhow::Result<_>>()?;
        if started(&self.kafka) || started(&self.redis) {
            let dir = std::fs::File::open(&self.plan.scratch)?;
            rustix::fs::syncfs(dir).context("writing back what peers have written")?;
        }
        Ok(paused)
    }

    /// Carries one row out, while the other brokers that were started here stand still.
    pub(crate) fn measure(&mut self, work: &Work) -> anyhow::Result<Measured> {
        let runs = Runs::of(work);
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
        let (slice_ns, broker_cpu, client_cpu) = (
            self.plan.slice_ns,
            self.plan.broker_cpus[0],
            self.client_cpu(),
        );
        match work {
            Work::Load(workload) => {
                let (addr, pid) = self.broker_under_measurement()?;
                self.load(addr, pid, workload)
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
            Work::RawDisk { on } => {
                Ok(Measured::of_latency(self.raw.run(self.cpu(*on), slice_ns)?))
            }
            Work::RawDiskAt { rate } => Ok(Measured::of_latency(
                self.raw.run_at(*rate, broker_cpu, client_cpu, slice_ns)?,
            )),
            Work::RoundTrip { wait } => {
                let (request_bytes, answer_bytes) = TRIP;
                let trip = Trip {
                    request_bytes,
                    answer_bytes,
                    wait: *wait,
                };
                Ok(Measured::of_latency(references::round_trips(
                    trip, broker_cpu, client_cpu, slice_ns,
                )?))
            }
            Work::DirectReads => Ok(Measured::of_reads(self.raw.reads(broker_cpu, slice_ns)?)),
            Work::Loopback => Ok(Measured::of_reads(references::stream(
                broker_cpu, client_cpu, slice_ns,
            )?)),
            Work::Hop => Ok(Measured::of_latency(hop::in_a_process(
                [broker_cpu, client_cpu],
                slice_ns,
            )?)),
            Work::Client { client, on } => self.client(*client, *on),
            Work::OwnClient { start, client } => {
                let peer = Peer::tailwater(&self.tailwater("own", start)?)?;
                self.client_on(*client, peer.addr, Some(peer.pid))
            }
            Work::Redis => {
                let addr = self.redis()?;
                Ok(Measured::of_latency(references::redis_sets(
                    addr, 1024, client_cpu, slice_ns,
                )?))
            }
            Work::Start => self.start(),
            Work::Restart => self.restart(),
            Work::Own { start, load } => self.own(start, load),
        }
    }

    /// A load on a sink.
    fn discard(&mut self, workload: &Workload) -> anyhow::Result<Measured> {
        let sink = self.sink()?;
        self.load(sink.addr, None, workload)
    }

    /// It spins on the broker's core.
    fn sink(&self) -> anyhow::Result<Sink> {
        Sink::start(SinkPlan {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            cpu: Some(self.plan.broker_cpus[0]),
            wait: Wait::Spin,
            stall: None,
        })
    }

    /// A producer that is not ours, on the client's core.
    fn client(&mut self, client: Client, on: On) -> anyhow::Result<Measured> {
        let sink;
        let (addr, pid) = match on {
            On::Broker => self.broker_under_measurement()?,
            On::Kafka => {
                let (addr, pid) = self.kafka()?;
                (addr, Some(pid))
            }
            On::Discard => {
                sink = self.sink()?;
                (sink.addr, None)
            }
        };
        self.client_on(client, addr, pid)
    }

    fn client_on(
        &mut self,
        client: Client,
        addr: SocketAddr,
        pid: Option<u32>,
    ) -> anyhow::Result<Measured> {
        let topic = self.new_topic();
        let mut control = Control::open(addr)?;
        let new = NewTopic {
            name: &topic,
            partitions: clients::PARTITIONS,
            configs: &[],
        };
        control.create(&new)?;
        let lasting = Duration::from_nanos(self.plan.slice_ns);
        let mut used = Vec::new();
        let ran = clients::run(client, addr, &topic, lasting, self.client_cpu(), || {
            used.extend(pid.map(Used::now));
        });
        control.delete(&topic)?;
        let ran = ran?;
        let mut measured = Measured::of_facts([("records/s", ran.per_second())]);
        if let [before, after] = used.as_slice() {
            let us = after.since(before).cpu_ns as f64 / 1e3 / ran.records.max(1) as f64;
            measured.facts.insert("broker CPU us/record", us);
        }
        Ok(measured)
    }

    /// Where it is, and its process if it was started here.
    fn broker_under_measurement(&self) -> anyhow::Result<(SocketAddr, Option<u32>)> {
        let started = self.broker.as_ref().map(|it| (it.addr, Some(it.pid)));
        started
            .or(self.plan.against.map(|addr| (addr, None)))
            .context("a broker")
    }

    /// A load on a broker of the row's own.
    fn own(&mut self, start: &Own, load: &Workload) -> anyhow::Result<Measured> {
        let peer = Peer::tailwater(&self.tailwater("own", start)?)?;
        let usual = self.plan.client_cpus.clone();
        // The two change places: they never share a core.
        if start.on == Core::Client {
            self.plan.client_cpus = vec![self.plan.broker_cpus[0]];
        }
        let measured = self.load(peer.addr, Some(peer.pid), load);
        self.plan.client_cpus = usual;
        measured
    }

    fn redis(&mut self) -> anyhow::Result<SocketAddr> {
        let (dir, cpu) = (self.plan.scratch.join("redis"), self.plan.broker_cpus[0]);
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
            let started = Peer::kafka(&dir, self.plan.broker_cpus[0], KAFKA_CONFIGS);
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
        Ok(Measured::of_start(took, &broker))
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
        Ok(Measured::of_start(took, &again))
    }
}

/// Which of those that were started here is not to stand still.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runs {
    Neither,
    Broker,
    Spinner,
    Kafka,
    Redis,
}

impl Runs {
    fn of(work: &Work) -> Self {
        match work {
            Work::Load(_) => Self::Broker,
            Work::Spinning(_) => Self::Spinner,
            Work::Kafka(_) => Self::Kafka,
            Work::Redis => Self::Redis,
            Work::Client { on, .. } => match on {
                On::Broker => Self::Broker,
                On::Kafka => Self::Kafka,
                On::Discard => Self::Neither,
            },
            _ => Self::Neither,
        }
    }
}
