//! OffsetCommit and OffsetDelete.

use std::sync::Arc;

use uuid::Uuid;

use crate::error::GroupError;
use crate::groups::Groups;
use crate::memory::group_bytes;
use crate::records::OffsetValue;
use crate::request::{CommitOffsets, DeleteOffsets, OffsetToCommit, TopicRef};
use crate::step::Step;
use crate::topics::Topics;

use super::key;

/// A string in a record is no longer.
const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// The name and id of a partition's topic, if the partition is there.
fn resolve(
    topics: &dyn Topics,
    topic: &TopicRef,
    partition: i32,
) -> Result<(Arc<str>, Uuid), GroupError> {
    let name: Arc<str> = match topic {
        TopicRef::Name(name) => name.clone(),
        TopicRef::Id(id) => Arc::from(topics.name_of(*id).ok_or(GroupError::UnknownTopicId)?),
    };
    match topics.by_name(&name) {
        Some(info) if (0..info.partitions).contains(&partition) => Ok((name, info.id)),
        _ => Err(GroupError::UnknownTopicOrPartition),
    }
}

impl Groups {
    /// Handles a commit: each offset by itself, and all or none of those that are well-formed.
    pub(crate) fn commit(
        &mut self,
        step: &mut Step<'_>,
        commit: &CommitOffsets,
    ) -> Vec<Result<(), GroupError>> {
        let offsets = commit.offsets.iter();
        let resolved: Vec<_> = offsets
            .map(|offset| resolve(step.topics, &offset.topic, offset.partition))
            .collect();
        // Who names no partition that is there is not looked at, as in Kafka.
        let allowed = if resolved.iter().any(Result::is_ok) {
            self.may_commit(step, commit)
        } else {
            Ok(())
        };
        let offsets = commit.offsets.iter().zip(resolved);
        offsets
            .map(|(offset, resolved)| {
                let (topic, id) = resolved?;
                allowed.clone()?;
                if let Some(group) = self.find(&commit.group) {
                    group.validate_offset(commit, id, offset.partition)?;
                }
                self.commit_one(step, commit, offset, &topic, id)
            })
            .collect()
    }

    fn may_commit(
        &mut self,
        step: &mut Step<'_>,
        commit: &CommitOffsets,
    ) -> Result<(), GroupError> {
        match self.find(&commit.group) {
            Some(group) => {
                group.validate_commit(commit)?;
                self.note_commit(step, &commit.group, &commit.member);
                Ok(())
            }
            None if commit.generation_or_epoch < 0 => self
                .may_create(step, &commit.group)
                .map_err(GroupError::of_commit),
            None => Err(GroupError::GroupIdNotFound(format!(
                "Group {} not found.",
                commit.group
            ))),
        }
    }

    fn commit_one(
        &mut self,
        step: &mut Step<'_>,
        commit: &CommitOffsets,
        offset: &OffsetToCommit,
        topic: &Arc<str>,
        id: Uuid,
    ) -> Result<(), GroupError> {
        let metadata = offset.metadata.clone().unwrap_or_else(|| Arc::from(""));
        let units = metadata.encode_utf16().count();
        if units > step.config.offset_metadata_max || metadata.len() > STRING_BYTES_MAX {
            return Err(GroupError::OffsetMetadataTooLarge);
        }
        let expire_ms = commit.retention_ms.filter(|ms| *ms != -1);
        let value = OffsetValue {
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata,
            commit_ms: step.moment.wall_ms,
            expire_ms: expire_ms.map(|ms| step.moment.wall_ms.saturating_add(ms)),
            topic: id,
        };
        self.make_room(step, &commit.group, topic, offset.partition, &value)?;
        step.record(key(&commit.group, topic, offset.partition).record(value.encode()));
        self.offsets.put(
            &commit.group,
            topic,
            offset.partition,
            value.into_recorded(),
        );
        self.ensure(&commit.group);
        Ok(())
    }

    /// Takes the room for an offset. One that takes the place of another with as much metadata needs
    /// none: a group goes on where there is no room for more.
    fn make_room(
        &self,
        step: &mut Step<'_>,
        group: &str,
        topic: &str,
        partition: i32,
        value: &OffsetValue,
    ) -> Result<(), GroupError> {
        let taken = match self.offsets.find(group, topic, partition) {
            Some(before) => {
                let more = super::bytes_of(value).saturating_sub(super::bytes_of(before));
                step.room.take_old(more)
            }
            None => {
                let of_group = match self.find(group) {
                    Some(_) => 0,
                    None => group_bytes(group),
                };
                let more = of_group + self.offsets.growth(group, topic, value);
                step.room.take_new(more)
            }
        };
        taken.map_err(GroupError::of_commit)
    }

    /// Handles a deletion of offsets: of each partition by itself.
    pub(crate) fn delete_offsets(
        &mut self,
        step: &mut Step<'_>,
        delete: &DeleteOffsets,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let group = self
            .find(&delete.group)
            .ok_or_else(|| not_found(&delete.group))?;
        group.validate_offset_delete()?;
        let mut results = Vec::new();
        let mut gone = Vec::new();
        for (topic, partitions) in &delete.topics {
            let subscribed = group.is_subscribed(topic);
            for partition in partitions {
                let here = self
                    .offsets
                    .find(&delete.group, topic, *partition)
                    .is_some();
                let named = TopicRef::Name(topic.clone());
                results.push(
                    if resolve(step.topics, &named, *partition).is_err() && !here {
                        Err(GroupError::UnknownTopicOrPartition)
                    } else if subscribed {
                        Err(GroupError::GroupSubscribedToTopic)
                    } else {
                        if here {
                            gone.push((topic, *partition));
                        }
                        Ok(())
                    },
                );
            }
        }
        for (topic, partition) in gone {
            if self.offsets.find(&delete.group, topic, partition).is_some() {
                step.record(key(&delete.group, topic, partition).tombstone());
                self.offsets.remove(&delete.group, topic, partition);
            }
        }
        self.forget_if_nothing(step, &delete.group);
        Ok(results)
    }
}

/// There is no such group.
pub(crate) fn not_found(group: &str) -> GroupError {
    GroupError::GroupIdNotFound(format!("Group {group} not found."))
}
