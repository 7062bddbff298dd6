//! A group: its members, what each is to have and has, and the epochs by which they agree.
//!
//! What is here is what the records say, but for the deadlines and the version of topics that the
//! group has last looked at. Every change is applied and written in one place, so that
//! [`ConsumerGroup::replay`] of the records makes the same group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::member::{Member, target_of_value, target_value};
use super::room::{PARTITION_BYTES, regex_bytes, target_bytes, told_bytes};
use super::timers::{Due, Timers};
use crate::assignor::{Assignor, Partitions};
use crate::config::GroupConfig;
use crate::memory::{MEMBER_BYTES, group_bytes};
use crate::outcome::{Moment, Record};
use crate::parts::{Place, Section};
use crate::records::{
    ConsumerGroupValue, ConsumerMemberValue, CurrentValue, Key, RecordError, RegexValue,
    TargetEpochValue, TargetMemberValue,
};
use crate::reply::Listed;
use crate::step::Step;
use crate::timers::{Timer, TimerId};

/// A group of the consumer rebalance protocol.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    pub(super) id: Arc<str>,
    /// Rises with each change of members, subscriptions or topics.
    pub(super) epoch: i32,
    /// Of the topics that the group is subscribed to, as they were at `epoch`.
    pub(super) metadata_hash: i64,
    /// The epoch that the targets were computed for.
    pub(super) target_epoch: i32,
    pub(super) members: BTreeMap<Arc<str>, Member>,
    /// Static members by their instance ids.
    pub(super) statics: BTreeMap<Arc<str>, Arc<str>>,
    pub(super) targets: BTreeMap<Arc<str>, Partitions>,
    /// Who has a partition, or has still to let go of it.
    pub(super) owners: BTreeMap<(Uuid, i32), Arc<str>>,
    /// What each regular expression in use stands for.
    pub(super) regexes: BTreeMap<Arc<str>, RegexValue>,
    pub(super) timers: Timers,
    /// The version of topics that the subscriptions were last compared with.
    pub(super) topics_seen: Option<u64>,
    /// How many partitions each topic had that the targets were computed from. Empty until they are,
    /// in a group that was read from its records.
    pub(super) reads: BTreeMap<Uuid, i32>,
    /// The machine's timer for the next of `timers`.
    pub(crate) timer: Option<TimerId>,
    /// What members, targets and expressions take, about.
    bytes: u64,
}

impl ConsumerGroup {
    /// A group without members.
    pub(crate) fn new(id: Arc<str>) -> ConsumerGroup {
        ConsumerGroup {
            id,
            epoch: 0,
            metadata_hash: 0,
            target_epoch: 0,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            targets: BTreeMap::new(),
            owners: BTreeMap::new(),
            regexes: BTreeMap::new(),
            timers: Timers::default(),
            topics_seen: None,
            reads: BTreeMap::new(),
            timer: None,
            bytes: 0,
        }
    }

