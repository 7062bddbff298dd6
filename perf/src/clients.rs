//! Producers that are not ours: librdkafka and the Java client, as they come, each a process of its
//! own on the client's core. They say when they have warmed up and how much was acknowledged since.
//!
//! Stock settings; acks=all is what both have by default. Records of 1 KiB that do not compress, no
//! keys, to a topic of [`PARTITIONS`] partitions.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use crate::peers;
use crate::suite::Client;

/// Of the topic that is produced to.
pub(crate) const PARTITIONS: usize = 16;

const VALUE_BYTES: usize = 1024;
/// A Java program is compiled while it runs.
const JAVA_WARM_UP: Duration = Duration::from_secs(6);
const WARM_UP: Duration = Duration::from_secs(1);
/// So long one that has failed may take to say why, and end.
const COMPLAINT_MAX: Duration = Duration::from_secs(2);
/// Records between two looks at the clock.
const STRIDE: usize = 256;

/// What a client reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reached {
    pub(crate) records: u64,
    pub(crate) nanos: u64,
}

impl Reached {
    pub(crate) fn per_second(&self) -> f64 {
        self.records as f64 * 1e9 / self.nanos.max(1) as f64
    }
}

/// Lets a client produce on core `cpu`; `at` is called when what counts begins and when it has
/// ended.
pub(crate) fn run(
    client: Client,
    addr: SocketAddr,
    topic: &str,
    lasting: Duration,
    cpu: usize,
    at: impl FnMut(),
) -> anyhow::Result<Reached> {
    let mut command = Command::new("taskset");
    command.args(["-c", &cpu.to_string()]);
    let warm_up = match client {
        Client::Librdkafka => {
            command.arg(std::env::current_exe()?).arg("librdkafka");
            WARM_UP
        }
        Client::Java => {
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/java"));
            JAVA_WARM_UP
        }
    };
    command.args([addr.to_string(), topic.to_owned()]);
    command.args([warm_up, lasting].map(|time| time.as_millis().to_string()));
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("taskset")?;
    peers::is_running(child.id(), true);
    let mut process = Process(child);
    let told = process.listen(at);
    match told {
        Ok(reached) => Ok(reached),
        Err(error) => bail!("{client:?}: {error:#}{}", process.complaint()),
    }
}

/// Ends when dropped.
struct Process(Child);

impl Process {
    /// `begin`, then `end RECORDS NANOSECONDS`.
    fn listen(&mut self, mut at: impl FnMut()) -> anyhow::Result<Reached> {
        let output = self.0.stdout.take().context("its output is piped")?;
        let mut lines = BufReader::new(output).lines();
        let mut next = || lines.next().transpose();
        let first = next()?.context("it ended before it had begun")?;
        anyhow::ensure!(first == "begin", "it said {first:?}");
        at();
        let last = next()?.context("it ended too early")?;
        at();
        let mut words = last.strip_prefix("end ").unwrap_or_default().split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let reached = number().zip(number());
        let (records, nanos) = reached.with_context(|| format!("it said {last:?}"))?;
        Ok(Reached { records, nanos })
    }

    /// The last thing that it said before it failed, if it has ended by itself.
    fn complaint(&mut self) -> String {
        let began = Instant::now();
        while began.elapsed() < COMPLAINT_MAX && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // One that still runs may go on complaining for ever.
        let _ = self.0.kill();
        let lines = self.0.stderr.take().map(|it| BufReader::new(it).lines());
        let last = lines.and_then(|lines| lines.map_while(Result::ok).last());
        last.map_or(String::new(), |line| format!(" ({line})"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        peers::is_running(self.0.id(), false);
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What came of the records that librdkafka was given.
#[derive(Default)]
struct Delivered {
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

#[derive(Clone, Default)]
struct Deliveries(Arc<Delivered>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = match result {
            Ok(_) => &self.0.acknowledged,
            Err(_) => &self.0.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the process of librdkafka does.
pub(crate) fn librdkafka(
    addr: SocketAddr,
    topic: &str,
    warm_up: Duration,
    lasting: Duration,
) -> anyhow::Result<()> {
    let deliveries = Deliveries::default();
    let producer: BaseProducer<Deliveries> = ClientConfig::new()
        .set("bootstrap.servers", addr.to_string())
        .create_with_context(deliveries.clone())?;
    let mut noise = crate::frames::Noise::new(1);
    let value: Vec<u8> = (0..VALUE_BYTES).map(|_| noise.next() as u8).collect();
    let began = Instant::now();
    let mut counted: Option<(Instant, u64)> = None;
    loop {
        for _ in 0..STRIDE {
            give(&producer, topic, &value)?;
        }
        producer.poll(Duration::ZERO);
        let refused = deliveries.0.refused.load(Ordering::Relaxed);
        anyhow::ensure!(refused == 0, "{refused} records were refused");
        let acknowledged = deliveries.0.acknowledged.load(Ordering::Relaxed);
        match counted {
            None if began.elapsed() >= warm_up => {
                say("begin")?;
                counted = Some((Instant::now(), acknowledged));
            }
            Some((since, before)) if since.elapsed() >= lasting => {
                let nanos = since.elapsed().as_nanos();
                say(&format!("end {} {nanos}", acknowledged - before))?;
                producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
                return Ok(());
            }
            _ => {}
        }
    }
}

/// Waits, taking deliveries, while its queue is full.
fn give(producer: &BaseProducer<Deliveries>, topic: &str, value: &[u8]) -> anyhow::Result<()> {
    loop {
        let record = BaseRecord::<(), [u8]>::to(topic).payload(value);
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &str) -> anyhow::Result<(Reached, usize)> {
        let child = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut process, mut times) = (Process(child), 0);
        let reached = process.listen(|| times += 1);
        let reached = reached.map_err(|error| anyhow::anyhow!("{error}{}", process.complaint()))?;
        Ok((reached, times))
    }

    #[test]
    fn a_client_says_what_it_reached_or_why_it_did_not() {
        let reached = Reached {
            records: 300,
            nanos: 2_000_000_000,
        };
        assert_eq!(
            said("echo begin; echo end 300 2000000000").unwrap(),
            (reached, 2)
        );
        assert_eq!(reached.per_second(), 150.0);
        for script in [
            "echo no java >&2; exit 1",
            "echo begin; echo no java >&2",
            "echo begin; echo end 3; echo no java >&2",
        ] {
            let why = said(script).unwrap_err().to_string();
            assert!(why.ends_with("(no java)"), "{why}");
        }
    }

    #[test]
    fn librdkafka_produces_to_the_sink() {
        let sink = crate::sink::Sink::start(crate::sink::SinkPlan {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            cpu: None,
            wait: crate::poller::Wait::Park,
            stall: None,
        })
        .unwrap();
        let tenth = Duration::from_millis(100);
        librdkafka(sink.addr, "t", tenth, tenth).unwrap();
    }
}
