//! What a checkpoint says of one log: enough to start it again with the runs that the WAL has.

use tailwater_shards::planted::{self, Planted};

use super::{BatchSummary, Log, RecoveredProducers};
use crate::error::Corrupt;
use crate::fields::{Reader, Writer};
use crate::ids::TopicPartition;
use crate::segment::SegmentName;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentRecord {
    pub(crate) base: i64,
    /// The file's durable bytes: all of it if `closed` and complete.
    pub(crate) durable_len: u64,
    /// For a closed segment its length; else what was appended, which the WAL's runs extend.
    pub(crate) len: u64,
    pub(crate) max_timestamp: i64,
    pub(crate) created_ms: i64,
    pub(crate) closed: bool,
    /// How often it was cleaned.
    pub(crate) version: u32,
}

impl SegmentRecord {
    pub(crate) fn name(&self) -> SegmentName {
        SegmentName {
            base: self.base,
            version: self.version,
        }
    }
}

/// A log as of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionRecord {
    pub(crate) tp: TopicPartition,
    /// The log was deleted; nothing else is said.
    pub(crate) dropped: bool,
    pub(crate) log_start: i64,
    /// Everything below is in segments: replay begins with the run that holds it.
    pub(crate) tail_offset: i64,
    /// The appended end: all of it was durable before the checkpoint counted.
    pub(crate) end: i64,
    pub(crate) segments: Vec<SegmentRecord>,
    pub(crate) epochs: Vec<(i32, i64)>,
    pub(crate) producers: RecoveredProducers,
    pub(crate) damage: Option<Corrupt>,
    /// Compaction has seen every record below.
    pub(crate) cleaned_upto: i64,
    /// Compaction has taken something away: offsets may be missing anywhere.
    pub(crate) has_gaps: bool,
}

/// Bits of a record's first byte.
const DROPPED: u8 = 1;
const CLEANED: u8 = 2;

impl PartitionRecord {
    pub(crate) fn dropped(tp: TopicPartition) -> Self {
        Self {
            tp,
            dropped: true,
            log_start: 0,
            tail_offset: 0,
            end: 0,
            segments: Vec::new(),
            epochs: Vec::new(),
            producers: RecoveredProducers::default(),
            damage: None,
            cleaned_upto: 0,
            has_gaps: false,
        }
    }

