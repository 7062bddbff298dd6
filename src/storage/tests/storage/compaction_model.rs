//! What compaction must leave: a model of every record, and the checks that compare a log with it.
//!
//! Whatever is read has to be in the model, at its offset, in its batch; and of each key the newest
//! durable record has to be found, or it is a tombstone whose time is over.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use tailwater_record::{Limits, RecordStream, Workspace, batches, crc_is_valid};
use tailwater_shards::wall_clock_ms;
use tailwater_storage::Log;

use crate::harness::below;

pub const DELETE_RETENTION_MS: i64 = 400;

/// A batch as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub last: i64,
    pub epoch: i32,
    pub producer: i64,
    pub sequence: i32,
    pub durable: bool,
}

/// A record as it was appended: key, value, timestamp.
pub type Record = (Vec<u8>, Option<Vec<u8>>, i64);

#[derive(Default)]
pub struct Partition {
    pub batches: BTreeMap<i64, Batch>,
    pub records: BTreeMap<i64, Record>,
    pub log_start_asked: i64,
    pub log_start_durable: i64,
    pub sequences: BTreeMap<i64, i32>,
}

#[derive(Default)]
pub struct Model {
    pub partitions: BTreeMap<i32, Partition>,
    pub generation: u64,
    /// Records that were found gone because they were superseded.
    pub compacted: u64,
    pub tombstones_gone: u64,
    pub emptied: u64,
}

/// What a log holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub batches: Vec<(i64, i64)>,
    pub records: Vec<(i64, i64)>,
}

/// What a start found is what was durable; the model forgets what was lost.
pub async fn check_start(model: &Rc<RefCell<Model>>, log: &Log) {
    {
        let mut model = model.borrow_mut();
        let known = model
            .partitions
            .entry(log.topic_partition().partition)
            .or_default();
        let end = log.appended_end().0;
        assert_eq!(log.durable_end().0, end, "what a start finds is durable");
        let lost = known.batches.split_off(&end);
        assert!(lost.values().all(|batch| !batch.durable), "{lost:?}");
        known.records.split_off(&end);
        known
            .batches
            .values_mut()
            .for_each(|batch| batch.durable = true);
        assert!(log.log_start() >= known.log_start_durable);
        assert!(log.log_start() <= known.log_start_asked);
        known.log_start_asked = log.log_start();
        known.log_start_durable = log.log_start();
        // Where a producer goes on matters to nobody here, only what is kept of its batches.
        let batches = known.batches.values();
        let sequences = batches.map(|batch| (batch.producer, batch.sequence + 1_000));
        known.sequences = sequences.collect();
    }
    check(model, log).await;
}

/// Batches of a piece, each compared with the model.
fn compare(model: &RefCell<Model>, log: &Log, bytes: &Bytes, from: i64, held: &mut Held) {
    let model = model.borrow();
    let known = &model.partitions[&log.topic_partition().partition];
    let mut next = from;
    for batch in batches(bytes) {
        let batch = batch.unwrap();
        let (header, body) = (batch.header, &bytes[batch.range]);
        assert!(crc_is_valid(body));
        assert!(header.last_offset() >= next, "the order never changes");
        let was = &known.batches[&header.base_offset];
        assert_eq!(
            (header.last_offset(), header.partition_leader_epoch),
            (was.last, was.epoch)
        );
        assert_eq!(
            (header.producer_id, header.base_sequence),
            (was.producer, was.sequence)
        );
        let mut workspace = Workspace::new();
        let mut records =
            RecordStream::new(body, &header, &Limits::default(), &mut workspace).unwrap();
        while let Some(record) = records.next().unwrap() {
            let offset = header.base_offset + i64::from(record.offset_delta);
            let timestamp = header.base_timestamp + record.timestamp_delta;
            let (key, value, at) = &known.records[&offset];
            assert_eq!(record.key, Some(key.as_slice()), "at {offset}");
            assert_eq!(record.value, value.as_deref(), "at {offset}");
            assert_eq!(timestamp, *at, "at {offset}");
            assert!(timestamp <= header.max_timestamp);
            if offset >= from {
                held.records.push((offset, timestamp));
            }
        }
        next = header.next_offset();
        held.batches
            .push((header.base_offset, header.last_offset()));
    }
}

/// A read anywhere is answered with what follows there.
pub async fn read_some(model: &Rc<RefCell<Model>>, log: &Log, at: i64) {
    let end = log.durable_end().0;
    // The log start may move past it meanwhile.
    let Ok(read) = log.read(at, end, 20_000, true).await else {
        assert!(at < log.log_start(), "a read at {at} fails");
        return;
    };
    assert!(read.bytes > 0 || at >= end, "nothing at {at} below {end}");
    let bytes: Bytes = read.slices.concat().into();
    compare(model, log, &bytes, at, &mut Held::default());
}

