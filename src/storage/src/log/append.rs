//! The append: the batch's offsets, its segment and its place in the order are decided here,
//! synchronously. No byte is copied.

use std::time::Duration;

use bytes::Bytes;
use tailwater_record::BatchHeader;
use tailwater_shards::wall_clock_ms;

use super::{Appended, Log, State, Sync};
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::segment::Segment;
use crate::wal::gather::{Item, Span};

/// Positions in a segment have 32 bits in its index.
const SEGMENT_BYTES_MAX: u64 = u32::MAX as u64;

impl Log {
    /// Appends one validated batch: gives it its offsets and its place in the order. Its base
    /// offset and leader epoch are patched when it is copied into its commit, so `batch` is kept
    /// until then.
    ///
    /// # Errors
    /// A full disk, a log that is dropped or out of service, a batch that no WAL file holds.
    ///
    /// # Panics
    /// If `header` is not that of `batch`, or claims no records.
    pub fn append(
        &self,
        batch: Bytes,
        header: &BatchHeader,
        sync: Sync,
    ) -> Result<Appended, StorageError> {
        assert_eq!(
            header.total_bytes(),
            batch.len(),
            "one whole batch is appended"
        );
        assert!(header.last_offset_delta >= 0, "a batch has records");
        let shared = self.shared()?;
        if self.is_dropped() {
            return Err(StorageError::Dropped);
        }
        self.health().map_err(StorageError::OutOfService)?;
        if shared.is_full() {
            return Err(disk_full());
        }
        if shared.wal.is_stopping() {
            return Err(StorageError::ShuttingDown);
        }
        let limit = shared.wal.body_bytes_max();
        if batch.len() > limit {
            return Err(StorageError::BatchTooLarge {
                bytes: batch.len(),
                limit,
            });
        }
        let len = batch.len() as u64;
        if !shared.disk_room.take(len) {
            shared.set_full(true);
            return Err(disk_full());
        }
        let span = self.place(header, len);
        let cached = match sync {
            Sync::Durable => None,
            Sync::Cached => self.cache_delay(len),
        };
        let epoch = self.inner.leader_epoch.get();
        let ticket = shared.wal.push(
            Item::Batch {
                log: self.clone(),
                body: batch,
                span,
                epoch,
            },
            cached,
        );
        {
            let mut state = self.inner.state.borrow_mut();
            match state.tickets.back_mut() {
                Some((end, last)) if *last == ticket => *end = span.end,
                _ => state.tickets.push_back((span.end, ticket)),
            }
        }
        self.mark_changed();
        Ok(Appended {
            base_offset: span.base,
            last_offset: span.end - 1,
            ticket,
        })
    }

    /// Decides the batch's offsets and its place in a segment.
    fn place(&self, header: &BatchHeader, len: u64) -> Span {
        let base = self.inner.appended.get();
        let end = base + i64::from(header.last_offset_delta) + 1;
        let now_ms = wall_clock_ms();
        let mut state = self.inner.state.borrow_mut();
        let epoch = self.inner.leader_epoch.get();
        state.epochs.begin(epoch, base);
        let config = self.inner.config.borrow();
        if must_roll(&state, &config, end, len, now_ms) {
            if let Some(active) = state.segments.back_mut() {
                active.closed = true;
            }
            state.segments.push_back(Segment::new(base, now_ms));
        }
        let segment = state.segments.back_mut().expect("one is open now");
        let position = segment.len;
        segment.len += len;
        segment.max_timestamp = segment.max_timestamp.max(header.max_timestamp);
        if let Some(index) = &segment.index {
            let relative = base - segment.base;
            index
                .borrow_mut()
                .note(relative, position, header.max_timestamp);
        }
        let segment = segment.base;
        self.inner.appended.set(end);
        Span {
            base,
            end,
            segment,
            position,
            max_timestamp: header.max_timestamp,
        }
    }

    /// How long write-cached bytes may stay unsynced; not at all once `flush.bytes` are.
    fn cache_delay(&self, len: u64) -> Option<Duration> {
        let config = self.inner.config.borrow();
        let unsynced = self.inner.cached_unsynced.get() + len;
        if unsynced >= config.flush_bytes || config.flush_ms == 0 {
            self.inner.cached_unsynced.set(0);
            return None;
        }
        self.inner.cached_unsynced.set(unsynced);
        Some(Duration::from_millis(config.flush_ms))
    }
}

fn must_roll(state: &State, config: &LogConfig, end: i64, len: u64, now_ms: i64) -> bool {
    let Some(active) = state.segments.back() else {
        return true;
    };
    if active.closed {
        return true;
    }
    if active.len == 0 {
        return false;
    }
    // What is appended to cannot be cleaned: it is closed before it is overdue.
    let lag_max_ms = config.compact.as_ref().map(|compact| compact.lag_max_ms);
    let segment_ms = lag_max_ms.map_or(config.segment_ms, |lag| lag.min(config.segment_ms));
    active.len + len > config.segment_bytes.min(SEGMENT_BYTES_MAX)
        || now_ms.saturating_sub(active.created_ms) >= segment_ms
        || end - 1 - active.base > i64::from(i32::MAX)
}

fn disk_full() -> StorageError {
    tailwater_shards::count(tailwater_shards::Counter::RefusedDiskFull);
    StorageError::DiskFull
}
