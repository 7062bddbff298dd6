//! The tail cache: the memory of commits, kept after they are durable for consumers who keep up.
//!
//! Memory is counted by commit, since a slice of one keeps all of it. Above its bound the oldest
//! commit's slices are taken from their logs, which then read those runs from the WAL or the
//! segment. Slices that readers hold stay theirs.

use std::collections::VecDeque;

use crate::log::Log;

struct CachedCommit {
    lsn: u64,
    bytes: usize,
    runs: Vec<(Log, i64)>,
}

pub(crate) struct TailCache {
    commits: VecDeque<CachedCommit>,
    bytes: usize,
    bytes_max: usize,
    /// What of `bytes_max` others have.
    lent: usize,
}

impl TailCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            commits: VecDeque::new(),
            bytes: 0,
            bytes_max,
            lent: 0,
        }
    }

    /// A commit whose runs' logs hold slices of it, and which lies on the disk.
    pub(crate) fn insert(&mut self, lsn: u64, bytes: usize, runs: Vec<(Log, i64)>) {
        self.bytes += bytes;
        self.commits.push_back(CachedCommit { lsn, bytes, runs });
    }

    /// Drops the oldest commits' slices until the rest is within the bound.
    pub(crate) fn shrink(&mut self) {
        while self.bytes > self.bytes_max - self.lent {
            let Some(oldest) = self.commits.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes;
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
        self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.commits.clear();
        self.bytes = 0;
    }
}
