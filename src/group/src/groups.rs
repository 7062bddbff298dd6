//! The groups of a machine with their offsets, and what requests do to them.
//!
//! Invariants: who has offsets is a group; the bytes of the groups are counted.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::classic::{self, ClassicGroup};
use crate::error::GroupError;
use crate::group::Group;
use crate::memory::group_bytes;
use crate::offsets::{Offsets, Spot, not_found};
use crate::outcome::{Record, ReplyTo};
use crate::parts::{Place, SnapshotCursor};
use crate::records::{GroupValue, Key, OffsetValue, RecordError};
use crate::reply::{Description, Listed, Reply};
use crate::request::{JoinGroup, LeaveGroup, ListGroups, Request, SyncGroup};
use crate::step::Step;
use crate::timers::{Timer, TimerId};

/// A member knows no more assignors: they are compared with each other.
const PROTOCOLS_MAX: usize = 100;

/// One step of a start begins about so many groups and sessions: a fraction of a millisecond; those
/// of one group together.
const SESSIONS_A_STEP_MAX: usize = 1_000;

/// A string in a record is no longer.
pub(crate) const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Groups by their ids, and their offsets.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) by_id: BTreeMap<Arc<str>, Group>,
    pub(crate) offsets: Offsets,
    /// When offsets are looked through for expired ones.
    pub(crate) retention_timer: Option<TimerId>,
    /// When more offsets of deleted topics are removed, if not all were.
    pub(crate) deleted_timer: Option<TimerId>,
    /// Where the look for expired offsets goes on, if it has begun.
    pub(crate) expiring: Option<Spot>,
    /// Where the removal of offsets of deleted topics goes on, if it has begun.
    pub(crate) removing: Option<Spot>,
    /// The last of those whose sessions have begun, in the order of their ids.
    begun: Option<Arc<str>>,
    /// What the groups take, about.
    bytes: u64,
}

