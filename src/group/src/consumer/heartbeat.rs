//! ConsumerGroupHeartbeat: joining, staying, leaving.
//!
//! A request is checked wholly before the first change: what is refused leaves no trace.
//!
//! Source: Kafka's `GroupMetadataManager.consumerGroupHeartbeat`.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::group::{ConsumerGroup, after};
use super::member::{AWAY_EPOCH, Member, MemberState, Owned};
use super::pattern::TopicPattern;
use super::timers::Due;
use crate::assignor::Assignor;
use crate::config::GroupConfig;
use crate::error::GroupError;
use crate::outcome::{Moment, Record};
use crate::records::ConsumerMemberValue;
use crate::reply::ConsumerHeartbeatReply;
use crate::request::ConsumerHeartbeat;
use crate::topics::Topics;

/// The epoch of a member that leaves.
const LEAVE_EPOCH: i32 = -1;

/// What a group is told with an event.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) moment: &'a Moment,
    pub(crate) config: &'a GroupConfig,
    pub(crate) topics: &'a dyn Topics,
}

/// What becomes of a group after an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Aftermath {
    /// It goes on.
    Stays,
    /// Its last members of the new protocol leave: it is to become a classic group without these,
    /// which are still in it.
    Downgrade {
        /// Who leaves.
        leaving: BTreeSet<Arc<str>>,
        /// Whether the others have to join again.
        rebalance: bool,
    },
}

/// Refuses a request that contradicts itself, whatever the group.
pub(crate) fn check_heartbeat(
    request: &ConsumerHeartbeat,
    config: &GroupConfig,
) -> Result<(), GroupError> {
    let invalid = |what: &str| Err(GroupError::InvalidRequest(what.to_owned()));
    let is_empty = |text: &Option<Arc<str>>| text.as_deref() == Some("");
    let joins = request.member_epoch == 0;
    if request.member.is_empty() && !(joins && request.may_lack_member) {
        return invalid("MemberId can't be empty.");
    }
    if request.group.is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_empty(&request.instance) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&request.rack) {
        return invalid("RackId can't be empty.");
    }
    if joins {
        if request.rebalance_timeout_ms == -1 {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if request.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        if request.topic_names.is_none() && request.topic_regex.is_none() {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            );
        }
    }
    if request.member_epoch == AWAY_EPOCH && request.instance.is_none() {
        return invalid("InstanceId can't be null.");
    }
    if request.member_epoch < AWAY_EPOCH {
        return invalid("MemberEpoch is invalid.");
    }
    let Some(assignor) = &request.assignor else {
        return Ok(());
    };
    let known = &config.consumer_assignors;
    if Assignor::by_name(assignor).is_some_and(|asked| known.contains(&asked)) {
        return Ok(());
    }
    let names: Vec<&str> = known.iter().map(|known| known.name()).collect();
    Err(GroupError::UnsupportedAssignor(format!(
        "ServerAssignor {assignor} is not supported. Supported assignors: {}.",
        names.join(", ")
    )))
}

/// The member that a request is about, before it has changed anything.
pub(super) struct Found {
    /// As it will be when a static member's id has been handed over.
    pub(super) member: Member,
    /// The member that held the instance id.
    pub(super) replaces: Option<Arc<str>>,
}

