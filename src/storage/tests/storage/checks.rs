//! Comparing what a start found with the model.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use tailwater_record::batches;
use tailwater_storage::{Log, MetadataReplay, ReadError};

use crate::harness::{Known, Model, Partition};

/// Gives how many entries were found. They are settled once that start has come to its end: after
/// one that was cut down, a write that was still on its way may bring back what it did not find.
pub fn check_metadata(found: &MetadataReplay, model: &Model) -> usize {
    let mut all: Vec<Bytes> = Vec::new();
    if let Some(snapshot) = &found.snapshot {
        all.extend(snapshot.chunks(8).map(Bytes::copy_from_slice));
    }
    all.extend(found.entries.iter().cloned());
    assert!(
        all.len() >= model.metadata_durable,
        "acknowledged metadata is there"
    );
    assert_eq!(
        all,
        model.metadata[..all.len()],
        "metadata comes back in order, once"
    );
    all.len()
}

/// After damage a log is whole, or it is out of service and says so: nothing is missing in silence
/// and nothing wrong is served.
pub async fn check_damaged(log: &Log, model: &Rc<RefCell<Model>>) {
    let tp = log.topic_partition();
    // In small pieces, so that each begins where an index says.
    let read = try_read_all(log, 5_000).await;
    let mut model = model.borrow_mut();
    let costs_nothing = model.damage_costs_nothing;
    let partition = model.partitions.entry(tp).or_default();
    let known = |batch: &Known| (batch.base, batch.last, batch.crc, batch.epoch);
    let kept = partition
        .batches
        .iter()
        .filter(|batch| batch.last >= log.log_start());
    let expected: Vec<_> = kept.map(known).collect();
    match read {
        Err(error) => {
            assert!(!costs_nothing, "{tp}: an index is made again: {error}");
            assert!(log.health().is_err(), "{tp} is in service after {error}");
        }
        Ok(read) => {
            assert!(expected.starts_with(&read), "{tp}: nothing wrong is served");
            // Out of service, with a log start where its end is now, there was nothing to read.
            let refused = log.health().is_err();
            assert!(
                (refused && read.is_empty()) || read.len() == expected.len(),
                "{tp}: records are missing in silence"
            );
        }
    }
}

/// Reads a whole log back and compares it with the model, which then forgets what is gone.
pub async fn check_log(log: &Log, model: &Rc<RefCell<Model>>) {
    let tp = log.topic_partition();
    let read = read_all(log).await;
    let mut model = model.borrow_mut();
    let power_was_cut = model.power_was_cut;
    let cached = model.topics[&tp.topic].1;
    let partition = model.partitions.entry(tp).or_default();
    let end = log.appended_end().0;
    assert_eq!(log.durable_end().0, end, "what a start finds is durable");
    for lost in partition.batches.iter().filter(|batch| batch.last >= end) {
        assert!(
            !lost.durable,
            "{tp}: a durable batch is gone: {lost:?}, end {end}"
        );
        assert!(
            power_was_cut || !lost.written,
            "{tp}: a written batch is gone: {lost:?}"
        );
        let _ = cached;
    }
    partition.batches.retain(|batch| batch.last < end);
    partition.batches.iter_mut().for_each(|batch| {
        batch.written = true;
        batch.durable = true;
    });
    assert!(
        log.log_start() >= partition.log_start_durable,
        "{tp}: a log start is never lost"
    );
    assert!(log.log_start() <= partition.log_start_asked);
    partition.log_start_asked = log.log_start();
    partition.log_start_durable = log.log_start();
    let expected: Vec<_> = partition
        .batches
        .iter()
        .filter(|batch| batch.last >= log.log_start())
        .map(|batch| (batch.base, batch.last, batch.crc, batch.epoch))
        .collect();
    assert_eq!(read, expected, "{tp}");
    for (_, last, _, epoch) in &read {
        assert_eq!(log.epoch_at(*last), Some(*epoch), "{tp}: the epochs' list");
    }
    assert_eq!(
        end,
        partition.batches.last().map_or(0, |batch| batch.last + 1),
        "{tp}"
    );
    partition.sequence = check_producers(log, partition);
    drop(model);
}

/// The producer state that the start found is that of the log's end.
fn check_producers(log: &Log, partition: &Partition) -> i32 {
    let found = log.recovered_producers();
    let mut last = found
        .snapshot
        .as_ref()
        .map(|(_, bytes)| i32::from_le_bytes(bytes.as_ref().try_into().unwrap()))
        .filter(|last| *last >= 0);
    if let Some((upto, _)) = found.snapshot {
        assert!(
            upto <= log.appended_end().0,
            "a snapshot never knows of lost batches"
        );
    }
    for batch in &found.batches {
        last = Some(batch.last_sequence);
    }
    let expected = partition.batches.last().map(|batch| batch.sequence);
    assert_eq!(last, expected, "{}: {found:?}", log.topic_partition());
    expected.map_or(0, |sequence| sequence + 1)
}

/// Sets the function that checkpoints call: the last sequence of the model.
pub fn set_producers(model: &Rc<RefCell<Model>>, log: &Log) {
    let (model, tp) = (Rc::clone(model), log.topic_partition());
    log.set_producer_snapshot(Rc::new(move || {
        let model = model.borrow();
        let last = model.partitions.get(&tp).map_or(-1, |p| p.sequence - 1);
        Bytes::copy_from_slice(&last.to_le_bytes())
    }));
}

pub async fn read_all(log: &Log) -> Vec<(i64, i64, u32, i32)> {
    try_read_all(log, 50_000).await.unwrap()
}

/// Base and last offset, checksum and leader epoch of every batch.
async fn try_read_all(log: &Log, bytes_max: usize) -> Result<Vec<(i64, i64, u32, i32)>, ReadError> {
    let mut at = log.log_start();
    let end = log.appended_end().0;
    let mut found = Vec::new();
    while at < end {
        let read = log.read(at, end, bytes_max, true).await?;
        assert!(
            read.bytes > 0,
            "{}: nothing at {at} below {end}",
            log.topic_partition()
        );
        let bytes = read.slices.concat();
        assert_eq!(bytes.len(), read.bytes);
        for batch in batches(&bytes) {
            let batch = batch.unwrap();
            assert!(tailwater_record::crc_is_valid(&bytes[batch.range]));
            let header = batch.header;
            found.push((
                header.base_offset,
                header.last_offset(),
                header.crc,
                header.partition_leader_epoch,
            ));
            at = header.next_offset();
        }
    }
    Ok(found)
}
