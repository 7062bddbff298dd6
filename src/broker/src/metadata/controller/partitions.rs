//! CreatePartitions.

use super::{Controller, Decision, REQUEST_PARTITIONS_MAX, too_many_partitions};
use crate::BrokerError;
use crate::metadata::CreatePartitions;
use crate::metadata::change::Change;
use std::collections::BTreeSet;

/// The outcome for each topic, by name.
type Outcomes = Vec<(String, Result<(), BrokerError>)>;

impl Controller {
    /// Adds partitions. A name that the request has twice gets one outcome, as in Kafka.
    pub(crate) fn create_partitions(
        &mut self,
        topics: &[CreatePartitions],
        validate_only: bool,
    ) -> Decision<Outcomes> {
        let mut seen = BTreeSet::new();
        let doubled: BTreeSet<&str> = topics
            .iter()
            .map(|topic| topic.name.as_str())
            .filter(|name| !seen.insert(*name))
            .collect();
        let mut outcomes: Outcomes = doubled
            .iter()
            .map(|name| {
                (
                    String::from(*name),
                    Err(BrokerError::InvalidRequest(
                        "Duplicate topic name.".to_owned(),
                    )),
                )
            })
            .collect();
        let mut changes = Vec::new();
        let mut added_in_all = 0;
        for topic in topics
            .iter()
            .filter(|topic| !doubled.contains(topic.name.as_str()))
        {
            let outcome = self.check_increase(topic, &mut added_in_all).map(|change| {
                if !validate_only {
                    self.take(&change);
                    changes.push(change);
                }
            });
            outcomes.push((topic.name.clone(), outcome));
        }
        Decision { outcomes, changes }
    }

    fn check_increase(
        &self,
        wanted: &CreatePartitions,
        added_in_all: &mut usize,
    ) -> Result<Change, BrokerError> {
        let Some(topic) = self.state.image().topic(&wanted.name) else {
            return Err(BrokerError::UnknownTopicOrPartition);
        };
        if topic.is_internal() {
            // A group's partition is its hash by the number of partitions: with more, the groups
            // and offsets that there are would be looked for elsewhere.
            return Err(BrokerError::InvalidPartitions(format!(
                "The number of partitions of {} cannot change.",
                wanted.name
            )));
        }
        let has = topic.partitions;
        if wanted.count == has {
            return Err(BrokerError::InvalidPartitions(format!(
                "Topic already has {has} partition(s)."
            )));
        }
        if wanted.count < has {
            return Err(BrokerError::InvalidPartitions(format!(
                "The topic {} currently has {has} partition(s); {} would not be an increase.",
                wanted.name, wanted.count
            )));
        }
        let added = usize::try_from(wanted.count - has).expect("more than it has");
        if let Some(assignments) = &wanted.assignments {
            if assignments.len() != added {
                return Err(BrokerError::InvalidReplicaAssignment(format!(
                    "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                    assignments.len()
                )));
            }
            for brokers in assignments {
                self.check_assignment(brokers, Some(1))?;
            }
        }
        if *added_in_all + added > REQUEST_PARTITIONS_MAX {
            return Err(too_many_partitions());
        }
        self.check_room(usize::try_from(wanted.count).expect("positive"), added)?;
        *added_in_all += added;
        Ok(Change::SetPartitions {
            id: topic.id,
            partitions: wanted.count,
        })
    }
}
