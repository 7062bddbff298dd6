//! Members that still speak the classic protocol in a group of the new one.
//!
//! Such a member joins when its heartbeat tells it to, and gets a step of its own each time: its
//! generation is its epoch, and its assignment is what it has, in the form that consumers of the
//! classic protocol give each other.
//!
//! Source: Kafka's `classicGroupJoinToConsumerGroup` and its neighbours.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::embedded::{EmbeddedAssignment, NamedPartitions, Subscription};
use super::group::{ConsumerGroup, after};
use super::heartbeat::{Aftermath, Context, Found, sorted};
use super::member::{Member, MemberState, named};
use super::timers::Due;
use crate::error::GroupError;
use crate::outcome::Record;
use crate::records::{ClassicMetadata, ConsumerMemberValue};
use crate::reply::{Joined, MemberResult, Synced};
use crate::request::{Heartbeat, JoinGroup, LeaveGroup, SyncGroup};
use crate::topics::Topics;

/// The only protocol type that may join such a group.
const CONSUMER: &str = "consumer";

impl ConsumerGroup {
    /// JoinGroup. It never waits for others.
    pub(crate) fn join(
        &mut self,
        context: &Context<'_>,
        request: &JoinGroup,
        out: &mut Vec<Record>,
    ) -> Result<(Joined, Aftermath), (GroupError, Arc<str>)> {
        let id = match &*request.member {
            "" => Arc::from(context.moment.fresh.to_string()),
            _ => request.member.clone(),
        };
        self.check_join(context, request, &id)
            .map_err(|error| (error, request.member.clone()))?;
        let is_new = request.member.is_empty();
        if request.needs_known_member && is_new && request.instance.is_none() {
            return Err((GroupError::MemberIdRequired, id));
        }
        let (_, metadata) = &request.protocols[0];
        let subscription = Subscription::decode(metadata).map_err(|_| {
            (
                GroupError::InconsistentGroupProtocol,
                request.member.clone(),
            )
        })?;
        let found = self
            .find_classic(request, &id, &subscription)
            .map_err(|error| (error, request.member.clone()))?;
        let downgrades = self.is_last_but_for(request, context);
        let told = told_by(request, &subscription, &found.member.told);
        self.check_memory(context, &found, &told, None)
            .map_err(|error| (error, request.member.clone()))?;

        self.hand_over(&found, out);
        let changed = self.subscribe(context, found.member, told, out);
        self.refresh(context, changed, out);
        let says = owned(context.topics, &subscription.owned);
        if !downgrades {
            self.retarget(context, out);
        }
        let member = if downgrades && changed {
            self.members[&id].clone()
        } else {
            self.reconcile(context, &id, changed, Some(&says), out)
        };
        self.timers.cancel(&id, Due::Join);
        self.timers.cancel(&id, Due::Rebalance(0));
        let session = after(context.moment, request.session_timeout_ms);
        self.timers.set(&id, Due::Session, session);
        let sync = after(context.moment, request.rebalance_timeout_ms);
        self.timers.set(&id, Due::Sync, sync);
        let aftermath = if downgrades {
            Aftermath::Downgrade {
                leaving: BTreeSet::new(),
                rebalance: changed,
            }
        } else {
            Aftermath::Stays
        };
        Ok((joined(&member), aftermath))
    }

