//! JoinGroup.

use std::sync::Arc;

use crate::error::GroupError;
use crate::memory::MEMBER_BYTES;
use crate::outcome::ReplyTo;
use crate::reply::Reply;
use crate::request::JoinGroup;
use crate::step::Step;
use crate::timers::Timer;

use super::member::{joining_bytes, own_protocols};
use super::{ClassicGroup, Member, State, subscription};

/// How much of a client's or static member's own name goes into the id that it gets.
const PREFIX_BYTES_MAX: usize = 1024;

/// An id that no member has had.
pub(crate) fn fresh_member_id(step: &Step<'_>, join: &JoinGroup) -> Arc<str> {
    let name = join.instance.as_ref().unwrap_or(&join.identity.client_id);
    let mut end = name.len().min(PREFIX_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    Arc::from(format!("{}-{}", &name[..end], step.moment.fresh))
}

/// Answers a join that does not wait with a refusal.
pub(crate) fn refuse(step: &mut Step<'_>, to: ReplyTo, error: GroupError, member: &Arc<str>) {
    step.reply(to, Reply::Joined(Err((error, member.clone()))));
}

impl ClassicGroup {
    /// Handles a join. The reply may wait for the other members.
    pub(crate) fn join(&mut self, step: &mut Step<'_>, to: ReplyTo, join: &JoinGroup) {
        if !self.accepts(step, &join.member) {
            self.remove(step, &join.member);
            self.maybe_complete_join(step);
            refuse(step, to, GroupError::GroupMaxSizeReached, &Arc::from(""));
        } else if !self.supports(join) {
            refuse(
                step,
                to,
                GroupError::InconsistentGroupProtocol,
                &join.member,
            );
        } else if let Err(full) = self.make_room(step, join) {
            refuse(step, to, full, &join.member);
        } else if join.member.is_empty() {
            self.join_unknown(step, to, join);
        } else if self.pending.contains_key(&join.member) && join.instance.is_none() {
            self.add_then_rebalance(step, to, join, join.member.clone());
        } else {
            self.join_known(step, to, join);
        }
    }

    /// Takes the room that the group needs with the join, in its members and in its record.
    fn make_room(&self, step: &mut Step<'_>, join: &JoinGroup) -> Result<(), GroupError> {
        let holder = join.instance.as_ref().and_then(|i| self.statics.get(i));
        let id = holder.unwrap_or(&join.member);
        let bytes = joining_bytes(join);
        let names = subscription::bytes_max(&join.protocols);
        match self.members.get(id) {
            Some(member) => {
                let before = member.bytes(id) - member.assignment.len() as u64;
                let names = names.saturating_sub(subscription::bytes_max(&member.protocols));
                self.take_old(step, 2 * bytes.saturating_sub(before) + names)
            }
            None => step.room.take_new(2 * bytes + names + MEMBER_BYTES),
        }
    }

    /// Whether the group has room. While members join, those that wait are counted, so that the
    /// last to come are turned away. Ids given out count too: without that, a client could have as
    /// many as it asked for.
    fn accepts(&self, step: &Step<'_>, member: &str) -> bool {
        let max = step.config.classic_members_max;
        if member.is_empty() && self.pending.len() >= max {
            return false;
        }
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                let waits = self.members.get(member).is_some_and(|m| m.join.is_some());
                waits || self.joining < max
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains_key(member) || self.members.len() < max
            }
        }
    }

    /// Whether the member has an assignor that all members have.
    fn supports(&self, join: &JoinGroup) -> bool {
        if self.state == State::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        let all = self.members.len();
        let supported = |name: &Arc<str>| self.supported.get(name).copied().unwrap_or(0) == all;
        self.protocol_type.as_ref() == Some(&join.protocol_type)
            && join.protocols.iter().any(|(name, _)| supported(name))
    }

    fn join_unknown(&mut self, step: &mut Step<'_>, to: ReplyTo, join: &JoinGroup) {
        let id = fresh_member_id(step, join);
        let replaced = join
            .instance
            .as_ref()
            .and_then(|i| self.statics.get(i))
            .cloned();
        if let Some(old) = replaced {
            self.replace_static(step, to, join, &old, id);
        } else if join.instance.is_none() && join.needs_known_member {
            let at = step.after_ms(join.session_timeout_ms);
            let timer = Timer::Pending(self.id.clone(), id.clone());
            let timer = step.timers.set(at, timer);
            self.pending.insert(id.clone(), timer);
            refuse(step, to, GroupError::MemberIdRequired, &id);
        } else {
            self.add_then_rebalance(step, to, join, id);
        }
    }

    fn add_then_rebalance(
        &mut self,
        step: &mut Step<'_>,
        to: ReplyTo,
        join: &JoinGroup,
        id: Arc<str>,
    ) {
        if let Some(timer) = self.pending.remove(&id) {
            step.timers.cancel(timer);
        }
        self.note_new_member();
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        let mut member = Member::joining(join);
        member.join = Some(to);
        step.park(to);
        // It does not know its id yet, so it cannot show itself: only its join's own time limits
        // how long it may wait.
        let timeout_ms = step.config.new_member_join_timeout_ms;
        member.touch(step, &self.id, &id, timeout_ms);
        self.insert(id, member);
        self.rebalance_or_complete(step);
    }

    fn join_known(&mut self, step: &mut Step<'_>, to: ReplyTo, join: &JoinGroup) {
        let id = &join.member;
        if let Err(error) = self.validate_member(id, join.instance.as_deref()) {
            return refuse(step, to, error, id);
        }
        let changed = self
            .members
            .get(id)
            .is_some_and(|member| !member.matches(join));
        let leads = self.is_leader(id);
        let rebalances = match self.state {
            State::Empty => return refuse(step, to, GroupError::UnknownMemberId, id),
            State::PreparingRebalance => true,
            // The reply to its join may have been lost.
            State::CompletingRebalance => changed,
            // A leader that joins again has seen what others have not, such as a new topic.
            State::Stable => changed || leads,
        };
        if rebalances {
            self.update(step, id, join);
            self.wait_in_join(step, id, to);
            return self.rebalance_or_complete(step);
        }
        let members = if leads {
            self.joined_members()
        } else {
            Vec::new()
        };
        let joined = self.joined(id, members);
        step.reply(to, Reply::Joined(Ok(joined)));
    }

    /// Takes over what a member that joins again tells.
    fn update(&mut self, step: &mut Step<'_>, id: &Arc<str>, join: &JoinGroup) {
        let Some(mut member) = self.members.remove(id) else {
            return;
        };
        self.unsupport(&member);
        self.bytes -= member.bytes(id);
        let names = subscription::bytes_max(&member.protocols);
        member.protocols = own_protocols(&join.protocols);
        self.unnoted_bytes += subscription::bytes_max(&member.protocols).saturating_sub(names);
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        member.session_timeout_ms = join.session_timeout_ms;
        for (name, _) in &member.protocols {
            *self.supported.entry(name.clone()).or_default() += 1;
        }
        self.bytes += member.bytes(id);
        if member.join.is_some() {
            self.joining -= 1;
            member.refuse_join(step, GroupError::RebalanceInProgress, id);
        }
        self.members.insert(id.clone(), member);
    }

    fn wait_in_join(&mut self, step: &mut Step<'_>, id: &Arc<str>, to: ReplyTo) {
        if let Some(member) = self.members.get_mut(id) {
            debug_assert!(member.join.is_none(), "an earlier join has been answered");
            member.join = Some(to);
            self.joining += 1;
            step.park(to);
        }
    }

    /// A static member has come back without its id: the old one is fenced (KIP-345), and if
    /// nothing else changes, the others need not notice.
    fn replace_static(
        &mut self,
        step: &mut Step<'_>,
        to: ReplyTo,
        join: &JoinGroup,
        old: &Arc<str>,
        id: Arc<str>,
    ) {
        let old_leader = self.leader.clone();
        let led = self.is_leader(old);
        let Some(mut member) = self.take(old) else {
            return refuse(step, to, GroupError::UnknownMemberId, &id);
        };
        member.cancel_timer(step);
        member.refuse_join(step, GroupError::FencedInstanceId, old);
        member.refuse_sync(step, GroupError::FencedInstanceId);
        member.new = false;
        self.insert(id.clone(), member);
        if led {
            self.leader = Some(id.clone());
        }
        self.update(step, &id, join);
        if let Some(member) = self.members.get_mut(&id) {
            member.touch(step, &self.id, &id, member.session_timeout_ms);
        }
        match self.state {
            State::Stable if self.select_protocol() == self.protocol => {
                self.record(step);
                self.welcome_back(step, to, join, &id, old_leader);
            }
            State::Stable | State::CompletingRebalance => {
                self.wait_in_join(step, &id, to);
                self.prepare_rebalance(step);
            }
            State::PreparingRebalance | State::Empty => {
                self.wait_in_join(step, &id, to);
                self.maybe_complete_join(step);
            }
        }
    }

    /// Answers a static member that came back into a stable group. If it leads and understands, it
    /// is told to leave the assignment as it is (KIP-814); otherwise that another leads.
    fn welcome_back(
        &mut self,
        step: &mut Step<'_>,
        to: ReplyTo,
        join: &JoinGroup,
        id: &Arc<str>,
        old_leader: Option<Arc<str>>,
    ) {
        let mut joined = self.joined(id, Vec::new());
        if join.can_skip_assignment {
            joined.skip_assignment = self.is_leader(id);
            if joined.skip_assignment {
                joined.members = self.joined_members();
            }
        } else if let Some(leader) = old_leader {
            joined.leader = leader;
        }
        step.reply(to, Reply::Joined(Ok(joined)));
    }
}
