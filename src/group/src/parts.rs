//! The records that rebuild a machine, one after the other, so that a snapshot can stop behind any of
//! them and go on later.
//!
//! Invariant: the order of what a group is made of never changes, and a record that stays the same
//! while a snapshot is made is given once. What changes meanwhile is in the log since the snapshot
//! was begun, whatever was given of it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// What a group is made of, in the order of a snapshot. Of what there are several, each has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    /// Before all.
    Start,
    /// What members of the new protocol have told.
    Told,
    /// The epoch of a group of the new protocol.
    Epoch,
    Regex,
    Target,
    TargetEpoch,
    /// What members of the new protocol have.
    Current,
    /// A classic group.
    Classic,
    Offset,
}

/// A place behind one record of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    section: Section,
    /// A member, an expression or a topic; empty where there is but one record.
    key: Arc<str>,
    /// Of offsets.
    partition: i32,
}

impl Place {
    /// Before all records of a group.
    pub(crate) fn start() -> Place {
        Place::of(Section::Start)
    }

    /// Behind the one record of a section.
    pub(crate) fn of(section: Section) -> Place {
        Place::at(section, &Arc::from(""))
    }

    /// Behind the record of that key.
    pub(crate) fn at(section: Section, key: &Arc<str>) -> Place {
        Place {
            section,
            key: key.clone(),
            partition: 0,
        }
    }

    /// Behind the offset of a partition.
    pub(crate) fn offset(topic: &Arc<str>, partition: i32) -> Place {
        Place {
            partition,
            ..Place::at(Section::Offset, topic)
        }
    }

    /// Whether the one record of a section is still to come.
    pub(crate) fn is_before(&self, section: Section) -> bool {
        self.section < section
    }

    /// The topic and partition that it is behind, if it is behind an offset.
    pub(crate) fn behind_offset(&self) -> Option<(&str, i32)> {
        (self.section == Section::Offset).then_some((&*self.key, self.partition))
    }

    /// What of a section is still to come.
    pub(crate) fn rest<'a, V>(
        &self,
        section: Section,
        all: &'a BTreeMap<Arc<str>, V>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a V)> + use<'a, V> {
        let from = match self.section.cmp(&section) {
            std::cmp::Ordering::Less => Some(Bound::Unbounded),
            std::cmp::Ordering::Equal => Some(Bound::Excluded(&*self.key)),
            std::cmp::Ordering::Greater => None,
        };
        let rest = from.map(|from| all.range::<str, _>((from, Bound::Unbounded)));
        rest.into_iter().flatten()
    }
}

/// Where a snapshot goes on: in the midst of a group, or behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotCursor {
    pub(crate) group: Arc<str>,
    pub(crate) place: Place,
}

#[cfg(test)]
mod tests {
    use crate::outcome::Record;
    use crate::testing::{Rig, simple_commit, to_commit};
    use crate::topics::TopicInfo;
    use crate::{Coordinator, GroupConfig};
    use std::sync::Arc;
    use uuid::Uuid;

    #[test]
    fn one_large_group_is_given_in_small_steps() {
        let mut rig = Rig::eager();
        rig.stable("g", 20);
        let id = Uuid::from_u128(9);
        let partitions = 2_000;
        let wide = TopicInfo { id, partitions };
        rig.topics.0.insert("wide".into(), wide);
        let commits = (0..2_000).map(|partition| to_commit("wide", partition, 1));
        rig.commit(simple_commit("h", commits.collect()));
        let (mut records, mut cursor, mut steps) = (Vec::new(), None, 0);
        loop {
            let (some, next) = rig.machine.snapshot_after(cursor.as_ref(), 4_096);
            let bytes: usize = some.iter().map(Record::bytes).sum();
            let last = some.last().map_or(0, Record::bytes);
            assert!(
                bytes - last < 4_096,
                "a step ends with the record that fills it"
            );
            records.extend(some);
            steps += 1;
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert!(steps > 20, "{steps}");
        assert_eq!(records, rig.machine.snapshot());
        let mut machine = Coordinator::new(Arc::new(GroupConfig::default()));
        for record in &records {
            machine.replay(record).unwrap();
        }
        assert_eq!(machine.snapshot(), records);
    }
}
