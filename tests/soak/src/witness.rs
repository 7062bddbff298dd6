//! The client that behaves: an idempotent producer at acks=all and a consumer on the tail, for
//! each partition a pair of its own.
//!
//! A producer sends one record after the other, a few hundred a second, and measures how long each
//! waits for its acknowledgement; the consumer measures how long after its sending a record was
//! there. The consumer reads everything from the start on and checks that the records are those
//! that were sent, in order, once, each at the offset that was acknowledged.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tailwater_record::{HEADER_BYTES, RecordIter, batches};

use crate::Failure;
use crate::frames::{self, Answer, PARTITIONS, WITNESS};
use crate::stall::Waits;
use crate::times::Times;

/// A producer sends this often, or when its last record has been acknowledged.
const INTERVAL: Duration = Duration::from_millis(4);
/// What its threads are called.
pub(crate) const CLIENT_THREADS: &str = "behaves";
const FETCH_WAIT_MS: i32 = 500;
/// How long the consumer may need for what is left at the end.
const END_MAX: Duration = Duration::from_secs(60);

/// What was measured since it was last taken.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) acknowledged: u64,
    pub(crate) produce: Times,
    pub(crate) consume: Times,
}

/// What the threads share.
struct Shared {
    began: Instant,
    stop: AtomicBool,
    heard: Mutex<Heard>,
    /// Offset of each acknowledged record, by its number; of each partition.
    acknowledged: [Mutex<Vec<i64>>; PARTITIONS as usize],
    total: AtomicU64,
}

/// The running client.
pub(crate) struct Witness {
    shared: Arc<Shared>,
    producers: Vec<JoinHandle<Result<(), Failure>>>,
    consumers: Vec<JoinHandle<Result<u64, Failure>>>,
    waits: Vec<Arc<Waits>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn named<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    let thread = thread::Builder::new().name(CLIENT_THREADS.to_owned());
    thread
        .spawn(run)
        .map_err(|error| format!("a thread: {error}"))
}

impl Witness {
    pub(crate) fn start(addr: SocketAddr) -> Result<Self, Failure> {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            heard: Mutex::default(),
            acknowledged: Default::default(),
            total: AtomicU64::new(0),
        });
        let (mut producers, mut consumers) = (Vec::new(), Vec::new());
        let mut waits = Vec::new();
        for partition in 0..PARTITIONS {
            let producer = Producer::new(addr, partition, Arc::clone(&shared))
                .map_err(|error| format!("the producer that behaves: {error}"))?;
            waits.push(Arc::clone(&producer.waits));
            producers.push(named(move || producer.run())?);
            let consumer = Consumer::new(addr, partition, Arc::clone(&shared))
                .map_err(|error| format!("the consumer that behaves: {error}"))?;
            waits.push(Arc::clone(&consumer.waits));
            consumers.push(named(move || consumer.run())?);
        }
        Ok(Self {
            shared,
            producers,
            consumers,
            waits,
        })
    }

    /// Its connections, and since when each waits for an answer.
    pub(crate) fn waits(&self) -> Vec<Arc<Waits>> {
        self.waits.clone()
    }

    /// What was measured since this was last called.
    pub(crate) fn take(&self) -> Heard {
        std::mem::take(&mut lock(&self.shared.heard))
    }

    /// Ends; everything acknowledged must have been read back.
    pub(crate) fn stop(self) -> Result<Heard, Failure> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for producer in self.producers {
            producer.join().map_err(|_| "a producer panicked")??;
        }
        let mut read = 0;
        for consumer in self.consumers {
            read += consumer.join().map_err(|_| "a consumer panicked")??;
        }
        let acknowledged = self.shared.total.load(Ordering::Relaxed);
        if read != acknowledged || acknowledged == 0 {
            return Err(format!("{acknowledged} acknowledged, {read} read back"));
        }
        Ok(Heard {
            acknowledged,
            ..Heard::default()
        })
    }
}

struct Producer {
    stream: TcpStream,
    partition: i32,
    id: i64,
    epoch: i16,
    shared: Arc<Shared>,
    waits: Arc<Waits>,
}

impl Producer {
    fn new(addr: SocketAddr, partition: i32, shared: Arc<Shared>) -> io::Result<Self> {
        let mut stream = frames::connect(addr)?;
        let answer = frames::call(&mut stream, &frames::init_producer_id())?;
        let mut answer = Answer(&answer);
        answer.i32()?;
        let code = answer.i16()?;
        if code != 0 {
            return Err(io::Error::other(format!("no producer id: error {code}")));
        }
        let (id, epoch) = (answer.i64()?, answer.i16()?);
        let name = format!("the producer of partition {partition}");
        let waits = Waits::new(name, stream.local_addr()?);
        Ok(Self {
            stream,
            partition,
            id,
            epoch,
            shared,
            waits,
        })
    }