    /// What it takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        group_bytes(&self.id) + self.members.len() as u64 * MEMBER_BYTES + self.bytes
    }

    /// What members, targets and expressions take, about, without that member.
    pub(crate) fn bytes_beside(&self, member: &str, instance: Option<&Arc<str>>) -> u64 {
        let holder = instance.and_then(|instance| self.statics.get(instance));
        let found = self.members.get(holder.map_or(member, |id| id));
        self.bytes - found.map_or(0, |member| told_bytes(&member.id, &member.told))
    }

    /// The group for ListGroups.
    pub(crate) fn listed(&self) -> Listed {
        Listed {
            group: self.id.clone(),
            protocol_type: Arc::from("consumer"),
            state: self.state(),
            kind: "consumer",
        }
    }

    /// Sets the machine's timer for what is due next.
    pub(crate) fn rearm(&mut self, step: &mut Step<'_>) {
        let next = self.timers.next();
        if self.timer.map(TimerId::at) == next {
            return;
        }
        if let Some(old) = self.timer.take() {
            step.timers.cancel(old);
        }
        let timer = |at| step.timers.set(at, Timer::Consumer(self.id.clone()));
        self.timer = next.map(timer);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Kafka's name of the state.
    pub(crate) fn state(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self
            .members
            .values()
            .all(|member| member.is_reconciled_to(self.target_epoch))
        {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Whether a member is subscribed to the topic.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        let is_named = |name: &[Arc<str>]| name.binary_search_by(|it| (**it).cmp(topic)).is_ok();
        self.members
            .values()
            .any(|member| is_named(&member.told.topic_names))
            || self.regexes.values().any(|regex| is_named(&regex.topics))
    }

    /// When something is due next.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Starts the deadlines, once all records have been replayed.
    pub(crate) fn loaded(&mut self, moment: &Moment, config: &GroupConfig) {
        for member in self.members.values() {
            let session = match &member.told.classic {
                Some(classic) => classic.session_timeout_ms,
                None => config.consumer_session_timeout_ms,
            };
            self.timers
                .set(&member.id, Due::Session, after(moment, session));
            if !member.is_classic() && !member.to_revoke.is_empty() {
                let at = after(moment, member.told.rebalance_timeout_ms);
                self.timers
                    .set(&member.id, Due::Rebalance(member.epoch), at);
            }
        }
    }

    /// The assignor that most members ask for; the first of the broker's where none does.
    pub(super) fn assignor(&self, config: &GroupConfig) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for member in self.members.values() {
            let asked = member.told.assignor.as_deref().and_then(Assignor::by_name);
            if let Some(asked) = asked {
                *votes.entry(asked).or_default() += 1;
            }
        }
        let first = config.consumer_assignors.first().copied();
        let first = first.unwrap_or(Assignor::Uniform);
        votes
            .into_iter()
            .max_by_key(|&(assignor, count)| (count, assignor == first))
            .map_or(first, |(assignor, _)| assignor)
    }

    /// The names of all topics that a member is subscribed to.
    pub(super) fn subscribed_names(&self) -> BTreeSet<&str> {
        let named = self
            .members
            .values()
            .flat_map(|member| &member.told.topic_names);
        let matched = self.regexes.values().flat_map(|regex| &regex.topics);
        named.chain(matched).map(|name| &**name).collect()
    }

    /// How many members use a regular expression.
    pub(super) fn users_of(&self, regex: &str) -> usize {
        let used = self.members.values().filter_map(Member::regex);
        used.filter(|used| ***used == *regex).count()
    }

    // What the log says, applied. Everything that changes a group goes through these.

    pub(super) fn apply_told(&mut self, id: &Arc<str>, told: ConsumerMemberValue) {
        self.bytes += told_bytes(id, &told);
        let member = self.members.entry(id.clone()).or_insert_with(|| {
            let member = Member::new(id.clone());
            self.bytes += told_bytes(&member.id, &member.told);
            member
        });
        let before = std::mem::replace(&mut member.told, told);
        self.bytes -= told_bytes(id, &before);
        let before = before.instance;
        let now = member.told.instance.clone();
        if before != now {
            self.forget_instance(id, before);
        }
        if let Some(now) = now {
            self.statics.insert(now, id.clone());
        }
    }

    fn forget_instance(&mut self, member: &Arc<str>, instance: Option<Arc<str>>) {
        if let Some(instance) = instance
            && self.statics.get(&instance) == Some(member)
        {
            self.statics.remove(&instance);
        }
    }

    fn apply_gone(&mut self, id: &Arc<str>) {
        if let Some(member) = self.members.remove(id) {
            self.bytes -= told_bytes(&member.id, &member.told);
            self.disown(&member);
            self.forget_instance(id, member.told.instance);
        }
    }

    fn disown(&mut self, member: &Member) {
        for lists in [&member.assigned, &member.to_revoke] {
            for (topic, partitions) in lists {
                self.bytes -= PARTITION_BYTES * partitions.len() as u64;
                for partition in partitions.keys() {
                    let at = (*topic, *partition);
                    if self.owners.get(&at) == Some(&member.id) {
                        self.owners.remove(&at);
                    }
                }
            }
        }
    }

    /// Puts a member in place of the one of its id, with what it has.
    pub(super) fn apply_current(&mut self, member: Member) {
        self.bytes += told_bytes(&member.id, &member.told);
        if let Some(before) = self.members.remove(&member.id) {
            self.bytes -= told_bytes(&before.id, &before.told);
            self.disown(&before);
        }
        for lists in [&member.assigned, &member.to_revoke] {
            for (topic, partitions) in lists {
                self.bytes += PARTITION_BYTES * partitions.len() as u64;
                for partition in partitions.keys() {
                    self.owners.insert((*topic, *partition), member.id.clone());
                }
            }
        }
        self.members.insert(member.id.clone(), member);
    }

    pub(super) fn apply_target(&mut self, id: &Arc<str>, target: Option<Partitions>) {
        let old = match target {
            Some(target) => {
                self.bytes += target_bytes(&target);
                self.targets.insert(id.clone(), target)
            }
            None => self.targets.remove(id),
        };
        self.bytes -= old.map_or(0, |old| target_bytes(&old));
    }

    fn apply_regex(&mut self, regex: &Arc<str>, value: Option<RegexValue>) {
        let old = match value {
            Some(value) => {
                self.bytes += regex_bytes(regex, &value);
                self.regexes.insert(regex.clone(), value)
            }
            None => self.regexes.remove(regex),
        };
        self.bytes -= old.map_or(0, |old| regex_bytes(regex, &old));
    }

    // The same, and written.

    pub(super) fn set_epoch(&mut self, epoch: i32, out: &mut Vec<Record>) {
        self.epoch = epoch;
        out.push(self.epoch_record());
    }

    pub(super) fn set_told(
        &mut self,
        id: &Arc<str>,
        told: ConsumerMemberValue,
        out: &mut Vec<Record>,
    ) {
        self.apply_told(id, told);
        out.push(self.told_record(&self.members[id]));
    }

    pub(super) fn set_current(&mut self, member: Member, out: &mut Vec<Record>) {
        out.push(self.current_record(&member));
        self.apply_current(member);
    }

    pub(super) fn set_target(&mut self, id: &Arc<str>, target: Partitions, out: &mut Vec<Record>) {
        out.push(self.target_record(id, &target));
        self.apply_target(id, Some(target));
    }

    pub(super) fn set_target_epoch(&mut self, epoch: i32, out: &mut Vec<Record>) {
        self.target_epoch = epoch;
        out.push(self.target_epoch_record());
    }

    pub(super) fn set_regex(&mut self, regex: &Arc<str>, value: RegexValue, out: &mut Vec<Record>) {
        out.push(self.regex_key(regex).record(value.encode()));
        self.apply_regex(regex, Some(value));
    }

    /// Forgets a regular expression that nobody uses any more.
    pub(super) fn drop_regex(&mut self, regex: &Arc<str>, out: &mut Vec<Record>) {
        if self.users_of(regex) == 0 && self.regexes.contains_key(regex) {
            self.apply_regex(regex, None);
            out.push(self.regex_key(regex).tombstone());
        }
    }

    /// Removes a member and what was meant for it.
    pub(super) fn remove(&mut self, id: &Arc<str>, out: &mut Vec<Record>) {
        let (group, member) = (self.id.clone(), id.clone());
        out.push(
            Key::CurrentMember {
                group: group.clone(),
                member: member.clone(),
            }
            .tombstone(),
        );
        self.apply_target(id, None);
        out.push(
            Key::TargetMember {
                group: group.clone(),
                member: member.clone(),
            }
            .tombstone(),
        );
        self.apply_gone(id);
        out.push(Key::ConsumerMember { group, member }.tombstone());
    }

    // Records of what is.

    fn regex_key(&self, regex: &Arc<str>) -> Key {
        Key::Regex {
            group: self.id.clone(),
            regex: regex.clone(),
        }
    }

    fn epoch_record(&self) -> Record {
        let value = ConsumerGroupValue {
            epoch: self.epoch,
            metadata_hash: self.metadata_hash,
        };
        let group = self.id.clone();
        Key::ConsumerGroup { group }.record(value.encode())
    }

    fn told_record(&self, member: &Member) -> Record {
        let key = Key::ConsumerMember {
            group: self.id.clone(),
            member: member.id.clone(),
        };
        key.record(member.told.encode())
    }

    fn target_record(&self, id: &Arc<str>, target: &Partitions) -> Record {
        let key = Key::TargetMember {
            group: self.id.clone(),
            member: id.clone(),
        };
        key.record(target_value(target).encode())
    }

    fn target_epoch_record(&self) -> Record {
        let value = TargetEpochValue {
            epoch: self.target_epoch,
            timestamp_ms: 0,
        };
        let group = self.id.clone();
        Key::TargetEpoch { group }.record(value.encode())
    }

    fn current_record(&self, member: &Member) -> Record {
        let key = Key::CurrentMember {
            group: self.id.clone(),
            member: member.id.clone(),
        };
        key.record(member.current().encode())
    }

    /// Records that make the group out of nothing.
    pub(crate) fn snapshot(&self, out: &mut Vec<Record>) {
        out.extend(self.parts(&Place::start()).map(|(_, record)| record));
    }

    /// The same, behind a place.
    pub(crate) fn parts(&self, after: &Place) -> impl Iterator<Item = (Place, Record)> {
        use Section::{Current, Epoch, Regex, Target, TargetEpoch, Told};
        let told = after.rest(Told, &self.members);
        let told = told.map(|(id, member)| (Place::at(Told, id), self.told_record(member)));
        let epoch = after.is_before(Epoch).then(|| self.epoch_record());
        let epoch = epoch.map(|record| (Place::of(Epoch), record));
        let regexes = after.rest(Regex, &self.regexes).map(|(regex, value)| {
            let record = self.regex_key(regex).record(value.encode());
            (Place::at(Regex, regex), record)
        });
        let targets = after.rest(Target, &self.targets);
        let targets = targets.map(|(id, it)| (Place::at(Target, id), self.target_record(id, it)));
        let target_epoch = after.is_before(TargetEpoch);
        let target_epoch = target_epoch.then(|| self.target_epoch_record());
        let target_epoch = target_epoch.map(|record| (Place::of(TargetEpoch), record));
        let current = after.rest(Current, &self.members);
        let current = current.map(|(id, it)| (Place::at(Current, id), self.current_record(it)));
        let members = told.chain(epoch).chain(regexes);
        members.chain(targets).chain(target_epoch).chain(current)
    }

    /// Tombstones of all that [`ConsumerGroup::snapshot`] writes, the group's own last.
    pub(crate) fn tombstones(&self, out: &mut Vec<Record>) {
        let group = || self.id.clone();
        for member in self.members.keys().cloned() {
            out.push(
                Key::CurrentMember {
                    group: group(),
                    member,
                }
                .tombstone(),
            );
        }
        for member in self.targets.keys().cloned() {
            out.push(
                Key::TargetMember {
                    group: group(),
                    member,
                }
                .tombstone(),
            );
        }
        out.push(Key::TargetEpoch { group: group() }.tombstone());
        for member in self.members.keys().cloned() {
            out.push(
                Key::ConsumerMember {
                    group: group(),
                    member,
                }
                .tombstone(),
            );
        }
        for regex in self.regexes.keys() {
            out.push(self.regex_key(regex).tombstone());
        }
        out.push(Key::ConsumerGroup { group: group() }.tombstone());
    }

    /// Takes a record of the group, in the order of the log. Says whether the group is gone.
    ///
    /// Compaction may have taken older records away, so a record may come before the one that
    /// says what it is about.
    pub(crate) fn replay(&mut self, key: &Key, value: Option<&[u8]>) -> Result<bool, RecordError> {
        match (key, value) {
            (Key::ConsumerGroup { .. }, Some(value)) => {
                let value = ConsumerGroupValue::decode(value)?;
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
            }
            (Key::ConsumerGroup { .. }, None) => return Ok(true),
            (Key::ConsumerMember { member, .. }, Some(value)) => {
                self.apply_told(member, ConsumerMemberValue::decode(value)?);
            }
            (Key::ConsumerMember { member, .. }, None) => self.apply_gone(member),
            (Key::TargetEpoch { .. }, Some(value)) => {
                self.target_epoch = TargetEpochValue::decode(value)?.epoch;
            }
            (Key::TargetMember { member, .. }, Some(value)) => {
                let target = target_of_value(&TargetMemberValue::decode(value)?);
                self.apply_target(member, Some(target));
            }
            (Key::TargetMember { member, .. }, None) => {
                self.apply_target(member, None);
            }
            (Key::CurrentMember { member, .. }, Some(value)) => {
                let value = CurrentValue::decode(value)?;
                let mut next = match self.members.get(member) {
                    Some(known) => known.clone(),
                    None => Member::new(member.clone()),
                };
                next.set_current(&value);
                self.apply_current(next);
            }
            (Key::CurrentMember { member, .. }, None) => {
                if let Some(known) = self.members.get(member) {
                    let mut next = Member::new(member.clone());
                    next.told = known.told.clone();
                    self.apply_current(next);
                }
            }
            (Key::Regex { regex, .. }, Some(value)) => {
                self.apply_regex(regex, Some(RegexValue::decode(value)?));
            }
            (Key::Regex { regex, .. }, None) => {
                self.apply_regex(regex, None);
            }
            _ => {}
        }
        Ok(false)
    }

    /// Panics if the group contradicts itself.
    pub(crate) fn check_invariants(&self) {
        assert!(self.target_epoch <= self.epoch, "a target of later");
        let members: u64 = self
            .members
            .values()
            .map(|it| told_bytes(&it.id, &it.told))
            .sum();
        let targets: u64 = self.targets.values().map(target_bytes).sum();
        let regexes: u64 = self
            .regexes
            .iter()
            .map(|(regex, value)| regex_bytes(regex, value))
            .sum();
        let owned = PARTITION_BYTES * self.owners.len() as u64;
        assert_eq!(self.bytes, members + targets + regexes + owned, "bytes");
        let mut owned = 0;
        for member in self.members.values() {
            assert!(member.epoch <= self.epoch, "{} of later", member.id);
            for lists in [&member.assigned, &member.to_revoke] {
                for (topic, partitions) in lists {
                    assert!(!partitions.is_empty());
                    for partition in partitions.keys() {
                        let owner = self.owners.get(&(*topic, *partition));
                        assert_eq!(owner, Some(&member.id), "{topic}-{partition}");
                        owned += 1;
                    }
                }
            }
            if let Some(instance) = &member.told.instance {
                assert_eq!(self.statics.get(instance), Some(&member.id));
            }
        }
        assert_eq!(owned, self.owners.len(), "a partition of nobody");
        for member in self.statics.values().chain(self.targets.keys()) {
            assert!(self.members.contains_key(member), "{member} is gone");
        }
        let mut targets = BTreeSet::new();
        for (topic, partitions) in self.targets.values().flatten() {
            for partition in partitions {
                assert!(targets.insert((*topic, *partition)), "a target of two");
            }
        }
        for regex in self.regexes.keys() {
            assert!(self.users_of(regex) > 0, "{regex} is used by nobody");
        }
    }
}

/// When `ms` milliseconds will have gone by.
pub(super) fn after(moment: &Moment, ms: i32) -> Duration {
    moment.now + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
