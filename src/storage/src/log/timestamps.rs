//! Offsets by time, as ListOffsets asks for them: segments by their largest timestamp, batches by
//! the index and their headers, records inside one batch.

use bytes::Bytes;
use tailwater_record::{BatchHeader, Limits, Workspace, batches, first_at_or_after};

use super::{Log, TimestampHit};
use crate::error::{Corrupt, ReadError};

/// How much one step of a search reads.
const STEP_BYTES: usize = 256 << 10;

impl Log {
    /// The first record at or after `timestamp`, below `upto`.
    ///
    /// # Errors
    /// Those of [`Log::read`].
    pub async fn offset_for_timestamp(
        &self,
        timestamp: i64,
        upto: i64,
    ) -> Result<Option<TimestampHit>, ReadError> {
        let first = {
            let state = self.inner.state.borrow();
            state
                .segments
                .iter()
                .find(|s| s.max_timestamp >= timestamp)
                .map(|s| s.base)
        };
        let Some(base) = first else { return Ok(None) };
        let from = Box::pin(self.offset_before_timestamp(base, timestamp)).await?;
        let from = from.max(self.log_start());
        self.search(from, upto, timestamp).await
    }

    /// The first record with the largest timestamp, below `upto`.
    ///
    /// # Errors
    /// Those of [`Log::read`].
    pub async fn max_timestamp(&self, upto: i64) -> Result<Option<TimestampHit>, ReadError> {
        let mut bounds: Vec<(i64, i64)> = {
            let state = self.inner.state.borrow();
            state
                .segments
                .iter()
                .map(|s| (s.max_timestamp, s.base))
                .collect()
        };
        // The newest first; among equals the earliest. A segment's bound holds for batches that
        // may not be read yet: then what is found is less, and the others are looked at too.
        bounds.sort_by_key(|(time, base)| (std::cmp::Reverse(*time), *base));
        let mut best: Option<TimestampHit> = None;
        for (bound, base) in bounds {
            if bound < 0 || best.is_some_and(|best| best.timestamp > bound) {
                break;
            }
            // As old as what was found in a later segment, whose bound was not reached.
            if best.is_some_and(|best| best.timestamp == bound && best.offset < base) {
                continue;
            }
            let from = Box::pin(self.offset_before_timestamp(base, bound)).await?;
            let found = self.search(from.max(self.log_start()), upto, bound).await?;
            let found = match found {
                Some(hit) => Some(hit),
                None => self.largest(base.max(self.log_start()), upto).await?,
            };
            let order = |hit: TimestampHit| (hit.timestamp, std::cmp::Reverse(hit.offset));
            if found.is_some_and(|found| best.is_none_or(|best| order(best) < order(found))) {
                best = found;
            }
        }
        Ok(best)
    }

    /// Walks batches from `from` on until a record is old enough.
    async fn search(
        &self,
        from: i64,
        upto: i64,
        timestamp: i64,
    ) -> Result<Option<TimestampHit>, ReadError> {
        let mut at = from;
        let log_start = self.log_start();
        while at < upto {
            let bytes = self.step(at, upto).await?;
            if bytes.is_empty() {
                break;
            }
            for batch in batches(&bytes).flatten() {
                at = batch.header.next_offset();
                if batch.header.max_timestamp < timestamp {
                    continue;
                }
                let body = bytes.slice(batch.range);
                let hit = self.record_in(&body, &batch.header, timestamp, log_start)?;
                if hit.is_some() {
                    return Ok(hit);
                }
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp at or after `from`, by looking at every batch.
    async fn largest(&self, from: i64, upto: i64) -> Result<Option<TimestampHit>, ReadError> {
        let mut at = from;
        let mut best = -1;
        while at < upto {
            let bytes = self.step(at, upto).await?;
            if bytes.is_empty() {
                break;
            }
            for batch in batches(&bytes).flatten() {
                at = batch.header.next_offset();
                // Cleaning may have left a batch its timestamp and no record.
                if batch.header.record_count > 0 {
                    best = best.max(batch.header.max_timestamp);
                }
            }
        }
        if best < 0 {
            Ok(None)
        } else {
            self.search(from, upto, best).await
        }
    }

    /// Some batches in one piece.
    async fn step(&self, at: i64, upto: i64) -> Result<Bytes, ReadError> {
        let read = self.read(at, upto, STEP_BYTES, true).await?;
        Ok(match read.slices.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        })
    }

    fn record_in(
        &self,
        batch: &[u8],
        header: &BatchHeader,
        timestamp: i64,
        offset_min: i64,
    ) -> Result<Option<TimestampHit>, ReadError> {
        let mut workspace = Workspace::default();
        let limits = Limits::default();
        let found = first_at_or_after(
            batch,
            header,
            timestamp,
            offset_min,
            &limits,
            &mut workspace,
        );
        match found {
            Ok(found) => Ok(found.map(|found| TimestampHit {
                offset: found.offset,
                timestamp: found.timestamp,
                leader_epoch: header.partition_leader_epoch,
            })),
            Err(error) => Err(ReadError::Corrupt(Corrupt {
                file: self.topic_partition().to_string().into(),
                position: 0,
                what: format!(
                    "the batch at offset {} cannot be read: {error}",
                    header.base_offset
                ),
            })),
        }
    }
}
