//! Who is to have which partition: the server-side assignors of the consumer rebalance protocol.
//!
//! Pure functions of members, subscriptions, topics and the present target. The same input gives
//! the same target, whatever the order in which the members came. Each partition of a subscribed
//! topic goes to one member that is subscribed to it, and to no other.
//!
//! Sources: KIP-848; Kafka's `UniformAssignor` and `RangeAssignor`.

mod range;
mod uniform;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

/// Partitions by topic. No topic stands there without a partition.
pub type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// An assignor by Kafka's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Equal numbers of partitions, and as few moves as that allows.
    Uniform,
    /// Ranges of each topic in the order of the members, so that equal partitions of topics of
    /// equal size meet at one member. Moves partitions whenever that order changes.
    Range,
}

impl Assignor {
    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The assignor of this name.
    pub fn by_name(name: &str) -> Option<Assignor> {
        [Assignor::Uniform, Assignor::Range]
            .into_iter()
            .find(|assignor| assignor.name() == name)
    }

    /// What each member is to have, in the order of `members`.
    ///
    /// `topics` says how many partitions each topic has; a subscription to a topic that is not
    /// there counts for nothing. `members` stand in the order of their ids.
    pub fn assign(
        self,
        members: &[Subscriber<'_>],
        topics: &BTreeMap<Uuid, i32>,
    ) -> Vec<Partitions> {
        debug_assert!(members.windows(2).all(|pair| pair[0].id < pair[1].id));
        match self {
            Assignor::Uniform => uniform::assign(members, topics),
            Assignor::Range => range::assign(members, topics),
        }
    }
}

/// A member as assignors see it.
#[derive(Debug, Clone, Copy)]
pub struct Subscriber<'a> {
    /// Its id.
    pub id: &'a str,
    /// A static member's id.
    pub instance: Option<&'a str>,
    /// The topics it is subscribed to.
    pub topics: &'a BTreeSet<Uuid>,
    /// Its present target.
    pub target: &'a Partitions,
}

/// Whether all members are subscribed to the same topics.
fn is_homogeneous(members: &[Subscriber<'_>]) -> bool {
    members.windows(2).all(|pair| {
        std::ptr::eq(pair[0].topics, pair[1].topics) || pair[0].topics == pair[1].topics
    })
}
