//! Requests of the hot path, encoded once and patched in place for each send: Produce 7, Fetch 11.
//!
//! Sending allocates nothing: a frame is a template whose correlation id, partitions, stamps and
//! checksums are overwritten. Every record's value begins with a stamp: the nanosecond at which its
//! request was *meant* to be sent, eight bytes, big-endian.

use anyhow::{Context, ensure};
use tailwater_record::{BatchBuilder, HEADER_BYTES, NewRecord, RecordIter, computed_crc};

use crate::clock;

/// Versions that brokers of the last years and 4.x speak alike.
pub(crate) const PRODUCE: (i16, i16) = (0, 7);
/// See [`PRODUCE`].
pub(crate) const FETCH: (i16, i16) = (1, 11);

/// A stamp at the begin of each record's value.
pub(crate) const STAMP_BYTES: usize = 8;

const CORRELATION_AT: usize = 8;
/// Where a batch has its checksum.
const CRC_AT: usize = 17;

/// What a produce request is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of a record's value, the stamp among them.
    pub(crate) value_bytes: usize,
    /// Bytes of a record's key; without keys 0.
    pub(crate) key_bytes: usize,
    /// Records in a batch.
    pub(crate) records: usize,
    /// Batches in a request, each to another partition.
    pub(crate) batches: usize,
}

