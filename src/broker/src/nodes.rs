//! The brokers that clients are told of: the process as one, or each of its shards as one.
//!
//! Owns which ids there are. Where a broker is, only the server knows.

use tailwater_shards::ShardId;

/// How many ids each process has for its shards: more than it may have shards.
pub const SHARD_IDS: i32 = 1000;

/// Configurations that a shard's broker has otherwise than the process: name and value.
pub type ShardConfigs = Vec<(String, String)>;

/// The brokers that clients are told of.
#[derive(Clone, Debug)]
pub struct Nodes {
    node_id: i32,
    /// One for each shard; empty when the process is one broker.
    shards: Vec<ShardConfigs>,
}

impl Nodes {
    /// The process is one broker, whatever shard has what.
    pub fn one(node_id: i32) -> Self {
        Self {
            node_id,
            shards: Vec::new(),
        }
    }

    /// Each shard is a broker of its own, with ids from `node_id` times [`SHARD_IDS`] on.
    pub fn each_shard(node_id: i32, shards: Vec<ShardConfigs>) -> Self {
        assert!(!shards.is_empty(), "a process has shards");
        let nodes = Self { node_id, shards };
        assert!(nodes.last_id().is_some(), "the ids were checked");
        nodes
    }

    /// The largest id, if it is one.
    fn last_id(&self) -> Option<i32> {
        let last = self.shards.len().saturating_sub(1);
        let last = i32::try_from(last).ok().filter(|last| *last < SHARD_IDS)?;
        self.node_id.checked_mul(SHARD_IDS)?.checked_add(last)
    }

    /// Whether each shard is a broker of its own.
    pub fn are_shards(&self) -> bool {
        !self.shards.is_empty()
    }

    /// The id of the broker that a shard is, or is part of.
    pub fn id(&self, shard: ShardId) -> i32 {
        if self.are_shards() {
            assert!(usize::from(shard.0) < self.shards.len(), "no such shard");
            self.node_id * SHARD_IDS + i32::from(shard.0)
        } else {
            self.node_id
        }
    }

    /// Whether a broker of that id is one of these.
    pub fn has(&self, id: i32) -> bool {
        let first = self.id(ShardId(0));
        let last = self.last_id().filter(|_| self.are_shards());
        (first..=last.unwrap_or(first)).contains(&id)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shards.len().max(1)
    }

    /// The ids in words.
    pub(crate) fn named(&self) -> String {
        let first = self.id(ShardId(0));
        match self.last_id().filter(|_| self.count() > 1) {
            Some(last) => format!("{first} to {last}"),
            None => first.to_string(),
        }
    }

    /// What the configurations of that broker say otherwise than the process's.
    pub(crate) fn configs(&self, id: i32) -> &[(String, String)] {
        let index = id.checked_sub(self.id(ShardId(0)));
        let index = index.and_then(|index| usize::try_from(index).ok());
        let configs = index.and_then(|index| self.shards.get(index));
        configs.map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_one_broker_or_one_for_each_shard() {
        let one = Nodes::one(7);
        assert_eq!((one.id(ShardId(0)), one.id(ShardId(200))), (7, 7));
        assert_eq!((one.count(), one.named().as_str()), (1, "7"));
        assert!(one.has(7) && !one.has(8) && !one.has(7000));
        assert!(one.configs(7).is_empty());

        let of_second = vec![("node.id".to_owned(), "7001".to_owned())];
        let shards = Nodes::each_shard(7, vec![Vec::new(), of_second.clone()]);
        assert_eq!((shards.id(ShardId(0)), shards.id(ShardId(1))), (7000, 7001));
        assert_eq!(
            (shards.count(), shards.named().as_str()),
            (2, "7000 to 7001")
        );
        assert!(shards.has(7000) && shards.has(7001));
        assert!(!shards.has(7) && !shards.has(6999) && !shards.has(7002));
        assert_eq!(shards.configs(7001), of_second);
        assert!(shards.configs(7000).is_empty() && shards.configs(i32::MIN).is_empty());

        let alone = Nodes::each_shard(0, vec![Vec::new()]);
        assert_eq!((alone.id(ShardId(0)), alone.named().as_str()), (0, "0"));
        assert!(alone.has(0) && !alone.has(1));
    }
}
