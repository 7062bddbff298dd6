//! The memory of a shard's coordinators: one budget for all of them.
//!
//! Owns the count. What a machine takes is its own to say; what it refuses at the bound too. What a
//! log says is read whatever it takes. What the coordinators take, the tail cache lends.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tailwater_group::{Reply, Room};
use tailwater_shards::{Counter, Instant, count, now};
use tailwater_storage::Storage;

/// The budget until the shard is told one.
const BYTES_DEFAULT: u64 = 64 << 20;

/// How often it is told that there is no room.
const TOLD_INTERVAL: Duration = Duration::from_secs(60);

/// What the coordinators of a shard take, and may take.
pub(crate) struct GroupMemory {
    storage: Storage,
    bytes: Cell<u64>,
    bytes_max: Cell<u64>,
    told: Cell<Option<Instant>>,
}

impl GroupMemory {
    pub(crate) fn new(storage: Storage) -> Rc<Self> {
        Rc::new(Self {
            storage,
            bytes: Cell::new(0),
            bytes_max: Cell::new(BYTES_DEFAULT),
            told: Cell::new(None),
        })
    }

    pub(crate) fn bound(&self, bytes_max: u64) {
        self.bytes_max.set(bytes_max);
    }

    /// What they take now, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// How much more they may take.
    pub(super) fn room(&self) -> Room {
        Room::left(self.bytes.get(), self.bytes_max.get())
    }

    /// Whether nothing can be written.
    pub(super) fn is_disk_full(&self) -> bool {
        self.storage.is_full()
    }

    fn moved(&self, before: u64, now: u64) {
        if before == now {
            return;
        }
        let bytes = self.bytes.get() - before + now;
        self.bytes.set(bytes);
        self.storage
            .lend(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// Notices replies that refuse for want of room.
    pub(super) fn note(&self, reply: &Reply) {
        if !reply.is_at_limit() {
            return;
        }
        count(Counter::RefusedGroupMemory);
        if self
            .told
            .get()
            .is_some_and(|told| told.elapsed() < TOLD_INTERVAL)
        {
            return;
        }
        self.told.set(Some(now()));
        let (bytes, bytes_max) = (self.bytes.get(), self.bytes_max.get());
        tracing::warn!(
            bytes,
            bytes_max,
            "a group, member or offset is refused: the coordinators have as many as they may"
        );
    }
}

/// What one machine takes of it: given back when this is dropped.
pub(super) struct Share {
    memory: Rc<GroupMemory>,
    bytes: Cell<u64>,
}

impl Share {
    pub(super) fn new(memory: Rc<GroupMemory>) -> Self {
        Self {
            memory,
            bytes: Cell::new(0),
        }
    }

    pub(super) fn memory(&self) -> &Rc<GroupMemory> {
        &self.memory
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// The machine takes so much now.
    pub(super) fn set(&self, bytes: u64) {
        self.memory.moved(self.bytes.replace(bytes), bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
