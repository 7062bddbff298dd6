//! Records out of a batch of any codec, one at a time.

use crate::codec::{Decompressor, Limits};
use crate::error::RecordError;
use crate::header::{BatchHeader, HEADER_BYTES};
use crate::record::{Body, Record, SHORT, Stop, parse, varint_bytes};
use crate::varint::{VARINT_BYTES_MAX, take_varint};
use crate::workspace::{Decoding, Workspace};

/// Reads a batch's records one after another, decompressing as it goes.
///
/// A record that lies in one decompressed chunk is lent from there; another is put together in the
/// workspace, as far as its bytes arrive and up to [`Limits::record_bytes_max`].
#[derive(Debug)]
pub struct RecordStream<'a> {
    bytes: Decompressor<'a>,
    scratch: &'a mut Vec<u8>,
    record_bytes_max: usize,
    record_count: u32,
    index: u32,
}

impl<'a> RecordStream<'a> {
    /// Over `batch`, one whole batch whose header is `header`.
    ///
    /// # Errors
    /// `Truncated` if the batch is not as long as its header says; `Decompress`.
    pub fn new(
        batch: &'a [u8],
        header: &BatchHeader,
        limits: &Limits,
        workspace: &'a mut Workspace,
    ) -> Result<RecordStream<'a>, RecordError> {
        workspace.trim();
        let Workspace {
            decoding,
            record: scratch,
            ..
        } = workspace;
        RecordStream::over(batch, header, limits, decoding, scratch)
    }

    /// With the parts of a workspace that it needs.
    pub(crate) fn over(
        batch: &'a [u8],
        header: &BatchHeader,
        limits: &Limits,
        decoding: &'a mut Decoding,
        scratch: &'a mut Vec<u8>,
    ) -> Result<RecordStream<'a>, RecordError> {
        Ok(RecordStream {
            bytes: Decompressor::over(header.codec(), payload(batch, header)?, limits, decoding)?,
            scratch,
            record_bytes_max: limits.record_bytes_max,
            record_count: u32::try_from(header.record_count).unwrap_or(0),
            index: 0,
        })
    }

    /// The next record; `None` after the last. After an error, nothing useful.
    ///
    /// # Errors
    /// `MalformedRecord`, `BytesAfterRecords`, `RecordTooLarge`, `Decompress`, `DecompressedTooLarge`.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator cannot lend from itself"
    )]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, RecordError> {
        let index = self.index;
        let Some(body) = self.next_body()? else {
            return Ok(None);
        };
        Record::parse(body)
            .map(Some)
            .map_err(|reason| RecordError::MalformedRecord { index, reason })
    }

    /// The next record's bytes after its length.
    pub(crate) fn next_body(&mut self) -> Result<Option<&[u8]>, RecordError> {
        if self.index == self.record_count {
            return expect_end(&mut self.bytes, self.record_count).map(|()| None);
        }
        let index = self.index;
        self.index += 1;
        let len = take_length(&mut self.bytes, index)?;
        if len > self.record_bytes_max {
            return Err(RecordError::RecordTooLarge {
                index,
                bytes: len as u64,
                bytes_max: self.record_bytes_max as u64,
            });
        }
        if self.bytes.buffered().len() >= len {
            Ok(Some(self.bytes.take(len)))
        } else {
            self.scratch.clear();
            while self.scratch.len() < len {
                let chunk = self.bytes.fill()?;
                if chunk.is_empty() {
                    return Err(RecordError::MalformedRecord {
                        index,
                        reason: "the batch ends inside it",
                    });
                }
                let part = chunk.len().min(len - self.scratch.len());
                self.scratch
                    .extend_from_slice(chunk.get(..part).expect("no longer than the chunk"));
                self.bytes.consume(part);
            }
            Ok(Some(&*self.scratch))
        }
    }
}

/// The batch's bytes after its header.
pub(crate) fn payload<'a>(batch: &'a [u8], header: &BatchHeader) -> Result<&'a [u8], RecordError> {
    batch
        .get(HEADER_BYTES..header.total_bytes())
        .ok_or(RecordError::Truncated {
            have: batch.len(),
            need: header.total_bytes(),
        })
}

/// Reads a record's length prefix.
pub(crate) fn take_length(bytes: &mut Decompressor<'_>, index: u32) -> Result<usize, RecordError> {
    let malformed = |reason| RecordError::MalformedRecord { index, reason };
    let chunk = bytes.fill()?;
    let mut rest = chunk;
    let len = if let Some(len) = take_varint(&mut rest) {
        let taken = chunk.len() - rest.len();
        bytes.consume(taken);
        len
    } else if chunk.len() >= VARINT_BYTES_MAX {
        return Err(malformed("its length is too long"));
    } else {
        let (prefix, taken) =
            varint_bytes::<VARINT_BYTES_MAX>(|| byte(bytes)).map_err(|stop| failed(stop, index))?;
        let mut prefix = prefix.get(..taken).unwrap_or_default();
        take_varint(&mut prefix).ok_or_else(|| malformed("its length is too long"))?
    };
    usize::try_from(len).map_err(|_| malformed("negative length"))
}

