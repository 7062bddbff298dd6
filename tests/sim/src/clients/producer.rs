//! Producers. One without idempotence sends each batch once. An idempotent one keeps what was not
//! acknowledged, at most five batches a partition, and sends it again in order, as the Java client
//! does; a sequence that the broker cannot have (a power cut took a write-cached tail) makes it
//! raise its epoch.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_broker::Broker;
use tailwater_broker::error_code as code;
use tailwater_broker::metadata::TopicTarget;
use tailwater_broker::produce::{ProducePart, ProduceRequest};
use tailwater_record::{BatchBuilder, BatchHeader, NewRecord};
use tailwater_shards::{sleep, spawn, wall_clock_ms};

use super::{Client, tp_of};
use crate::event::{BatchId, Event, Tp};
use crate::facts::Batch;
use crate::history::Produce;

const IN_FLIGHT_MAX: usize = 5;
const TIMEOUT: Duration = Duration::from_millis(500);
const BACKOFF: Duration = Duration::from_millis(4);

/// A batch that is not acknowledged.
#[derive(Debug)]
struct Pending {
    batch: BatchId,
    sequence: i32,
    /// It may be in the log: it was sent, and no answer has said that it was refused.
    unsure: bool,
}

/// What an idempotent producer knows of one partition.
#[derive(Debug)]
pub(super) struct Stream {
    id: i64,
    epoch: i16,
    next_sequence: i32,
    /// Not acknowledged, in order.
    pending: VecDeque<Pending>,
    /// Acknowledged last in this epoch, in order: with what is pending, as many as a broker has to
    /// remember, to be sent again on purpose. Each with its sequence and its offset.
    acknowledged: VecDeque<(BatchId, i32, i64)>,
    in_flight: usize,
    /// Sent on connections that broke, and still on their way in the broker.
    strays: usize,
    failed: bool,
    /// The sequences are to begin anew, once no pending batch may be in the log: under a new
    /// number a batch would be taken twice.
    raise_epoch: bool,
}

