//! A group of the classic protocol, or one that merely keeps offsets.
//!
//! A group is Empty, or prepares a rebalance (members join), or completes it (members wait for
//! what their leader assigns), or is Stable. There is no dead state: a group that is deleted is
//! gone. Only the end of a rebalance is recorded, as in Kafka: what happens in between is lost with
//! the machine, and its members begin again.
//!
//! Invariants: each member supports an assignor that all others support; a member waits in at most
//! one join and one sync; the record that was written last tells of the newest generation whose
//! assignments anybody has seen.

mod crossing;
mod describe;
mod join;
mod member;
mod rebalance;
mod subscription;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::GroupError;
use crate::memory::{MEMBER_BYTES, group_bytes};
use crate::outcome::Record;
use crate::parts::{Place, Section};
use crate::records::{GroupValue, Key};
use crate::step::Step;
use crate::timers::TimerId;

pub(crate) use join::refuse as refuse_join;
pub(crate) use member::Member;
pub(crate) use subscription::CONSUMER;

/// Where a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    /// Kafka's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// The first rebalance of an empty group waits for more members.
#[derive(Debug, Clone, Copy)]
struct Initial {
    /// How long the present wait is.
    delay_ms: i32,
    /// How long it may still be prolonged.
    remaining_ms: i32,
    /// Whether a member came during the present wait.
    new_member: bool,
}

/// What an id that was given out takes, at most, until its member comes with it or is late.
const PENDING_BYTES: u64 = 1_300;

/// A classic group.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    id: Arc<str>,
    state: State,
    /// Milliseconds since the Unix epoch; none in groups that were never recorded, or by old
    /// brokers.
    state_since_ms: Option<i64>,
    generation: i32,
    /// None as long as no member ever joined.
    protocol_type: Option<Arc<str>>,
    protocol: Option<Arc<str>>,
    leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    /// Members by their static ids.
    statics: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were given out, and not joined with yet.
    pending: BTreeMap<Arc<str>, TimerId>,
    /// Members that have not synced in this generation.
    unsynced: BTreeSet<Arc<str>>,
    /// How many members support each assignor.
    supported: BTreeMap<Arc<str>, usize>,
    /// How many members wait in a join.
    joining: usize,
    /// None if it cannot be told.
    subscribed: Option<BTreeSet<Arc<str>>>,
    /// What `subscribed` takes, about.
    subscribed_bytes: u64,
    /// What the names of members that have joined since may add to it, at most.
    unnoted_bytes: u64,
    initial: Option<Initial>,
    join_timer: Option<TimerId>,
    sync_timer: Option<TimerId>,
    /// The value of the record written last.
    durable: Option<Bytes>,
    /// What its members take, about.
    bytes: u64,
    /// What members and record took when the last generation was recorded: kept for them until the
    /// next one is, so that they find room for it whoever else has come.
    held: u64,
}

impl ClassicGroup {
    /// A group nobody has joined.
    pub(crate) fn new(id: Arc<str>) -> ClassicGroup {
        ClassicGroup {
            id,
            state: State::Empty,
            state_since_ms: None,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            supported: BTreeMap::new(),
            joining: 0,
            subscribed: None,
            subscribed_bytes: 0,
            unnoted_bytes: 0,
            initial: None,
            join_timer: None,
            sync_timer: None,
            durable: None,
            bytes: 0,
            held: 0,
        }
    }

    /// Records a group that has come to be and has no generation yet, so that it is known after a
    /// restart.
    pub(crate) fn record_created(&mut self, step: &mut Step<'_>) {
        if self.durable.is_some() {
            return;
        }
        self.state_since_ms = Some(step.moment.wall_ms);
        let value = GroupValue {
            protocol_type: Arc::from(""),
            generation: 0,
            protocol: None,
            leader: None,
            state_since_ms: step.moment.wall_ms,
            members: Vec::new(),
        };
        let value = value.encode();
        self.durable = Some(value.clone());
        step.record(self.key().record(value));
    }

