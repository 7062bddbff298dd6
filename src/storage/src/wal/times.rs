//! When the last commits were built, written and durable.
//!
//! Kept for whoever waited for one and asks afterwards where the time went. Bounded: the last
//! [`COMMITS_MAX`]; who asks for one that is gone, or has not come that far, is told so by zeros.

use std::cell::RefCell;
use std::collections::VecDeque;

use tailwater_shards::now;

/// Many more than are on their way at once.
const COMMITS_MAX: usize = 256;

/// When a commit passed each step, on the monotonic clock; 0: not yet, or not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitTimes {
    /// It took what had gathered.
    pub built_ns: u64,
    /// Its write had ended.
    pub written_ns: u64,
    /// It was durable, and all before it.
    pub durable_ns: u64,
}

struct Entry {
    id: u64,
    completes: u64,
    times: CommitTimes,
}

/// See the module.
#[derive(Default)]
pub(super) struct Times {
    /// By ascending id and ticket.
    entries: RefCell<VecDeque<Entry>>,
}

impl Times {
    /// The commit has been built that completes `ticket`.
    pub(super) fn built(&self, id: u64, completes: u64) {
        let mut entries = self.entries.borrow_mut();
        if entries.len() == COMMITS_MAX {
            entries.pop_front();
        }
        let times = CommitTimes {
            built_ns: now().as_nanos(),
            ..CommitTimes::default()
        };
        entries.push_back(Entry {
            id,
            completes,
            times,
        });
    }

    /// The commit's write has ended.
    pub(super) fn written(&self, id: u64) {
        self.change(id, |times| times.written_ns = now().as_nanos());
    }

    /// The commit and all before it are durable.
    pub(super) fn durable(&self, id: u64) {
        self.change(id, |times| times.durable_ns = now().as_nanos());
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut CommitTimes)) {
        let mut entries = self.entries.borrow_mut();
        let at = entries.partition_point(|entry| entry.id < id);
        if let Some(entry) = entries.get_mut(at).filter(|entry| entry.id == id) {
            change(&mut entry.times);
        }
    }

    /// Those of the commit that held the ticket.
    pub(super) fn of(&self, ticket: u64) -> CommitTimes {
        let entries = self.entries.borrow();
        let at = entries.partition_point(|entry| entry.completes < ticket);
        // Of one before the first that is kept nothing is known.
        let is_known = at > 0 || entries.len() < COMMITS_MAX;
        let entry = entries.get(at).filter(|_| is_known);
        entry.map_or_else(CommitTimes::default, |entry| entry.times)
    }
}
