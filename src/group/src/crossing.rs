//! Requests to groups of the new protocol, and groups that cross from one protocol to the other.
//!
//! A classic group of consumers becomes one of the new protocol when the first member of it comes,
//! and a classic one again when the last such member goes. Offsets belong to the group's id, and
//! are not touched by either.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::classic::ClassicGroup;
use crate::consumer::{Aftermath, ConsumerGroup, Context, check_heartbeat};
use crate::error::GroupError;
use crate::group::Group;
use crate::groups::{Groups, STRING_BYTES_MAX};
use crate::offsets::not_found;
use crate::outcome::{Record, ReplyTo};
use crate::records::{Key, RecordError};
use crate::reply::{ConsumerDescription, ConsumerHeartbeatReply, Reply};
use crate::request::{ConsumerHeartbeat, Heartbeat, JoinGroup, LeaveGroup, SyncGroup};
use crate::step::Step;

/// A member of the new protocol names no more topics: they are put in order and compared.
const NAMES_MAX: usize = 100_000;

/// What a group of the new protocol is told with an event.
fn context<'a>(step: &Step<'a>) -> Context<'a> {
    Context {
        moment: step.moment,
        config: step.config,
        topics: step.topics,
    }
}

/// What a step's records and a group's answer come to.
type Answer<R> = Result<(R, Aftermath), GroupError>;

