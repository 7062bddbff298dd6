//! librdkafka as a test uses it: records with all their parts, receipts for what was
//! acknowledged, reading by assignment, and the admin calls.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::DEADLINE;

/// A record with everything a client can give it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp: i64,
}

pub const EPOCH_MS: i64 = 1_700_000_000_000;

impl Record {
    /// One of a series, with nulls, empty parts and headers of the same name among them.
    pub fn numbered(number: usize) -> Self {
        let text = format!("record {number}, which is long enough to be worth packing: ");
        let headers = [
            ("trace".to_owned(), Some(number.to_be_bytes().to_vec())),
            ("trace".to_owned(), Some(Vec::new())),
            ("null".to_owned(), None),
        ];
        Self {
            key: (!number.is_multiple_of(3)).then(|| format!("key-{}", number % 7).into_bytes()),
            value: (number % 5 < 4).then(|| text.repeat(1 + number % 4).into_bytes()),
            headers: headers[..number % 4].to_vec(),
            timestamp: EPOCH_MS + 1_000 * i64::try_from(number).expect("small"),
        }
    }

    pub fn series(count: usize) -> Vec<Self> {
        (0..count).map(Self::numbered).collect()
    }

    pub fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(|headers| {
            headers
                .iter()
                .map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec)))
        });
        Self {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.collect(),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
        }
    }
}

/// Partition and offset of an acknowledged record.
pub type Place = (i32, i64);
type Outcome = Result<Place, RDKafkaErrorCode>;

pub struct Receipts(Sender<(usize, Outcome)>);

impl ClientContext for Receipts {}
impl ProducerContext for Receipts {
    type DeliveryOpaque = Box<usize>;
    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.rdkafka_error_code().expect("a code")),
        };
        // A producer that is going away tells nobody.
        let _ = self.0.send((*number, outcome));
    }
}

/// A producer that keeps what it was told about each record.
pub struct Producer {
    client: ThreadedProducer<Receipts>,
    receipts: Receiver<(usize, Outcome)>,
}

impl Producer {
    pub fn new(bootstrap: &str, settings: &[(&str, &str)]) -> Self {
        let (sender, receipts) = channel();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("linger.ms", "1");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let client = config
            .create_with_context(Receipts(sender))
            .expect("a producer");
        Self { client, receipts }
    }

    /// Hands a record to the client's queue.
    pub fn send(&self, topic: &str, partition: i32, number: usize, record: &Record) {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: value.as_ref(),
                })
            });
        let mut out = BaseRecord::with_opaque_to(topic, Box::new(number))
            .partition(partition)
            .timestamp(record.timestamp)
            .headers(headers);
        if let Some(key) = &record.key {
            out = out.key(key);
        }
        if let Some(value) = &record.value {
            out = out.payload(value);
        }
        self.client
            .send(out)
            .map_err(|(error, _)| error)
            .expect("room in the queue");
    }

    /// What became of the next `count` records, in the order of their numbers.
    pub fn outcomes(&self, count: usize) -> BTreeMap<usize, Outcome> {
        let next = || self.receipts.recv_timeout(DEADLINE).expect("an outcome");
        (0..count).map(|_| next()).collect()
    }

    /// Sends records over the partitions in turn, waits for all, and says where each is.
    pub fn send_all(
        &self,
        topic: &str,
        partitions: i32,
        records: &[Record],
    ) -> BTreeMap<usize, Place> {
        for (number, record) in records.iter().enumerate() {
            let partition = i32::try_from(number).expect("few") % partitions;
            self.send(topic, partition, number, record);
        }
        let outcomes = self.outcomes(records.len()).into_iter();
        outcomes
            .map(|(number, place)| (number, place.expect("acknowledged")))
            .collect()
    }

    pub fn flush(&self) {
        self.client.flush(DEADLINE).expect("flushed");
    }
}

/// Produces one record at acks=all and says where it is.
pub fn produce_one(bootstrap: &str, topic: &str, value: &str) -> Place {
    let record = Record {
        value: Some(value.as_bytes().to_vec()),
        timestamp: EPOCH_MS,
        ..Record::default()
    };
    Producer::new(bootstrap, &[]).send_all(topic, 1, &[record])[&0]
}

pub fn consumer(bootstrap: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().expect("a consumer")
}