async fn read_all(model: &Rc<RefCell<Model>>, log: &Log) -> Option<(Held, i64)> {
    let (mut at, end) = (log.log_start(), log.durable_end().0);
    let mut held = Held::default();
    while at < end {
        let read = match log.read(at, end, 30_000, true).await {
            Ok(read) => read,
            Err(error) => {
                assert!(at < log.log_start(), "a read at {at} fails: {error}");
                return None;
            }
        };
        assert!(read.bytes > 0, "nothing at {at} below {end}");
        let bytes: Bytes = read.slices.concat().into();
        compare(model, log, &bytes, at, &mut held);
        assert!(read.next > at);
        at = read.next;
    }
    Some((held, end))
}

/// Of each key the newest durable record is there, and of each producer the last batch.
pub async fn check(model: &Rc<RefCell<Model>>, log: &Log) {
    let start_before = log.log_start();
    let Some((held, end)) = read_all(model, log).await else {
        return;
    };
    if start_before != log.log_start() {
        return;
    }
    judge(model, log, &held, start_before, end);
    check_times(log, &held, end).await;
}

fn judge(model: &RefCell<Model>, log: &Log, held: &Held, start_before: i64, end: i64) {
    let now_ms = wall_clock_ms();
    let found: BTreeMap<i64, i64> = held.records.iter().copied().collect();
    let mut gone_tombstones = 0;
    let mut model_ref = model.borrow_mut();
    let known = &model_ref.partitions[&log.topic_partition().partition];
    let mut newest = BTreeMap::new();
    for (offset, (key, ..)) in known.records.range(..end) {
        newest.insert(key, *offset);
    }
    for (key, offset) in newest.into_iter().filter(|(_, at)| *at >= start_before) {
        if found.contains_key(&offset) {
            continue;
        }
        let (_, value, appended_ms) = &known.records[&offset];
        let key = String::from_utf8_lossy(key);
        assert!(
            value.is_none(),
            "{key}: the newest record at {offset} is gone"
        );
        assert!(
            now_ms >= appended_ms + DELETE_RETENTION_MS,
            "{key}: the tombstone at {offset} is gone after {} ms",
            now_ms - appended_ms
        );
        gone_tombstones += 1;
    }
    let mut last = BTreeMap::new();
    for (base, batch) in known.batches.range(..end) {
        last.insert(batch.producer, (*base, batch.last));
    }
    for (producer, batch) in last
        .into_iter()
        .filter(|(_, (_, last))| *last >= start_before)
    {
        assert!(
            held.batches.contains(&batch),
            "{producer}: its last batch {batch:?} is gone"
        );
    }
    let all = known.records.range(start_before..end).count();
    let compacted = (all - found.len()) as u64;
    let with_records = |(base, last): &&(i64, i64)| found.range(*base..=*last).next().is_some();
    let emptied = held.batches.len() - held.batches.iter().filter(with_records).count();
    model_ref.compacted = compacted;
    model_ref.tombstones_gone += gone_tombstones;
    model_ref.emptied += emptied as u64;
}

/// Lookups by time find the first record that is there, whatever has gone before it.
async fn check_times(log: &Log, held: &Held, end: i64) {
    let times = held.records.iter().map(|(_, timestamp)| *timestamp);
    let Some(newest) = times.clone().max() else {
        return;
    };
    let wanted = times.min().unwrap() + below(3000) as i64;
    let expected = held.records.iter().find(|(_, at)| *at >= wanted).copied();
    let by_time = log.offset_for_timestamp(wanted, end).await;
    let greatest = log.max_timestamp(end).await;
    // What was cleaned or cut off meanwhile is not what was read.
    let probe = Rc::new(RefCell::new(Vec::new()));
    let still = still_there(log, end, &probe).await;
    if !still || *probe.borrow() != held.records {
        return;
    }
    let by_time = by_time.unwrap().map(|hit| (hit.offset, hit.timestamp));
    assert_eq!(by_time, expected, "at or after {wanted}");
    let first = held.records.iter().find(|(_, at)| *at == newest).copied();
    let greatest = greatest.unwrap().map(|hit| (hit.offset, hit.timestamp));
    assert_eq!(greatest, first, "the greatest timestamp");
}

async fn still_there(log: &Log, end: i64, found: &RefCell<Vec<(i64, i64)>>) -> bool {
    let (from, mut at) = (log.log_start(), log.log_start());
    while at < end {
        let Ok(read) = log.read(at, end, 30_000, true).await else {
            return false;
        };
        let bytes = read.slices.concat();
        for batch in batches(&bytes) {
            let batch = batch.unwrap();
            let (header, body) = (batch.header, &bytes[batch.range]);
            let mut workspace = Workspace::new();
            let mut records =
                RecordStream::new(body, &header, &Limits::default(), &mut workspace).unwrap();
            while let Some(record) = records.next().unwrap() {
                let offset = header.base_offset + i64::from(record.offset_delta);
                let timestamp = header.base_timestamp + record.timestamp_delta;
                if offset >= from {
                    found.borrow_mut().push((offset, timestamp));
                }
            }
        }
        at = read.next;
    }
    true
}