/// Bytes being put together in Kafka's older encoding (fixed lengths).
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn request((api_key, version): (i16, i16)) -> Self {
        let mut writer = Self(vec![0; 4]);
        writer.i16(api_key);
        writer.i16(version);
        writer.i32(0);
        writer.text("tailwater-perf");
        writer
    }

    fn i8(&mut self, value: i8) {
        self.0.extend(value.to_be_bytes());
    }

    fn i16(&mut self, value: i16) {
        self.0.extend(value.to_be_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.0.extend(value.to_be_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.0.extend(value.to_be_bytes());
    }

    fn count(&mut self, count: usize) {
        self.i32(i32::try_from(count).expect("a bounded count"));
    }

    fn text(&mut self, text: &str) {
        self.i16(i16::try_from(text.len()).expect("a bounded name"));
        self.0.extend(text.as_bytes());
    }

    /// Sets the length.
    fn end(mut self) -> Vec<u8> {
        let length = i32::try_from(self.0.len() - 4).expect("a bounded frame");
        put(&mut self.0, 0, &length.to_be_bytes());
        self.0
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// A produce request to be sent again and again.
pub(crate) struct ProduceFrame {
    bytes: Vec<u8>,
    batches: Vec<BatchAt>,
}

struct BatchAt {
    partition_at: usize,
    begin: usize,
    end: usize,
    stamps: Vec<usize>,
}

impl ProduceFrame {
    /// A request of `shape` to `topic`. Values and keys are bytes that do not compress, made from
    /// `seed`.
    pub(crate) fn new(topic: &str, acks: i16, shape: Shape, seed: u64) -> anyhow::Result<Self> {
        ensure!(
            shape.value_bytes >= STAMP_BYTES,
            "a record needs {STAMP_BYTES} bytes for its stamp"
        );
        ensure!(
            shape.records > 0 && shape.batches > 0,
            "a request without records"
        );
        let mut noise = Noise::new(seed);
        let mut writer = Writer::request(PRODUCE);
        writer.i16(-1);
        writer.i16(acks);
        writer.i32(30_000);
        writer.count(1);
        writer.text(topic);
        writer.count(shape.batches);
        let mut batches = Vec::new();
        for _ in 0..shape.batches {
            let batch = batch(shape, &mut noise);
            let partition_at = writer.0.len();
            writer.i32(0);
            writer.count(batch.len());
            let begin = writer.0.len();
            let stamps = stamps_of(&batch)?
                .into_iter()
                .map(|at| begin + at)
                .collect();
            writer.0.extend(batch);
            let end = writer.0.len();
            batches.push(BatchAt {
                partition_at,
                begin,
                end,
                stamps,
            });
        }
        Ok(Self {
            bytes: writer.end(),
            batches,
        })
    }

    /// Makes it the request number `correlation`, due at `intended_ns`, for `batches` partitions in
    /// turn from `partition` on.
    pub(crate) fn stamp(
        &mut self,
        correlation: i32,
        partition: usize,
        partitions: usize,
        intended_ns: u64,
    ) {
        put(&mut self.bytes, CORRELATION_AT, &correlation.to_be_bytes());
        for (index, at) in self.batches.iter().enumerate() {
            let partition =
                i32::try_from((partition + index) % partitions).expect("few partitions");
            put(&mut self.bytes, at.partition_at, &partition.to_be_bytes());
            for stamp_at in &at.stamps {
                put(&mut self.bytes, *stamp_at, &intended_ns.to_be_bytes());
            }
            let crc = computed_crc(&self.bytes[at.begin..at.end]).expect("it has a header");
            put(&mut self.bytes, at.begin + CRC_AT, &crc.to_be_bytes());
        }
    }

    /// As it goes to the socket.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// One uncompressed batch.
fn batch(shape: Shape, noise: &mut Noise) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for _ in 0..shape.records {
        let (key, value) = (noise.bytes(shape.key_bytes), noise.bytes(shape.value_bytes));
        builder.push(NewRecord {
            timestamp: clock::unix_ms(),
            key: (shape.key_bytes > 0).then_some(&key),
            value: Some(&value),
            headers: &[],
        });
    }
    builder.build().to_vec()
}

/// Where the values of a batch begin.
fn stamps_of(batch: &[u8]) -> anyhow::Result<Vec<usize>> {
    let (header, payload) = batch.split_at(HEADER_BYTES);
    let count = i32::from_be_bytes(header[HEADER_BYTES - 4..].try_into()?);
    let place = |value: &[u8]| value.as_ptr() as usize - batch.as_ptr() as usize;
    RecordIter::new(payload, count)
        .map(|record| Ok(place(record?.value.context("a record without a value")?)))
        .collect()
}

/// Reads the stamp of each record of `records`, whole batches one after the other. Returns the offset
/// behind the last whole batch, if there is one.
pub(crate) fn read_stamps(
    records: &[u8],
    mut stamp: impl FnMut(u64),
) -> anyhow::Result<Option<i64>> {
    let mut next = None;
    // The last batch of an answer may be cut off: it comes again.
    for batch in tailwater_record::batches(records).map_while(Result::ok) {
        let header = &batch.header;
        next = Some(header.base_offset + i64::from(header.last_offset_delta) + 1);
        let payload = &records[batch.range.start + HEADER_BYTES..batch.range.end];
        for record in RecordIter::new(payload, header.record_count) {
            let value = record?.value.unwrap_or_default();
            let bytes = value.first_chunk().context("a record without a stamp")?;
            stamp(u64::from_be_bytes(*bytes));
        }
    }
    Ok(next)
}

/// The offset behind the last whole batch, without looking at its records.
pub(crate) fn next_offset(records: &[u8]) -> Option<i64> {
    let batches = tailwater_record::batches(records).map_while(Result::ok);
    let last = batches.last()?.header;
    Some(last.base_offset + i64::from(last.last_offset_delta) + 1)
}

/// A fetch request, outside any session, to be sent again and again.
pub(crate) struct FetchFrame {
    bytes: Vec<u8>,
    offsets: Vec<usize>,
}

impl FetchFrame {
    /// For all of `partitions` partitions: parks for `wait_ms` until there is a byte, and returns at
    /// most `bytes_max`, `partition_bytes_max` of a partition.
    pub(crate) fn new(topic: &str, partitions: usize, wait_ms: i32, bytes_max: i32) -> Self {
        let mut writer = Writer::request(FETCH);
        writer.i32(-1);
        writer.i32(wait_ms);
        writer.i32(1);
        writer.i32(bytes_max);
        writer.i8(0);
        writer.i32(0);
        writer.i32(-1);
        writer.count(1);
        writer.text(topic);
        writer.count(partitions);
        let mut offsets = Vec::new();
        for index in 0..partitions {
            writer.count(index);
            writer.i32(-1);
            offsets.push(writer.0.len());
            writer.i64(0);
            writer.i64(-1);
            writer.i32(bytes_max);
        }
        writer.count(0);
        writer.text("");
        Self {
            bytes: writer.end(),
            offsets,
        }
    }

    /// Where to read a partition from next.
    pub(crate) fn set_offset(&mut self, partition: usize, offset: i64) {
        put(
            &mut self.bytes,
            self.offsets[partition],
            &offset.to_be_bytes(),
        );
    }

    /// Makes it the request number `correlation`.
    pub(crate) fn stamp(&mut self, correlation: i32) {
        put(&mut self.bytes, CORRELATION_AT, &correlation.to_be_bytes());
    }

    /// As it goes to the socket.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = count.div_ceil(8);
        let mut bytes: Vec<u8> = (0..words).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(count);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tailwater_wire::{Request, RequestFrame};

    use super::*;

    const SHAPE: Shape = Shape {
        value_bytes: 100,
        key_bytes: 16,
        records: 3,
        batches: 2,
    };

    #[test]
    fn a_stamped_request_is_what_a_broker_takes() {
        let mut frame = ProduceFrame::new("topic", -1, SHAPE, 1).unwrap();
        frame.stamp(1, 0, 5, 11);
        frame.stamp(77, 4, 5, 123_456_789_012);
        let read = RequestFrame::decode(Bytes::copy_from_slice(&frame.bytes()[4..])).unwrap();
        assert_eq!(read.header.correlation_id, 77);
        let Request::Produce(request) = Request::decode(&read.header, read.body).unwrap() else {
            panic!("not a produce request");
        };
        let partitions = &request.topics[0].partitions;
        assert_eq!(
            partitions.iter().map(|one| one.index).collect::<Vec<_>>(),
            [4, 0]
        );
        for partition in partitions {
            let records = partition.records.as_ref().unwrap();
            assert!(tailwater_record::crc_is_valid(records));
            let mut stamps = Vec::new();
            assert_eq!(
                read_stamps(records, |stamp| stamps.push(stamp)).unwrap(),
                Some(3)
            );
            assert_eq!(stamps, [123_456_789_012; 3]);
        }
    }

    #[test]
    fn a_fetch_request_asks_for_the_offsets_that_were_set() {
        let mut frame = FetchFrame::new("topic", 3, 500, 1 << 20);
        frame.set_offset(2, 42);
        frame.stamp(5);
        let read = RequestFrame::decode(Bytes::copy_from_slice(&frame.bytes()[4..])).unwrap();
        let Request::Fetch(request) = Request::decode(&read.header, read.body).unwrap() else {
            panic!("not a fetch request");
        };
        let offsets: Vec<i64> = request.topics[0]
            .partitions
            .iter()
            .map(|one| one.fetch_offset)
            .collect();
        assert_eq!(offsets, [0, 0, 42]);
    }

    #[test]
    fn a_record_too_small_for_its_stamp_is_refused() {
        let small = Shape {
            value_bytes: 7,
            ..SHAPE
        };
        assert!(ProduceFrame::new("topic", 1, small, 1).is_err());
    }
}