impl Groups {
    /// What groups and offsets take, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes + self.offsets.bytes()
    }

    /// A group.
    pub(crate) fn find(&self, group: &str) -> Option<&Group> {
        self.by_id.get(group)
    }

    /// Changes a group, if it is there, and counts what it takes then.
    pub(crate) fn change<R>(
        &mut self,
        group: &str,
        change: impl FnOnce(&mut Group) -> R,
    ) -> Option<R> {
        let group = self.by_id.get_mut(group)?;
        let before = group.bytes();
        let result = change(group);
        self.bytes = self.bytes - before + group.bytes();
        Some(result)
    }

    /// Changes a classic group, if it is there and one still.
    fn change_classic(&mut self, group: &str, change: impl FnOnce(&mut ClassicGroup)) {
        self.change(group, |group| {
            if let Group::Classic(group) = group {
                change(group);
            }
        });
    }

    /// Puts a group in, in the place of one of the same id.
    pub(crate) fn insert(&mut self, id: Arc<str>, group: Group) {
        self.bytes += group.bytes();
        let old = self.by_id.insert(id, group);
        self.bytes -= old.map_or(0, |old| old.bytes());
    }

    /// Takes a group out, with its timers. Its offsets are not touched.
    pub(crate) fn forget(&mut self, step: &mut Step<'_>, id: &str) {
        if let Some(mut group) = self.by_id.remove(id) {
            self.bytes -= group.bytes();
            group.cancel_timers(step);
        }
    }

    /// Takes out a group that only its offsets made one, once they are gone.
    pub(crate) fn forget_if_nothing(&mut self, step: &mut Step<'_>, id: &str) {
        let nothing = |group: &Group| group.is_nothing();
        if !self.offsets.has(id) && self.by_id.get(id).is_some_and(nothing) {
            self.forget(step, id);
        }
    }

    /// Makes a group without members, unless there is one.
    pub(crate) fn ensure(&mut self, id: &Arc<str>) {
        if !self.by_id.contains_key(id) {
            self.insert(id.clone(), Group::Classic(ClassicGroup::new(id.clone())));
        }
    }

    /// Whether there may be one group more.
    pub(crate) fn may_create(&self, step: &Step<'_>, group: &str) -> Result<(), GroupError> {
        if group.len() > STRING_BYTES_MAX {
            Err(GroupError::InvalidGroupId)
        } else if self.by_id.len() >= step.config.groups_max {
            Err(GroupError::LimitReached(format!(
                "The coordinator has {} groups, as many as it may have.",
                self.by_id.len()
            )))
        } else {
            let mut room = step.room;
            room.take_new(group_bytes(group))
        }
    }

    /// Takes a record of the log.
    pub(crate) fn replay(&mut self, record: &Record) -> Result<(), RecordError> {
        let Some(key) = Key::decode(&record.key)? else {
            return Ok(());
        };
        match (key, &record.value) {
            (
                Key::Offset {
                    group,
                    topic,
                    partition,
                },
                Some(value),
            ) => {
                let value = OffsetValue::decode(value)?;
                self.offsets.put(&group, &topic, partition, value);
                self.ensure(&group);
            }
            (
                Key::Offset {
                    group,
                    topic,
                    partition,
                },
                None,
            ) => {
                self.offsets.remove(&group, &topic, partition);
                self.drop_if_nothing(&group);
            }
            (Key::Group { group }, Some(value)) => {
                let decoded = GroupValue::decode(value)?;
                let recorded = ClassicGroup::recorded(group.clone(), value, decoded);
                self.insert(group, Group::Classic(recorded));
            }
            (Key::Group { group }, None) => {
                if matches!(self.find(&group), Some(Group::Classic(_))) {
                    self.drop_replayed(&group);
                }
            }
            (key, value) => self.replay_consumer(&key, value.as_deref())?,
        }
        Ok(())
    }

    /// Takes out a group whose tombstone was read. Offsets that are left make it one again.
    pub(crate) fn drop_replayed(&mut self, id: &Arc<str>) {
        if let Some(old) = self.by_id.remove(id) {
            self.bytes -= old.bytes();
        }
        if self.offsets.has(id) {
            self.ensure(id);
        }
    }

    /// As [`Groups::forget_if_nothing`], while no timer runs yet.
    fn drop_if_nothing(&mut self, id: &str) {
        let nothing = |group: &Group| group.is_nothing();
        if !self.offsets.has(id) && self.by_id.get(id).is_some_and(nothing) {
            let old = self.by_id.remove(id);
            self.bytes -= old.map_or(0, |old| old.bytes());
        }
    }

    /// Handles a request.
    pub(crate) fn handle(&mut self, step: &mut Step<'_>, to: ReplyTo, request: &Request) {
        if self.refuse_too_large(step, to, request) {
            return;
        }
        let reply = match request {
            Request::Join(join) => return self.join(step, to, join),
            Request::Sync(sync) => return self.sync(step, to, sync),
            Request::Heartbeat(heartbeat) => {
                let beat = |group: &mut Group| match group {
                    Group::Classic(group) => Some(group.heartbeat(step, heartbeat)),
                    Group::Consumer(_) => None,
                };
                let result = self.change(&heartbeat.group, beat);
                Reply::Heartbeat(match result {
                    Some(Some(result)) => result,
                    Some(None) => self.heartbeat_consumer(step, heartbeat),
                    None => Err(unknown(&heartbeat.group)),
                })
            }
            Request::Leave(leave) => self.leave(step, leave),
            Request::Commit(commit) => Reply::Committed(self.commit(step, commit)),
            Request::Fetch(fetch) => Reply::Fetched(self.fetch(step, fetch)),
            Request::DeleteOffsets(delete) => {
                Reply::OffsetsDeleted(self.delete_offsets(step, delete))
            }
            Request::Describe(group) => Reply::Described(self.describe(group)),
            Request::List(filters) => Reply::Listed(self.list(filters)),
            Request::Delete(group) => Reply::Deleted(self.delete(step, group)),
            Request::ConsumerHeartbeat(heartbeat) => {
                Reply::ConsumerHeartbeat(self.consumer_heartbeat(step, heartbeat))
            }
            Request::ConsumerDescribe(group) => {
                Reply::ConsumerDescribed(self.describe_consumer(step, group))
            }
        };
        step.reply(to, reply);
    }

    fn join(&mut self, step: &mut Step<'_>, to: ReplyTo, join: &JoinGroup) {
        if let Err(error) = self.validate_join(step, join) {
            return classic::refuse_join(step, to, error, &join.member);
        }
        if self.join_consumer(step, to, join).is_some() {
            return;
        }
        let joined = self.change(&join.group, |group| {
            if let Group::Classic(group) = group {
                group.join(step, to, join);
            }
        });
        if joined.is_some() {
            return;
        }
        let mut group = ClassicGroup::new(join.group.clone());
        group.join(step, to, join);
        if !group.is_nothing() {
            group.record_created(step);
            self.insert(join.group.clone(), Group::Classic(group));
        }
    }

    fn validate_join(&self, step: &Step<'_>, join: &JoinGroup) -> Result<(), GroupError> {
        let config = step.config;
        let timeouts = config.session_timeout_min_ms..=config.session_timeout_max_ms;
        if join.group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        if !timeouts.contains(&join.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        let identity = [&join.identity.client_id, &join.identity.client_host];
        let names = join.protocols.iter().map(|(name, _)| name);
        let mut texts = names
            .chain(identity)
            .chain([&join.protocol_type])
            .chain(&join.instance);
        if texts.any(|text| text.len() > STRING_BYTES_MAX) {
            return Err(GroupError::InvalidRequest("A string is too long.".into()));
        }
        if join.protocols.len() > PROTOCOLS_MAX {
            let why = format!("A member may name {PROTOCOLS_MAX} protocols at most.");
            return Err(GroupError::InvalidRequest(why));
        }
        if self.by_id.contains_key(&join.group) {
            Ok(())
        } else if join.member.is_empty() {
            self.may_create(step, &join.group)
        } else {
            Err(GroupError::UnknownMemberId)
        }
    }

    fn sync(&mut self, step: &mut Step<'_>, to: ReplyTo, sync: &SyncGroup) {
        let is_classic = self.change(&sync.group, |group| match group {
            Group::Classic(group) => {
                group.sync(step, to, sync);
                true
            }
            Group::Consumer(_) => false,
        });
        match is_classic {
            Some(true) => {}
            Some(false) => self.sync_consumer(step, to, sync),
            None => step.reply(to, Reply::Synced(Err(unknown(&sync.group)))),
        }
    }

    fn leave(&mut self, step: &mut Step<'_>, leave: &LeaveGroup) -> Reply {
        let left = self.change(&leave.group, |group| match group {
            Group::Classic(group) => Some(group.leave(step, leave)),
            Group::Consumer(_) => None,
        });
        match left {
            Some(Some(results)) => Reply::Left(Ok(results)),
            Some(None) => self.leave_consumer(step, leave),
            None => Reply::Left(Err(unknown(&leave.group))),
        }
    }

    /// A member has committed.
    pub(crate) fn note_commit(&mut self, step: &mut Step<'_>, group: &str, member: &Arc<str>) {
        self.change(group, |group| match group {
            Group::Classic(group) => group.note_commit(step, member),
            Group::Consumer(_) => {}
        });
    }

    fn describe(&self, id: &str) -> Result<Description, GroupError> {
        match self.find(id) {
            Some(Group::Classic(group)) => Ok(group.describe()),
            Some(Group::Consumer(_)) => Err(GroupError::GroupIdNotFound(format!(
                "Group {id} is not a classic group."
            ))),
            None => Err(not_found(id)),
        }
    }

    fn list(&self, filters: &ListGroups) -> Vec<Listed> {
        let matches = |filter: &[Arc<str>], name: &str| {
            filter.is_empty() || filter.iter().any(|f| f.trim().eq_ignore_ascii_case(name))
        };
        let groups = self.by_id.values().map(Group::listed);
        groups
            .filter(|listed| matches(&filters.states, listed.state))
            .filter(|listed| matches(&filters.types, listed.kind))
            .collect()
    }

    fn delete(&mut self, step: &mut Step<'_>, id: &Arc<str>) -> Result<(), GroupError> {
        let group = self.by_id.get(id).ok_or_else(|| not_found(id))?;
        group.validate_delete()?;
        self.offsets.remove_all(id, &mut step.outcome.records);
        group.tombstones(&mut step.outcome.records);
        self.forget(step, id);
        Ok(())
    }

    /// Begins the sessions of some groups; whether there are more.
    pub(crate) fn begin_sessions(&mut self, step: &mut Step<'_>) -> bool {
        let mut begun = 0;
        while begun < SESSIONS_A_STEP_MAX {
            let after = self.begun.as_deref();
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut groups = self.by_id.range::<str, _>((from, Bound::Unbounded));
            let Some(id) = groups.next().map(|(id, _)| id.clone()) else {
                return false;
            };
            begun += 1;
            self.change(&id, |group| {
                group.loaded(step);
                begun += group.members();
            });
            self.begun = Some(id);
        }
        true
    }

    /// Starts to serve, after all records have been replayed.
    pub(crate) fn loaded(&mut self, step: &mut Step<'_>) {
        while self.begin_sessions(step) {}
        self.set_retention_timer(step, step.config.offsets_retention_check_ms.max(1));
        // A topic may have been deleted just before the end, and made again since.
        self.topics_deleted(step);
    }

    /// Does what one timer is for.
    pub(crate) fn due(&mut self, step: &mut Step<'_>, id: TimerId, timer: &Timer) {
        match timer {
            Timer::Retention => self.expire(step),
            Timer::DeletedTopics => self.remove_deleted_topics(step),
            Timer::Consumer(group) => self.consumer_due(step, group),
            Timer::Session(group, member) => {
                self.change_classic(group, |group| group.session_due(step, member, id));
            }
            Timer::Pending(group, member) => {
                self.change_classic(group, |group| group.pending_due(step, member, id));
            }
            Timer::Join(group) => {
                self.change_classic(group, |group| group.join_due(step, id));
            }
            Timer::Sync(group) => {
                self.change_classic(group, |group| group.sync_due(step, id));
            }
        }
    }

    /// Records that rebuild groups and offsets: those behind `after`, until they have `bytes`.
    pub(crate) fn snapshot_after(
        &self,
        after: Option<&SnapshotCursor>,
        bytes: usize,
    ) -> (Vec<Record>, Option<SnapshotCursor>) {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Included(&*after.group));
        let (mut records, mut taken) = (Vec::new(), 0);
        for (id, group) in self.by_id.range::<str, _>((from, Bound::Unbounded)) {
            let begun = after.filter(|after| after.group == *id);
            let place = begun.map_or_else(Place::start, |begun| begun.place.clone());
            let parts = group.parts(&place).chain(self.offsets.parts(id, &place));
            for (place, record) in parts {
                taken += record.bytes();
                records.push(record);
                if taken >= bytes {
                    let group = id.clone();
                    return (records, Some(SnapshotCursor { group, place }));
                }
            }
        }
        (records, None)
    }

    /// Panics if they contradict themselves. Gives the timers that are set and who waits.
    pub(crate) fn check_invariants(&self) -> (Vec<TimerId>, Vec<ReplyTo>) {
        self.offsets.check_invariants();
        assert!(self.offsets.all_of(|id| self.by_id.contains_key(id)));
        let bytes: u64 = self.by_id.values().map(Group::bytes).sum();
        assert_eq!(bytes, self.bytes, "bytes of groups");
        let own = [self.retention_timer, self.deleted_timer];
        let mut timers: Vec<TimerId> = own.into_iter().flatten().collect();
        let mut waiting = Vec::new();
        for (id, group) in &self.by_id {
            assert!(
                !group.is_nothing() || self.offsets.has(id),
                "{id} is nothing"
            );
            timers.extend(group.check_invariants());
            waiting.extend(group.waiting());
        }
        (timers, waiting)
    }
}

/// What members of a group that is not there are told.
fn unknown(group: &str) -> GroupError {
    if group.is_empty() {
        GroupError::InvalidGroupId
    } else {
        GroupError::UnknownMemberId
    }
}