/// Everything of some partitions: each one's offsets and records, in order.
pub type Found = BTreeMap<(String, i32), Vec<(i64, Record)>>;

/// Reads `count` records by assignment.
pub fn read(bootstrap: &str, from: &[(&str, i32, Offset)], count: usize) -> Found {
    let consumer = consumer(bootstrap, &[]);
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in from {
        list.add_partition_offset(topic, *partition, *offset)
            .expect("an offset");
    }
    consumer.assign(&list).expect("assigned");
    let mut found = Found::new();
    for seen in 0..count {
        let message = consumer
            .poll(DEADLINE)
            .unwrap_or_else(|| panic!("only {seen} of {count} records came"))
            .expect("readable");
        let place = (message.topic().to_owned(), message.partition());
        found
            .entry(place)
            .or_default()
            .push((message.offset(), Record::of(&message)));
    }
    found
}

/// Reads one partition from an offset on: `count` records with their offsets.
pub fn read_partition(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    from: Offset,
    count: usize,
) -> Vec<(i64, Record)> {
    let mut found = read(bootstrap, &[(topic, partition, from)], count);
    found
        .remove(&(topic.to_owned(), partition))
        .unwrap_or_default()
}

/// Log start and high watermark of each partition.
pub fn watermarks(bootstrap: &str, topic: &str, partition: i32) -> (i64, i64) {
    let consumer = consumer(bootstrap, &[]);
    consumer
        .fetch_watermarks(topic, partition, DEADLINE)
        .expect("watermarks")
}

/// Every acknowledged record is there, at its offset, once, and nothing besides.
pub fn assert_holds(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    records: &[Record],
    places: &BTreeMap<usize, Place>,
) {
    assert_eq!(places.len(), records.len(), "all were acknowledged");
    let from: Vec<_> = (0..partitions)
        .map(|p| (topic, p, Offset::Beginning))
        .collect();
    let found = read(bootstrap, &from, records.len());
    let mut expected: BTreeMap<Place, &Record> = BTreeMap::new();
    for (number, place) in places {
        assert!(
            expected.insert(*place, &records[*number]).is_none(),
            "{place:?} twice"
        );
    }
    let mut count = 0;
    for ((_, partition), records) in &found {
        for (offset, record) in records {
            assert_eq!(
                Some(&record),
                expected.get(&(*partition, *offset)),
                "{partition}@{offset}"
            );
            count += 1;
        }
        let end = i64::try_from(records.len()).expect("few");
        assert_eq!(
            watermarks(bootstrap, topic, *partition),
            (0, end),
            "partition {partition}"
        );
    }
    assert_eq!(count, expected.len());
}

/// The admin calls, each waited for.
pub struct Admin(AdminClient<DefaultClientContext>);

impl Admin {
    pub fn new(bootstrap: &str) -> Self {
        let client = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .create();
        Self(client.expect("an admin client"))
    }

    pub fn try_create(
        &self,
        topic: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<(), RDKafkaErrorCode> {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = configs
            .iter()
            .fold(new, |new, (key, value)| new.set(key, value));
        let created = wait(self.0.create_topics([&new], &options())).expect("an answer");
        let [result] = created.try_into().expect("one topic");
        result.map(drop).map_err(|(_, code)| code)
    }

    pub fn create(&self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        self.try_create(topic, partitions, configs)
            .expect("created");
    }

    pub fn delete(&self, topic: &str) {
        let deleted = wait(self.0.delete_topics(&[topic], &options())).expect("an answer");
        let [result] = deleted.try_into().expect("one topic");
        result.expect("deleted");
    }

    /// Deletes what lies before `offset` and says where the partition begins then.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: Offset) -> i64 {
        let mut before = TopicPartitionList::new();
        before
            .add_partition_offset(topic, partition, offset)
            .expect("an offset");
        let after: Result<TopicPartitionList, KafkaError> =
            wait(self.0.delete_records(&before, &options()));
        let after = after.expect("an answer");
        let partition = after
            .find_partition(topic, partition)
            .expect("it is answered");
        partition.error().expect("deleted");
        partition.offset().to_raw().expect("an offset")
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(DEADLINE))
        .operation_timeout(Some(DEADLINE))
}

/// Waits for a future on this thread.
pub fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
