//! The deadlines of a machine, in one order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a deadline is about. Whoever it names may be gone, or have a later deadline by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timer {
    /// A classic member must have been heard of.
    Session(Arc<str>, Arc<str>),
    /// A member that was told its id must have joined with it.
    Pending(Arc<str>, Arc<str>),
    /// The members of a group must have joined.
    Join(Arc<str>),
    /// The members of a group must have synced.
    Sync(Arc<str>),
    /// Something is due in a group of the new protocol.
    Consumer(Arc<str>),
    /// Offsets may have expired.
    Retention,
    /// There are more offsets of topics that are gone.
    DeletedTopics,
}

/// Names a deadline that was set. Ids are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerId {
    at: Duration,
    sequence: u64,
}

impl TimerId {
    /// When it is due.
    pub(crate) fn at(self) -> Duration {
        self.at
    }
}

/// Deadlines by time, then by the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<TimerId, Timer>,
    sequence: u64,
}

impl Timers {
    /// Sets a deadline.
    pub(crate) fn set(&mut self, at: Duration, timer: Timer) -> TimerId {
        self.sequence += 1;
        let id = TimerId {
            at,
            sequence: self.sequence,
        };
        self.due.insert(id, timer);
        id
    }

    /// Forgets a deadline, if it is still to come.
    pub(crate) fn cancel(&mut self, id: TimerId) {
        self.due.remove(&id);
    }

    /// The next deadline that has come, with its id; none that was set after `newest`.
    pub(crate) fn pop_due(&mut self, now: Duration, newest: u64) -> Option<(TimerId, Timer)> {
        let mut due = self.due.keys().take_while(|id| id.at <= now);
        let id = *due.find(|id| id.sequence <= newest)?;
        self.due.remove_entry(&id)
    }

    /// The deadline that was set last.
    pub(crate) fn newest(&self) -> u64 {
        self.sequence
    }

    /// When the next deadline comes.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.due.first_key_value().map(|(id, _)| id.at)
    }

    /// Whether a deadline is still to come.
    pub(crate) fn is_set(&self, id: TimerId) -> bool {
        self.due.contains_key(&id)
    }

    /// How many are still to come.
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }
}
