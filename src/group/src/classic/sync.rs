//! SyncGroup, Heartbeat and LeaveGroup.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::GroupError;
use crate::outcome::ReplyTo;
use crate::reply::{MemberResult, Reply, Synced};
use crate::request::{Heartbeat, LeaveGroup, LeavingMember, SyncGroup};
use crate::step::Step;

use super::{ClassicGroup, State};

/// A record besides its texts and members: version, lengths, generation, time.
const RECORD_BYTES: u64 = 24;

impl ClassicGroup {
    /// Handles a sync. The reply waits for the leader's.
    pub(crate) fn sync(&mut self, step: &mut Step<'_>, to: ReplyTo, sync: &SyncGroup) {
        if let Err(error) = self.validate_sync(sync) {
            return step.reply(to, Reply::Synced(Err(error)));
        }
        match self.state {
            State::Empty => step.reply(to, Reply::Synced(Err(GroupError::UnknownMemberId))),
            State::PreparingRebalance => {
                step.reply(to, Reply::Synced(Err(GroupError::RebalanceInProgress)));
            }
            State::CompletingRebalance => self.sync_in_time(step, to, sync),
            State::Stable => {
                self.note_synced(step, &sync.member);
                if let Some(member) = self.members.get(&sync.member) {
                    let synced = self.synced(member.assignment.clone());
                    step.reply(to, Reply::Synced(Ok(synced)));
                }
            }
        }
    }

    fn validate_sync(&self, sync: &SyncGroup) -> Result<(), GroupError> {
        self.validate_member(&sync.member, sync.instance.as_deref())?;
        let differs = |told: &Option<Arc<str>>, has: &Option<Arc<str>>| {
            told.is_some() && has.is_some() && told != has
        };
        if sync.generation != self.generation {
            Err(GroupError::IllegalGeneration)
        } else if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol_name, &self.protocol)
        {
            Err(GroupError::InconsistentGroupProtocol)
        } else {
            Ok(())
        }
    }

    fn sync_in_time(&mut self, step: &mut Step<'_>, to: ReplyTo, sync: &SyncGroup) {
        let leads = self.is_leader(&sync.member);
        if leads && let Err(full) = self.take_old(step, self.growth_by(sync)) {
            return step.reply(to, Reply::Synced(Err(full)));
        }
        self.note_synced(step, &sync.member);
        let Some(member) = self.members.get_mut(&sync.member) else {
            return;
        };
        // It asks again: whoever asked before has given up.
        member.refuse_sync(step, GroupError::RebalanceInProgress);
        member.sync = Some(to);
        step.park(to);
        if leads {
            self.assign(step, &sync.assignments);
        }
    }

    /// How much more it takes with what the leader assigns: in its members, and in the record that
    /// takes the place of the last one.
    fn growth_by(&self, sync: &SyncGroup) -> u64 {
        let assigned = sync.assignments.iter().map(|(_, share)| share.len() as u64);
        let assigned: u64 = assigned.sum();
        let members = self.members.values();
        let before: u64 = members.map(|member| member.assignment.len() as u64).sum();
        let protocol = self.protocol.as_deref();
        let texts = [
            self.protocol_type.as_deref(),
            protocol,
            self.leader.as_deref(),
        ];
        let texts: usize = texts.into_iter().flatten().map(str::len).sum();
        let members = self.members.iter();
        let record: u64 = members.map(|(id, it)| it.record_bytes(id, protocol)).sum();
        let record = record + texts as u64 + RECORD_BYTES + assigned;
        assigned.saturating_sub(before) + record.saturating_sub(self.durable_bytes())
    }

    /// The leader has assigned: everybody that waits gets its share, nothing if the leader forgot
    /// it.
    fn assign(&mut self, step: &mut Step<'_>, assignments: &[(Arc<str>, Bytes)]) {
        let shares: BTreeMap<&Arc<str>, &Bytes> = assignments.iter().map(|(m, a)| (m, a)).collect();
        for (id, member) in &mut self.members {
            let share = shares.get(id).map(|share| Bytes::copy_from_slice(share));
            self.bytes -= member.assignment.len() as u64;
            member.assignment = share.unwrap_or_default();
            self.bytes += member.assignment.len() as u64;
        }
        self.record(step);
        self.transition(step, State::Stable);
        let template = self.synced(Bytes::new());
        for (id, member) in &mut self.members {
            let Some(to) = member.sync.take() else {
                continue;
            };
            let synced = Synced {
                assignment: member.assignment.clone(),
                ..template.clone()
            };
            step.answer(to, Reply::Synced(Ok(synced)));
            // Its session stood still while it waited.
            member.touch(step, &self.id, id, member.session_timeout_ms);
        }
    }

    fn synced(&self, assignment: Bytes) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment,
        }
    }

    /// Handles a heartbeat.
    pub(crate) fn heartbeat(
        &mut self,
        step: &mut Step<'_>,
        heartbeat: &Heartbeat,
    ) -> Result<(), GroupError> {
        self.validate_member(&heartbeat.member, heartbeat.instance.as_deref())?;
        if heartbeat.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.touch_session(step, &heartbeat.member);
        match self.state {
            State::Empty => Err(GroupError::UnknownMemberId),
            State::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// A member has shown itself.
    fn touch_session(&mut self, step: &mut Step<'_>, member: &Arc<str>) {
        if let Some(found) = self.members.get_mut(member) {
            found.touch(step, &self.id, member, found.session_timeout_ms);
        }
    }

    /// A member has committed. That keeps its session, except while it is to sync.
    pub(crate) fn note_commit(&mut self, step: &mut Step<'_>, member: &Arc<str>) {
        if matches!(self.state, State::Stable | State::PreparingRebalance) {
            self.touch_session(step, member);
        }
    }

    /// Handles a leave, of each member in turn; the others rebalance once.
    pub(crate) fn leave(&mut self, step: &mut Step<'_>, leave: &LeaveGroup) -> Vec<MemberResult> {
        let results: Vec<MemberResult> = leave
            .members
            .iter()
            .map(|leaving| MemberResult {
                member: leaving.member.clone(),
                instance: leaving.instance.clone(),
                result: self.leave_one(step, leaving),
            })
            .collect();
        if results.iter().any(|left| left.result.is_ok()) {
            match self.state {
                State::Stable | State::CompletingRebalance => self.prepare_rebalance(step),
                State::PreparingRebalance => self.maybe_complete_join(step),
                State::Empty => {}
            }
        }
        results
    }

    /// An administrator may name a static member without its present id.
    fn leave_one(
        &mut self,
        step: &mut Step<'_>,
        leaving: &LeavingMember,
    ) -> Result<(), GroupError> {
        let id = if leaving.member.is_empty() {
            let instance = leaving.instance.as_ref();
            let id = instance.and_then(|instance| self.statics.get(instance));
            id.cloned().ok_or(GroupError::UnknownMemberId)?
        } else {
            if !self.pending.contains_key(&leaving.member) {
                self.validate_member(&leaving.member, leaving.instance.as_deref())?;
            }
            leaving.member.clone()
        };
        self.remove(step, &id);
        Ok(())
    }
}
