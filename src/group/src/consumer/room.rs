//! What a member brings that the group has to hold: refused where there is no room for it.

use super::group::{ConsumerGroup, READ_PARTITION_BYTES, names_bytes, told_bytes};
use super::heartbeat::{Context, Found};
use super::pattern::TopicPattern;
use crate::error::GroupError;
use crate::memory::MEMBER_BYTES;
use crate::records::ConsumerMemberValue;

impl ConsumerGroup {
    /// Refuses what there is no room for: a member, what it tells beyond what it has told before,
    /// and the partitions of topics that nobody of the group has read. `pattern` is what it is
    /// subscribed to, if the group does not know it yet.
    pub(super) fn check_memory(
        &self,
        context: &Context<'_>,
        found: &Found,
        told: &ConsumerMemberValue,
        pattern: Option<&TopicPattern>,
    ) -> Result<(), GroupError> {
        let (id, before) = (&found.member.id, &found.member.told);
        let is_new = found.replaces.is_none() && !self.members.contains_key(id);
        if !is_new && told == before {
            return Ok(());
        }
        let mut partitions = 0;
        let unread = told.topic_names.iter().filter(|name| {
            before.topic_names.binary_search(name).is_err() && !self.is_subscribed_to(name)
        });
        for name in unread {
            partitions += context.topics.by_name(name).map_or(0, |it| it.partitions);
        }
        let mut matched = Vec::new();
        if let Some(pattern) = pattern {
            context.topics.each(&mut |name, topic| {
                if pattern.matches(name) {
                    matched.push(name.into());
                    partitions += topic.partitions;
                }
            });
        }
        let read = u64::try_from(partitions).unwrap_or(0) * READ_PARTITION_BYTES;
        let bytes = told_bytes(id, told) + names_bytes(&matched) + read;
        let mut room = context.moment.room;
        if is_new {
            room.take_new(bytes + MEMBER_BYTES)
        } else {
            room.take_old(bytes.saturating_sub(told_bytes(id, before)))
        }
    }
}
