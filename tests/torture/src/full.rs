//! A disk that fills up and is freed again, with the broker on it all the while.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use crate::admin::Admin;
use crate::broker::{Broker, Flags, Site};
use crate::disk::{Disk, Mount};
use crate::failure::{Failure, fail};
use crate::kill::sleep;
use crate::load::consumer;
use crate::record::{Id, identify, value};
use crate::rng::Rng;
use crate::summary::Summary;

const CAPACITY_BYTES: u64 = 512 << 20;
/// Produce is refused below this much free space.
const RESERVE: &str = "160MiB";
const STEP: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(60);
const KEPT: &str = "kept";
const BALLAST: &str = "ballast";
const BALLAST_BYTES: usize = 100_000;
/// So many small records may still be taken once large ones are refused.
const REFUSALS_MAX: u64 = 20_000;

type Answer = Result<i64, RDKafkaErrorCode>;

struct Answers(Sender<Answer>);
impl ClientContext for Answers {}
impl ProducerContext for Answers {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let answer = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error
                .rdkafka_error_code()
                .unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        // Nobody listens to a producer that is going away.
        let _ = self.0.send(answer);
    }
}

/// Sends one record at a time and never again: an error is seen as the broker gave it.
struct Sending {
    producer: ThreadedProducer<Answers>,
    answers: Receiver<Answer>,
}

impl Sending {
    fn new(bootstrap: &str) -> Result<Self, Failure> {
        let (sender, answers) = channel();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("acks", "all")
            .set("retries", "0")
            .set("linger.ms", "0")
            .create_with_context(Answers(sender))?;
        Ok(Self { producer, answers })
    }

    fn send(&self, topic: &str, value: &[u8]) -> Result<Answer, Failure> {
        let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(topic).partition(0).payload(value);
        self.producer.send(record).map_err(|(error, _)| error)?;
        match self.answers.recv_timeout(WAIT_MAX) {
            Ok(answer) => Ok(answer),
            Err(_) => fail(format!("no answer to a record for {topic}")),
        }
    }
}

pub(crate) struct FullRun {
    pub(crate) site: Site,
    pub(crate) mountpoint: std::path::PathBuf,
    pub(crate) seed: u64,
    pub(crate) rounds: u64,
}

/// What was acknowledged in `KEPT`: the number of the record at each offset.
type Kept = Vec<u64>;

impl FullRun {
    pub(crate) fn run(self, summary: &mut Summary) -> Result<(), Failure> {
        let mut disk = Disk::new(None);
        disk.capacity_bytes = CAPACITY_BYTES;
        let disk = Arc::new(Mutex::new(disk));
        let mount = Mount::new(&disk, &self.mountpoint)?;
        let mut rng = Rng::new(self.seed);
        let bootstrap = self.site.bootstrap();
        let mut flags = self.flags(&mut rng);
        let (mut broker, _) = self.site.start(&flags)?;
        Admin::new(&bootstrap)?.create(KEPT, 1, &[])?;
        let mut kept = Kept::new();
        let mut next = 0;
        for round in 1..=self.rounds {
            let line = self.round(&disk, &mut kept, &mut next)?;
            broker.kill()?;
            flags = self.flags(&mut rng);
            let recovery;
            (broker, recovery) = self.site.start(&flags)?;
            let read = self.read(&kept)?;
            println!("round {round}: {line}; after kill -9 all {read} are there");
            summary.round(&recovery, 1, read);
        }
        self.end(broker, mount)
    }

    fn end(&self, broker: Broker, mount: Mount) -> Result<(), Failure> {
        broker.stop()?;
        mount.unmount(&self.mountpoint)
    }

    fn flags(&self, rng: &mut Rng) -> Flags {
        Flags::drawn(rng, self.site.engines).with("--disk-reserve", RESERVE)
    }

    fn keep(&self, sending: &Sending, kept: &mut Kept, next: &mut u64) -> Result<bool, Failure> {
        let id = Id {
            writer: 1,
            number: *next,
        };
        *next += 1;
        match sending.send(KEPT, &value(self.seed, id))? {
            Ok(offset) if usize::try_from(offset) == Ok(kept.len()) => {
                kept.push(id.number);
                Ok(true)
            }
            Ok(offset) => fail(format!("acknowledged at {offset}, not {}", kept.len())),
            Err(RDKafkaErrorCode::KafkaStorageError) => Ok(false),
            Err(error) => fail(format!("a full disk is answered with {error}")),
        }
    }

    /// Fills the disk until produce is refused, reads, deletes, and produces again.
    fn round(
        &self,
        disk: &Mutex<Disk>,
        kept: &mut Kept,
        next: &mut u64,
    ) -> Result<String, Failure> {
        let bootstrap = self.site.bootstrap();
        let (admin, sending) = (Admin::new(&bootstrap)?, Sending::new(&bootstrap)?);
        admin.create(BALLAST, 1, &[("segment.bytes", "16777216")])?;
        let free = || disk.lock().expect("no holder panics").free_bytes() >> 20;
        let ballast = vec![7; BALLAST_BYTES];
        let (mut sent, mut refusals) = (0u64, 0u64);
        // A large record is refused a little before a small one of another topic.
        while self.keep(&sending, kept, next)? {
            match sending.send(BALLAST, &ballast)? {
                Ok(_) => sent += 1,
                Err(RDKafkaErrorCode::KafkaStorageError) => refusals += 1,
                Err(error) => return fail(format!("a full disk is answered with {error}")),
            }
            if refusals == 0 && sent * BALLAST_BYTES as u64 > 2 * CAPACITY_BYTES {
                return fail("more was acknowledged than the disk holds, and nothing refused");
            }
            if refusals > REFUSALS_MAX {
                return fail(format!(
                    "small records are acknowledged after {refusals} refusals"
                ));
            }
        }
        let full = free();
        let read = self.read(kept)?;
        admin.delete(BALLAST)?;
        let deleted = Instant::now();
        while !self.keep(&sending, kept, next)? {
            if deleted.elapsed() > WAIT_MAX {
                return fail(format!("still refused {WAIT_MAX:?} after the deletion"));
            }
            sleep(STEP);
        }
        let refused = disk.lock().expect("no holder panics").refused;
        if refused > 0 {
            return fail(format!("{refused} writes ran into the end of the disk"));
        }
        Ok(format!(
            "refused with KAFKA_STORAGE_ERROR after {sent} records of {BALLAST_BYTES} bytes, {full} MiB free; \
             {read} other records read meanwhile; produce went on {ms} ms after the deletion, {now} MiB free",
            ms = deleted.elapsed().as_millis(),
            now = free(),
        ))
    }

    /// Everything acknowledged in `KEPT` is there, in order, and nothing besides.
    fn read(&self, kept: &Kept) -> Result<u64, Failure> {
        let consumer = consumer(&self.site.bootstrap())?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(KEPT, 0, Offset::Offset(0))?;
        consumer.assign(&list)?;
        let (start, end) = consumer.fetch_watermarks(KEPT, 0, WAIT_MAX)?;
        if start != 0 || usize::try_from(end) != Ok(kept.len()) {
            return fail(format!("{start}..{end} are there of {}", kept.len()));
        }
        for number in kept {
            let Some(message) = consumer.poll(WAIT_MAX) else {
                return fail(format!("record {number} does not come"));
            };
            let id = identify(self.seed, message?.payload().unwrap_or_default());
            if id.map(|id| id.number) != Some(*number) {
                return fail(format!("{id:?} is where {number} was acknowledged"));
            }
        }
        Ok(kept.len() as u64)
    }
}
