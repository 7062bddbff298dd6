//! How a generation ends and the next one begins.

use std::sync::Arc;

use crate::error::GroupError;
use crate::records::GroupValue;
use crate::reply::{Joined, JoinedMember, Reply};
use crate::step::Step;
use crate::timers::{Timer, TimerId};

use super::{ClassicGroup, Initial, State};

/// How long a rebalance that nobody came to is prolonged at least, whatever its members ask.
const NOBODY_CAME_MS_MIN: i32 = 1_000;

impl ClassicGroup {
    /// Begins a rebalance where one can begin, and otherwise ends its joins if that was all that
    /// was missing.
    pub(super) fn rebalance_or_complete(&mut self, step: &mut Step<'_>) {
        match self.state {
            State::Empty | State::CompletingRebalance | State::Stable => {
                self.prepare_rebalance(step);
            }
            State::PreparingRebalance => self.maybe_complete_join(step),
        }
    }

    /// Begins a rebalance: members that wait for an assignment are to join again.
    pub(super) fn prepare_rebalance(&mut self, step: &mut Step<'_>) {
        if self.state == State::CompletingRebalance {
            self.forget_assignments(step);
        }
        self.unsynced.clear();
        self.cancel_sync_timer(step);
        let first = self.state == State::Empty;
        self.transition(step, State::PreparingRebalance);
        if first {
            self.wait_for_more(step);
        } else if self.have_all_joined() {
            self.complete_join(step);
        } else {
            self.set_join_timer(step, self.rebalance_timeout_ms());
        }
    }

    fn wait_for_more(&mut self, step: &mut Step<'_>) {
        let delay_ms = step.config.initial_rebalance_delay_ms;
        let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
        self.initial = Some(Initial {
            delay_ms,
            remaining_ms,
            new_member: false,
        });
        self.set_join_timer(step, delay_ms);
    }

    pub(super) fn note_new_member(&mut self) {
        if let Some(initial) = &mut self.initial {
            initial.new_member = true;
        }
    }

    fn set_join_timer(&mut self, step: &mut Step<'_>, after_ms: i32) {
        if let Some(timer) = self.join_timer.take() {
            step.timers.cancel(timer);
        }
        let at = step.after_ms(after_ms);
        self.join_timer = Some(step.timers.set(at, Timer::Join(self.id.clone())));
    }

    fn have_all_joined(&self) -> bool {
        self.members.len() == self.joining && self.pending.is_empty()
    }

    /// Ends the joins if all have come. The first rebalance of an empty group always waits.
    pub(super) fn maybe_complete_join(&mut self, step: &mut Step<'_>) {
        let ready = self.state == State::PreparingRebalance && self.initial.is_none();
        if ready && self.have_all_joined() {
            self.complete_join(step);
        }
    }

    /// The time to join is over, or that to wait for more members.
    pub(crate) fn join_due(&mut self, step: &mut Step<'_>, due: TimerId) {
        if self.join_timer != Some(due) {
            return;
        }
        self.join_timer = None;
        match self.initial {
            Some(initial) if initial.new_member && initial.remaining_ms > 0 => {
                let delay_ms = step
                    .config
                    .initial_rebalance_delay_ms
                    .min(initial.remaining_ms);
                self.initial = Some(Initial {
                    delay_ms,
                    remaining_ms: (initial.remaining_ms - initial.delay_ms).max(0),
                    new_member: false,
                });
                self.set_join_timer(step, delay_ms);
            }
            _ => self.complete_join(step),
        }
    }

    /// Ends the joins: dynamic members that have not come are out, and the next generation begins.
    pub(super) fn complete_join(&mut self, step: &mut Step<'_>) {
        self.initial = None;
        if let Some(timer) = self.join_timer.take() {
            step.timers.cancel(timer);
        }
        self.remove_absent(step);
        if !self.elect_joined_leader() && !self.members.is_empty() {
            // Only static members are left and none came: wait until they do, or their sessions
            // end.
            let again_ms = self.rebalance_timeout_ms().max(NOBODY_CAME_MS_MIN);
            self.set_join_timer(step, again_ms);
            return;
        }
        self.generation = self.generation.saturating_add(1);
        if self.members.is_empty() {
            self.protocol = None;
            self.note_subscribed();
            self.transition(step, State::Empty);
            self.record(step);
        } else {
            self.protocol = self.select_protocol();
            self.note_subscribed();
            self.transition(step, State::CompletingRebalance);
            self.answer_joins(step);
        }
    }