impl ConsumerGroup {
    /// Handles a request that [`check_heartbeat`] has let pass.
    pub(crate) fn heartbeat(
        &mut self,
        context: &Context<'_>,
        request: &ConsumerHeartbeat,
        out: &mut Vec<Record>,
    ) -> Result<(ConsumerHeartbeatReply, Aftermath), GroupError> {
        if request.member_epoch == LEAVE_EPOCH || request.member_epoch == AWAY_EPOCH {
            return self.leave(context, request, out);
        }
        let id = match &*request.member {
            "" => Arc::from(context.moment.fresh.to_string()),
            _ => request.member.clone(),
        };
        self.check_room(&id, context.config)?;
        let found = self.find(&id, request)?;
        let told = told_by(request, &found.member.told);
        let pattern = self.check_regex(&told)?;
        self.check_memory(context, &found, &told, pattern.as_ref())?;

        let before = found.member.assigned.clone();
        self.hand_over(&found, out);
        let changed = self.subscribe(context, found.member, told, out);
        self.refresh(context, changed, out);
        self.retarget(context, out);
        let member = self.reconcile(context, &id, changed, request.owned.as_deref(), out);
        let at = after(context.moment, context.config.consumer_session_timeout_ms);
        self.timers.set(&id, Due::Session, at);
        for classic in [Due::Join, Due::Sync] {
            self.timers.cancel(&id, classic);
        }

        let is_full = request.rebalance_timeout_ms != -1
            && (request.topic_names.is_some() || request.topic_regex.is_some())
            && request.owned.is_some();
        let tells = request.member_epoch == 0 || is_full || member.assigned != before;
        let reply = ConsumerHeartbeatReply {
            member: id,
            member_epoch: member.epoch,
            heartbeat_interval_ms: context.config.consumer_heartbeat_interval_ms,
            assignment: tells.then(|| member.assignment()),
        };
        Ok((reply, Aftermath::Stays))
    }

