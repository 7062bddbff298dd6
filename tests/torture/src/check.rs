//! Reads the log back and holds it against what was promised.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::admin::Admin;
use crate::era::{Plan, Topic, WriterSpec};
use crate::failure::{Failure, fail};
use crate::ledger::Ledger;
use crate::load::consumer;
use crate::record::{Id, identify};

/// Longer than any answer takes, on a machine that gives broker and client a slice in seconds, too.
const READ_MAX: Duration = Duration::from_secs(120);

/// How far each partition has been read and what must come next.
#[derive(Debug, Clone)]
pub(crate) struct Checker {
    seed: u64,
    topics: Vec<Topic>,
    writers: BTreeMap<u32, WriterSpec>,
    /// By topic and partition: the offset to read next.
    next: BTreeMap<(u32, i32), i64>,
    /// By writer and partition: the number its next record there must have.
    due: BTreeMap<(u32, i32), u64>,
}

impl Checker {
    pub(crate) fn new(seed: u64, plan: &Plan) -> Self {
        let writers = plan.writers.iter().map(|writer| (writer.id, *writer));
        Self {
            seed,
            topics: plan.topics.clone(),
            writers: writers.collect(),
            next: BTreeMap::new(),
            due: BTreeMap::new(),
        }
    }

    /// Reads what is new since the last check; how many records that was. Everything told
    /// before now about offsets from there on must be so.
    pub(crate) fn check(&mut self, bootstrap: &str, ledger: &Ledger) -> Result<u64, Failure> {
        let mut names: Vec<String> = self.topics.iter().map(|topic| topic.name()).collect();
        names.sort();
        let listed = Admin::new(bootstrap)?.topics()?;
        if listed != names {
            return fail(format!("the topics are {listed:?}, not {names:?}"));
        }
        let consumer = consumer(bootstrap)?;
        let mut checked = 0;
        for topic in self.topics.clone() {
            for partition in 0..topic.partitions {
                checked += self.check_partition(&consumer, topic, partition, ledger)?;
            }
        }
        let told = ledger.lock();
        if told.broken_count > 0 {
            return fail(format!(
                "{} promises broken, such as: {}",
                told.broken_count,
                told.broken.join("; ")
            ));
        }
        Ok(checked)
    }

    /// Reads everything from the start, when all writers are done: `sent` says what they sent.
    pub(crate) fn check_all(
        &self,
        bootstrap: &str,
        ledger: &Ledger,
        sent: &[(u32, u64)],
    ) -> Result<u64, Failure> {
        let mut fresh = self.clone();
        fresh.next.clear();
        fresh.due.clear();
        let checked = fresh.check(bootstrap, ledger)?;
        for (id, sent) in sent {
            let acknowledged = ledger.lock().acknowledged.get(id).copied();
            if acknowledged.unwrap_or_default() != *sent {
                return fail(format!(
                    "writer {id} sent {sent} records, {acknowledged:?} are acknowledged"
                ));
            }
            let writer = &fresh.writers[id];
            for partition in 0..writer.topic.partitions {
                let due = fresh.due.get(&(*id, partition)).copied();
                let due = due.unwrap_or(u64::try_from(partition).expect("positive"));
                if due < *sent {
                    return fail(format!(
                        "{due} of writer {id}, which sent {sent}, is not there"
                    ));
                }
            }
        }
        Ok(checked)
    }

    fn check_partition(
        &mut self,
        consumer: &BaseConsumer,
        topic: Topic,
        partition: i32,
        ledger: &Ledger,
    ) -> Result<u64, Failure> {
        let place = format!("{}-{partition}", topic.name());
        let from = *self.next.entry((topic.number, partition)).or_default();
        let claims = ledger.lock().claims_from(topic.number, partition, from);
        let (start, end) = consumer.fetch_watermarks(&topic.name(), partition, READ_MAX)?;
        if start != 0 || end < from {
            return fail(format!(
                "{place} holds {start}..{end}, and was read up to {from}"
            ));
        }
        if let Some((offset, id)) = claims.range(end..).next() {
            return fail(format!(
                "LOST: {} promised records from {place} offset {offset} ({id:?}) on: it ends at {end}",
                claims.range(end..).count()
            ));
        }
        if from == end {
            return Ok(0);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic.name(), partition, Offset::Offset(from))?;
        consumer.assign(&list)?;
        let mut offset = from;
        let mut heard = Instant::now();
        while offset < end {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else {
                if heard.elapsed() > READ_MAX {
                    return fail(format!(
                        "{place} shows nothing at {offset}, and ends at {end}"
                    ));
                }
                continue;
            };
            let message = message?;
            heard = Instant::now();
            if message.offset() != offset {
                return fail(format!("{place} shows {} after {offset}", message.offset()));
            }
            let Some(id) = identify(self.seed, message.payload().unwrap_or_default()) else {
                return fail(format!(
                    "CHANGED: {place} offset {offset} is no record that was sent"
                ));
            };
            if let Some(claim) = claims.get(&offset).filter(|claim| **claim != id) {
                return fail(format!(
                    "CHANGED: {place} offset {offset} was {claim:?}, is {id:?}"
                ));
            }
            self.check_order(topic, partition, id)
                .map_err(|Failure(what)| Failure(format!("{place} offset {offset}: {what}")))?;
            offset += 1;
        }
        self.next.insert((topic.number, partition), end);
        Ok(u64::try_from(end - from).expect("counted up"))
    }

    /// The record belongs here, and is the one that this writer's next may be.
    fn check_order(&mut self, topic: Topic, partition: i32, id: Id) -> Result<(), Failure> {
        let Some(writer) = self.writers.get(&id.writer) else {
            return fail(format!("{id:?} is from a writer of the past"));
        };
        if writer.topic.number != topic.number || writer.partition(id.number) != partition {
            return fail(format!("{id:?} was not sent here"));
        }
        let first = u64::try_from(partition).expect("positive");
        let due = self.due.entry((id.writer, partition)).or_insert(first);
        let after = id.number + writer.stride();
        if writer.idempotent {
            if id.number < *due {
                return fail(format!("TWICE: {id:?}, when {due} was due"));
            }
            if id.number > *due {
                return fail(format!(
                    "MISSING or out of order: {id:?}, when {due} was due"
                ));
            }
        } else if writer.ordered && id.number > *due {
            return fail(format!("out of order: {id:?}, when {due} was due at most"));
        }
        // A plain producer's retry may put a record there again.
        *due = after.max(*due);
        Ok(())
    }
}
