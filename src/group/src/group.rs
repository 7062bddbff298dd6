//! A group of any kind.

use crate::classic::ClassicGroup;
use crate::error::GroupError;
use crate::outcome::{Record, ReplyTo};
use crate::reply::Listed;
use crate::request::{CommitOffsets, FetchOffsets};
use crate::step::Step;
use crate::timers::TimerId;

/// A group, by the protocol that its members speak.
#[derive(Debug)]
pub(crate) enum Group {
    /// Of the classic protocol, or without members.
    Classic(ClassicGroup),
}

impl Group {
    /// What it takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Group::Classic(group) => group.bytes(),
        }
    }

    /// Starts its timers, after its records have been replayed.
    pub(crate) fn loaded(&mut self, step: &mut Step<'_>) {
        match self {
            Group::Classic(group) => group.loaded(step),
        }
    }

    /// Ends its timers.
    pub(crate) fn cancel_timers(&mut self, step: &mut Step<'_>) {
        match self {
            Group::Classic(group) => group.cancel_timers(step),
        }
    }

    /// Whether it was never recorded and has no member.
    pub(crate) fn is_nothing(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_nothing(),
        }
    }

    /// Whether no member is in it, nor about to be.
    pub(crate) fn is_idle(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_idle(),
        }
    }

    /// Whether this may be committed.
    pub(crate) fn validate_commit(&self, commit: &CommitOffsets) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.validate_commit(commit),
        }
    }

    /// Whether this may be fetched: always, in the classic protocol.
    pub(crate) fn validate_fetch(&self, _fetch: &FetchOffsets) -> Result<(), GroupError> {
        match self {
            Group::Classic(_) => Ok(()),
        }
    }

    /// Whether offsets may be deleted.
    pub(crate) fn validate_offset_delete(&self) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.validate_offset_delete(),
        }
    }

    /// Whether it may be deleted.
    pub(crate) fn validate_delete(&self) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.validate_delete(),
        }
    }

    /// Whether it reads a topic.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed(topic),
        }
    }

    /// From when on an offset's retention counts, given when it was committed; none if offsets do
    /// not expire now.
    pub(crate) fn retention_start_ms(&self, commit_ms: i64) -> Option<i64> {
        match self {
            Group::Classic(group) => group.retention_start_ms(commit_ms),
        }
    }

    /// The group for ListGroups.
    pub(crate) fn listed(&self) -> Listed {
        match self {
            Group::Classic(group) => group.listed(),
        }
    }

    /// Records that it is gone.
    pub(crate) fn tombstones(&self, records: &mut Vec<Record>) {
        match self {
            Group::Classic(group) => group.tombstones(records),
        }
    }

    /// Records that rebuild it.
    pub(crate) fn snapshot(&self, records: &mut Vec<Record>) {
        match self {
            Group::Classic(group) => group.snapshot(records),
        }
    }

    /// Who waits for other members.
    pub(crate) fn waiting(&self) -> Vec<ReplyTo> {
        match self {
            Group::Classic(group) => group.waiting().collect(),
        }
    }

    /// Panics if it contradicts itself. Gives the timers it has set.
    pub(crate) fn check_invariants(&self) -> Vec<TimerId> {
        match self {
            Group::Classic(group) => group.check_invariants(),
        }
    }
}
