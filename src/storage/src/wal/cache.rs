//! The tail cache: the records of commits, kept after they are durable for consumers who keep up.
//!
//! A large commit's own buffer is kept. Of a small one just the records are, copied to a chunk that
//! many commits share: its buffer is aligned, and weighs two to three times what it holds, which is
//! a block for a single record of a hundred bytes.
//!
//! Memory is counted as it is taken: by buffer and by chunk, since a slice of one keeps all of it,
//! and what is remembered of each commit and run. Above the bound the oldest commits' slices are
//! taken from their logs, which then read those runs from the WAL or the segment. Slices that
//! readers hold stay theirs.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use tailwater_shards::{BLOCK_BYTES, Pack, footprint};

use super::commit::{Built, Plan};
use super::format::{ENTRY_HEADER_BYTES, EntryHeader};
use crate::log::{Log, Run};

/// What small commits are copied to, unless that were too large a part of the cache.
const CHUNK_BYTES: usize = 64 << 10;

/// A chunk is at most this part of the cache, as a divisor; in whole blocks.
const CHUNK_DIVISOR: usize = 12;

/// What is remembered of a commit and of each of its runs, in queues that may be half empty.
const COMMIT_COST: usize = 2 * size_of::<CachedCommit>() + 128;
const RUN_COST: usize = 2 * size_of::<Run>() + size_of::<(Log, i64)>();

/// The most that commits of so many bytes together cost the cache.
pub(crate) const fn cost_max(commit_bytes: usize) -> usize {
    let commits = commit_bytes.div_ceil(BLOCK_BYTES);
    let runs = commit_bytes / ENTRY_HEADER_BYTES;
    commit_bytes + commits * (footprint(0) + COMMIT_COST) + runs * RUN_COST
}

/// What a commit of one run costs it at most.
pub(crate) const fn cost_of_one(commit_bytes: usize) -> usize {
    footprint(commit_bytes) + COMMIT_COST + RUN_COST
}

/// The memory of a commit's runs.
#[derive(Clone)]
pub(crate) struct Memory {
    bytes: Bytes,
    /// Where in the commit they begin.
    begin: usize,
    weight: Weight,
}

/// What of the cache's share a commit's memory takes.
#[derive(Clone)]
enum Weight {
    /// A buffer of its own.
    Own(usize),
    /// A part of a chunk.
    Shared(Rc<Chunk>),
}

/// A chunk, counted until the cache has nothing of it any more.
struct Chunk {
    all: Rc<Cell<usize>>,
    bytes: usize,
}

impl Chunk {
    fn new(all: &Rc<Cell<usize>>, bytes: usize) -> Rc<Self> {
        all.set(all.get() + bytes);
        let all = Rc::clone(all);
        Rc::new(Self { all, bytes })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.bytes);
    }
}

impl Memory {
    /// A run of the commit.
    pub(crate) fn slice(&self, header: &EntryHeader) -> Bytes {
        let begin = header.body_offset as usize - self.begin;
        self.bytes.slice(begin..begin + header.body_len as usize)
    }
}

struct CachedCommit {
    lsn: u64,
    weight: Weight,
    runs: Vec<(Log, i64)>,
}

impl CachedCommit {
    /// What it takes beside its chunk.
    fn bytes(&self) -> usize {
        let own = match &self.weight {
            Weight::Own(bytes) => *bytes,
            Weight::Shared(_) => 0,
        };
        own + COMMIT_COST + self.runs.len() * RUN_COST
    }
}

pub(crate) struct TailCache {
    commits: VecDeque<CachedCommit>,
    /// What they take beside chunks.
    bytes: usize,
    /// Of all chunks.
    chunk_bytes: Rc<Cell<usize>>,
    /// None where a chunk would be too large a part of the cache.
    pack: Option<Pack>,
    /// The chunk that is being filled.
    open: Option<Rc<Chunk>>,
    bytes_max: usize,
    /// What of `bytes_max` others have.
    lent: usize,
}

impl TailCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let chunk = CHUNK_BYTES.min(bytes_max / CHUNK_DIVISOR / BLOCK_BYTES * BLOCK_BYTES);
        Self {
            commits: VecDeque::new(),
            bytes: 0,
            chunk_bytes: Rc::default(),
            pack: (chunk > 0).then(|| Pack::new(chunk)),
            open: None,
            bytes_max,
            lent: 0,
        }
    }

    /// The memory in which a commit's runs are kept.
    pub(crate) fn memory_of(&mut self, plan: &Plan, built: &Built) -> Memory {
        let runs = plan.runs_range();
        let begin = runs.start;
        let small = |pack: &&mut Pack| (1..=pack.part_bytes_max()).contains(&runs.len());
        let Some(pack) = self.pack.as_mut().filter(small) else {
            return Memory {
                bytes: built.bytes.clone(),
                begin: 0,
                weight: Weight::Own(footprint(plan.length)),
            };
        };
        let packed = pack.put(&built.bytes[runs]);
        if packed.is_first {
            self.open = None;
        }
        let chunk_bytes = pack.chunk_bytes();
        let chunk = self
            .open
            .get_or_insert_with(|| Chunk::new(&self.chunk_bytes, chunk_bytes));
        Memory {
            bytes: packed.bytes,
            begin,
            weight: Weight::Shared(Rc::clone(chunk)),
        }
    }

    /// A commit whose runs' logs hold slices of that memory.
    pub(crate) fn insert(&mut self, lsn: u64, memory: &Memory, runs: Vec<(Log, i64)>) {
        if runs.is_empty() {
            // Nobody holds anything of it.
            return;
        }
        let weight = memory.weight.clone();
        let commit = CachedCommit { lsn, weight, runs };
        self.bytes += commit.bytes();
        self.commits.push_back(commit);
    }

    /// Drops the oldest commits' slices until the rest is within the bound.
    pub(crate) fn shrink(&mut self) {
        while self.bytes() > self.bytes_max - self.lent {
            let Some(oldest) = self.commits.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            for (log, base) in oldest.runs {
                log.forget_memory(base, oldest.lsn);
            }
        }
    }

    /// Others have so much of its share: at most half of it.
    pub(crate) fn lend(&mut self, bytes: usize) {
        self.lent = bytes.min(self.bytes_max / 2);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.chunk_bytes.get()
    }

    pub(crate) fn clear(&mut self) {
        self.commits.clear();
        self.bytes = 0;
        self.open = None;
    }

    pub(crate) fn check_invariants(&self) {
        let bytes: usize = self.commits.iter().map(CachedCommit::bytes).sum();
        assert_eq!(bytes, self.bytes);
        // A commit carried from elsewhere may keep its chunk later than those behind it keep theirs.
        let chunks = self
            .commits
            .iter()
            .filter_map(|commit| match &commit.weight {
                Weight::Shared(chunk) => Some(Rc::as_ptr(chunk)),
                Weight::Own(_) => None,
            });
        let chunks = chunks.collect::<BTreeSet<_>>().len();
        let chunk = self.pack.as_ref().map_or(0, Pack::chunk_bytes);
        assert!(chunks * chunk <= self.chunk_bytes.get());
    }
}
