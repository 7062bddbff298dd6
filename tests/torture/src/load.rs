//! The load through librdkafka: writers at acks=all, and a reader on the tail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use crate::era::{Plan, WriterSpec};
use crate::failure::Failure;
use crate::ledger::{Ledger, Place};
use crate::record::{Id, identify, value};

const PAUSE: Duration = Duration::from_millis(1);
const POLL: Duration = Duration::from_millis(20);

/// What every client here needs to find a broker again soon after it went.
fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("retry.backoff.ms", "20")
        .set("retry.backoff.max.ms", "200")
        .set("socket.timeout.ms", "10000")
        // A killed broker is no news here.
        .set("log_level", "0");
    config
}

/// What a writer's threads share.
#[derive(Debug)]
struct Shared {
    spec: WriterSpec,
    ledger: Arc<Ledger>,
    sent: AtomicU64,
    answered: AtomicU64,
    paused: AtomicBool,
    finishing: AtomicBool,
}

impl Shared {
    fn unanswered(&self) -> u64 {
        let answered = self.answered.load(Ordering::Acquire);
        self.sent.load(Ordering::Acquire) - answered
    }
}

struct Receipts(Arc<Shared>);

impl ClientContext for Receipts {
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Receipts {
    type DeliveryOpaque = Box<u64>;
    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        let Shared { spec, ledger, .. } = &*self.0;
        let id = Id {
            writer: spec.id,
            number: *number,
        };
        match result {
            Ok(message) => {
                let place = Place {
                    topic: spec.topic.number,
                    partition: message.partition(),
                    offset: message.offset(),
                };
                ledger.acknowledged(place, id);
            }
            Err((error, _)) => ledger.broken(format!("{id:?} was given up: {error}")),
        }
        self.0.answered.fetch_add(1, Ordering::AcqRel);
    }
}

/// A producer that sends until it is told to finish.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Writer {
    pub(crate) fn start(
        bootstrap: &str,
        seed: u64,
        spec: WriterSpec,
        ledger: &Arc<Ledger>,
    ) -> Result<Self, Failure> {
        let shared = Arc::new(Shared {
            spec,
            ledger: Arc::clone(ledger),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            paused: AtomicBool::new(true),
            finishing: AtomicBool::new(false),
        });
        let in_flight = if spec.idempotent { "5" } else { "1" };
        let producer = config(bootstrap)
            .set("acks", "all")
            .set("enable.idempotence", spec.idempotent.to_string())
            .set("max.in.flight.requests.per.connection", in_flight)
            .set("compression.type", spec.codec)
            .set("linger.ms", "2")
            .set("message.timeout.ms", "0")
            .create_with_context(Receipts(Arc::clone(&shared)))?;
        let ours = Arc::clone(&shared);
        let thread = std::thread::spawn(move || write(seed, &producer, &ours));
        Ok(Self { shared, thread })
    }

    pub(crate) fn id(&self) -> u32 {
        self.shared.spec.id
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Release);
    }

    pub(crate) fn finish(&self) {
        self.shared.finishing.store(true, Ordering::Release);
    }

    pub(crate) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    pub(crate) fn unanswered(&self) -> u64 {
        self.shared.unanswered()
    }

    /// How many records it sent.
    pub(crate) fn join(self) -> u64 {
        self.thread.join().expect("a writer does not panic");
        self.shared.sent.load(Ordering::Acquire)
    }
}

fn write(seed: u64, producer: &ThreadedProducer<Receipts>, shared: &Shared) {
    let spec = &shared.spec;
    let topic = spec.topic.name();
    while !shared.finishing.load(Ordering::Acquire) {
        let full = shared.unanswered() >= spec.in_flight_max;
        if full || shared.paused.load(Ordering::Acquire) {
            std::thread::park_timeout(PAUSE);
            continue;
        }
        let number = shared.sent.fetch_add(1, Ordering::AcqRel);
        let id = Id {
            writer: spec.id,
            number,
        };
        let value = value(seed, id);
        let record: BaseRecord<'_, (), [u8], Box<u64>> =
            BaseRecord::with_opaque_to(&topic, Box::new(number))
                .partition(spec.partition(number))
                .payload(&value);
        if let Err((error, _)) = producer.send(record) {
            shared
                .ledger
                .broken(format!("{id:?} was not taken: {error}"));
            shared.answered.fetch_add(1, Ordering::AcqRel);
        }
    }
    while shared.unanswered() > 0 {
        std::thread::park_timeout(PAUSE);
    }
}

/// A consumer that follows all partitions and notes what it is shown: none of it may go again.
pub(crate) struct Reader {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) fn consumer(bootstrap: &str) -> Result<BaseConsumer, Failure> {
    let consumer = config(bootstrap)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "100")
        .create()?;
    Ok(consumer)
}

impl Reader {
    pub(crate) fn start(
        bootstrap: &str,
        seed: u64,
        plan: &Arc<Plan>,
        ledger: &Arc<Ledger>,
    ) -> Result<Self, Failure> {
        let consumer = consumer(bootstrap)?;
        let mut all = TopicPartitionList::new();
        for topic in &plan.topics {
            for partition in 0..topic.partitions {
                all.add_partition_offset(&topic.name(), partition, Offset::Offset(0))?;
            }
        }
        consumer.assign(&all)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, plan, ledger) = (Arc::clone(&stopping), Arc::clone(plan), Arc::clone(ledger));
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Acquire) {
                if let Some(message) = consumer.poll(POLL) {
                    note(seed, &plan, &ledger, message);
                }
            }
        });
        Ok(Self {
            stopping,
            thread: Some(thread),
        })
    }

    pub(crate) fn stop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the reader does not panic");
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
    }
}

fn note(
    seed: u64,
    plan: &Plan,
    ledger: &Ledger,
    message: Result<rdkafka::message::BorrowedMessage<'_>, KafkaError>,
) {
    match message {
        Ok(message) => {
            let topic = plan.topics.iter().find(|t| t.name() == message.topic());
            let place = Place {
                topic: topic.expect("an assigned topic").number,
                partition: message.partition(),
                offset: message.offset(),
            };
            match identify(seed, message.payload().unwrap_or_default()) {
                Some(id) => ledger.shown(place, id),
                None => ledger.broken(format!("{place:?} showed a changed record")),
            }
        }
        Err(error) => {
            // A broker that is away is expected; an offset that is away is not.
            let code = error.rdkafka_error_code();
            let away = [
                RDKafkaErrorCode::OffsetOutOfRange,
                RDKafkaErrorCode::AutoOffsetReset,
                RDKafkaErrorCode::BadMessage,
                RDKafkaErrorCode::InvalidMessage,
                RDKafkaErrorCode::KafkaStorageError,
            ];
            if code.is_some_and(|code| away.contains(&code)) {
                ledger.broken(format!("the reader on the tail was told: {error}"));
            }
        }
    }
}
