//! What a shard keeps of cold reads: pieces of segments, runs read back from the WAL, indexes,
//! and open files. Bounded by bytes (files by count); the least recently used goes first.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use tailwater_shards::{File, OpenOptions, footprint};

use super::SegmentName;
use super::index::MemIndex;
use crate::ids::TopicPartition;

/// Cold reads are of this size, aligned to it.
pub(crate) const CHUNK_BYTES: u64 = 256 << 10;
const FILES_MAX: usize = 128;
/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = 256;
/// A read of fewer bytes is kept as a copy of just its size: a block at each end and what the
/// allocator loses around it would weigh more than it does.
const COPIED_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// The `n`-th chunk of a segment.
    Chunk(TopicPartition, SegmentName, u64),
    /// The run with this base offset, from the WAL.
    Run(TopicPartition, i64),
    /// A complete segment's index.
    Index(TopicPartition, SegmentName),
}

#[derive(Clone)]
enum Value {
    Bytes(Bytes),
    Index(Rc<MemIndex>),
}

impl Value {
    /// What it takes of memory.
    fn bytes(&self) -> usize {
        let held = match self {
            Value::Bytes(bytes) if bytes.len() < COPIED_BYTES => bytes.len(),
            Value::Bytes(bytes) => footprint(bytes.len()),
            Value::Index(index) => index.memory_bytes(),
        };
        held + ENTRY_BYTES
    }
}

#[derive(Default)]
struct State {
    values: BTreeMap<Key, (u64, Value)>,
    by_use: BTreeMap<u64, Key>,
    bytes: usize,
    tick: u64,
    files: BTreeMap<(TopicPartition, SegmentName), (u64, File)>,
}

/// The cache of one shard.
pub(crate) struct ReadCache {
    state: RefCell<State>,
    bytes_max: Cell<usize>,
}