impl Groups {
    /// ConsumerGroupHeartbeat.
    pub(crate) fn consumer_heartbeat(
        &mut self,
        step: &mut Step<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<ConsumerHeartbeatReply, GroupError> {
        check_heartbeat(request, step.config)?;
        check_lengths(request)?;
        let id = &request.group;
        let joins = request.member_epoch == 0;
        match self.find(id) {
            Some(Group::Consumer(_)) if step.moment.is_full => {
                self.with_consumer(step, id, |group, context, _| {
                    let reply = group.heartbeat_in_place(context, request)?;
                    Ok((reply, Aftermath::Stays))
                })
            }
            _ if step.moment.is_full => Err(GroupError::CoordinatorNotAvailable),
            Some(Group::Consumer(_)) => self.with_consumer(step, id, |group, context, out| {
                group.heartbeat(context, request, out)
            }),
            Some(Group::Classic(_)) if !joins => Err(GroupError::GroupIdNotFound(format!(
                "Group {id} is not a consumer group."
            ))),
            Some(Group::Classic(_)) => self.upgrade(step, request),
            None if !joins => Err(GroupError::GroupIdNotFound(format!(
                "Consumer group {id} not found."
            ))),
            None => {
                self.may_create(step, id)?;
                self.begin(step, request, ConsumerGroup::new(id.clone()), Vec::new())
            }
        }
    }

    /// Puts a classic group over to the new protocol. Refused, it stays as it is.
    fn upgrade(
        &mut self,
        step: &mut Step<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<ConsumerHeartbeatReply, GroupError> {
        let id = &request.group;
        let Some(Group::Classic(classic)) = self.find(id) else {
            return Err(not_found(id));
        };
        let mut records = Vec::new();
        if classic.is_recorded() {
            classic.tombstones(&mut records);
        }
        let group = if classic.is_idle() {
            ConsumerGroup::new(id.clone())
        } else if classic.is_of_consumers() {
            let state = classic.leaving_state();
            ConsumerGroup::from_classic(&context(step), &state, &mut records)?
        } else {
            return Err(GroupError::GroupIdNotFound(format!(
                "Cannot upgrade classic group {id} to consumer group because the group does not use the consumer embedded protocol."
            )));
        };
        self.begin(step, request, group, records)
    }

    /// Hands its first request of the new protocol to a group that is not in the machine yet. If it
    /// is taken, the group takes the place of what was there.
    fn begin(
        &mut self,
        step: &mut Step<'_>,
        request: &ConsumerHeartbeat,
        mut group: ConsumerGroup,
        mut records: Vec<Record>,
    ) -> Result<ConsumerHeartbeatReply, GroupError> {
        let (reply, _) = group.heartbeat(&context(step), request, &mut records)?;
        let id = &request.group;
        match self.find(id) {
            Some(old) => step
                .room
                .take_old(group.bytes().saturating_sub(old.bytes()))?,
            None => step.room.take_new(group.bytes())?,
        }
        self.change(id, |old| {
            if let Group::Classic(classic) = old {
                classic.refuse_all(step);
            }
        });
        self.forget(step, id);
        step.outcome.records.append(&mut records);
        group.rearm(step);
        self.insert(id.clone(), Group::Consumer(group));
        Ok(reply)
    }

    /// Gives a group of the new protocol an event, and does what comes of it.
    fn with_consumer<R>(
        &mut self,
        step: &mut Step<'_>,
        id: &str,
        act: impl FnOnce(&mut ConsumerGroup, &Context<'_>, &mut Vec<Record>) -> Answer<R>,
    ) -> Result<R, GroupError> {
        let acted = self.change(id, |group| match group {
            Group::Classic(_) => None,
            Group::Consumer(group) => {
                let context = context(step);
                let answer = act(group, &context, &mut step.outcome.records);
                group.rearm(step);
                Some(answer)
            }
        });
        let (reply, aftermath) = acted.flatten().unwrap_or_else(|| Err(not_found(id)))?;
        if let Aftermath::Downgrade { leaving, rebalance } = aftermath {
            self.downgrade(step, id, &leaving, rebalance);
        }
        Ok(reply)
    }

    /// Puts a group over to the classic protocol, without those that leave.
    fn downgrade(
        &mut self,
        step: &mut Step<'_>,
        id: &str,
        leaving: &BTreeSet<Arc<str>>,
        rebalance: bool,
    ) {
        let Some(Group::Consumer(group)) = self.find(id) else {
            return;
        };
        let context = context(step);
        let state = group.to_classic(&context, leaving, &mut step.outcome.records);
        self.forget(step, id);
        let id = state.group.clone();
        let classic = ClassicGroup::come_back(step, state, rebalance);
        self.insert(id, Group::Classic(classic));
    }

    /// JoinGroup to a group of the new protocol. None if the group has no members: it is then gone,
    /// and the join is one to a classic group.
    pub(crate) fn join_consumer(
        &mut self,
        step: &mut Step<'_>,
        to: ReplyTo,
        join: &JoinGroup,
    ) -> Option<()> {
        let Some(Group::Consumer(group)) = self.find(&join.group) else {
            return None;
        };
        if group.is_empty() && join.member.is_empty() {
            group.tombstones(&mut step.outcome.records);
            self.forget(step, &join.group);
            return None;
        }
        let mut refused = None;
        let joined = self.with_consumer(step, &join.group, |group, context, out| {
            group.join(context, join, out).map_err(|(error, member)| {
                refused = Some(member);
                error
            })
        });
        let reply = joined.map_err(|error| (error, refused.unwrap_or_else(|| join.member.clone())));
        step.reply(to, Reply::Joined(reply));
        Some(())
    }

    /// SyncGroup to a group of the new protocol.
    pub(crate) fn sync_consumer(&mut self, step: &mut Step<'_>, to: ReplyTo, sync: &SyncGroup) {
        let synced = self.with_consumer(step, &sync.group, |group, context, _| {
            let synced = group.sync(context, sync)?;
            Ok((synced, Aftermath::Stays))
        });
        step.reply(to, Reply::Synced(synced));
    }

    /// Heartbeat to a group of the new protocol.
    pub(crate) fn heartbeat_consumer(
        &mut self,
        step: &mut Step<'_>,
        heartbeat: &Heartbeat,
    ) -> Result<(), GroupError> {
        self.with_consumer(step, &heartbeat.group, |group, context, out| {
            group.classic_heartbeat(context, heartbeat, out)?;
            Ok(((), Aftermath::Stays))
        })
    }

    /// LeaveGroup to a group of the new protocol.
    pub(crate) fn leave_consumer(&mut self, step: &mut Step<'_>, leave: &LeaveGroup) -> Reply {
        Reply::Left(
            self.with_consumer(step, &leave.group, |group, context, out| {
                Ok(group.classic_leave(context, leave, out))
            }),
        )
    }

    /// What is due in a group of the new protocol.
    pub(crate) fn consumer_due(&mut self, step: &mut Step<'_>, id: &str) {
        // A group that has crossed over since has nothing due here.
        let _ = self.with_consumer(step, id, |group, context, out| {
            group.timer = None;
            Ok(((), group.on_deadline(context, out)))
        });
    }

    /// ConsumerGroupDescribe.
    pub(crate) fn describe_consumer(
        &self,
        step: &Step<'_>,
        id: &str,
    ) -> Result<ConsumerDescription, GroupError> {
        if id.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        match self.find(id) {
            Some(Group::Consumer(group)) => Ok(group.describe(step.topics, step.config)),
            Some(Group::Classic(_)) => Err(GroupError::GroupIdNotFound(format!(
                "Group {id} is not a consumer group."
            ))),
            None => Err(not_found(id)),
        }
    }

    /// Takes a record of a group of the new protocol.
    pub(crate) fn replay_consumer(
        &mut self,
        key: &Key,
        value: Option<&[u8]>,
    ) -> Result<(), RecordError> {
        let id = key.group();
        if !matches!(self.find(id), Some(Group::Consumer(_))) {
            if value.is_none() {
                return Ok(());
            }
            let group = ConsumerGroup::new(id.clone());
            self.insert(id.clone(), Group::Consumer(group));
        }
        let gone = self.change(id, |group| match group {
            Group::Classic(_) => Ok(false),
            Group::Consumer(group) => group.replay(key, value),
        });
        if gone.unwrap_or(Ok(false))? {
            self.drop_replayed(id);
        }
        Ok(())
    }
}

/// Refuses strings that a record's key cannot hold.
fn check_lengths(request: &ConsumerHeartbeat) -> Result<(), GroupError> {
    let member = [&request.group, &request.member];
    let mut texts = member.into_iter().chain(&request.instance);
    if texts.any(|text| text.len() > STRING_BYTES_MAX) {
        return Err(GroupError::InvalidRequest("A string is too long.".into()));
    }
    let names = request.topic_names.as_ref().map_or(0, Vec::len);
    if names > NAMES_MAX {
        let why = format!("A member may name {NAMES_MAX} topics at most.");
        return Err(GroupError::InvalidRequest(why));
    }
    Ok(())
}