    /// The group that a record tells of. Its timers start with [`ClassicGroup::loaded`].
    pub(crate) fn recorded(id: Arc<str>, bytes: &[u8], value: GroupValue) -> ClassicGroup {
        let mut group = ClassicGroup::new(id);
        group.state_since_ms = Some(value.state_since_ms).filter(|at| *at != -1);
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type).filter(|kind| !kind.is_empty());
        group.protocol = value.protocol;
        for recorded in value.members {
            let id = recorded.member.clone();
            let member = Member::recorded(recorded, group.protocol.clone());
            group.insert(id, member);
        }
        group.leader = value.leader;
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        group.note_subscribed();
        group.durable = Some(Bytes::copy_from_slice(bytes));
        // The record has one assignor's metadata of each member: it comes with another's, too.
        let members = group.members.values();
        let untold: u64 = members.map(Member::told_again_bytes).sum();
        group.held = group.members_bytes() + untold;
        group
    }

    /// Starts the sessions of a group that was read from its record.
    pub(crate) fn loaded(&mut self, step: &mut Step<'_>) {
        for (id, member) in &mut self.members {
            member.touch(step, &self.id, id, member.session_timeout_ms);
        }
        if self.members.len() > step.config.classic_members_max {
            self.prepare_rebalance(step);
        }
    }

    /// What it takes, about, and what is kept for it.
    pub(crate) fn bytes(&self) -> u64 {
        let pending = self.pending.len() as u64 * PENDING_BYTES;
        group_bytes(&self.id) + pending + self.members_bytes().max(self.held)
    }

    /// What its members and its record take now, about.
    fn members_bytes(&self) -> u64 {
        let members = self.members.len() as u64 * MEMBER_BYTES;
        let subscribed = self.subscribed_bytes + self.unnoted_bytes;
        members + self.bytes + self.durable_bytes() + subscribed
    }

    fn durable_bytes(&self) -> u64 {
        self.durable.as_ref().map_or(0, |value| value.len() as u64)
    }

    /// Takes room for what members that are there take besides what they have; what is kept for
    /// them is never refused.
    fn take_old(&self, step: &mut Step<'_>, bytes: u64) -> Result<(), GroupError> {
        let kept = self.held.saturating_sub(self.members_bytes());
        step.room.take_old(bytes.saturating_sub(kept))
    }

    /// What its members take, about, without that one.
    pub(crate) fn bytes_beside(&self, member: &str, instance: Option<&Arc<str>>) -> u64 {
        let holder = instance.and_then(|instance| self.statics.get(instance));
        let id = holder.map_or(member, |id| id);
        self.bytes - self.members.get(id).map_or(0, |member| member.bytes(id))
    }

    /// Whether nothing would be lost if it were forgotten: it was never recorded, and has no
    /// member.
    pub(crate) fn is_nothing(&self) -> bool {
        self.durable.is_none() && self.members.is_empty() && self.pending.is_empty()
    }

    /// Whether no member is in it, nor about to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty()
    }

    fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    fn has_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Refuses who is no member, or is a static member that another has replaced.
    fn validate_member(&self, member: &str, instance: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(current) if &**current != member => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) {
            Ok(())
        } else {
            Err(GroupError::UnknownMemberId)
        }
    }

    fn transition(&mut self, step: &Step<'_>, state: State) {
        self.state = state;
        self.state_since_ms = Some(step.moment.wall_ms);
    }

    /// Puts a member in, without asking anybody to rebalance.
    fn insert(&mut self, id: Arc<str>, member: Member) {
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        for (name, _) in &member.protocols {
            *self.supported.entry(name.clone()).or_default() += 1;
        }
        self.joining += usize::from(member.join.is_some());
        self.bytes += member.bytes(&id);
        self.unnoted_bytes += subscription::bytes_max(&member.protocols);
        let old = self.members.insert(id, member);
        debug_assert!(old.is_none(), "a member is in its group once");
    }

    /// Takes a member out, with its place in every table. Its askers still wait.
    fn take(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.unsupport(&member);
        self.joining -= usize::from(member.join.is_some());
        self.bytes -= member.bytes(id);
        if let Some(instance) = &member.instance {
            self.statics.remove(instance);
        }
        self.unsynced.remove(id);
        Some(member)
    }

    fn unsupport(&mut self, member: &Member) {
        for (name, _) in &member.protocols {
            if let Some(count) = self.supported.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(name);
                }
            }
        }
    }

    /// Removes a member or an id that was given out. Who waits with it is told that it is unknown.
    fn remove(&mut self, step: &mut Step<'_>, id: &str) {
        if let Some(mut member) = self.take(id) {
            member.cancel_timer(step);
            member.refuse_join(step, GroupError::UnknownMemberId, &Arc::from(""));
            member.refuse_sync(step, GroupError::UnknownMemberId);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        if let Some(timer) = self.pending.remove(id) {
            step.timers.cancel(timer);
        }
    }

    /// The longest time that any member gives the others to join.
    fn rebalance_timeout_ms(&self) -> i32 {
        let timeouts = self
            .members
            .values()
            .map(|member| member.rebalance_timeout_ms);
        timeouts.max().unwrap_or(0).max(0)
    }

    /// Takes over what its members subscribe to now.
    fn note_subscribed(&mut self) {
        self.subscribed = self.subscribed_by_members();
        let names = self.subscribed.iter().flatten();
        self.subscribed_bytes = names
            .map(|name| name.len() as u64 + subscription::NAME_BYTES)
            .sum();
        self.unnoted_bytes = 0;
    }

    /// The topics its members subscribe to, if they are consumers, say so readably, and they are no
    /// more than may be noted.
    fn subscribed_by_members(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.has_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let members = self.members.values();
        subscription::topics(members.map(|member| member.metadata(Some(protocol))))
    }

    /// Records the group as it is now.
    fn record(&mut self, step: &mut Step<'_>) {
        let protocol = self.protocol.as_deref();
        let members = self.members.iter();
        let value = GroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since_ms: self.state_since_ms.unwrap_or(-1),
            members: members
                .map(|(id, member)| member.to_record(id, protocol))
                .collect(),
        };
        let value = value.encode();
        self.durable = Some(value.clone());
        self.held = self.members_bytes();
        step.record(self.key().record(value));
    }

    fn key(&self) -> Key {
        Key::Group {
            group: self.id.clone(),
        }
    }

    /// Records that the group is gone.
    pub(crate) fn tombstones(&self, records: &mut Vec<Record>) {
        records.push(self.key().tombstone());
    }

    /// The record that rebuilds it, unless it was given.
    pub(crate) fn part(&self, after: &Place) -> Option<(Place, Record)> {
        let value = self.durable.as_ref();
        let value = value.filter(|_| after.is_before(Section::Classic))?;
        let record = self.key().record(value.clone());
        Some((Place::of(Section::Classic), record))
    }

    /// Ends all its timers: it is about to be forgotten.
    pub(crate) fn cancel_timers(&mut self, step: &mut Step<'_>) {
        for member in self.members.values_mut() {
            member.cancel_timer(step);
        }
        for timer in std::mem::take(&mut self.pending).into_values() {
            step.timers.cancel(timer);
        }
        let timers = [self.join_timer.take(), self.sync_timer.take()];
        for timer in timers.into_iter().flatten() {
            step.timers.cancel(timer);
        }
    }
}

#[cfg(test)]
mod tests;