impl ReadCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            state: RefCell::default(),
            bytes_max: Cell::new(bytes_max),
        }
    }

    fn find(&self, key: Key) -> Option<Value> {
        let mut state = self.state.borrow_mut();
        state.tick += 1;
        let tick = state.tick;
        let (used, value) = state.values.get_mut(&key)?;
        let before = std::mem::replace(used, tick);
        let value = value.clone();
        state.by_use.remove(&before);
        state.by_use.insert(tick, key);
        Some(value)
    }

    fn insert(&self, key: Key, value: Value) {
        let mut state = self.state.borrow_mut();
        state.tick += 1;
        let tick = state.tick;
        state.bytes += value.bytes();
        if let Some((used, before)) = state.values.insert(key, (tick, value)) {
            state.bytes -= before.bytes();
            state.by_use.remove(&used);
        }
        state.by_use.insert(tick, key);
        drop(state);
        self.evict();
    }

    fn evict(&self) {
        let mut state = self.state.borrow_mut();
        while state.bytes > self.bytes_max.get() {
            let Some((_, oldest)) = state.by_use.pop_first() else {
                break;
            };
            if let Some((_, value)) = state.values.remove(&oldest) {
                state.bytes -= value.bytes();
            }
        }
    }

    /// Gives up to half of what it may hold to somebody else, until they give it back with
    /// [`Self::take_back`].
    pub(crate) fn lend(&self, bytes: usize) -> usize {
        let lent = bytes.min(self.bytes_max.get() / 2);
        self.bytes_max.set(self.bytes_max.get() - lent);
        self.evict();
        lent
    }

    pub(crate) fn take_back(&self, lent: usize) {
        self.bytes_max.set(self.bytes_max.get() + lent);
    }

    /// Bytes under the key, if at least `len` of them are there.
    pub(crate) fn bytes(&self, key: Key, len: usize) -> Option<Bytes> {
        match self.find(key)? {
            Value::Bytes(bytes) if bytes.len() >= len => Some(bytes),
            _ => None,
        }
    }

    /// What it holds, without its open files.
    pub(crate) fn held_bytes(&self) -> usize {
        self.state.borrow().bytes
    }

    /// Keeps what was read from a file, and gives it as it is kept.
    pub(crate) fn keep_bytes(&self, key: Key, bytes: Bytes) -> Bytes {
        let kept = match bytes.len() < COPIED_BYTES {
            true => Bytes::copy_from_slice(&bytes),
            false => bytes,
        };
        self.insert(key, Value::Bytes(kept.clone()));
        kept
    }

    pub(crate) fn index(&self, tp: TopicPartition, name: SegmentName) -> Option<Rc<MemIndex>> {
        match self.find(Key::Index(tp, name))? {
            Value::Index(index) => Some(index),
            Value::Bytes(_) => None,
        }
    }

    pub(crate) fn keep_index(&self, tp: TopicPartition, name: SegmentName, index: Rc<MemIndex>) {
        self.insert(Key::Index(tp, name), Value::Index(index));
    }

    /// Whether a read-ahead of this chunk would be for nothing.
    pub(crate) fn has(&self, key: Key) -> bool {
        self.state.borrow().values.contains_key(&key)
    }

    /// The segment's file, open for reading.
    pub(crate) async fn file(
        &self,
        tp: TopicPartition,
        name: SegmentName,
        path: &Path,
    ) -> std::io::Result<File> {
        {
            let mut state = self.state.borrow_mut();
            state.tick += 1;
            let tick = state.tick;
            if let Some((used, file)) = state.files.get_mut(&(tp, name)) {
                *used = tick;
                return Ok(file.clone());
            }
        }
        let file = File::open(
            path,
            OpenOptions {
                create_new: false,
                write: false,
            },
        )
        .await?;
        let evicted = {
            let mut state = self.state.borrow_mut();
            state.tick += 1;
            let tick = state.tick;
            state.files.insert((tp, name), (tick, file.clone()));
            let oldest = state
                .files
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(key, _)| *key);
            oldest
                .filter(|_| state.files.len() > FILES_MAX)
                .and_then(|oldest| state.files.remove(&oldest))
        };
        if let Some((_, file)) = evicted {
            file.close().await;
        }
        Ok(file)
    }

    /// Closes the files of what is deleted: a whole log, or one segment of it.
    pub(crate) fn forget(&self, tp: TopicPartition, name: Option<SegmentName>) {
        let mut state = self.state.borrow_mut();
        state
            .files
            .retain(|(had, segment), _| *had != tp || name.is_some_and(|name| name != *segment));
    }

    pub(crate) fn clear(&self) {
        *self.state.borrow_mut() = State::default();
    }
}

#[cfg(test)]
mod tests {
    use tailwater_shards::sim::Simulation;
    use tailwater_shards::{DmaBuf, allocation_of};
    use uuid::Uuid;

    use super::*;

    fn run(base: i64) -> Key {
        let tp = TopicPartition {
            topic: Uuid::from_u128(1),
            partition: 0,
        };
        Key::Run(tp, base)
    }

    #[test]
    fn a_small_read_keeps_no_blocks_around_it_and_costs_its_entry() {
        Simulation::new(1).run(async {
            let cache = ReadCache::new(1 << 20);
            // As many small runs as there are, each read with the blocks that it lies in.
            for base in 0..10_000 {
                let read = DmaBuf::zeroed(8192).freeze().bytes().slice(4000..4170);
                let kept = cache.keep_bytes(run(base), read.clone());
                assert_eq!(kept, read);
                let alone = kept.as_ptr() != read.as_ptr();
                assert!(alone, "it keeps {:?}", allocation_of(&kept));
                assert!(cache.held_bytes() <= 1 << 20);
            }
            let held = cache.state.borrow().values.len();
            assert_eq!(held, (1 << 20) / (170 + ENTRY_BYTES));
            let large = DmaBuf::zeroed(COPIED_BYTES).freeze().bytes();
            let kept = cache.keep_bytes(run(-1), large.clone());
            assert_eq!(kept.as_ptr(), large.as_ptr(), "no copy of what is large");
            cache.clear();
            cache.keep_bytes(run(-1), large);
            assert_eq!(cache.held_bytes(), footprint(COPIED_BYTES) + ENTRY_BYTES);
        });
    }
}
