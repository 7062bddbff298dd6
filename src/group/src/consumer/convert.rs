//! The way between the protocols, while members live and offsets stay.
//!
//! Source: Kafka's `ConsumerGroup.fromClassicGroup` and `ClassicGroup.fromConsumerGroup`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::classic::embedded_assignment;
use super::embedded::{EmbeddedAssignment, Subscription};
use super::group::ConsumerGroup;
use super::heartbeat::Context;
use super::heartbeat::sorted;
use super::member::{Member, Owned};
use crate::assignor::Partitions;
use crate::error::GroupError;
use crate::outcome::Record;
use crate::records::{ClassicMetadata, ConsumerMemberValue};

/// A classic group, as far as it crosses over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassicState {
    pub(crate) group: Arc<str>,
    pub(crate) generation: i32,
    /// The assignor that all members have; empty if there is none.
    pub(crate) protocol: Arc<str>,
    pub(crate) members: Vec<ClassicStateMember>,
}

/// A member of a classic group, as far as it crosses over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassicStateMember {
    pub(crate) id: Arc<str>,
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) protocols: Vec<(Arc<str>, Bytes)>,
    pub(crate) assignment: Bytes,
}

fn refused(group: &str, why: &str) -> GroupError {
    GroupError::GroupIdNotFound(format!(
        "Cannot upgrade classic group {group} to consumer group because {why}."
    ))
}

impl ConsumerGroup {
    /// A group of the new protocol in place of a classic one: everybody has what it had, at the
    /// classic group's generation. Its records are written; the classic group's tombstone is the
    /// caller's.
    pub(crate) fn from_classic(
        context: &Context<'_>,
        state: &ClassicState,
        out: &mut Vec<Record>,
    ) -> Result<ConsumerGroup, GroupError> {
        if !context.config.consumer_migration.allows_upgrade() {
            return Err(refused(&state.group, "online upgrade is disabled"));
        }
        if state.members.len() > context.config.consumer_members_max {
            let why = "the group size exceeds the consumer group maximum size";
            return Err(refused(&state.group, why));
        }
        let mut group = ConsumerGroup::new(state.group.clone());
        group.epoch = state.generation;
        group.target_epoch = state.generation;
        let mut given = BTreeSet::new();
        for classic in &state.members {
            let member = crossing(context, state, classic, &mut given)?;
            let target: Partitions = member
                .assigned
                .iter()
                .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
                .collect();
            group.apply_told(&member.id, member.told.clone());
            group.apply_target(&member.id, Some(target));
            group.apply_current(member);
        }
        group.snapshot(out);
        group.loaded(context.moment, context.config);
        Ok(group)
    }

    /// The classic group that this one becomes, without those that leave. Tombstones of all that
    /// this group has are written; the classic group's record is the caller's.
    pub(crate) fn to_classic(
        &self,
        context: &Context<'_>,
        leaving: &BTreeSet<Arc<str>>,
        out: &mut Vec<Record>,
    ) -> ClassicState {
        self.tombstones(out);
        let staying = self
            .members
            .values()
            .filter(|member| !leaving.contains(&member.id));
        let members: Vec<ClassicStateMember> = staying
            .filter_map(|member| {
                let classic = member.told.classic.as_ref()?;
                Some(ClassicStateMember {
                    id: member.id.clone(),
                    instance: member.told.instance.clone(),
                    client_id: member.told.client_id.clone(),
                    client_host: member.told.client_host.clone(),
                    rebalance_timeout_ms: member.told.rebalance_timeout_ms,
                    session_timeout_ms: classic.session_timeout_ms,
                    protocols: classic.protocols.clone(),
                    assignment: embedded_assignment(member, context.topics),
                })
            })
            .collect();
        ClassicState {
            group: self.id.clone(),
            generation: self.epoch,
            protocol: common_protocol(&members),
            members,
        }
    }
}

/// The assignor that most members like best among those that all have.
fn common_protocol(members: &[ClassicStateMember]) -> Arc<str> {
    let mut known: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    for (name, _) in members.iter().flat_map(|member| &member.protocols) {
        *known.entry(name).or_default() += 1;
    }
    let is_common = |name: &Arc<str>| known.get(name) == Some(&members.len());
    let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    for member in members {
        if let Some((name, _)) = member.protocols.iter().find(|(name, _)| is_common(name)) {
            *votes.entry(name).or_default() += 1;
        }
    }
    let chosen = votes.into_iter().max_by_key(|(_, count)| *count);
    chosen.map_or_else(|| Arc::from(""), |(name, _)| name.clone())
}

/// A member with what it had in the classic group. What another was given already it does not get:
/// the rebalance that follows settles it.
fn crossing(
    context: &Context<'_>,
    state: &ClassicState,
    classic: &ClassicStateMember,
    given: &mut BTreeSet<(uuid::Uuid, i32)>,
) -> Result<Member, GroupError> {
    let malformed = |_| refused(&state.group, "the embedded consumer protocol is malformed");
    let mut protocols = classic.protocols.iter();
    let metadata = protocols
        .find(|(name, _)| *name == state.protocol)
        .or_else(|| classic.protocols.first())
        .map(|(_, metadata)| metadata.clone())
        .unwrap_or_default();
    let subscription = Subscription::decode(&metadata).map_err(malformed)?;
    let assignment = EmbeddedAssignment::decode(&classic.assignment).map_err(malformed)?;
    if assignment.has_user_data {
        let why = "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor before re-attempting the upgrade";
        return Err(refused(&state.group, why));
    }
    let mut assigned = Owned::new();
    for (name, partitions) in &assignment.partitions {
        let Some(topic) = context.topics.by_name(name) else {
            continue;
        };
        // A leader may have given out what there is not.
        let partitions = partitions.iter().copied();
        for partition in partitions.filter(|it| (0..topic.partitions).contains(it)) {
            if given.insert((topic.id, partition)) {
                let of_topic = assigned.entry(topic.id).or_default();
                of_topic.insert(partition, state.generation);
            }
        }
    }
    let mut member = Member::new(classic.id.clone());
    member.epoch = state.generation;
    member.previous_epoch = state.generation;
    member.assigned = assigned;
    member.told = ConsumerMemberValue {
        instance: classic.instance.clone(),
        rack: subscription.rack,
        client_id: classic.client_id.clone(),
        client_host: classic.client_host.clone(),
        topic_names: sorted(&subscription.topics),
        topic_regex: None,
        rebalance_timeout_ms: classic.rebalance_timeout_ms,
        assignor: None,
        classic: Some(ClassicMetadata {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic.protocols.clone(),
        }),
    };
    Ok(member)
}
