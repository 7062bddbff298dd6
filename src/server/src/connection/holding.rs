//! What one connection holds of its shard's request memory, and since when its peer has it wait.
//!
//! Owns the marks of both directions. A peer has the broker wait while a frame has begun and its
//! next bytes do not come, and while replies are there and the peer does not take them. It gets on
//! when a frame is whole, a reply has left, or [`SLOW_PROGRESS_BYTES`] have passed.

use std::cell::Cell;
use std::time::Duration;

use tailwater_shards::{Instant, now};

use crate::limits::SLOW_PROGRESS_BYTES;
use crate::request_memory::Pool;

/// When a peer last got on, and the bytes that have passed since.
#[derive(Debug, Clone, Copy)]
struct Mark {
    since: Instant,
    bytes: usize,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Waits(Cell<Option<Mark>>);

impl Waits {
    /// The peer is waited for from now on, unless it was already.
    pub(crate) fn begin(&self) {
        if self.0.get().is_none() {
            self.0.set(Some(Mark {
                since: now(),
                bytes: 0,
            }));
        }
    }

    /// Bytes have passed.
    pub(crate) fn passed(&self, bytes: usize) {
        let Some(mark) = self.0.get() else { return };
        let bytes = mark.bytes.saturating_add(bytes);
        self.0.set(Some(if bytes >= SLOW_PROGRESS_BYTES {
            Mark {
                since: now(),
                bytes: 0,
            }
        } else {
            Mark { bytes, ..mark }
        }));
    }

    /// The peer is waited for no more.
    pub(crate) fn end(&self) {
        self.0.set(None);
    }

    /// How long it has not got on, if it is waited for.
    pub(crate) fn stands_still(&self, at: Instant) -> Option<Duration> {
        self.0.get().map(|mark| at - mark.since)
    }
}

/// One connection's.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    held: [Cell<u64>; 2],
    /// For the rest of a frame that has begun.
    pub(crate) reading: Waits,
    /// For room for replies.
    pub(crate) writing: Waits,
}

impl Holding {
    pub(crate) fn takes(&self, pool: Pool, bytes: u64) {
        let held = &self.held[pool as usize];
        held.set(held.get() + bytes);
    }

    pub(crate) fn gives_back(&self, pool: Pool, bytes: u64) {
        let held = &self.held[pool as usize];
        held.set(held.get() - bytes);
    }

    /// Bytes held of that pool.
    pub(crate) fn held(&self, pool: Pool) -> u64 {
        self.held[pool as usize].get()
    }

    /// How long its peer has had the broker wait, in the direction that has stood still longer.
    pub(crate) fn stands_still(&self, at: Instant) -> Duration {
        let still = [&self.reading, &self.writing].map(|waits| waits.stands_still(at));
        still.into_iter().flatten().max().unwrap_or_default()
    }
}
