//! What one connection holds of its shard's request memory, and since when its peer has it wait.
//!
//! Owns the marks of both directions. A peer has the broker wait while a frame has begun and its
//! next bytes do not come, and while replies are there and the peer does not take them. It gets on
//! when a frame is whole, a reply has left, or [`SLOW_PROGRESS_BYTES`] have passed.
//!
//! While its connection stands in line for a turn it is the broker that has the peer wait, if there
//! is anything to do in that turn. Nobody knows before it comes: so the wait in line does not count
//! while it lasts, and is forgotten if [`LINE_PROGRESS_BYTES`] have passed when it is over. A peer
//! that moves a byte now and then, and so is always in line, stands still all the same.

use std::cell::Cell;
use std::time::Duration;

use tailwater_shards::{Instant, now};

use crate::limits::{LINE_PROGRESS_BYTES, SLOW_PROGRESS_BYTES};
use crate::request_memory::Pool;

/// When a peer last got on, and the bytes that have passed since.
#[derive(Debug, Clone, Copy)]
struct Mark {
    since: Instant,
    bytes: usize,
    /// Since when its connection has stood in line, and the bytes that have passed since then.
    line: Option<(Instant, usize)>,
}

impl Mark {
    fn new() -> Self {
        Self {
            since: now(),
            bytes: 0,
            line: None,
        }
    }

    /// The connection has had its turn, and waits for the peer again.
    fn left_line(mut self) -> Self {
        if let Some((since, passed)) = self.line.take()
            && passed >= LINE_PROGRESS_BYTES
        {
            self.since = self.since + (now() - since);
        }
        self
    }
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Waits(Cell<Option<Mark>>);

impl Waits {
    /// Nothing more can be done without the peer from now on, unless it was so already.
    pub(crate) fn begin(&self) {
        self.0
            .set(Some(self.0.get().map_or_else(Mark::new, Mark::left_line)));
    }

    /// Bytes have passed.
    pub(crate) fn passed(&self, bytes: usize) {
        let Some(mark) = self.0.get() else { return };
        let all = mark.bytes.saturating_add(bytes);
        self.0.set(Some(if all >= SLOW_PROGRESS_BYTES {
            Mark::new()
        } else {
            let line = mark.line;
            Mark {
                bytes: all,
                line: line.map(|(since, passed)| (since, passed.saturating_add(bytes))),
                ..mark
            }
        }));
    }

    /// Something has happened, and the connection stands in line for a turn to look at it.
    pub(crate) fn stand_in_line(&self) {
        if let Some(mark) = self.0.get().filter(|mark| mark.line.is_none()) {
            let line = Some((now(), 0));
            self.0.set(Some(Mark { line, ..mark }));
        }
    }

    /// The peer is waited for no more.
    pub(crate) fn end(&self) {
        self.0.set(None);
    }

    /// How long it has not got on, if it is waited for.
    pub(crate) fn stands_still(&self, at: Instant) -> Option<Duration> {
        let upto = |mark: &Mark| mark.line.map_or(at, |(since, _)| since);
        self.0.get().map(|mark| upto(&mark) - mark.since)
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
