//! A batch of which a cleaner keeps some records: the others go, and what the protocol counts on stays.
//!
//! Base offset, last offset delta, producer, base sequence and leader epoch stay as they were, and so do
//! the records' offsets: a reader sees gaps, never another order. The greatest timestamp is that of the
//! records left. Where a delete horizon is set (KIP-534) the base timestamp becomes it, attribute bit 6
//! says so, and the timestamp deltas count from it; else the records keep their very bytes.

use bytes::Bytes;

use crate::codec::{Compression, Compressor, Limits};
use crate::error::RecordError;
use crate::header::{BatchHeader, HEADER_BYTES, NO_TIMESTAMP, TimestampType};
use crate::rewrite::finish;
use crate::stream::RecordStream;
use crate::varint::{put_varlong, take_varlong};
use crate::workspace::Workspace;

/// Packs the records that stay. Give it each record's fate in order with [`Retain::next`], and call
/// [`Retain::pack`] after each until it has nothing left to do: so no call takes long but for one
/// record's decompression.
pub struct Retain<'a> {
    header: BatchHeader,
    records: RecordStream<'a>,
    out: Compressor<'a>,
    horizon: Option<i64>,
    /// The record that is being packed, and how much of it was.
    staged: Vec<u8>,
    packed: usize,
    kept: i32,
    max_timestamp: i64,
}

impl std::fmt::Debug for Retain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retain").field("kept", &self.kept).finish()
    }
}

impl<'a> Retain<'a> {
    /// Over `batch`, one whole batch whose header is `header`. What stays is put into `out` behind room
    /// for a header. With `horizon` (Unix ms) the batch gets that delete horizon.
    ///
    /// # Errors
    /// `Truncated` if the batch is not as long as its header says; `Decompress`.
    pub fn new(
        batch: &'a [u8],
        header: &BatchHeader,
        horizon: Option<i64>,
        limits: &Limits,
        workspace: &'a mut Workspace,
        out: &'a mut Vec<u8>,
    ) -> Result<Retain<'a>, RecordError> {
        workspace.trim();
        let Workspace {
            decoding,
            encoding,
            record,
        } = workspace;
        let records = RecordStream::over(batch, header, limits, decoding, record)?;
        out.clear();
        out.resize(HEADER_BYTES, 0);
        Ok(Retain {
            header: *header,
            records,
            out: Compressor::new(Compression::of(header.codec()), out, encoding),
            horizon,
            staged: Vec::new(),
            packed: 0,
            kept: 0,
            max_timestamp: NO_TIMESTAMP,
        })
    }

    /// Takes the next record, which stays or goes. Returns its bytes, decompressed.
    ///
    /// # Errors
    /// Those of [`RecordStream::next`].
    ///
    /// # Panics
    /// If the record before is not packed, or there is none left.
    pub fn next(&mut self, stays: bool) -> Result<usize, RecordError> {
        assert_eq!(
            self.packed,
            self.staged.len(),
            "records are packed in order"
        );
        let header = &self.header;
        let body = self.records.next_body()?;
        let body = body.expect("the caller knows how many records there are");
        self.staged.clear();
        self.packed = 0;
        if !stays {
            return Ok(body.len());
        }
        let mut rest = body.get(1..).unwrap_or_default();
        let delta = take_varlong(&mut rest).unwrap_or_default();
        let timestamp = match header.attributes.timestamp_type() {
            TimestampType::CreateTime => header.base_timestamp.saturating_add(delta),
            TimestampType::LogAppendTime => header.max_timestamp,
        };
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.kept += 1;
        match self.horizon {
            None => {
                put_length(&mut self.staged, body.len());
                self.staged.extend_from_slice(body);
            }
            Some(horizon) => {
                let mut head = vec![body.first().copied().unwrap_or_default()];
                put_varlong(&mut head, timestamp.saturating_sub(horizon));
                put_length(&mut self.staged, head.len() + rest.len());
                self.staged.extend_from_slice(&head);
                self.staged.extend_from_slice(rest);
            }
        }
        Ok(body.len())
    }

    /// Packs at most `bytes` of the record at hand; whether some of it is left.
    pub fn pack(&mut self, bytes: usize) -> bool {
        let end = self.staged.len().min(self.packed.saturating_add(bytes));
        if let Some(part) = self
            .staged
            .get(self.packed..end)
            .filter(|part| !part.is_empty())
        {
            self.out.write(part);
        }
        self.packed = end;
        self.packed < self.staged.len()
    }

    /// Ends the records. [`Retained::seal`] then puts the header before them.
    pub fn finish(self) -> Retained {
        let mut header = self.header;
        self.out.finish();
        if let Some(horizon) = self.horizon {
            header.base_timestamp = horizon;
            header.attributes = header.attributes.with_delete_horizon();
        }
        if header.attributes.timestamp_type() == TimestampType::CreateTime {
            header.max_timestamp = self.max_timestamp;
        }
        header.record_count = self.kept;
        Retained { header }
    }
}