/// Nothing may follow the last record.
pub(crate) fn expect_end(
    bytes: &mut Decompressor<'_>,
    record_count: u32,
) -> Result<(), RecordError> {
    if bytes.fill()?.is_empty() {
        Ok(())
    } else {
        Err(RecordError::BytesAfterRecords { record_count })
    }
}

fn byte(bytes: &mut Decompressor<'_>) -> Result<u8, Stop> {
    let byte = *bytes
        .fill()
        .map_err(Stop::Failed)?
        .first()
        .ok_or(Stop::Malformed("the batch ends inside it"))?;
    bytes.consume(1);
    Ok(byte)
}

fn failed(stop: Stop, index: u32) -> RecordError {
    match stop {
        Stop::Malformed(reason) => RecordError::MalformedRecord { index, reason },
        Stop::Failed(error) => error,
    }
}

/// What checking a record needs to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordFacts {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) has_key: bool,
}

/// Walks over the next record, holding none of it: of a record that lies across chunks, however large,
/// only the current chunk is in memory.
pub(crate) fn skim_record(
    bytes: &mut Decompressor<'_>,
    index: u32,
) -> Result<RecordFacts, RecordError> {
    let len = take_length(bytes, index)?;
    if bytes.buffered().len() >= len {
        let mut body = bytes.take(len);
        return facts(&mut body).map_err(|stop| failed(stop, index));
    }
    facts(&mut Streamed { bytes, left: len }).map_err(|stop| failed(stop, index))
}

#[inline]
fn facts<B: Body>(body: &mut B) -> Result<RecordFacts, Stop> {
    parse(body).map(|parts| RecordFacts {
        timestamp_delta: parts.timestamp_delta,
        offset_delta: parts.offset_delta,
        has_key: parts.key.is_some(),
    })
}

/// A record's body that arrives chunk by chunk.
struct Streamed<'s, 'a> {
    bytes: &'s mut Decompressor<'a>,
    left: usize,
}

impl Body for Streamed<'_, '_> {
    type Bytes = ();

    fn left(&self) -> usize {
        self.left
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        self.left = self.left.checked_sub(1).ok_or(SHORT)?;
        byte(self.bytes)
    }

    fn bytes(&mut self, len: usize) -> Result<(), Stop> {
        self.left = self.left.checked_sub(len).ok_or(SHORT)?;
        let mut len = len;
        while len > 0 {
            let chunk = self.bytes.fill().map_err(Stop::Failed)?.len();
            if chunk == 0 {
                return Err(Stop::Malformed("the batch ends inside it"));
            }
            let part = chunk.min(len);
            self.bytes.consume(part);
            len -= part;
        }
        Ok(())
    }

    fn rest(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{BatchBuilder, NewRecord};
    use crate::codec::{Codec, Compression};

    #[test]
    fn a_record_over_the_limit_is_refused_before_it_is_put_together() {
        let value = vec![7; 1 << 20];
        let record = NewRecord {
            value: Some(&value),
            ..NewRecord::default()
        };
        for codec in Codec::ALL {
            let batch = BatchBuilder::new()
                .compression(Compression::of(codec))
                .record(record)
                .build();
            let header = BatchHeader::parse(&batch).unwrap();
            let mut workspace = Workspace::new();
            let mut read = |record_bytes_max| {
                let limits = Limits {
                    record_bytes_max,
                    ..Limits::default()
                };
                let mut stream = RecordStream::new(&batch, &header, &limits, &mut workspace)?;
                stream
                    .next()
                    .map(|record| record.and_then(|record| record.value.map(<[u8]>::len)))
            };
            let error = read(1 << 20).unwrap_err();
            assert!(
                matches!(error, RecordError::RecordTooLarge { index: 0, .. }),
                "{codec}: {error}"
            );
            assert_eq!(read((1 << 20) + 100), Ok(Some(1 << 20)), "{codec}");
        }
    }

    #[test]
    fn a_batch_shorter_than_its_header_says_is_refused() {
        let batch = BatchBuilder::new().record(NewRecord::default()).build();
        let header = BatchHeader::parse(&batch).unwrap();
        let short = &batch[..batch.len() - 1];
        let mut workspace = Workspace::new();
        let error =
            RecordStream::new(short, &header, &Limits::default(), &mut workspace).unwrap_err();
        assert_eq!(
            error,
            RecordError::Truncated {
                have: short.len(),
                need: batch.len()
            }
        );
    }
}
