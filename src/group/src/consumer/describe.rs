//! What others may ask about a group: descriptions, and whether offsets may be read or written.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::group::ConsumerGroup;
use super::member::{Member, named};
use crate::config::GroupConfig;
use crate::error::GroupError;
use crate::reply::{ConsumerDescription, ConsumerMember, TopicAssignment};
use crate::request::CommitOffsets;
use crate::topics::Topics;

impl ConsumerGroup {
    /// How many members it has.
    pub(crate) fn members(&self) -> usize {
        self.members.len()
    }

    /// ConsumerGroupDescribe.
    pub(crate) fn describe(
        &self,
        topics: &dyn Topics,
        config: &GroupConfig,
    ) -> ConsumerDescription {
        ConsumerDescription {
            state: self.state(),
            group_epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor: Arc::from(self.assignor(config).name()),
            members: self
                .members
                .values()
                .map(|member| self.describe_member(member, topics))
                .collect(),
        }
    }

    fn describe_member(&self, member: &Member, topics: &dyn Topics) -> ConsumerMember {
        let target: BTreeMap<Uuid, Vec<i32>> = self
            .targets
            .get(&member.id)
            .into_iter()
            .flatten()
            .map(|(topic, partitions)| (*topic, partitions.iter().copied().collect()))
            .collect();
        let told = &member.told;
        ConsumerMember {
            member: member.id.clone(),
            instance: told.instance.clone(),
            rack: told.rack.clone(),
            member_epoch: member.epoch,
            client_id: told.client_id.clone(),
            client_host: told.client_host.clone(),
            topic_names: told.topic_names.clone(),
            topic_regex: told.topic_regex.clone(),
            assignment: described(topics, member.assignment().into_iter().collect()),
            target: described(topics, target),
            classic: member.is_classic(),
        }
    }

    /// Refuses an offset from who is not where the coordinator has it. An older epoch will do for a
    /// partition that the member has had since then.
    pub(crate) fn check_commit(
        &self,
        commit: &CommitOffsets,
        topic: Uuid,
        partition: i32,
    ) -> Result<(), GroupError> {
        let epoch = commit.generation_or_epoch;
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self
            .members
            .get(&commit.member)
            .ok_or(GroupError::UnknownMemberId)?;
        if !member.is_classic() && !commit.knows_epochs {
            return Err(GroupError::UnsupportedVersion);
        }
        let since = member.epoch_of(topic, partition);
        let has_since = since.is_some_and(|since| epoch >= since);
        if epoch == member.epoch || (epoch < member.epoch && has_since) {
            return Ok(());
        }
        Err(stale(member))
    }

    /// Refuses to tell offsets to a member that is not where the coordinator has it.
    pub(crate) fn check_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), GroupError> {
        if member.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = self.members.get(member.unwrap_or_default());
        let member = member.ok_or(GroupError::UnknownMemberId)?;
        if epoch == member.epoch {
            Ok(())
        } else {
            Err(stale(member))
        }
    }
}

fn stale(member: &Member) -> GroupError {
    if member.is_classic() {
        GroupError::IllegalGeneration
    } else {
        GroupError::StaleMemberEpoch
    }
}

fn described(topics: &dyn Topics, lists: BTreeMap<Uuid, Vec<i32>>) -> Vec<TopicAssignment> {
    named(
        topics,
        lists.iter().map(|(topic, list)| (topic, list.clone())),
    )
    .into_iter()
    .map(|(topic, name, partitions)| TopicAssignment {
        topic,
        name,
        partitions,
    })
    .collect()
}
