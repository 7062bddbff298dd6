//! The partitions that a shard owns.

use crate::BrokerError;
use crate::partition::Partition;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use std::rc::Rc;
use tailwater_storage::TopicPartition;

/// The partitions of one shard, by their ids. We make the ids, so a fast hasher will do.
#[derive(Default)]
pub(crate) struct PartitionTable {
    partitions: HashMap<TopicPartition, Rc<Partition>, FxBuildHasher>,
}

impl PartitionTable {
    /// The partition, if it is owned here and still there.
    pub(crate) fn find(&self, tp: TopicPartition) -> Result<Rc<Partition>, BrokerError> {
        self.partitions
            .get(&tp)
            .cloned()
            .ok_or(BrokerError::UnknownTopicOrPartition)
    }

    pub(crate) fn contains(&self, tp: TopicPartition) -> bool {
        self.partitions.contains_key(&tp)
    }

    pub(crate) fn insert(&mut self, partition: Rc<Partition>) {
        let before = self.partitions.insert(partition.tp(), partition);
        assert!(before.is_none(), "a partition is opened once");
    }

    pub(crate) fn remove(&mut self, tp: TopicPartition) -> Option<Rc<Partition>> {
        self.partitions.remove(&tp)
    }

    /// All of them, in the order of their ids: the same at each run.
    pub(crate) fn all(&self) -> Vec<Rc<Partition>> {
        let mut all: Vec<_> = self.partitions.values().cloned().collect();
        all.sort_by_key(|partition| partition.tp());
        all
    }
}
