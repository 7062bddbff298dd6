//! The clients of the compacted topic. Each record says in a header which one it is, so that a
//! tombstone can be told from another.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_broker::Broker;
use tailwater_broker::metadata::TopicTarget;
use tailwater_broker::offsets::Isolation;
use tailwater_broker::produce::{ProducePart, ProduceRequest};
use tailwater_record::{
    BatchBuilder, Header, Limits, NewRecord, RecordStream, Workspace, batches, crc_is_valid,
};
use tailwater_shards::wall_clock_ms;

use super::{Client, request, tp_of};
use crate::event::{Event, KeyedFound, KeyedRead, KeyedRecord, Tp};
use crate::history::KEYED;
use crate::keyed::{ProduceKeyed, ReadKeyed};
use crate::world::Shared;

const TIMEOUT: Duration = Duration::from_millis(500);
const NAME: &[u8] = b"id";

pub(super) async fn produce(broker: &Broker, client: &Rc<Client>, produce: &ProduceKeyed) {
    let Some(topic) = client.topic(broker, KEYED) else {
        return;
    };
    let (world, tp) = (client.world(), tp_of(&topic, produce.partition));
    let mut builder = BatchBuilder::new();
    let mut records = Vec::new();
    for (index, key) in (0..).zip(&produce.keys) {
        let id = world.keyed_ids.replace(world.keyed_ids.get() + 1);
        let is_tombstone =
            produce.tombstones > 0 && (id + index).is_multiple_of(u64::from(produce.tombstones));
        let filler = u8::try_from(id % 251 + 1).expect("below");
        let value = (!is_tombstone).then(|| vec![filler; usize::from(produce.bytes)]);
        let key = format!("key-{key}").into_bytes();
        builder.push(NewRecord {
            timestamp: wall_clock_ms(),
            key: Some(&key),
            value: value.as_deref(),
            headers: &[Header {
                key: NAME,
                value: Some(&id.to_be_bytes()),
            }],
        });
        records.push(KeyedRecord { id, key, value });
    }
    let ids: Vec<u64> = records.iter().map(|record| record.id).collect();
    world.tell(Event::KeyedSent { tp, records });
    let acks = produce.acks;
    let request = ProduceRequest {
        acks,
        zstd_allowed: true,
        internal_allowed: false,
        timeout: TIMEOUT,
        parts: vec![ProducePart {
            topic: TopicTarget::Known(tp.0),
            partition: tp.1,
            records: Some(builder.build()),
        }],
    };
    let outcome = broker.submit_produce(request).await.await;
    if let Some(Ok(produced)) = outcome.parts.into_iter().next() {
        let base = produced.base_offset;
        world.tell(Event::KeyedAnswered {
            tp,
            ids,
            acks,
            base,
        });
    }
}

pub(super) async fn read(broker: &Broker, client: &Rc<Client>, read: &ReadKeyed) {
    let Some(topic) = client.topic(broker, KEYED) else {
        return;
    };
    let tp = tp_of(&topic, read.partition);
    let end = client.keyed_end.borrow().get(&tp).copied().unwrap_or(0);
    let from = end * i64::from(read.from) / 256;
    let world = client.world();
    if let Some(found) = scan(broker, &world, tp, from, read.bytes_max).await {
        let end = found.high_watermark.max(end);
        client.keyed_end.borrow_mut().insert(tp, end);
        world.tell(Event::KeyedRead(Box::new(found)));
    }
}

/// Reads from an offset until nothing more is there. `None`: something that was read is wrong, and
/// was said.
pub(crate) async fn scan(
    broker: &Broker,
    world: &Shared,
    tp: Tp,
    from: i64,
    bytes_max: i32,
) -> Option<KeyedRead> {
    let mut read = KeyedRead {
        tp,
        from,
        is_full: false,
        error: None,
        high_watermark: -1,
        upto: from,
        wall_ms: 0,
        found: Vec::new(),
    };
    loop {
        let wants = [(tp, read.upto, -1)];
        let request = request(&wants, bytes_max, 0, Isolation::ReadUncommitted);
        let outcome = broker.fetch(request).await;
        let part = outcome.partitions.first()?;
        if let Some(error) = &part.error {
            read.error = Some(error.code());
            return Some(read);
        }
        read.high_watermark = part.high_watermark;
        read.wall_ms = wall_clock_ms();
        let before = read.upto;
        if let Err(message) = take(&mut read, &part.records) {
            let message = format!("{tp:?}: {message}");
            world.tell(Event::Garbled { message });
            return None;
        }
        if read.upto == before || read.upto >= read.high_watermark {
            return Some(read);
        }
    }
}

/// Takes what was read apart.
fn take(read: &mut KeyedRead, records: &[Bytes]) -> Result<(), String> {
    let bytes = records.concat();
    for batch in batches(&bytes) {
        let batch = batch.map_err(|error| format!("what was read is no batch: {error}"))?;
        let (header, body) = (batch.header, &bytes[batch.range]);
        let base = header.base_offset;
        if !crc_is_valid(body) || header.next_offset() <= read.upto {
            return Err(format!("the batch at {base} is not where it belongs"));
        }
        let wrong = |error: &dyn std::fmt::Display| format!("the batch at {base}: {error}");
        let mut workspace = Workspace::new();
        let limits = Limits::default();
        let mut stream = RecordStream::new(body, &header, &limits, &mut workspace)
            .map_err(|error| wrong(&error))?;
        while let Some(record) = stream.next().map_err(|error| wrong(&error))? {
            let offset = base + i64::from(record.offset_delta);
            let mut headers = record.headers;
            let id = headers.find(|header| header.key == NAME);
            let id = id.and_then(|header| header.value?.try_into().ok());
            let id = id.ok_or_else(|| wrong(&"a record of nobody's"))?;
            if offset >= read.upto {
                read.found.push(KeyedFound {
                    offset,
                    record: KeyedRecord {
                        id: u64::from_be_bytes(id),
                        key: record.key.unwrap_or_default().to_vec(),
                        value: record.value.map(<[u8]>::to_vec),
                    },
                });
            }
        }
        read.upto = header.next_offset();
    }
    Ok(())
}
