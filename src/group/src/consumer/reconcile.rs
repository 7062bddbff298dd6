//! One step of a member towards its target.
//!
//! A member lets go of what is not in its target before it moves to the target's epoch, and gets
//! only what nobody else has: so no partition is with two, whatever is lost on the way.
//!
//! Source: Kafka's `CurrentAssignmentBuilder`.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::member::{Member, MemberState, Owned};
use crate::assignor::Partitions;

/// What a step depends on besides the member.
pub(super) struct Way<'a> {
    pub(super) target_epoch: i32,
    pub(super) target: &'a Partitions,
    /// The topics that the member is subscribed to and that exist.
    pub(super) subscribed: &'a BTreeSet<Uuid>,
    /// Whether the subscription has changed just now.
    pub(super) subscription_changed: bool,
    /// What the member says it has; none if it does not say.
    pub(super) says: Option<&'a [(Uuid, Vec<i32>)]>,
    /// Whether another member has a partition.
    pub(super) taken: &'a dyn Fn(Uuid, i32) -> bool,
}

impl Way<'_> {
    /// The member after the step; the same if it cannot go on.
    pub(super) fn step(&self, member: &Member) -> Member {
        if !self.subscription_changed && member.is_reconciled_to(self.target_epoch) {
            return member.clone();
        }
        match member.state {
            MemberState::Stable => {
                if member.epoch != self.target_epoch {
                    self.advance(member)
                } else {
                    self.strip(member)
                }
            }
            MemberState::UnrevokedPartitions => {
                if !self.still_has(&member.to_revoke) {
                    self.advance(member)
                } else if self.subscription_changed {
                    self.strip(member)
                } else {
                    member.clone()
                }
            }
            MemberState::UnreleasedPartitions => self.advance(member),
            MemberState::Unknown => {
                let mut known = member.clone();
                known.move_to(self.target_epoch);
                self.advance(&known)
            }
        }
    }

    /// Whether the member may still have one of these: so long as it does not say otherwise.
    fn still_has(&self, partitions: &Owned) -> bool {
        let Some(says) = self.says else {
            return true;
        };
        says.iter().any(|(topic, said)| {
            let of_topic = partitions.get(topic);
            of_topic.is_some_and(|all| said.iter().any(|partition| all.contains_key(partition)))
        })
    }

    /// Takes away topics that the member is not subscribed to any more.
    fn strip(&self, member: &Member) -> Member {
        let mut next = member.clone();
        for (topic, partitions) in &member.assigned {
            if !self.subscribed.contains(topic) {
                next.assigned.remove(topic);
                let revoked = next.to_revoke.entry(*topic).or_default();
                revoked.extend(partitions);
            }
        }
        if next.assigned.len() == member.assigned.len() {
            return next;
        }
        if self.still_has(&next.to_revoke) {
            next.state = MemberState::UnrevokedPartitions;
        } else {
            next.to_revoke = member.to_revoke.clone();
        }
        next
    }

    fn advance(&self, member: &Member) -> Member {
        let mut kept = Owned::new();
        let mut to_revoke = Owned::new();
        for (topic, partitions) in &member.assigned {
            for (&partition, &epoch) in partitions {
                let stays = self.wants(*topic, partition);
                let list = if stays { &mut kept } else { &mut to_revoke };
                list.entry(*topic).or_default().insert(partition, epoch);
            }
        }
        let mut next = member.clone();
        if !to_revoke.is_empty() && self.still_has(&to_revoke) {
            next.state = MemberState::UnrevokedPartitions;
            next.assigned = kept;
            next.to_revoke = to_revoke;
            return next;
        }
        let mut waits = false;
        for (topic, partitions) in self.target {
            for &partition in partitions {
                let has = kept
                    .get(topic)
                    .is_some_and(|all| all.contains_key(&partition));
                if has || !self.wants(*topic, partition) {
                    continue;
                }
                if (self.taken)(*topic, partition) {
                    waits = true;
                } else {
                    let of_topic: &mut BTreeMap<i32, i32> = kept.entry(*topic).or_default();
                    of_topic.insert(partition, self.target_epoch);
                }
            }
        }
        next.state = if waits {
            MemberState::UnreleasedPartitions
        } else {
            MemberState::Stable
        };
        next.move_to(self.target_epoch);
        next.assigned = kept;
        next.to_revoke = Owned::new();
        next
    }

    fn wants(&self, topic: Uuid, partition: i32) -> bool {
        let of_topic = self
            .target
            .get(&topic)
            .filter(|_| self.subscribed.contains(&topic));
        of_topic.is_some_and(|all| all.contains(&partition))
    }
}
