//! When a produce passed each step of its way, for whoever tells where the time goes.

use tailwater_storage::CommitTimes;

/// At one owner, on the monotonic clock of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OwnerTimes {
    /// The owner took the batches.
    pub(crate) taken_ns: u64,
    /// They were appended in memory.
    pub(crate) appended_ns: u64,
    /// The commit that they waited for; zeros if they waited for none.
    pub(crate) commit: CommitTimes,
    /// They had been appended, and what `acks` promises held.
    pub(crate) done_ns: u64,
}

/// At the owner whose part was done last. Zeros where nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProduceTimes {
    /// The part was sent to another shard; 0 if it stayed here.
    pub sent_ns: u64,
    /// The owner took it.
    pub taken_ns: u64,
    /// It was appended in memory.
    pub appended_ns: u64,
    /// The commit that it waited for; zeros if it waited for none.
    pub commit: CommitTimes,
    /// What `acks` promises held at the owner.
    pub done_ns: u64,
}

impl ProduceTimes {
    /// Of these two, the part that was done last.
    pub(crate) fn later(self, sent_ns: u64, other: OwnerTimes) -> Self {
        if other.done_ns < self.done_ns {
            return self;
        }
        Self {
            sent_ns,
            taken_ns: other.taken_ns,
            appended_ns: other.appended_ns,
            commit: other.commit,
            done_ns: other.done_ns,
        }
    }
}
