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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{BatchBuilder, NewRecord};
    use crate::header::set_base_offset;

    fn run() -> (Vec<u8>, usize) {
        let one = BatchBuilder::new().record(NewRecord::default()).build();
        let mut run = Vec::new();
        for offset in 0..3 {
            let mut batch = one.to_vec();
            set_base_offset(&mut batch, offset);
            run.extend_from_slice(&batch);
        }
        (run, one.len())
    }

    #[test]
    fn batches_come_one_after_another_to_the_last_byte() {
        let (run, len) = run();
        let found: Vec<BatchRange> = batches(&run).map(|batch| batch.unwrap()).collect();
        let places: Vec<_> = found
            .iter()
            .map(|batch| (batch.header.base_offset, batch.range.clone()))
            .collect();
        assert_eq!(
            places,
            [(0, 0..len), (1, len..2 * len), (2, 2 * len..3 * len)]
        );
        assert_eq!(batches(&[]).next(), None);
    }

    #[test]
    fn a_batch_cut_off_ends_the_run_with_an_error() {
        let (run, len) = run();
        for end in len + 1..2 * len {
            let mut found = batches(&run[..end]);
            assert!(found.next().unwrap().is_ok());
            assert!(matches!(
                found.next(),
                Some(Err(RecordError::Truncated { .. }))
            ));
            assert_eq!(found.position(), len, "where the batch at fault begins");
            assert_eq!(found.next(), None);
        }
    }

    #[test]
    fn garbage_ends_the_run_with_an_error() {
        let (mut run, len) = run();
        run[len + 16] = 7;
        let mut found = batches(&run);
        assert!(found.next().unwrap().is_ok());
        assert_eq!(
            found.next(),
            Some(Err(RecordError::UnknownMagic { magic: 7 }))
        );
        assert_eq!(found.next(), None);
    }
}