    fn remove_absent(&mut self, step: &mut Step<'_>) {
        let members = self.members.iter();
        let absent: Vec<Arc<str>> = members
            .filter(|(_, member)| member.join.is_none() && member.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in absent {
            self.remove(step, &id);
        }
    }

    /// Whether the leader has joined, or another that has took its place.
    fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |id: &Arc<str>| self.members.get(id).is_some_and(|m| m.join.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let mut members = self.members.iter();
        match members.find(|(_, member)| member.join.is_some()) {
            Some((id, _)) => {
                self.leader = Some(id.clone());
                true
            }
            None => false,
        }
    }

    /// The assignor with most votes among those that all members support. Each votes for the first
    /// of its own; of several with as many votes, the first by name.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let all = self.members.len();
        let mut votes = std::collections::BTreeMap::<&Arc<str>, usize>::new();
        for member in self.members.values() {
            let mut names = member.protocols.iter().map(|(name, _)| name);
            if let Some(name) = names.find(|name| self.supported.get(*name) == Some(&all)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let mut best: Option<(&Arc<str>, usize)> = None;
        for (name, count) in votes {
            if best.is_none_or(|(_, most)| count > most) {
                best = Some((name, count));
            }
        }
        best.map(|(name, _)| name.clone())
    }

    /// All members, as the leader sees them.
    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref();
        let members = self.members.iter();
        members
            .map(|(id, member)| JoinedMember {
                member: id.clone(),
                instance: member.instance.clone(),
                metadata: member.metadata(protocol),
            })
            .collect()
    }

    /// What a member learns of the present generation.
    pub(super) fn joined(&self, member: &Arc<str>, members: Vec<JoinedMember>) -> Joined {
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_else(|| Arc::from("")),
            skip_assignment: false,
            member: member.clone(),
            members,
        }
    }

    /// Records new ids of static members under the generation that was recorded last. A machine
    /// that is rebuilt before the next one is recorded would otherwise know them by their old ids,
    /// and fence them for ever; Kafka does.
    fn record_new_ids(&mut self, step: &mut Step<'_>) {
        if self.statics.is_empty() {
            return;
        }
        let durable = self.durable.as_ref();
        let Some(mut value) = durable.and_then(|value| GroupValue::decode(value).ok()) else {
            return;
        };
        let mut changed = false;
        for member in &mut value.members {
            let instance = member.instance.as_ref();
            let Some(id) = instance.and_then(|instance| self.statics.get(instance)) else {
                continue;
            };
            if *id != member.member {
                if value.leader.as_ref() == Some(&member.member) {
                    value.leader = Some(id.clone());
                }
                member.member = id.clone();
                changed = true;
            }
        }
        if changed {
            let value = value.encode();
            self.durable = Some(value.clone());
            step.record(self.key().record(value));
        }
    }

    fn answer_joins(&mut self, step: &mut Step<'_>) {
        self.record_new_ids(step);
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let members = if self.is_leader(&id) {
                self.joined_members()
            } else {
                Vec::new()
            };
            let joined = self.joined(&id, members);
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            if let Some(to) = member.join.take() {
                self.joining -= 1;
                step.answer(to, Reply::Joined(Ok(joined)));
            }
            member.new = false;
            member.touch(step, &self.id, &id, member.session_timeout_ms);
            self.unsynced.insert(id);
        }
        let at = step.after_ms(self.rebalance_timeout_ms());
        self.sync_timer = Some(step.timers.set(at, Timer::Sync(self.id.clone())));
    }

    /// The time to sync is over: members that have not are out.
    pub(crate) fn sync_due(&mut self, step: &mut Step<'_>, due: TimerId) {
        if self.sync_timer != Some(due) {
            return;
        }
        self.sync_timer = None;
        let late = std::mem::take(&mut self.unsynced);
        if late.is_empty() {
            return;
        }
        for id in &late {
            self.remove(step, id);
        }
        self.prepare_rebalance(step);
    }

    /// A member has synced.
    pub(super) fn note_synced(&mut self, step: &mut Step<'_>, member: &str) {
        self.unsynced.remove(member);
        if self.unsynced.is_empty() {
            self.cancel_sync_timer(step);
        }
    }

    fn cancel_sync_timer(&mut self, step: &mut Step<'_>) {
        if let Some(timer) = self.sync_timer.take() {
            step.timers.cancel(timer);
        }
    }

    /// Who waits for an assignment is to join again.
    fn forget_assignments(&mut self, step: &mut Step<'_>) {
        for (id, member) in &mut self.members {
            self.bytes -= member.assignment.len() as u64;
            member.assignment = bytes::Bytes::new();
            if member.sync.is_some() {
                member.refuse_sync(step, GroupError::RebalanceInProgress);
                member.touch(step, &self.id, id, member.session_timeout_ms);
            }
        }
    }

    /// A member's session may have ended.
    pub(crate) fn session_due(&mut self, step: &mut Step<'_>, id: &Arc<str>, due: TimerId) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if !member.is_expired(step, &self.id, id, due) {
            return;
        }
        self.remove(step, id);
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(step),
            State::PreparingRebalance if self.have_all_joined() => self.complete_join(step),
            State::PreparingRebalance | State::Empty => {}
        }
    }

    /// An id was given out, and nobody joined with it.
    pub(crate) fn pending_due(&mut self, step: &mut Step<'_>, id: &Arc<str>, due: TimerId) {
        if self.pending.get(id) != Some(&due) {
            return;
        }
        self.pending.remove(id);
        if self.state == State::PreparingRebalance && self.have_all_joined() {
            self.complete_join(step);
        }
    }
}
