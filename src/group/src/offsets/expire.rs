//! Offsets that nobody needs any more: too old, or of topics that are gone.

use std::sync::Arc;
use std::time::Duration;

use crate::group::Group;
use crate::groups::Groups;
use crate::outcome::Record;
use crate::records::OffsetValue;
use crate::step::Step;
use crate::timers::Timer;

use super::{Offsets, key};

/// How many offsets one step removes, about: the rest is due at once.
/// One batch then has room for their tombstones.
const REMOVED_A_STEP_MAX: usize = 1_000;

fn is_expired(group: &Group, value: &OffsetValue, now_ms: i64, retention_ms: i64) -> bool {
    let Some(start_ms) = group.retention_start_ms(value.commit_ms) else {
        return false;
    };
    match value.expire_ms {
        Some(at_ms) => now_ms >= at_ms,
        None => now_ms.saturating_sub(start_ms) >= retention_ms,
    }
}

impl Offsets {
    /// Removes a group's offsets that `is_gone` tells of, with a tombstone for each, and at most
    /// about `max`.
    fn remove_where(
        &mut self,
        group: &Arc<str>,
        max: usize,
        records: &mut Vec<Record>,
        is_gone: impl Fn(&str, &OffsetValue) -> bool,
    ) {
        let mut gone = Vec::new();
        for (topic, partitions) in self.of(group).into_iter().flatten() {
            for (partition, value) in partitions {
                if gone.len() < max && is_gone(topic, value) {
                    gone.push((topic.clone(), *partition));
                }
            }
        }
        for (topic, partition) in gone {
            records.push(key(group, &topic, partition).tombstone());
            self.remove(group, &topic, partition);
        }
    }
}

impl Groups {
    /// Sets when to look for expired offsets next.
    pub(crate) fn set_retention_timer(&mut self, step: &mut Step<'_>, after_ms: i64) {
        let after = Duration::from_millis(u64::try_from(after_ms).unwrap_or(0));
        let at = step.moment.now + after;
        self.retention_timer = Some(step.timers.set(at, Timer::Retention));
    }

    /// Removes expired offsets, and groups without members that have none left.
    pub(crate) fn expire(&mut self, step: &mut Step<'_>) {
        self.retention_timer = None;
        let groups: Vec<Arc<str>> = self.ids().cloned().collect();
        let retention_ms = step.config.offsets_retention_ms;
        let now_ms = step.moment.wall_ms;
        for id in &groups {
            let room = REMOVED_A_STEP_MAX.saturating_sub(step.outcome.records.len());
            let Some(group) = self.by_id.get(id) else {
                continue;
            };
            self.offsets
                .remove_where(id, room, &mut step.outcome.records, |topic, value| {
                    is_expired(group, value, now_ms, retention_ms) && !group.is_subscribed(topic)
                });
            if !self.offsets.has(id) && group.is_idle() {
                group.tombstones(&mut step.outcome.records);
                self.forget(step, id);
            }
            if step.outcome.records.len() >= REMOVED_A_STEP_MAX {
                return self.set_retention_timer(step, 0);
            }
        }
        self.set_retention_timer(step, step.config.offsets_retention_check_ms.max(1));
    }

    /// Removes the offsets of topics that are gone: deleted, or another by the same name.
    pub(crate) fn remove_deleted_topics(&mut self, step: &mut Step<'_>) {
        if let Some(timer) = self.deleted_timer.take() {
            step.timers.cancel(timer);
        }
        let groups: Vec<Arc<str>> = self.offsets.groups().cloned().collect();
        let topics = step.topics;
        for id in &groups {
            let room = REMOVED_A_STEP_MAX.saturating_sub(step.outcome.records.len());
            let records = &mut step.outcome.records;
            self.offsets
                .remove_where(id, room, records, |topic, value| {
                    match topics.by_name(topic) {
                        None => true,
                        Some(info) => !value.topic.is_nil() && value.topic != info.id,
                    }
                });
            self.forget_if_nothing(step, id);
            if step.outcome.records.len() >= REMOVED_A_STEP_MAX {
                let timer = step.timers.set(step.moment.now, Timer::DeletedTopics);
                self.deleted_timer = Some(timer);
                return;
            }
        }
    }
}