    /// Handles the same while nothing can be written: a member stays where it is. Who tells
    /// something has to tell it again, but its time does not run out meanwhile.
    pub(crate) fn heartbeat_in_place(
        &mut self,
        context: &Context<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<ConsumerHeartbeatReply, GroupError> {
        if request.member_epoch <= 0 {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let Found { member, .. } = self.find(&request.member, request)?;
        let session = after(context.moment, context.config.consumer_session_timeout_ms);
        self.timers.set(&member.id, Due::Session, session);
        if member.state == MemberState::UnrevokedPartitions {
            let at = after(context.moment, member.told.rebalance_timeout_ms);
            self.timers
                .set(&member.id, Due::Rebalance(member.epoch), at);
        }
        if request.owned.is_some() || told_by(request, &member.told) != member.told {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        Ok(ConsumerHeartbeatReply {
            member: member.id,
            member_epoch: member.epoch,
            heartbeat_interval_ms: context.config.consumer_heartbeat_interval_ms,
            assignment: None,
        })
    }

    /// Refuses a member too many.
    pub(super) fn check_room(&self, id: &str, config: &GroupConfig) -> Result<(), GroupError> {
        if self.members.len() >= config.consumer_members_max && !self.members.contains_key(id) {
            return Err(GroupError::GroupMaxSizeReached);
        }
        Ok(())
    }

    fn find(&self, id: &Arc<str>, request: &ConsumerHeartbeat) -> Result<Found, GroupError> {
        let joins = request.member_epoch == 0;
        let held = request
            .instance
            .as_ref()
            .and_then(|it| self.statics.get(it));
        let known = match (&request.instance, held) {
            // Kafka refuses the holder itself, whose reply may merely have been lost.
            (Some(instance), Some(holder)) if joins && holder != id => {
                let holder = &self.members[holder];
                if !holder.is_classic() && holder.epoch != AWAY_EPOCH {
                    return Err(GroupError::UnreleasedInstanceId(format!(
                        "Static member {id} with instance id {instance} cannot join the group because the instance id is owned by {} member.",
                        holder.id
                    )));
                }
                return Ok(self.replacing(holder, id));
            }
            (Some(_), Some(holder)) if holder != id => return Err(GroupError::FencedInstanceId),
            (Some(_), None) if !joins => return Err(GroupError::UnknownMemberId),
            _ => self.members.get(id),
        };
        let Some(member) = known else {
            if !joins {
                return Err(GroupError::UnknownMemberId);
            }
            return Ok(Found {
                member: Member::new(id.clone()),
                replaces: None,
            });
        };
        check_epoch(member, request)?;
        Ok(Found {
            member: member.clone(),
            replaces: None,
        })
    }

    /// What a static member's successor begins with.
    pub(super) fn replacing(&self, holder: &Member, id: &Arc<str>) -> Found {
        let mut member = holder.clone();
        member.id = id.clone();
        member.epoch = 0;
        member.previous_epoch = 0;
        Found {
            member,
            replaces: Some(holder.id.clone()),
        }
    }

    /// Puts a static member's successor in its place, with what was its own.
    pub(super) fn hand_over(&mut self, found: &Found, out: &mut Vec<Record>) {
        let Some(holder) = &found.replaces else {
            return;
        };
        let target = self.targets.get(holder).cloned().unwrap_or_default();
        let id = found.member.id.clone();
        self.timers.cancel_all(holder);
        self.remove(holder, out);
        self.set_told(&id, found.member.told.clone(), out);
        self.set_target(&id, target, out);
        self.set_current(found.member.clone(), out);
    }

    /// Refuses a regular expression that nobody uses yet and that does not compile.
    pub(super) fn check_regex(
        &self,
        told: &ConsumerMemberValue,
    ) -> Result<Option<TopicPattern>, GroupError> {
        match told.topic_regex.as_deref() {
            None | Some("") => Ok(None),
            Some(regex) if self.regexes.contains_key(regex) => Ok(None),
            Some(regex) => TopicPattern::compile(regex).map(Some),
        }
    }

    /// Takes what a member tells. Says whether it is subscribed to something else than before.
    pub(super) fn subscribe(
        &mut self,
        context: &Context<'_>,
        member: Member,
        told: ConsumerMemberValue,
        out: &mut Vec<Record>,
    ) -> bool {
        let old_regex = member.regex().cloned();
        let is_new = !self.members.contains_key(&member.id);
        if is_new || told != member.told {
            self.set_told(&member.id, told.clone(), out);
        }
        let new_regex = self.members[&member.id].regex().cloned();
        let regex_changed = old_regex != new_regex;
        if let Some(old) = old_regex.filter(|_| regex_changed) {
            self.drop_regex(&old, out);
        }
        if let Some(new) = new_regex.filter(|new| !self.regexes.contains_key(new)) {
            self.resolve(context, &new, out);
        }
        regex_changed || member.told.topic_names != told.topic_names
    }

    /// Moves a member one step towards its target.
    pub(super) fn reconcile(
        &mut self,
        context: &Context<'_>,
        id: &Arc<str>,
        subscription_changed: bool,
        says: Option<&[(Uuid, Vec<i32>)]>,
        out: &mut Vec<Record>,
    ) -> Member {
        let member = &self.members[id];
        let next = self.step(context, member, subscription_changed, says);
        if next == *member {
            return next;
        }
        if !next.is_classic() {
            let due = Due::Rebalance(next.epoch);
            if next.state == MemberState::UnrevokedPartitions {
                let at = after(context.moment, next.told.rebalance_timeout_ms);
                self.timers.set(id, due, at);
            } else {
                self.timers.cancel(id, due);
            }
        }
        self.set_current(next.clone(), out);
        next
    }

    fn leave(
        &mut self,
        context: &Context<'_>,
        request: &ConsumerHeartbeat,
        out: &mut Vec<Record>,
    ) -> Result<(ConsumerHeartbeatReply, Aftermath), GroupError> {
        let reply = ConsumerHeartbeatReply {
            member: request.member.clone(),
            member_epoch: request.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        };
        let id = match &request.instance {
            None => &request.member,
            Some(instance) => {
                let holder = self.statics.get(instance);
                let holder = holder.ok_or(GroupError::UnknownMemberId)?;
                if *holder != request.member {
                    return Err(GroupError::FencedInstanceId);
                }
                holder
            }
        };
        let member = self.members.get(id).ok_or(GroupError::UnknownMemberId)?;
        if request.member_epoch == AWAY_EPOCH {
            let mut away = member.clone();
            away.epoch = AWAY_EPOCH;
            away.to_revoke = Owned::new();
            self.timers.cancel(&away.id, Due::Rebalance(0));
            self.set_current(away, out);
            return Ok((reply, Aftermath::Stays));
        }
        let leaving = BTreeSet::from([id.clone()]);
        Ok((reply, self.part_with(context, leaving, out)))
    }

    /// Lets members go, or says that the group is to become a classic one without them.
    pub(super) fn part_with(
        &mut self,
        context: &Context<'_>,
        leaving: BTreeSet<Arc<str>>,
        out: &mut Vec<Record>,
    ) -> Aftermath {
        if leaving.is_empty() {
            return Aftermath::Stays;
        }
        if self.may_downgrade(&leaving, context.config) {
            return Aftermath::Downgrade {
                leaving,
                rebalance: true,
            };
        }
        for id in &leaving {
            self.timers.cancel_all(id);
            let regex = self.members[id].regex().cloned();
            self.remove(id, out);
            if let Some(regex) = regex {
                self.drop_regex(&regex, out);
            }
        }
        self.metadata_hash = self.hash_of_topics(context.topics);
        self.set_epoch(self.epoch + 1, out);
        Aftermath::Stays
    }

    /// Whether only members of the classic protocol stay when these leave.
    pub(super) fn may_downgrade(&self, leaving: &BTreeSet<Arc<str>>, config: &GroupConfig) -> bool {
        let mut staying = self
            .members
            .values()
            .filter(|member| !leaving.contains(&member.id))
            .peekable();
        let left = self.members.len() - leaving.len();
        staying.peek().is_some()
            && staying.all(Member::is_classic)
            && left <= config.classic_members_max
            && config.consumer_migration.allows_downgrade()
    }

    /// Does what is due by now. What it says may have to be done before more can be.
    pub(crate) fn on_deadline(
        &mut self,
        context: &Context<'_>,
        out: &mut Vec<Record>,
    ) -> Aftermath {
        while let Some((id, due)) = self.timers.pop(context.moment.now) {
            let Some(member) = self.members.get(&id) else {
                continue;
            };
            if matches!(due, Due::Rebalance(epoch) if epoch != member.epoch) {
                continue;
            }
            let aftermath = self.part_with(context, BTreeSet::from([id]), out);
            if aftermath != Aftermath::Stays {
                return aftermath;
            }
        }
        Aftermath::Stays
    }
}

/// What a member will have told once the request is taken.
fn told_by(request: &ConsumerHeartbeat, before: &ConsumerMemberValue) -> ConsumerMemberValue {
    let or = |new: &Option<Arc<str>>, old: &Option<Arc<str>>| new.clone().or_else(|| old.clone());
    ConsumerMemberValue {
        instance: or(&request.instance, &before.instance),
        rack: or(&request.rack, &before.rack),
        client_id: request.identity.client_id.clone(),
        client_host: request.identity.client_host.clone(),
        topic_names: match &request.topic_names {
            Some(names) => sorted(names),
            None => before.topic_names.clone(),
        },
        topic_regex: or(&request.topic_regex, &before.topic_regex),
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => before.rebalance_timeout_ms,
            timeout => timeout,
        },
        assignor: or(&request.assignor, &before.assignor),
        classic: None,
    }
}

/// Names in order, each once.
pub(super) fn sorted(names: &[Arc<str>]) -> Vec<Arc<str>> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    names
}

/// Refuses a member that is not where the coordinator has it. A reply may have been lost: the epoch
/// before is taken from who has nothing that it should not.
fn check_epoch(member: &Member, request: &ConsumerHeartbeat) -> Result<(), GroupError> {
    let says = request.member_epoch;
    let fenced = |than: &str| {
        GroupError::FencedMemberEpoch(format!(
            "The consumer group member has a {than} member epoch ({says}) than the one known by the group coordinator ({}). The member must abandon all its partitions and rejoin.",
            member.epoch
        ))
    };
    if says > member.epoch {
        return Err(fenced("greater"));
    }
    let owned = request.owned.as_deref();
    let has_part = owned.is_some_and(|owned| {
        owned.iter().all(|(topic, partitions)| {
            let of_topic = member.assigned.get(topic);
            of_topic.is_some_and(|all| partitions.iter().all(|it| all.contains_key(it)))
        })
    });
    if says != 0 && says < member.epoch && !(says == member.previous_epoch && has_part) {
        return Err(fenced("smaller"));
    }
    let owns_nothing = owned.is_some_and(<[_]>::is_empty);
    if member.state == MemberState::Unknown && !owns_nothing {
        return Err(GroupError::FencedMemberEpoch(
            "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin."
                .to_owned(),
        ));
    }
    Ok(())
}
