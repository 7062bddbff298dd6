//! What a group has to hold: refused where there is no room for it.
//!
//! A member that brings more than there is room for is refused. Topics grow without asking a group:
//! without room for their new partitions, a group goes on with those that it reads already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::group::ConsumerGroup;
use super::heartbeat::{Context, Found};
use super::pattern::TopicPattern;
use crate::assignor::Partitions;
use crate::error::GroupError;
use crate::memory::MEMBER_BYTES;
use crate::records::{ConsumerMemberValue, RegexValue};
use crate::topics::Topics;

/// So many times names by members are compared with each other.
const LOOKED_ONE_BY_ONE_MAX: usize = 20_000;

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
        // One by one, or all at once where members and names are many.
        let many = told.topic_names.len() * self.members.len() > LOOKED_ONE_BY_ONE_MAX;
        let all = many.then(|| self.subscribed_names());
        let is_read = |name: &Arc<str>| match &all {
            Some(all) => all.contains(&**name),
            None => self.is_subscribed_to(name),
        };
        for name in &told.topic_names {
            if let Some(topic) = context.topics.by_name(name)
                && before.topic_names.binary_search(name).is_err()
                && !is_read(name)
            {
                partitions += topic.partitions;
            }
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
        let grown = self.grown_bytes(context.topics);
        let bytes = told_bytes(id, told) + names_bytes(&matched) + read + grown;
        let mut room = context.moment.room;
        if is_new {
            room.take_new(bytes + MEMBER_BYTES)
        } else {
            room.take_old(bytes.saturating_sub(told_bytes(id, before)))
        }
    }

    /// Whether there is no room for what topics have grown by since the group looked at them.
    pub(super) fn lacks_room_to_grow(&self, context: &Context<'_>) -> bool {
        let mut room = context.moment.room;
        room.take_old(self.grown_bytes(context.topics)).is_err()
    }

    /// What the topics of now would take beyond those that the group has looked at: the names that
    /// its regular expressions mean, and partitions.
    fn grown_bytes(&self, topics: &dyn Topics) -> u64 {
        if self.topics_seen == Some(topics.version()) {
            return 0;
        }
        let expressions = self.regexes.keys();
        let patterns: Vec<TopicPattern> = expressions
            .filter_map(|regex| TopicPattern::compile(regex).ok())
            .collect();
        let mut names: BTreeSet<Arc<str>> =
            self.members
                .values()
                .fold(BTreeSet::new(), |mut names, member| {
                    names.extend(member.told.topic_names.iter().cloned());
                    names
                });
        let mut matched = 0;
        if !patterns.is_empty() {
            topics.each(&mut |name, _| {
                let by = patterns.iter().filter(|it| it.matches(name)).count() as u64;
                if by > 0 {
                    matched += by * name_bytes(name);
                    names.insert(Arc::from(name));
                }
            });
        }
        let known = self.regexes.values().map(|it| names_bytes(&it.topics));
        let read = self.reads_now();
        let unread = names.iter().filter_map(|name| topics.by_name(name));
        let unread = unread.map(|topic| {
            let before = read.get(&topic.id).copied().unwrap_or(0);
            u64::try_from(topic.partitions - before).unwrap_or(0)
        });
        unread.sum::<u64>() * READ_PARTITION_BYTES + matched.saturating_sub(known.sum())
    }

    /// How many partitions of each topic the group reads.
    pub(super) fn reads_now(&self) -> BTreeMap<Uuid, i32> {
        if !self.reads.is_empty() {
            return self.reads.clone();
        }
        let mut reads = BTreeMap::new();
        for (topic, partitions) in self.targets.values().flatten() {
            let count = reads.entry(*topic).or_insert(0);
            let end = partitions.last().map_or(0, |last| last + 1);
            *count = end.max(*count);
        }
        reads
    }
}

/// What a partition that somebody has, or is to have, takes.
pub(super) const PARTITION_BYTES: u64 = 96;

/// What a partition takes that the group begins to read: its owner, and its place in a target.
const READ_PARTITION_BYTES: u64 = PARTITION_BYTES + PARTITION_BYTES / 4;

fn names_bytes(names: &[Arc<str>]) -> u64 {
    names.iter().map(|name| name_bytes(name)).sum()
}

fn name_bytes(name: &str) -> u64 {
    name.len() as u64 + 32
}

pub(super) fn told_bytes(id: &str, told: &ConsumerMemberValue) -> u64 {
    let classic = told.classic.as_ref().map_or(0, |classic| {
        let protocols = classic.protocols.iter();
        protocols
            .map(|(name, bytes)| name.len() + bytes.len() + 64)
            .sum()
    });
    let texts = [
        &told.instance,
        &told.rack,
        &told.topic_regex,
        &told.assignor,
    ];
    let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
    let own = texts + classic + told.client_id.len() + told.client_host.len() + id.len() + 256;
    own as u64 + names_bytes(&told.topic_names)
}

pub(super) fn target_bytes(target: &Partitions) -> u64 {
    let lists = target.values();
    64 + lists
        .map(|list| PARTITION_BYTES / 4 * list.len() as u64 + 128)
        .sum::<u64>()
}

pub(super) fn regex_bytes(regex: &str, value: &RegexValue) -> u64 {
    128 + regex.len() as u64 + names_bytes(&value.topics)
}