impl Stream {
    fn new(id: i64, epoch: i16) -> Self {
        Self {
            id,
            epoch,
            next_sequence: 0,
            pending: VecDeque::new(),
            acknowledged: VecDeque::new(),
            in_flight: 0,
            strays: 0,
            failed: false,
            raise_epoch: false,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.pending.is_empty()
    }

    /// Whether there is something to send again.
    pub(super) fn connection_lost(&mut self) -> bool {
        self.lose_sight();
        self.failed = true;
        self.settle()
    }

    /// What is on its way goes on, and nobody hears how it ends.
    pub(super) fn lose_sight(&mut self) {
        self.strays += self.in_flight;
        self.in_flight = 0;
    }

    /// The broker that they were on their way in is gone.
    pub(super) fn nothing_strays(&mut self) {
        self.in_flight = 0;
        self.strays = 0;
    }

    /// Whether everything is answered and something is to be sent again.
    fn settle(&mut self) -> bool {
        if self.is_idle() {
            self.failed = false;
        }
        self.failed && self.in_flight == 0
    }

    /// Begins the sequences anew if that is due and nothing stands in its way.
    fn renew(&mut self, records: impl Fn(BatchId) -> usize) {
        let on_its_way = self.in_flight + self.strays > 0;
        let unsure = on_its_way || self.pending.iter().any(|pending| pending.unsure);
        if !self.raise_epoch || unsure {
            return;
        }
        self.epoch += 1;
        self.next_sequence = 0;
        self.acknowledged.clear();
        for pending in &mut self.pending {
            pending.sequence = self.next_sequence;
            self.next_sequence += i32::try_from(records(pending.batch)).expect("few");
        }
        self.raise_epoch = false;
    }
}

/// One batch of a request.
struct Part {
    batch: BatchId,
    sequence: Option<(i64, i16, i32)>,
    /// Its answer belongs to the stream's pending batches.
    counted: bool,
    /// It was acknowledged there, and the broker has to remember it.
    remembered_at: Option<i64>,
}

pub(super) async fn produce(broker: &Broker, client: &Rc<Client>, produce: &Produce) {
    let Some(topic) = client.topic(broker, produce.topic) else {
        return;
    };
    let acks = if client.is_idempotent() {
        -1
    } else {
        produce.acks
    };
    let count = produce
        .partitions
        .min(u8::try_from(topic.partitions).unwrap_or(u8::MAX));
    let connection = client.connection.get();
    let mut parts = Vec::new();
    for place in 0..count {
        if client.connection.get() != connection {
            break;
        }
        let tp = tp_of(&topic, produce.partition + place);
        if !client.is_idempotent() {
            let batch = new_batch(client, tp, acks, produce, false);
            parts.push(Part {
                batch,
                sequence: None,
                counted: false,
                remembered_at: None,
            });
        } else if let Some(part) = next_part(broker, client, tp, produce).await {
            parts.push(part);
        }
    }
    send(broker, client, connection, acks, parts).await;
}

pub(super) async fn ask_producer_id(broker: &Broker, client: &Rc<Client>) -> Option<(i64, i16)> {
    let (id, epoch) = broker.init_producer_id(None).await.ok()?;
    client.world().tell(Event::ProducerId { id });
    Some((id, epoch))
}

async fn ensure_stream(broker: &Broker, client: &Rc<Client>, tp: Tp) -> bool {
    if client.streams.borrow().contains_key(&tp) {
        return true;
    }
    let connection = client.connection.get();
    let Some((id, epoch)) = ask_producer_id(broker, client).await else {
        return false;
    };
    if client.connection.get() != connection {
        return false;
    }
    let stream = Stream::new(id, epoch);
    client.streams.borrow_mut().insert(tp, stream);
    true
}

async fn next_part(
    broker: &Broker,
    client: &Rc<Client>,
    tp: Tp,
    produce: &Produce,
) -> Option<Part> {
    if !ensure_stream(broker, client, tp).await {
        return None;
    }
    if client.streams.borrow().get(&tp)?.pending.len() >= IN_FLIGHT_MAX {
        return None;
    }
    let batch = new_batch(client, tp, -1, produce, false);
    let mut streams = client.streams.borrow_mut();
    let stream = streams.get_mut(&tp)?;
    if stream.is_idle() {
        stream.renew(|_| 0);
    }
    let sequence = stream.next_sequence;
    stream.next_sequence += i32::from(produce.records);
    // What has failed goes first.
    let waits = stream.failed || stream.raise_epoch;
    stream.failed |= waits;
    stream.pending.push_back(Pending {
        batch,
        sequence,
        unsure: !waits,
    });
    if waits {
        return None;
    }
    stream.in_flight += 1;
    let sequence = Some((stream.id, stream.epoch, sequence));
    Some(Part {
        batch,
        sequence,
        counted: true,
        remembered_at: None,
    })
}

fn new_batch(client: &Client, tp: Tp, acks: i16, produce: &Produce, forbidden: bool) -> BatchId {
    let world = client.world();
    let mut facts = world.facts.borrow_mut();
    let base = wall_clock_ms() + i64::from(produce.time_s) * 1000;
    client.sent.set(client.sent.get() + 1);
    facts.batches.push(Batch {
        client: client.index,
        tp,
        acks,
        order: client.sent.get(),
        forbidden,
        timestamps: (0..i64::from(produce.records))
            .map(|record| base - record * 7)
            .collect(),
        value_bytes: usize::from(produce.bytes),
        sent_cached: true,
        body: Bytes::new(),
        acked: None,
    });
    facts.batches.len() - 1
}

/// The batch's bytes; each record's value begins with the batch's number and the record's.
fn build(batch: &Batch, id: BatchId, sequence: Option<(i64, i16, i32)>) -> Bytes {
    let mut builder = BatchBuilder::new();
    if let Some((id, epoch, sequence)) = sequence {
        builder = builder.producer(id, epoch, sequence);
    }
    for (index, timestamp) in batch.timestamps.iter().enumerate() {
        let mut value = format!("{id:08}:{index:03}:").into_bytes();
        let filler = u8::try_from(id % 251 + 1).expect("below");
        value.resize(value.len() + batch.value_bytes, filler);
        builder.push(NewRecord {
            timestamp: *timestamp,
            value: Some(&value),
            ..NewRecord::default()
        });
    }
    builder.build()
}

async fn send(broker: &Broker, client: &Rc<Client>, connection: u64, acks: i16, parts: Vec<Part>) {
    if parts.is_empty() {
        return;
    }
    if client.connection.get() != connection {
        return stray(client, &parts);
    }
    let world = client.world();
    let mut request = ProduceRequest {
        acks,
        zstd_allowed: true,
        internal_allowed: false,
        timeout: TIMEOUT,
        parts: Vec::new(),
    };
    for part in &parts {
        let mut facts = world.facts.borrow_mut();
        let body = build(&facts.batches[part.batch], part.batch, part.sequence);
        let header = BatchHeader::parse(&body).expect("just built");
        facts.register(header.crc, part.batch, body.clone());
        facts.batches[part.batch].body = body.clone();
        let event = Event::Sent { batch: part.batch };
        facts.apply(&event);
        let tp = facts.batches[part.batch].tp;
        drop(facts);
        world.tell(event);
        request.parts.push(ProducePart {
            topic: TopicTarget::Known(tp.0),
            partition: tp.1,
            records: Some(body),
        });
    }
    let turn = client.answers.ask();
    let reply = broker.submit_produce(request).await;
    let client = client.clone();
    spawn("reply", async move {
        let outcome = reply.await;
        let results = outcome.parts.into_iter().map(|outcome| match outcome {
            Ok(produced) => Ok(produced.base_offset),
            Err(refusal) => Err(refusal.error.code()),
        });
        let results: Vec<Result<i64, i16>> = results.collect();
        let is_over = || client.connection.get() != connection;
        for (part, result) in parts.iter().zip(&results) {
            tell(&client, part, *result, is_over());
        }
        if !client.answers.turn(turn, is_over).await {
            return stray(&client, &parts);
        }
        let mut again = Vec::new();
        for (part, result) in parts.iter().zip(results) {
            if part.counted
                && let Some(tp) = answered(&client, part, result)
            {
                again.push(tp);
            }
        }
        client.answers.take();
        if !again.is_empty() {
            sleep(BACKOFF).await;
            client.retries.borrow_mut().extend(again);
            client.bell.notify_one();
        }
    })
    .detach();
}

/// Nobody hears the answer any more, but it was given.
fn stray(client: &Client, parts: &[Part]) {
    let world = client.world();
    let facts = world.facts.borrow();
    let mut streams = client.streams.borrow_mut();
    for part in parts.iter().filter(|part| part.counted) {
        let tp = facts.batches[part.batch].tp;
        let Some(stream) = streams.get_mut(&tp) else {
            continue;
        };
        stream.strays = stream.strays.saturating_sub(1);
        // A new epoch may have waited for it.
        if stream.strays == 0 && stream.settle() {
            client.retries.borrow_mut().push_back(tp);
            client.bell.notify_one();
        }
    }
}

/// Tells the model of an answer as soon as the broker has it, whenever the client's turn comes.
/// What strays from a connection that is over may come when the broker need not remember it any more.
fn tell(client: &Client, part: &Part, result: Result<i64, i16>, strays: bool) {
    let batch = part.batch;
    client.world().tell(Event::Answered { batch, result });
    if let Some(base) = part.remembered_at.filter(|_| !strays) {
        let told = Event::Repeated {
            batch,
            base,
            result,
        };
        client.world().tell(told);
    }
}

/// Takes an answer; the partition whose batches are to be sent again, when all are answered.
fn answered(client: &Client, part: &Part, result: Result<i64, i16>) -> Option<Tp> {
    let world = client.world();
    let facts = world.facts.borrow();
    let tp = facts.batches[part.batch].tp;
    let mut streams = client.streams.borrow_mut();
    let stream = streams.get_mut(&tp)?;
    stream.in_flight = stream.in_flight.saturating_sub(1);
    let at = stream
        .pending
        .iter()
        .position(|pending| pending.batch == part.batch);
    match (result, at) {
        (Ok(base), Some(at)) => {
            let done = stream.pending.remove(at);
            let done = done.map(|pending| (pending.batch, pending.sequence, base));
            stream.acknowledged.extend(done);
            // Answers may come in another order than the batches stand in.
            let acknowledged = stream.acknowledged.make_contiguous();
            acknowledged.sort_unstable_by_key(|(_, sequence, _)| *sequence);
            if stream.acknowledged.len() > IN_FLIGHT_MAX {
                stream.acknowledged.pop_front();
            }
        }
        (Err(code::DUPLICATE_SEQUENCE_NUMBER), Some(at)) => {
            stream.pending.remove(at);
            // It has an offset, and nobody said which: what else is remembered is not known.
            stream.acknowledged.clear();
        }
        (Err(code::UNKNOWN_TOPIC_OR_PARTITION | code::UNKNOWN_TOPIC_ID), _) => {
            stream.pending.clear();
            stream.acknowledged.clear();
            stream.raise_epoch = true;
            stream.failed = true;
        }
        // It may be out of service for good: the client gives up.
        (Err(code::KAFKA_STORAGE_ERROR), _) if facts.is_hurt(tp) => {
            stream.pending.clear();
            stream.acknowledged.clear();
            stream.raise_epoch = true;
            stream.failed = true;
        }
        (Err(code::INVALID_TIMESTAMP | code::MESSAGE_TOO_LARGE), Some(at)) => {
            stream.pending.remove(at);
            stream.raise_epoch = true;
            stream.failed = true;
        }
        (Err(code::OUT_OF_ORDER_SEQUENCE_NUMBER), Some(at)) => {
            stream.pending[at].unsure = false;
            stream.failed = true;
            // All before it are acknowledged, or given up: the broker has lost them.
            stream.raise_epoch |= at == 0;
        }
        (Err(_), Some(at)) => {
            // A copy of one that was refused before may have got in.
            stream.pending[at].unsure = true;
            stream.failed = true;
        }
        (_, None) => {}
    }
    stream.settle().then_some(tp)
}

/// Sends everything that was not acknowledged again, in order.
pub(super) async fn retry(broker: &Broker, client: &Rc<Client>, tp: Tp) {
    let connection = client.connection.get();
    let parts: Vec<Part> = {
        let world = client.world();
        let facts = world.facts.borrow();
        let mut streams = client.streams.borrow_mut();
        let Some(stream) = streams.get_mut(&tp) else {
            return;
        };
        if stream.in_flight > 0 {
            return;
        }
        stream.renew(|batch| facts.batches[batch].timestamps.len());
        stream.failed = false;
        stream.in_flight = stream.pending.len();
        let (id, epoch) = (stream.id, stream.epoch);
        let part = |pending: &mut Pending| {
            pending.unsure = true;
            Part {
                batch: pending.batch,
                sequence: Some((id, epoch, pending.sequence)),
                counted: true,
                remembered_at: None,
            }
        };
        stream.pending.iter_mut().map(part).collect()
    };
    for part in parts {
        send(broker, client, connection, -1, vec![part]).await;
    }
}

/// Sends each stream's batches once more that the broker has to remember: the last five that it can
/// have taken.
pub(super) async fn send_again(broker: &Broker, client: &Rc<Client>) {
    let connection = client.connection.get();
    let parts: Vec<Part> = {
        let mut streams = client.streams.borrow_mut();
        let world = client.world();
        let facts = world.facts.borrow();
        let mut parts = Vec::new();
        for (tp, stream) in streams.iter_mut() {
            // What a power cut took with a write-cached tail would be taken anew, perhaps between a
            // batch that was refused for its lack and that batch's copy here.
            if stream.raise_epoch || facts.may_lack(*tp) {
                continue;
            }
            let done = stream.acknowledged.iter();
            let done = done.map(|(batch, sequence, base)| (*batch, *sequence, Some(*base)));
            let sent = stream.pending.iter().take_while(|pending| pending.unsure);
            let sent = sent.map(|pending| (pending.batch, pending.sequence, None));
            let all: Vec<_> = done.chain(sent).collect();
            let older = all.len().saturating_sub(IN_FLIGHT_MAX);
            let part = |(batch, sequence, base): &(BatchId, i32, Option<i64>)| Part {
                batch: *batch,
                sequence: Some((stream.id, stream.epoch, *sequence)),
                counted: base.is_none(),
                remembered_at: *base,
            };
            let copies = all.iter().skip(older).map(part);
            // As long as a copy of a pending batch is under way its sequence may get in.
            let first = parts.len();
            parts.extend(copies);
            stream.in_flight += parts[first..].iter().filter(|part| part.counted).count();
        }
        parts
    };
    for part in parts {
        send(broker, client, connection, -1, vec![part]).await;
    }
}

/// Sends a batch whose sequence leaves one out. Only when nothing is under way: else it would be
/// refused or taken by chance.
pub(super) async fn leave_gap(broker: &Broker, client: &Rc<Client>, topic: u8, partition: u8) {
    let Some(topic) = client.topic(broker, topic) else {
        return;
    };
    let tp = tp_of(&topic, partition);
    let sequence = {
        let streams = client.streams.borrow();
        // What was write-cached may be lost, and the producer then be unknown: it may begin anywhere.
        let lossy = client.world().facts.borrow().may_lack(tp);
        let ready = |s: &&Stream| {
            s.is_idle() && s.strays == 0 && !s.raise_epoch && !s.acknowledged.is_empty() && !lossy
        };
        let Some(stream) = streams.get(&tp).filter(ready) else {
            return;
        };
        (stream.id, stream.epoch, stream.next_sequence + 1)
    };
    let produce = Produce {
        topic: 0,
        partition,
        partitions: 1,
        records: 1,
        bytes: 20,
        acks: -1,
        time_s: 0,
    };
    let batch = new_batch(client, tp, -1, &produce, true);
    let sequence = Some(sequence);
    send(
        broker,
        client,
        client.connection.get(),
        -1,
        vec![Part {
            batch,
            sequence,
            counted: false,
            remembered_at: None,
        }],
    )
    .await;
}
