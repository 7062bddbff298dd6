//! What others may ask of a classic group, and what they may do to it.

use std::sync::Arc;

use crate::error::GroupError;
use crate::outcome::ReplyTo;
use crate::reply::{ClassicMember, Description, Listed};
use crate::request::CommitOffsets;
use crate::timers::TimerId;

use super::{ClassicGroup, State};

impl ClassicGroup {
    /// How many members it has.
    pub(crate) fn members(&self) -> usize {
        self.members.len()
    }

    /// The group for ListGroups.
    pub(crate) fn listed(&self) -> Listed {
        Listed {
            group: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            state: self.state.name(),
            kind: "classic",
        }
    }

    /// The group for DescribeGroups. Assignor and metadata are told of a stable group alone.
    pub(crate) fn describe(&self) -> Description {
        let protocol = self
            .protocol
            .as_deref()
            .filter(|_| self.state == State::Stable);
        let members = self.members.iter();
        Description {
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            protocol: Arc::from(protocol.unwrap_or("")),
            members: members
                .map(|(id, member)| ClassicMember {
                    member: id.clone(),
                    instance: member.instance.clone(),
                    client_id: member.client_id.clone(),
                    client_host: member.client_host.clone(),
                    metadata: member.metadata(protocol),
                    assignment: member.assignment.clone(),
                })
                .collect(),
        }
    }

    /// Whether an offset may be committed: by a member in its generation, or by somebody outside
    /// while there are none.
    pub(crate) fn validate_commit(&self, commit: &CommitOffsets) -> Result<(), GroupError> {
        let generation = commit.generation_or_epoch;
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation >= 0 || !commit.member.is_empty() || commit.instance.is_some() {
            self.validate_member(&commit.member, commit.instance.as_deref())?;
            if generation != self.generation {
                return Err(GroupError::IllegalGeneration);
            }
        } else if self.state != State::Empty {
            return Err(GroupError::UnknownMemberId);
        }
        if self.state == State::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether offsets may be deleted: of consumers, since it is known what they read.
    pub(crate) fn validate_offset_delete(&self) -> Result<(), GroupError> {
        if self.state == State::Empty || self.has_consumers() {
            Ok(())
        } else {
            Err(GroupError::NonEmptyGroup)
        }
    }

    /// Whether the group may be deleted.
    pub(crate) fn validate_delete(&self) -> Result<(), GroupError> {
        if self.state == State::Empty {
            Ok(())
        } else {
            Err(GroupError::NonEmptyGroup)
        }
    }

    /// Whether a topic is read. Consumers whose subscription cannot be read count as reading all.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.has_consumers(),
        }
    }

    /// From when on an offset's retention counts, given when it was committed; none if offsets do
    /// not expire now.
    pub(crate) fn retention_start_ms(&self, commit_ms: i64) -> Option<i64> {
        if self.protocol_type.is_none() {
            return Some(commit_ms);
        }
        match self.state {
            State::Empty => Some(self.state_since_ms.unwrap_or(commit_ms)),
            State::Stable if self.has_consumers() && self.subscribed.is_some() => Some(commit_ms),
            _ => None,
        }
    }

    /// Who waits for other members.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = ReplyTo> + '_ {
        let members = self.members.values();
        members.flat_map(|member| [member.join, member.sync].into_iter().flatten())
    }

    /// Panics if the group contradicts itself. Gives the timers it has set.
    pub(crate) fn check_invariants(&self) -> Vec<TimerId> {
        let joining = self.members.values().filter(|m| m.join.is_some()).count();
        assert_eq!(self.joining, joining, "{}: members that join", self.id);
        let bytes: u64 = self.members.iter().map(|(id, m)| m.bytes(id)).sum();
        assert_eq!(self.bytes, bytes, "{}: bytes", self.id);
        for (name, count) in &self.supported {
            let supports = |m: &&super::Member| m.protocols.iter().any(|(n, _)| n == name);
            assert_eq!(
                *count,
                self.members.values().filter(supports).count(),
                "{name}"
            );
        }
        for (instance, id) in &self.statics {
            let member = self.members.get(id);
            assert_eq!(member.and_then(|m| m.instance.as_ref()), Some(instance));
        }
        if let Some(leader) = &self.leader {
            assert!(
                self.members.contains_key(leader),
                "{}: {leader} leads",
                self.id
            );
        }
        assert!(self.unsynced.iter().all(|id| self.members.contains_key(id)));
        assert!(self.pending.keys().all(|id| !self.members.contains_key(id)));
        match self.state {
            State::Empty => assert!(self.members.is_empty() && self.join_timer.is_none()),
            State::PreparingRebalance => {
                assert!(self.join_timer.is_some(), "{}: waits for ever", self.id)
            }
            State::CompletingRebalance => {
                assert!(!self.members.is_empty() && self.joining == 0);
                assert!(self.sync_timer.is_some() || self.unsynced.is_empty());
            }
            State::Stable => assert!(!self.members.is_empty() && self.durable.is_some()),
        }
        let timers = self.members.values().filter_map(super::Member::timer);
        let timers = timers.chain(self.pending.values().copied());
        timers
            .chain(self.join_timer)
            .chain(self.sync_timer)
            .collect()
    }
}
