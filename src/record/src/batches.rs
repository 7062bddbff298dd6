//! A run of batches, one after the other, as a segment or a fetch holds them.

use std::ops::Range;

use crate::error::RecordError;
use crate::header::BatchHeader;

/// One batch of a run: its header and where its bytes are in the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRange {
    /// The batch's header.
    pub header: BatchHeader,
    /// The batch's bytes, header included.
    pub range: Range<usize>,
}

/// Iterates over the batches in `bytes`, looking at headers only and allocating nothing.
///
/// Ends after the last byte, or after the first error: what is not a header, or a batch that is not
/// wholly there (`Truncated`). Checksums are not looked at.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { bytes, at: 0 }
}

/// See [`batches`].
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Batches<'_> {
    /// Where the next batch begins; after an error, where the batch at fault begins.
    pub fn position(&self) -> usize {
        self.at
    }

    fn read(&mut self, rest: &[u8]) -> Result<BatchRange, RecordError> {
        let header = BatchHeader::parse(rest)?;
        let need = header.total_bytes();
        if need > rest.len() {
            return Err(RecordError::Truncated {
                have: rest.len(),
                need,
            });
        }
        let range = self.at..self.at + need;
        self.at = range.end;
        Ok(BatchRange { header, range })
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<BatchRange, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return None;
        }
        let read = self.read(rest);
        if read.is_err() {
            self.bytes = &[];
        }
        Some(read)
    }
}
