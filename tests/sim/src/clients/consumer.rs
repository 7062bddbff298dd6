//! Consumers: they fetch by offset, park, and follow the leader epochs.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_broker::Broker;
use tailwater_broker::error_code as code;
use tailwater_broker::fetch::{
    FetchOutcome, FetchPartition, FetchRequest, FetchedPartition, HeldReply,
};
use tailwater_broker::metadata::{Topic, TopicKey};
use tailwater_broker::offsets::Isolation;
use tailwater_record::{
    BatchHeader, Limits, RecordStream, TimestampType, Workspace, batches, crc_is_valid,
};

use tailwater_shards::{allocation_of, sleep, spawn};

use super::{Client, tp_of};
use crate::event::{Event, Fetched, Found, Tp};
use crate::facts::Facts;
use crate::history::{CONSUMERS, Fetch, From, PRODUCERS};
use crate::world::Shared;

/// The consumer that goes on with a fetch session; the others have none.
const IN_SESSION: u8 = PRODUCERS + CONSUMERS - 1;

pub(super) async fn fetch(broker: &Broker, client: &Rc<Client>, fetch: &Fetch) {
    let Some(topic) = client.topic(broker, fetch.topic) else {
        return;
    };
    let world = client.world();
    let mut wants = wanted(client, fetch, &topic);
    let isolation = if fetch.committed {
        Isolation::ReadCommitted
    } else {
        Isolation::ReadUncommitted
    };
    let mut request = request(&wants, fetch.bytes_max, fetch.wait_ms, isolation);
    let in_session = client.index == IN_SESSION && fetch.from == From::Next;
    if in_session {
        let (mut session, positions) = (client.session.borrow_mut(), client.positions.borrow());
        let asked = session.ask(request, &wants, &positions, fetch.forgets);
        (request, wants) = (asked.request, asked.wants);
    }
    let id = world.next_fetch.get();
    world.next_fetch.set(id + 1);
    world.tell(Event::FetchBegan {
        fetch: id,
        wants: wants.iter().map(|(tp, from, _)| (*tp, *from)).collect(),
        wait_ms: fetch.wait_ms,
    });
    let lags = client.unread.get() > 0;
    let (outcome, held) = broker.fetch_within(request, &move || lags).await;
    world.tell(Event::Replied {
        client: client.index,
        bytes: kept_bytes(&outcome),
        held: held.as_ref().map_or(0, HeldReply::bytes),
    });
    if let Some(held) = held {
        take_slowly(client, &outcome, held, fetch.takes_ms);
    }
    if in_session {
        let generation = world.facts.borrow().generation;
        let answered = client.session.borrow_mut().answered(&outcome, generation);
        if let Err(code) = answered {
            world.tell(Event::SessionLost { code });
        }
    }
    let refused = outcome.error.is_some();
    for part in outcome.partitions {
        let TopicKey::Id(topic) = part.topic else {
            continue;
        };
        let tp = (topic, part.partition);
        let asked = wants.iter().find(|(wanted, _, _)| *wanted == tp);
        let (_, from, last_epoch) = asked.copied().unwrap_or((tp, -1, -1));
        let Some(fetched) = told(&world, id, client.index, tp, from, last_epoch, &part) else {
            continue;
        };
        if matches!(
            fetched.error,
            Some(code::UNKNOWN_TOPIC_ID | code::UNKNOWN_TOPIC_OR_PARTITION)
        ) {
            client.session.borrow_mut().lost(tp);
        }
        if fetch.from == From::Next {
            follow(client, &world, &fetched);
        }
        world.tell(Event::Fetched(Box::new(fetched)));
    }
    world.tell(Event::FetchEnded { fetch: id, refused });
}

/// Where it wants to read: partition, offset, epoch of the record before.
fn wanted(client: &Client, fetch: &Fetch, topic: &Topic) -> Vec<(Tp, i64, i32)> {
    let world = client.world();
    let count = u8::try_from(topic.partitions).unwrap_or(u8::MAX);
    let places = 0..fetch.partitions.min(count);
    let want = |place| {
        let tp = tp_of(topic, fetch.partition + place);
        let position = client.positions.borrow().get(&tp).copied();
        let (next, epoch) = position.unwrap_or((0, -1));
        match fetch.from {
            From::Next => (tp, next, epoch),
            From::Start => (tp, world.facts.borrow().log_start(tp), -1),
            From::Before(part) => (tp, next * i64::from(part) / 256, -1),
        }
    };
    places.map(want).collect()
}

/// What the records keep alive: whole buffers where they are slices of this shard's.
fn kept_bytes(outcome: &FetchOutcome) -> usize {
    let slices = outcome.partitions.iter().flat_map(|part| &part.records);
    let mut buffers = BTreeMap::new();
    for slice in slices {
        let own = (slice.as_ptr().addr(), slice.len());
        let (address, bytes) = allocation_of(slice).unwrap_or(own);
        buffers.insert(address, bytes);
    }
    buffers.values().sum()
}

