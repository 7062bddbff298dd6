//! A member of a group: what it asked for, what it has, and at which epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::assignor::Partitions;
use crate::records::{AssignedTopic, ConsumerMemberValue, CurrentValue, TargetMemberValue};
use crate::topics::Topics;

/// The epoch of a static member that has left for a while.
pub(super) const AWAY_EPOCH: i32 = -2;

/// Partitions that a member has, each with the epoch at which it got it.
pub(super) type Owned = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// How far a member is on its way to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberState {
    /// It has all that its epoch gives it.
    Stable,
    /// It has to let go of partitions before it may move on.
    UnrevokedPartitions,
    /// It waits for partitions that others still have.
    UnreleasedPartitions,
    /// A later version wrote something else.
    Unknown,
}

impl MemberState {
    const fn code(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
            MemberState::Unknown => 127,
        }
    }

    const fn of_code(code: i8) -> MemberState {
        match code {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: Arc<str>,
    /// What it asked for. Its topics' names are sorted and differ.
    pub(super) told: ConsumerMemberValue,
    pub(super) epoch: i32,
    pub(super) previous_epoch: i32,
    pub(super) state: MemberState,
    /// What it may read.
    pub(super) assigned: Owned,
    /// What it still has, but has to let go of.
    pub(super) to_revoke: Owned,
}

impl Member {
    /// One that has told nothing yet.
    pub(super) fn new(id: Arc<str>) -> Member {
        Member {
            id,
            told: ConsumerMemberValue {
                instance: None,
                rack: None,
                client_id: Arc::from(""),
                client_host: Arc::from(""),
                topic_names: Vec::new(),
                topic_regex: None,
                rebalance_timeout_ms: -1,
                assignor: None,
                classic: None,
            },
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Owned::new(),
            to_revoke: Owned::new(),
        }
    }

    /// Its regular expression; none if it has none or an empty one.
    pub(super) fn regex(&self) -> Option<&Arc<str>> {
        self.told.topic_regex.as_ref().filter(|it| !it.is_empty())
    }

    pub(super) fn is_classic(&self) -> bool {
        self.told.classic.is_some()
    }

    pub(super) fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// Moves to an epoch; the one before is kept, for a member that did not hear of it.
    pub(super) fn move_to(&mut self, epoch: i32) {
        if self.epoch != epoch {
            self.previous_epoch = self.epoch;
            self.epoch = epoch;
        }
    }

    /// The epoch at which it got a partition that it has.
    pub(super) fn epoch_of(&self, topic: Uuid, partition: i32) -> Option<i32> {
        let of = |owned: &Owned| {
            owned
                .get(&topic)
                .and_then(|all| all.get(&partition))
                .copied()
        };
        of(&self.assigned).or_else(|| of(&self.to_revoke))
    }

    /// The value of its record of what it has.
    pub(super) fn current(&self) -> CurrentValue {
        CurrentValue {
            epoch: self.epoch,
            previous_epoch: self.previous_epoch,
            state: self.state.code(),
            assigned: topics_of_owned(&self.assigned),
            to_revoke: topics_of_owned(&self.to_revoke),
        }
    }

    pub(super) fn set_current(&mut self, value: &CurrentValue) {
        self.epoch = value.epoch;
        self.previous_epoch = value.previous_epoch;
        self.state = MemberState::of_code(value.state);
        self.assigned = owned_of_topics(&value.assigned, value.epoch);
        self.to_revoke = owned_of_topics(&value.to_revoke, value.epoch);
    }

    /// What it may read, as replies say it.
    pub(super) fn assignment(&self) -> Vec<(Uuid, Vec<i32>)> {
        let lists = self.assigned.iter();
        lists
            .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
            .collect()
    }
}

fn topics_of_owned(owned: &Owned) -> Vec<AssignedTopic> {
    owned
        .iter()
        .map(|(topic, partitions)| AssignedTopic {
            topic: *topic,
            partitions: partitions.keys().copied().collect(),
            epochs: Some(partitions.values().copied().collect()),
        })
        .collect()
}

/// Where epochs were not written, the member's own stands for them.
fn owned_of_topics(topics: &[AssignedTopic], epoch: i32) -> Owned {
    let mut owned = Owned::new();
    for topic in topics {
        let epochs = topic.epochs.as_deref().unwrap_or_default();
        let of_topic: BTreeMap<i32, i32> = topic
            .partitions
            .iter()
            .enumerate()
            .map(|(at, partition)| (*partition, epochs.get(at).copied().unwrap_or(epoch)))
            .collect();
        if !of_topic.is_empty() {
            owned.insert(topic.topic, of_topic);
        }
    }
    owned
}

/// The value of a target's record.
pub(super) fn target_value(target: &Partitions) -> TargetMemberValue {
    let topics = target
        .iter()
        .map(|(topic, partitions)| AssignedTopic {
            topic: *topic,
            partitions: partitions.iter().copied().collect(),
            epochs: None,
        })
        .collect();
    TargetMemberValue { topics }
}

/// The target that a record holds.
pub(super) fn target_of_value(value: &TargetMemberValue) -> Partitions {
    value
        .topics
        .iter()
        .filter(|topic| !topic.partitions.is_empty())
        .map(|topic| (topic.topic, topic.partitions.iter().copied().collect()))
        .collect()
}

/// Topics of now under their names, with their partitions, ascending by name.
pub(super) fn named<'a>(
    topics: &dyn Topics,
    lists: impl Iterator<Item = (&'a Uuid, Vec<i32>)>,
) -> Vec<(Uuid, Arc<str>, Vec<i32>)> {
    let mut named: Vec<(Uuid, Arc<str>, Vec<i32>)> = lists
        .filter_map(|(topic, partitions)| {
            let name = topics.name_of(*topic)?;
            Some((*topic, Arc::from(name), partitions))
        })
        .collect();
    named.sort_by(|one, other| one.1.cmp(&other.1));
    named
}
