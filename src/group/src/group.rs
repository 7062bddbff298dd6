//! A group of any kind.

use std::sync::Arc;

use uuid::Uuid;

use crate::classic::ClassicGroup;
use crate::consumer::ConsumerGroup;
use crate::error::GroupError;
use crate::outcome::{Record, ReplyTo};
use crate::parts::Place;
use crate::reply::Listed;
use crate::request::{CommitOffsets, FetchOffsets};
use crate::step::Step;
use crate::timers::TimerId;

/// A group, by the protocol that its members speak.
#[derive(Debug)]
pub(crate) enum Group {
    /// Of the classic protocol, or without members.
    Classic(ClassicGroup),
    /// Of the consumer rebalance protocol.
    Consumer(ConsumerGroup),
}

impl Group {
    /// What it takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Group::Classic(group) => group.bytes(),
            Group::Consumer(group) => group.bytes(),
        }
    }

    /// What its members take, about, without that one.
    pub(crate) fn bytes_beside(&self, member: &str, instance: Option<&Arc<str>>) -> u64 {
        match self {
            Group::Classic(group) => group.bytes_beside(member, instance),
            Group::Consumer(group) => group.bytes_beside(member, instance),
        }
    }

    /// How many members it has.
    pub(crate) fn members(&self) -> usize {
        match self {
            Group::Classic(group) => group.members(),
            Group::Consumer(group) => group.members(),
        }
    }

    /// Starts its timers, after its records have been replayed.
    pub(crate) fn loaded(&mut self, step: &mut Step<'_>) {
        match self {
            Group::Classic(group) => group.loaded(step),
            Group::Consumer(group) => {
                group.loaded(step.moment, step.config);
                group.rearm(step);
            }
        }
    }

    /// Ends its timers.
    pub(crate) fn cancel_timers(&mut self, step: &mut Step<'_>) {
        match self {
            Group::Classic(group) => group.cancel_timers(step),
            Group::Consumer(group) => {
                if let Some(timer) = group.timer.take() {
                    step.timers.cancel(timer);
                }
            }
        }
    }

    /// Whether it was never recorded and has no member.
    pub(crate) fn is_nothing(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_nothing(),
            Group::Consumer(_) => false,
        }
    }

    /// Whether no member is in it, nor about to be.
    pub(crate) fn is_idle(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_idle(),
            Group::Consumer(group) => group.is_empty(),
        }
    }

    /// Whether this may be committed.
    pub(crate) fn validate_commit(&self, commit: &CommitOffsets) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.validate_commit(commit),
            Group::Consumer(_) => Ok(()),
        }
    }

    /// Whether an offset of this partition may be committed, in the new protocol.
    pub(crate) fn validate_offset(
        &self,
        commit: &CommitOffsets,
        topic: Uuid,
        partition: i32,
    ) -> Result<(), GroupError> {
        match self {
            Group::Classic(_) => Ok(()),
            Group::Consumer(group) => group.check_commit(commit, topic, partition),
        }
    }

    /// Whether this may be fetched: always, in the classic protocol.
    pub(crate) fn validate_fetch(&self, fetch: &FetchOffsets) -> Result<(), GroupError> {
        match self {
            Group::Classic(_) => Ok(()),
            Group::Consumer(group) => {
                group.check_fetch(fetch.member.as_deref(), fetch.member_epoch)
            }
        }
    }

    /// Whether offsets may be deleted.
    pub(crate) fn validate_offset_delete(&self) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.validate_offset_delete(),
            Group::Consumer(_) => Ok(()),
        }
    }

    /// Whether it may be deleted.
    pub(crate) fn validate_delete(&self) -> Result<(), GroupError> {
        match self {
            Group::Classic(group) => group.validate_delete(),
            Group::Consumer(group) if group.is_empty() => Ok(()),
            Group::Consumer(_) => Err(GroupError::NonEmptyGroup),
        }
    }

    /// Whether it reads a topic.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed(topic),
            Group::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// From when on an offset's retention counts, given when it was committed; none if offsets do
    /// not expire now.
    pub(crate) fn retention_start_ms(&self, commit_ms: i64) -> Option<i64> {
        match self {
            Group::Classic(group) => group.retention_start_ms(commit_ms),
            Group::Consumer(_) => Some(commit_ms),
        }
    }

    /// The group for ListGroups.
    pub(crate) fn listed(&self) -> Listed {
        match self {
            Group::Classic(group) => group.listed(),
            Group::Consumer(group) => group.listed(),
        }
    }

    /// Records that it is gone.
    pub(crate) fn tombstones(&self, records: &mut Vec<Record>) {
        match self {
            Group::Classic(group) => group.tombstones(records),
            Group::Consumer(group) => group.tombstones(records),
        }
    }

    /// Records that rebuild it, behind a place.
    pub(crate) fn parts(&self, after: &Place) -> impl Iterator<Item = (Place, Record)> {
        let (classic, consumer) = match self {
            Group::Classic(group) => (group.part(after), None),
            Group::Consumer(group) => (None, Some(group.parts(after))),
        };
        classic.into_iter().chain(consumer.into_iter().flatten())
    }

    /// Who waits for other members.
    pub(crate) fn waiting(&self) -> Vec<ReplyTo> {
        match self {
            Group::Classic(group) => group.waiting().collect(),
            Group::Consumer(_) => Vec::new(),
        }
    }

    /// Panics if it contradicts itself. Gives the timers it has set.
    pub(crate) fn check_invariants(&self) -> Vec<TimerId> {
        match self {
            Group::Classic(group) => group.check_invariants(),
            Group::Consumer(group) => {
                group.check_invariants();
                assert_eq!(group.timer.map(TimerId::at), group.next_deadline());
                group.timer.into_iter().collect()
            }
        }
    }
}
