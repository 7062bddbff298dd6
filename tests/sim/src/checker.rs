//! Reads everything while no client is at work: after each start, and at the end.

use std::rc::Rc;

use tailwater_broker::Broker;
use tailwater_broker::metadata::{Topic, TopicTarget};
use tailwater_broker::offsets::{EpochQuery, Isolation, OffsetQuery};

use crate::clients::{name, parse, scan};
use crate::event::{Event, Found, FullRead, Tp};
use crate::groups;
use crate::history::KEYED;
use crate::world::Shared;

/// Times to look for in each partition.
const TIMES_MAX: usize = 4;

/// Reads every partition of every topic.
pub(crate) async fn read_everything(broker: &Broker, world: &Rc<Shared>) {
    let image = broker.image();
    if image.topic(OFFSETS_TOPIC).is_some() {
        groups::read_all(broker, world).await;
    }
    for topic in image.topics() {
        if *topic.name == *OFFSETS_TOPIC {
            continue;
        }
        for partition in 0..topic.partitions {
            let tp = (topic.id, partition);
            if *topic.name == *name(KEYED) {
                if let Some(mut read) = scan(broker, world, tp, 0, 1 << 20).await {
                    read.is_full = true;
                    world.tell(Event::KeyedRead(Box::new(read)));
                }
                continue;
            }
            if let Some(read) = read_undisturbed(broker, world, topic, tp).await {
                world.tell(Event::FullRead(Box::new(read)));
            }
        }
    }
}

/// The topic that coordinators keep their groups in: it is read by asking them.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Reads a partition again until retention moves its log start no more meanwhile: what is read,
/// asked and told then belongs to one state. Nobody appends, so there is an end to it.
async fn read_undisturbed(
    broker: &Broker,
    world: &Shared,
    topic: &Topic,
    tp: Tp,
) -> Option<FullRead> {
    loop {
        let read = read(broker, world, topic, tp).await?;
        let log_start = offset(broker, tp, -2).await.map(|(start, _, _)| start);
        // Whoever cannot say where it begins cannot be read at all.
        if log_start.map_or(true, |log_start| log_start == read.log_start) {
            return Some(read);
        }
    }
}

async fn read(broker: &Broker, world: &Shared, topic: &Topic, tp: Tp) -> Option<FullRead> {
    let mut read = FullRead {
        tp,
        error: None,
        log_start: -1,
        high_watermark: -1,
        last_stable: -1,
        leader_epoch: broker.leader_epoch(topic),
        batches: Vec::new(),
        times: Vec::new(),
        epochs: Vec::new(),
        probes: Vec::new(),
    };
    let mut at = match offset(broker, tp, -2).await {
        Ok((offset, _, _)) => offset,
        Err(code) => {
            read.error = Some(code);
            return Some(read);
        }
    };
    read.log_start = at;
    loop {
        let outcome = fetch(broker, tp, at).await;
        let part = outcome.partitions.first()?;
        if let Some(error) = &part.error {
            read.error = Some(error.code());
            return Some(read);
        }
        read.high_watermark = part.high_watermark;
        read.last_stable = part.last_stable_offset;
        let found = match parse(&world.facts.borrow(), tp, &part.records) {
            Ok(found) => found,
            Err(message) => {
                world.tell(Event::Garbled { message });
                return None;
            }
        };
        let Some(last) = found.last() else { break };
        at = last.end;
        read.batches.extend(found);
        if at >= read.high_watermark {
            break;
        }
    }
    probe(broker, world, &mut read).await;
    Some(read)
}

/// Asks for some times, for the ends of all epochs, and reads from the middle.
async fn probe(broker: &Broker, world: &Shared, read: &mut FullRead) {
    let tp = read.tp;
    let step = (read.batches.len() / TIMES_MAX).max(1);
    let chosen: Vec<Found> = read.batches.iter().step_by(step).cloned().collect();
    for found in chosen {
        let time = world.facts.borrow().time_of(&found, 0);
        if let Ok(hit) = offset(broker, tp, time).await {
            read.times.push((time, hit));
        }
        let from = (found.base + found.end) / 2;
        let outcome = fetch(broker, tp, from).await;
        if let Some(part) = outcome
            .partitions
            .first()
            .filter(|part| part.error.is_none())
        {
            let parsed = parse(&world.facts.borrow(), tp, &part.records);
            let base = parsed
                .ok()
                .and_then(|found| found.first().map(|found| found.base));
            read.probes.push((from, base));
        }
    }
    let mut epochs: Vec<i32> = read.batches.iter().map(|found| found.epoch).collect();
    epochs.dedup();
    for epoch in epochs {
        let query = EpochQuery {
            topic: TopicTarget::Known(tp.0),
            partition: tp.1,
            current_leader_epoch: -1,
            leader_epoch: epoch,
        };
        if let Some(Ok(end)) = broker.epoch_ends(vec![query]).await.first() {
            read.epochs
                .push((epoch, (end.leader_epoch, end.end_offset)));
        }
    }
}

async fn fetch(broker: &Broker, tp: Tp, from: i64) -> tailwater_broker::fetch::FetchOutcome {
    let request =
        crate::clients::request(&[(tp, from, -1)], 1 << 20, 0, Isolation::ReadUncommitted);
    broker.fetch(request).await
}

async fn offset(broker: &Broker, tp: Tp, timestamp: i64) -> Result<(i64, i64, i32), i16> {
    let query = OffsetQuery {
        topic: TopicTarget::Known(tp.0),
        partition: tp.1,
        current_leader_epoch: -1,
        timestamp,
    };
    let outcome = broker
        .list_offsets(Isolation::ReadUncommitted, vec![query])
        .await;
    match outcome.into_iter().next() {
        Some(Ok(found)) => Ok((found.offset, found.timestamp, found.leader_epoch)),
        Some(Err(error)) => Err(error.code()),
        None => Err(-1),
    }
}
