//! What goes into a log and what comes out of it.

use bytes::Bytes;

use crate::wal::Ticket;

/// What an append asks of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// The commit that takes it is made durable at once.
    Durable,
    /// `write.caching`: the bytes are written at once and made durable when `flush.ms` or
    /// `flush.bytes` comes due, or with the next sync.
    Cached,
}

/// An append whose place in the log is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the batch's first record.
    pub base_offset: i64,
    /// The offset of its last.
    pub last_offset: i64,
    /// The commit to wait for, with [`crate::Storage::written`] or [`crate::Storage::durable`].
    pub ticket: Ticket,
}

/// What a read found: whole batches, in slices that concatenate to what is to be sent.
#[derive(Debug, Clone, Default)]
pub struct Read {
    /// The bytes. A slice need not end where a batch does; the last one does.
    pub slices: Vec<Bytes>,
    /// Their sum.
    pub bytes: usize,
    /// Where the next read has to begin: after the last record, or after the gap that follows it.
    /// Where the read began if it found nothing.
    pub next: i64,
}

impl Read {
    pub(crate) fn push(&mut self, slice: Bytes) {
        self.bytes += slice.len();
        self.slices.push(slice);
    }
}

/// The first record at or after a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampHit {
    /// The record's offset.
    pub offset: i64,
    /// Its timestamp, in Unix milliseconds.
    pub timestamp: i64,
    /// The leader epoch of its batch.
    pub leader_epoch: i32,
}

/// What producer state needs to know of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSummary {
    /// The offset of the first record.
    pub base_offset: i64,
    /// The offset of the last record.
    pub last_offset: i64,
    /// The producer's id; never negative here.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The sequence of the first record.
    pub base_sequence: i32,
    /// The sequence of the last record.
    pub last_sequence: i32,
    /// The largest timestamp.
    pub max_timestamp: i64,
}

/// The producer state that a start found: a snapshot, and the batches that came after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveredProducers {
    /// What the broker's own function gave, and the offset up to which it holds.
    pub snapshot: Option<(i64, Bytes)>,
    /// Idempotent batches at and after that offset, by offset.
    pub batches: Vec<BatchSummary>,
}