/// The records are packed; their header is not written yet.
#[derive(Debug)]
pub struct Retained {
    header: BatchHeader,
}

impl Retained {
    /// Writes the header into the room that was left for it in `out`, and returns it.
    ///
    /// # Panics
    /// If `out` is not what [`Retain`] filled.
    pub fn seal(self, out: &mut [u8]) -> BatchHeader {
        let mut header = self.header;
        finish(out, &mut header);
        header
    }
}

/// A record's length goes before it as any varint; small ones of both widths have the same bytes.
fn put_length(out: &mut Vec<u8>, len: usize) {
    put_varlong(out, i64::try_from(len).expect("a record fits its batch"));
}

/// The batch without any record, as Kafka keeps the last batch of a producer: offsets, sequence, epoch
/// and greatest timestamp as they were.
#[must_use]
pub fn emptied(header: &BatchHeader) -> (Bytes, BatchHeader) {
    let mut header = *header;
    header.attributes = header.attributes.emptied();
    header.base_timestamp = NO_TIMESTAMP;
    header.record_count = 0;
    let mut out = vec![0; HEADER_BYTES];
    finish(&mut out, &mut header);
    (out.into(), header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{BatchBuilder, NewRecord};
    use crate::codec::Codec;
    use crate::crc::crc_is_valid;
    use crate::time::first_at_or_after;

    type Kept = (i32, i64, Vec<u8>, Option<Vec<u8>>);

    fn batch(codec: Codec) -> (Bytes, BatchHeader) {
        let mut builder = BatchBuilder::new()
            .base_offset(100)
            .leader_epoch(3)
            .producer(7, 1, 40)
            .compression(Compression::of(codec));
        for i in 0..50_u8 {
            builder.push(NewRecord {
                timestamp: 1000 + i64::from(i),
                key: Some(&[i]),
                value: (i % 5 != 0).then_some(&[i; 900]),
                headers: &[],
            });
        }
        let batch = builder.build();
        let header = BatchHeader::parse(&batch).unwrap();
        (batch, header)
    }

    fn records(batch: &[u8]) -> Vec<Kept> {
        let header = BatchHeader::parse(batch).unwrap();
        let mut workspace = Workspace::new();
        let mut stream =
            RecordStream::new(batch, &header, &Limits::default(), &mut workspace).unwrap();
        let mut found = Vec::new();
        while let Some(record) = stream.next().unwrap() {
            found.push((
                record.offset_delta,
                header.base_timestamp + record.timestamp_delta,
                record.key.unwrap().to_vec(),
                record.value.map(<[u8]>::to_vec),
            ));
        }
        found
    }

    #[test]
    fn what_stays_keeps_its_offset_its_time_and_its_bytes() {
        for codec in Codec::ALL {
            for horizon in [None, Some(5_000)] {
                let (whole, header) = batch(codec);
                let (mut workspace, mut out) = (Workspace::new(), Vec::new());
                let limits = Limits::default();
                let mut retain =
                    Retain::new(&whole, &header, horizon, &limits, &mut workspace, &mut out)
                        .unwrap();
                for i in 0..50 {
                    retain.next(i % 3 == 1).unwrap();
                    while retain.pack(100) {}
                }
                let after = retain.finish().seal(&mut out);
                assert_eq!(BatchHeader::parse(&out), Ok(after));
                assert!(crc_is_valid(&out));
                let stays: Vec<Kept> = records(&whole)
                    .into_iter()
                    .filter(|(delta, ..)| delta % 3 == 1)
                    .collect();
                assert_eq!(records(&out), stays, "{codec}");
                assert_eq!(
                    (
                        after.base_offset,
                        after.last_offset(),
                        after.last_sequence()
                    ),
                    (100, 149, 89)
                );
                assert_eq!(after.max_timestamp, 1049);
                assert_eq!(after.partition_leader_epoch, 3);
                assert_eq!(after.attributes.has_delete_horizon(), horizon.is_some());
                assert_eq!(after.base_timestamp, horizon.unwrap_or(1000));
                assert_eq!(after.codec(), codec);
            }
        }
    }

    #[test]
    fn an_emptied_batch_keeps_offsets_and_sequence() {
        let (_, header) = batch(Codec::Zstd);
        let (bytes, after) = emptied(&header);
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(BatchHeader::parse(&bytes), Ok(after));
        assert!(crc_is_valid(&bytes));
        assert_eq!((after.base_offset, after.next_offset()), (100, 150));
        assert_eq!((after.producer_id, after.last_sequence()), (7, 89));
        assert_eq!((after.record_count, after.max_timestamp), (0, 1049));
        assert!(records(&bytes).is_empty());
        let mut workspace = Workspace::new();
        let found = first_at_or_after(&bytes, &after, 0, 0, &Limits::default(), &mut workspace);
        assert_eq!(found, Ok(None), "there is no record to be found");
    }
}