/// The last byte of the reply leaves the broker when the consumer has taken it.
fn take_slowly(client: &Rc<Client>, outcome: &FetchOutcome, held: HeldReply, takes_ms: u32) {
    let parts = outcome.partitions.iter();
    let records: Vec<Bytes> = parts.flat_map(|part| part.records.clone()).collect();
    let client = client.clone();
    client.unread.set(client.unread.get() + 1);
    spawn("reader", async move {
        sleep(Duration::from_millis(u64::from(takes_ms))).await;
        client.unread.set(client.unread.get() - 1);
        drop(records);
        drop(held);
    })
    .detach();
}

/// A fetch without a session.
pub(crate) fn request(
    wants: &[(Tp, i64, i32)],
    bytes_max: i32,
    wait_ms: u32,
    isolation: Isolation,
) -> FetchRequest {
    let partition = |(tp, from, epoch): &(Tp, i64, i32)| FetchPartition {
        topic: TopicKey::Id(tp.0),
        partition: tp.1,
        current_leader_epoch: -1,
        fetch_offset: *from,
        last_fetched_epoch: *epoch,
        max_bytes: bytes_max,
    };
    FetchRequest {
        max_wait: Duration::from_millis(u64::from(wait_ms)),
        min_bytes: 1,
        max_bytes: bytes_max.max(1),
        isolation,
        session_id: 0,
        session_epoch: -1,
        uses_topic_ids: true,
        partitions: wants.iter().map(partition).collect(),
        forgotten: Vec::new(),
    }
}

/// Moves the consumer on, or back to where its log and the broker's part.
fn follow(client: &Client, world: &Shared, fetched: &Fetched) {
    let mut positions = client.positions.borrow_mut();
    let position = positions.entry(fetched.tp).or_insert((0, -1));
    if let Some((_, end)) = fetched.diverging {
        *position = (end.min(position.0), -1);
    } else if fetched.error == Some(code::OFFSET_OUT_OF_RANGE) {
        *position = (world.facts.borrow().log_start(fetched.tp), -1);
    } else if let Some(last) = fetched.batches.last() {
        *position = (last.end, last.epoch);
    }
}

fn told(
    world: &Shared,
    fetch: u64,
    client: u8,
    tp: Tp,
    from: i64,
    last_epoch: i32,
    part: &FetchedPartition,
) -> Option<Fetched> {
    let batches = match parse(&world.facts.borrow(), tp, &part.records) {
        Ok(batches) => batches,
        Err(message) => {
            world.tell(Event::Garbled { message });
            return None;
        }
    };
    Some(Fetched {
        fetch,
        client,
        tp,
        from,
        last_epoch,
        error: part.error.as_ref().map(|error| error.code()),
        high_watermark: part.high_watermark,
        last_stable: part.last_stable_offset,
        log_start: part.log_start_offset,
        diverging: part.diverging_epoch,
        batches,
    })
}

/// Takes what was read apart and finds out whose batches these are. Every byte that a client sent
/// and that the topic's configuration does not have rewritten is compared.
pub(crate) fn parse(facts: &Facts, tp: Tp, records: &[Bytes]) -> Result<Vec<Found>, String> {
    let bytes: Bytes = match records {
        [] => return Ok(Vec::new()),
        [one] => one.clone(),
        many => many.concat().into(),
    };
    let mut all = Vec::new();
    for found in batches(&bytes) {
        let found = found.map_err(|error| format!("{tp:?}: what was read is no batch: {error}"))?;
        let body = bytes.slice(found.range);
        let header = found.header;
        let at = header.base_offset;
        let batch = match facts.by_crc(header.crc) {
            Some((batch, sent)) if sent.get(17..) == body.get(17..) => batch,
            _ => rewritten(facts, &body, &header)
                .ok_or_else(|| format!("{tp:?}: nobody sent the batch that was read at {at}"))?,
        };
        let sent = facts.batches.get(batch).ok_or("a number of no batch")?;
        if sent.tp != tp {
            return Err(format!(
                "{tp:?}: the batch read at {at} was sent to {:?}",
                sent.tp
            ));
        }
        let log_append = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
        all.push(Found {
            batch,
            base: at,
            end: header.next_offset(),
            epoch: header.partition_leader_epoch,
            append_time: log_append.then_some(header.max_timestamp),
            bytes: body,
        });
    }
    Ok(all)
}

/// The batch that a rewritten one was: compressed, or with the broker's time.
fn rewritten(facts: &Facts, body: &[u8], header: &BatchHeader) -> Option<usize> {
    if !crc_is_valid(body) {
        return None;
    }
    let mut workspace = Workspace::new();
    let limits = Limits::default();
    let mut stream = RecordStream::new(body, header, &limits, &mut workspace).ok()?;
    let (mut batch, mut count) = (None, 0);
    while let Some(record) = stream.next().ok()? {
        let value = record.value?;
        let text = std::str::from_utf8(value.get(..12)?).ok()?;
        let (id, index) = (
            text.get(..8)?.parse::<usize>().ok()?,
            text.get(9..12)?.parse::<usize>().ok()?,
        );
        if index != count || batch.is_some_and(|batch| batch != id) {
            return None;
        }
        let sent = facts.batches.get(id)?;
        if value.len() != 13 + sent.value_bytes {
            return None;
        }
        batch = Some(id);
        count += 1;
    }
    let batch = batch?;
    (facts.batches.get(batch)?.timestamps.len() == count).then_some(batch)
}
