//! The controller: decides every change of the metadata, on shard 0.
//!
//! A plain state machine. A request comes in with what it needs from outside (fresh ids), and
//! outcomes go out with the changes to be logged; the state has them already, because a snapshot
//! must hold all that was handed to the log. Outcomes may be told once the changes are durable and
//! every shard has the new image; the glue in `metadata::service` sees to it, one request at a
//! time.

mod configs;
mod create;
mod delete;
mod partitions;
#[cfg(test)]
mod tests;

use super::change::Change;
use super::state::MetadataState;
use crate::BrokerError;
use crate::nodes::Nodes;
pub(crate) use configs::{broker_scope, unexpected_broker_id, unknown_resource};
use uuid::Uuid;

/// The most partitions that one request may ask for, as in Kafka.
pub(crate) const REQUEST_PARTITIONS_MAX: usize = 10_000;
/// The most partitions of one topic.
pub(crate) const TOPIC_PARTITIONS_MAX: usize = 100_000;
/// The most partitions of all topics: each costs memory for as long as the broker runs.
pub(crate) const ALL_PARTITIONS_MAX: usize = 200_000;
/// How many producer ids are granted at once.
pub(crate) const PRODUCER_ID_BLOCK: i64 = 1000;

/// Outcomes, and the changes to log before they may be told.
#[derive(Debug)]
pub(crate) struct Decision<T> {
    /// What to answer.
    pub(crate) outcomes: T,
    /// What to log, in order. Empty: nothing changed.
    pub(crate) changes: Vec<Change>,
}

impl<T> Decision<T> {
    /// The same with other outcomes.
    pub(crate) fn map<U>(self, outcomes: impl FnOnce(T) -> U) -> Decision<U> {
        Decision {
            outcomes: outcomes(self.outcomes),
            changes: self.changes,
        }
    }
}

/// The metadata and what decides over it.
pub(crate) struct Controller {
    state: MetadataState,
    generation: u64,
    nodes: Nodes,
}

impl Controller {
    /// A controller over replayed state.
    pub(crate) fn new(state: MetadataState, generation: u64, nodes: Nodes) -> Self {
        Self {
            state,
            generation,
            nodes,
        }
    }

    /// The state with all changes decided so far.
    pub(crate) fn state(&self) -> &MetadataState {
        &self.state
    }

    /// Grants a block of producer ids: the first of it.
    pub(crate) fn grant_producer_ids(&mut self) -> Decision<Result<i64, BrokerError>> {
        let first = self.state.next_producer_id();
        let Some(end) = first.checked_add(PRODUCER_ID_BLOCK) else {
            let detail = "all producer ids were granted".to_owned();
            return Decision {
                outcomes: Err(BrokerError::Unexpected { detail }),
                changes: Vec::new(),
            };
        };
        let change = Change::GrantProducerIds { end };
        self.take(&change);
        Decision {
            outcomes: Ok(first),
            changes: vec![change],
        }
    }

    /// Takes a change into the state.
    fn take(&mut self, change: &Change) {
        self.state
            .apply(change)
            .expect("the controller decides only what can be applied");
    }

    /// Checks brokers assigned by hand, in Kafka's order and words.
    fn check_assignment(
        &self,
        brokers: &[i32],
        replicas: Option<usize>,
    ) -> Result<(), BrokerError> {
        let refuse = |sentence: String| Err(BrokerError::InvalidReplicaAssignment(sentence));
        if brokers.is_empty() {
            return refuse(
                "The manual partition assignment includes an empty replica list.".to_owned(),
            );
        }
        let mut sorted = brokers.to_vec();
        sorted.sort_unstable();
        let mut previous = None;
        for broker in sorted {
            if !self.nodes.has(broker) {
                return refuse(format!(
                    "The manual partition assignment includes broker {broker}, but no such broker is registered."
                ));
            }
            if previous == Some(broker) {
                return refuse(format!(
                    "The manual partition assignment includes the broker {broker} more than once."
                ));
            }
            previous = Some(broker);
        }
        match replicas {
            Some(replicas) if replicas != brokers.len() => refuse(format!(
                "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous partitions, which have {replicas} replica(s).",
                brokers.len()
            )),
            // Where a partition lives follows from its topic's id.
            _ if self.nodes.count() > 1 => refuse(
                "A manual partition assignment cannot be followed: the brokers are shards of one process, which places partitions itself.".to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// Refuses more partitions than the broker shall hold.
    fn check_room(&self, topic_partitions: usize, added: usize) -> Result<(), BrokerError> {
        if topic_partitions > TOPIC_PARTITIONS_MAX {
            return Err(BrokerError::PolicyViolation(format!(
                "A topic may have at most {TOPIC_PARTITIONS_MAX} partitions."
            )));
        }
        if self.state.image().partition_count() + added > ALL_PARTITIONS_MAX {
            return Err(BrokerError::PolicyViolation(format!(
                "This broker holds at most {ALL_PARTITIONS_MAX} partitions."
            )));
        }
        Ok(())
    }
}

/// The sentence for a request that asks for too many partitions at once.
fn too_many_partitions() -> BrokerError {
    BrokerError::PolicyViolation("Excessively large number of partitions per request.".to_owned())
}

/// A source of fresh topic ids.
pub(crate) type FreshIds<'a> = &'a mut dyn FnMut() -> Uuid;
