//! What groups and offsets take in memory, about, and what is refused where there is no room.
//!
//! Bound: a machine is told with each step how much more it may take ([`Room`]). What would be new (a
//! group, a member, an offset of a partition that has none) is refused first; what is there may
//! grow a little further, so that members of today still rebalance when no other may come. Offsets
//! that take the place of others, and all that a log says, are always taken.

use crate::error::GroupError;

/// How many bytes more a machine may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// With groups, members and offsets that are not there yet.
    pub new: u64,
    /// With those that are. No less than `new`.
    pub old: u64,
}

impl Room {
    /// As much as there is.
    #[cfg(test)]
    pub(crate) const UNBOUNDED: Room = Room {
        new: u64::MAX,
        old: u64::MAX,
    };

    /// What is left of a budget when so much of it is taken. An eighth is kept for what is there
    /// already.
    pub const fn left(taken: u64, budget: u64) -> Room {
        Room {
            new: (budget - budget / 8).saturating_sub(taken),
            old: budget.saturating_sub(taken),
        }
    }

    /// Takes room for what is new.
    pub(crate) fn take_new(&mut self, bytes: u64) -> Result<(), GroupError> {
        self.take(bytes, self.new)
    }

    /// Takes room for what grows.
    pub(crate) fn take_old(&mut self, bytes: u64) -> Result<(), GroupError> {
        self.take(bytes, self.old)
    }

    fn take(&mut self, bytes: u64, of: u64) -> Result<(), GroupError> {
        if bytes > of {
            return Err(GroupError::LimitReached(
                "The coordinator has as many groups, members and offsets as its memory may hold."
                    .into(),
            ));
        }
        self.new = self.new.saturating_sub(bytes);
        self.old = self.old.saturating_sub(bytes);
        Ok(())
    }
}

/// A group besides its id and members: itself, its place among the others, its timers.
pub(crate) const GROUP_BYTES: u64 = 1_024;

/// A member besides what it told: itself, its places in the tables, its timers.
pub(crate) const MEMBER_BYTES: u64 = 768;

/// The offsets of a group besides those of each topic.
pub(crate) const COMMITTED_BYTES: u64 = 512;

/// The offsets of a topic besides its name and each offset: a node of a tree.
pub(crate) const TOPIC_BYTES: u64 = 768;

/// An offset besides its metadata.
pub(crate) const OFFSET_BYTES: u64 = 144;

/// So much metadata every offset may have, whether it has or not: it can still be committed with it
/// when there is room for nothing else.
pub(crate) const METADATA_BYTES: u64 = 64;

/// A group without members, by the length of its id.
pub(crate) fn group_bytes(id: &str) -> u64 {
    GROUP_BYTES + 2 * id.len() as u64
}