    fn check_join(
        &self,
        context: &Context<'_>,
        request: &JoinGroup,
        id: &str,
    ) -> Result<(), GroupError> {
        let config = context.config;
        let allowed = config.session_timeout_min_ms..=config.session_timeout_max_ms;
        if !allowed.contains(&request.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        self.check_room(id, config)?;
        let classic = || {
            self.members
                .values()
                .filter_map(|it| it.told.classic.as_ref())
        };
        let is_common = |name: &Arc<str>| {
            classic().all(|other| other.protocols.iter().any(|(known, _)| known == name))
        };
        let fits = request.protocols.iter().any(|(name, _)| is_common(name));
        if &*request.protocol_type != CONSUMER || !fits {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn find_classic(
        &self,
        request: &JoinGroup,
        id: &Arc<str>,
        subscription: &Subscription,
    ) -> Result<Found, GroupError> {
        let held = request
            .instance
            .as_ref()
            .and_then(|it| self.statics.get(it));
        if request.instance.is_some() {
            match held {
                Some(holder) if request.member.is_empty() => {
                    return Ok(self.replacing(&self.members[holder], id));
                }
                None if !request.member.is_empty() => return Err(GroupError::UnknownMemberId),
                Some(holder) if holder != id => return Err(GroupError::FencedInstanceId),
                _ => {}
            }
        }
        let member = self.members.get(id).cloned();
        // Who was fenced and does not know it still reads what others may have by now. Kafka lets it
        // in; here it has to let go first.
        if member.is_none() && !subscription.owned.is_empty() {
            return Err(GroupError::UnknownMemberId);
        }
        Ok(Found {
            member: member.unwrap_or_else(|| Member::new(id.clone())),
            replaces: None,
        })
    }

    /// Whether the join takes the place of the last member of the new protocol.
    fn is_last_but_for(&self, request: &JoinGroup, context: &Context<'_>) -> bool {
        let held = request
            .instance
            .as_ref()
            .and_then(|it| self.statics.get(it));
        let Some(holder) = held else {
            return false;
        };
        !self.members[holder].is_classic()
            && self.members.len() <= context.config.classic_members_max
            && context.config.consumer_migration.allows_downgrade()
            && self
                .members
                .values()
                .all(|other| other.id == *holder || other.is_classic())
    }

    /// SyncGroup. It never waits for others.
    pub(crate) fn sync(
        &mut self,
        context: &Context<'_>,
        request: &SyncGroup,
    ) -> Result<Synced, GroupError> {
        let (id, instance) = (&request.member, request.instance.as_ref());
        let member = self.classic_member(id, instance, request.generation)?;
        let classic = classic_of(member);
        let name = classic.protocols.first().map(|(name, _)| name);
        let type_differs = request
            .protocol_type
            .as_deref()
            .is_some_and(|kind| kind != CONSUMER);
        let name_differs =
            request.protocol_name.is_some() && request.protocol_name.as_ref() != name;
        if type_differs || name_differs {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        let (timeout, session) = (member.told.rebalance_timeout_ms, classic.session_timeout_ms);
        if self.epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            let at = after(context.moment, timeout);
            self.timers.set_if_none(id, Due::Join, at);
            return Err(GroupError::RebalanceInProgress);
        }
        let assignment = embedded_assignment(member, context.topics);
        self.timers.cancel(id, Due::Sync);
        self.timers
            .set(id, Due::Session, after(context.moment, session));
        Ok(Synced {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment,
        })
    }

    /// Heartbeat: says when the member has to join again, for more or for less.
    pub(crate) fn classic_heartbeat(
        &mut self,
        context: &Context<'_>,
        request: &Heartbeat,
        out: &mut Vec<Record>,
    ) -> Result<(), GroupError> {
        let (id, instance) = (&request.member, request.instance.as_ref());
        let member = self.classic_member(id, instance, request.generation)?;
        let session = after(context.moment, classic_of(member).session_timeout_ms);
        self.timers.set(id, Due::Session, session);
        if !context.moment.is_full {
            self.refresh(context, false, out);
        }
        let member = &self.members[id];
        let has_to_join = member.epoch < self.epoch
            || match member.state {
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !self.waits_for_others(member),
                MemberState::Stable | MemberState::Unknown => false,
            };
        if !has_to_join {
            return Ok(());
        }
        let at = after(context.moment, member.told.rebalance_timeout_ms);
        self.timers.set_if_none(id, Due::Join, at);
        Err(GroupError::RebalanceInProgress)
    }

    /// Whether others still have something of the member's target.
    fn waits_for_others(&self, member: &Member) -> bool {
        let target = self.targets.get(&member.id).into_iter().flatten();
        let mut partitions = target.flat_map(|(topic, list)| list.iter().map(|it| (*topic, *it)));
        partitions.any(|at| {
            self.owners
                .get(&at)
                .is_some_and(|owner| *owner != member.id)
        })
    }

    /// LeaveGroup.
    pub(crate) fn classic_leave(
        &mut self,
        context: &Context<'_>,
        request: &LeaveGroup,
        out: &mut Vec<Record>,
    ) -> (Vec<MemberResult>, Aftermath) {
        let mut leaving = BTreeSet::new();
        let mut results = Vec::with_capacity(request.members.len());
        for asked in &request.members {
            let found = self.leaving(&asked.member, asked.instance.as_ref());
            if let Ok(id) = &found {
                leaving.insert(id.clone());
            }
            results.push(MemberResult {
                member: asked.member.clone(),
                instance: asked.instance.clone(),
                result: found.map(|_| ()),
            });
        }
        let aftermath = self.part_with(context, leaving, out);
        (results, aftermath)
    }

    fn leaving(&self, id: &Arc<str>, instance: Option<&Arc<str>>) -> Result<Arc<str>, GroupError> {
        let id = match instance {
            None => id,
            Some(instance) => {
                let holder = self.statics.get(instance);
                let holder = holder.ok_or(GroupError::UnknownMemberId)?;
                if !id.is_empty() && holder != id {
                    return Err(GroupError::FencedInstanceId);
                }
                holder
            }
        };
        match self.members.get(id) {
            Some(member) if member.is_classic() => Ok(id.clone()),
            _ => Err(GroupError::UnknownMemberId),
        }
    }

    /// The member of the classic protocol that a request comes from.
    fn classic_member(
        &self,
        id: &Arc<str>,
        instance: Option<&Arc<str>>,
        generation: i32,
    ) -> Result<&Member, GroupError> {
        if let Some(instance) = instance {
            let holder = self.statics.get(instance);
            if holder.ok_or(GroupError::UnknownMemberId)? != id {
                return Err(GroupError::FencedInstanceId);
            }
        }
        let member = self.members.get(id).filter(|member| member.is_classic());
        let member = member.ok_or(GroupError::UnknownMemberId)?;
        if member.epoch == generation {
            Ok(member)
        } else {
            Err(GroupError::IllegalGeneration)
        }
    }
}

/// What a member of the classic protocol told.
fn classic_of(member: &Member) -> &ClassicMetadata {
    let classic = member.told.classic.as_ref();
    classic.expect("the member speaks the classic protocol")
}

fn joined(member: &Member) -> Joined {
    let protocols = &classic_of(member).protocols;
    Joined {
        generation: member.epoch,
        protocol_type: Some(Arc::from(CONSUMER)),
        protocol_name: protocols.first().map(|(name, _)| name.clone()),
        leader: Arc::from(""),
        skip_assignment: false,
        member: member.id.clone(),
        members: Vec::new(),
    }
}

/// What a member has, for a consumer of the classic protocol.
pub(super) fn embedded_assignment(member: &Member, topics: &dyn Topics) -> Bytes {
    let lists = member.assigned.iter();
    let lists = lists.map(|(topic, partitions)| (topic, partitions.keys().copied().collect()));
    let partitions: NamedPartitions = named(topics, lists)
        .into_iter()
        .map(|(_, name, partitions)| (name, partitions))
        .collect();
    EmbeddedAssignment::encode(version_of(member), &partitions)
}

/// The version that a member's subscription has: 0 if it cannot be read.
fn version_of(member: &Member) -> i16 {
    let metadata = classic_of(member).protocols.first();
    let subscription = metadata.and_then(|(_, bytes)| Subscription::decode(bytes).ok());
    subscription.map_or(0, |subscription| subscription.version)
}

/// Partitions by their topics' ids, where the topics exist.
fn owned(topics: &dyn Topics, named: &NamedPartitions) -> Vec<(Uuid, Vec<i32>)> {
    named
        .iter()
        .filter_map(|(name, list)| Some((topics.by_name(name)?.id, list.clone())))
        .collect()
}

fn told_by(
    request: &JoinGroup,
    subscription: &Subscription,
    before: &ConsumerMemberValue,
) -> ConsumerMemberValue {
    // A request's bytes are part of its frame, and a name counts where it stands first.
    let mut protocols: Vec<(Arc<str>, Bytes)> = Vec::with_capacity(request.protocols.len());
    for (name, metadata) in &request.protocols {
        if protocols.iter().all(|(known, _)| known != name) {
            protocols.push((name.clone(), Bytes::copy_from_slice(metadata)));
        }
    }
    ConsumerMemberValue {
        instance: request.instance.clone().or_else(|| before.instance.clone()),
        rack: subscription.rack.clone().or_else(|| before.rack.clone()),
        client_id: request.identity.client_id.clone(),
        client_host: request.identity.client_host.clone(),
        topic_names: sorted(&subscription.topics),
        topic_regex: Some(Arc::from("")),
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => before.rebalance_timeout_ms,
            timeout => timeout,
        },
        assignor: before.assignor.clone(),
        classic: Some(ClassicMetadata {
            session_timeout_ms: request.session_timeout_ms,
            protocols,
        }),
    }
}
