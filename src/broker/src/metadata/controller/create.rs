//! CreateTopics.

use super::{Controller, Decision, FreshIds, REQUEST_PARTITIONS_MAX, too_many_partitions};
use crate::BrokerError;
use crate::config::{Listing, Overrides, topic_entries, topic_overrides};
use crate::metadata::change::Change;
use crate::metadata::topic_name::{can_collide, check_topic_name, collision_key};
use crate::metadata::{CreateTopic, CreateTopicOutcome, CreatedTopic};
use std::collections::{BTreeMap, BTreeSet};
use tailwater_shards::planted::{self, Planted};
use uuid::Uuid;

impl Controller {
    /// Creates topics. A name that the request has twice gets one outcome, as in Kafka.
    pub(crate) fn create_topics(
        &mut self,
        topics: &[CreateTopic],
        validate_only: bool,
        fresh_id: FreshIds<'_>,
    ) -> Decision<Vec<CreateTopicOutcome>> {
        let (unique, doubled) = sorted_out(topics);
        let mut outcomes: Vec<CreateTopicOutcome> = doubled
            .into_iter()
            .map(|name| {
                (
                    name.to_owned(),
                    Err(BrokerError::InvalidRequest(
                        "Duplicate topic name.".to_owned(),
                    )),
                )
            })
            .collect();
        let mut changes = Vec::new();
        let partitions: usize = unique
            .iter()
            .map(|topic| self.wanted_partitions(topic))
            .sum();
        if partitions > REQUEST_PARTITIONS_MAX {
            outcomes.extend(
                unique
                    .iter()
                    .map(|topic| (topic.name.clone(), Err(too_many_partitions()))),
            );
            return Decision { outcomes, changes };
        }
        let taken = self.collision_keys(&unique);
        for topic in unique {
            let outcome = self.create_topic(topic, &taken, validate_only, fresh_id);
            let outcome = outcome.map(|(created, change)| {
                changes.extend(change);
                created
            });
            outcomes.push((topic.name.clone(), outcome));
        }
        Decision { outcomes, changes }
    }

    fn create_topic(
        &mut self,
        topic: &CreateTopic,
        taken: &BTreeMap<String, String>,
        validate_only: bool,
        fresh_id: FreshIds<'_>,
    ) -> Result<(CreatedTopic, Option<Change>), BrokerError> {
        self.check_name(&topic.name, taken)?;
        let overrides = topic_overrides(&topic.configs, self.state.image().settings())?;
        let partitions = self.check_layout(topic)?;
        self.check_room(partitions, partitions)?;
        let partitions = i32::try_from(partitions).expect("bounded for each request");
        if validate_only {
            return Ok((self.created(Uuid::nil(), partitions, &overrides), None));
        }
        let mut id = fresh_id();
        if planted::is(Planted::DeletedTopicReplayed) {
            let bytes = topic.name.bytes().cycle().take(16).collect::<Vec<_>>();
            id = Uuid::from_slice(&bytes).unwrap_or(id);
        }
        let created = self.created(id, partitions, &overrides);
        let change = Change::CreateTopic {
            id,
            name: topic.name.as_str().into(),
            partitions,
            created_generation: self.generation,
            overrides,
        };
        self.take(&change);
        Ok((created, Some(change)))
    }

    fn created(&self, id: Uuid, partitions: i32, overrides: &Overrides) -> CreatedTopic {
        let listing = Listing {
            names: None,
            synonyms: false,
            documentation: false,
        };
        let configs = topic_entries(self.state.image().settings(), overrides, listing);
        CreatedTopic {
            id,
            partitions,
            replication_factor: 1,
            configs,
        }
    }

    fn check_name(&self, name: &str, taken: &BTreeMap<String, String>) -> Result<(), BrokerError> {
        if self.state.image().topic(name).is_some() {
            return Err(BrokerError::TopicAlreadyExists(name.to_owned()));
        }
        check_topic_name(name)?;
        if name == "__cluster_metadata" {
            return Err(BrokerError::InvalidRequest(
                "Creation of internal topic __cluster_metadata is prohibited.".to_owned(),
            ));
        }
        match taken.get(&collision_key(name)) {
            Some(other) if can_collide(name) => Err(BrokerError::InvalidTopic(format!(
                "Topic '{name}' collides with existing topic: {other}"
            ))),
            _ => Ok(()),
        }
    }

