//! Making batches: for internal topics, which we write ourselves, and for tests.

use bytes::Bytes;

use crate::codec::{Compression, Compressor};
use crate::header::{
    Attributes, BatchHeader, HEADER_BYTES, NO_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, NO_TIMESTAMP, TimestampType,
};
use crate::headers::Header;
use crate::rewrite::finish;
use crate::varint::{put_varlong, varlong_bytes};
use crate::workspace::Workspace;

/// A record to be put into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewRecord<'a> {
    /// Unix ms, or [`NO_TIMESTAMP`].
    pub timestamp: i64,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [Header<'a>],
}

/// Gathers records and makes one batch of them.
///
/// The caller bounds what it puts in: a batch whose length does not fit 31 bits is a fault of ours and
/// panics.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    header: BatchHeader,
    compression: Compression,
    records: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    /// An empty, uncompressed batch at offset 0, of no producer and no leader epoch: what a client sends.
    pub fn new() -> BatchBuilder {
        BatchBuilder {
            header: BatchHeader {
                base_offset: 0,
                batch_length: 0,
                partition_leader_epoch: NO_LEADER_EPOCH,
                crc: 0,
                attributes: Attributes::default(),
                last_offset_delta: -1,
                base_timestamp: NO_TIMESTAMP,
                max_timestamp: NO_TIMESTAMP,
                producer_id: NO_PRODUCER_ID,
                producer_epoch: NO_PRODUCER_EPOCH,
                base_sequence: NO_SEQUENCE,
                record_count: 0,
            },
            compression: Compression::default(),
            records: Vec::new(),
        }
    }

    /// The first record's offset.
    #[must_use]
    pub fn base_offset(mut self, base_offset: i64) -> BatchBuilder {
        self.header.base_offset = base_offset;
        self
    }

    /// The appending leader's epoch.
    #[must_use]
    pub fn leader_epoch(mut self, partition_leader_epoch: i32) -> BatchBuilder {
        self.header.partition_leader_epoch = partition_leader_epoch;
        self
    }

    /// How to compress.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> BatchBuilder {
        self.compression = compression;
        self.header.attributes = self.header.attributes.with_codec(compression.codec());
        self
    }

    /// From an idempotent producer.
    #[must_use]
    pub fn producer(
        mut self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
    ) -> BatchBuilder {
        self.header.producer_id = producer_id;
        self.header.producer_epoch = producer_epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Part of a transaction.
    #[must_use]
    pub fn transactional(mut self, transactional: bool) -> BatchBuilder {
        self.header.attributes = self.header.attributes.with_transactional(transactional);
        self
    }

    /// Of control records.
    #[must_use]
    pub fn control(mut self, control: bool) -> BatchBuilder {
        self.header.attributes = self.header.attributes.with_control(control);
        self
    }

    /// Who gave the timestamps. Under LogAppendTime the greatest of the records' is the batch's.
    #[must_use]
    pub fn timestamp_type(mut self, timestamp_type: TimestampType) -> BatchBuilder {
        self.header.attributes = self.header.attributes.with_timestamp_type(timestamp_type);
        self
    }

    /// Puts a record at the end.
    #[must_use]
    pub fn record(mut self, record: NewRecord<'_>) -> BatchBuilder {
        self.push(record);
        self
    }

    /// [`BatchBuilder::record`] in a loop.
    pub fn push(&mut self, record: NewRecord<'_>) {
        let header = &mut self.header;
        if header.record_count == 0 {
            header.base_timestamp = record.timestamp;
        }
        header.record_count = header
            .record_count
            .checked_add(1)
            .expect("a batch is bounded by its caller");
        header.last_offset_delta = header.record_count - 1;
        header.max_timestamp = header.max_timestamp.max(record.timestamp);
        let timestamp_delta = record.timestamp.wrapping_sub(header.base_timestamp);
        put_record(
            &mut self.records,
            &record,
            timestamp_delta,
            header.last_offset_delta,
        );
    }

    /// How many records there are.
    pub fn record_count(&self) -> u32 {
        self.header.record_count.cast_unsigned()
    }

    /// How long the batch would be without compression.
    pub fn uncompressed_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The batch, with its length and checksum.
    pub fn build(self) -> Bytes {
        self.build_with(&mut Workspace::new())
    }

    /// [`BatchBuilder::build`] with the shard's codec contexts.
    pub fn build_with(mut self, workspace: &mut Workspace) -> Bytes {
        let mut out = Vec::with_capacity(self.uncompressed_bytes());
        out.resize(HEADER_BYTES, 0);
        let mut sink = Compressor::new(self.compression, &mut out, &mut workspace.encoding);
        sink.write(&self.records);
        sink.finish();
        finish(&mut out, &mut self.header);
        out.into()
    }
}

/// Appends one record with its length prefix.
fn put_record(out: &mut Vec<u8>, record: &NewRecord<'_>, timestamp_delta: i64, offset_delta: i32) {
    let headers: usize = record
        .headers
        .iter()
        .map(|header| bytes_len(Some(header.key)) + bytes_len(header.value))
        .sum();
    let len = 1
        + varlong_bytes(timestamp_delta)
        + varlong_bytes(i64::from(offset_delta))
        + bytes_len(record.key)
        + bytes_len(record.value)
        + varlong_bytes(record.headers.len() as i64)
        + headers;
    put_varlong(out, len as i64);
    let at = out.len();
    out.push(0);
    put_varlong(out, timestamp_delta);
    put_varlong(out, i64::from(offset_delta));
    put_bytes(out, record.key);
    put_bytes(out, record.value);
    put_varlong(out, record.headers.len() as i64);
    for header in record.headers {
        put_bytes(out, Some(header.key));
        put_bytes(out, header.value);
    }
    debug_assert_eq!(out.len() - at, len);
}

fn bytes_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(varlong_bytes(-1), |bytes| {
        varlong_bytes(bytes.len() as i64) + bytes.len()
    })
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varlong(out, -1),
        Some(bytes) => {
            put_varlong(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}