    fn run(mut self) -> Result<(), Failure> {
        let of = self.partition;
        let mut number = 0u32;
        let mut due = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let sent = Instant::now();
            let offset = self
                .send(number, sent)
                .map_err(|error| format!("record {number} of partition {of}: {error}"))?;
            let index = usize::try_from(of).unwrap_or(0);
            lock(&self.shared.acknowledged[index]).push(offset);
            self.shared.total.fetch_add(1, Ordering::Relaxed);
            let mut heard = lock(&self.shared.heard);
            heard.acknowledged += 1;
            heard.produce.push(sent.elapsed());
            drop(heard);
            number += 1;
            due = (due + INTERVAL).max(Instant::now());
            thread::sleep(due.saturating_duration_since(Instant::now()).min(INTERVAL));
        }
        Ok(())
    }

    /// The record holds its number and when it was sent.
    fn send(&mut self, number: u32, sent: Instant) -> io::Result<i64> {
        let at = sent.duration_since(self.shared.began).as_nanos();
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        let mut value = [0x5a; 100];
        value[..4].copy_from_slice(&number.to_be_bytes());
        value[4..12].copy_from_slice(&at.to_be_bytes());
        let sequence = i32::try_from(number).map_err(io::Error::other)?;
        let batch = frames::batch(&value, Some((self.id, self.epoch, sequence)));
        let request = frames::produce(WITNESS, self.partition, &batch);
        let answer = self
            .waits
            .during(|| frames::call(&mut self.stream, &request));
        frames::produced(&answer?)
    }
}

struct Consumer {
    stream: TcpStream,
    partition: i32,
    shared: Arc<Shared>,
    waits: Arc<Waits>,
    next: u32,
}

impl Consumer {
    fn new(addr: SocketAddr, partition: i32, shared: Arc<Shared>) -> io::Result<Self> {
        let stream = frames::connect(addr)?;
        let name = format!("the consumer of partition {partition}");
        let waits = Waits::new(name, stream.local_addr()?);
        Ok(Self {
            stream,
            partition,
            shared,
            waits,
            next: 0,
        })
    }

    /// How many records it has read.
    fn run(mut self) -> Result<u64, Failure> {
        let index = usize::try_from(self.partition).unwrap_or(0);
        let mut ends = None;
        loop {
            let request = frames::fetch(WITNESS, self.partition, self.next.into(), FETCH_WAIT_MS);
            let answer = self
                .waits
                .during(|| frames::call(&mut self.stream, &request))
                .map_err(|error| format!("fetching record {}: {error}", self.next))?;
            let records = frames::fetched(&answer).map_err(|error| error.to_string())?;
            self.check(records)?;
            if !self.shared.stop.load(Ordering::Relaxed) {
                continue;
            }
            let sent = lock(&self.shared.acknowledged[index]).len();
            // The producer may be in the middle of its last one.
            let until = *ends.get_or_insert_with(|| Instant::now() + END_MAX);
            if records.is_empty() && self.next as usize == sent {
                break;
            }
            if Instant::now() > until {
                return Err(format!("{sent} acknowledged, {} read", self.next));
            }
        }
        self.compare(&lock(&self.shared.acknowledged[index]))?;
        Ok(u64::from(self.next))
    }

    /// The next numbers, each at the next offset.
    fn check(&mut self, records: &[u8]) -> Result<(), Failure> {
        let broken = |what: String, next: u32| format!("where record {next} belongs: {what}");
        for batch in batches(records) {
            let batch = batch.map_err(|error| broken(error.to_string(), self.next))?;
            let payload = &records[batch.range.start + HEADER_BYTES..batch.range.end];
            for record in RecordIter::new(payload, batch.header.record_count) {
                let record = record.map_err(|error| broken(error.to_string(), self.next))?;
                let value = record.value.unwrap_or_default();
                let mut fields = Answer(value);
                let number = fields.i32().map_err(|error| error.to_string())?;
                let at = fields.i64().map_err(|error| error.to_string())?;
                let offset = batch.header.base_offset + i64::from(record.offset_delta);
                if i64::from(number) != i64::from(self.next) || offset != i64::from(self.next) {
                    let found = format!("record {number} at offset {offset}");
                    return Err(broken(found, self.next));
                }
                let sent = Duration::from_nanos(u64::try_from(at).unwrap_or(0));
                let took = self.shared.began.elapsed().saturating_sub(sent);
                lock(&self.shared.heard).consume.push(took);
                self.next += 1;
            }
        }
        Ok(())
    }

    /// Each was acknowledged at the offset that it was read at: its number.
    fn compare(&self, acknowledged: &[i64]) -> Result<(), Failure> {
        for (number, offset) in acknowledged.iter().enumerate() {
            if i64::try_from(number) != Ok(*offset) {
                return Err(format!("record {number} was acknowledged at {offset}"));
            }
        }
        Ok(())
    }
}
