//! OffsetFetch.

use std::sync::Arc;

use crate::error::GroupError;
use crate::groups::Groups;
use crate::records::OffsetValue;
use crate::reply::{FetchedOffset, FetchedOffsets};
use crate::request::{FetchOffsets, TopicRef, WantedOffsets};
use crate::step::Step;

use super::ByPartition;
use super::expire::is_of_another;

fn committed(partition: i32, value: &OffsetValue) -> FetchedOffset {
    FetchedOffset {
        partition,
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: Some(value.metadata.clone()),
        error: None,
    }
}

fn nothing(partition: i32, error: Option<GroupError>) -> FetchedOffset {
    FetchedOffset {
        partition,
        offset: -1,
        leader_epoch: -1,
        metadata: Some(Arc::from("")),
        error,
    }
}

fn all(partitions: &ByPartition, shows: impl Fn(&OffsetValue) -> bool) -> Vec<FetchedOffset> {
    let partitions = partitions.iter().filter(|(_, value)| shows(value));
    partitions
        .map(|(partition, value)| committed(*partition, value))
        .collect()
}

impl Groups {
    /// Handles a fetch. A group that is not there has committed nothing.
    pub(crate) fn fetch(
        &self,
        step: &Step<'_>,
        fetch: &FetchOffsets,
    ) -> Result<FetchedOffsets, GroupError> {
        if let Some(group) = self.find(&fetch.group) {
            group.validate_fetch(fetch)?;
        }
        let topics = match &fetch.wanted {
            WantedOffsets::All => {
                let topics = self.offsets.of(&fetch.group).into_iter().flatten();
                topics
                    .map(|(topic, partitions)| {
                        let shown = all(partitions, |value| self.shows(step, topic, value));
                        (TopicRef::Name(topic.clone()), shown)
                    })
                    .filter(|(_, shown)| !shown.is_empty())
                    .collect()
            }
            WantedOffsets::Of(wanted) => {
                let wanted = wanted.iter();
                wanted
                    .map(|(topic, partitions)| {
                        let found = self.fetch_topic(step, &fetch.group, topic, partitions);
                        (topic.clone(), found)
                    })
                    .collect()
            }
        };
        Ok(FetchedOffsets { topics })
    }

    /// Whether an offset is one of the topic of today. Those of deleted topics go step by step.
    fn shows(&self, step: &Step<'_>, topic: &str, value: &OffsetValue) -> bool {
        self.deleted_timer.is_none() || !is_of_another(step.topics, topic, value)
    }

    fn fetch_topic(
        &self,
        step: &Step<'_>,
        group: &str,
        topic: &TopicRef,
        partitions: &[i32],
    ) -> Vec<FetchedOffset> {
        let name = match topic {
            TopicRef::Name(name) => Some(&**name),
            TopicRef::Id(id) => step.topics.name_of(*id),
        };
        let error = name.is_none().then_some(GroupError::UnknownTopicId);
        let found = |partition: &i32| {
            let value = self.offsets.find(group, name?, *partition)?;
            self.shows(step, name?, value).then_some(value)
        };
        let partitions = partitions.iter();
        partitions
            .map(|partition| match found(partition) {
                Some(value) => committed(*partition, value),
                None => nothing(*partition, error.clone()),
            })
            .collect()
    }
}