    pub(crate) fn encode(&self, w: &mut Writer) {
        w.uuid(self.tp.topic);
        w.i32(self.tp.partition);
        w.u8(u8::from(self.dropped) * DROPPED + u8::from(self.has_gaps) * CLEANED);
        w.i64(self.log_start);
        w.i64(self.tail_offset);
        w.i64(self.end);
        w.u32(count(self.segments.len()));
        for segment in &self.segments {
            w.i64(segment.base);
            w.u64(segment.durable_len);
            w.u64(segment.len);
            w.i64(segment.max_timestamp);
            w.i64(segment.created_ms);
            w.u8(u8::from(segment.closed));
        }
        w.u32(count(self.epochs.len()));
        for (epoch, start) in &self.epochs {
            w.i32(*epoch);
            w.i64(*start);
        }
        encode_producers(&self.producers, w);
        match &self.damage {
            None => w.u8(0),
            Some(damage) => {
                w.u8(1);
                w.bytes(damage.file.to_string_lossy().as_bytes());
                w.u64(damage.position);
                w.bytes(damage.what.as_bytes());
            }
        }
        if self.has_gaps {
            w.i64(self.cleaned_upto);
            for segment in &self.segments {
                w.u32(segment.version);
            }
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Option<Self> {
        let tp = TopicPartition {
            topic: r.uuid()?,
            partition: r.i32()?,
        };
        let bits = r.u8()?;
        if bits & !(DROPPED | CLEANED) != 0 {
            return None;
        }
        let log_start = r.i64()?;
        let tail_offset = r.i64()?;
        let end = r.i64()?;
        let mut segments = Vec::new();
        for _ in 0..r.count(41)? {
            segments.push(SegmentRecord {
                base: r.i64()?,
                durable_len: r.u62()?,
                len: r.u62()?,
                max_timestamp: r.i64()?,
                created_ms: r.i64()?,
                closed: r.u8()? != 0,
                version: 0,
            });
        }
        let mut epochs = Vec::new();
        for _ in 0..r.count(12)? {
            epochs.push((r.i32()?, r.i64()?));
        }
        let producers = decode_producers(r)?;
        let damage = match r.u8()? {
            0 => None,
            _ => Some(Corrupt {
                file: String::from_utf8_lossy(r.bytes()?).into_owned().into(),
                position: r.u62()?,
                what: String::from_utf8_lossy(r.bytes()?).into_owned(),
            }),
        };
        let mut cleaned_upto = 0;
        if bits & CLEANED != 0 {
            cleaned_upto = r.i64()?;
            for segment in &mut segments {
                segment.version = r.u32()?;
            }
        }
        let record = Self {
            tp,
            dropped: bits & DROPPED != 0,
            log_start,
            tail_offset,
            end,
            segments,
            epochs,
            producers,
            damage,
            cleaned_upto,
            has_gaps: bits & CLEANED != 0,
        };
        record.is_of_a_log().then_some(record)
    }

    /// What damage has left of a log need not fit together: its end may lie before its start, or
    /// before segments that follow the damage. It is only kept to say why the log is out of service,
    /// and the whole checkpoint would be refused for it, so it is made to fit.
    fn of_a_damaged_log(mut self) -> Self {
        self.log_start = self.log_start.max(0);
        self.tail_offset = self.tail_offset.max(0);
        let bases = self.segments.iter().map(|segment| segment.base);
        let end = self.end.max(self.log_start).max(self.tail_offset);
        self.end = bases.fold(end, i64::max);
        self.segments.retain(|segment| segment.base >= 0);
        self.segments.sort_by_key(|segment| segment.base);
        let last = self.segments.len().saturating_sub(1);
        for (index, segment) in self.segments.iter_mut().enumerate() {
            segment.len = segment.len.max(segment.durable_len);
            segment.closed |= index < last || segment.version > 0;
            if segment.version > 0 {
                segment.len = segment.durable_len;
            }
        }
        self.cleaned_upto = self.cleaned_upto.clamp(0, self.tail_offset);
        self
    }

    /// Whether a log can have been like this: under a right checksum other bytes were never ours.
    fn is_of_a_log(&self) -> bool {
        let offsets = [0, self.log_start, self.end];
        let bases = self.segments.iter().map(|segment| segment.base);
        let before_last = self.segments.iter().rev().skip(1);
        offsets.is_sorted()
            && (0..=self.end).contains(&self.tail_offset)
            && (0..=self.tail_offset).contains(&self.cleaned_upto)
            && bases.is_sorted()
            && self.segments.iter().all(|segment| {
                let complete = segment.closed && segment.durable_len == segment.len;
                (0..=self.end).contains(&segment.base)
                    && segment.durable_len <= segment.len
                    && (complete || segment.version == 0)
            })
            && before_last.into_iter().all(|segment| segment.closed)
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("bounded by memory")
}

fn encode_producers(producers: &RecoveredProducers, w: &mut Writer) {
    match &producers.snapshot {
        None => w.u8(0),
        Some((upto, bytes)) => {
            w.u8(1);
            w.i64(*upto);
            w.bytes(bytes);
        }
    }
    w.u32(count(producers.batches.len()));
    for batch in &producers.batches {
        w.i64(batch.base_offset);
        w.i64(batch.last_offset);
        w.i64(batch.producer_id);
        w.u16(batch.producer_epoch.cast_unsigned());
        w.i32(batch.base_sequence);
        w.i32(batch.last_sequence);
        w.i64(batch.max_timestamp);
    }
}

fn decode_producers(r: &mut Reader<'_>) -> Option<RecoveredProducers> {
    let snapshot = match r.u8()? {
        0 => None,
        _ => Some((r.i64()?, r.owned_bytes()?)),
    };
    let mut batches = Vec::new();
    for _ in 0..r.count(42)? {
        batches.push(BatchSummary {
            base_offset: r.i64()?,
            last_offset: r.i64()?,
            producer_id: r.i64()?,
            producer_epoch: r.u16()?.cast_signed(),
            base_sequence: r.i32()?,
            last_sequence: r.i32()?,
            max_timestamp: r.i64()?,
        });
    }
    Some(RecoveredProducers { snapshot, batches })
}

impl Log {
    /// What a checkpoint taken now says. Everything appended must be durable before it counts:
    /// the producer state in it is that of the appended end.
    pub(crate) fn record(&self) -> PartitionRecord {
        let inner = &self.inner;
        let state = inner.state.borrow();
        let appended = inner.appended.get();
        let mut outstanding = state.tail.outstanding().next().map(|run| run.span.base);
        if planted::is(Planted::CheckpointPassesTail) {
            outstanding = None;
        }
        // Without a run outstanding, what is not durable yet has not got one either.
        let tail_offset = outstanding.unwrap_or_else(|| inner.durable.get());
        let segments = state.segments.iter().map(|segment| SegmentRecord {
            base: segment.base,
            durable_len: segment.durable_len,
            len: segment.len,
            max_timestamp: segment.max_timestamp,
            created_ms: segment.created_ms,
            closed: segment.closed,
            version: segment.version,
        });
        let producers = inner.producers.borrow();
        let snapshot = producers.snapshot.clone();
        let recovered = producers.recovered.clone();
        drop(producers);
        let producers = match snapshot {
            Some(snapshot) => RecoveredProducers {
                snapshot: Some((appended, snapshot())),
                batches: Vec::new(),
            },
            None => recovered,
        };
        let record = PartitionRecord {
            tp: inner.tp,
            dropped: inner.dropped.get(),
            log_start: match planted::is(Planted::LogStartLostAtCheckpoint) {
                true => state.segments.front().map_or(0, |first| first.base),
                false => inner.log_start.get(),
            },
            tail_offset,
            end: appended,
            segments: segments.collect(),
            epochs: state.epochs.entries().to_vec(),
            producers,
            damage: inner.damage.borrow().as_deref().cloned(),
            cleaned_upto: inner.cleaned_upto.get(),
            has_gaps: inner.has_gaps.get(),
        };
        match record.damage {
            None => record,
            Some(_) => record.of_a_damaged_log(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use uuid::Uuid;

    #[test]
    fn a_record_reads_as_it_was_written_and_never_past_its_end() {
        let summary = BatchSummary {
            base_offset: 5,
            last_offset: 6,
            producer_id: 7,
            producer_epoch: -1,
            base_sequence: 8,
            last_sequence: 9,
            max_timestamp: 10,
        };
        let record = PartitionRecord {
            tp: TopicPartition::new(Uuid::from_u128(1), 3),
            dropped: false,
            log_start: 2,
            tail_offset: 11,
            end: 12,
            segments: vec![SegmentRecord {
                base: 0,
                durable_len: 4096,
                len: 5000,
                max_timestamp: 9,
                created_ms: 1,
                closed: true,
                version: 0,
            }],
            epochs: vec![(1, 0), (4, 9)],
            producers: RecoveredProducers {
                snapshot: Some((11, Bytes::from_static(b"state"))),
                batches: vec![summary],
            },
            damage: Some(Corrupt {
                file: "f".into(),
                position: 1,
                what: "w".into(),
            }),
            cleaned_upto: 4,
            has_gaps: true,
        };
        let mut cleaned = record.clone();
        cleaned.segments[0].durable_len = 5000;
        cleaned.segments[0].version = 2;
        let mut whole = record.clone();
        (whole.cleaned_upto, whole.has_gaps) = (0, false);
        for record in [record, cleaned, whole] {
            reads_as_written(&record);
        }
    }

    fn reads_as_written(record: &PartitionRecord) {
        let mut w = Writer::default();
        record.encode(&mut w);
        let read = PartitionRecord::decode(&mut Reader(&w.0));
        assert_eq!(read.as_ref(), Some(record));
        for len in 0..w.len() {
            assert_eq!(
                PartitionRecord::decode(&mut Reader(&w.0[..len])),
                None,
                "{len} bytes"
            );
        }
    }

    #[test]
    fn what_no_log_can_have_been_like_is_no_record() {
        let segment = |base| SegmentRecord {
            base,
            durable_len: 10,
            len: 10,
            max_timestamp: -1,
            created_ms: 0,
            closed: true,
            version: 0,
        };
        let sound = PartitionRecord {
            dropped: false,
            log_start: 2,
            tail_offset: 11,
            end: 12,
            segments: vec![segment(0), segment(7)],
            has_gaps: true,
            ..PartitionRecord::dropped(TopicPartition::new(Uuid::from_u128(1), 3))
        };
        type Change = fn(&mut PartitionRecord);
        let changes: [Change; 10] = [
            |_| {},
            |record| record.log_start = -1,
            |record| record.log_start = 13,
            |record| record.tail_offset = 13,
            |record| record.cleaned_upto = 12,
            |record| record.segments.reverse(),
            |record| record.segments[1].base = i64::MAX,
            |record| record.segments[0].durable_len = 11,
            |record| record.segments[0].closed = false,
            |record| (record.segments[1].version, record.segments[1].closed) = (1, false),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut record = sound.clone();
            change(&mut record);
            let mut w = Writer::default();
            record.encode(&mut w);
            let read = PartitionRecord::decode(&mut Reader(&w.0));
            assert_eq!(read.is_some(), number == 0, "change {number}");
            // A log out of service may well be like this, and takes no checkpoint along.
            let kept = record.of_a_damaged_log();
            let mut w = Writer::default();
            kept.encode(&mut w);
            let read = PartitionRecord::decode(&mut Reader(&w.0));
            assert_eq!(read, Some(kept), "change {number}");
        }
    }
}