    /// How many partitions the topic gets, if its layout can be had.
    fn check_layout(&self, topic: &CreateTopic) -> Result<usize, BrokerError> {
        if !topic.assignments.is_empty() {
            return self.check_manual_layout(topic);
        }
        match topic.replication_factor {
            -1 | 1 => {}
            factor if factor < 1 => {
                return Err(BrokerError::InvalidReplicationFactor(
                    "Replication factor must be larger than 0, or -1 to use the default value."
                        .to_owned(),
                ));
            }
            factor if self.nodes.are_shards() => {
                return Err(BrokerError::InvalidReplicationFactor(format!(
                    "Unable to replicate the partition {factor} time(s): the brokers are shards of one process and its disk, which would be lost together."
                )));
            }
            factor => {
                return Err(BrokerError::InvalidReplicationFactor(format!(
                    "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned."
                )));
            }
        }
        match topic.num_partitions {
            -1 => Ok(self.wanted_partitions(topic)),
            count if count < 1 => Err(BrokerError::InvalidPartitions(
                "Number of partitions was set to an invalid non-positive value.".to_owned(),
            )),
            _ => Ok(self.wanted_partitions(topic)),
        }
    }

    fn check_manual_layout(&self, topic: &CreateTopic) -> Result<usize, BrokerError> {
        let contradiction = |what: &str| {
            Err(BrokerError::InvalidRequest(format!(
                "A manual partition assignment was specified, but {what} was not set to -1."
            )))
        };
        if topic.replication_factor != -1 {
            return contradiction("replication factor");
        }
        if topic.num_partitions != -1 {
            return contradiction("numPartitions");
        }
        let mut seen = BTreeSet::new();
        let mut replicas = None;
        for (partition, brokers) in &topic.assignments {
            if !seen.insert(*partition) {
                return Err(BrokerError::InvalidReplicaAssignment(format!(
                    "Found multiple manual partition assignments for partition {partition}"
                )));
            }
            self.check_assignment(brokers, replicas)?;
            replicas = Some(brokers.len());
        }
        if !(0_i32..)
            .zip(&seen)
            .all(|(index, partition)| index == *partition)
        {
            return Err(BrokerError::InvalidReplicaAssignment(
                "partitions should be a consecutive 0-based integer sequence".to_owned(),
            ));
        }
        Ok(seen.len())
    }

    fn wanted_partitions(&self, topic: &CreateTopic) -> usize {
        if !topic.assignments.is_empty() {
            return topic.assignments.len();
        }
        let count = match topic.num_partitions {
            -1 => self.state.image().settings().num_partitions,
            count => count,
        };
        usize::try_from(count).unwrap_or(0)
    }

    /// What existing names are taken for, if any name of the request can collide at all.
    fn collision_keys(&self, topics: &[&CreateTopic]) -> BTreeMap<String, String> {
        if !topics.iter().any(|topic| can_collide(&topic.name)) {
            return BTreeMap::new();
        }
        let names = self
            .state
            .image()
            .topics()
            .filter(|topic| can_collide(&topic.name));
        names
            .map(|topic| (collision_key(&topic.name), topic.name.to_string()))
            .collect()
    }
}

/// The topics named once, and the names named more often.
fn sorted_out(topics: &[CreateTopic]) -> (Vec<&CreateTopic>, BTreeSet<&str>) {
    let mut seen = BTreeSet::new();
    let doubled: BTreeSet<&str> = topics
        .iter()
        .map(|topic| topic.name.as_str())
        .filter(|name| !seen.insert(*name))
        .collect();
    let unique = topics
        .iter()
        .filter(|topic| !doubled.contains(topic.name.as_str()))
        .collect();
    (unique, doubled)
}
