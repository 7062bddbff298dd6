//! The committed offsets of a machine's groups.

mod commit;
mod expire;
mod fetch;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

pub(crate) use commit::not_found;
pub(crate) use expire::Spot;

use crate::memory::{COMMITTED_BYTES, METADATA_BYTES, OFFSET_BYTES, TOPIC_BYTES};
use crate::outcome::Record;
use crate::parts::{Place, Section};
use crate::records::{Key, OffsetValue};

/// Offsets of a topic, by partition.
pub(crate) type ByPartition = BTreeMap<i32, OffsetValue>;
/// Offsets of a group, by topic.
pub(crate) type ByTopic = BTreeMap<Arc<str>, ByPartition>;

/// Offsets by group. A group or topic without any is not in it.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    by_group: BTreeMap<Arc<str>, ByTopic>,
    /// What they take, about.
    bytes: u64,
}

/// What an offset takes, about.
fn bytes_of(value: &OffsetValue) -> u64 {
    OFFSET_BYTES + METADATA_BYTES.max(value.metadata.len() as u64)
}

/// What the name of a topic takes that a group has offsets of, about.
fn topic_bytes(topic: &str) -> u64 {
    TOPIC_BYTES + topic.len() as u64
}

/// What a group takes that has offsets, besides them.
fn committed_bytes(group: &str) -> u64 {
    COMMITTED_BYTES + group.len() as u64
}

fn key(group: &Arc<str>, topic: &Arc<str>, partition: i32) -> Key {
    Key::Offset {
        group: group.clone(),
        topic: topic.clone(),
        partition,
    }
}

impl Offsets {
    /// What they take, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The offsets of a group.
    pub(crate) fn of(&self, group: &str) -> Option<&ByTopic> {
        self.by_group.get(group)
    }

    /// The offset of a partition.
    pub(crate) fn find(&self, group: &str, topic: &str, partition: i32) -> Option<&OffsetValue> {
        self.of(group)?.get(topic)?.get(&partition)
    }

    /// Whether a group has any.
    pub(crate) fn has(&self, group: &str) -> bool {
        self.by_group.contains_key(group)
    }

    /// Keeps an offset, in the place of an older one.
    pub(crate) fn put(
        &mut self,
        group: &Arc<str>,
        topic: &Arc<str>,
        partition: i32,
        value: OffsetValue,
    ) {
        self.bytes += self.growth(group, topic, &value);
        let topics = self.by_group.entry(group.clone()).or_default();
        let old = topics
            .entry(topic.clone())
            .or_default()
            .insert(partition, value);
        self.bytes -= old.as_ref().map_or(0, bytes_of);
    }

    /// What a partition's offset takes with the names that are not here yet, about.
    fn growth(&self, group: &str, topic: &str, value: &OffsetValue) -> u64 {
        let names = match self.of(group) {
            None => committed_bytes(group) + topic_bytes(topic),
            Some(topics) if !topics.contains_key(topic) => topic_bytes(topic),
            Some(_) => 0,
        };
        names + bytes_of(value)
    }

    /// Forgets an offset.
    pub(crate) fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        let Some(topics) = self.by_group.get_mut(group) else {
            return;
        };
        let Some(partitions) = topics.get_mut(topic) else {
            return;
        };
        let old = partitions.remove(&partition);
        self.bytes -= old.as_ref().map_or(0, bytes_of);
        if partitions.is_empty() {
            topics.remove(topic);
            self.bytes -= topic_bytes(topic);
        }
        if topics.is_empty() {
            self.by_group.remove(group);
            self.bytes -= committed_bytes(group);
        }
    }

    /// Forgets the offsets of a group, with a tombstone for each.
    pub(crate) fn remove_all(&mut self, group: &Arc<str>, records: &mut Vec<Record>) {
        let Some(topics) = self.by_group.remove(group) else {
            return;
        };
        self.bytes -= committed_bytes(group);
        for (topic, partitions) in topics {
            self.bytes -= topic_bytes(&topic);
            for (partition, value) in partitions {
                self.bytes -= bytes_of(&value);
                records.push(key(group, &topic, partition).tombstone());
            }
        }
    }

    /// Records that rebuild the offsets of a group, behind a place.
    pub(crate) fn parts(
        &self,
        group: &Arc<str>,
        after: &Place,
    ) -> impl Iterator<Item = (Place, Record)> {
        let topics = self.of(group);
        // A topic that was begun, and those after it.
        let begun = topics.zip(after.behind_offset());
        let begun = begun.and_then(|(topics, (topic, partition))| {
            let (topic, partitions) = topics.get_key_value(topic)?;
            let rest = (Bound::Excluded(partition), Bound::Unbounded);
            Some((topic, partitions.range(rest)))
        });
        let rest = topics.map(|topics| after.rest(Section::Offset, topics));
        let rest = rest.into_iter().flatten();
        let rest = rest.map(|(topic, partitions)| (topic, partitions.range(..)));
        let all = begun.into_iter().chain(rest);
        let group = group.clone();
        all.flat_map(move |(topic, partitions)| {
            let group = group.clone();
            partitions.map(move |(partition, value)| {
                let record = key(&group, topic, *partition).record(value.encode());
                (Place::offset(topic, *partition), record)
            })
        })
    }

    /// Whether that holds for every group that has offsets.
    pub(crate) fn all_of(&self, holds: impl Fn(&Arc<str>) -> bool) -> bool {
        self.by_group.keys().all(holds)
    }

    /// Panics if they contradict themselves.
    pub(crate) fn check_invariants(&self) {
        let mut bytes = 0;
        for (group, topics) in &self.by_group {
            assert!(!topics.is_empty(), "a group without offsets");
            bytes += committed_bytes(group);
            for (topic, partitions) in topics {
                assert!(!partitions.is_empty(), "a topic without offsets");
                bytes += topic_bytes(topic);
                bytes += partitions.values().map(bytes_of).sum::<u64>();
            }
        }
        assert_eq!(bytes, self.bytes, "bytes of offsets");
    }
}

#[cfg(test)]
mod tests;
